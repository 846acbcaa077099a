"""How often what a score promises comes true: a calibration curve on bins of equal mass, from reference decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.contract import Floats, Ints, State
from agents.monitor.cuts import favourable_labels, favoured
from agents.monitor.matured import OUTCOME

BINS = 50
LEAST = 1_000

THIN = 0.5
"""Decisions of either answer of which a smaller share has an outcome are called thin in a remark."""


class Curve:
    """c_b = (y_b + ½) / (n_b + 1) for each bin of the score."""

    def __init__(self, section: State) -> None:
        """Read what `fit` wrote; raises Misconfigured where it is not that."""
        self.edges: Floats = section["edges"]
        self.table: Ints = section["table"]
        bins = len(self.edges) + 1
        if self.table.shape != (bins, 2, 2) or (self.table < 0).any() or bins > BINS or np.isnan(self.edges).any():
            raise Misconfigured("the profile's calibration is damaged; fit the profile again")
        self.n: Ints = self.table.sum(axis=(1, 2))
        self.rates: Floats = (self.table[:, :, 1].sum(axis=1) + 0.5) / (self.n + 1.0)

    @property
    def bins(self) -> int:
        """How many bins there are; the code after the last stands for decisions without a score."""
        return len(self.n)

    def codes(self, scores: Floats) -> Ints:
        """The bin of each score."""
        return coded(self.edges, scores)


def coded(edges: Floats, scores: Floats) -> Ints:
    """The place of each score among the edges; the one after all where there is none (NaN)."""
    found = np.searchsorted(edges, scores, side="right")
    found[np.isnan(scores)] = len(edges) + 1
    return found


def fit(frame: pl.DataFrame, declaration: Model) -> tuple[State | None, Sequence[str]]:
    """A section from reference decisions whose outcome is known: (bins, answer, outcome) counts."""
    if not declaration.outcomes:
        return None, ()
    if OUTCOME not in frame.columns or frame[OUTCOME].null_count() == frame.height:
        return None, ["the reference has no outcomes: accuracy cannot be estimated, nor calibration be tested"]
    scores, outcomes = (frame[name].to_numpy().astype(np.float64) for name in ("output.score", OUTCOME))
    known = ~np.isnan(outcomes) & ~np.isnan(scores)
    if known.sum() < LEAST:
        needed = f"calibration needs {LEAST:,} reference decisions with a score and an outcome"
        return None, [f"{needed}; there are {known.sum():,}"]
    answers, labelled = favoured(frame, favourable_labels(declaration))
    cuts = np.unique(np.quantile(scores[known], np.arange(1, BINS) / BINS))
    edges = cuts[cuts > scores[known].min()]
    code = coded(edges, scores)[known] * 4 + answers[known] * 2 + (outcomes[known] > 0.5)
    table = np.bincount(code, minlength=(len(edges) + 1) * 4).reshape(-1, 2, 2).astype(np.int64)
    told = [f"calibration: the share of positive outcomes is known for {len(edges) + 1} bins of the score"]
    for name, rows in (("favourable", answers), ("other", ~answers & labelled)):
        share = float(known[rows].mean()) if rows.any() else 1.0
        if share < THIN:
            told.append(
                f"calibration: only {share:.0%} of the {name} answers have an outcome; those may not stand for all"
            )
    return {"edges": edges, "table": table}, told


def auc(counts: Ints | Floats) -> float | None:
    """Area under the ROC curve of bins in rising order, (bins, outcome 0 and 1); ties within a bin count half.

    Mann-Whitney: (Σ positives × (negatives below + ½ negatives beside)) / (all positives × all negatives).

    >>> auc(np.array([[2, 0], [1, 1], [0, 2]]))
    0.9444444444444444
    """
    negative, positive = np.asarray(counts, dtype=np.float64).T
    below = np.cumsum(negative) - negative / 2.0
    pairs = negative.sum() * positive.sum()
    return float((positive * below).sum() / pairs) if pairs else None
