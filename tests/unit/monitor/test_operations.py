"""Operations: missing inputs, latency and confidence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.contract import Budget, Ints, Setting, State, Step, View, merge, of_stretch
from agents.monitor.operations import Operations
from agents.monitor.state import packed, unpacked
from tests.studies.misuse import YEAR_MS

MODEL = Model.model_validate({"features": {"income": "numeric?", "job": "categorical?", "age": "numeric"}})
DAY = 20_100 * 1440  # a minute, midnight UTC
MINUTE = 60_000


def clock(days: float, seed: int, start: int = DAY + 540) -> Ints:
    """Two decisions a minute."""
    random = np.random.default_rng(seed)
    first, last = start * MINUTE, (start + int(days * 1440)) * MINUTE
    return np.sort(random.integers(first, last, int(2 * days * 1440)))


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
    read = Operations.options_type.model_validate(options)
    return Operations(Setting("ops", "m", MODEL, read, Budget(YEAR_MS, "ms"), 1.0, profile))


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
    assert "waits for a profile" in str(made(None, parts=["latency"]).ready)
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
