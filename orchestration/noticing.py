"""When would it be noticed? Delays of a model's own monitors, simulated with the engines that judge its decisions.

Many streams run side by side as tables of one engine, seeded, so the same question has the same answer. Each is fair (or
undrifted) first and changes then; the delay is what comes after the change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from agents.monitor.ball import Ball, Layout
from agents.monitor.bernoulli import Bernoulli
from agents.monitor.contract import Floats, Step
from agents.monitor.ratio import Null, Rates

STREAMS = 200
MOST_ROWS = 4_000
"""Streams of all questions of a call together; with many questions each has fewer, but never under 50."""
FAIR = 4_000
"""Decisions before the change."""
FAIR_GRAIN = 100
LEAST_GRAIN = 25
FINER = 0.02
"""Looks are this part of the time since the change apart, so that delays are told to that part."""
REFERENCE = 5_000
"""Reference decisions behind the simulated profile."""
EDGES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Question:
    """A group that begins to fare worse."""

    share: float
    """Of the decisions, 0 to 1."""
    reference_share: float
    rate: float
    """How often the reference gets the favourable answer."""
    ratio: float
    """The group's rate from the change on, as a multiple of it."""
    needed: float
    """What the engine's M must reach: the budget's limit ÷ the group's part of it."""
    weight: float
    """What a decision adds to the budget's clock."""
    level: float = 0.8
    null: Null = "ratio"
    adverse: Literal["lower", "higher"] = "lower"


@dataclass(frozen=True)
class Delay:
    """Decisions of the model between change and alarm; inf: not within the horizon."""

    median: float
    late: float
    """9 in 10 are noticed within so many."""
    missed: float
    """The part not noticed within the horizon."""


def inequality(questions: Sequence[Question], horizon: int, streams: int = STREAMS, seed: int = 1) -> list[Delay]:
    """The delay of each question; one engine for what is judged alike, all questions and streams side by side."""
    found: dict[int, Delay] = {}
    streams = max(min(streams, MOST_ROWS // max(len(questions), 1)), min(streams, 50))
    alike = [(one.level, one.null, one.adverse) for one in questions]
    for judged in dict.fromkeys(alike):
        places = [place for place, one in enumerate(alike) if one == judged]
        level, null, adverse = judged
        delays = _unequal(
            [questions[place] for place in places], Rates((level,), null, adverse), horizon, streams, seed
        )
        found |= dict(zip(places, delays, strict=True))
    return [found[place] for place in range(len(questions))]


def _unequal(questions: Sequence[Question], engine: Rates, horizon: int, streams: int, seed: int) -> list[Delay]:
    random = np.random.default_rng(seed)

    def spread(values: Sequence[float]) -> Floats:
        return np.repeat(np.array(values), streams)

    share = spread([one.share for one in questions])
    rest = spread([min(1.0, one.reference_share / max(1 - one.share, 1e-9)) for one in questions])
    rate = spread([one.rate for one in questions])
    ratio, weight = spread([one.ratio for one in questions]), spread([one.weight for one in questions])
    needed = np.log(spread([one.needed for one in questions]))
    state = engine.start(len(share), 2)
    fixed = np.ones(len(share), dtype=np.int64)  # the second group is the reference
    delay = np.full(len(share), np.inf)
    for seen, grain in _looks(horizon):
        now = np.where(seen < 0, 1.0, ratio)
        group = random.binomial(grain, share)
        n = np.stack([group, random.binomial(grain - group, rest)], axis=1)
        k = random.binomial(n, np.stack([rate * now, rate], axis=1))
        engine.step(state, n, k, (weight * grain)[:, None], grain, 0, fixed)
        if seen >= 0:
            hit = (engine.log_m(state)[:, 0, 0] >= needed) & np.isinf(delay)
            delay[hit] = seen + grain
            if np.isfinite(delay).all():
                break
    return [_delay(one) for one in delay.reshape(len(questions), streams)]


@dataclass(frozen=True)
class Rise:
    """A share of flagged decisions that is held to a limit."""

    allowed: float
    """The share that may bear the flag; before the change half as many do."""
    limit: float
    """The model's budget."""
    part: float
    """Of the budget."""
    weight: float
    """What a decision adds to the budget's clock."""
    spread: float = 1.0
    """The evidence is divided by it (Bernoulli)."""


def rising(rise: Rise, multiples: Sequence[float], horizon: int, streams: int = STREAMS, seed: int = 1) -> list[Delay]:
    """The delay where the share becomes each multiple of what is allowed; flagged decisions come independently."""
    random = np.random.default_rng(seed)
    share = np.minimum(np.repeat(np.array(multiples, dtype=np.float64), streams) * rise.allowed, 1.0)
    rows = len(share)
    names = [str(row) for row in range(rows)]  # each stream is a name of its own, with the whole part
    family = Bernoulli(np.full(rows, rise.allowed), rise.limit, names=names, share=rise.part * rows, spread=rise.spread)
    state = family.start()
    delay = np.full(rows, np.inf)
    for seen, grain in _looks(horizon):
        k = random.binomial(grain, np.full(rows, rise.allowed / 2) if seen < 0 else share)
        family.step(state, np.full(rows, grain), k, Step(grain, rise.weight * grain, 0, -1))
        if seen >= 0:
            delay[state["alarm"] & np.isinf(delay)] = seen + grain
            if np.isfinite(delay).all():
                break
    return [_delay(one) for one in delay.reshape(len(multiples), streams)]


@dataclass(frozen=True)
class Shift:
    """A numeric feature of the model that moves, in its own standard deviations."""

    mean: float = 0.0
    spread: float = 1.0
    """Its standard deviation after the change, as a multiple of the one before."""

    def __str__(self) -> str:
        return f"spread × {self.spread:g}" if self.spread != 1.0 else f"mean + {self.mean:g} sd"


SHIFTS = (Shift(0.25), Shift(0.5), Shift(1.0), Shift(spread=1.3))


def drift(shift: Shift, needed: float, weight: float, horizon: int, streams: int = STREAMS, seed: int = 1) -> Delay:
    """How long until one numeric feature's shift is noticed; each stream has a reference of its own, REFERENCE decisions."""
    random = np.random.default_rng(seed)
    usual = np.diff([0.0, *EDGES, 1.0])
    moved = _moved(shift)
    layout = Layout.of([(len(usual), 0, 0)])
    engine = Ball(layout, np.rint(usual * REFERENCE).astype(np.int64)[None])
    state = engine.start(streams)
    true = random.dirichlet(usual * REFERENCE, streams)  # the truth, as far as a reference of that size leaves it open
    delay = np.full(streams, np.inf)
    for seen, grain in _looks(horizon):
        p = true if seen < 0 else _normed(true * (moved / usual))
        counts = random.multinomial(grain, p)
        engine.step(state, counts[:, None, None, :], grain, weight * grain)
        if seen >= 0:
            hit = (engine.log_m(state)[:, 0] >= np.log(needed)) & np.isinf(delay)
            delay[hit] = seen + grain
            if np.isfinite(delay).all():
                break
    return _delay(delay)


def _moved(shift: Shift) -> Floats:
    """Shares of the bins of a standard normal feature after the change."""
    edges = (ndtri(np.array(EDGES)) - shift.mean) / shift.spread
    return np.diff(np.concatenate([[0.0], ndtr(edges), [1.0]]))


def _normed(p: Floats) -> Floats:
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _looks(horizon: int) -> Iterator[tuple[int, int]]:
    """(decisions since the change, decisions until the next look); before the change the first is negative."""
    for place in range(FAIR // FAIR_GRAIN):
        yield place * FAIR_GRAIN - FAIR, FAIR_GRAIN
    seen = 0
    while seen < horizon:
        grain = max(LEAST_GRAIN, int(seen * FINER))
        yield seen, grain
        seen += grain


def _delay(found: Floats) -> Delay:
    late = float(np.quantile(found, 0.9, method="inverted_cdf"))
    return Delay(float(np.quantile(found, 0.5, method="inverted_cdf")), late, float(np.isinf(found).mean()))
