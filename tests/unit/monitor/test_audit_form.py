"""Ever unfair since the version's start: said of fair versions at most as often as α allows, and never taken back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from agents.monitor import Watch
from agents.monitor.audit_form import ever_unfair
from agents.monitor.ratio import Rates
from agents.monitor.state import packed, unpacked

MODELS = {
    "credit": {
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "groups": {"sex": ["female", "male"]},
        "arl": 1_000_000,
    }
}


def lives(ratio: float, streams: int, steps: int, audit: bool = True) -> tuple[Rates, Any]:
    """Whole lives of versions at a constant ratio, 250 decisions a step, a fifth of them of the group."""
    engine, random = Rates((0.8,), audit=audit), np.random.default_rng(17)
    state, reference = engine.start(streams, 2), np.ones(streams, dtype=np.int64)
    for _ in range(steps):
        group = random.binomial(250, 0.2, streams)
        n = np.stack([group, 250 - group], axis=1)
        k = random.binomial(n, np.array([0.5 * ratio, 0.5]))
        engine.step(state, n, k, 250.0, 250, 0, reference)
    return engine, state


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_version_at_the_very_limit_is_called_unfair_at_most_as_often_as_alpha_allows(alpha: float) -> None:
    engine, state = lives(0.8, 600, 120)
    share = (engine.ever(state)[:, 0] >= -np.log(alpha)).mean()
    assert 0 < share <= alpha, "the bound holds for the whole life, looked at after every block"


def test_a_version_that_is_unfair_is_called_so_much_sooner_than_an_alarm_would_be_raised() -> None:
    engine, state = lives(0.5, 100, 4)
    assert (engine.ever(state)[:, 0] >= np.log(20)).mean() > 0.7
    assert (engine.log_m(state)[:, 0, 0] >= np.log(1e6)).mean() < 0.5


def test_the_audit_changes_nothing_of_the_alarms() -> None:
    (with_audit, one), (without, other) = lives(0.7, 20, 40), lives(0.7, 20, 40, audit=False)
    assert np.array_equal(with_audit.log_m(one), without.log_m(other))


def decisions(count: int, ratio: float, seed: int) -> list[dict[str, str]]:
    random = np.random.default_rng(seed)
    sex = random.choice(["female", "male"], count)
    approve = random.random(count) < np.where(sex == "female", 0.6 * ratio, 0.6)
    labels = np.where(approve, "approve", "decline")
    return [{"label": label, "sex": one} for label, one in zip(labels.tolist(), sex.tolist(), strict=True)]


def test_what_was_once_shown_stays_said_though_the_version_is_fair_again() -> None:
    watch = Watch(MODELS, {"disparate_impact": {"reference": {"sex": "male"}}})
    watch.feed(decisions(2_000, 1.0, 1))
    (fair,) = ever_unfair(watch)
    assert (fair.unfair, fair.group, fair.p) == (False, "sex=female", 1.0)
    watch.feed(decisions(600, 0.4, 2))
    watch.feed(decisions(30_000, 1.0, 3))
    (once,) = ever_unfair(watch)
    assert once.unfair
    assert once.p < 0.05
    assert not ever_unfair(watch, alpha=once.p / 2)[0].unfair
    (said,) = watch.report()
    assert said["status"] == "ok"
    assert said["detail"]["ever_p"] == once.p
    assert said["detail"]["ever_unfair"] == 1.0
    assert "at some time since the version's start it was beyond the limit" in said["text"]
    with pytest.raises(ValueError, match="between 0 and 1"):
        ever_unfair(watch, alpha=1.5)


def test_all_groups_together_share_alpha() -> None:
    several = {**MODELS["credit"], "groups": {"sex": ["female", "male"], "age": ["young", "middle", "old"]}}
    watch = Watch({"credit": several}, {"disparate_impact": {}})
    watch.feed(decisions(3_000, 0.6, 4))
    assessor = watch.assessors["credit"]
    (monitor,) = assessor.watched.monitors
    (state,) = assessor.states.values()
    kept = unpacked(json.loads(json.dumps(packed(state))))
    parts = monitor.parts(state["tables"])  # type: ignore[attr-defined]
    assert float(parts @ np.array([2, 3])) == pytest.approx(1.0)
    assert monitor.ever(kept)[0, 0] == pytest.approx(np.exp(-state["watch"]["ever"][0, 0]) / parts[0])  # type: ignore[attr-defined]
