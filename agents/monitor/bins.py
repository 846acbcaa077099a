"""Bins of a model's features, fitted on reference decisions: every value that can come, also a new one, has exactly one.

Numeric features are cut at quantiles, and a value that is often repeated is a bin of its own; categorical ones have their
commonest levels, one bin for all others and new ones, and both have one for what is missing. A bin's number is its place:
values or levels first, then new ones (categorical only), missing last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
import polars as pl

from agents.monitor.ball import Layout
from agents.monitor.contract import Bools, Floats, Ints

QUANTILES = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
OFTEN = 0.02
"""A value with a larger share of the reference is a bin of its own."""
AGAIN = 5
"""… if it is there so many times."""
SLIVER = 0.005
"""What lies between such a value and the next edge is counted with it if its share is smaller."""
COMPARED = 24
"""Up to so many bins, codes are counted rather than searched."""
CACHED = 40_000
"""Numbers whose edges are counted at a time: so many stay in the processor's cache from edge to edge."""
LEVELS = 20
"""Levels of a categorical feature with a bin of their own."""


@dataclass(frozen=True, eq=False)
class NumericBins:
    """Bin i is [edge i-1, edge i); infinities lie in the end bins, null and NaN in the last one."""

    edges: Floats
    """Ascending and finite."""

    @cached_property
    def _searched(self) -> Floats:
        return np.append(self.edges, np.nan)  # NaN is searched past every number

    @cached_property
    def size(self) -> int:
        """How many bins, the missing one included."""
        return len(self.edges) + 2

    @property
    def kind(self) -> tuple[int, int, int]:
        """As Layout.of takes it."""
        return len(self.edges) + 1, 0, 1

    def codes(self, values: pl.Series) -> Ints:
        """Each value's bin."""
        return np.asarray(self._searched.searchsorted(floats(values), side="right"))

    def label(self, place: int) -> str:
        """The bin in words.

        >>> [NumericBins(np.array([1.0, 2.5])).label(place) for place in range(4)]
        ['below 1', '1 to 2.5', '2.5 and more', 'missing']
        >>> NumericBins(np.array([0.0, np.nextafter(0.0, 1.0), 500.0])).label(2)
        'above 0 to 500'
        """
        count = len(self.edges)
        if place > count:
            return "missing"
        if count == 0:
            return "any number"
        if place == 0:
            return f"below {self.edges[0]:g}"
        low = self.edges[place - 1]
        if place == count:
            return (
                f"above {low:g}" if count > 1 and low == np.nextafter(self.edges[-2], np.inf) else f"{low:g} and more"
            )
        high = self.edges[place]
        if high == np.nextafter(low, np.inf):
            return f"{low:g}"
        exclusive = place > 1 and low == np.nextafter(self.edges[place - 2], np.inf)
        return f"above {self.edges[place - 2]:g} to {high:g}" if exclusive else f"{low:g} to {high:g}"


@dataclass(frozen=True, eq=False)
class LevelBins:
    """One bin a level, one for others, one for what is missing."""

    levels: tuple[str, ...]

    @cached_property
    def _places(self) -> dict[str | None, int]:
        return {**{name: place for place, name in enumerate(self.levels)}, None: len(self.levels) + 1}

    @cached_property
    def size(self) -> int:
        """How many bins, those for others and for what is missing included."""
        return len(self.levels) + 2

    @property
    def kind(self) -> tuple[int, int, int]:
        """As Layout.of takes it."""
        return 0, len(self.levels), 2

    def codes(self, values: pl.Series) -> Ints:
        """Each value's bin."""
        texts = (values if values.dtype == pl.String else values.cast(pl.String)).to_list()
        return np.fromiter(map(self._places.get, texts, repeat(len(self.levels))), dtype=np.int64, count=len(texts))

    def label(self, place: int) -> str:
        """The bin in words."""
        return (*self.levels, "new or rare values", "missing")[place]


Bins = NumericBins | LevelBins


def floats(values: pl.Series) -> Floats:
    """As an array; null, and what is no number, is NaN."""
    found = values.to_numpy()
    if found.dtype.kind in "fiu":
        return np.asarray(found, dtype=np.float64)
    return np.asarray(values.cast(pl.Float64, strict=False).to_numpy())


def fit_numeric(values: pl.Series) -> NumericBins:
    """Cut at QUANTILES; a value with a share above OFTEN is a bin of its own, and so is what lies outside all of those."""
    numbers = values.cast(pl.Float64, strict=False).drop_nulls().drop_nans().to_numpy()
    if not len(numbers):
        return NumericBins(np.zeros(0))
    found, times = np.unique(numbers, return_counts=True)
    atoms = found[(times > OFTEN * len(numbers)) & (times >= AGAIN) & np.isfinite(found)]
    cuts = np.quantile(numbers, QUANTILES, method="inverted_cdf")
    edges = np.unique(np.concatenate([cuts, atoms, np.nextafter(atoms, np.inf)]))
    edges = edges[np.isfinite(edges)]
    return NumericBins(_without_slivers(edges, atoms, numbers))


def _without_slivers(edges: Floats, atoms: Floats, numbers: Floats) -> Floats:
    """Leave out edges that start an inner bin with next to nothing in it; the end bins stay, for values never seen."""
    if len(edges) < 2:
        return edges
    shares = np.bincount(edges.searchsorted(numbers, side="right"), minlength=len(edges) + 1) / len(numbers)
    thin: Bools = (shares[1:-1] < SLIVER) & ~np.isin(edges[:-1], atoms)
    thin[0] = False
    return np.asarray(edges[~np.append(thin, False)])


def fit_levels(values: pl.Series) -> LevelBins:
    """The commonest LEVELS levels, in alphabetical order among equals."""
    counts: dict[str, int] = {}
    for name in values.cast(pl.String).drop_nulls().to_list():
        counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return LevelBins(tuple(ranked[:LEVELS]))


@dataclass(frozen=True, eq=False)
class Binning:
    """Bins of several columns; counts lie flat, column by column, without padding."""

    names: tuple[str, ...]
    bins: tuple[Bins, ...]

    @cached_property
    def starts(self) -> Ints:
        """Where each column's bins begin in flat counts."""
        return np.cumsum(self._sizes) - self._sizes

    @cached_property
    def _sizes(self) -> Ints:
        return np.array([one.size for one in self.bins], dtype=np.int64)

    @cached_property
    def layout(self) -> Layout:
        """What the bins mean."""
        return Layout.of([one.kind for one in self.bins])

    @cached_property
    def size(self) -> int:
        """How many bins in all."""
        return sum(one.size for one in self.bins)

    @cached_property
    def _compared(self) -> tuple[Ints, Floats, list[int]]:
        """Numeric columns with few edges, these, padded with NaN, and the other columns.

        To count the edges below is quicker than to search among them."""
        rows = [row for row, one in enumerate(self.bins) if isinstance(one, NumericBins) and one.size <= COMPARED]
        edges = np.full((len(rows), COMPARED), np.nan)
        for place, row in enumerate(rows):
            mine = self.bins[row]
            if isinstance(mine, NumericBins):
                edges[place, : len(mine.edges)] = mine.edges
        others = sorted(set(range(len(self.bins))) - set(rows))
        return np.array(rows, dtype=np.int64), edges[:, ~np.isnan(edges).all(axis=0)], others

    def codes(self, columns: Sequence[pl.Series]) -> Ints:
        """Places in flat counts, (columns, rows), of `columns` in the order of `names`."""
        height = len(columns[0]) if columns else 0
        found = np.empty((len(columns), height), dtype=np.int64)
        rows, edges, others = self._compared
        some = max(1, CACHED // max(height, 1))
        for start in range(0, len(rows), some):
            mine = rows[start : start + some]
            found[mine] = self._counted(mine, edges[start : start + some], [columns[row] for row in mine])
        for row in others:
            np.add(self.bins[row].codes(columns[row]), self.starts[row], out=found[row])
        return found

    def _counted(self, rows: Ints, edges: Floats, columns: Sequence[pl.Series]) -> Ints:
        numbers = np.empty((len(rows), len(columns[0])))
        for place, column in enumerate(columns):
            numbers[place] = floats(column)
        below = np.zeros(numbers.shape, dtype=np.uint8)
        passed = np.empty(numbers.shape, dtype=np.bool_)
        for edge in edges.T:
            np.greater_equal(numbers, edge[:, None], out=passed)
            below += passed.view(np.uint8)
        missing = np.isnan(numbers)
        if missing.any():
            below = np.where(missing, (self._sizes[rows] - 1).astype(np.uint8)[:, None], below)
        return np.asarray(below + self.starts[rows][:, None])

    def padded(self, flat: Ints) -> Ints:
        """Flat counts (…, size) as (…, columns, bins), which a Ball takes."""
        used = self.layout.used
        found = np.zeros((*flat.shape[:-1], *used.shape), dtype=np.int64)
        found[..., used] = flat
        return found

    def to_state(self) -> list[dict[str, Any]]:
        """As a profile keeps it."""
        return [
            {"name": name, "edges": one.edges}
            if isinstance(one, NumericBins)
            else {"name": name, "levels": list(one.levels)}
            for name, one in zip(self.names, self.bins, strict=True)
        ]

    @classmethod
    def of_state(cls, rows: list[dict[str, Any]]) -> Binning:
        """What `to_state` made."""
        bins = tuple(NumericBins(row["edges"]) if "edges" in row else LevelBins(tuple(row["levels"])) for row in rows)
        return cls(tuple(row["name"] for row in rows), bins)
