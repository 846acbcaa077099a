"""What the old version says of the very inputs of the new one, where it runs on beside it: nothing has to be guessed then.

A decision of the new version carries the old one's score in a column; it takes the surrogate's place (surrogate.py). Without
a surrogate's error the same version gives the same score, so much smaller changes show than against a surrogate.
"""

from __future__ import annotations

import numpy as np

from agents.errors import Misconfigured
from agents.monitor.contract import Bools, Floats, Ints, State
from agents.monitor.cuts import Cut
from agents.monitor.surrogate import DECILES, GRAIN, Residuals

USUAL = 0.02
"""Share of decisions whose scores differ, each way, in the reference of the residuals: scores are rounded, inputs come late."""
TOLERANCE = 0.05
"""Difference of residuals from that (a χ² distance) within a decile that is no change: about 4 % of the decisions one way."""


class Paired:
    """The old version itself, with the face of a Surrogate; what is expected of a decision is its old score."""

    by_score = True
    unevenness = 0.0
    """Residuals do not depend on the inputs: a shift of inputs moves none."""

    def __init__(self, section: State, column: str) -> None:
        """Read what `fitted` wrote; raises Misconfigured where it is not that. `column`: of the old version's score."""
        self.column = column
        self.deciles: Floats = section["deciles"]
        self.flips: Ints = section["flips"]
        self.n: Ints = section["n"]
        grain = float(section["grain"])
        shapes = (self.deciles.shape, self.n.shape, self.flips.shape) == ((DECILES - 1,), (DECILES,), (DECILES, 2))
        if not shapes or not 0 < grain < np.inf or np.isnan(self.deciles).any() or (self.n < 0).any():
            raise Misconfigured("the profile's own scores are damaged; fit the profile again")
        self.edges: Floats = np.tile([-grain, grain], (DECILES, 1))
        self.bins: Ints = np.full(DECILES, 3, dtype=np.int64)
        outside = np.rint(USUAL * self.n).astype(np.int64)
        self.reference: Ints = np.stack([outside, self.n - 2 * outside, outside, 0 * outside], axis=1)
        self.usual: Floats = np.zeros(DECILES)
        cut = section.get("cut")
        self.cut = None if cut is None else Cut(float(cut["at"]), bool(cut["above"]), float(cut["agreement"]))

    def residuals(self, old: Floats, said: Floats) -> Residuals:
        """For rows with the old version's score: its decile, and whether the new one differs by more than the grain."""
        decile = np.searchsorted(self.deciles, old, side="right")
        code = (said - old)[:, None] > self.edges[decile]
        return Residuals(old, decile, np.where(np.isnan(said), self.bins[decile], code.sum(axis=1)))


def fitted(scores: Floats, answers: Bools, known: Bools) -> State | None:
    """A section from the reference's own scores and answers; None where all scores are the same."""
    there = ~np.isnan(scores)
    scores, answers, known = scores[there], answers[there], known[there]
    spread = float(np.std(scores)) if len(scores) else 0.0
    if not spread > 0:
        return None
    deciles = np.quantile(scores, np.arange(1, DECILES) / DECILES)
    decile = np.searchsorted(deciles, scores, side="right")
    section: State = {"deciles": deciles, "grain": GRAIN * spread, "n": np.bincount(decile, minlength=DECILES)}
    cut = Cut.fit(np.where(known, scores, np.nan), answers)
    flips = np.zeros(len(scores), dtype=np.bool_)
    if cut is not None:
        section["cut"] = {"at": cut.at, "above": cut.above, "agreement": cut.agreement}
        flips = known & (answers != cut.favours(scores))
    section["flips"] = np.stack([np.bincount(decile[one], minlength=DECILES) for one in (known, flips)], axis=1)
    return section
