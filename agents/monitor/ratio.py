"""Two rates compared while they happen: is a group's rate at least τ times (or at most δ below) that of its reference?

The engine of the fairness monitors ("IR-SR", docs/statistics.md): Bernoulli e-values after Turner, Ly, Grünwald, "Generic
E-variables for exact sequential k-sample tests" (2021), projected onto the null in Kullback-Leibler divergence, in a
Shiryaev-Roberts e-detector (detectors.py). Proved for the composite null, in which both rates may drift as long as the
bound holds; assumes that each subject counts once and that outcomes do not choose who is in a group.

Everything is an array over tables × groups: a table is one attribute (or an intersection of some) in one segment, and in
a study one stream. Groups come as counts n (decisions) and k (favourable ones).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, lgamma, log, log1p, pi, sqrt
from typing import Literal

import numpy as np

from agents.monitor.contract import Bools, Floats, Ints, State
from agents.monitor.detectors import NEVER, grown, rounded

BETS = np.array([0.9, 0.75, 0.55, 0.3])
"""Alternatives, as multiples of the null's bound; each has a quarter of the weight."""
HALF_LIFE = 2_000.0
"""Of the counts that bets learn from, in a group's own decisions."""
LEAST = 10
"""Decisions of the group and of its reference that a block needs."""
ESTABLISHED = 30.0
"""Decayed decisions from which on a group can be the reference, and from which on it is judged at all."""
EDGE = 1e-3
NEWTON = 20
PRIOR = (10.0, 20.0)
"""Favourable ones and decisions added to a reference's counts; a profile's rate replaces the half."""
ALPHA_LOG = float(np.log(20.0))
_BLOCK = ("ng", "kg", "nr", "kr", "pn", "q", "weight", "cusum")
"""What a block leaves when it closes."""
_LOG_2 = float(rounded(np.log(np.array(2.0))))

Null = Literal["ratio", "difference"]


@dataclass(frozen=True)
class Rates:
    """One kind of comparison: bounds to test at, and which way is adverse.

    `lower`: harm is a group's rate below its reference's (approvals). `higher`: above it (false alarms about people).
    """

    bounds: tuple[float, ...] = (0.8,)
    """τ for ratios, δ for differences; the first one raises alarms."""
    null: Null = "ratio"
    adverse: Literal["lower", "higher"] = "lower"
    audit: bool = False
    """Also keep the audit form of the first bound: was the null ever violated since the start (`ever`)?"""

    @cached_property
    def _bound(self) -> Floats:
        return np.array(self.bounds)[:, None]

    def start(self, tables: int, groups: int) -> State:
        """The state of `tables` tables with so many groups."""
        shape = (tables, groups)
        state: State = {name: np.zeros(shape) for name in ("dn", "dk", "weight", "cusum")}
        state |= {name: np.zeros(shape, dtype=np.int64) for name in ("ng", "kg", "nr", "kr", "pn")}
        state |= {f"all_{name}": np.zeros(shape, dtype=np.int64) for name in ("n", "k")}
        state |= {f"on_{name}": np.zeros(shape, dtype=np.int64) for name in ("ng", "kg", "nr", "kr", "n", "ms")}
        state["ref"] = np.full(shape, -1, dtype=np.int64)
        state["q"] = np.zeros(shape)
        state["log_m"] = np.full((*shape, len(self.bounds), len(BETS)), NEVER)
        if self.audit:
            state |= {"log_k": np.full((*shape, len(BETS)), NEVER), "ever": np.full(shape, NEVER)}
            state["blocks"] = np.zeros(shape, dtype=np.int64)
        return state

    def extend(self, state: State, tables: int) -> None:
        """Room for more tables, in place."""
        more = self.start(tables - len(state["dn"]), state["dn"].shape[1])
        for name, values in more.items():
            state[name] = np.concatenate([state[name], values])

    def step(
        self,
        state: State,
        n: Ints,
        k: Ints,
        weight: Floats | float,
        total: Ints | int,
        now_ms: int,
        fixed: Ints,
        prior: float = 0.5,
        may: Bools | None = None,
    ) -> Bools:
        """Take counts (tables, groups) in; True for the groups whose block closed.

        `weight` is what the budget's clock gained, `total` the decisions of the model meanwhile: (tables, 1) or one for all.
        `fixed` is each table's reference (tables,), -1: the group with the highest (k+½)/(n+1); `prior` a reference rate
        known beforehand; `may` says which groups may be compared and referred to (default: all).
        """
        ref = state["ref"]
        open_ = ref >= 0
        at = np.maximum(ref, 0) + (np.arange(len(ref)) * ref.shape[1])[:, None]
        state["ng"] += n
        state["kg"] += k
        state["nr"] += n.ravel()[at]
        state["kr"] += k.ravel()[at]
        state["weight"] += weight
        state["pn"] += total
        ready: Bools = open_ & (state["ng"] >= LEAST) & (state["nr"] >= LEAST)
        if ready.any():
            self._close(state, ready, now_ms)
        fading = np.exp2(n * (-1.0 / HALF_LIFE))
        state["dn"] = state["dn"] * fading + n
        state["dk"] = state["dk"] * fading + k
        state["all_n"] += n
        state["all_k"] += k
        due: Bools = ready | ~open_
        if due.any():
            self._open(state, due, fixed, prior, may)
            np.copyto(state["on_ms"], now_ms, where=due & (state["on_ms"] == 0))
        return ready

    def _close(self, state: State, ready: Bools, now_ms: int) -> None:
        # Where there is little, take and put are several times quicker than places by table and group.
        at, flat = np.nonzero(ready), np.flatnonzero(ready)
        ng, kg, nr, kr, n, q, weight, cusum = (state[name].take(flat) for name in _BLOCK)
        log_e = self._log_e(ng, kg, nr, kr, q)
        state["log_m"][at] = grown(state["log_m"][at], weight[:, None, None], log_e)
        first = log_e[:, 0, :]
        if self.audit:
            self._audited(state, at, first)
        cusum = np.maximum(0.0, rounded(cusum + _log_mean(first)))
        state["cusum"].put(flat, cusum)
        since = cusum > 0.0
        for name, values in (("ng", ng), ("kg", kg), ("nr", nr), ("kr", kr), ("n", n)):
            found = state[f"on_{name}"]
            found.put(flat, (found.take(flat) + values) * since)
        state["on_ms"].put(flat, np.where(since, state["on_ms"].take(flat), now_ms))

    def _audited(self, state: State, at: tuple[Ints, ...], log_e: Floats) -> None:
        """K ← (K + w)·E: half of the stake is laid at the start, w = 1/(2b(b+1)) before the b-th block after the first.

        All stakes sum to 1, so K and what is not laid yet are a supermartingale; a product from the start alone would have
        lost all it had by the time that a version which was fair for long becomes unfair.
        """
        b = state["blocks"][at]
        later = rounded(-np.log(2.0 * np.maximum(b, 1) * (b + 1.0)))
        log_w = np.where(b == 0, -_LOG_2, later)[:, None]
        state["log_k"][at] = log_k = rounded(np.logaddexp(state["log_k"][at], log_w) + log_e)
        state["ever"][at] = np.maximum(state["ever"][at], rounded(_log_mean(log_k)))
        state["blocks"][at] += 1

    def _log_e(self, ng: Ints, kg: Ints, nr: Ints, kr: Ints, q: Floats) -> Floats:
        """log E of closed blocks: (blocks, bounds, bets)."""
        if self.adverse == "higher":
            ng, kg, nr, kr = nr, kr, ng, kg
        ng, kg, nr, kr = (values[:, None, None] for values in (ng, kg, nr, kr))
        bound, q = self._bound, q[:, None, None]
        if self.null == "ratio":
            return log_e_ratio(ng, kg, nr, kr, np.minimum(bound * BETS * q, 1 - EDGE), q, bound)
        return log_e_difference(ng, kg, nr, kr, np.maximum(BETS * (q - bound), EDGE), q, bound)

    def _open(self, state: State, closed: Bools, fixed: Ints, prior: float, may: Bools | None) -> None:
        """Fix reference and bets of the next blocks, from what came before them only."""
        dn, dk, own = state["dn"], state["dk"], np.arange(closed.shape[1])
        ref = fixed
        if (fixed < 0).any():
            rate = (dk + 0.5) / (dn + 1.0)
            known = dn >= ESTABLISHED if may is None else may & (dn >= ESTABLISHED)
            best = np.where(known, rate if self.adverse == "lower" else -rate, NEVER)
            ref = np.where(fixed >= 0, fixed, np.where(known.any(axis=1), best.argmax(axis=1), -1))
        refs = np.where(ref[:, None] == own, -1, ref[:, None])
        if may is not None:
            refs = np.where(may, refs, -1)
        if self.adverse == "lower":  # bets learn from the reference's rate; roles swapped, from the group's own
            at = (np.maximum(ref, 0) + np.arange(len(ref)) * len(own))[:, None]
            dn, dk = dn.ravel()[at], dk.ravel()[at]
        q = np.minimum(np.maximum((dk + 2 * PRIOR[0] * prior) / (dn + PRIOR[1]), EDGE), 1 - EDGE)
        np.copyto(state["ref"], refs, where=closed)
        np.copyto(state["q"], q, where=closed)
        for name in ("ng", "kg", "nr", "kr", "weight", "pn"):
            np.copyto(state[name], 0, where=closed)

    def log_m(self, state: State) -> Floats:
        """log of each group's detector, a bound each: (tables, groups, bounds)."""
        found = state["log_m"]
        top = found.max(axis=-1)
        safe = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            return np.where(np.isfinite(top), safe + np.log(np.exp(found - safe[..., None]).mean(axis=-1)), NEVER)

    def ever(self, state: State) -> Floats:
        """Audit form: log of the largest K so far, (tables, groups); K is a mean over bets and starts of Π E since then.

        Where the null held all the time, P(K ever reaches 1/α) ≤ α (Ville's inequality), for the whole life.
        """
        found: Floats = state["ever"]
        return found

    def reset(self, state: State, table: int, group: int) -> None:
        """Forget the evidence on one group (after an alarm, or its end); counts and bets stay."""
        state["log_m"][table, group] = NEVER
        state["cusum"][table, group] = 0.0
        for name in ("ng", "kg", "nr", "kr", "n"):
            state[f"on_{name}"][table, group] = 0


def _log_mean(logs: Floats) -> Floats:
    """log of the mean over the last axis."""
    top = logs.max(axis=-1)
    return np.asarray(top + np.log(np.exp(logs - top[..., None]).sum(axis=-1) / logs.shape[-1]))


def log_e_ratio(ng: Ints, kg: Ints, nr: Ints, kr: Ints, qg: Floats, qr: Floats, tau: Floats | float) -> Floats:
    """log of the e-value of a block against p_g ≥ τ·p_r, betting on rates qg < τ·qr: the projection has a closed form.

    The null's point nearest to (qg, qr) in KL divergence weighted by group sizes lies on p_g = τp, p_r = p with
    p = 2c / (b + √(b² - 4τNc)), N = n_g + n_r, b = n_g(qg + τ) + n_r(1 + τqr), c = n_g·qg + n_r·qr; maximal E[E] is 1.
    """
    p = _closest(ng, nr, qg, qr, tau)
    return _log_likelihood_ratio(ng, kg, nr, kr, qg, qr, tau * p, p)


def log_e_difference(ng: Ints, kg: Ints, nr: Ints, kr: Ints, qg: Floats, qr: Floats, delta: Floats | float) -> Floats:
    """log of the e-value of a block against p_g ≥ p_r - δ, betting on qg < qr - δ; the projection by iteration."""
    qg, qr = np.broadcast_arrays(np.asarray(qg, dtype=np.float64), np.asarray(qr, dtype=np.float64))
    p = _closest_difference(ng, nr, qg, qr, delta)
    found = _log_likelihood_ratio(ng, kg, nr, kr, qg, qr, p - delta, p)
    return np.asarray(np.where(qg < qr - delta, found, 0.0))  # no bet inside the null


def _closest(ng: Ints | Floats, nr: Ints | Floats, qg: Floats, qr: Floats, tau: Floats | float) -> Floats:
    b = ng * (qg + tau) + nr * (1.0 + tau * qr)
    c = ng * qg + nr * qr
    root = np.sqrt(np.maximum(b * b - 4.0 * tau * (ng + nr) * c, 0.0))
    highest = np.minimum(1.0, 1.0 / np.asarray(tau)) - 1e-12
    return np.asarray(np.minimum(np.maximum(2.0 * c / (b + root), 1e-300), highest))


def _closest_difference(ng: Ints | Floats, nr: Ints | Floats, qg: Floats, qr: Floats, delta: Floats | float) -> Floats:
    """The zero in p of n_g(q_g-p+δ)/((p-δ)(1-p+δ)) + n_r(q_r-p)/(p(1-p)), which falls in p: Newton, kept between bounds."""
    low = np.maximum(0.0, delta) + np.zeros_like(qg) + 1e-12
    high = np.minimum(1.0, 1.0 + np.asarray(delta)) + np.zeros_like(qg) - 1e-12
    p = np.clip((ng * (qg + delta) + nr * qr) / (ng + nr), low, high)
    for _ in range(NEWTON):
        u, v, w = p - delta, (p - delta) * (1 - p + delta), p * (1 - p)
        value = ng * (qg - u) / v + nr * (qr - p) / w
        slope = -ng * (v + (qg - u) * (1 - 2 * u)) / (v * v) - nr * (w + (qr - p) * (1 - 2 * p)) / (w * w)
        low, high = np.where(value > 0, p, low), np.where(value > 0, high, p)
        step = p - value / slope
        p = np.where((step > low) & (step < high), step, 0.5 * (low + high))
    return np.asarray(p)


def _log_likelihood_ratio(
    ng: Ints, kg: Ints, nr: Ints, kr: Ints, qg: Floats, qr: Floats, pg: Floats, pr: Floats
) -> Floats:
    factors = np.empty((4, *np.shape(pr)))  # the projection has the shape of all others together
    factors[0], factors[1], factors[2], factors[3] = qg / pg, (1 - qg) / (1 - pg), qr / pr, (1 - qr) / (1 - pr)
    factors = rounded(np.log(factors))
    return np.asarray(kg * factors[0] + (ng - kg) * factors[1] + kr * factors[2] + (nr - kr) * factors[3])


def confidence_sequence(ng: int, kg: int, nr: int, kr: int, null: Null = "ratio") -> tuple[float | None, float | None]:
    """95 % bounds for p_g/p_r (or p_g - p_r) that hold at every moment at once, assuming constant rates; None: no bound.

    Universal inference (Wasserman, Ramdas, Balakrishnan, 2020): {θ : log[B(k_g+½, n_g-k_g+½)·B(k_r+½, n_r-k_r+½)/B(½,½)²]
    - max_p log L(θ, p) < log 20}.
    """
    if not ng or not nr:
        return None, None
    mixture = log_beta(kg, ng) + log_beta(kr, nr)
    pg, pr = kg / ng, kr / nr

    def outside(theta: float) -> bool:
        if null == "ratio":
            b, c = ng * (pg + theta) + nr * (1.0 + theta * pr), kg + kr
            p = 2.0 * c / (b + sqrt(max(b * b - 4.0 * theta * (ng + nr) * c, 0.0)))
            p = min(max(p, 1e-300), min(1.0, 1.0 / theta) - 1e-12)
            g = theta * p
        else:
            p = _closest_scalar(ng, nr, pg, pr, -theta)
            g = p + theta
        return mixture - log_likelihood(kg, ng, g) - log_likelihood(kr, nr, p) >= ALPHA_LOG

    if null == "difference":
        return _edge(outside, pg - pr, -1.0), _edge(outside, pg - pr, 1.0)
    centre = log(min(max(pg / pr if pr else 1e9, 1e-9), 1e9))
    lower = 0.0 if kg == 0 else exp(_edge(lambda x: outside(exp(x)), centre, -21.0))
    return lower, None if kr == 0 else exp(_edge(lambda x: outside(exp(x)), centre, 21.0))


def log_beta(k: float, n: float) -> float:
    """log of B(k+½, n-k+½)/B(½,½): the likelihood of k in n, mixed over all rates by Jeffreys' prior."""
    return lgamma(k + 0.5) + lgamma(n - k + 0.5) - lgamma(n + 1.0) - log(pi)


def log_likelihood(k: float, n: float, p: float) -> float:
    """k·log p + (n-k)·log(1-p), with 0·log 0 = 0."""
    if (k and p <= 0) or (n > k and p >= 1):
        return -inf
    return (k * log(p) if k else 0.0) + ((n - k) * log1p(-p) if n > k else 0.0)


def _closest_scalar(ng: int, nr: int, qg: float, qr: float, delta: float) -> float:
    low, high = max(0.0, delta) + 1e-12, min(1.0, 1.0 + delta) - 1e-12
    for _ in range(40):
        p = 0.5 * (low + high)
        slope = ng * (qg - p + delta) / ((p - delta) * (1 - p + delta)) + nr * (qr - p) / (p * (1 - p))
        low, high = (p, high) if slope > 0 else (low, p)
    return 0.5 * (low + high)


def _edge(outside: Callable[[float], bool], centre: float, limit: float) -> float:
    """Where `outside` begins between the centre, which lies inside, and a limit."""
    inside, beyond = centre, limit
    for _ in range(40):
        middle = 0.5 * (inside + beyond)
        inside, beyond = (inside, middle) if outside(middle) else (middle, beyond)
    return 0.5 * (inside + beyond)


def shares_of_appearance(count: int) -> Sequence[float]:
    """Weights of families that appear one after the other and are not known beforehand: 1/(i(i+1)), in all below 1.

    >>> [round(one, 3) for one in shares_of_appearance(3)]
    [0.5, 0.167, 0.083]
    """
    return [1.0 / (i * (i + 1)) for i in range(1, count + 1)]
