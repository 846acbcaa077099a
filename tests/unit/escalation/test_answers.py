"""A review counts once or not at all: whoever forges, replays, repeats or oversteps is refused with the reason."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.dsse import canonical
from agents.escalation.answers import ORDER, Accepted, mark
from agents.escalation.case import Ended, Vote
from agents.escalation.samples import gather, sample_of
from agents.events import Effect, Severity
from agents.people_events import (
    Proposal,
    RefusalData,
    Refused,
    Resolution,
    Review,
    ReviewData,
    SilenceData,
    Status,
    shown_digest,
)
from tests.unit.escalation.asking import (
    ANN,
    BEN,
    CONSOLE,
    NOW,
    OLD,
    PLACE,
    STRANGER,
    World,
    answer,
    at,
    case,
    configuration,
    document,
    incident,
    shown,
    signed,
)


def refused(found) -> tuple[str, str]:
    assert isinstance(found, RefusalData), found
    return found.reason, found.detail


def test_an_answer_signed_by_the_persons_own_key_counts():
    found = World().send(answer())
    assert isinstance(found, Accepted)
    assert (found.data.person, found.console, found.keyid, found.at_ms) == ("ann", None, ANN.public.keyid, NOW)
    assert (found.position.topic, found.position.offset) == ("gim.reviews", 7)


def test_an_answer_signed_by_a_console_counts_for_whoever_signed_in_there():
    found = World().send(answer(person="cid", login="sha256:5e55"), CONSOLE)
    assert isinstance(found, Accepted)
    assert (found.data.person, found.console) == ("cid", "main")


def test_a_binary_mode_cloud_event_counts_too():
    found = document(signed(answer()))
    headers = [("content-type", b"application/json")]
    headers += [
        (f"ce_{name}", str(found[name]).encode()) for name in ("specversion", "type", "id", "source", "dssematerial")
    ]
    assert isinstance(World().check(json.dumps(found["data"]).encode(), headers=headers), Accepted)


def test_a_producer_may_write_its_json_as_it_likes():
    event = Review.model_validate_json(signed(answer(shown_ms=1200)))
    statement = event.statement()
    statement["data"]["shown_ms"] = 1200  # our own encoder would write 1200.0
    payload = json.dumps(statement, indent=2).encode()
    envelope = json.loads(ANN.sign("x", {}))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from agents.dsse import pae
    from agents.people_events import REVIEW_KIND

    signature = Ed25519PrivateKey.from_private_bytes(ANN.seed).sign(pae(REVIEW_KIND, payload))
    envelope |= {"payloadType": REVIEW_KIND, "payload": base64.b64encode(payload).decode()}
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    material = base64.b64encode(json.dumps(envelope).encode()).decode()
    assert isinstance(
        World().check(event.model_copy(update={"dssematerial": material}).model_dump_json().encode()), Accepted
    )


NO_SESSION = answer(person="cid")
EVERYTHING = answer(
    "silence", person="root", login="s", incident=None, silence=SilenceData(matchers={}, starts_ms=1, ends_ms=NOW * 2)
)
FORGED = [
    ("no session", signed(NO_SESSION, CONSOLE), "no-login"),
    ("a blank session", signed(answer(person="cid", login="  "), CONSOLE), "no-login"),
    ("nobody's signature", Review(id="1", source="/gim/x", data=answer()).model_dump_json().encode(), "unsigned"),
    ("a stranger's key", signed(answer(), STRANGER), "unknown-key"),
    ("a key that the configuration no longer has", signed(answer(), OLD), "unknown-key"),
    ("another person's key", signed(answer(person="ann"), BEN), "unknown-key"),
    ("a made-up name with a real key", signed(answer(person="mallory"), ANN), "unknown-key"),
    ("a made-up name from the console", signed(answer(person="mallory", login="s"), CONSOLE), "unknown-person"),
    ("another deployment's review", signed(answer(), ANN, source="/bank/people/ann"), "malformed"),
    ("an expired link", signed(answer(not_after_ms=NOW - 1)), "expired"),
    ("an incident that is not", signed(answer(incident="0000-0000")), "unknown-incident"),
    ("no incident", signed(answer(incident=None)), "unknown-incident"),
    ("a viewer", signed(answer(person="eve", login="s"), CONSOLE), "wrong-role"),
    ("a reviewer of another team", signed(answer(person="far", login="s"), CONSOLE), "other-team"),
    ("no reason", signed(answer(reason=" ")), "no-reason"),
    ("nothing seen", signed(answer(shown=None)), "stale"),
    ("something else seen", signed(answer(shown="sha256:" + "0" * 64)), "stale"),
    ("more than was flagged", signed(answer(through={PLACE: 101})), "out-of-scope"),
    ("a partition of nobody's", signed(answer(through={PLACE: 100, "gim.decisions/9": 1})), "out-of-scope"),
    ("items beyond what was flagged", signed(answer(items=[at(100)])), "out-of-scope"),
    ("items of nothing", signed(answer(items=[])), "out-of-scope"),
    ("no decisions named", signed(answer(through={})), "out-of-scope"),
    ("an edit of nothing", signed(answer("edit")), "out-of-scope"),
    ("an edit to a label the model has not", signed(answer("edit", edit={"label": "maybe"})), "out-of-scope"),
    ("an approval with an edit", signed(answer(edit={"label": "approve"})), "out-of-scope"),
    ("a question without one", signed(answer("respond", response="")), "out-of-scope"),
    ("resolving what waits", signed(answer("resolve")), "out-of-scope"),
    ("a silence of everything", signed(EVERYTHING, CONSOLE), "out-of-scope"),
    ("a label of nothing", signed(answer("label", incident=None)), "out-of-scope"),
    ("not JSON", b"{", "malformed"),
    ("no value", None, "malformed"),
    ("another event", b'{"id":"1","source":"/gim/x","type":"governance.ruling.v1","data":{}}', "malformed"),
    ("an infinite time", signed(answer()).replace(b'"shown_ms":0', b'"shown_ms":1e999'), "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "reason"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
def test_what_was_forged_or_oversteps_is_refused_with_its_reason(value, reason):
    found = World().check(value)
    assert refused(found)[0] == reason
    assert len(found.detail) > 20 or reason == "malformed"
    assert (found.review.topic, found.review.offset) == ("gim.reviews", 7)


CHANGED = [
    (("id",), "01JQ2"),
    (("source",), "/gim/console/main"),
    (("data", "action"), "reject"),
    (("data", "person"), "ben"),
    (("data", "login"), "sha256:5e55"),
    (("data", "incident"), "7f29-k1mr"),
    (("data", "shown"), "sha256:" + "1" * 64),
    (("data", "through"), {PLACE: 99}),
    (("data", "items"), [{"topic": "gim.decisions", "partition": 0, "offset": 4}]),
    (("data", "edit"), {"label": "approve"}),
    (("data", "response"), "why?"),
    (("data", "reason"), "because"),
    (("data", "kind"), "individual"),
    (("data", "opened"), [{"topic": "gim.decisions", "partition": 0, "offset": 4}]),
    (("data", "shown_ms"), 60_000),
    (("data", "not_after_ms"), NOW + 1),
    (("data", "silence"), {"matchers": {"model": "x"}, "starts_ms": 1, "ends_ms": 2}),
    (("data", "silence_id"), "s1"),
    (("data", "override"), {"team": "credit", "person": "ann", "start_ms": 1, "end_ms": 2}),
    (("data", "proposal"), {"kind": "access", "digest": "sha256:" + "2" * 64, "author": "ben"}),
    (("data", "decision"), {"topic": "gim.decisions", "partition": 0, "offset": 4}),
    (("data", "agrees"), True),
]


@pytest.mark.parametrize(("path", "other"), CHANGED, ids=[".".join(path) for path, _ in CHANGED])
def test_no_field_of_a_signed_review_can_be_changed(path, other):
    found = document(signed(answer()))
    inner = found
    for part in path[:-1]:
        inner = inner[part]
    assert inner.get(path[-1]) != other
    inner[path[-1]] = other
    reason = "unknown-key" if path == ("data", "person") else "bad-signature"
    assert refused(World().check(json.dumps(found).encode()))[0] == reason


def test_the_table_of_changed_fields_names_every_field_of_a_review():
    assert {path[-1] for path, _ in CHANGED} == {"id", "source", *ReviewData.model_fields}


def test_a_signature_for_something_else_does_not_count_as_a_review():
    event = Review.model_validate_json(signed(answer()))
    envelope = ANN.sign("application/vnd.governance.safeguard.v1+json", event.statement())
    value = event.model_copy(update={"dssematerial": base64.b64encode(envelope.encode()).decode()})
    assert refused(World().check(value.model_dump_json().encode()))[0] == "bad-signature"


def test_every_bit_of_the_envelope_matters():
    found = document(signed(answer()))
    envelope = json.loads(base64.b64decode(found["dssematerial"]))
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    for place in range(0, 64, 7):
        spoilt = bytearray(signature)
        spoilt[place] ^= 1
        envelope["signatures"][0]["sig"] = base64.b64encode(bytes(spoilt)).decode()
        found["dssematerial"] = base64.b64encode(canonical(envelope)).decode()
        assert refused(World().check(json.dumps(found).encode()))[0] == "bad-signature"


def test_what_was_sent_twice_counts_once_and_nobody_uses_up_anothers_ids():
    world = World()
    first = world.send(answer())
    world.seen.add(mark(first))
    assert refused(world.send(answer()))[0] == "repeated"
    assert refused(world.send(answer(reason="another one under the same id")))[0] == "repeated"
    assert isinstance(world.send(answer(person="ben"), BEN), Accepted)  # ben's own 01JQ1
    assert mark(World().check(signed(answer(), STRANGER))) is None  # a stranger uses up nothing
    stale = World().send(answer(shown=None))
    assert mark(stale) == mark(first)  # refused once, refused for good


def test_a_stale_answer_is_told_what_changed():
    before, now = incident(), incident(severity=Severity.CRITICAL, keys=("a", "b"), team="credit")
    world = World(case=case(now, shown=[shown(before), shown(now)]))
    reason, detail = refused(world.send(answer()))
    assert reason == "stale"
    assert "its severity is critical (it was error); it has 2 causes (it had 1)" in detail
    acknowledged = incident(status=Status.ACKNOWLEDGED, acknowledged_by="ben", count=99)
    assert isinstance(World(case=case(acknowledged)).send(answer()), Accepted)  # nothing an answer rests on


def test_the_second_of_two_at_once_is_told_who_was_first():
    done = incident(status=Status.RESOLVED, resolution=Resolution.REJECTED, by="ben", resolved_ms=NOW)
    reason, detail = refused(World(case=case(done)).send(answer()))
    assert (reason, detail) == (
        "already-ruled",
        "it was rejected by ben at 2026-03-02 09:14:03 UTC, before your answer came",
    )
    assert refused(World(case=Ended(NOW, Resolution.APPROVED, "ben")).send(answer()))[0] == "already-ruled"
    open_still = case(covered={PLACE: 100})  # the incident grew since, but these decisions are answered
    assert refused(World(case=open_still).send(answer()))[0] == "already-ruled"
    single = case(answered={PLACE: [41]})
    assert refused(World(case=single).send(answer(items=[at(40), at(41)])))[0] == "already-ruled"
    assert isinstance(World(case=single).send(answer(items=[at(40)])), Accepted)
    taken = incident(status=Status.ACKNOWLEDGED, acknowledged_by="ben", acknowledged_ms=NOW)
    assert "ben acknowledged it before you" in refused(World(case=case(taken)).send(answer("acknowledge")))[1]


def test_an_answer_after_the_deadline_is_late_and_says_what_happened():
    expired = incident(status=Status.RESOLVED, resolution=Resolution.EXPIRED, resolved_ms=NOW)
    assert refused(World(case=case(expired)).send(answer()))[0] == "late"
    due = case(incident(deadline_ms=NOW - 1), chain={"deadline": 60, "at_deadline": "withhold"})
    reason, detail = refused(World(case=due).send(answer()))  # the lane has not ruled yet: it makes no difference
    assert (reason, "what waited is withheld" in detail) == ("late", True)
    asked_on = case(incident(deadline_ms=NOW - 1), chain={"deadline": 60, "at_deadline": "escalate"})
    assert isinstance(World(case=asked_on).send(answer()), Accepted)
    assert refused(World(case=Ended(NOW)).send(answer("acknowledge")))[0] == "late"


def test_nobody_answers_what_they_asked_for_themselves():
    proposal = Proposal(kind="configuration", digest="sha256:" + "3" * 64, author="ann")
    proposed = incident(proposal=proposal, effect=None, held=0, through={}, team=None)
    world = World(case=case(proposed, waiting=lambda through: 0))
    own = answer(through={}, shown=shown_digest(proposed))
    assert refused(world.send(own))[0] == "requester"
    assert refused(world.send(own.model_copy(update={"person": "cid", "login": "s"}), CONSOLE))[0] == "wrong-role"
    assert isinstance(world.send(own.model_copy(update={"person": "root", "login": "s"}), CONSOLE), Accepted)
    assert isinstance(world.send(own.model_copy(update={"action": "resolve"})), Accepted)  # taken back
    labelled = World(case=case(incident(labels={"requester": "ann, ben"})))
    assert refused(labelled.send(answer()))[0] == "requester"
    assert isinstance(labelled.send(answer(person="cid", login="s"), CONSOLE), Accepted)
    assert isinstance(labelled.send(answer("respond", response="whose income is it?")), Accepted)


def test_whom_the_chain_asked_may_answer_though_of_another_team():
    asked = World(case=case(incident(told=("far",))))
    assert isinstance(asked.send(answer(person="far", login="s"), CONSOLE), Accepted)
    added = World(case=case(incident(teams=("chat",))))
    assert isinstance(added.send(answer(person="far", login="s"), CONSOLE), Accepted)


def test_one_answer_to_many_needs_its_random_sample_opened():
    many = incident(held=500, count=500, sample=gather("7f29-k1mq", (), [at(offset) for offset in range(100)]))
    world = World(case=case(many))
    wanted = sample_of(many, {PLACE: 100}, 5)
    assert len(wanted) == 5
    reason, detail = refused(world.send(answer(opened=wanted[:3])))
    assert (reason, "this answers 500 decisions at once" in detail) == ("not-opened", True)
    assert all(f"gim.decisions/0/{one.offset}" in detail for one in wanted[3:])
    assert refused(world.send(answer("reject")))[0] == "not-opened"
    assert isinstance(world.send(answer(opened=wanted)), Accepted)
    assert isinstance(world.send(answer("respond", response="which of them?")), Accepted)
    chosen = [at(offset) for offset in range(99) for _ in (0, 1)]
    assert isinstance(world.send(answer(items=chosen)), Accepted)  # 99 different ones: not above the limit


def test_a_sample_keeps_what_was_asked_for_as_the_incident_grows():
    early = gather("7f29-k1mq", (), [at(offset) for offset in range(100)])
    page = sample_of(incident(sample=early), {PLACE: 100}, 5)
    late = early
    for offset in range(100, 2000, 50):  # in whatever portions flags come
        late = gather("7f29-k1mq", late, [at(one) for one in range(offset, offset + 50)])
    assert set(sample_of(incident(sample=late), {PLACE: 100}, 5)) <= set(page)
    assert late == gather("7f29-k1mq", (), [at(offset) for offset in reversed(range(2000))])
    assert late != gather("other", (), [at(offset) for offset in range(2000)])


def test_silences_and_duties_are_for_ones_own_team():
    until = NOW + 3_600_000

    def silence(person, **matchers):
        muted = SilenceData(matchers=matchers, starts_ms=NOW, ends_ms=until, comment="known, ticket 12")
        return answer("silence", person=person, incident=None, login="s", silence=muted)

    world = World()
    assert refused(world.send(silence("ben", model="credit-limit"), CONSOLE))[0] == "other-team"
    assert refused(world.send(silence("ben", team="chat"), CONSOLE))[0] == "other-team"
    assert refused(world.send(silence("far", incident="7f29-k1mq"), CONSOLE))[0] == "other-team"
    for good in (silence("ben", team="credit"), silence("ben", incident="7f29-k1mq"), silence("root", cause="x")):
        assert isinstance(world.send(good, CONSOLE), Accepted)
    world.silences = {"s1": silence("ben", team="credit").silence}
    end = answer("unsilence", person="far", incident=None, login="s", silence_id="s1")
    assert refused(world.send(end, CONSOLE))[0] == "other-team"
    assert isinstance(world.send(end.model_copy(update={"person": "cid"}), CONSOLE), Accepted)
    assert refused(world.send(end.model_copy(update={"silence_id": "s2"}), CONSOLE))[0] == "out-of-scope"

    def duty(by, **changes):
        taken = {"team": "credit", "person": "cid", "start_ms": NOW, "end_ms": until, **changes}
        return answer("override", person=by, incident=None, login="s", override=taken)

    assert isinstance(world.send(duty("ben"), CONSOLE), Accepted)
    assert refused(world.send(duty("far"), CONSOLE))[0] == "other-team"
    assert refused(world.send(duty("root", team="nobody"), CONSOLE))[0] == "out-of-scope"
    assert refused(world.send(duty("ben", person="nobody"), CONSOLE))[0] == "out-of-scope"
    assert refused(world.send(duty("ben", end_ms=NOW), CONSOLE))[0] == "out-of-scope"


def test_the_same_word_twice_is_told_that_it_waits():
    waiting = Vote(
        person="ann",
        review="gim.reviews/0/6",
        at_ms=NOW,
        action="approve",
        shown=answer().shown,
        through={PLACE: 100},
    )
    world = World(case=case(votes=(waiting,), chain={"quorum": {"people": 2}}))
    assert refused(world.send(answer())) == (
        "already-ruled",
        "you have said so already (approve); it waits for somebody else to agree",
    )
    assert isinstance(world.send(answer("reject")), Accepted)  # a change of mind


def test_nothing_is_held_back_by_the_order_of_the_checks():
    assert set(ORDER) == set(Refused.__args__)
    twice_wrong = World().send(answer(person="eve", login="s", reason="", shown=None), CONSOLE)
    assert refused(twice_wrong)[0] == "wrong-role"


def test_an_answer_about_flags_that_hold_nothing_needs_no_decisions_named():
    logged = incident(held=0, effect=Effect.LOG)
    world = World(case=case(logged, waiting=lambda through: 0))
    assert isinstance(world.send(answer(through={}, shown=shown_digest(logged))), Accepted)
    assert isinstance(world.send(answer("resolve", shown=None)), Accepted)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_whatever_the_bytes_are_they_are_refused_and_nothing_is_raised(value):
    assert refused(World().check(value))[0] == "malformed"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from([*ReviewData.model_fields, "dssematerial", "id", "time"]), value=VALUES)
def test_whatever_a_field_holds_it_is_refused_and_nothing_is_raised(name, value):
    found = document(signed(answer()))
    target = found if name in ("dssematerial", "id", "time") else found["data"]
    target[name] = value
    answered = World().check(json.dumps(found).encode())
    if isinstance(answered, Accepted):  # `shown_ms` "0" means what was signed
        assert answered.data == answer()
        assert answered.review.id == "01JQ1"
    else:
        assert answered.reason in ("malformed", "unsigned", "unknown-key", "bad-signature")


def test_a_configuration_without_people_accepts_nobody():
    assert (
        refused(World(configuration=configuration(people={}, teams={}, console_keys={})).send(answer()))[0]
        == "unknown-key"
    )


def test_a_header_of_ours_on_a_review_is_refused():
    assert refused(World().check(signed(answer()), headers=[("govern-seq", b"1")]))[0] == "malformed"


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "ce_id", "ce_source", "ce_type", "ce_specversion", "ce_data"])
        | st.text(max_size=9),
        st.none() | st.binary(max_size=30) | st.just(b"application/json"),
    ),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(headers=HEADERS, value=st.binary(max_size=40) | st.just(signed(answer())))
def test_whatever_the_headers_are_nothing_is_raised(headers, value):
    found = World().check(value, headers=headers)
    assert isinstance(found, Accepted) or found.reason in ORDER
