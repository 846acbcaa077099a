"""Fairness figures on 30,000 real credit decisions are fairlearn's, to 1e-9: rates, ratios, differences, with real outcomes.

A logistic model on the clients' payment history decides; it never sees sex or age. The monitors count in stretches as in the
stream, with the budget out of the way (an alarm would start the estimate anew).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fairlearn.metrics import (
    MetricFrame,
    count,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_ratio,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from agents.configuration import Model
from agents.monitor.contract import STRETCH, Budget, Judgement, Setting, Step, View, of_stretch
from agents.monitor.impact import Gap
from agents.monitor.registry import KINDS
from agents.monitor.scoring import scoring_rates

DATA = Path(__file__).parents[3] / "orchestration/demo/data/credit_default.parquet"
AGES = ("under 26", "26 to 40", "over 40")
MODEL = Model.model_validate(
    {
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "features": {"education": "categorical?"},
        "groups": {"sex": ["female", "male"], "age_band": AGES},
        "outcomes": {"repaid": {"positive": True}, "default": {}},
        "arl": 1e12,
    }
)
EXACT = {"rel": 1e-9, "abs": 1e-9}


@cache
def decided() -> pl.DataFrame:
    """Clients with a score (probability to repay), a label, what happened, and their groups."""
    clients = pl.read_parquet(DATA)
    numbers = clients.select(pl.selectors.starts_with("limit", "pay", "bill")).to_numpy().astype(float)
    defaulted = clients["default_next_month"].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(numbers[:10_000], defaulted[:10_000])
    score = 1 - model.predict_proba(numbers)[:, 1]
    age = clients["age"].to_numpy()
    return pl.DataFrame(
        {
            "output.score": score,
            "output.label": np.where(score > 0.75, "approve", "decline"),
            "outcome": 1.0 - defaulted,
            "sex": clients["sex"],
            "age_band": np.array(AGES)[np.where(age < 26, 0, np.where(age <= 40, 1, 2))],
            "features.education": clients["education"],
        }
    )


def view(frame: pl.DataFrame, start_ms: int = 0) -> View:
    """The decisions as monitors see them."""
    groups = {name: np.array([levels.index(one) for one in frame[name]]) for name, levels in MODEL.groups.items()}
    stretch = np.arange(frame.height) // STRETCH
    return View(frame, stretch, int(stretch[-1]) + 1, groups, np.full(frame.height, start_ms, dtype=np.int64))


def counted(one: Gap, state: dict[str, Any], seen: View) -> None:
    """Counts of every stretch into the state."""
    counts = one.observe(seen)
    for place in range(seen.stretches):
        n = int((seen.stretch == place).sum())
        one.step(state, of_stretch(counts, place), Step(n, float(n), int(seen.times_ms[0]), place))


def monitor(kind: str, **options: Any) -> Gap:
    """A monitor that raises no alarm."""
    found = KINDS[kind]
    assert issubclass(found, Gap)
    read = found.options_type.model_validate(options)
    assert found.applies(MODEL, read) is None
    return found(Setting(kind, "credit", MODEL, read, Budget(1e300), share=1.0))


def judged(kind: str, **options: Any) -> dict[tuple[str | None, str], Judgement]:
    """What a monitor says of all decisions, by segment and group."""
    one = monitor(kind, **options)
    state = one.start()
    counted(one, state, view(decided()))
    return {(found.segment, found.group or ""): found for found in one.judge(state)}


def frame_of(metric: Any, rows: pl.DataFrame, attribute: str = "sex", predicted: Any = None) -> MetricFrame:
    """fairlearn's metric by group; positive is favourable."""
    label = (rows["output.label"] == "approve").to_numpy().astype(int) if predicted is None else predicted
    return MetricFrame(
        metrics={"rate": metric, "n": count},
        y_true=rows["outcome"].to_numpy().astype(int),
        y_pred=label,
        sensitive_features=rows[attribute].to_numpy(),
    )


def compare(kind: str, metric: Any, rows: pl.DataFrame, n_of: pl.DataFrame, reference: dict[str, str]) -> None:
    """Rates, ratios and numbers of every group against fairlearn's."""
    found = judged(kind, reference=reference)
    for attribute, best in reference.items():
        expected = frame_of(metric, rows, attribute).by_group["rate"]
        sizes = n_of[attribute].value_counts().rows()
        for group, size in sizes:
            if group == best:
                continue
            one = found[None, f"{attribute}={group}"]
            assert one.detail["rate"] == pytest.approx(expected[group], **EXACT)
            assert one.detail["reference_rate"] == pytest.approx(expected[best], **EXACT)
            assert one.estimate == pytest.approx(expected[group] / expected[best], **EXACT)
            assert one.detail["n_group"] == size


REFERENCE = {"sex": "female", "age_band": "26 to 40"}


def test_disparate_impact_is_fairlearns_ratio_of_selection_rates() -> None:
    rows = decided()
    compare("disparate_impact", selection_rate, rows, rows, REFERENCE)
    label = (rows["output.label"] == "approve").to_numpy().astype(int)
    for attribute in ("sex", "age_band"):
        ratio = demographic_parity_ratio(rows["outcome"], label, sensitive_features=rows[attribute])
        found = [one for (_, group), one in judged("disparate_impact").items() if group.startswith(attribute)]
        assert min(one.estimate or 9.0 for one in found) == pytest.approx(ratio, **EXACT)


def test_parity_is_fairlearns_difference() -> None:
    rows = decided()
    label = (rows["output.label"] == "approve").to_numpy().astype(int)
    for attribute in ("sex", "age_band"):
        difference = demographic_parity_difference(rows["outcome"], label, sensitive_features=rows[attribute])
        found = [one for (_, group), one in judged("parity").items() if group.startswith(attribute)]
        assert min(one.estimate or 0.0 for one in found) == pytest.approx(-difference, **EXACT)


def test_opportunity_is_fairlearns_true_positive_rate() -> None:
    rows = decided()
    compare("opportunity", true_positive_rate, rows, rows.filter(pl.col("outcome") == 1), REFERENCE)
    label = (rows["output.label"] == "approve").to_numpy().astype(int)
    ratio = equal_opportunity_ratio(rows["outcome"], label, sensitive_features=rows["age_band"])
    found = [one for (_, group), one in judged("opportunity").items() if group.startswith("age_band")]
    assert min(one.estimate or 9.0 for one in found) == pytest.approx(ratio, **EXACT)


@pytest.mark.parametrize("adverse", ["higher", "lower"])
def test_false_positive_rates_are_fairlearns(adverse: str) -> None:
    rows = decided()
    expected = frame_of(false_positive_rate, rows, "age_band").by_group["rate"]
    found = {
        group: one for (_, group), one in judged("false_positive_rate", adverse=adverse).items() if "age_band" in group
    }
    best = expected.idxmin() if adverse == "higher" else expected.idxmax()
    for group in AGES:
        assert found[f"age_band={group}"].detail["rate"] == pytest.approx(expected[group], **EXACT)
        if group != best:
            assert found[f"age_band={group}"].reference == f"age_band={best}"
            assert found[f"age_band={group}"].estimate == pytest.approx(expected[group] / expected[best], **EXACT)


def test_segments_and_intersections_are_fairlearns_too() -> None:
    rows = decided()
    found = judged("opportunity", segment_by=["education"], intersections=[["sex", "age_band"]])
    inside = rows.filter(pl.col("features.education") == "university")
    expected = frame_of(true_positive_rate, inside, "sex").by_group["rate"]
    assert found["education=university", "sex=male"].estimate == pytest.approx(
        expected["male"] / expected["female"], **EXACT
    )
    both = rows.with_columns(both=pl.format("sex={} & age_band={}", "sex", "age_band"))
    rates = frame_of(true_positive_rate, both, "both").by_group["rate"]
    for group, rate in rates.items():
        assert found[None, group].detail["rate"] == pytest.approx(rate, **EXACT)


def test_a_report_of_scoring_rates_takes_the_samples_own_median_strictly() -> None:
    rows = decided()
    score = rows["output.score"].to_numpy()
    found = scoring_rates({group: score[rows["age_band"].to_numpy() == group] for group in AGES})
    above = (score > np.median(score)).astype(int)
    assert found == pytest.approx(frame_of(selection_rate, rows, "age_band", above).by_group["rate"].to_dict(), **EXACT)


def test_live_scoring_rates_take_the_median_of_the_period_before() -> None:
    rows = decided().with_columns(pl.col("output.score").round(3) + 0.0005)
    before, now = rows[:15_000], rows[15_000:]
    one = monitor("scoring_rate", bins=1_000, period="day", reference=REFERENCE)
    state = one.start()
    counted(one, state, view(before))
    assert all(found.estimate is None for found in one.judge(state)), "there is no period before the first"
    counted(one, state, view(now, 86_400_000))
    above = (now["output.score"] > before["output.score"].sort()[7_499]).to_numpy().astype(int)
    expected = frame_of(selection_rate, now, "age_band", above).by_group["rate"]
    found = {judgement.group: judgement for judgement in one.judge(state)}
    for group in ("under 26", "over 40"):
        assert found[f"age_band={group}"].detail["rate"] == pytest.approx(expected[group], **EXACT)
        assert found[f"age_band={group}"].estimate == pytest.approx(expected[group] / expected["26 to 40"], **EXACT)
