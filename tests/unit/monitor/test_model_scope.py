"""Monitors of all versions of a model, through both halves of the agent: replaced versions, silence, lanes that lag."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from agents.configuration import Configuration, Model
from agents.events import SignalData
from agents.monitor.agent import AssessAgent
from agents.monitor.contract import Counts, Judgement, merge
from agents.monitor.counting import arrays
from agents.monitor.explaining import explain
from agents.monitor.observing import Observer
from agents.monitor.profiles import Profile, fit
from agents.monitor.volume import FEWER, MORE, Volume
from agents.monitor.watch import Watch
from agents.partitions import partition_of
from agents.records import Plain, Record, collect
from tests.unit.monitor.test_volume import clock, view

MINUTE = 60_000
START = 20_103 * 1440 + 540  # a minute: a Wednesday, 09:00 UTC
PROFILE = fit({"volume": Volume}, view(clock(7, 0, start=START - 7 * 1440)), "credit", Model())
PROFILES = {PROFILE.digest: PROFILE}
VOLUME = Configuration.model_validate(
    {"models": {"credit": {"profile": PROFILE.digest, "features": {"x": "numeric?"}}}, "monitors": {"volume": {}}}
)
Versions = Callable[[int], str]
"""Which version decides at a moment, ms."""


def decisions(until: int, version: Versions, seed: int = 1) -> list[Plain]:
    """Records from START on, some four a minute; the offset is the number."""
    times_ms = clock(until / 1440, seed, start=START)
    found = []
    for number, at in enumerate(times_ms.tolist()):
        data = {"model": {"name": "credit", "version": version(at)}, "features": {"x": 1.0}, "output": {"score": 0.5}}
        event = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": f"d{number}",
            "source": "/test",
            "time": f"{np.datetime64(at, 'ms')}Z",
            "subject": f"s{number}",
            "data": data,
        }
        found.append(Plain("t.decisions", 0, number, at, f"s{number}".encode(), json.dumps(event).encode()))
    return found


class Lanes:
    """Observe lanes, one a partition of decisions, and the assess lane; a turn takes what came until a moment."""

    def __init__(self, partitions: int = 1, configuration: Configuration = VOLUME, restart: bool = False) -> None:
        self.configuration, self.restart = configuration, restart
        self.observers = [Observer("t", "t.decisions", one, configuration, PROFILES) for one in range(partitions)]
        self.waiting: list[list[Plain]] = [[] for _ in range(partitions)]
        self.agent = self._agent()
        self.observations: list[Plain] = []
        self.signals: list[bytes] = []
        self.keys: set[str] = set()
        self.flags: list[dict[str, Any]] = []

    def run(
        self, made: Iterable[Plain], until: int, *, every: int = 1, dead: Mapping[int, range] | None = None
    ) -> None:
        """Turns `every` minutes up to `until` minutes after START; `dead`: minutes in which a lane does nothing."""
        rest = list(made)
        for minute in range(every, until + 1, every):
            now = (START + minute) * MINUTE
            while rest and rest[0].timestamp < now:
                one = rest.pop(0)
                at = partition_of(one.key or b"", len(self.observers))
                self.waiting[at].append(Plain(one.topic, at, one.offset, one.timestamp, one.key, one.value))
            alive = [one for one in range(len(self.observers)) if minute not in (dead or {}).get(one, range(0))]
            self.turn(now, alive)

    def turn(self, now: int, alive: Iterable[int]) -> None:
        """Everything that is there, and the time."""
        tick = Plain("t.ticks", 0, now // MINUTE, now, None, b"")
        fresh: list[Record] = []
        for one in alive:
            mine, self.waiting[one] = self.waiting[one], []
            written = collect(self.observers[one].take([], mine, [tick])).get(("t.observations", 0), [])
            for key, value, headers in written:
                fresh.append(Plain("t.observations", 0, len(self.observations), now, key, value, headers))
                self.observations.append(fresh[-1])  # type: ignore[arg-type]
        for (topic, _), messages in collect(self.agent.take(fresh, [tick])).items():
            for key, value, _ in messages:
                assert key is not None
                if value is None:
                    self.keys.discard(key.decode())  # withdrawn, because its monitor ended
                elif topic == "t.flags":
                    self.flags.append(json.loads(value)["data"])
                elif not key.startswith(b'["watermark"'):
                    self.signals.append(value)
                    self.keys.add(key.decode())
        if self.restart:
            agent = self.agent
            kept = [agent.now_ms, agent.head(), {name: one.snapshot() for name, one in agent.assessors.items()}]
            self.agent = self._agent()
            self.agent.restore(*json.loads(json.dumps(kept)))
            self.agent.sequence = dict(agent.sequence)

    def alarms(self) -> list[SignalData]:
        """Signals that are alarms."""
        found = [SignalData.model_validate(json.loads(one)["data"]) for one in self.signals]
        return [one for one in found if one.status.value == "alarm"]

    def judgements(self) -> list[Judgement]:
        """What volume says now."""
        assessor = self.agent.assessors["credit"]
        monitor = next(one for one in assessor.watched.monitors if one.name == "volume")
        return list(monitor.judge(assessor.states["*", "volume"]))

    def _agent(self) -> AssessAgent:
        return AssessAgent("t", "t.observations", 0, self.configuration, 1, PROFILES)


def both(at: int) -> str:
    """Two versions that share the traffic."""
    return str(1 + at // 7 % 2)


def test_a_version_that_replaces_another_is_no_silence() -> None:
    lanes = Lanes()
    lanes.run(decisions(150, lambda at: "1" if at < (START + 60) * MINUTE else "2"), 150)
    assert lanes.alarms() == []
    assert lanes.keys == {f'["credit","*","volume",null,"{group}"]' for group in (MORE, FEWER)}
    told = {one.group: one for one in lanes.judgements()}[FEWER]
    assert told.status.value == "ok"
    assert told.n is not None
    assert 4 * 140 < told.n < 4 * 155, "decisions of both"


def test_a_silence_of_all_versions_is_noticed_while_nobody_sends_anything() -> None:
    lanes = Lanes()
    lanes.run(decisions(60, both), 80)
    alarm = lanes.alarms()[0]
    assert (alarm.version, alarm.scope, alarm.group) == ("*", "model", FEWER)
    assert alarm.whose == "all versions"
    assert alarm.clock_ms is not None
    assert START + 60 < alarm.clock_ms // MINUTE <= START + 70
    assert alarm.observations is not None
    flag = lanes.flags[0]
    assert flag["dedup_key"] == f'["volume","credit",null,"{FEWER}"]'
    assert "none for" in flag["reason"]


def test_any_batching_and_any_number_of_partitions_give_the_same_counts_and_the_same_judgement() -> None:
    made = decisions(100, both)
    lanes = [Lanes(), Lanes(), Lanes(partitions=8)]
    for one, every in zip(lanes, (1, 10, 5), strict=True):
        one.run(made, 120, every=every)
    first, second, spread = [one.judgements() for one in lanes]
    for mine, theirs in zip(first, second, strict=True):
        for name in ("status", "n", "onset_ms", "onset_n"):
            assert getattr(mine, name) == getattr(theirs, name)
        assert mine.estimate == pytest.approx(theirs.estimate, rel=1e-9)
        assert mine.detail == pytest.approx(theirs.detail, rel=1e-9)
        assert mine.e_value == pytest.approx(theirs.e_value, rel=1e-7)
    for mine, theirs in zip(first, spread, strict=True):  # begins with the first lane that says something
        assert (mine.status, mine.onset_ms) == (theirs.status, theirs.onset_ms)
        assert mine.estimate == pytest.approx(theirs.estimate, rel=0.02)
    assert counted(lanes[0]) == counted(lanes[1]) == counted(lanes[2])
    assert sum(map(sum, counted(lanes[0]).values())) == len(made)


def counted(lanes: Lanes) -> dict[str, list[int]]:
    """What all observations of all versions say together."""
    total: Counts = {}
    for one in lanes.observations:
        data = json.loads(one.value)["data"]
        if data.get("scope") == "model":
            total = merge(total, arrays(data["counts"])["volume"])
    return {key: values.tolist() for key, values in total.items()}


def test_restarted_after_every_batch_it_writes_the_same_bytes() -> None:
    made = decisions(60, both)
    straight, restarted = Lanes(), Lanes(restart=True)
    for one in (straight, restarted):
        one.run(made, 75)
    assert straight.alarms()
    assert restarted.signals == straight.signals
    assert restarted.flags == straight.flags


def test_a_lane_that_stands_still_is_no_silence_and_loses_nothing_when_it_comes_back() -> None:
    made = decisions(100, both)
    whole, broken = Lanes(partitions=2), Lanes(partitions=2)
    whole.run(made, 104)
    broken.run(made, 104, dead={1: range(30, 80)})
    assert {partition_of(one.key or b"", 2) for one in made} == {0, 1}
    assert broken.alarms() == []
    assert [one.n for one in broken.judgements()] == [one.n for one in whole.judgements()]
    assert [one.estimate for one in broken.judgements()] == pytest.approx([one.estimate for one in whole.judgements()])


def test_a_monitor_that_is_declared_in_the_middle_of_a_silence_notices_it() -> None:
    before = VOLUME.model_copy(update={"monitors": {"operations": {"parts": ["missing"]}}})
    lanes = Lanes(configuration=before)
    lanes.run(decisions(30, both), 31)
    assert lanes.keys == {f'["credit","{version}","operations",null,"feature=x"]' for version in "12"}
    lanes.agent.switch(VOLUME, PROFILES)
    for one in lanes.observers:
        one.switch(VOLUME, PROFILES, 10**6)
    for minute in range(32, 52):
        lanes.turn((START + minute) * MINUTE, [0])
    assert [one.group for one in lanes.alarms()][:1] == [FEWER]


@pytest.mark.parametrize("declared_late", [False, True])
def test_an_alarm_of_silence_is_recomputed_from_the_observations(declared_late: bool) -> None:
    lanes = Lanes()
    if declared_late:  # its first step is a tick
        lanes.configuration = VOLUME.model_copy(update={"monitors": {"operations": {"parts": ["missing"]}}})
        lanes.observers = [Observer("t", "t.decisions", 0, VOLUME, PROFILES)]
        lanes.agent = lanes._agent()
    made = decisions(60, both)
    if declared_late:
        lanes.run([one for one in made if one.timestamp < (START + 10) * MINUTE], 10)
        lanes.agent.switch(VOLUME, PROFILES)
        lanes.turn((START + 10) * MINUTE + 1, [0])
        made = [one for one in made if one.timestamp >= (START + 10) * MINUTE]
        for minute in range(11, 81):
            now = (START + minute) * MINUTE
            lanes.waiting[0] = [one for one in made if now - MINUTE <= one.timestamp < now]
            lanes.turn(now, [0])
    else:
        lanes.run(made, 80)
    alarm = lanes.alarms()[0]
    assert alarm.observations is not None
    taken = lanes.observations[alarm.observations.start : alarm.observations.end]
    found = explain(alarm, taken, VOLUME, PROFILES)
    assert found.matches, found.differences
    assert found.tipped is None, "time did it"
    counted = [json.loads(one.value)["data"] for one in taken]
    assert found.decisions == sum(one["n"] for one in counted if one.get("scope") == "model")
    assert any("of all versions" in one.said for one in found.otherwise)


def test_the_library_tells_all_versions_apart_from_each() -> None:
    configuration = VOLUME.model_copy(update={"monitors": {"volume": {}, "operations": {"parts": ["missing"]}}})
    watch = Watch(configuration)
    watch.compare_with({"credit": PROFILE})
    times_ms = clock(0.1, 3, start=START)
    stop = (START + 60) * MINUTE
    kept = times_ms[(times_ms < stop) | (times_ms > stop + 30 * MINUTE)]
    rows = [{"time": int(at), "version": both(at), "x": 1.0} for at in kept.tolist()]
    said = watch.feed([{**one, "event_time_ms": one.pop("time")} for one in rows])
    assert {one.versions for one in said if one.monitor == "volume"} == {"all"}
    assert {one.versions for one in said if one.monitor == "operations"} == {"1", "2"}
    assert [one.group for one in said if one.status.value == "alarm"][:1] == [FEWER]
    assert {(one["version"], one.get("scope")) for one in watch.report() if one["monitor"] == "volume"} == {
        ("*", "model")
    }


def test_a_version_that_is_called_like_all_of_them_is_a_version() -> None:
    lanes = Lanes(
        configuration=VOLUME.model_copy(update={"monitors": {"volume": {}, "operations": {"parts": ["missing"]}}})
    )
    lanes.run(decisions(10, lambda at: "*"), 10)
    found = [json.loads(one)["data"] for one in lanes.signals]
    assert {(one["monitor"], one.get("scope")) for one in found} == {("volume", "model"), ("operations", None)}
    ids = [json.loads(one.value)["id"] for one in lanes.observations]
    assert len(set(ids)) == len(ids)
    assert isinstance(PROFILE, Profile)
