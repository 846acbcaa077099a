"""Single anomalous decisions: p-values that hold, review lists, rates that alarm when they rise and only then."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn
from scipy.stats import beta, false_discovery_control

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.anomaly import CONTRADICTION, UNUSUAL, Anomaly, AnomalyOptions, flag_rate
from agents.monitor.conformal import Anomalies, fitted, review
from agents.monitor.contract import Budget, Setting, State, Step, View, of_stretch
from agents.monitor.cuts import Cut
from agents.monitor.state import packed, unpacked

MODEL = Model.model_validate(
    {
        "features": {"income": "numeric", "debt": "numeric?", "product": "categorical?"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "arl": 1_000_000,
    }
)


def decisions(count: int, seed: int, odd: float = 0.0, against: float = 0.0) -> pl.DataFrame:
    """A share `odd` has an income far beyond all others, a share `against` is approved whatever the score."""
    random = np.random.default_rng(seed)
    income = np.where(random.random(count) < odd, 900.0, random.lognormal(3.0, 0.5, count))
    debt = np.where(random.random(count) < 0.2, np.nan, random.gamma(2.0, 10.0, count))
    score = np.round(1.0 / (1.0 + np.exp(-(np.log(income) - 3.0 + 0.3 * random.normal(size=count)))), 3)
    approve = (score >= 0.5) | (random.random(count) < against)
    columns = {
        "features.income": income,
        "features.debt": pl.Series(debt).fill_nan(None),
        "features.product": random.choice(["loan", "card", "overdraft"], count, p=[0.5, 0.3, 0.2]),
        "output.score": score,
        "output.label": np.where(approve, "approve", "decline"),
    }
    return pl.DataFrame(columns)


def view(frame: pl.DataFrame, stretch: int = 250) -> View:
    number = np.arange(frame.height) // stretch
    return View(frame, number, int(number[-1]) + 1 if frame.height else 0, {}, np.arange(frame.height) * 1_000)


@pytest.fixture(scope="module")
def section() -> State:
    found, _ = Anomaly.fit(view(decisions(9_000, 1)), MODEL)
    assert found is not None
    kept: State = unpacked(json.loads(json.dumps(packed(found))))
    return kept


def monitor(section: State | None, **options: Any) -> Anomaly:
    return Anomaly(Setting("a", "m", MODEL, AnomalyOptions(**options), Budget(1e6), 1.0, section))


def alarmed(one: Anomaly, seen: View) -> dict[str | None, int]:
    """Group → the decisions after which it alarmed."""
    state, counts, found = one.start(), one.observe(seen), {}
    for place in range(seen.stretches):
        rows = int((seen.stretch == place).sum())
        one.step(state, of_stretch(counts, place), Step(rows, float(rows), place, place))
        for judgement in one.judge(state):
            if judgement.status.value == "alarm":
                found.setdefault(judgement.group, (place + 1) * 250)
    return found


def test_a_p_value_is_the_share_of_calibration_decisions_that_are_at_least_as_unusual(section: State) -> None:
    known = Anomalies(section)
    scores = np.array([0.0, 1.0, known._calibration[-3]])
    expected = [(1 + (known._calibration >= one).sum()) / (known.calibrated_on + 1) for one in scores]
    assert known.p_values(scores).tolist() == expected
    assert expected[0] == 1.0
    assert expected[1] == 1 / (known.calibrated_on + 1)


def test_p_values_of_decisions_like_the_reference_are_uniform(section: State) -> None:
    p_values = Anomalies(section).rule_columns(decisions(40_000, 2))["anomaly.p_value"]
    for level in (0.5, 0.1, 0.01):
        assert abs((p_values <= level).mean() - level) < 4 * np.sqrt(level / 4_500)
    assert (p_values <= 1e-3).mean() < flag_rate(4_500)


def test_the_columns_for_rules_are_those_the_monitor_flags_by(section: State) -> None:
    frame = decisions(2_000, 3, odd=0.02)
    found = Anomalies(section).rule_columns(frame)
    odd = (frame["features.income"] == 900.0).to_numpy()
    assert set(found) == {"anomaly.p_value", "anomaly.score"}
    assert (found["anomaly.p_value"][odd] <= 5e-3).mean() > 0.9
    assert (found["anomaly.score"][odd].min()) > np.median(found["anomaly.score"][~odd])


def test_an_unusual_decision_is_explained_by_the_feature_that_makes_it_so(section: State) -> None:
    frame = pl.DataFrame(
        {"features.income": [900.0, 20.0], "features.debt": [10.0, 500.0], "features.product": ["loan", "loan"]}
    )
    first, second = Anomalies(section).reasons(frame, most=1)
    assert first[0][0] == "income"
    assert second[0][0] == "debt"
    assert first[0][1] > 0.05


@given(drawn(np.float64, st.integers(1, 600), elements=st.floats(1e-4, 1.0)))
def test_review_lists_are_those_of_benjamini_and_hochberg_block_by_block(p_values: np.ndarray) -> None:
    expected = [false_discovery_control(p_values[at : at + 250]) <= 0.1 + 1e-15 for at in range(0, len(p_values), 250)]
    adjusted = np.concatenate([false_discovery_control(p_values[at : at + 250]) for at in range(0, len(p_values), 250)])
    sure = np.abs(adjusted - 0.1) > 1e-12
    assert (review(p_values)[sure] == np.concatenate(expected)[sure]).all()


def test_the_usual_flag_rate_is_the_upper_end_of_the_beta_distribution() -> None:
    assert flag_rate(4_000) == pytest.approx(beta(4, 3_997).ppf(0.999), rel=1e-12)
    assert flag_rate(20_000) == pytest.approx(beta(20, 19_981).ppf(0.999), rel=1e-12)


def test_a_rise_of_unusual_decisions_alarms_and_names_the_feature(section: State) -> None:
    one = monitor(section)
    seen = view(decisions(4_000, 4, odd=0.03))
    assert alarmed(one, seen)[UNUSUAL] <= 2_000
    state = one.start()
    for place, count in enumerate([one.observe(seen)] * 1):
        for stretch in range(seen.stretches):
            one.step(state, of_stretch(count, stretch), Step(250, 250.0, place, stretch))
    found = one.judge(state)[0]
    assert "income" in one.sentence(found)
    assert found.detail["because of income"] > 50


def test_answers_against_their_score_alarm(section: State) -> None:
    found = alarmed(monitor(section), view(decisions(4_000, 5, against=0.05)))
    assert found.keys() == {CONTRADICTION}
    assert found[CONTRADICTION] <= 2_000


def test_a_margin_says_how_far_is_too_far(section: State) -> None:
    scores, answers = np.array([0.49, 0.4, 0.6, np.nan]), np.array([True, True, True, True])
    assert monitor(section, margin=0.05).contradicts(scores, answers).tolist() == [False, True, False, False]
    assert monitor(section, margin=0.0).contradicts(scores, answers).tolist() == [True, True, False, False]
    assert not monitor(section, margin=0.0).contradicts(scores, ~answers).any()


def test_without_drift_nothing_alarms() -> None:
    false_alarms = 0
    for seed in range(6):
        found, _ = Anomaly.fit(view(decisions(8_000, 100 + seed)), MODEL)
        false_alarms += bool(alarmed(monitor(found), view(decisions(10_000, 200 + seed))))
    assert false_alarms == 0


def test_too_small_a_reference_makes_no_section_and_says_so() -> None:
    found, remarks = Anomaly.fit(view(decisions(4_999, 1)), MODEL)
    assert found is None
    assert "5,000 reference decisions; there are 4,999" in remarks[0]
    assert monitor(None).ready is not None
    assert fitted(decisions(100, 1).select("output.score"), MODEL)[0] is None


def test_a_reference_without_scores_is_watched_for_odd_inputs_only() -> None:
    found, _ = Anomaly.fit(view(decisions(5_000, 1).drop("output.score")), MODEL)
    one = monitor(found)
    assert one.rates.names == (UNUSUAL,)
    assert "output.score" not in one.columns()


@pytest.mark.parametrize(
    "change",
    [
        {"missing": np.zeros(1)},
        {"typical": np.zeros((3, 1))},
        {"calibration": np.array([2.0, 1.0])},
        {"calibration": np.zeros(0)},
        {"names": ["income", "debt"], "levels": [None, None]},
    ],
)
def test_a_damaged_section_is_refused(section: State, change: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="fit the profile again"):
        Anomalies(section | change)


# -- cuts -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_a_cut_agrees_as_often_as_the_best_of_all_cuts(rows: list[tuple[int, bool]]) -> None:
    scores, answers = np.array([one for one, _ in rows], dtype=float), np.array([one for _, one in rows])
    found = Cut.fit(scores, answers)
    if found is None:
        assert len(set(answers.tolist())) == 1
        return
    assert (found.favours(scores) == answers).mean() == pytest.approx(found.agreement)
    cuts = [one - 0.5 for one in range(10)]
    best = max(max(((scores >= at) == answers).mean(), ((scores < at) == answers).mean()) for at in cuts)
    assert found.agreement == pytest.approx(best)


def test_a_cut_lies_between_the_scores_and_knows_its_direction() -> None:
    found = Cut.fit(np.array([0.1, 0.2, 0.4, 0.5, np.nan]), np.array([True, True, False, False, True]))
    assert found is not None
    assert (found.at, found.above, found.agreement) == (pytest.approx(0.3), False, 1.0)
    assert found.short(np.array([0.35]))[0] == pytest.approx(0.05)
