"""χ²-ball Shiryaev-Roberts: has a distribution over bins left its reference by more than a tolerance, watched all the time?

The null is a ball, not a point: Σ(p-π)²/π ≤ δ², δ² = psi_tol + χ²_{B-1;.99}/n_ref, so that neither a harmless difference
nor the reference's own noise is an alarm. A bet on q has the factor 1 + λh a decision, h = g - δ·sqrt(Σπg²), g = q/π - 1,
whose expectation is at most 1 for every p of the ball (Cauchy-Schwarz); detectors.py turns factors into detectors.

One Ball watches F "features" (inputs of a model, deciles of a score, pairs …) of up to B bins each, in S strata (seasons)
with a reference each, for N independent streams at once. Features share nothing but the moments at which blocks close.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from agents.monitor.contract import STRETCH, Bools, Floats, Ints, State
from agents.monitor.detectors import NEVER, grown, left_zero, mixed, rounded

SOURCE = "χ²-ball e-values, Shiryaev-Roberts form: Shin, Ramdas, Rinaldo, E-detectors (2022); docs/statistics.md"
HALF_LIVES = (500.0, 2_000.0, 8_000.0)
"""Of the counts that the adaptive bets are on, in a feature's own decisions."""
USUAL = 1
"""The half-life (its place in HALF_LIVES) of the profile that effect sizes are told of."""
PRIOR = 100.0
"""Reference decisions that an adaptive bet is mixed with."""
STAKES = np.array([1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06, 0.03, 0.01, 0.003])
"""λ as parts of the largest one that is allowed; the best for q is taken."""
TILTS = (0.3, 0.8)
"""How strongly fixed bets tilt an ordered feature; 0.3 is a shift by about so many standard deviations."""
_LOG_2 = float(rounded(np.log(np.array(2.0))))
RARE = 0.03
"""How much more of a rare bin (missing, new) a fixed bet expects."""


@dataclass(frozen=True)
class Layout:
    """What the bins of each feature mean, (F, B) each: which fixed bets make sense."""

    used: Bools
    """The feature has this bin."""
    ordered: Bools
    """Bins with an order: bets on a shift and on a change of spread."""
    levels: Bools
    """Bins that may grow and shrink by themselves: bets on three times as much, and a third."""
    rare: Bools
    """Bins that are nearly empty as a rule (missing, new): bets on 3 % more."""

    @classmethod
    def of(cls, kinds: Sequence[tuple[int, int, int]]) -> Layout:
        """From (ordered bins, levels, rare bins) a feature; its bins lie in this order.

        >>> Layout.of([(2, 0, 1), (0, 1, 1)]).used.tolist()
        [[True, True, True], [True, True, False]]
        """
        width = max((sum(kind) for kind in kinds), default=0)
        masks = np.zeros((3, len(kinds), width), dtype=np.bool_)
        for row, kind in enumerate(kinds):
            start = 0
            for mask, size in zip(masks, kind, strict=True):
                mask[row, start : start + size] = True
                start += size
        return cls(np.asarray(masks.any(axis=0)), *masks)


@dataclass(frozen=True, slots=True)
class Effects:
    """How large a difference is; arrays (N, F). See `psi_of` and `js_of`."""

    psi: Floats
    js: Floats
    n: Floats
    """Decisions behind it; decayed ones where the profile is."""
    q: Floats
    """Shares of the bins, (N, F, B), smoothed by half a decision a bin as those of the reference are."""
    pi: Floats
    """The reference's, (N, F, B)."""


RESTING = 100.0
"""Bets that are not laid rest at this fraction of what an alarm needs."""


def resting(limit: float, share: float) -> float:
    """Where bets that are not laid come to rest: far below what a share of the budget needs for an alarm."""
    return limit / share / RESTING if share else math.inf


class Ball:
    """The detectors; holds no state of the streams.

    Guarantee: for each feature E ≤ 1 given the past while p is in the ball of its stratum; so, with shares that sum to at
    most 1, P(`family` ≥ A within a clock of T) ≤ T/A. "In the ball" includes the reference's noise with probability .99.
    The product of the features' E is one too where each decision counts in a single feature: `pooled` of the weight is on it.
    """

    def __init__(
        self,
        layout: Layout,
        reference: Ints,
        *,
        psi_tol: float = 0.01,
        block: int = STRETCH,
        shares: Floats | None = None,
        rest: float = math.inf,
        tilts: Sequence[float] = TILTS,
        tails: Sequence[float] = (),
        pooled: float = 0.0,
    ) -> None:
        """`reference`: counts (S, F, B), or (F, B) for a single stratum. A stratum without counts takes no bets.

        `block`: decisions after which a block closes. `shares` (F,) sum to at most 1; not given: equal ones. `rest`: where
        M comes to rest while a bet is not laid; without it the clock alone would lead to an alarm in the end.
        `tilts`: of the fixed bets on ordered bins. `tails`: fixed bets on so many times as much in all `levels` of a feature
        at once. `pooled`: part of the weight for a change that all features show together; only for features of which each
        decision counts in one (the deciles of a score).
        """
        counts = np.where(layout.used, reference if reference.ndim == 3 else reference[None], 0)
        self.layout, self.block = layout, block
        self.strata, self.features, self.bins = counts.shape
        self.n_ref: Ints = counts.sum(axis=2)
        size = layout.used.sum(axis=1)
        smooth = (counts + 0.5) / (self.n_ref + 0.5 * size)[:, :, None]
        self.pi: Floats = np.where(layout.used, smooth, 0.0)
        self._inverse = np.where(layout.used, 1.0 / smooth, 0.0)
        with np.errstate(divide="ignore"):
            slack = np.where(size > 1, chi2.ppf(0.99, np.maximum(size - 1, 1)), np.inf) / self.n_ref
        self.delta: Floats = np.sqrt(psi_tol + slack)
        factors, active = self._factors(np.stack([_alternatives(layout, pi, tilts, tails) for pi in self.pi]))
        laid = active.any(axis=(0, 1))  # bets that no feature has a use for cost nothing
        factors, active = factors[:, :, laid], active[:, :, laid]
        self.fixed = int(laid.sum())
        self._table = np.ascontiguousarray(factors.transpose(1, 0, 3, 2))
        self._log_weight = _weights(np.asarray(active.any(axis=0)), len(HALF_LIVES))
        equal = np.full(self.features, 1.0 / max(self.features, 1))
        self.pooled = pooled
        self._log_weight_pooled = _weights(np.asarray(active.any(axis=(0, 1)))[None], len(HALF_LIVES))
        with np.errstate(divide="ignore"):
            own = (equal if shares is None else shares) * (1.0 - pooled)
            self._log_share = rounded(np.log(np.append(own, pooled) if pooled else own))
        self._lives = np.array(HALF_LIVES)
        self._log_rest = float(rounded(np.log(np.array(rest))))

    # -- state --------------------------------------------------------------------------------------------------------

    def start(self, streams: int = 1) -> State:
        """Before the first decision; every array has the stream as its first axis."""
        one = (streams, self.features)
        cells = (streams, self.strata, self.features, self.bins)
        alternatives = self.fixed + len(HALF_LIVES)
        together = {"log_pooled": np.full((streams, 1, alternatives), NEVER)} if self.pooled else {}
        return together | {
            "n": np.zeros(streams, dtype=np.int64),
            "weight": np.zeros(streams),
            "pending": np.zeros(cells, dtype=np.int64),
            "decayed": np.zeros((*cells[:3], len(HALF_LIVES), self.bins)),
            "log_m": np.full((*one, alternatives), NEVER),
            "cusum": np.zeros((*one, alternatives)),
            "since": np.zeros(cells, dtype=np.int64),
            "on_n": np.zeros(one, dtype=np.int64),
            "on_ms": np.zeros(one, dtype=np.int64),
        }

    def step(self, state: State, counts: Ints, n: Ints | int, weight: Floats | float, now_ms: Ints | int = 0) -> Bools:
        """Take counts (N, S, F, B) of n decisions into the state, in place; which streams closed a block, (N,).

        Without strata or a single stream their axes may be left out. `weight` is what they add to the budget's clock.
        """
        pending = state["pending"]
        pending += counts.reshape(pending.shape)
        state["n"] += n
        state["weight"] += weight
        closed: Bools = state["n"] >= self.block
        if closed.all():
            self._close(state, slice(None), now_ms)
        elif closed.any():
            rows = np.flatnonzero(closed)
            self._close(state, rows, now_ms[rows] if isinstance(now_ms, np.ndarray) else now_ms)
        return closed

    def _close(self, state: State, rows: Any, now_ms: Ints | int) -> None:
        """Bets were laid when the block opened: the decayed counts have not changed since."""
        counts, n = state["pending"][rows], state["n"][rows]
        strata: Any = slice(None) if self.strata == 1 else np.flatnonzero(counts.any(axis=(0, 2, 3)))
        place = (rows, strata) if isinstance(rows, slice) or self.strata == 1 else np.ix_(rows, strata)
        busy, decayed = counts[:, strata], state["decayed"][place]
        flat = busy.transpose(2, 0, 1, 3).reshape(self.features, len(n), -1).astype(np.float64)
        table = self._table[:, strata].reshape(self.features, -1, self.fixed)
        fixed = (flat @ table).transpose(1, 0, 2)  # exact in any order: whole numbers × multiples of 2⁻³²
        adaptive, active = self._adaptive(decayed, busy, strata)
        log_e = np.concatenate([fixed, adaptive], axis=2)
        state["log_m"][rows] = self._grown(state["log_m"][rows], state["weight"][rows], log_e, active)
        if self.pooled:
            every, laid = log_e.sum(axis=1, keepdims=True), np.asarray(active.any(axis=1, keepdims=True))
            state["log_pooled"][rows] = self._grown(state["log_pooled"][rows], state["weight"][rows], every, laid)
        cusum, _ = left_zero(state["cusum"][rows], log_e)
        cusum[:, :, self.fixed :] *= active  # a bet that is not laid speaks for no change
        state["cusum"][rows] = cusum
        self._follow_onset(state, rows, counts, n, cusum, now_ms)
        state["decayed"][place] = rounded(decayed * self._fade(_added(busy))[..., None]) + busy[:, :, :, None]
        state["pending"][rows], state["n"][rows], state["weight"][rows] = 0, 0, 0.0

    def _fade(self, n: Ints) -> Floats:
        """What is left after n decisions, by half-life. Mostly all features count the same ones: then it is worked out once."""
        return rounded(np.exp2((n[..., :1] if (n == n[..., :1]).all() else n)[..., None] / -self._lives))

    def _grown(self, log_m: Floats, weight: Floats, log_e: Floats, active: Bools) -> Floats:
        """One step of every bet. What is not laid grows by the clock up to `rest`, and halves down to it: E = ½ is ≤ 1 too."""
        found = grown(log_m, weight[:, None, None], log_e)
        if self._log_rest < math.inf:
            idle = np.maximum(log_m[:, :, self.fixed :] - _LOG_2, self._log_rest)
            found[:, :, self.fixed :] = np.minimum(found[:, :, self.fixed :], np.where(active, np.inf, idle))
        return found

    def _follow_onset(self, state: State, rows: Any, counts: Ints, n: Ints, cusum: Floats, now_ms: Ints | int) -> None:
        """Where every bet's CUSUM rests at zero, the onset is now."""
        rests: Bools = np.asarray(~(cusum > 0).any(axis=2))
        state["since"][rows] = np.where(rests[:, None, :, None], 0, state["since"][rows] + counts)
        state["on_n"][rows] = np.where(rests, 0, state["on_n"][rows] + n[:, None])
        moment = now_ms[:, None] if isinstance(now_ms, np.ndarray) else now_ms
        state["on_ms"][rows] = np.where(rests, moment, state["on_ms"][rows])

    # -- bets ---------------------------------------------------------------------------------------------------------

    def _adaptive(self, decayed: Floats, counts: Ints, strata: Any) -> tuple[Floats, Bools]:
        """log E of the bets on what earlier blocks showed, (N, F, H), and which were laid in some stratum."""
        pi, delta = self.pi[strata][None, :, :, None], self.delta[strata]
        q = (decayed + PRIOR * pi) / (_added(decayed) + PRIOR)[..., None]
        g = q * self._inverse[strata][None, :, :, None] - self.layout.used[None, None, :, None]
        d = np.sqrt(_added(pi * g * g))
        active: Bools = np.asarray(d > delta[None, :, :, None])
        log_e = np.zeros(d.shape)
        at = np.nonzero(active & (_added(counts) > 0)[..., None])
        if len(at[0]):
            h = g[at] - (delta[at[1:3]] * d[at])[:, None] * self.layout.used[at[2]]
            log_e[at] = (_log_factors(q[at], h) * counts[at[:3]]).sum(axis=1)
        if self.strata == 1:
            return log_e[:, 0], active[:, 0]
        return log_e.sum(axis=1), np.asarray(active.any(axis=1))

    def _factors(self, q: Floats) -> tuple[Floats, Bools]:
        """Log factors (S, F, J, B) of fixed bets, and which are laid (S, F, J)."""
        pi, used = self.pi[:, :, None], self.layout.used[None, :, None]
        g = q * self._inverse[:, :, None] - used
        d = np.sqrt((pi * g * g).sum(axis=3))
        delta = np.broadcast_to(self.delta[:, :, None], d.shape)
        active: Bools = np.asarray(d > delta)
        found = np.zeros(q.shape)
        at = np.nonzero(active)
        if len(at[0]):
            h = g[at] - (delta[at] * d[at])[:, None] * self.layout.used[at[1]]
            found[at] = _log_factors(q[at], h)
        return found, active

    # -- what it says -------------------------------------------------------------------------------------------------

    def log_m(self, state: State) -> Floats:
        """Each feature's log M, (N, F)."""
        return mixed(state["log_m"], self._log_weight)

    def family(self, state: State) -> Floats:
        """log of Σ share·M over the features, and over all of them together where they are pooled, (N,)."""
        own = self.log_m(state)
        if self.pooled:
            own = np.concatenate([own, mixed(state["log_pooled"], self._log_weight_pooled)], axis=1)
        return mixed(own, self._log_share)

    def reset(self, state: State, features: Any, stream: int = 0) -> None:
        """Start these features' evidence anew, and what all say together; what bets have learnt, and the onset, stay."""
        state["log_m"][stream, features] = NEVER
        if self.pooled:
            state["log_pooled"][stream] = NEVER

    def onset(self, state: State) -> tuple[Ints, Ints]:
        """Decisions since the change, if there was one, and the clock then: (N, F) each. Optimistic estimates."""
        return state["on_n"], state["on_ms"]

    def profile(self, state: State, life: int = USUAL) -> Floats:
        """The decayed counts of closed blocks, (N, S, F, B)."""
        found: Floats = state["decayed"][:, :, :, life]
        return found

    def distance(self, state: State, life: int = USUAL) -> Floats:
        """Σ(q-π)²/π of the decayed profile, less its own noise, as a multiple of δ²; the largest of the strata, (N, F)."""
        counts = self.profile(state, life)
        total = np.maximum(counts.sum(axis=3), 1e-300)
        q = counts / total[..., None]
        d2 = ((q - self.pi) ** 2 * self._inverse).sum(axis=3) - (self.layout.used.sum(axis=1) - 1) / total
        return np.asarray(np.maximum(d2 / self.delta**2, 0.0).max(axis=1))

    def effects(self, state: State, since: bool = False) -> Effects:
        """PSI and Jensen-Shannon of the decayed profile, or of what came since the onset.

        With strata the reference is mixed as the decisions are, so that a busier night is no drift.
        """
        counts = state["since"].astype(np.float64) if since else self.profile(state)
        by_stratum = counts.sum(axis=3)
        n = by_stratum.sum(axis=1)
        part = by_stratum / np.maximum(n, 1e-300)[:, None]
        pi = np.where((n > 0)[..., None], (part[..., None] * self.pi).sum(axis=1), self.pi[0])
        size = self.layout.used.sum(axis=1)
        q = np.where(self.layout.used, (counts.sum(axis=1) + 0.5) / (n + 0.5 * size)[..., None], 0.0)
        return Effects(psi_of(q, pi), js_of(q, pi), n, q, pi)


def psi_of(q: Floats, pi: Floats) -> Floats:
    """Population stability index Σ(q-π)·log(q/π) over the last axis; bins with π = 0 do not count.

    >>> float(psi_of(np.array([0.5, 0.5]), np.array([0.25, 0.75])).round(4))
    0.2747
    """
    both = (q > 0) & (pi > 0)
    ratio = np.where(both, q, 1.0) / np.where(both, pi, 1.0)
    return np.asarray(((q - pi) * np.log(ratio)).sum(axis=-1))


def js_of(q: Floats, pi: Floats) -> Floats:
    """Jensen-Shannon divergence over the last axis, in nats: 0 … log 2.

    >>> float(js_of(np.array([1.0, 0.0]), np.array([0.0, 1.0])).round(4))
    0.6931
    """
    middle = (q + pi) / 2
    found = 0.0
    for one in (q, pi):
        found = found + (one * np.log(np.where(one > 0, one, 1.0) / np.where(one > 0, middle, 1.0))).sum(axis=-1) / 2
    return np.asarray(found)


def _added(cells: Any) -> Any:
    """The sum over the last axis. Pairs have two cells: numpy adds up so short rows many times slower than two columns."""
    return cells[..., 0] + cells[..., 1] if cells.shape[-1] == 2 else cells.sum(axis=-1)


def _log_factors(q: Floats, h: Floats) -> Floats:
    """log(1 + λh) with the best λ for q, rows of bins; h is 0 in bins that are not used."""
    largest = np.minimum(1.0, 0.95 / np.maximum((-h).max(axis=1), 0.95))
    trials = np.log1p((largest[:, None] * STAKES)[:, :, None] * h[:, None, :])
    best = rounded((trials * q[:, None, :]).sum(axis=2)).argmax(axis=1)
    return rounded(trials[np.arange(len(q)), best])


def _alternatives(layout: Layout, pi: Floats, tilts: Sequence[float], tails: Sequence[float]) -> Floats:
    """What fixed bets expect, (F, J, B); rows that a feature has no use for equal π, so no bet is laid on them."""
    masks = np.stack([layout.ordered, layout.levels, layout.rare], axis=1)
    alike: dict[bytes, list[int]] = {}
    for feature, mine in enumerate(masks):
        alike.setdefault(mine.tobytes(), []).append(feature)
    found = []
    for rows in alike.values():
        ordered, levels, rare = masks[rows[0]]
        found.append((rows, _of_alike(pi[rows], ordered, levels, rare, tilts, tails)))
    width = max((len(bets) for _, bets in found), default=0)
    q = np.repeat(pi[:, None, :], width, axis=1)
    for rows, bets in found:
        for place, bet in enumerate(bets):
            q[rows, place] = bet
    return q


def _of_alike(
    pi: Floats, ordered: Bools, levels: Bools, rare: Bools, tilts: Sequence[float], tails: Sequence[float]
) -> list[Floats]:
    """What fixed bets expect of features (k, B) whose bins mean the same, (B,): they have the same bets at the same places."""
    found = []
    if ordered.sum() > 1:
        inside = np.where(ordered, pi, 0.0)
        rank = (np.cumsum(inside, axis=1) - inside / 2) / inside.sum(axis=1, keepdims=True)
        shift = np.where(ordered, np.sqrt(12) * (rank - 0.5), 0.0)
        spread = np.where(ordered, (12 * (rank - 0.5) ** 2 - 1) / np.sqrt(0.8), 0.0)
        found += [pi * np.exp(sign * tilt * x) for x in (shift, spread) for tilt in tilts for sign in (1, -1)]
    found += [pi * np.where(levels, times, 1.0) for times in tails]
    for level in np.flatnonzero(levels):
        for times in (3.0, 1 / 3):
            one = pi.copy()
            one[:, level] *= times
            found.append(one)
    found = [one / one.sum(axis=1, keepdims=True) for one in found]
    for bin_ in np.flatnonzero(rare):
        one = pi * (1 - RARE)
        one[:, bin_] += RARE
        found.append(one)
    return found


def _weights(active: Bools, adaptive: int) -> Floats:
    """Log weights (F, J + adaptive): half for the fixed bets that are laid, half for the adaptive ones."""
    laid = active.sum(axis=1, keepdims=True)
    fixed = np.where(active, 0.5 / np.maximum(laid, 1), 0.0)
    rest = np.where(laid > 0, 0.5, 1.0) / adaptive
    with np.errstate(divide="ignore"):
        return rounded(np.log(np.concatenate([fixed, np.repeat(rest, adaptive, axis=1)], axis=1)))
