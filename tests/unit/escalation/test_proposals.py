"""A change that needs a second person: only signed words that stand on the topics count, not what a ruling claims."""

from pathlib import Path

import pytest

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.escalation.proposals import Granted, granted, proposals
from agents.people_events import Incident, Proposal, Resolution, Ruling, RulingData, Status, shown_digest
from agents.policy.differences import differences
from agents.records import Plain
from orchestration import second_person
from orchestration.settings import Settings
from tests.unit.escalation.asking import ANN, BEN, CONSOLE, answer, configuration, incident, signed

DIGEST = "sha256:" + "3" * 64
PROPOSAL = Proposal(kind="configuration", digest=DIGEST, author="ann", text="a higher threshold")
OPEN = incident(proposal=PROPOSAL, held=0, through={}, team=None, effect=None)
DONE = OPEN.model_copy(update={"status": Status.RESOLVED, "resolution": Resolution.APPROVED, "revision": 5})


def records(topic: str, *values: bytes) -> list[Plain]:
    return [Plain(f"gim.{topic}", 0, offset, 1_000, None, value) for offset, value in enumerate(values)]


def told(*states) -> list[Plain]:
    events = [Incident(id=f"{one.incident}/{one.revision}", source="/gim/escalation", data=one) for one in states]
    return records("incidents", *[one.model_dump_json(exclude_none=True, by_alias=True).encode() for one in events])


def ruled(**changes) -> list[Plain]:
    known = {"incident": OPEN.incident, "resolution": "approved", "effect": "allow", "keys": (), "people": ("root",)}
    data = RulingData.model_validate({**known, "reviews": ("gim.reviews/0/1",), **changes})
    event = Ruling(id="7f29-k1mq/0", source="/gim/escalation", data=data)
    return records("rulings", b"no ruling", event.model_dump_json(exclude_none=True).encode())


def proposed() -> bytes:
    return signed(answer("propose", proposal=PROPOSAL, incident=None, shown=None, through={}))


def approval(person: str = "root", **changes) -> bytes:
    known = {"shown": shown_digest(OPEN), "through": {}, "login": "sha256:5e55"}
    return signed(answer(person=person, **{**known, **changes}), CONSOLE)


def outcome(rulings=None, reviews=None, states=(OPEN, DONE)) -> Granted | str:
    found = proposals(told(*states), ruled() if rulings is None else rulings, "configuration")
    given = records("reviews", *(reviews or (proposed(), approval())))
    return granted(found[0], given, configuration().escalation, "gim")


def test_what_another_author_signed_is_granted_with_both_names():
    assert outcome() == Granted("7f29-k1mq", "ann", ("root",), "a higher threshold")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"rulings": []}, "nobody has approved"),
        ({"rulings": ruled(resolution="rejected")}, "was rejected by root"),
        ({"rulings": ruled(reviews=())}, "no review approves"),
        ({"rulings": ruled(reviews=("gim.reviews/0/9",))}, "not there or not signed"),
        ({"reviews": [b"", approval()]}, "ann's signed proposal of sha256:333333333333 is not on `reviews`"),
        ({"reviews": [signed(answer("propose", proposal=PROPOSAL), BEN), approval()]}, "ann's signed proposal"),
        ({"reviews": [proposed(), approval("ann")]}, "ann approved a change of their own"),
        ({"reviews": [proposed(), approval("ben")]}, "by somebody with the role author"),
        ({"reviews": [proposed(), approval(login=None)]}, "not there or not signed"),
        ({"reviews": [proposed(), approval(incident="other")]}, "is no approval of 7f29-k1mq"),
        ({"reviews": [proposed(), approval(shown="sha256:" + "4" * 64)]}, "root approved something else"),
        ({"reviews": [proposed(), signed(answer(person="root", shown=shown_digest(OPEN)), ANN)]}, "not signed"),
    ],
)  # fmt: skip
def test_what_nobody_else_signed_is_not_granted(given, why):
    found = outcome(**given)
    assert isinstance(found, str)
    assert why in found


def test_a_ruling_cannot_be_pointed_at_another_document():
    other = DONE.model_copy(update={"proposal": PROPOSAL.model_copy(update={"digest": "sha256:" + "5" * 64})})
    assert isinstance(outcome(states=(other,)), str)


def test_a_question_leaves_a_proposal_open():
    asked = ruled(resolution="responded", effect="hold")
    (found,) = proposals(told(OPEN), asked, "configuration")
    assert (found.ruling, found.approved) == (None, False)
    assert second_person.told(found)["state"] == "waits"


def test_a_proposed_document_that_was_altered_is_not_used(tmp_path: Path):
    settings = Settings(prefix="gim", data_dir=tmp_path, keys_dir=tmp_path / "keys")
    digest = second_person.keep(settings, Configuration.model_validate(configuration().document()))
    assert second_person.keep(settings, configuration()) == digest
    assert second_person.kept(settings, digest) == configuration()
    with pytest.raises(Misconfigured, match=r"is not in .*; set GOVERN_STORE"):
        second_person.kept(settings, DIGEST)
    path = tmp_path / "evidence/gim/proposals/blobs" / digest.removeprefix("sha256:")
    path.write_bytes(path.read_bytes().replace(b'"Ann"', b'"Eve"'))
    with pytest.raises(Misconfigured, match="was altered"):
        second_person.kept(settings, digest)


@pytest.mark.parametrize("name", list(Configuration.model_fields))
def test_whoever_approves_is_shown_each_part_that_changes(name):
    changed = {
        "models": {"m": {}},
        "undeclared": "m",
        "duplicate_window": 7,
        "sources": [{"topic": "t", "model": "m", "source": "/t", "format": "kserve"}],
        "calendars": {"c": {"zone": "UTC", "hours": {}}},
        "policies": [{"policy": "p", "rules": []}],
        "monitors": {"x": {"kind": "volume"}},
        "escalation": {"people": {"ann": {"name": "Ann"}}},
        "triage": {"timeout": 5},
    }
    before = Configuration.model_validate(
        {"models": {"m": {"mode": "gate"}}} if name in ("undeclared", "sources") else {}
    )
    document = {**before.document(), name: changed[name]}
    found = differences(before, Configuration.model_validate(document))
    assert [one for one in found if name.rstrip("s")[:5] in one.name], found


def test_what_changes_is_told_from_the_document_and_nobodys_words(tmp_path: Path):
    settings = Settings(prefix="gim", data_dir=tmp_path, keys_dir=tmp_path / "keys")
    before, after = configuration(), configuration(bulk={"items": 5000})
    digest = second_person.keep(settings, after)
    told = second_person.changes(settings, before, digest)
    assert told == ["~ escalation bulk: items", "    - 100", "    + 5000"]
    assert second_person.changes(settings, after, digest) == ["nothing"]
