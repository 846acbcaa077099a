"""Where do decisions of one kind gather: which values of which features are over-represented among them?

Counts by coarse bins (fifths of a number, the most frequent levels of a category), of all decisions and of those in
question. Bounded: at most 24 features and 7 bins each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.errors import Misconfigured
from agents.monitor.contract import Bools, Floats, Ints, State, View
from agents.monitor.encoding import Encoder

FEATURES = 24
BINS = 7
MISSING = BINS - 1
LEVELS = BINS - 2
LEAST = 5
"""Decisions in question that a bin needs before it is named."""


@dataclass(frozen=True, slots=True)
class Lift:
    """A place where they gather."""

    feature: str
    where: str
    """`income below 20`, `product is loan`."""
    lift: float
    """How many times more frequent they are there than overall."""


class Lifts:
    """The bins, from a profile's section."""

    def __init__(self, section: State, encoder: Encoder) -> None:
        """Read what `fitted` wrote; raises Misconfigured where it is not that."""
        self.places: Ints = section["places"]
        self.edges: Floats = section["edges"]
        self.encoder = encoder
        shapes = self.edges.shape == (len(self.places), LEVELS - 1) and len(self.places) <= FEATURES
        if not shapes or ((self.places < 0) | (self.places >= len(encoder.names))).any() or np.isnan(self.edges).any():
            raise Misconfigured("the profile's bins of features are damaged; fit the profile again")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the counts of a stretch: features, bins, (all, those in question)."""
        return len(self.places), BINS, 2

    def count(self, view: View, matrix: Floats, marked: Bools) -> Ints:
        """(stretches, features, bins, 2) of the encoder's rows."""
        size = len(self.places) * BINS
        codes = self._codes(matrix) + np.arange(len(self.places)) * BINS
        found = np.empty((view.stretches, size, 2), dtype=np.int64)
        for place, rows in enumerate((np.arange(len(codes)), np.flatnonzero(marked))):
            flat = view.stretch[rows, None] * size + codes[rows]
            found[:, :, place] = np.bincount(flat.ravel(), minlength=view.stretches * size).reshape(-1, size)
        return found.reshape(view.stretches, *self.shape)

    def _codes(self, matrix: Floats) -> Ints:
        found = np.empty((len(matrix), len(self.places)), dtype=np.int64)
        for column, place in enumerate(self.places):
            values = matrix[:, place]
            if self.encoder.levels[place] is None:
                code = np.searchsorted(self.edges[column], values, side="right")
            else:
                code = np.minimum(np.nan_to_num(values), LEVELS).astype(np.int64)
            code[np.isnan(values)] = MISSING
            found[:, column] = code
        return found

    def named(self, counts: Floats, most: int = 3) -> list[Lift]:
        """The features where those in question gather most, the surest first; `counts` may be decayed."""
        total = counts.sum(axis=1)
        rate = total[:, 1] / np.maximum(total[:, 0], 1e-9)
        n, k = counts[:, :, 0], counts[:, :, 1]
        expected = n * rate[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            sure = np.where((k >= LEAST) & (expected > 0), (k - expected) / np.sqrt(expected), 0.0)
        best = sure.argmax(axis=1)
        found = []
        for row in np.argsort(-sure.max(axis=1), kind="stable")[:most] if len(sure) else ():
            if sure[row, best[row]] > 3.0:
                lift = float(k[row, best[row]] / expected[row, best[row]])
                name = self.encoder.names[self.places[row]]
                found.append(Lift(name, f"{name} {self._words(int(row), int(best[row]))}", lift))
        return found

    def _words(self, row: int, code: int) -> str:
        levels = self.encoder.levels[self.places[row]]
        if code == MISSING:
            return "missing"
        if levels is not None:
            return f"is {levels[code]}" if code < min(len(levels), LEVELS) else "is none of the frequent ones"
        edges = self.edges[row][np.isfinite(self.edges[row])]
        if code == 0:
            return f"below {edges[0]:.6g}" if len(edges) else "of any value"
        return f"from {edges[-1]:.6g}" if code >= len(edges) else f"{edges[code - 1]:.6g} to {edges[code]:.6g}"


def fitted(matrix: Floats, encoder: Encoder, importance: Sequence[float]) -> State:
    """A section: bins of the features that matter most."""
    places = np.argsort(-np.asarray(importance), kind="stable")[:FEATURES].astype(np.int64)
    edges = np.full((len(places), LEVELS - 1), np.inf)
    for row, place in enumerate(places):
        values = matrix[:, place]
        values = values[~np.isnan(values)]
        if encoder.levels[place] is None and len(values):
            cuts = np.unique(np.quantile(values, np.arange(1, LEVELS) / LEVELS))
            cuts = cuts[(cuts > values.min()) & np.isfinite(cuts)]
            edges[row, : len(cuts)] = cuts
    return {"places": places, "edges": edges}
