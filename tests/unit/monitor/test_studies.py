"""The studies of docs/statistics.md on few streams: delays within 1.4 × the bars, false alarms within their bound."""

from __future__ import annotations

import pytest

from tests.studies import behaviour, drift, fair_streams, impact

WIDE = 1.4


@pytest.mark.parametrize(
    "case", impact.BARS[2:4] + impact.BARS[5:], ids=lambda one: f"{one.share}-{one.rate}-{one.ratio}"
)
def test_a_group_approved_too_seldom_is_noticed_as_soon_as_was_simulated(case: impact.Case) -> None:
    found = impact.delays(case, streams=120)
    assert found.early == 0
    assert found.missed == 0
    assert found.median <= WIDE * case.median
    assert found.late <= WIDE * case.late


def test_at_the_boundary_and_within_the_null_false_alarms_keep_their_bound() -> None:
    assert impact.false_alarms(0.8, streams=100) <= 5 + 5  # the bound is 5 of 100; chance adds a little
    assert impact.false_alarms(1.0, streams=100) == 0


@pytest.mark.parametrize("case", drift.BARS[1:3], ids=lambda one: one.name)
def test_a_drift_is_noticed_as_soon_as_was_simulated_and_named(case: drift.Case) -> None:
    found = drift.delays(case, streams=6, after=3_000)
    assert found.early == 0
    assert found.median <= WIDE * case.median
    assert found.named == 1.0


def test_a_changed_version_is_noticed_within_hundreds_of_decisions_though_scores_are_noisy() -> None:
    found = behaviour.concept("an interaction reversed", streams=5, noise=0.3)
    assert found.early == 0
    assert sorted(found.delays)[2] <= WIDE * 375


def test_a_version_that_is_the_same_is_no_alarm_on_inputs_that_shift() -> None:
    assert behaviour.covariate("a mean + 1 sd", streams=2, noise=0.3, decisions=10_000) == 0


@pytest.mark.parametrize("state", ["fair", "boundary"])
def test_with_every_monitor_on_one_budget_nothing_alarms_where_nothing_is_wrong(state: fair_streams.State) -> None:
    assert fair_streams.false_alarms(3, state)[0] == 0
