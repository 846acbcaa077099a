"""How unusual inputs are, taken together: a profile's isolation scores as a pseudo-feature of data drift.

It sees what neither single features nor pairs show: three features and more that part company, points where the reference
has none. The reference are the scores of the decisions that the forest was calibrated on, which its trees have not seen.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl

from agents.monitor.ball import Layout
from agents.monitor.bins import NumericBins, fit_numeric
from agents.monitor.conformal import Anomalies
from agents.monitor.contract import Ints, State, View

SECTION = "anomaly"
"""The kind of monitor whose section of the profile has the forest."""


class IsolationBins:
    """Bins of the isolation score, and the reference's counts in them."""

    def __init__(self, section: State) -> None:
        """Read the section of kind `anomaly`; raises Misconfigured where it is damaged."""
        self.anomalies = Anomalies(section)
        scores = pl.Series(section["calibration"])
        self.bins: NumericBins = fit_numeric(scores)
        self.reference: Ints = np.bincount(self.bins.codes(scores), minlength=self.bins.size).astype(np.int64)

    @cached_property
    def layout(self) -> Layout:
        """One feature, ordered; a score is never missing."""
        return Layout.of([self.bins.kind])

    @property
    def columns(self) -> frozenset[str]:
        """The decision columns that scoring reads."""
        return frozenset(self.anomalies.columns)

    def count(self, view: View) -> Ints:
        """Decisions by bin, (stretches, bins)."""
        scores = pl.Series(self.anomalies.scores(view.frame))
        return view.tally(self.bins.codes(scores), self.bins.size)
