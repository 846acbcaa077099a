"""The outsider's check of monitor lanes sees what it must: each promise broken once, on what lanes would write."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.monitor.agent import AssessAgent
from agents.monitor.join_agent import JoinAgent
from agents.monitor.observing import Observer
from agents.records import Plain, collect
from orchestration import config_files
from tests.chaos import campaign, monitored, stream
from tests.chaos.checker import Seen

Topics = dict[str, list[Seen]]
NOW_MS = 1_767_225_600_000


def written(cut: int) -> Topics:
    """What the lanes write about 1,200 decisions that they take so many at a time."""
    configuration = config_files.load(campaign.CONFIG)
    source = stream.decisions(1)
    topics: Topics = {name: [] for name in monitored.TOPICS}

    def put(name: str, key: bytes | None, value: bytes | None, headers: object = ()) -> None:
        topics[name].append(Seen(0, len(topics[name]), key, value, tuple(headers)))  # type: ignore[call-overload]

    for key, value in stream.attributes():
        put("attributes", key, value)
    for key, value, headers in (next(source) for _ in range(1_200)):
        put("decisions", key, value, headers)
        for name, told in stream.outcomes(value):
            put("outcomes", name, told)

    def records(name: str) -> list[Plain]:
        return [
            Plain(f"p.{name}", 0, one.offset, NOW_MS + 20 * one.offset, one.key, one.value, one.headers)
            for one in topics[name]
        ]

    observer = Observer("p", "p.decisions", 0, configuration)
    join = JoinAgent("p", "p.cases", 0, configuration)
    assess = AssessAgent("p", "p.observations", 0, configuration)
    decisions, known = records("decisions"), records("attributes")
    for start in range(0, len(decisions), cut):
        _take(observer.take(known if not start else (), decisions[start : start + cut]), put)
    _take(join.take(records("cases"), records("outcomes"), ()), put)
    _take(assess.take(records("observations"), ()), put)
    return topics


def _take(outputs: object, put: Callable[..., None]) -> None:
    for (topic, _), messages in collect(outputs).items():  # type: ignore[arg-type]
        for message in messages:
            put(topic.removeprefix("p."), *message)


@pytest.fixture(scope="module")
def whole() -> Topics:
    return written(100)


def test_what_lanes_write_is_whole_and_the_same_in_all_however_it_was_cut(whole: Topics) -> None:
    assert monitored.check(whole) == []
    other = written(333)
    assert monitored.check(other) == []
    assert monitored.compare(whole, other) == []
    assert len(whole["observations"]) != len(other["observations"])
    assert whole["flags"], "the unfair stream raises an alarm"


def test_every_broken_promise_is_named(whole: Topics) -> None:
    def said(name: str, change: Callable[[list[Seen]], list[Seen]]) -> set[tuple[str, str]]:
        return {(one.kind, one.where.split()[0]) for one in monitored.check({**whole, name: change(whole[name])})}

    assert ("lost", "decision") in said("observations", lambda all_: all_[1:])
    assert ("doubled", "decisions") in said("observations", lambda all_: all_[:1] + all_)
    assert ("altered", "decisions") in said("observations", lambda all_: [_changed(all_[0]), *all_[1:]])
    assert said("cases", lambda all_: all_[1:]) == {("lost", '["/chaos","1-1"]')}
    assert said("cases", lambda all_: all_ + all_[:1]) == {("doubled", '["/chaos","1-1"]')}
    last = max(at for at, one in enumerate(whole["observations"]) if b'"stage":"outcomes"' in (one.value or b""))
    assert ("lost", "matured") in said("observations", lambda all_: all_[:last] + all_[last + 1 :])
    assert ("doubled", "matured") in said("observations", lambda all_: [*all_, all_[last]])
    assert ("lost", "signals") in said("signals", lambda all_: all_[1:])
    assert ("doubled", "signals") in said("signals", lambda all_: all_ + all_[-1:])
    assert {kind for kind, _ in said("flags", lambda all_: all_[1:])} == {"lost"}
    assert {kind for kind, _ in said("flags", lambda all_: all_ + all_[:1])} == {"doubled"}


def test_two_runs_that_differ_are_told_apart(whole: Topics) -> None:
    def differs(name: str, records: list[Seen]) -> list[str]:
        return [one.where for one in monitored.compare(whole, {**whole, name: records})]

    assert differs("cases", whole["cases"][:-1]) == ["cases"]
    assert differs("observations", [_changed(whole["observations"][0]), *whole["observations"][1:]]) == ["observations"]
    quiet = [one for one in whole["signals"] if b'"alarm"' not in (one.value or b"")]
    assert differs("signals", quiet) == ["signals"]


def _changed(one: Seen) -> Seen:
    event = json.loads(one.value or b"")
    event["data"]["counts"]["gap"]["sex"][0][1] += 1
    return replace(one, value=json.dumps(event).encode())
