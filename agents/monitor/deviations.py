"""Do outcomes come as often as promised? Betting on the differences y - c between an outcome and its calibrated share.

Null, for the whole and for each tenth of the scores: the mean of y - c, given the past, is at most m (and at least -m), with
m = a tolerance + the reference's own noise. A bet of λ has the factor 1 + λ(±(y - c) - m) a case, of expectation at most 1
(Waudby-Smith, Ramdas, "Estimating means of bounded random variables by betting", 2024); detectors.py makes detectors of it.
"""

from __future__ import annotations

import numpy as np

from agents.monitor.contract import Floats, Ints, State, Step
from agents.monitor.detectors import NEVER, grown, left_zero, mixed, rounded

STAKES = np.array([0.05, 0.12, 0.3, 0.6])
TENTHS = 10
TOLERANCE = (0.01, 0.02)
"""Of the whole, and of a tenth: differences of shares that are still calibrated."""
NOISE = 2.33
"""Standard errors of the reference's shares that belong to the tolerance."""
WHOLE = "all scores"


class Deviations:
    """22 detectors (the whole and tenths, above and below), one alarm; holds no state of the stream."""

    def __init__(self, rates: Floats, n_ref: Ints, edges: Floats, limit: float, share: float) -> None:
        """`rates` and `n_ref`: calibrated shares of the score's bins, and the reference cases behind them."""
        self.rates, self.limit = rates, limit
        part = np.arange(len(rates)) * TENTHS // len(rates)
        members = np.stack([np.ones(len(rates), dtype=bool), *(part == one for one in range(TENTHS))])
        members = members[members.any(axis=1)]
        self.names = [WHOLE, *(_words(edges, np.flatnonzero(one)) for one in members[1:])]
        variance = members @ (rates * (1 - rates) * n_ref) / np.maximum(members @ n_ref, 1)
        tolerance = np.where(np.arange(len(members)) == 0, *TOLERANCE)
        self.slack: Floats = tolerance + NOISE * np.sqrt(variance / np.maximum(members @ n_ref, 1))
        gain = np.stack([-rates, 1.0 - rates], axis=1)  # y - c, by outcome
        signed = np.stack([gain, -gain])[:, None] - self.slack[None, :, None, None]
        largest = 0.95 / (1.0 + self.slack)
        stakes = np.minimum(STAKES[None, :], largest[:, None])
        factors = np.log1p(stakes[None, :, :, None, None] * signed[:, :, None])
        factors *= members[None, :, None, :, None]
        self.rows = 2 * len(members)
        self._table = rounded(factors).reshape(self.rows, len(STAKES), -1)
        self._members, self._gain = np.tile(members, (2, 1)), gain
        half = np.where(np.arange(len(members)) == 0, 0.25, 0.25 / max(len(members) - 1, 1))
        self._log_share = rounded(np.log(np.tile(half, 2) * share))
        self._log_bets = np.full(len(STAKES), -np.log(len(STAKES)))

    def start(self) -> State:
        """The state before the first case."""
        both = (self.rows, len(STAKES))
        state: State = {"log_m": np.full(both, NEVER), "cusum": np.zeros(both), "alarm": -1, "raised": 0.0}
        state |= {name: np.zeros(self.rows, dtype=np.int64) for name in ("n", "on_n", "on_ms")}
        return state | {name: np.zeros(self.rows) for name in ("sum", "on_sum")}

    def step(self, state: State, counts: Ints, step: Step) -> bool:
        """Take cases (bins, outcome 0 and 1) into the state, in place; True where an alarm began or ended."""
        log_e = self._table @ counts.ravel().astype(np.float64)  # exact: whole numbers × multiples of 2⁻³²
        state["log_m"] = grown(state["log_m"], step.weight, log_e)
        state["cusum"], rests = left_zero(state["cusum"], log_e)
        still = np.asarray(rests.all(axis=1))
        n = self._members @ counts.sum(axis=1)
        total = rounded(self._members @ (counts * self._gain).sum(axis=1))
        state["n"] += n
        state["sum"] = rounded(state["sum"] + total)
        state["on_n"] = np.where(still, 0, state["on_n"] + n)
        state["on_sum"] = rounded(np.where(still, 0.0, state["on_sum"] + total))
        state["on_ms"] = np.where(still, step.now_ms, state["on_ms"])
        if state["alarm"] >= 0:
            if not still[state["alarm"]]:
                return False
            state["alarm"], state["raised"] = -1, 0.0
            state["log_m"][:] = NEVER
            return True
        strength = self.strength(state)
        if strength < self.limit:
            return False
        state["alarm"] = int((mixed(state["log_m"], self._log_bets) + self._log_share).argmax())
        state["raised"] = strength
        state["log_m"][:] = NEVER
        return True

    def strength(self, state: State) -> float:
        """What the family's evidence comes to, in the budget's unit."""
        if state["alarm"] >= 0:
            return float(state["raised"])
        whole = mixed(mixed(state["log_m"], self._log_bets), self._log_share)
        return float(np.exp(np.minimum(whole, 690.0)))

    def name(self, row: int) -> str:
        """Which scores a row is about."""
        return self.names[row % len(self.names)]


def _words(edges: Floats, bins: Ints) -> str:
    first, last = int(bins[0]), int(bins[-1])
    if first == 0:
        return f"scores below {edges[last]:.3g}" if last < len(edges) else WHOLE
    return f"scores from {edges[first - 1]:.3g}" + (f" to {edges[last]:.3g}" if last < len(edges) else "")
