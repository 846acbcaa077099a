"""Answers that are not the expected ones: how often, for whom, and in which tenths of what was expected.

Near the cut even the reference version's own decisions flip often, far from it hardly ever. So each tenth has its own limit:
inputs that move towards the cut make more flips, and no alarm. Part of the evidence is on all tenths of a name together: where
flips are a little too many in several, it names the one with the most evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.events import SignalStatus
from agents.monitor.bernoulli import Bernoulli, Share, confidence_sequence
from agents.monitor.contract import Floats, Ints, State, Step
from agents.monitor.detectors import NEVER, grown, rounded
from agents.monitor.shares import usual_share

LEAST = 30
POOLED = 1 / 3
"""The part of a name's evidence that is on all of its tenths together."""
KNOWN = 200
"""Reference decisions of a group in a tenth from which on its own share of flips counts."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """What there is to say of everybody, or of a group; in an alarm of the tenths that raised it, else of all."""

    share: Share
    tenths: tuple[int, ...]
    """From 0; those in alarm."""


class Flips:
    """Bernoulli e-detectors, one a name and tenth; holds no state of the stream."""

    def __init__(self, names: Sequence[str], usual: Floats, limit: float, share: float) -> None:
        """`usual`: the largest share of flips that is still usual, (names, tenths)."""
        self.names, self.shape = tuple(names), usual.shape
        each = [f"{name} {tenth}" for name in names for tenth in range(usual.shape[1])]
        own = share * (1 - POOLED)
        self.family = Bernoulli(usual.ravel() if each else [0.5], limit, names=each, share=own, least=LEAST)
        with np.errstate(divide="ignore"):  # without a share it never alarms
            self._log_share = float(rounded(np.log(np.array(share * POOLED / max(len(self.names), 1)))))
        self._log_limit = float(np.log(limit))

    def start(self) -> State:
        """The state before anything was counted."""
        each = self.family.start()
        together = np.full((len(self.names), each["log_m"].shape[1]), NEVER)
        return {"each": each, "together": together}

    def step(self, state: State, n: Ints, k: Ints, step: Step) -> bool:
        """Take n answers with k flips, (names, tenths) each, into the state, in place; True where a status changed."""
        each = state["each"]
        changed = self.family.step(each, n.ravel(), k.ravel(), step)
        log_e = self.family.log_e(n.ravel(), k.ravel()).reshape(*self.shape, -1).sum(axis=1)
        free = ~each["alarm"].reshape(self.shape).any(axis=1)
        state["together"] = np.where(free[:, None], grown(state["together"], step.weight, log_e), NEVER)
        strength = self._strength(state)
        for place in np.flatnonzero(strength >= self._log_limit):
            rows = slice(place * self.shape[1], (place + 1) * self.shape[1])
            most = int(self.family.pooled(each["log_m"][rows]).argmax())
            self.family.raise_alarm(each, rows.start + most, float(strength[place]))
            state["together"][place], changed = NEVER, True
        return changed

    def _strength(self, state: State) -> Floats:
        """log of each name's evidence from all tenths together, as its share of the budget scales it."""
        return self.family.pooled(state["together"]) + self._log_share

    def judge(self, state: State) -> list[Flipped]:
        """What there is to say of each name."""
        each = self.family.judge(state["each"])
        strength = np.exp(np.minimum(self._strength(state), 690.0))
        width = self.shape[1]
        return [
            self._together(name, each[at * width : (at + 1) * width], float(strength[at]))
            for at, name in enumerate(self.names)
        ]

    def _together(self, name: str, each: Sequence[Share], strength: float) -> Flipped:
        tenths = tuple(place for place, one in enumerate(each) if one.status == SignalStatus.ALARM)
        told = [each[place] for place in tenths] or each
        n, k = sum(one.n for one in told), sum(one.k for one in told)
        lower, upper = (float(bound[0]) for bound in confidence_sequence(np.array([n]), np.array([k])))
        quiet = SignalStatus.OK if n >= LEAST else SignalStatus.INSUFFICIENT
        share = Share(
            name=name,
            status=SignalStatus.ALARM if tenths else quiet,
            estimate=k / n if n else None,
            lower=lower if n else None,
            upper=upper if n else None,
            n=n,
            k=k,
            p0=sum(one.n * one.p0 for one in told) / n if n else max(one.p0 for one in told),
            e_value=max(strength, *(one.e_value for one in told)),
            onset_ms=min(one.onset_ms or 0 for one in told) if tenths else None,
            onset_n=n if tenths else None,
        )
        return Flipped(share, tenths)


def usual_flips(everybody: Ints, group: Ints | None = None) -> Floats:
    """The usual share by tenth from a reference's (n, k), (tenths, 2): a group's own where it is known and larger."""
    usual = usual_share(everybody[:, 0], everybody[:, 1])
    if group is None:
        return usual
    own = usual_share(group[:, 0], group[:, 1])
    return np.where(group[:, 0] >= KNOWN, np.maximum(own, usual), usual)
