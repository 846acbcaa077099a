"""Matured cases of one model version as monitors see them at the stage outcomes: a frame, groups, and who counts once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agents.columns import decision_columns
from agents.configuration import Model
from agents.monitor.attributes import group_codes
from agents.monitor.case_records import read_texts
from agents.monitor.case_table import Names
from agents.monitor.contract import Bools, Floats, Ints

OUTCOME = "outcome"
"""The column that only matured cases have: 1.0 where what happened is positive, else 0.0."""


@dataclass(frozen=True, slots=True)
class Picked:
    """Rows that point into a few dicts of texts."""

    dicts: Sequence[Mapping[str, str]]
    places: Ints

    def values(self, name: str) -> list[str | None]:
        """One entry of each row's dict."""
        found = [one.get(name) for one in self.dicts]
        return [found[place] for place in self.places.tolist()]

    def codes(self, declaration: Model, attribute: str) -> Ints:
        """The place of each row's group among those that the model declares; -1: not known."""
        return group_codes(declaration, attribute, [one.get(attribute) for one in self.dicts])[self.places]


class Texts:
    """JSON objects of texts, each kept once: those of cases repeat."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._names: Names[bytes] = Names([text.encode() for text in texts])
        self._dicts = [read_texts(raw) for raw in self._names.all]

    @property
    def texts(self) -> list[str]:
        """All of them, by number."""
        return [raw.decode() for raw in self._names.all]

    def code(self, raw: bytes) -> int:
        """The number of an object; raises ValueError where it is none of texts."""
        found = self._names.find(raw)
        if found is None:
            self._dicts.append(read_texts(raw))
            found = self._names.add(raw)
        return found

    def picked(self, codes: Ints) -> Picked:
        """Rows as dicts, each dict once."""
        used, places = np.unique(codes, return_inverse=True)
        return Picked([self._dicts[code] for code in used.tolist()], places.astype(np.int64))

    def keep(self, codes: Ints) -> None:
        """Forget objects that no row has; the codes are renumbered in place."""
        used, places = np.unique(codes, return_inverse=True)
        self._names = Names([self._names.all[code] for code in used.tolist()])
        self._dicts = [self._dicts[code] for code in used.tolist()]
        codes[:] = places


@dataclass(frozen=True, slots=True)
class Matured:
    """Cases of one model version that are given to its monitors now, and never again; a row each, all of one length."""

    model: str
    version: str
    offsets: Ints
    """Of the cases' records, ascending."""
    labels: Sequence[str | None]
    scores: Floats
    """NaN: none."""
    outcome: Floats
    """1.0 where what happened is positive, else 0.0."""
    once: Bools
    clock_ms: int
    """The model's clock now."""
    groups: Picked
    segments: Picked

    def __len__(self) -> int:
        return len(self.offsets)

    def group_codes(self, declaration: Model) -> dict[str, Ints]:
        """What View.groups holds."""
        return {name: self.groups.codes(declaration, name) for name in declaration.groups}

    def frame(self, columns: Collection[str], declaration: Model) -> pl.DataFrame:
        """The wanted columns. A case holds label, score, outcome and segments; any other column is null."""
        types = decision_columns(declaration)
        made = [pl.Series(OUTCOME, self.outcome)]
        for name in sorted(columns):
            if name == "output.label":
                made.append(pl.Series(name, self.labels, dtype=pl.String()))
            elif name == "output.score":
                made.append(pl.Series(name, self.scores).fill_nan(None))
            elif name in types:
                values = self.segments.values(name) if types[name] == pl.String() else [None] * len(self)
                made.append(pl.Series(name, values, dtype=types[name]))
        return pl.DataFrame(made)
