"""Performance without and with outcomes: figures equal to scikit-learn's, calibration tested without crying wolf."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.contract import Budget, Monitor, Options, Setting, State, Step, View, merge, of_stretch
from agents.monitor.curve import Curve, auc, coded, fit
from agents.monitor.deviations import WHOLE, Deviations
from agents.monitor.performance import Calibration, CalibrationOptions, Performance
from agents.monitor.state import packed, unpacked

MODEL = Model.model_validate(
    {
        "features": {"income": "numeric"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "outcomes": {"paid": {"positive": True}, "default": {}},
        "arl": 1_000_000,
    }
)


def cases(count: int, seed: int, worse: float = 0.0, shift: float = 0.0, risk: bool = False) -> pl.DataFrame:
    """Calibrated scores, of which outcomes fall short by `worse`; `risk`: the score is that of the opposite."""
    random = np.random.default_rng(seed)
    score = 1.0 / (1.0 + np.exp(-(random.normal(size=count) * 1.5 + shift)))
    outcome = (random.random(count) < np.clip(score - worse, 0.0, 1.0)).astype(float)
    said = np.where(score >= 0.5, "approve", "decline")
    return pl.DataFrame({"output.score": 1.0 - score if risk else score, "output.label": said, "outcome": outcome})


def view(frame: pl.DataFrame, stretch: int = 250) -> View:
    number = np.arange(frame.height) // stretch
    return View(frame, number, int(number[-1]) + 1 if frame.height else 0, {}, np.arange(frame.height) * 1_000)


REFERENCE = cases(8_000, 1)
SECTION: State = unpacked(json.loads(json.dumps(packed(fit(REFERENCE, MODEL)[0]))))


def made(kind: type[Monitor], section: State | None = SECTION, options: Options | None = None) -> Any:
    return kind(Setting("p", "m", MODEL, options or kind.options_type(), Budget(1e6), 1.0, section))


def run(one: Monitor, seen: View) -> tuple[State, int | None]:
    """The state at the end, and the cases until an alarm or warning."""
    state, counts, at = one.start(), one.observe(seen), None
    for place in range(seen.stretches):
        rows = int((seen.stretch == place).sum())
        one.step(state, of_stretch(counts, place), Step(rows, float(rows), place, place))
        if at is None and any(judgement.status.value in ("alarm", "warn") for judgement in one.judge(state)):
            at = (place + 1) * 250
    return state, at


def test_accuracy_precision_recall_and_auc_are_those_of_scikit_learn() -> None:
    frame = cases(3_000, 2, worse=0.1)
    one = made(Performance)
    state, _ = run(one, view(frame))
    found = {judgement.metric: judgement.estimate for judgement in one.judge(state)}
    truth, said = frame["outcome"].to_numpy(), (frame["output.label"] == "approve").to_numpy()
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, said), abs=1e-12)
    assert found["precision"] == pytest.approx(precision_score(truth, said), abs=1e-12)
    assert found["recall"] == pytest.approx(recall_score(truth, said), abs=1e-12)
    bins = one.curve.codes(frame["output.score"].to_numpy())
    assert found["auc"] == pytest.approx(roc_auc_score(truth, bins), abs=1e-12)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, frame["output.score"]), abs=2e-3)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=200))
def test_the_binned_auc_is_scikit_learns_whatever_the_counts(rows: list[tuple[int, bool]]) -> None:
    bins, truth = np.array([one for one, _ in rows]), np.array([one for _, one in rows])
    counts = np.bincount(bins * 2 + truth, minlength=20).reshape(10, 2)
    if truth.all() or not truth.any():
        assert auc(counts) is None
    else:
        assert auc(counts) == pytest.approx(roc_auc_score(truth, bins), abs=1e-12)


def test_a_score_of_risk_has_its_auc_the_right_way_round() -> None:
    section, _ = fit(cases(5_000, 3, risk=True), MODEL)
    one = made(Performance, section)
    state, _ = run(one, view(cases(2_000, 4, risk=True)))
    assert next(found for found in one.judge(state) if found.metric == "auc").estimate > 0.75


def test_bounds_hold_the_accuracy_and_widen_with_fewer_cases() -> None:
    one = made(Performance)
    widths = []
    for count in (250, 5_000):
        state, _ = run(one, view(cases(count, 5)))
        found = one.bounded(one.judge(state)[0])
        assert found.lower < found.estimate < found.upper
        widths.append(found.upper - found.lower)
    assert widths[0] > 3 * widths[1]


@pytest.mark.parametrize("worse", [0.1, -0.1])
def test_outcomes_that_fall_short_of_the_scores_alarm_and_say_so(worse: float) -> None:
    one = made(Performance)
    state, at = run(one, view(cases(6_000, 6, worse=worse)))
    assert at is not None
    assert at <= 4_000
    found = one.judge(state)[-1]
    assert found.status.value == "alarm"
    assert found.estimate == pytest.approx(-0.08 if worse > 0 else 0.08, abs=0.04)
    assert ("less" if worse > 0 else "more") in one.sentence(found)


def test_calibrated_outcomes_raise_no_alarm_however_scores_shift() -> None:
    alarms = 0
    for seed in range(6):
        section, _ = fit(cases(4_000, 50 + seed), MODEL)
        for shift in (0.0, 1.0):
            alarms += run(made(Performance, section), view(cases(20_000, 60 + seed, shift=shift)))[1] is not None
    assert alarms == 0


def test_an_alarm_of_calibration_ends_once_outcomes_keep_their_promise() -> None:
    one = made(Performance)
    state, at = run(one, view(cases(3_000, 7, worse=0.15)))
    assert at is not None
    counts = one.observe(view(cases(40_000, 8)))
    for place in range(160):
        one.step(state, of_stretch(counts, place), Step(250, 250.0, place, place))
    assert one.judge(state)[-1].status.value == "ok"


def test_a_bet_on_deviations_gains_nothing_on_average_at_the_edge_of_its_null() -> None:
    rates = np.array([0.1, 0.4, 0.8])
    test = Deviations(rates, np.array([500, 500, 500]), np.array([0.3, 0.6]), 1e6, 1.0)
    for row in range(test.rows):
        sign = 1.0 if row < test.rows // 2 else -1.0
        for bin_ in range(3):
            promised = rates[bin_] + sign * test.slack[row % len(test.slack)]
            factors = np.exp(test._table[row].reshape(-1, 3, 2)[:, bin_])
            assert (factors @ np.array([1.0 - promised, promised]) <= 1.0 + 1e-8).all()
    assert test.name(0) == test.name(test.rows // 2) == WHOLE


def test_accuracy_estimated_without_outcomes_is_near_the_true_one_when_inputs_shift() -> None:
    one = made(Calibration)
    for shift in (0.0, 1.0):
        frame = cases(6_000, 9, shift=shift)
        state, _ = run(one, view(frame))
        found = {judgement.metric: judgement.estimate for judgement in one.judge(state)}
        truth, said = frame["outcome"].to_numpy(), (frame["output.label"] == "approve").to_numpy()
        assert found["estimated_accuracy"] == pytest.approx((truth == said).mean(), abs=0.03)
        assert found["estimated_positive_rate"] == pytest.approx(truth.mean(), abs=0.03)


def test_the_estimate_warns_of_answers_that_scores_speak_against_and_says_it_is_blind() -> None:
    one = made(Calibration)
    frame = cases(4_000, 10)
    random = np.random.default_rng(1)
    swapped = pl.Series(np.where(random.random(4_000) < 0.2, "approve", frame["output.label"].to_numpy()))
    state, at = run(one, view(frame.with_columns(swapped.alias("output.label"))))
    assert at is not None
    assert "blind to concept drift" in one.sentence(one.judge(state)[0])
    assert run(one, view(frame))[1] is None
    assert run(made(Calibration, options=CalibrationOptions(drop=0.5)), view(frame))[1] is None


@pytest.mark.parametrize("kind", [Calibration, Performance])
def test_any_batching_and_a_restart_anywhere_give_the_same_bytes(kind: type[Monitor]) -> None:
    one = made(kind)
    frame = cases(1_000, 11).with_columns(
        pl.when(pl.int_range(1_000) % 7 == 0).then(None).otherwise(pl.col("output.score")).alias("output.score")
    )
    whole = {key: found.sum(axis=0).tolist() for key, found in one.observe(view(frame)).items()}
    parts = merge(one.observe(view(frame[:1], 1)), one.observe(view(frame[1:], 999)))
    assert {key: found.sum(axis=0).tolist() for key, found in parts.items()} == whole
    straight, restarted, counts = one.start(), one.start(), one.observe(view(frame))
    for place in range(4):
        restarted = unpacked(json.loads(json.dumps(packed(restarted))))
        for state in (straight, restarted):
            one.step(state, of_stretch(counts, place), Step(250, 250.0, place, place))
    assert json.dumps(packed(straight)) == json.dumps(packed(restarted))


def test_without_a_profile_outcomes_are_measured_but_not_tested() -> None:
    one = made(Performance, None)
    assert one.ready is None
    state, _ = run(one, view(cases(1_000, 12)))
    assert [judgement.metric for judgement in one.judge(state)] == ["accuracy", "precision", "recall", "auc"]
    assert made(Calibration, None).ready is not None


def test_a_reference_says_what_is_missing_in_it() -> None:
    assert "no outcomes" in fit(REFERENCE.drop("outcome"), MODEL)[1][0]
    assert "1,000 reference decisions" in fit(REFERENCE[:900], MODEL)[1][0]
    declined = pl.col("output.label") == "decline"
    thin = REFERENCE.with_columns(pl.when(declined).then(None).otherwise(pl.col("outcome")).alias("outcome"))
    section, remarks = fit(thin, MODEL)
    assert section is not None
    assert any("only 0% of the other answers have an outcome" in one for one in remarks)
    plain = Model.model_validate({"labels": {"approve": {"favourable": True}, "decline": {}}})
    assert Performance.applies(plain, Options()) is not None
    assert Performance.applies(MODEL, Options()) is None


def test_calibrated_shares_are_those_of_the_reference_smoothed_by_a_half() -> None:
    curve = Curve(SECTION)
    codes = curve.codes(REFERENCE["output.score"].to_numpy())
    for bin_ in (0, 25, 49):
        inside = REFERENCE["outcome"].to_numpy()[codes == bin_]
        assert curve.rates[bin_] == pytest.approx((inside.sum() + 0.5) / (len(inside) + 1))
    assert curve.n.tolist() == [160] * 50
    assert coded(np.array([0.5]), np.array([0.4, 0.5, np.nan, np.inf])).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    "change", [{"edges": np.array([np.nan])}, {"table": np.zeros((3, 2), dtype=np.int64)}, {"table": -SECTION["table"]}]
)
def test_a_damaged_curve_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="fit the profile again"):
        Curve(SECTION | change)
