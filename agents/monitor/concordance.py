"""How features go together: for each pair, how often both lie on the same side of their medians.

Z is +1 for the bins above a feature's median (or its commonest level), -1 for the others and 0 for what is missing; ZᵀZ of
a stretch gives the concordances of all pairs. They see that features part company while each keeps its own distribution.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from agents.monitor.ball import Layout
from agents.monitor.bins import Binning, NumericBins
from agents.monitor.contract import Ints

Signs = npt.NDArray[np.float32]

MOST = 30
"""Features whose pairs are watched, at most: 435 pairs."""
EXACT = 2**22
"""Rows whose products are added up at a time: single precision is exact for whole numbers below 2²⁴."""


@dataclass(frozen=True, eq=False)
class Concordance:
    """The pairs of some features of a Binning."""

    binning: Binning
    rows: Ints
    """The features' places in the binning, ascending."""
    signs: Signs
    """Z of each bin, by its place in flat counts."""

    @classmethod
    def of(cls, binning: Binning, counts: Ints, among: Collection[str] | None = None) -> Concordance:
        """Pairs of the first MOST features (of those `among`) that vary; `counts`: flat ones of the reference."""
        signs = np.zeros(binning.size, dtype=np.float32)
        rows: list[int] = []
        for row, (one, start) in enumerate(zip(binning.bins, binning.starts, strict=True)):
            mine = counts[start : start + one.size - 1]
            z = _signs(mine, isinstance(one, NumericBins))
            signs[start : start + len(z)] = z
            varies = min(mine[z > 0].sum(), mine[z < 0].sum()) > 0
            if varies and len(rows) < MOST and (among is None or binning.names[row] in among):
                rows.append(row)
        return cls(binning, np.array(rows, dtype=np.int64), signs)

    @property
    def names(self) -> list[str]:
        """The features."""
        return [self.binning.names[row] for row in self.rows]

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Names, in the order of the counts."""
        names = self.names
        return tuple((names[a], names[b]) for a, b in zip(*self._upper, strict=True))

    @cached_property
    def members(self) -> Ints:
        """Places of both features of each pair in the binning, (pairs, 2)."""
        return np.stack([self.rows[one] for one in self._upper], axis=1)

    @cached_property
    def _upper(self) -> tuple[Ints, Ints]:
        first, second = np.triu_indices(len(self.rows), 1)
        return first, second

    @cached_property
    def layout(self) -> Layout:
        """A pair has two cells: alike, and not alike."""
        return Layout.of([(2, 0, 0)] * len(self.pairs))

    def counts(self, codes: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """Of stretches that end before row `ends`: rows in which a pair is alike, and in which either is missing.

        `codes` are those of the binning, (columns, rows); (stretches, pairs) each.
        """
        z = self.signs.take(codes[self.rows])
        alike = np.zeros((len(ends), len(self.pairs)), dtype=np.int64)
        unknown = np.zeros_like(alike)
        whole = bool(z.all())
        start = 0
        for place, end in enumerate(ends):
            for low in range(start, end, EXACT):
                part = z[:, low : min(low + EXACT, end)]
                both: Signs | int = part.shape[1]
                if not whole:
                    known = np.abs(part)
                    both = (known @ known.T)[self._upper]
                    unknown[place] += (part.shape[1] - both).astype(np.int64)
                alike[place] += ((both + (part @ part.T)[self._upper]) / 2).astype(np.int64)
            start = int(end)
        return alike, unknown


def _signs(counts: Ints, ordered: bool) -> Signs:
    """+1 and -1 of a feature's bins, the missing one left out: cut where the halves are most equal, or the top level."""
    if not ordered:
        levels = counts[:-1]
        top = int(levels.argmax()) if len(levels) else 0
        return np.where(np.arange(len(counts)) == top, 1, -1).astype(np.float32)
    below = np.cumsum(counts)
    cut = int(np.abs(below - counts.sum() / 2).argmin())
    return np.where(np.arange(len(counts)) > cut, 1, -1).astype(np.float32)
