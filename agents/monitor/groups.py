"""Who is compared with whom: protected attributes, their intersections and segments, as tables of counts.

A table is one attribute (or an intersection) within one segment. Its groups are the declared ones; the last column counts
those whose group is not known: they are in no group, but lower the coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from agents.columns import decision_columns
from agents.configuration import Model
from agents.monitor.contract import Ints, Options, View

JOIN = " & "
INTERSECTIONS = 400
"""Groups of one intersection, at most."""


class GapOptions(Options):
    """What is compared."""

    attributes: tuple[str, ...] = ()
    """Protected attributes of the model; none given: all that it declares."""
    intersections: tuple[tuple[str, ...], ...] = ()
    """Combinations of attributes, for example [[age_band, sex]]."""
    reference: dict[str, str] = Field(default_factory=dict)
    """Attribute → the group that others are compared with; not given: the one that fares best so far."""
    segment_by: tuple[str, ...] = ()
    """Also within each value of these columns: purpose, or a categorical feature."""
    audit: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """A group is told to have been below the level at some time since the version's start where that is wrong with at most
    this probability, for the version's whole life and all groups together. No alarm comes of it."""


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


def mistake(declaration: Model, options: GapOptions) -> str | None:
    """What in the options does not fit a model with `groups`, and the mend; None: all of it does."""
    for name in (*options.attributes, *options.reference, *(one for many in options.intersections for one in many)):
        if name not in declaration.groups:
            return f"{name!r} is no attribute in the model's `groups`; there are {', '.join(declaration.groups)}"
    for name in options.attributes or declaration.groups:
        if len(declaration.groups[name]) < 2:
            return f"attribute {name!r} has fewer than two groups; there is nothing to compare"
    for names in options.intersections:
        size = int(np.prod([len(declaration.groups[name]) for name in names]))
        if len(names) < 2 or size > INTERSECTIONS:
            return f"an intersection takes two or more attributes and at most {INTERSECTIONS} groups, not {size}"
    for name, group in options.reference.items():
        if group not in declaration.groups[name]:
            return f"{group!r} is no group of {name!r}; there are {', '.join(declaration.groups[name])}"
    for name in options.segment_by:
        if segment_column(declaration, name) is None:
            return f"segment_by: {name!r} is neither `purpose` nor a categorical feature of the model"
    return None
