"""Families of Bernoulli e-detectors: which of several shares lies above its limit, watched all the time.

For each name (the whole traffic, a caller, a feature …) the null is P ≤ p0, whatever P does below it; the counts n and k of
a step are the evidence. Names may be fixed or come up as the stream goes on; memory is bounded by `cap` either way.
To ask P ≥ p0 instead, count what did not happen and give 1 - p0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln

from agents.events import SignalStatus
from agents.monitor.contract import Bools, Floats, Guarantee, Ints, Judgement, State, Step
from agents.monitor.detectors import NEVER, binomial_log_e, grown, left_zero, mixed, rounded

OTHER = "other"
"""Names past the cap, counted together."""
SOURCE = "Bernoulli e-detector, Shiryaev-Roberts form: Shin, Ramdas, Rinaldo, E-detectors (2022)"
CLOSING = 10_000.0
"""Evidence that ends an alarm: by chance at most once in so many decisions while P is still at least p0."""
ODDS = (1.5, 2.5, 5.0, 15.0)
"""Bets: the odds of p0 times these."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a family has to say of one name."""

    name: str
    status: SignalStatus
    """`insufficient` below `least` events; `alarm` from evidence for P > p0 until there is evidence (CLOSING) for P < p0."""
    estimate: float | None
    """k / n: in an alarm since the onset (optimistic), else since the start or the end of the last alarm."""
    lower: float | None
    upper: float | None
    """95 % at all times together, assuming a constant rate since then (`confidence_sequence`); None without `bounds`."""
    n: int
    k: int
    p0: float
    e_value: float
    onset_ms: int | None
    onset_n: int | None

    def judgement(
        self,
        group: str | None,
        metric: str,
        guarantee: Guarantee,
        detail: Mapping[str, float],
        *,
        reference: str | None = None,
        coverage: float | None = None,
    ) -> Judgement:
        """As a monitor says it; compared with p0 where no `reference` is given."""
        return Judgement(
            status=self.status,
            group=group,
            metric=metric,
            estimate=self.estimate,
            lower=self.lower,
            upper=self.upper,
            n=self.n,
            e_value=self.e_value,
            guarantee=guarantee,
            reference=f"at most {self.p0:.3g}" if reference is None else reference,
            onset_ms=self.onset_ms,
            onset_n=self.onset_n,
            coverage=coverage,
            detail=detail,
        )


class Bernoulli:
    """The family; holds no state of the stream.

    Guarantee: with shares that sum to at most 1, P(some name alarms wrongly within a clock of T) ≤ T·share/limit, if the
    events of each name are Bernoulli with P ≤ p0 given the past, and which events are counted is not chosen by outcome.
    """

    def __init__(
        self,
        p0: float | Sequence[float] | Floats,
        limit: float,
        *,
        names: Sequence[str] = (),
        share: float = 1.0,
        odds: Sequence[float] = ODDS,
        open_set: bool = False,
        cap: int = 64,
        least: int = 30,
        spread: float = 1.0,
    ) -> None:
        """`names` have equal parts of `share`, or with `open_set` 1/(j(j+1)) of it, j being their place by appearance.

        `p0` is one number or, for fixed names, one a name; in an open set what comes up later has the last one.
        `cap` is the most names an open set tells apart; the rest is counted as OTHER. `spread` > 1 divides log E: hits come
        in clusters, with so many times the variance of independent ones. The bound is then a rule of thumb.
        """
        if open_set and len(names) > cap:
            raise ValueError(f"{len(names)} names are more than the cap of {cap}; raise it")
        self.names, self.limit, self.open_set, self.cap, self.least = tuple(names), limit, open_set, cap, least
        rows = cap + 1 if open_set else len(self.names)
        given = np.clip(np.atleast_1d(np.asarray(p0, dtype=np.float64)), 1e-9, 1 - 1e-9)
        self.p0 = given[np.minimum(np.arange(rows), len(given) - 1)]
        ratio = np.asarray(odds, dtype=np.float64)
        self._log_bets = np.full(len(ratio), -np.log(len(ratio)))
        self._up = _factors(self.p0, ratio, spread)
        self._down = _factors(self.p0, 1 / ratio, spread)
        if open_set:
            place = np.arange(1, rows + 1)
            shares = np.append(1 / (place * (place + 1))[:-1], 1 / rows)  # the last one has all that is left
        else:
            shares = np.full(rows, 1 / max(rows, 1))
        with np.errstate(divide="ignore"):  # without a share it never alarms
            self._log_share = rounded(np.log(shares * share))

    def start(self) -> State:
        """The state before anything was counted."""
        state: State = {"names": list(self.names)}
        for key, (kind, _) in _FIELDS.items():
            state[key] = np.zeros((0, len(self._log_bets)) if key in _BY_BET else 0, dtype=kind)
        _grow(state, 0)
        return state

    def take(self, state: State, counts: Mapping[str, tuple[int, int]], step: Step) -> bool:
        """Take (n, k) by name into an open set, in place; names not seen before are added in alphabetical order."""
        names: list[str] = state["names"]
        place = {name: index for index, name in enumerate(names)}
        for name in sorted(counts.keys() - place.keys()):
            if len(names) > self.cap:
                break
            name = name if len(names) < self.cap else OTHER
            place[name] = len(names)
            names.append(name)
        _grow(state, step.now_ms)
        n, k = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
        for name, (events, hits) in counts.items():
            row = place.get(name, self.cap)
            n[row] += events
            k[row] += hits
        return self.step(state, n, k, step)

    def step(self, state: State, n: Ints, k: Ints, step: Step) -> bool:
        """Take n events with k hits a name into the state, in place; True where a status changed."""
        alarm: Bools = state["alarm"]
        before = np.where(alarm, -1, state["n"] >= self.least)
        state["n"] += n
        state["k"] += k
        self._follow_onset(state, n, k, step)
        opened, closed = np.zeros_like(alarm), np.zeros_like(alarm)
        if not alarm.all():
            state["log_m"] = np.where(alarm[:, None], NEVER, grown(state["log_m"], step.weight, _log_e(self._up, n, k)))
            opened = ~alarm & (self._log_strength(state["log_m"]) >= np.log(self.limit))
        if alarm.any():
            evidence = grown(state["closing"], float(step.n), _log_e(self._down, n, k))
            state["closing"] = np.where(alarm[:, None], evidence, NEVER)
            closed = alarm & (mixed(state["closing"], self._log_bets) >= np.log(CLOSING))
        if opened.any():
            state["best"] = np.where(opened, state["log_m"].argmax(axis=1), state["best"])
            state["alarm_e"] = np.where(opened, self._log_strength(state["log_m"]), state["alarm_e"])
        if closed.any():
            for key, (_, fill) in _FIELDS.items():
                state[key][closed] = step.now_ms if key == "onset_ms" else fill
        state["alarm"] = (alarm | opened) & ~closed
        return bool((np.where(state["alarm"], -1, state["n"] >= self.least) != before).any())

    def log_e(self, n: Ints, k: Ints) -> Floats:
        """log E of n events with k hits a name, (names, bets): for who pools names of which each event counts in one."""
        return _log_e(self._up, n, k)

    def pooled(self, log_m: Floats) -> Floats:
        """log of a detector over the same bets, over the last axis."""
        return mixed(log_m, self._log_bets)

    def raise_alarm(self, state: State, row: int, log_strength: float) -> None:
        """Raise the alarm of one name for evidence that others share in; it ends as every alarm does."""
        state["best"][row], state["alarm_e"][row] = state["log_m"][row].argmax(), log_strength
        state["alarm"][row], state["log_m"][row] = True, NEVER

    def _follow_onset(self, state: State, n: Ints, k: Ints, step: Step) -> None:
        """Where a bet's CUSUM rests at zero, its onset is now; in an alarm the onset stays."""
        cusum, rests = left_zero(state["cusum"], _log_e(self._up, n, k))
        rests &= ~state["alarm"][:, None]
        state["cusum"] = cusum
        state["onset_n"] = np.where(rests, 0, state["onset_n"] + n[:, None])
        state["onset_k"] = np.where(rests, 0, state["onset_k"] + k[:, None])
        state["onset_ms"] = np.where(rests, step.now_ms, state["onset_ms"])

    def _log_strength(self, log_m: Floats) -> Floats:
        return np.asarray(mixed(log_m, self._log_bets) + self._log_share[: len(log_m)])

    def judge(self, state: State, bounds: bool = True) -> list[Share]:
        """What there is to say of each name, in the order of their appearance; without `bounds` at a fifth of the cost."""
        rows = np.arange(len(state["names"]))
        alarm = state["alarm"]
        n = np.where(alarm, state["onset_n"][rows, state["best"]], state["n"])
        k = np.where(alarm, state["onset_k"][rows, state["best"]], state["k"])
        onset_ms = state["onset_ms"][rows, state["best"]]
        lower, upper = confidence_sequence(n, k) if bounds else (n, n)
        strength = np.where(alarm, state["alarm_e"], self._log_strength(state["log_m"]))
        e_value = np.exp(np.minimum(strength, 690.0))
        found = []
        for row, name in enumerate(state["names"]):
            seen, hits, raised = int(n[row]), int(k[row]), bool(alarm[row])
            quiet = SignalStatus.OK if state["n"][row] >= self.least else SignalStatus.INSUFFICIENT
            found.append(
                Share(
                    name=name,
                    status=SignalStatus.ALARM if raised else quiet,
                    estimate=hits / seen if seen else None,
                    lower=float(lower[row]) if seen and bounds else None,
                    upper=float(upper[row]) if seen and bounds else None,
                    n=seen,
                    k=hits,
                    p0=float(self.p0[row]),
                    e_value=float(e_value[row]),
                    onset_ms=int(onset_ms[row]) if raised else None,
                    onset_n=seen if raised else None,
                )
            )
        return found


_FIELDS: dict[str, tuple[type, float]] = {
    "alarm": (np.bool_, False),
    "alarm_e": (np.float64, NEVER),
    "best": (np.int64, 0),
    "n": (np.int64, 0),
    "k": (np.int64, 0),
    "log_m": (np.float64, NEVER),
    "closing": (np.float64, NEVER),
    "cusum": (np.float64, 0.0),
    "onset_n": (np.int64, 0),
    "onset_k": (np.int64, 0),
    "onset_ms": (np.int64, 0),
}
"""Arrays of a state with a row a name: type, and what a row starts from."""
_BY_BET = frozenset({"log_m", "closing", "cusum", "onset_n", "onset_k", "onset_ms"})
"""Those with a column a bet."""


def _grow(state: State, now_ms: int) -> None:
    """Rows for names that have none yet."""
    more = len(state["names"]) - len(state["n"])
    if not more:
        return
    for key, (kind, fill) in _FIELDS.items():
        values = state[key]
        rows = np.full((more, *values.shape[1:]), now_ms if key == "onset_ms" else fill, dtype=kind)
        state[key] = np.concatenate([values, rows])


_Factors = tuple[Floats, Floats]


def _factors(p0: Floats, ratio: Floats, spread: float) -> _Factors:
    """log E of one hit and of one miss, (names, bets): bets on odds of `ratio` × those of p0."""
    odds = (p0 / (1 - p0))[:, None] * ratio
    bets = odds / (1 + odds)
    one, none = np.ones(1), np.zeros(1)
    hit, miss = (binomial_log_e(one, k, p0[:, None], bets) for k in (one, none))
    return rounded(hit / spread), rounded(miss / spread)


def _log_e(factors: _Factors, n: Ints, k: Ints) -> Floats:
    hit, miss = factors
    return np.asarray(k[:, None] * hit[: len(n)] + (n - k)[:, None] * miss[: len(n)])


def confidence_sequence(n: Ints, k: Ints, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Bounds that hold at all times together with probability 1 - alpha, for a constant rate; arrays like n.

    Robbins' mixture (1970): {p : B(k+½, n-k+½) / B(½, ½) / (p^k (1-p)^(n-k)) < 1/alpha}, by Ville's inequality.

    >>> [float(bound[0].round(3)) for bound in confidence_sequence(np.array([100]), np.array([50]))]
    [0.338, 0.662]
    """
    n, k = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    mixture = betaln(k + 0.5, n - k + 0.5) - betaln(0.5, 0.5)
    rate = np.divide(k, n, out=np.full_like(n, 0.5), where=n > 0)

    def inside(p: Floats) -> Bools:
        with np.errstate(divide="ignore", invalid="ignore"):
            likelihood = np.where(k > 0, k * np.log(p), 0.0) + np.where(n > k, (n - k) * np.log1p(-p), 0.0)
        return np.asarray(mixture - likelihood < -np.log(alpha))

    bounds = []
    for end in (0.0, 1.0):
        outer, inner = np.full_like(n, end), rate.copy()
        for _ in range(40):
            middle = (outer + inner) / 2
            holds = inside(middle)
            outer, inner = np.where(holds, outer, middle), np.where(holds, middle, inner)
        bounds.append(np.where(inside(np.full_like(n, end)), end, inner))
    return bounds[0], bounds[1]
