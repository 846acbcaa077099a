"""A family of χ²-ball detectors that raises one alarm, remembers which features tipped it, and knows when it has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agents.events import SignalStatus
from agents.monitor.ball import Ball
from agents.monitor.contract import Bools, Guarantee, Ints, Judgement, State, Step

WARNING = 10.0
"""A warning is raised at this fraction of the evidence that an alarm needs."""
NAMED = 0.1
"""Features with at least this part of the strongest one's evidence are named."""
LEAST = 30


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to say of a family."""

    status: SignalStatus
    e_value: float
    n: int
    """Decisions since the onset in an alarm, else since the start."""
    named: Bools
    onset_ms: int | None
    onset_n: int | None

    def judgement(
        self,
        group: str,
        metric: str,
        estimate: float | None,
        guarantee: Guarantee,
        reference: str,
        detail: Mapping[str, float],
        coverage: float | None = None,
    ) -> Judgement:
        """As a monitor says it."""
        return Judgement(
            status=self.status,
            group=group,
            metric=metric,
            estimate=estimate,
            n=self.n,
            e_value=self.e_value,
            guarantee=guarantee,
            reference=reference,
            onset_ms=self.onset_ms,
            onset_n=self.onset_n,
            coverage=coverage,
            detail=detail,
        )


class Shift:
    """The family over one Ball; `share` of the budget whose limit is given. Holds no state of the stream."""

    def __init__(self, ball: Ball, share: float, limit: float) -> None:
        self.ball, self._log_share, self.limit = ball, float(np.log(share)), limit

    def start(self) -> State:
        """The state before anything was counted."""
        named = np.zeros(self.ball.features, dtype=np.bool_)
        return {"ball": self.ball.start(), "alarm": False, "raised": 0.0, "named": named, "seen": 0, "warn": False}

    def step(self, state: State, counts: Ints, step: Step) -> bool:
        """Take counts (features, bins) into the state, in place; True where the status changed."""
        n = int(counts.sum())
        before = self._status(state)
        state["seen"] += n
        if self.ball.step(state["ball"], counts, n, step.weight, step.now_ms).any():
            self._judge(state)
        return self._status(state) != before

    def _judge(self, state: State) -> None:
        strength = self._strength(state)
        if state["alarm"]:
            quiet = self.ball.onset(state["ball"])[0][0] == 0
            if quiet[state["named"]].all():
                state["alarm"], state["raised"] = False, 0.0
                self.ball.reset(state["ball"], slice(None))
        elif strength >= self.limit:
            evidence = self.ball.log_m(state["ball"])[0]
            state["named"] = evidence >= evidence.max() + np.log(NAMED)
            state["alarm"], state["raised"] = True, strength
            self.ball.reset(state["ball"], slice(None))
        state["warn"] = not state["alarm"] and strength * WARNING >= self.limit

    def _strength(self, state: State) -> float:
        return float(np.exp(min(self.ball.family(state["ball"])[0] + self._log_share, 690.0)))

    def _status(self, state: State) -> SignalStatus:
        if state["alarm"]:
            return SignalStatus.ALARM
        if state["seen"] < LEAST:
            return SignalStatus.INSUFFICIENT
        return SignalStatus.WARN if state["warn"] else SignalStatus.OK

    def tell(self, state: State) -> Told:
        """What there is to say now; without an alarm the feature with the strongest evidence is named."""
        evidence = self.ball.log_m(state["ball"])[0]
        status = self._status(state)
        if status != SignalStatus.ALARM:
            strongest = (evidence >= evidence.max()) & np.isfinite(evidence)
            return Told(status, self._strength(state), state["seen"], strongest, None, None)
        on_n, on_ms = (one[0] for one in self.ball.onset(state["ball"]))
        first = int(np.argmax(np.where(state["named"], on_n, -1)))
        return Told(status, state["raised"], int(on_n[first]), state["named"], int(on_ms[first]), int(on_n[first]))
