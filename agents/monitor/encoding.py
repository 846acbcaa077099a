"""A model's features as a matrix of numbers for trees, the same at fitting and ever after.

Numbers stay as they are, what is missing is NaN. A category becomes its place among the reference's most frequent levels;
all others are the place after these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.contract import Floats, State

TOP = 30
"""Levels of a category that are told apart."""
PREFIX = "features."


@dataclass(frozen=True)
class Encoder:
    """Which columns, in which order, and the levels of those that are categories."""

    names: tuple[str, ...]
    """Features without their prefix."""
    levels: tuple[tuple[str, ...] | None, ...]
    """Of each feature: None for a number."""

    @classmethod
    def fit(cls, frame: pl.DataFrame, declaration: Model) -> Encoder:
        """For the declared features that have a value in the reference at all."""
        names: list[str] = []
        levels: list[tuple[str, ...] | None] = []
        for name, feature in declaration.features.items():
            column = f"{PREFIX}{name}"
            if column not in frame.columns or frame[column].null_count() == frame.height:
                continue
            names.append(name)
            levels.append(None if feature.type == "numeric" else _frequent(frame[column]))
        return cls(tuple(names), tuple(levels))

    @classmethod
    def of(cls, section: State) -> Encoder:
        """Read what `section` wrote; raises Misconfigured where it is not that."""
        names, levels = section.get("names"), section.get("levels")
        if not isinstance(names, list) or not isinstance(levels, list) or len(names) != len(levels):
            raise Misconfigured("the profile's features are damaged; fit the profile again")
        for name, known in zip(names, levels, strict=True):
            texts = known is None or (isinstance(known, list) and all(isinstance(one, str) for one in known))
            if not isinstance(name, str) or not texts or len(set(known or ())) != len(known or ()):
                raise Misconfigured("the profile's features are damaged; fit the profile again")
        return cls(tuple(names), tuple(None if one is None else tuple(one) for one in levels))

    def section(self) -> State:
        """What a profile keeps of it."""
        return {"names": list(self.names), "levels": [None if one is None else list(one) for one in self.levels]}

    @property
    def columns(self) -> Sequence[str]:
        """The decision columns that it reads."""
        return [f"{PREFIX}{name}" for name in self.names]

    def matrix(self, frame: pl.DataFrame) -> Floats:
        """Rows of numbers, (height, features), column by column in memory; a column that is not there is missing.

        Raises Misconfigured where a feature was declared as another type when the profile was fitted.
        """
        found = np.empty((frame.height, len(self.names)), order="F")
        for place, (column, known) in enumerate(zip(self.columns, self.levels, strict=True)):
            found[:, place] = _numbers(frame[column], known) if column in frame.columns else np.nan
        return found


def _numbers(column: pl.Series, levels: Sequence[str] | None) -> Floats:
    if (column.dtype == pl.String) == (levels is None) and column.dtype != pl.Null:
        was, now = ("numeric", "categorical") if levels is None else ("categorical", "numeric")
        told = f"{column.name} was {was} when the profile was fitted and is {now} now"
        raise Misconfigured(f"{told}; fit the profile again with `govern profile fit`")
    if levels is None:
        return np.asarray(column.cast(pl.Float64).to_numpy(), dtype=np.float64)
    places = column.cast(pl.Enum(levels), strict=False).to_physical().cast(pl.Float64)
    codes = np.array(places.fill_null(float(len(levels))).to_numpy(), dtype=np.float64)
    if column.null_count():
        codes[column.is_null().to_numpy()] = np.nan
    return codes


def _frequent(column: pl.Series) -> tuple[str, ...]:
    name = column.name
    counts = column.drop_nulls().value_counts().sort(["count", name], descending=[True, False]).head(TOP)
    return tuple(counts[name].to_list())
