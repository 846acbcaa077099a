"""Laws of the escalation agent: cuts and restarts change nothing, and no answer ever counts twice."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.people_events import Status
from tests.unit.escalation.lane import Lane, alarm, declared, flag, signal

TEAMS = {
    "credit": {
        "members": ["ann", "bob", "cy"],
        "open_items": 2,
        "on_call": {"rotation": ["ann", "bob"], "start": "2026-03-02T00:00:00+00:00"},
    }
}
CONFIGURATION = declared(
    teams=TEAMS,
    group_by=["cause", "model", "version"],
    resolve_after="10m",
    chains={
        "default": {
            "steps": [{}, {"after": "5m", "tell": ["members"]}],
            "group_wait": "10s",
            "repeat_interval": "20m",
            "deadline": "30m",
            "at_deadline": "escalate",
            "statutory_deadline": "3h",
            "warn_before": "1h",
        }
    },
)
FLAGS = st.lists(
    st.tuples(
        st.sampled_from(["lending/a", "lending/b", "gap"]),
        st.sampled_from(["1", "2", None]),
        st.sampled_from(["warning", "error"]),
        st.integers(1, 500),
        st.integers(0, 900_000),
    ),
    max_size=25,
)


def flags_of(found: list[tuple[Any, ...]]) -> list[tuple[int, bytes]]:
    """(time, flag): each in its own stretch of one partition."""
    at, first, made = 0, 0, []
    for cause, version, severity, count, gap in found:
        at += gap
        if cause == "gap":
            made.append((at, alarm(version=version, status="alarm" if severity == "error" else "warn", at=first)))
        else:
            made.append((at, flag(cause, version=version, severity=severity, count=count, first=first)))
        first += count
    return made


@settings(max_examples=60, deadline=None)
@given(FLAGS, st.sets(st.integers(0, 24)))
def test_however_a_stream_of_flags_is_cut_what_is_written_is_the_same(found: list[Any], cuts: set[int]) -> None:
    whole, cut = Lane(CONFIGURATION), Lane(CONFIGURATION)
    start = whole.now
    records = [one for at, value in flags_of(found) for one in whole.records("flags", [value], start + at)]
    whole.step(flags=records)
    edges = sorted({0, len(records), *(one for one in cuts if one < len(records))})
    for first, last in pairwise(edges):
        cut.step(flags=records[first:last])
    for lane in (whole, cut):
        lane.now = max([start, *(one.timestamp for one in records)])
        lane.wait(301)  # what was only counted is written
    assert cut.written == whole.written
    assert sum(one.count for one in whole.incidents.values()) == sum(1 if one[0] == "gap" else one[3] for one in found)
    assert sum(one.flags for one in whole.incidents.values()) == len(found)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("flag"), st.sampled_from(["lending/a", "lending/b"]), st.sampled_from(["1", "2"])),
        st.tuples(st.just("alarm"), st.sampled_from(["warn", "alarm"]), st.sampled_from(["1", "2", None])),
        st.tuples(st.just("signal"), st.sampled_from(["ok", "alarm"]), st.sampled_from(["1", "2", "*"])),
        st.tuples(st.just("wait"), st.integers(1, 4000), st.just("")),
        st.tuples(
            st.sampled_from(["acknowledge", "approve", "reject", "respond", "resolve"]),
            st.sampled_from(["ann", "bob", "cy"]),
            st.integers(0, 3),
        ),
        st.tuples(st.just("silence"), st.integers(1, 3000), st.sampled_from(["ann", "bob"])),
    ),
    max_size=25,
)


def play(lane: Lane, events: list[Any], restarts: set[int]) -> Lane:
    """Let all of it happen; before the chosen events the lane is started again from its snapshot."""
    first = 0
    for number, (kind, what, who) in enumerate(events):
        if number in restarts:
            lane.restart()
        lane.now += 700
        if kind == "flag":
            lane.flags(flag(what, version=who, count=3, first=first))
            first += 3
        elif kind == "alarm":
            lane.flags(alarm(version=who, status=what, at=number))
        elif kind == "signal":
            lane.step(signals=[signal(what, version=who)])
        elif kind == "wait":
            lane.wait(what)
        elif kind == "silence":
            matchers = {"team": "credit", "model": "credit"}
            silence = {"matchers": matchers, "starts_ms": lane.now, "ends_ms": lane.now + what * 1000}
            lane.answer(who, "silence", silence=silence)
        else:
            known = list(lane.incidents.values())
            if known:
                more = {"response": "why?"} if kind == "respond" else {}
                lane.answer(what, kind, known[who % len(known)], **more)
    return lane.wait(10)


@settings(max_examples=80, deadline=None)
@given(EVENTS, st.sets(st.integers(0, 24)))
def test_wherever_the_lane_is_started_again_it_writes_the_same_bytes(events: list[Any], restarts: set[int]) -> None:
    assert play(Lane(CONFIGURATION), events, restarts).written == play(Lane(CONFIGURATION), events, set()).written


REMEMBERED = ("now_ms", "live", "groups", "closed", "silences", "overrides", "dead", "reviews", "sequence", "opened")


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_a_snapshot_holds_all_that_the_lane_remembers(events: list[Any]) -> None:
    lane = play(Lane(CONFIGURATION), events, set())
    before, due = lane.agent.desk.state, dict(lane.agent.desk.due)
    after = lane.restart().agent.desk.state
    assert after is not before
    for name in REMEMBERED:
        assert getattr(after, name) == getattr(before, name), name
    assert list(after.live) == list(before.live), "in the same order"
    assert +after.load == +before.load
    assert lane.agent.desk.due == due, "and what comes next follows"


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_what_is_written_holds_together_whatever_happens(events: list[Any]) -> None:
    lane = play(Lane(CONFIGURATION), events, set())
    revisions: dict[str, list[int]] = {}
    for one in lane.history:
        revisions.setdefault(one.incident, []).append(one.revision)
    assert all(found == list(range(len(found))) for found in revisions.values())
    numbers = [dict(headers)["govern-seq"] for _, _, headers in lane.written.get("incidents", ())]
    assert numbers == [b"%d" % number for number in range(len(numbers))]
    order = [Status.TRIGGERED, Status.ACKNOWLEDGED, Status.RESOLVED]
    for name in revisions:
        went = [order.index(one.status) for one in lane.history if one.incident == name]
        assert went == sorted(went), "a status only moves forward"
    final = [one for one in lane.rulings if one.effect != "hold"]
    for name in revisions:
        ends = [one.through for one in final if one.incident == name]
        assert ends == sorted(ends, key=lambda one: sum(one.values()))
        assert len({str(one) for one in ends}) == len(ends), "no ruling twice on the same decisions"
    keys = [key for key, _, _ in lane.written.get("notifications", ())]
    assert len(keys) == len(set(keys))
    open_load: Counter[str] = Counter()
    for live in lane.agent.desk.state.live.values():
        open_load.update(live.data.with_ if live.open else ())
    assert +lane.agent.desk.state.load == +open_load
