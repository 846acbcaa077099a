"""Who is counted, and which way is harm: equal opportunity, false-positive rates and scoring rates on made streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from agents.configuration import Model
from agents.monitor.contract import STRETCH, Budget, Judgement, Setting, Step, View, of_stretch
from agents.monitor.registry import KINDS

DAY_MS = 86_400_000
MODEL: dict[str, Any] = {
    "labels": {"approve": {"favourable": True}, "decline": {}},
    "groups": {"sex": ["female", "male"]},
    "outcomes": {"repaid": {"positive": True}, "default": {}},
    "arl": 100_000,
}


def monitor(kind: str, **options: Any) -> Any:
    """A monitor with the whole budget."""
    found, model = KINDS[kind], Model.model_validate(MODEL)
    read = found.options_type.model_validate(options)
    return found(Setting(kind, "m", model, read, Budget(1e5)))


def view(frame: pl.DataFrame, sex: Any, at_ms: int = 0) -> View:
    """Rows as one batch."""
    stretch = np.arange(frame.height) // STRETCH
    times = np.full(frame.height, at_ms, dtype=np.int64)
    return View(frame, stretch, int(stretch[-1]) + 1, {"sex": np.asarray(sex)}, times)


def watched(kind: str, *seen: View, **options: Any) -> dict[str, Judgement]:
    """What is said of each group in the end."""
    one = monitor(kind, **options)
    state = one.start()
    for part in seen:
        counts = one.observe(part)
        for place in range(part.stretches):
            one.step(state, of_stretch(counts, place), Step(STRETCH, STRETCH, int(part.times_ms[0]), place))
    return {judgement.group or "": judgement for judgement in one.judge(state)}


def matured(count: int, rates: dict[tuple[int, float], float], seed: int = 5) -> View:
    """Cases whose approval rate depends on sex and outcome."""
    random = np.random.default_rng(seed)
    sex, outcome = random.integers(0, 2, count), (random.random(count) < 0.5).astype(float)
    rate = np.array([rates[int(who), float(what)] for who, what in zip(sex, outcome, strict=True)])
    label = np.where(random.random(count) < rate, "approve", "decline")
    return view(pl.DataFrame({"output.label": label, "outcome": outcome}), sex)


def test_a_gap_among_those_who_repaid_alarms_and_one_among_the_others_does_not() -> None:
    unfair = matured(4_000, {(0, 1.0): 0.4, (1, 1.0): 0.8, (0, 0.0): 0.3, (1, 0.0): 0.3})
    found = watched("opportunity", unfair, reference={"sex": "male"})["sex=female"]
    assert found.status == "alarm"
    assert found.estimate == pytest.approx(0.5, abs=0.1)
    elsewhere = matured(4_000, {(0, 1.0): 0.6, (1, 1.0): 0.6, (0, 0.0): 0.2, (1, 0.0): 0.6})
    assert watched("opportunity", elsewhere, reference={"sex": "male"})["sex=female"].status == "ok"


@pytest.mark.parametrize(("adverse", "group", "rate"), [("higher", 0, 0.6), ("lower", 0, 0.15)])
def test_false_positives_alarm_in_the_declared_direction_only(adverse: str, group: int, rate: float) -> None:
    rates = {(0, 1.0): 0.8, (1, 1.0): 0.8, (0, 0.0): 0.3, (1, 0.0): 0.3}
    seen = matured(6_000, {**rates, (group, 0.0): rate})
    other = "lower" if adverse == "higher" else "higher"
    for direction, status in ((adverse, "alarm"), (other, "ok")):
        one = watched("false_positive_rate", seen, adverse=direction, reference={"sex": "male"})["sex=female"]
        assert one.status == status, direction
    told = monitor("false_positive_rate", adverse=adverse)
    assert told.clears(one).endswith("below 1.25 again" if adverse == "higher" else "above 0.8 again")


def test_cases_without_an_outcome_count_for_nobody() -> None:
    frame = pl.DataFrame({"output.label": ["approve"] * 4, "outcome": [1.0, 0.0, None, 1.0]})
    counts = monitor("opportunity").observe(view(frame, [0, 0, 0, 1]))
    assert counts["sex"].tolist() == [[[1, 1], [1, 1], [0, 0]]]
    counts = monitor("false_positive_rate").observe(view(frame, [0, 0, 0, 1]))
    assert counts["sex"].tolist() == [[[1, 1], [0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("opportunity", {"outcomes": {}}, "not of two kinds"),
        ("opportunity", {"outcomes": {"repaid": {"positive": True}}}, "not of two kinds"),
        ("false_positive_rate", {"labels": {}}, "favourable"),
        ("scoring_rate", {"kind": "action"}, "no predictions"),
    ],
)
def test_a_model_that_cannot_be_watched_so_is_told_why(kind: str, change: dict[str, Any], told: str) -> None:
    found = KINDS[kind]
    why = found.applies(Model.model_validate({**MODEL, **change}), found.options_type())
    assert why is not None
    assert told in why


def scored(count: int, shift: float, at_ms: int, seed: int) -> View:
    """Scores of which the first group's lie lower by `shift`."""
    random = np.random.default_rng(seed)
    sex = random.integers(0, 2, count)
    return view(
        pl.DataFrame({"output.score": np.clip(random.normal(0.5, 0.15, count) - shift * (sex == 0), 0, 1)}), sex, at_ms
    )


def test_scores_are_judged_from_the_second_period_on_and_a_gap_alarms() -> None:
    fair = [scored(3_000, 0.0, day * DAY_MS, day) for day in range(2)]
    said = watched("scoring_rate", *fair, period="day", reference={"sex": "male"})
    assert said["sex=female"].status == "ok"
    assert said["sex=female"].n == 3_000, "the first period only gives the median"
    unfair = scored(3_000, 0.15, 2 * DAY_MS, 9)
    said = watched("scoring_rate", *fair, unfair, period="day", reference={"sex": "male"})
    assert said["sex=female"].status == "alarm"


def test_where_low_scores_are_hoped_for_the_other_half_counts() -> None:
    half = pl.DataFrame({"output.score": [0.1, 0.3, 0.5, 0.9] * 50})
    sex = [0, 1, 1, 0] * 50
    low = watched("scoring_rate", view(half, sex), view(half, sex, DAY_MS), period="day", favourable="low")
    high = watched("scoring_rate", view(half, sex), view(half, sex, DAY_MS), period="day")
    rates = [one["sex=female"].detail["rate"] for one in (low, high)]
    assert rates == [0.5, 0.5]
    shifted = pl.DataFrame({"output.score": [0.1, 0.1, 0.1, 0.1] * 50})
    low = watched("scoring_rate", view(half, sex), view(shifted, sex, DAY_MS), period="day", favourable="low")
    high = watched("scoring_rate", view(half, sex), view(shifted, sex, DAY_MS), period="day")
    assert [one["sex=female"].detail["rate"] for one in (low, high)] == [1.0, 0.0]


def test_a_period_with_too_few_scores_leaves_the_median_before_in_force() -> None:
    one = monitor("scoring_rate", period="day")
    state = one.start()
    for day, count, score in ((0, 200, 0.5), (1, 50, 0.9), (2, 200, 0.7)):
        seen = view(pl.DataFrame({"output.score": [score] * count}), np.arange(count) % 2, day * DAY_MS)
        one.step(state, of_stretch(one.observe(seen), 0), Step(count, count, day * DAY_MS, day))
    assert state["median"] == 50
    assert one.judge(state)[0].detail["rate"] == 1.0
