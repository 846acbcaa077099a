"""Isolation as a part of joint drift: it sees what neither features nor pairs show, and only where it is asked for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.monitor.anomaly import Anomaly
from agents.monitor.compilation import compile_monitors
from agents.monitor.contract import Setting, State, Step, View, merge, of_stretch
from agents.monitor.drift import DataDrift, DriftOptions
from agents.monitor.profiles import fit
from agents.monitor.state import packed, unpacked
from tests.studies.drift import EVERY, PAIRS, TOGETHER, delays, false_alarms, model, values, view
from tests.studies.drift import monitor as studied

KINDS_HERE = {"data_drift": DataDrift, "anomaly": Anomaly}


@pytest.fixture(scope="module")
def both() -> DataDrift:
    return studied(3, EVERY)


def drifted(count: int, seed: int) -> View:
    random = np.random.default_rng(seed)
    return view(TOGETHER.change(values(count, random), random))


def fed(one: DataDrift, seen: View, state: State | None = None) -> State:
    state = one.start() if state is None else state
    counts = one.observe(seen)
    for place in range(seen.stretches):
        one.step(state, of_stretch(counts, place), Step(250, 250.0, place, -1))
    return state


def test_inputs_that_are_extreme_all_at_once_are_seen_by_isolation_alone() -> None:
    found = delays(TOGETHER, 4, joint=EVERY, after=2_000)
    assert (found.early, found.missed, found.named) == (0, 0, 1.0)
    assert found.median <= 500
    assert delays(TOGETHER, 2, joint=PAIRS, after=2_000).missed == 2


def test_undrifted_inputs_are_no_alarm() -> None:
    assert false_alarms(2, 20_000, joint=EVERY) == 0


def test_it_is_said_in_plain_words_and_nothing_else_is_blamed(both: DataDrift) -> None:
    quiet = {one.group: one for one in both.judge(fed(both, view(values(2_000, np.random.default_rng(5)))))}
    assert quiet["inputs taken together"].status.value == "ok"
    assert "as in the reference" in both.sentence(quiet["inputs taken together"])
    said = both.judge(fed(both, drifted(2_000, 6)))
    alarmed = [one.group for one in said if one.status.value == "alarm"]
    assert alarmed == [None, "inputs taken together"]
    overall, together = said[0], next(one for one in said if one.group == "inputs taken together")
    assert "each by itself and each pair has moved little" in both.sentence(overall)
    assert overall.detail["features_in_alarm"] == overall.detail["pairs_in_alarm"] == 0
    assert together.detail["share"] > 1.5 * together.detail["reference_share"]
    assert together.detail["reference_share"] == pytest.approx(0.05, abs=0.005)
    assert "of the decisions are as unusual as 5.1% of the reference" in both.sentence(together)


def test_batches_and_restarts_leave_no_trace(both: DataDrift) -> None:
    seen = drifted(1_000, 7)
    parts = [
        View(seen.frame[rows], seen.stretch[rows], 4, times_ms=seen.times_ms[rows])
        for rows in (slice(0, 130), slice(130, 1_000))
    ]
    one, other = (both.observe(part) for part in parts)
    whole = both.observe(seen)
    assert {key: value.tolist() for key, value in merge(one, other).items()} == {
        k: v.tolist() for k, v in whole.items()
    }
    straight, restarted = both.start(), both.start()
    for place in range(4):
        step = Step(250, 250.0, place, -1)
        both.step(straight, of_stretch(whole, place), step)
        restarted = unpacked(json.loads(json.dumps(packed(restarted))))
        both.step(restarted, of_stretch(whole, place), step)
    assert json.dumps(packed(straight)) == json.dumps(packed(restarted))


def test_the_parts_of_the_budget_sum_to_one(both: DataDrift) -> None:
    whole = sum(weight * both.balls[part].features for part, weight in both.weights.items())
    assert whole == pytest.approx(1.0)
    assert both.weights["isolation"] == pytest.approx(0.25)


def configured(**options: Any) -> DataDrift:
    declared = model()
    profile = fit(KINDS_HERE, view(values(6_000, np.random.default_rng(1)), 6_000), "m", declared)
    document = declared.model_copy(update={"profile": profile.digest}).model_dump(exclude_defaults=True)
    configuration = Configuration.model_validate({"models": {"m": document}, "monitors": {"data_drift": options}})
    (made,) = compile_monitors(configuration, {profile.digest: profile})["m"].monitors
    assert isinstance(made, DataDrift)
    return made


def test_a_configuration_asks_for_it_and_the_profile_s_anomaly_section_serves_it() -> None:
    asked, plain = configured(joint=["pairs", "isolation"]), configured()
    assert asked.ready is None
    assert asked.isolation is not None
    assert asked.isolation.reference.sum() == 4_000
    assert plain.isolation is None
    assert "isolation" not in plain.observe(view(values(250, np.random.default_rng(2))))
    with pytest.raises(Misconfigured, match="one reference for all times"):
        configured(joint=["isolation"], seasons="hours")


def test_without_anomaly_scores_in_the_profile_it_waits_and_says_so() -> None:
    section, _ = DataDrift.fit(view(values(2_000, np.random.default_rng(1)), 2_000), model())
    lacking = DataDrift(Setting("d", "m", model(), DriftOptions(joint=EVERY), profile=section))
    assert "anomaly scores" in (lacking.ready or "")
