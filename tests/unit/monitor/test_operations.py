"""Operations: missing inputs, too many and too few decisions, silence while it lasts, latency and confidence."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.contract import Budget, Ints, Judgement, Setting, State, Step, View, merge, of_stretch
from agents.monitor.operations import FEWER, MORE, Operations
from agents.monitor.state import packed, unpacked
from tests.studies.misuse import YEAR_MS

MODEL = Model.model_validate({"features": {"income": "numeric?", "job": "categorical?", "age": "numeric"}})
DAY = 20_100 * 1440  # a minute, midnight UTC
MINUTE = 60_000


def clock(days: float, seed: int, times: float = 1.0, since: int = 0, start: int = DAY + 540) -> Ints:
    """Decisions: 4 a minute by day, one in two minutes at night; `times` as many from the minute `since` on."""
    random = np.random.default_rng(seed)
    minutes = np.arange(start, start + int(days * 1440))
    usual = np.where((minutes // 60 % 24 >= 8) & (minutes // 60 % 24 < 18), 4.0, 0.5)
    at = np.repeat(minutes, random.poisson(np.where(minutes >= since, usual * times, usual)))
    return np.sort(at * MINUTE + random.integers(0, MINUTE, len(at)))


def view(times_ms: Ints, seed: int = 0, holes: float = 0.02, slow: float = 1.0, stretch: int = 10**9) -> View:
    random = np.random.default_rng(seed)
    n = len(times_ms)
    income = random.normal(size=n)
    income[random.random(n) < holes] = np.nan
    confidence = np.clip(random.normal(0.8, 0.1, n), 0, 1)
    frame = pl.DataFrame(
        {
            "features.income": income,
            "features.job": [None if one < 0.05 else "clerk" for one in random.random(n)],
            "features.age": random.integers(18, 80, n).astype(float),
            "latency_ms": random.gamma(3.0, 10.0, n) * slow,
            "output.confidence": confidence,
        }
    )
    number = np.arange(n) // stretch
    return View(frame, number, int(number[-1]) + 1 if n else 0, {}, times_ms)


@pytest.fixture(scope="module")
def profile() -> State:
    section, remarks = Operations.fit(view(clock(14, 0, start=DAY - 14 * 1440), seed=1), MODEL)
    assert section is not None
    assert list(remarks) == []
    return dict(unpacked(json.loads(json.dumps(packed(section)))))


def made(profile: State | None, **options: Any) -> Operations:
    everything = {"parts": ["missing", "volume", "latency", "confidence"]}
    read = Operations.options_type.model_validate(everything | options)
    return Operations(Setting("ops", "m", MODEL, read, Budget(YEAR_MS, "ms"), 1.0, profile))


def live(one: Operations, seen: View, until: int, reload: bool = False) -> tuple[State, list[tuple[int, Judgement]]]:
    """A step a minute, with or without decisions; alarms with the minute."""
    state, alarms = one.start(), []
    first = int(seen.times_ms[0]) // MINUTE
    cuts = np.searchsorted(seen.times_ms, np.arange(first, until + 1) * MINUTE)
    for place, (a, b) in enumerate(pairwise(cuts)):
        part = View(seen.frame[a:b], np.zeros(b - a, dtype=np.int64), 1, {}, seen.times_ms[a:b])
        counts = of_stretch(one.observe(part), 0) if b > a else {}
        if reload:
            state = unpacked(json.loads(json.dumps(packed(state))))
        if one.step(state, counts, Step(int(b - a), float(MINUTE), (first + place + 1) * MINUTE, -1)):
            alarms += [(first + place + 1, found) for found in one.judge(state) if found.status == SignalStatus.ALARM]
    return state, alarms


def test_a_usual_day_raises_no_alarm(profile: State) -> None:
    one = made(profile)
    state, alarms = live(one, view(clock(1, 1), seed=2), DAY + 1980)
    assert alarms == []
    told = {found.group: found for found in one.judge(state)}
    assert told["feature=job"].estimate == pytest.approx(0.05, abs=0.01)
    assert told["feature=age"].estimate == 0.0
    assert told[MORE].status == told[FEWER].status == SignalStatus.OK
    assert {one.sentence(one.bounded(found))[:4] for found in told.values()} >= {"inco", "Deci"}


def test_silence_by_day_is_noticed_within_ten_minutes_though_no_decision_comes(profile: State) -> None:
    stop = DAY + 600
    times_ms = clock(0.3, 3)
    _, alarms = live(made(profile), view(times_ms[times_ms < stop * MINUTE]), stop + 120)
    minute, found = alarms[0]
    assert found.group == FEWER
    assert stop < minute <= stop + 10
    assert found.onset_ms is not None
    assert abs(found.onset_ms // MINUTE - stop) <= 2
    assert "none for" in made(profile).sentence(found)


def test_silence_at_night_takes_longer_because_it_is_usual(profile: State) -> None:
    stop = DAY + 1440 + 120
    times_ms = clock(0.3, 4, start=DAY + 1320)
    _, alarms = live(made(profile), view(times_ms[times_ms < stop * MINUTE]), stop + 300)
    assert stop + 20 < alarms[0][0] <= stop + 90


@pytest.mark.parametrize(("times", "group"), [(2.0, MORE), (0.5, FEWER)])
def test_twice_or_half_as_many_decisions_are_noticed_within_the_hour(times: float, group: str, profile: State) -> None:
    begun = DAY + 600
    _, alarms = live(made(profile), view(clock(0.2, 5, times, begun)), DAY + 800)
    assert alarms[0][1].group == group
    assert begun < alarms[0][0] <= begun + 90


def test_an_alarm_for_silence_ends_when_decisions_come_again(profile: State) -> None:
    stop, again = DAY + 600, DAY + 660
    times_ms = clock(0.3, 6)
    kept = times_ms[(times_ms < stop * MINUTE) | (times_ms >= again * MINUTE)]
    state, alarms = live(made(profile), view(kept), DAY + 900)
    assert alarms
    assert {found.group: found.status for found in made(profile).judge(state)}[FEWER] == SignalStatus.OK


def test_a_feature_that_goes_missing_is_named(profile: State) -> None:
    one = made(profile)
    state, first = one.start(), {}
    for block in range(60):
        seen = view(np.arange(100) + (DAY + block) * MINUTE, seed=block, holes=0.02 if block < 30 else 0.1)
        counts = of_stretch(one.observe(seen), 0)
        if one.step(state, counts, Step(100, float(MINUTE), int(seen.times_ms[-1]), -1)):
            for found in one.judge(state):
                if found.status == SignalStatus.ALARM and found.metric == "missing_rate":
                    first.setdefault(found.group, (block + 1) * 100)
    assert set(first) == {"feature=income"}
    assert 3_000 < first["feature=income"] <= 4_500
    told = next(found for found in one.judge(state) if found.group == "feature=income")
    assert told.guarantee == "proved"
    assert "income is missing in" in one.sentence(told)


def test_without_a_profile_only_missing_inputs_are_watched() -> None:
    one = made(None, missing=0.05)
    assert one.ready is None
    assert set(one.observe(view(clock(0.1, 7)))) == {"missing"}
    assert "waits for a profile" in str(made(None, parts=["volume"]).ready)
    assert "declare some" in str(
        Operations.applies(Model(), Operations.options_type.model_validate({"parts": ["missing"]}))
    )


def test_counts_do_not_depend_on_batches(profile: State) -> None:
    one = made(profile)
    whole = view(clock(0.2, 8), seed=8)
    expected = {key: values.sum(axis=0).tolist() for key, values in one.observe(whole).items()}
    for cut in (1, 100):
        parts = [
            View(whole.frame[part], whole.stretch[part], 1, {}, whole.times_ms[part])
            for part in (slice(None, cut), slice(cut, None))
        ]
        merged = merge(one.observe(parts[0]), one.observe(parts[1]))
        assert {key: values.sum(axis=0).tolist() for key, values in merged.items()} == expected


def test_restarted_at_every_step_it_has_the_same_bits(profile: State) -> None:
    seen, until = view(clock(0.3, 9, times=3.0, since=DAY + 600)), DAY + 700
    straight, restarted = (live(made(profile), seen, until, reload) for reload in (False, True))
    assert straight[1]
    assert packed(straight[0]) == packed(restarted[0])


# -- latency and confidence ------------------------------------------------------------------------------------------------


def shaped(n: int, seed: int, *, slow: float = 1.0, unsure: float = 0.0, since: int = 0, until: int = 10**9) -> View:
    """Decisions every nine seconds; slower by a half during office hours, as load has it."""
    random = np.random.default_rng(seed)
    times_ms = DAY * MINUTE + np.arange(n) * 9_000
    hour = times_ms // (60 * MINUTE) % 24
    changed = (np.arange(n) >= since) & (np.arange(n) < until)
    latency = random.gamma(3.0, 10.0, n) * np.where((hour >= 8) & (hour < 18), 1.5, 1.0) * np.where(changed, slow, 1.0)
    confidence = np.clip(random.normal(0.8, 0.1, n) - unsure * changed, 0, 1)
    frame = pl.DataFrame({"latency_ms": latency, "output.confidence": confidence})
    return View(frame, np.arange(n) // 250, (n - 1) // 250 + 1, {}, times_ms)


@pytest.fixture(scope="module")
def shapes() -> Operations:
    section, remarks = Operations.fit(shaped(20_000, 0), Model())
    assert section is not None
    assert list(remarks) == []
    kept = unpacked(json.loads(json.dumps(packed(section))))
    read = Operations.options_type.model_validate({"parts": ["latency", "confidence"]})
    return Operations(Setting("ops", "m", Model(), read, Budget(1e6), 1.0, kept))


def turns(one: Operations, seen: View, reload: bool = False) -> tuple[State, list[tuple[int, set[str | None]]]]:
    """Each change of status: decisions until then, and what is in an alarm."""
    state, counts, found = one.start(), one.observe(seen), []
    for place in range(seen.stretches):
        if reload:
            state = unpacked(json.loads(json.dumps(packed(state))))
        step = Step(250, 250.0, int(seen.times_ms[place * 250 + 249]), -1)
        if one.step(state, of_stretch(counts, place), step):
            alarmed = {told.group for told in one.judge(state) if told.status == SignalStatus.ALARM}
            found.append(((place + 1) * 250, alarmed))
    return state, found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_slower_answers_at_busy_hours_are_no_alarm(seed: int, shapes: Operations) -> None:
    assert turns(shapes, shaped(20_000, seed))[1] == [(500, set())]


def test_latency_half_as_long_again_is_noticed_within_a_thousand_decisions_and_ends(shapes: Operations) -> None:
    _, found = turns(shapes, shaped(16_000, 4, slow=1.5, since=6_000, until=9_000))
    assert [alarmed for _, alarmed in found] == [set(), {"latency"}, set()]
    assert 6_000 < found[1][0] <= 7_000
    assert 9_000 < found[2][0] <= 13_000
    alarmed = turns(shapes, shaped(8_000, 4, slow=1.5, since=6_000))[0]
    told = next(one for one in shapes.judge(alarmed) if one.group == "latency")
    assert told.estimate is not None
    assert told.estimate > 0.2
    assert told.detail["tail"] > 0.2 > told.detail["tail_usually"]
    assert "slower than nine in ten" in shapes.sentence(told)
    assert "some 500" in shapes.clears(told)


def test_less_sure_answers_are_noticed(shapes: Operations) -> None:
    state, found = turns(shapes, shaped(8_000, 5, unsure=0.05, since=6_000))
    assert found[-1][1] == {"confidence"}
    assert 6_000 < found[-1][0] <= 7_500
    told = next(one for one in shapes.judge(state) if one.group == "confidence")
    assert told.detail["tail"] > 1.5 * told.detail["tail_usually"]
    assert "less sure than nine in ten" in shapes.sentence(told)


def test_shapes_restarted_at_every_step_have_the_same_bits(shapes: Operations) -> None:
    seen = shaped(8_000, 6, slow=2.0, since=3_000, until=4_000)
    straight, restarted = (turns(shapes, seen, reload) for reload in (False, True))
    assert straight[1] == restarted[1]
    assert len(straight[1]) >= 2
    assert packed(straight[0]) == packed(restarted[0])


def test_a_reference_of_office_hours_only_says_which_hours_are_not_watched() -> None:
    day = shaped(9_600, 7)
    hour = day.times_ms // (60 * MINUTE) % 24
    rows = np.flatnonzero((hour >= 8) & (hour < 20))
    part = View(day.frame[rows], day.stretch[rows], day.stretches, {}, day.times_ms[rows])
    _, remarks = Operations.fit(part, Model())
    assert any("no reference decisions in 12 hours" in one for one in remarks)
