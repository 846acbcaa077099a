"""Families of Poisson e-detectors: which caller's rate a minute lies above (or below) what the hour allows.

Minutes close in order, silent ones too; many at once cost little more than one. Counts of calls vary more than Poisson's
law says, so they are divided by the reference's variance ÷ mean: that makes the bound on false alarms a rule of thumb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import gammaln

from agents.events import SignalStatus
from agents.monitor.contract import Bools, Floats, Ints, State
from agents.monitor.detectors import NEVER, mixed, rounded

MINUTE_MS = 60_000
WEEK = 7 * 24 * 60
"""Minutes."""
CLOSING = 10_000.0
"""Evidence that ends an alarm: by chance at most once in so many minutes while the rate is still beyond its limit."""
FASTER = (1.5, 2.0, 3.0, 6.0)
SLOWER = (0.7, 0.4, 0.1)
SOURCE = "Poisson e-detector, Shiryaev-Roberts form: Shin, Ramdas, Rinaldo, E-detectors (2022)"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a family has to say of one name."""

    name: str
    status: SignalStatus
    estimate: float | None
    """Calls ÷ the most (least) that the hours allowed: in an alarm since the onset, else since the start; bounds of it
    are `ratio_sequence(calls / phi, allowed / phi)`."""
    calls: int
    allowed: float
    minutes: int
    phi: float
    e_value: float
    onset_ms: int | None


def hour_of(minutes: Ints, hours: int) -> Ints:
    """The hour of the day (`hours` 24) or of the week from Monday (168), UTC, of minutes since 1970.

    >>> hour_of(np.array([0, 61]), 168).tolist()
    [72, 73]
    """
    return np.asarray((minutes // 60 + (72 if hours == 168 else 0)) % hours)


class Rates:
    """The family; holds no state of the stream.

    H0: calls of a minute are Poisson with at most (θ > 1; at least, θ < 1) `limits[name, hour]`, after division by φ.
    """

    def __init__(
        self,
        limits: Floats,
        phi: Floats,
        limit: float,
        *,
        names: Sequence[str],
        unit: Literal["decisions", "ms"],
        share: float = 1.0,
        thetas: Sequence[float] = FASTER,
        least: int = 60,
    ) -> None:
        """`limits` (names, 24 or 168) are calls a minute; `least` minutes are watched before it says `ok`.

        `unit` is the budget's: a minute weighs 60,000 ms, or as many decisions as the minute before it had (what the
        first name counts), because a weight must be known before the minute's own counts.
        """
        self.names, self.limit, self.unit, self.least = tuple(names), limit, unit, least
        self.limits, self.phi = np.maximum(limits, 1e-6), phi
        theta = np.asarray(thetas, dtype=np.float64)
        self._bets = {False: theta, True: 1 / theta}
        self._log_bets = np.full(len(theta), -np.log(len(theta)))
        with np.errstate(divide="ignore"):  # without a share it never alarms
            self._log_share = rounded(np.log(np.asarray([share / max(len(self.names), 1)])))

    def start(self) -> State:
        """The state before the first minute."""
        names, bets = len(self.names), len(self._log_bets)
        return {
            "alarm": np.zeros(names, dtype=np.bool_),
            "alarm_e": np.full(names, NEVER),
            "best": np.zeros(names, dtype=np.int64),
            "calls": np.zeros(names, dtype=np.int64),
            "allowed": np.zeros(names),
            "minutes": np.zeros(names, dtype=np.int64),
            "log_m": np.full((names, bets), NEVER),
            "cusum": np.zeros((names, bets)),
            "onset": np.zeros((names, bets), dtype=np.int64),
            "onset_calls": np.zeros((names, bets), dtype=np.int64),
            "onset_allowed": np.zeros((names, bets)),
            "last": 0,
            "end": 0,
        }

    def close(self, state: State, first: int, calls: Ints) -> bool:
        """Take minutes `first`, `first`+1 … with calls (minutes, names) into the state; True where a status changed."""
        changed, done = False, 0
        while done < len(calls):
            before = state["alarm"].copy(), state["minutes"] >= self.least
            done += self._run(state, first + done, calls[done : done + 24 * 60])
            changed |= bool(
                (before[0] != state["alarm"]).any() or (before[1] != (state["minutes"] >= self.least)).any()
            )
        return changed

    def silent(self, state: State) -> None:
        """A silence longer than a week came before the next minutes: what it does to evidence, on the safe side."""
        state["log_m"] = np.where(state["alarm"][:, None], state["log_m"], NEVER)

    def _weights(self, state: State, calls: Ints) -> Floats:
        if self.unit == "ms":
            return np.full(len(calls), float(MINUTE_MS))
        return np.append(state["last"], calls[:-1, 0]).astype(np.float64)

    def _run(self, state: State, first: int, calls: Ints) -> int:
        """Take minutes up to the first at which a status changes; how many."""
        alarm: Bools = state["alarm"]
        allowed = self.limits[:, hour_of(first + np.arange(len(calls)), self.limits.shape[1])].T
        opening = self._log_e(calls, allowed, np.zeros_like(alarm))
        log_e = np.where(alarm[:, None], self._log_e(calls, allowed, alarm), opening)
        total = np.cumsum(log_e, axis=0)
        weights = np.where(alarm, 1.0, self._weights(state, calls)[:, None])
        with np.errstate(divide="ignore"):
            entered = np.log(weights)[:, :, None] - (total - log_e)
        log_m = np.logaddexp.accumulate(np.concatenate([state["log_m"][None], entered]), axis=0)[1:] + total
        closing = mixed(log_m, self._log_bets)
        reached = np.where(alarm, closing >= np.log(CLOSING), closing + self._log_share >= np.log(self.limit))
        turns = np.flatnonzero(reached.any(axis=1))
        taken = int(turns[0]) + 1 if len(turns) else len(calls)
        calls, allowed, opening = calls[:taken], allowed[:taken], opening[:taken]
        self._follow_onset(state, first, calls, allowed, opening)
        state["log_m"] = rounded(log_m[taken - 1])
        state["calls"] += calls.sum(axis=0)
        state["allowed"] = rounded(state["allowed"] + allowed.sum(axis=0))
        state["minutes"] += taken
        state["last"], state["end"] = int(calls[-1, 0]), first + taken
        if len(turns):
            self._turn(state, reached[taken - 1], closing[taken - 1] + self._log_share, first + taken)
        return taken

    def _turn(self, state: State, reached: Bools, strength: Floats, minute: int) -> None:
        """Open and close alarms of the names that reached the limit."""
        opened, closed = reached & ~state["alarm"], reached & state["alarm"]
        state["best"] = np.where(opened, state["log_m"].argmax(axis=1), state["best"])
        state["alarm_e"] = np.where(opened, strength, state["alarm_e"])
        state["alarm"] = state["alarm"] ^ reached
        state["log_m"][reached] = NEVER
        for key in ("calls", "allowed", "minutes", "cusum", "onset_calls", "onset_allowed"):
            state[key][closed] = 0
        state["onset"][closed] = minute

    def _log_e(self, calls: Ints, allowed: Floats, alarm: Bools) -> Floats:
        """(minutes, names, bets): x/φ·log θ - (θ-1)·μ/φ, for names in an alarm with roles swapped (1/θ)."""
        theta = np.where(alarm[:, None], self._bets[True], self._bets[False])
        scaled, mean = calls / self.phi, allowed / self.phi
        return rounded(scaled[:, :, None] * np.log(theta) - (theta - 1) * mean[:, :, None])

    def _follow_onset(self, state: State, first: int, calls: Ints, allowed: Floats, log_e: Floats) -> None:
        """Move each CUSUM, and its onset to after the last minute at which it rests at 0; not in an alarm."""
        total = np.cumsum(log_e, axis=0)
        lowest = np.minimum.accumulate(np.concatenate([-state["cusum"][None], total]), axis=0)
        rests = (total <= lowest[:-1]) & ~state["alarm"][:, None]
        count = len(calls)
        since = np.where(rests.any(axis=0), count - np.argmax(rests[::-1], axis=0), 0)  # minutes before the onset
        state["cusum"] = rounded(total[-1] - lowest[-1])
        state["onset"] = np.where(since > 0, first + since, np.where(state["onset"] > 0, state["onset"], first))
        for key, values in (("onset_calls", calls), ("onset_allowed", allowed)):
            sums = np.concatenate([np.zeros((1, values.shape[1]), values.dtype), np.cumsum(values, axis=0)])
            added = sums[-1][:, None] - np.take_along_axis(sums, since.T, axis=0).T
            found = np.where(since > 0, 0, state[key]) + added
            state[key] = found if key == "onset_calls" else rounded(found)

    def judge(self, state: State) -> list[Rate]:
        """What there is to say of each name."""
        rows, alarm = np.arange(len(self.names)), state["alarm"]
        calls = np.where(alarm, state["onset_calls"][rows, state["best"]], state["calls"])
        allowed = np.where(alarm, state["onset_allowed"][rows, state["best"]], state["allowed"])
        strength = np.where(alarm, state["alarm_e"], mixed(state["log_m"], self._log_bets) + self._log_share)
        e_value = np.exp(np.minimum(strength, 690.0))
        found = []
        for row, name in enumerate(self.names):
            watched, raised = bool(allowed[row] > 0), bool(alarm[row])
            quiet = SignalStatus.OK if state["minutes"][row] >= self.least else SignalStatus.INSUFFICIENT
            onset = int(state["onset"][row, state["best"][row]])
            found.append(
                Rate(
                    name=name,
                    status=SignalStatus.ALARM if raised else quiet,
                    estimate=float(calls[row] / allowed[row]) if watched else None,
                    calls=int(calls[row]),
                    allowed=float(allowed[row]),
                    minutes=state["end"] - onset if raised else int(state["minutes"][row]),
                    phi=float(self.phi[row]),
                    e_value=float(e_value[row]),
                    onset_ms=onset * MINUTE_MS if raised else None,
                )
            )
        return found


def ratio_sequence(calls: Floats, expected: Floats, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Bounds of calls' rate ÷ the expected one that hold at all times together with probability 1 - alpha.

    Robbins' mixture (1970) with a Gamma(½, ½): {r : log ∫ s^x e^(-s·m) dΓ(s) - (x log r - r·m) < log 1/alpha}.
    """
    mixture = 0.5 * np.log(0.5) - gammaln(0.5) + gammaln(calls + 0.5) - (calls + 0.5) * np.log(expected + 0.5)
    ratio = calls / np.maximum(expected, 1e-12)

    def inside(r: Floats) -> Bools:
        with np.errstate(divide="ignore"):
            return np.asarray(
                mixture - np.where(calls > 0, calls * np.log(np.maximum(r, 1e-300)), 0.0) + r * expected
                < -np.log(alpha)
            )

    bounds = []
    for end in (np.zeros_like(ratio), 4 * ratio + 40 / np.maximum(expected, 1e-12)):
        outer, inner = end.copy(), ratio.copy()
        for _ in range(50):
            middle = (outer + inner) / 2
            holds = inside(middle)
            outer, inner = np.where(holds, outer, middle), np.where(holds, middle, inner)
        bounds.append(np.where(inside(end), end, inner))
    return bounds[0], bounds[1]
