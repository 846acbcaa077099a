"""Shares of many names: bets that are fair under the null, alarms that end by evidence, memory that ends."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from agents.events import SignalStatus
from agents.monitor.bernoulli import ODDS, OTHER, Bernoulli, confidence_sequence
from agents.monitor.contract import State, Step
from agents.monitor.detectors import binomial_log_e
from agents.monitor.state import packed, unpacked
from tests.studies.misuse import share_alarms


def step(n: int, now_ms: int = 0) -> Step:
    return Step(n, float(n), now_ms, -1)


def reloaded(state: State) -> State:
    return dict(unpacked(json.loads(json.dumps(packed(state)))))


@pytest.mark.parametrize("p0", [0.001, 0.05, 0.6])
@pytest.mark.parametrize("odds", ODDS)
def test_no_bet_gains_in_expectation_while_the_rate_is_allowed(p0: float, odds: float) -> None:
    bet = odds * p0 / (1 - p0) / (1 + odds * p0 / (1 - p0))
    k = np.arange(41)
    e = np.exp(binomial_log_e(np.full(41, 40), k, p0, bet))
    for p in np.linspace(0, p0, 9):
        assert float((binom.pmf(k, 40, p) * e).sum()) <= 1 + 1e-6
    assert float((binom.pmf(k, 40, p0) * e).sum()) == pytest.approx(1, abs=1e-6)


def test_strength_is_what_the_formula_says() -> None:
    family = Bernoulli(0.1, 1e6, names=["a", "b"], odds=(3.0,), share=0.5)
    state = family.start()
    family.step(state, np.array([10, 10]), np.array([1, 4]), step(20))
    family.step(state, np.array([5, 0]), np.array([2, 0]), step(5))
    bet = 0.25  # odds 1/9 × 3 = 1/3
    hit, miss = bet / 0.1, (1 - bet) / 0.9
    first = 20 * hit * miss**9
    assert family.judge(state)[0].e_value == pytest.approx(0.25 * (first + 5) * hit**2 * miss**3, rel=1e-6)
    assert family.judge(state)[1].e_value == pytest.approx(0.25 * (20 * hit**4 * miss**6 + 5), rel=1e-6)


def test_false_alarms_at_the_boundary_stay_below_the_bound() -> None:
    alarmed = share_alarms(0.05, 0.05, streams=300, decisions=20_000)
    assert (alarmed > 0).mean() <= 0.04  # N/A is 2 %; three standard errors above


def test_five_times_the_allowed_share_is_noticed_within_a_thousand_decisions() -> None:
    alarmed = share_alarms(0.05, 0.01, streams=100, decisions=2_000)
    assert (alarmed > 0).all()
    assert np.median(alarmed) <= 400
    assert np.quantile(alarmed, 0.9) <= 700


def test_an_alarm_tells_since_when_and_ends_by_evidence() -> None:
    family = Bernoulli(0.02, 1e6, names=["a"])
    state = family.start()
    one = np.array([100])
    for at in range(50):
        assert not family.step(state, one, np.array([1]), step(100, at)) or at == 0
    while not state["alarm"][0]:
        at += 1
        family.step(state, one, np.array([10]), step(100, at))
    told = family.judge(state)[0]
    assert told.status == SignalStatus.ALARM
    assert told.onset_ms == 49
    assert told.estimate == pytest.approx(0.1)
    assert told.e_value >= 1e6
    begun = at
    while state["alarm"][0]:
        at += 1
        family.step(state, one, np.array([1]), step(100, at))
    assert 5 < at - begun < 60
    quiet = family.judge(state)[0]
    assert quiet.status == SignalStatus.INSUFFICIENT
    assert (quiet.n, quiet.e_value) == (0, 0.0)


def test_names_of_an_open_set_get_less_and_less_of_the_budget_and_the_rest_is_pooled() -> None:
    family = Bernoulli(0.01, 1e6, names=[""], open_set=True, cap=4)
    state = family.start()
    family.take(state, {"": (9, 0), "c": (4, 0), "b": (5, 0)}, step(9))
    family.take(state, {"": (9, 0), "x": (3, 0), "y": (3, 1), "z": (3, 0)}, step(9))
    assert state["names"] == ["", "b", "c", "x", OTHER]
    assert state["n"].tolist() == [18, 5, 4, 3, 6]
    shares = np.exp(family._log_share)
    assert shares[:4].tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 12, 1 / 20])
    assert shares.sum() == pytest.approx(1)


def test_a_hundred_thousand_names_take_no_more_room_than_the_cap() -> None:
    family = Bernoulli(0.01, 1e6, names=[""], open_set=True, cap=64)
    state = family.start()
    for block in range(100):
        names = {f"caller={block}-{one}": (1, 0) for one in range(1000)}
        family.take(state, {"": (1000, 0), **names}, step(1000))
    assert len(state["names"]) == 65
    assert int(state["n"].sum()) == 200_000
    assert len(json.dumps(packed(state))) < 40_000


def test_a_name_called_other_is_counted_with_the_others() -> None:
    family = Bernoulli(0.01, 1e6, open_set=True, cap=2)
    state = family.start()
    family.take(state, {"a": (1, 0), OTHER: (2, 0)}, step(3))
    family.take(state, {"b": (4, 0), OTHER: (1, 0)}, step(5))
    assert int(state["n"].sum()) == 8


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), min_size=1, max_size=30))
def test_restarted_after_every_step_it_has_the_same_bits(steps: list[tuple[int, float]]) -> None:
    family = Bernoulli(0.05, 1e3, names=[""], open_set=True, cap=3)
    straight, restarted = family.start(), family.start()
    for number, (n, share) in enumerate(steps):
        counts = {"": (n, int(n * share)), f"caller={number % 5}": (n, int(n * share))}
        changed = family.take(straight, counts, step(n, number))
        restarted = reloaded(restarted)
        assert family.take(restarted, counts, step(n, number)) == changed
        assert packed(restarted) == packed(straight)


def test_time_alone_adds_to_the_clock_and_nothing_else() -> None:
    family = Bernoulli(0.05, 1e6, names=["a"])
    state = family.start()
    nothing = np.zeros(1, dtype=np.int64)
    assert not family.step(state, nothing, nothing, Step(0, 500.0, 7, -1))
    assert family.judge(state)[0].e_value == pytest.approx(500)
    assert family.judge(state)[0].estimate is None


def test_a_family_without_a_share_never_alarms() -> None:
    family = Bernoulli(0.01, 10.0, names=["a"], share=0.0)
    state = family.start()
    for _ in range(20):
        family.step(state, np.array([100]), np.array([100]), step(100))
    assert not state["alarm"][0]


def test_clustered_hits_speak_less_loudly() -> None:
    quiet, loud = (Bernoulli(0.01, 1e6, names=["a"], spread=spread) for spread in (10.0, 1.0))
    states = [one.start() for one in (quiet, loud)]
    for one, state in zip((quiet, loud), states, strict=True):
        one.step(state, np.array([100]), np.array([10]), step(100))
    assert [bool(state["alarm"][0]) for state in states] == [False, True]


def test_the_interval_covers_at_all_times_together() -> None:
    random = np.random.default_rng(5)
    hits = (random.random((400, 1_000)) < 0.2).cumsum(axis=1)
    missed = np.zeros(400, dtype=bool)
    for n in range(10, 1_001, 10):
        lower, upper = confidence_sequence(np.full(400, n), hits[:, n - 1])
        missed |= (lower > 0.2) | (upper < 0.2)
    assert missed.mean() <= 0.05
    assert (upper - lower).max() < 0.13


def test_the_interval_knows_the_ends() -> None:
    lower, upper = confidence_sequence(np.array([0, 50, 50]), np.array([0, 0, 50]))
    assert (lower[0], upper[0], lower[1], upper[2]) == (0, 1, 0, 1)
    assert 0.05 < upper[1] < 0.15
    assert 0.85 < lower[2] < 0.95


def test_more_fixed_names_than_the_cap_are_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match="raise it"):
        Bernoulli(0.1, 1e6, names=["a", "b", "c"], open_set=True, cap=2)
