"""`govern replay ID`: a recorded decision judged again from evidence and archive; what differs is named, what is gone too."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.audit.agent import audit, origin
from agents.audit.commitment import KEY_BYTES, Committer
from agents.audit.notes import Signer
from agents.audit.proof import VerdictId
from agents.audit.tiles import LogState
from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import (
    ConfigurationData,
    ConfigurationEvent,
    Safeguard,
    SafeguardData,
    Signal,
    SignalData,
    SignalStatus,
)
from agents.policy.agent import PolicyAgent
from agents.policy.standing import Standing
from agents.policy.times import iso
from agents.records import Plain, collect
from orchestration import keys
from orchestration.anomaly_scores import known_of
from orchestration.archive import Archive, Expired
from orchestration.cli.main import command
from orchestration.evidence_topic import stored_records
from orchestration.log_store import LogStore
from orchestration.profile_store import ProfileStore
from orchestration.reexecute import NotReproducible, Reexecuted, reexecute
from tests.unit import unusual
from tests.unit.test_replay import configuration, decision

TOPIC = "gim.decisions"
SALT = Committer("gim-1", b"s" * KEY_BYTES)
LIMIT = 1_048_576


class Lane:
    """A policy lane with its audit and archive, without Kafka: batches in, evidence and archive out."""

    def __init__(self, folder: Path) -> None:
        self.store, self.archive = LogStore(str(folder / "evidence")), Archive(str(folder / "archive"))
        self.profiles = ProfileStore(str(folder / "profiles"))
        self.signer = Signer("gim", bytes(32))
        self.logs: dict[str, LogState] = {}
        self.next = {"config": 0, "signals": 0, "safeguards": 0, "verdicts": 0}
        self.standing = Standing()
        self.agent: PolicyAgent | None = None
        self.offset = 0

    def stand(self, short: str, key: str, value: bytes | None, at: int = 0) -> None:
        record = Plain(f"gim.{short}", 0, self.next[short], at, key.encode(), value)
        self.next[short] += 2  # its transaction's marker takes an offset
        self.standing, refused = self.standing.fold(short, [record])
        assert not refused
        self.keep(short, [record])

    def apply(self, new: Configuration) -> None:
        data = ConfigurationData(digest=new.digest(), document=new.document())
        event = ConfigurationEvent(id=f"c{self.next['config']}", source="/gim/operator", data=data)
        self.stand("config", "current", event.model_dump_json(exclude_none=True).encode())
        known = known_of({*self.standing.rules.profiles.values()}, self.profiles.get)
        self.standing = replace(self.standing, anomalies=known)
        if self.agent is None:
            self.agent = PolicyAgent("gim", TOPIC, 0, SALT, new)
            self.agent.restore(None)

    def judge(self, values: Iterable[bytes | None], times: Iterable[int] = ()) -> list[VerdictId]:
        """One batch; `times` are broker times, otherwise a second after each other."""
        assert self.agent is not None
        given_times = dict(enumerate(times))
        records = []
        for number, value in enumerate(values):
            time = given_times.get(number, self.offset * 1_000)
            records.append(Plain(TOPIC, 0, self.offset, time, b"k", value, (("trace", b"1"),)))
            self.offset += 1
        self.offset += 1
        written = collect(self.agent.decide(records, self.standing))["gim.verdicts", 0]
        verdicts = []
        for key, value, headers in written:
            verdicts.append(Plain("gim.verdicts", 0, self.next["verdicts"], 7, key, value, tuple(headers)))
            self.next["verdicts"] += 1
        self.keep("verdicts", verdicts)
        self.archive.append(TOPIC, 0, records)
        return [VerdictId(TOPIC, 0, record.offset, "gate") for record in records]

    def keep(self, short: str, records: list[Plain]) -> None:
        log = origin("gim", short, 0)
        step = audit(self.logs.get(log, LogState(log)), records)
        self.logs[log] = step.state
        self.store.write(step.files)
        self.store.write_checkpoint(self.signer.sign(step.text))

    def again(self, verdict: VerdictId, salt: Committer | None = SALT) -> Reexecuted:
        return reexecute(verdict, "gim", self.store, self.archive, salt, LIMIT, self.profiles.get)


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    found = Lane(tmp_path)
    found.apply(configuration())
    return found


def test_every_recorded_decision_comes_out_with_the_same_bytes(lane):
    first = lane.judge([decision(0), decision(1, x=200), b"{", None], times=[5_000, 3_000, 9_000, 1])
    second = lane.judge([decision(0), decision(1, x=5), decision(2, confidence=0.5)])
    for verdict in [*first, *second]:
        found = lane.again(verdict)
        assert found.identical
        assert found.recorded == found.again
        assert found.remarks == ()
        assert found.verdict.id == str(verdict)
    kinds = [lane.again(one).verdict.data.kind for one in [*first, *second]]
    assert kinds == ["decision", "decision", "malformed", "malformed", "duplicate", "conflict", "decision"]


def test_it_is_judged_by_what_stood_then_and_not_by_what_stands_now(lane):
    (before,) = lane.judge([decision(0, confidence=0.65)])
    lane.apply(configuration(0.7))
    (between,) = lane.judge([decision(1, confidence=0.65)])
    order = Safeguard(
        id="s", source="/o", data=SafeguardData(kind="hold_all", model="limit", active=True, reason="wait")
    )
    lane.stand("safeguards", "s1", order.model_dump_json(exclude_none=True).encode())
    (after,) = lane.judge([decision(2)])
    lane.stand("safeguards", "s1", None)
    found = [lane.again(one) for one in (before, between, after)]
    assert [one.identical for one in found] == [True, True, True]
    assert [one.verdict.data.effect for one in found] == ["allow", "hold", "hold"]
    assert [one.verdict.data.as_of.config for one in found] == [1, 3, 3]
    assert [one.verdict.data.as_of.safeguards for one in found] == [0, 0, 1]


def test_a_verdict_by_a_p_value_comes_out_the_same_with_the_profile_and_is_not_guessed_without_it(lane, tmp_path):
    lane.profiles.put(unusual.profile().to_bytes())
    lane.apply(unusual.configuration())
    rows = unusual.inputs(60, 3, odd=(11, 40))
    judged = lane.judge(unusual.event(number, one) for number, one in enumerate(rows))
    odd = (judged[11], judged[40])
    for one in (judged[0], *odd):
        found = lane.again(one)
        assert (found.recorded == found.again, found.remarks) == (True, ())
        assert found.verdict.data.effect == ("hold" if one in odd else "allow")
    (kept,) = (tmp_path / "profiles").iterdir()
    data = kept.read_bytes()
    kept.write_bytes(data.replace(b'"rows":6000', b'"rows":6001'))
    with pytest.raises(Misconfigured, match="bytes are not those of sha256:"):
        lane.again(judged[11])
    kept.unlink()
    with pytest.raises(NotReproducible, match=f"there is no profile {unusual.profile().digest}"):
        lane.again(judged[11])


MINUTE = 60_000


def watching(*rules: dict[str, Any], clock: str = "broker") -> Configuration:
    """A configuration whose rules read the signals of a monitor."""
    limit = {"features": {"x": "numeric"}, "versions": ["1"], "clock": clock, "mode": "gate"}
    listed = [{"id": f"r{number}", "effect": "hold", **rule} for number, rule in enumerate(rules)]
    document = {"models": {"limit": limit}, "monitors": {"gap": {"kind": "parity"}}}
    return Configuration.model_validate({**document, "policies": [{"policy": "p", "rules": listed}]})


def say(lane: Lane, status: SignalStatus | None, clock_ms: int, group: str | None = None, **more: Any) -> None:
    """A signal, or its removal."""
    key = json.dumps(["limit", "1", "gap", None, group], separators=(",", ":"))
    if status is None:
        lane.stand("signals", key, None, clock_ms)
        return
    data = SignalData(
        model="limit",
        version="1",
        monitor="gap",
        group=group,
        status=status,
        clock_ms=clock_ms,
        since_ms=clock_ms,
        **more,
    )
    event = Signal(id=f"s{lane.next['signals']}", source="/m", data=data)
    lane.stand("signals", key, event.model_dump_json(exclude_none=True).encode(), clock_ms + 500)


ALARM = "signals.gap.status = 'alarm'"


@pytest.mark.parametrize("clock", ["broker", "event"])
def test_a_verdict_that_used_signals_comes_out_the_same_waiting_and_lingering_rules_included(lane, clock):
    lane.apply(
        watching({"when": ALARM, "for": "5m"}, {"when": ALARM, "keep_firing_for": "10m"}, {"when": ALARM}, clock=clock)
    )

    def judged(*minutes: int) -> list[VerdictId]:
        decisions = [decision(minute, time=iso(minute * MINUTE)) for minute in minutes]
        return lane.judge(decisions, times=[minute * MINUTE for minute in minutes])

    say(lane, SignalStatus.OK, 0)
    (calm,) = judged(2)
    say(lane, SignalStatus.ALARM, 3 * MINUTE, estimate=0.6)
    (fresh, stood) = judged(4, 8)
    say(lane, SignalStatus.OK, 9 * MINUTE)
    (lingers, over) = judged(10, 20)
    say(lane, SignalStatus.ALARM, 30 * MINUTE)
    verdicts = [calm, fresh, stood, lingers, over]
    found = [lane.again(one) for one in verdicts]
    assert [one.identical and not one.remarks for one in found] == [True] * 5
    reasons = [[reason.rule for reason in one.verdict.data.reasons] for one in found]
    assert reasons == [[], ["p/r1", "p/r2"], ["p/r0", "p/r1", "p/r2"], ["p/r1"], []]
    assert [one.verdict.data.as_of.signals for one in found] == [1, 3, 3, 5, 5]


said = st.tuples(st.sampled_from([None, "a"]), st.sampled_from([None, *list(SignalStatus)[2:]]))
rule = st.fixed_dictionaries({"for": st.sampled_from([0, 60, 300]), "keep_firing_for": st.sampled_from([0, 60, 300])})


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(said, st.integers(1, 3), st.lists(rule, min_size=1, max_size=2)), max_size=14))
def test_whatever_signals_and_rules_came_in_between_the_verdicts_come_out_the_same(tmp_path_factory, steps):
    """A lane that meets a rule that looks further back reads its signals again, as a lane on Kafka does."""
    lane = Lane(tmp_path_factory.mktemp("lane"))
    lane.apply(watching({"when": ALARM}))
    now, verdicts, records = 0, [], []
    for step in steps:
        now += MINUTE
        if isinstance(step, int):
            verdicts += lane.judge([decision(lane.offset)] * step, times=[now + n for n in range(step)])
        elif isinstance(step, tuple):
            before = lane.next["signals"]
            say(lane, step[1], now, step[0])
            records += list(stored(lane, before))
        else:
            lane.apply(watching(*({"when": ALARM, **one} for one in step)))
            if lane.standing.forgetful:
                lane.standing, _refused = lane.standing.unread().fold("signals", records)
    for verdict in verdicts:
        found = lane.again(verdict)
        assert (found.recorded, found.differences) == (found.again, ())


def stored(lane: Lane, since: int) -> Iterable[Plain]:
    """The audited records of signals from an offset on."""
    log = origin("gim", "signals", 0)
    return [one for one in stored_records(lane.store.read, log, lane.logs[log].size) if one.offset >= since]


def test_a_duplicate_window_that_began_anew_is_followed(lane):
    lane.judge([decision(0)])
    lane.apply(configuration(duplicate_window=3))
    (fresh,) = lane.judge([decision(0)])  # a window of another size knows nothing of the first
    (repeat,) = lane.judge([decision(0)])
    lane.judge([decision(n) for n in (1, 2, 3)])
    (left,) = lane.judge([decision(0)])
    found = [lane.again(one) for one in (fresh, repeat, left)]
    assert [one.verdict.data.kind for one in found] == ["decision", "duplicate", "decision"]
    assert [one.identical for one in found] == [True, True, True]


STEPS = st.lists(
    st.one_of(
        st.lists(st.integers(0, 4), min_size=1, max_size=6),  # a batch of decisions with these ids
        st.tuples(st.sampled_from([2, 3, 100]), st.sampled_from([0.3, 0.6])),  # a configuration
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_whatever_happened_before_the_bytes_are_the_same(tmp_path_factory, steps):
    lane = Lane(tmp_path_factory.mktemp("lane"))
    lane.apply(configuration())
    verdicts = []
    for step in steps:
        if isinstance(step, tuple):
            lane.apply(configuration(step[1], duplicate_window=step[0]))
        else:
            verdicts += lane.judge([decision(n, confidence=0.5) for n in step])
    for verdict in verdicts:
        found = lane.again(verdict)
        assert (found.recorded, found.differences) == (found.again, ())


def altered(lane: Lane, verdict: VerdictId, value: bytes) -> None:
    """The archive gives other bytes for a decision than those that were judged."""
    lane.archive = Archive(str(lane.archive._root) + "-altered")
    lane.archive.append(TOPIC, 0, [Plain(TOPIC, 0, verdict.offset, 0, b"k", value, (("trace", b"1"),))])


def test_an_altered_decision_does_not_come_out_the_same_and_the_fields_are_named(lane):
    (verdict,) = lane.judge([decision(0)])
    altered(lane, verdict, decision(0, x=200))
    found = lane.again(verdict)
    assert not found.identical
    named = {one.field: (one.recorded, one.again) for one in found.differences}
    assert named["data.effect"] == ('"allow"', '"block"')
    assert named["data.reasons[0].rule"] == ("nothing", '"p/large"')
    assert "data.commitment.value" in named


def test_a_change_that_no_rule_sees_still_breaks_the_commitment(lane):
    (verdict,) = lane.judge([decision(0, x=1)])
    altered(lane, verdict, decision(0, x=2))
    assert [one.field for one in lane.again(verdict).differences] == ["data.commitment.value"]


@pytest.mark.parametrize(("salt", "why"), [(None, "no salt key here"), (Committer("gim-2", bytes(32)), "is gim-2")])
def test_without_the_salt_key_all_but_the_commitment_is_compared(lane, salt, why):
    (verdict,) = lane.judge([decision(0)])
    found = lane.again(verdict, salt)
    assert found.identical
    assert len(found.remarks) == 1
    assert why in found.remarks[0]
    altered(lane, verdict, decision(0, x=200))
    assert not lane.again(verdict, salt).identical


def test_a_decision_that_has_expired_says_so(lane):
    (gone,) = lane.judge([decision(0)])
    (repeat, fresh) = lane.judge([decision(0), decision(1)])
    lane.archive.expire(TOPIC, 0, retention_ms=1_500, now_ms=2_000)
    with pytest.raises(Expired, match=r"gim.decisions/0/0 has expired"):
        lane.again(gone)
    with pytest.raises(Expired, match="decisions before offset 1 have expired"):
        lane.again(repeat)  # what it repeats is gone
    found = lane.again(fresh)
    assert found.identical
    assert "whether it repeats one is unknown" in found.remarks[0]


def test_what_is_missing_is_named(lane):
    (verdict,) = lane.judge([decision(0)])
    with pytest.raises(Misconfigured, match=r"no verdict gim.decisions/0/99/gate"):
        lane.again(VerdictId(TOPIC, 0, 99, "gate"))
    with pytest.raises(Misconfigured, match="person's answer"):
        lane.again(VerdictId(TOPIC, 0, 0, "final"))
    archive, lane.archive = lane.archive, Archive("memory://empty")
    with pytest.raises(NotReproducible, match=r"the archive has no decision gim.decisions/0/0"):
        lane.again(verdict)
    lane.archive = archive
    lane.next["config"] = 6
    lane.standing, _ = lane.standing.fold(
        "config", [Plain("gim.config", 0, 6, 0, b"current", _applied(configuration(0.7)))]
    )
    (early,) = lane.judge([decision(1)])
    with pytest.raises(NotReproducible, match="config read up to offset 7, which the evidence does not hold"):
        lane.again(early)


def _applied(new: Configuration) -> bytes:
    data = ConfigurationData(digest=new.digest(), document=new.document())
    return ConfigurationEvent(id="c", source="/o", data=data).model_dump_json(exclude_none=True).encode()


def test_lanes_of_two_topics_that_share_a_log_are_told_apart(lane):
    """Each input topic has its own lane, and lanes of one partition number write to the same verdicts partition."""
    (first,) = lane.judge([decision(0)], times=[9_000])
    other = PolicyAgent("gim", "own.topic", 0, SALT, lane.standing.configuration)
    other.restore(None)
    record = Plain("own.topic", 0, 0, 50_000, None, decision(0))
    ((key, value, headers),) = collect(other.decide([record], lane.standing))["gim.verdicts", 0]
    lane.keep("verdicts", [Plain("gim.verdicts", 0, lane.next["verdicts"], 0, key, value, tuple(headers))])
    lane.next["verdicts"] += 1
    lane.archive.append("own.topic", 0, [record])
    (second,) = lane.judge([decision(1)], times=[8_000])
    for verdict in (first, VerdictId("own.topic", 0, 0, "gate"), second):
        assert lane.again(verdict).identical


def test_the_command_tells_identical_from_not_and_from_cannot(lane, tmp_path, capsys, monkeypatch):
    made = keys.generate("gim", tmp_path / "keys")
    lane.agent = PolicyAgent("gim", TOPIC, 0, keys.load_salt(made.salt), lane.standing.configuration)
    lane.agent.restore(None)
    (verdict, _late) = lane.judge([decision(0, x=200), decision(1)])
    options = ["--store", str(tmp_path / "evidence"), "--name", "gim", "--dir", str(tmp_path / "keys")]

    def run(*words: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            command("replay")(args=[*words, *options], prog_name="govern replay")
        said: Any = capsys.readouterr()
        return ended.value.code, said.out + said.err

    archive = ["--archive", str(tmp_path / "archive")]
    code, said = run(verdict.position, *archive)
    assert code == 0
    assert "identical  gim.decisions/0/0/gate  (all " in said
    assert "block: p/large, q/watched" in said
    code, said = run(str(verdict), *archive, "--json")
    document = json.loads(said)
    assert (code, document["identical"], document["differences"]) == (0, True, [])
    assert document["recorded"] == document["again"]
    altered(lane, verdict, decision(0, x=300))
    code, said = run(verdict.position, "--archive", str(lane.archive._root))
    assert code == 1
    assert "NOT the same" in said
    assert "data.commitment.value: recorded" in said
    code, said = run("gim.decisions/0/1", "--archive", str(lane.archive._root))
    assert code == 2
    assert "the archive has no decision gim.decisions/0/1" in said
