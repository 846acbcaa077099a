"""Shares and totals from judgements that stand for different numbers of decisions, with intervals.

A weighted share is Hájek's (the weighted mean of 0s and 1s); its interval is Clopper and Pearson's (1934) at Kish's
effective sample size (Kish 1965: (Σw)² ÷ Σw²), which is exact where all weights are one and conservative about weights that
differ. Intervals are at 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its interval."""

    value: float
    lower: float
    upper: float
    n: int
    """Judgements behind it."""
    total: float
    """Decisions that they stand for."""

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.lower:.0%} to {self.upper:.0%}, n {self.n:,})"

    def counted(self) -> str:
        """As decisions: the share times the total.

        >>> share([True, False], [1.0, 1.0]).counted()
        '1 (0 to 2)'
        """
        found = (self.value * self.total, self.lower * self.total, self.upper * self.total)
        return "{:,.0f} ({:,.0f} to {:,.0f})".format(*found)


def share(hits: Sequence[bool], weights: Sequence[float]) -> Estimate:
    """The weighted share of hits; without judgements it is anything between 0 and 1."""
    n, heavy = len(hits), np.asarray(weights, dtype=float)
    total = float(heavy.sum())
    if n == 0 or total <= 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, 0.0)
    value = float(heavy[np.asarray(hits, dtype=bool)].sum() / total)
    effective = total**2 / float((heavy**2).sum())
    lower, upper = clopper_pearson(value * effective, effective)
    return Estimate(value, lower, upper, n, total)


def clopper_pearson(hits: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share; whole numbers are not asked for, so that effective sizes fit.

    >>> tuple(round(bound, 4) for bound in clopper_pearson(0, 10))
    (0.0, 0.3085)
    """
    tail = (1 - level) / 2
    hits = min(max(hits, 0.0), n)
    lower = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, n - hits + 1))
    upper = 1.0 if hits >= n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return lower, upper
