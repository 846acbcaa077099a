"""Who is compared with whom: protected attributes, their intersections and segments, as tables of counts.

A table is one attribute (or an intersection) within one segment. Its groups are the declared ones; the last column counts
those whose group is not known: they are in no group, but lower the coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import polars as pl

from agents.columns import decision_columns
from agents.configuration import Model
from agents.monitor.contract import Ints, View

JOIN = " & "
INTERSECTIONS = 400
"""Groups of one intersection, at most."""


@dataclass(frozen=True)
class Grouping:
    """One attribute, or an intersection of several."""

    attributes: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, declaration: Model, attributes: Sequence[str]) -> Grouping:
        """The grouping by declared attributes."""
        return cls(tuple(attributes), tuple(declaration.groups[name] for name in attributes))

    @property
    def name(self) -> str:
        """`age_band & sex`."""
        return JOIN.join(self.attributes)

    @cached_property
    def groups(self) -> list[str]:
        """`age_band=under 30 & sex=female`, in the order of their codes."""
        return [
            JOIN.join(f"{name}={level}" for name, level in zip(self.attributes, levels, strict=True))
            for levels in product(*self.levels)
        ]

    def codes(self, view: View) -> Ints:
        """A row's group; len(groups) where any of its attributes is not known."""
        found = np.zeros(view.height, dtype=np.int64)
        unknown = np.zeros(view.height, dtype=np.bool_)
        for name, levels in zip(self.attributes, self.levels, strict=True):
            one = view.groups.get(name)
            one = np.full(view.height, -1, dtype=np.int64) if one is None else one
            unknown |= one < 0
            found = found * len(levels) + np.maximum(one, 0)
        found[unknown] = len(self.groups)
        return found

    def place(self, group: str) -> int | None:
        """The code of a group as a configuration names it: by level where there is one attribute, else in full."""
        for code, name in enumerate(self.groups):
            if group == name or (len(self.attributes) == 1 and group == self.levels[0][code]):
                return code
        return None


def groupings_of(declaration: Model) -> list[Grouping]:
    """Each declared attribute by itself."""
    return [Grouping.of(declaration, [name]) for name in declaration.groups]


def segment_column(declaration: Model, name: str) -> str | None:
    """The decision column that a segment dimension means: itself, or `features.<name>`; None where there is none."""
    types = decision_columns(declaration)
    for column in (name, f"features.{name}"):
        if types.get(column) == pl.String():
            return column
    return None


def segments_of(view: View, dimension: str, column: str, most: int = 50) -> list[tuple[str, np.ndarray]]:
    """`dimension=value` and the rows in it, for the most frequent values; rows without a value are in no segment."""
    values = view.frame[column]
    counts = values.drop_nulls().value_counts(sort=True).head(most)
    names = sorted(counts[column].to_list())
    return [(f"{dimension}={name}", (values == name).fill_null(False).to_numpy()) for name in names]
