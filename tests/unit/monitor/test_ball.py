"""The χ²-ball engine: what its bound rests on, that cutting and restarting leave no trace, that it finds what moved."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import jensenshannon

from agents.monitor.ball import Ball, Layout, js_of, psi_of
from agents.monitor.contract import Ints, State
from agents.monitor.state import packed, unpacked

USUAL = np.array([0.1, 0.2, 0.4, 0.2, 0.1, 0.0])
MOVED = np.array([0.02, 0.1, 0.36, 0.28, 0.24, 0.0])


def ball(features: int = 3, n_ref: int = 5_000, **more: Any) -> Ball:
    """Numeric features with five bins and a missing one."""
    reference = np.repeat(np.rint(USUAL * n_ref).astype(np.int64)[None], features, axis=0)
    return Ball(Layout.of([(5, 0, 1)] * features), reference, **more)


def drawn(random: np.random.Generator, count: int, features: int = 3, moved: int | None = None) -> Ints:
    """Counts (features, bins) of so many decisions."""
    rows = [random.multinomial(count, MOVED if one == moved else USUAL) for one in range(features)]
    return np.array(rows, dtype=np.int64)


def fed(engine: Ball, state: State, blocks: list[Ints], start: int = 0) -> None:
    for number, counts in enumerate(blocks):
        n = int(counts[0].sum())
        engine.step(state, counts, n, float(n), start + number)


def farthest(factors: np.ndarray, pi: np.ndarray, delta: float) -> float:
    """The largest Σ p·factor over distributions in the ball, by search."""
    best = 0.0
    for seed in range(4):
        start = np.random.default_rng(seed).dirichlet(np.ones(len(pi)))
        found = minimize(
            lambda p: -float(p @ factors),
            0.9 * pi + 0.1 * start,
            bounds=[(0, 1)] * len(pi),
            constraints=[
                {"type": "eq", "fun": lambda p: p.sum() - 1},
                {"type": "ineq", "fun": lambda p: delta**2 - float(((p - pi) ** 2 / pi).sum())},
            ],
        )
        best = max(best, -found.fun)
    return best


@pytest.mark.parametrize("kind", [(5, 0, 1), (0, 4, 2), (2, 0, 0)])
def test_no_distribution_in_the_ball_makes_a_fixed_bet_profitable(kind: tuple[int, int, int]) -> None:
    weights = np.arange(1, sum(kind) + 1)
    engine = Ball(Layout.of([kind]), (1_000 * weights)[None], psi_tol=0.02)
    state = engine.start()
    moments = []
    for bin_ in range(sum(kind)):  # a block of one decision shows each bet's factor
        state = engine.start()
        one = np.zeros((1, sum(kind)), dtype=np.int64)
        one[0, bin_] = 1
        engine.block = 1
        engine.step(state, one, 1, 1.0)
        moments.append(np.exp(state["log_m"][0, 0, : engine.fixed]))
    factors = np.array(moments)
    assert (np.abs(factors - 1) > 1e-3).any()
    for bet in range(engine.fixed):
        assert farthest(factors[:, bet], engine.pi[0, 0], float(engine.delta[0, 0])) <= 1 + 1e-6


def test_the_expectation_of_e_over_every_block_is_at_most_one_on_the_ball_and_above_it_outside() -> None:
    engine = Ball(Layout.of([(2, 0, 0)]), np.array([[600, 400]]), block=8)
    pi, delta = engine.pi[0, 0], float(engine.delta[0, 0])
    primed = engine.start()
    engine.step(primed, np.array([[100, 900]]), 1_000, 0.0)  # gives the adaptive bets something to bet on
    primed["log_m"][:] = 0.0
    edge = delta * np.sqrt(pi[0] * pi[1])  # Σ(p-π)²/π = e²/(π0·π1)
    expectation = {}
    for name, p0 in (("lower edge", pi[0] - edge), ("centre", pi[0]), ("upper edge", pi[0] + edge), ("far", 0.15)):
        total = np.zeros(engine.fixed + 3)
        for row in product((0, 1), repeat=8):
            state = unpacked(packed(primed))
            hits = sum(row)
            engine.step(state, np.array([[8 - hits, hits]]), 8, 0.0)
            total += p0 ** (8 - hits) * (1 - p0) ** hits * np.exp(state["log_m"][0, 0])
        expectation[name] = total
    for name in ("lower edge", "centre", "upper edge"):
        assert (expectation[name] <= 1 + 1e-7).all(), name
    assert expectation["far"][-3:].min() > 2
    assert expectation["lower edge"][-3:] == pytest.approx(np.ones(3), abs=1e-6), "the bound is sharp"


def test_batches_of_one_give_the_same_bits_as_whole_blocks() -> None:
    engine, random = ball(), np.random.default_rng(1)
    rows = np.stack([random.choice(6, 1_000, p=MOVED if one == 1 else USUAL) for one in range(3)])
    single, whole = engine.start(), engine.start()
    for number in range(1_000):
        engine.step(single, np.eye(6, dtype=np.int64)[rows[:, number]], 1, 1.0, 250 * (number // 250 + 1))
    for number in range(4):
        block = rows[:, 250 * number : 250 * (number + 1)]
        counts = np.array([np.bincount(one, minlength=6) for one in block])
        engine.step(whole, counts, 250, 250.0, 250 * (number + 1))
    assert json.dumps(packed(single)) == json.dumps(packed(whole))


def test_restarted_at_every_step_it_comes_to_the_same_bits() -> None:
    engine, random = ball(), np.random.default_rng(2)
    straight, restarted = engine.start(), engine.start()
    for number in range(60):
        counts = drawn(random, 90, moved=0)
        engine.step(straight, counts, 90, 90.0, number)
        restarted = unpacked(json.loads(json.dumps(packed(restarted))))
        engine.step(restarted, counts, 90, 90.0, number)
        assert json.dumps(packed(straight)) == json.dumps(packed(restarted))
    assert engine.family(straight) == engine.family(restarted)


def shared(random: np.random.Generator, count: int, p: np.ndarray, features: int = 10) -> Ints:
    """Counts of decisions of which each is in one of the features, as in the deciles of a score."""
    each = np.bincount(random.integers(0, features, count), minlength=features)
    return np.array([random.multinomial(n, p) for n in each], dtype=np.int64)


def test_a_change_that_each_feature_shows_a_little_is_found_sooner_together() -> None:
    apart, together = ball(10, psi_tol=0.2), ball(10, psi_tol=0.2, pooled=0.5)
    found = []
    for engine in (apart, together):
        random, state, blocks = np.random.default_rng(11), engine.start(20), 0
        while (engine.family(state) < np.log(1e6)).any():
            counts = np.stack([shared(random, 250, MOVED) for _ in range(20)])
            engine.step(state, counts, 250, 250.0)
            blocks += 1
        found.append(blocks)
    assert found[1] < 0.6 * found[0]


def test_together_features_inside_their_balls_never_count_either_and_a_restart_leaves_no_trace() -> None:
    engine = ball(10, psi_tol=0.2, pooled=0.5, tilts=(0.8, 1.5), rest=1e4)
    inside = 0.6 * USUAL + 0.4 * MOVED
    assert ((inside - engine.pi[0, 0]) ** 2 / engine.pi[0, 0]).sum() < engine.delta[0, 0] ** 2
    random, state = np.random.default_rng(12), engine.start(20)
    for _ in range(200):
        counts = np.stack([shared(random, 250, inside) for _ in range(20)])
        again = unpacked(json.loads(json.dumps(packed(state))))
        for one in (state, again):
            engine.step(one, counts, 250, 250.0)
    assert json.dumps(packed(again)) == json.dumps(packed(state))
    assert np.exp(engine.family(state)).max() < 1e5
    engine.reset(state, slice(None), 0)
    assert engine.family(state)[0] == -np.inf


def test_many_streams_at_once_are_as_each_by_itself() -> None:
    engine, random = ball(), np.random.default_rng(3)
    together = engine.start(4)
    alone = [engine.start() for _ in range(4)]
    for number in range(30):
        sizes = np.array([250, 100, 30, 400])
        counts = np.stack([drawn(random, int(size), moved=2) for size in sizes])
        engine.step(together, counts, sizes, sizes.astype(float), number)
        for one, state in enumerate(alone):
            engine.step(state, counts[one], int(sizes[one]), float(sizes[one]), number)
    for key, values in together.items():
        assert np.array_equal(values, np.concatenate([state[key] for state in alone])), key


def test_a_shifted_feature_is_found_and_named_and_undrifted_ones_stay_quiet() -> None:
    engine, random = ball(), np.random.default_rng(4)
    state = engine.start()
    fed(engine, state, [drawn(random, 250) for _ in range(40)])
    assert engine.family(state)[0] < np.log(1e5)
    fed(engine, state, [drawn(random, 250, moved=1) for _ in range(8)], start=40)
    assert engine.family(state)[0] > np.log(1e6)
    assert engine.log_m(state)[0].argmax() == 1
    n, moment = engine.onset(state)
    assert 1_750 <= n[0, 1] <= 2_500
    assert 38 <= moment[0, 1] <= 40
    since = engine.effects(state, since=True)
    assert since.psi[0, 1] == pytest.approx(psi_of(MOVED[:5], USUAL[:5]), rel=0.25)
    assert engine.distance(state)[0, 1] > 1 > engine.distance(state)[0, 0]


def test_a_difference_inside_the_ball_never_counts_however_long_it_lasts() -> None:
    engine = ball(1)
    pi, delta = engine.pi[0, 0], float(engine.delta[0, 0])
    tilted = pi * np.array([1, 1.02, 1.0, 0.98, 1.0, 1])
    tilted /= tilted.sum()
    assert ((tilted - pi) ** 2 / pi).sum() < delta**2
    random, state = np.random.default_rng(5), engine.start(50)
    for _ in range(400):
        engine.step(state, random.multinomial(250, tilted, size=50)[:, None, None], 250, 250.0)
    assert engine.family(state).max() < np.log(1e7)
    assert np.exp(engine.family(state)).mean() < 2 * 100_000, "E M grows by a decision for each decision at most"


def test_a_day_and_night_mix_is_no_drift_with_strata_and_a_change_in_one_of_them_is() -> None:
    day, night = USUAL, np.array([0.5, 0.2, 0.1, 0.1, 0.1, 0.0])
    reference = np.rint(np.stack([day, night])[:, None] * 5_000).astype(np.int64)
    engine = Ball(Layout.of([(5, 0, 1)]), reference)
    random, state = np.random.default_rng(6), engine.start()

    def hours(when: int, p: np.ndarray) -> Ints:
        counts = np.zeros((2, 1, 6), dtype=np.int64)
        counts[when, 0] = random.multinomial(250, p)
        return counts

    for number in range(80):
        engine.step(state, hours(number // 8 % 2, (day, night)[number // 8 % 2]), 250, 250.0)
    assert engine.family(state)[0] < np.log(1e5)
    assert engine.effects(state).psi[0, 0] < 0.02
    for _ in range(8):
        engine.step(state, hours(1, day), 250, 250.0)
    assert engine.family(state)[0] > np.log(1e6)


def test_a_stratum_or_feature_without_reference_is_never_bet_on() -> None:
    engine = Ball(Layout.of([(5, 0, 1)] * 2), np.array([[0] * 6, [500] * 5 + [0]]))
    state = engine.start()
    for _ in range(20):
        engine.step(state, np.tile([250, 0, 0, 0, 0, 0], (2, 1)), 250, 250.0)
    lost, found = engine.log_m(state)[0]
    assert lost == pytest.approx(np.log(5_000), abs=1e-6), "only the clock"
    assert found > np.log(1e6)


def test_a_rare_bin_that_fills_up_is_found() -> None:
    engine, random = ball(1), np.random.default_rng(7)
    state = engine.start()
    gaps = 0.97 * USUAL + 0.03 * np.eye(6)[5]
    fed(engine, state, [random.multinomial(250, gaps)[None] for _ in range(12)])
    assert engine.family(state)[0] > np.log(1e6)


def test_the_clock_alone_never_leads_to_an_alarm_where_bets_rest() -> None:
    limit = 1e5
    resting, restless = ball(1, rest=limit / 100), ball(1)
    random = np.random.default_rng(9)
    states = [resting.start(), restless.start()]
    highest = [-np.inf, -np.inf]
    for _ in range(1_600):
        counts = drawn(random, 250, features=1)
        for place, (engine, state) in enumerate(zip((resting, restless), states, strict=True)):
            engine.step(state, counts, 250, 250.0)
            highest[place] = max(highest[place], engine.family(state)[0])
    assert highest[0] < np.log(limit / 10)
    assert highest[1] > np.log(limit), "400,000 decisions on the clock"
    fed(resting, states[0], [drawn(random, 250, features=1, moved=0) for _ in range(4)])
    assert resting.family(states[0])[0] > np.log(limit)


def test_evidence_of_bets_that_are_laid_no_more_fades() -> None:
    engine, random = ball(1, rest=1e4), np.random.default_rng(10)
    state = engine.start()
    fed(engine, state, [drawn(random, 250, features=1, moved=0) for _ in range(4)])
    assert engine.family(state)[0] > np.log(1e8)
    fed(engine, state, [drawn(random, 250, features=1) for _ in range(400)])
    assert engine.family(state)[0] <= np.log(1e4)


def test_a_reset_feature_starts_anew_and_keeps_what_was_learnt() -> None:
    engine, random = ball(), np.random.default_rng(8)
    state = engine.start()
    fed(engine, state, [drawn(random, 250, moved=1) for _ in range(10)])
    learnt = state["decayed"].copy()
    engine.reset(state, 1)
    assert engine.log_m(state)[0, 1] == -np.inf
    assert np.isfinite(engine.log_m(state)[0, [0, 2]]).all()
    assert np.array_equal(state["decayed"], learnt)


def test_psi_and_jensen_shannon_are_the_textbook_s() -> None:
    q, pi = MOVED[:5], USUAL[:5]
    by_hand = sum((a - b) * np.log(a / b) for a, b in zip(q, pi, strict=True))
    assert psi_of(q, pi) == pytest.approx(by_hand, abs=1e-12)
    assert js_of(q, pi) == pytest.approx(jensenshannon(q, pi) ** 2, abs=1e-12)
