"""What the demo's monitors catch, when, and what its picture shows of it."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import numpy as np
import pytest

from agents.events import SignalData, SignalStatus
from agents.monitor import Watch
from agents.monitor.compilation import compile_monitors
from agents.monitor.observing import Observer
from agents.monitor.profiles import Profile
from agents.records import Plain, Record
from orchestration.config_files import load
from orchestration.demo import caught, picture, records, reference
from orchestration.demo.caught import Made, Raised
from orchestration.demo.model import TUNED, VERSION
from orchestration.demo.story import _config
from orchestration.signals_topic import Standing
from tests.unit.demo_parts import TOPIC, WHOLE, desk, messages, people


@cache
def watched() -> tuple[list[Made], list[Raised]]:
    """The whole traffic through the library, which runs the lanes' code; offsets are those of calls."""
    calls, sent = messages(WHOLE)
    found = reference.profiles(load(_config()), desk(), people())
    configuration = reference.profiled(load(_config()), found, lambda data: Profile.of_bytes(data).digest)
    watch = Watch(configuration, profiles=found)
    assert watch.waiting == {}
    known = dict(records.known(people().groups, records.unknown))
    groups = {key.decode(): json.loads(value)["data"]["groups"] for key, value in known.items()}
    made, raised = [], []
    every = list(enumerate(zip(calls, sent, strict=True)))
    for start in range(0, WHOLE, 200):
        part = every[start : start + 200]
        events = [one.value for _, (call, one) in part if call.kind == "decision"]
        made += [Made(call, f"{TOPIC}/0/{at}", one.label, at) for at, (call, one) in part if call.kind == "decision"]
        said = watch.feed(events, attributes=groups)
        counted = Counter((one.call.model, one.call.version) for one in made)
        at = part[-1][0]
        raised += [Raised(one, at, at, counted[one.model, one.version], {0: at + 1}) for one in said]
        groups = {}
    return made, raised


def test_everything_that_goes_wrong_is_caught_and_nothing_else_is():
    made, raised = watched()
    found = caught.caught(made, raised)
    told = caught.checks(found, made, raised, people().groups, desk().clients)
    assert [problem for check in told for problem in check.problems] == []
    delays = {one.cause.what: one.decisions for one in found}
    assert len(delays) == len(caught.CAUSES)
    assert delays["approval gap"] <= 4_000
    assert delays["after-hours misuse"] <= 200
    assert delays["injected prompts"] <= 100
    alarms = [one.data.text for one in raised if caught._about(one.data, caught.CAUSES[1])]
    last = [text for text in alarms if text is not None and "mostly where" in text][-1]
    told_as = {one.cause.what: one.words for one in found}["behaviour after fine-tuning"]
    assert told_as is not None
    assert "mostly where limit_bal" in last == told_as.text


def test_monitors_alarm_only_about_what_goes_wrong():
    _, raised = watched()
    alarms = {(one.data.version, one.data.monitor) for one in raised if one.data.status is SignalStatus.ALARM}
    assert alarms == {(cause.version, cause.monitor) for cause in caught.CAUSES}


def test_the_checks_say_what_was_not_caught_what_came_too_soon_and_what_is_fair_after_all():
    made, raised = watched()
    told = lambda some, rows=None: [  # noqa: E731
        problem
        for check in caught.checks(
            caught.caught(rows or made, some), rows or made, some, people().groups, desk().clients
        )
        for problem in check.problems
    ]
    without = [one for one in raised if one.data.monitor != "after_hours"]
    assert told(without) == ["no alarm about after-hours misuse"]
    alarm = next(one for one in raised if caught._about(one.data, caught.CAUSES[0]))
    first = Raised(alarm.data.model_copy(update={"clock_ms": made[100].call.time_ms}), 0, 0, 0)
    assert any(one.startswith("approval_gap of credit-limit 2.2.0: ") for one in told([first, *raised]))
    assert any("before there was any" in one for one in told([first, *raised]))
    approved = [Made(one.call, one.position, "approve", one.at_ms) for one in made]
    assert any("is 1.00, not below 0.7" in one for one in told(raised, approved))


def test_a_delay_ends_with_the_last_decision_that_monitors_had_counted():
    signal = SignalData(
        model="credit-limit",
        version=TUNED,
        monitor=caught.GAP,
        status="alarm",
        observations={"topic": "demo.observations", "partition": 1, "start": 3, "end": 8},
    )
    rows = [
        (1, 3, TUNED, 40, 0),
        (1, 5, VERSION, 7, 0),
        (1, 7, TUNED, 30, 1),
        (1, 8, TUNED, 50, 0),
        (0, 4, TUNED, 9, 0),
    ]
    records = [
        Plain(
            "demo.observations",
            place,
            at,
            0,
            None,
            json.dumps(
                {
                    "data": {
                        "model": "credit-limit",
                        "version": version,
                        "n": n,
                        "inputs": {"partition": partition, "start": 0, "end": at * 100},
                    }
                }
            ).encode(),
            (),
        )
        for place, at, version, n, partition in rows
    ]
    progress = Plain("demo.observations", 1, 9, 0, None, b'{"data":{"lane":"l","through_ms":5}}', ())
    (found,) = caught.raised([Standing("id", 12, 99, signal)], [*records, progress])
    assert (found.counted, found.offset, found.at_ms) == (70, 12, 99)
    assert found.through == {0: 300, 1: 700}
    beyond = [
        Made(watched()[0][0].call, f"demo.decisions/{p}/{offset}", "approve", 0)
        for p, offset in ((0, 299), (0, 300), (1, 699))
    ]
    assert [caught._counted(one, found) for one in beyond] == [True, False, True]


def test_after_the_alarm_every_decline_of_the_version_must_be_held_and_no_approval():
    made, raised = watched()
    alarm = caught.caught(made, raised)[0].alarm
    assert alarm is not None
    verdicts = {
        one.position: {
            "effect": "hold",
            "as_of": {"signals": alarm.offset + (1 if one.at_ms > alarm.at_ms + 300 else 0)},
            "reasons": [{"rule": caught.HOLDS}]
            if one.at_ms > alarm.at_ms + 300 and one.label == "decline" and one.call.version == TUNED
            else [],
        }
        for one in made
    }
    judged_ms = {one.position: one.at_ms + 2 for one in made}
    found = caught.held(made, verdicts, judged_ms, alarm)
    assert found.first is not None
    assert found.seconds == pytest.approx((found.first.at_ms + 2 - alarm.at_ms) / 1000)
    assert found.check.problems == ()
    assert found.first is not None
    assert found.first.label == "decline"
    assert found.count > 1_000
    assert "blocked" not in found.check.what
    verdicts[found.first.position]["effect"] = "block"
    assert "(1 of them are blocked by another rule as well)" in caught.held(made, verdicts, judged_ms, alarm).check.what
    approved = next(one for one in made if one.label == "approve" and one.call.version == TUNED)
    verdicts[approved.position]["reasons"] = [{"rule": caught.HOLDS}]
    verdicts[found.first.position]["reasons"] = []
    problems = caught.held(made, verdicts, judged_ms, alarm).check.problems
    assert problems == (
        f"{approved.position} (approve) was held because of the gap",
        f"{found.first.position} (decline) was not held because of the gap",
    )


def test_the_picture_is_drawn_from_the_observations_and_its_last_ratio_is_the_counts(tmp_path):
    calls, sent = messages(WHOLE)
    whole = load(_config())
    gap = whole.monitors[caught.GAP]
    configuration = whole.model_copy(update={"monitors": {caught.GAP: gap}})
    observer = Observer("demo", TOPIC, 0, configuration)
    known = [
        Plain("demo.attributes", 0, at, 0, key, value, ())
        for at, (key, value) in enumerate(records.known(people().groups, records.unknown))
    ]
    observations: list[Record] = []
    for start in range(0, WHOLE, 200):
        part = sent[start : start + 200]
        some = [Plain(TOPIC, 0, start + at, 0, one.key, one.value, one.headers) for at, one in enumerate(part)]
        for (topic, _), written in observer.take(known, some):
            observations += [Plain(topic, 0, 0, 0, key, value, tuple(headers)) for key, value, headers in written]
        known = []
    points = picture.curve(observations, compile_monitors(configuration)["credit-limit"])
    assert [point.version for point in points] == sorted(point.version for point in points)
    assert not any(point.alarm for point in points if point.version == VERSION)
    assert points[-1].alarm
    clients, groups = desk().clients, people().groups
    rates: dict[str, list[int]] = {}
    for call, one in zip(calls, sent, strict=True):
        number = clients[call.client].number
        counts = (call.version, call.kind, call.prompt) == (TUNED, "decision", "") and not records.unknown(number)
        if counts and call.model == "credit-limit":
            rates.setdefault(groups[number]["age_band"], []).append(one.label == "approve")
    young, others = (np.mean(rates[band]) for band in ("under 26", "26 to 39"))
    assert points[-1].ratio == pytest.approx(young / others, rel=0.01)
    assert points[-1].lower < points[-1].ratio < points[-1].upper < 0.8
    picture.draw(points, picture.Moments(5_000, 7_500, 8_000), 0.47, tmp_path / "gap.svg")
    assert 10_000 < (tmp_path / "gap.svg").stat().st_size < 200_000
