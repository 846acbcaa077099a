"""Answers that are not the expected ones: how often, for whom, and in which tenths of what was expected.

Near the cut even the reference version's own decisions flip often, far from it hardly ever. So each tenth has its own limit:
inputs that move towards the cut make more flips, and no alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.events import SignalStatus
from agents.monitor.bernoulli import Bernoulli, Share, confidence_sequence
from agents.monitor.contract import Floats, Ints, State, Step
from agents.monitor.shares import usual_share

LEAST = 30
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
        self.family = Bernoulli(usual.ravel() if each else [0.5], limit, names=each, share=share, least=LEAST)

    def start(self) -> State:
        """The state before anything was counted."""
        return self.family.start()

    def step(self, state: State, n: Ints, k: Ints, step: Step) -> bool:
        """Take n answers with k flips, (names, tenths) each, into the state, in place; True where a status changed."""
        return self.family.step(state, n.ravel(), k.ravel(), step)

    def judge(self, state: State) -> list[Flipped]:
        """What there is to say of each name."""
        each = self.family.judge(state)
        width = self.shape[1]
        return [self._together(name, each[at * width : (at + 1) * width]) for at, name in enumerate(self.names)]

    def _together(self, name: str, each: Sequence[Share]) -> Flipped:
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
            e_value=max(one.e_value for one in told),
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
