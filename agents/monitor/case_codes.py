"""What the small numbers in a case's row mean: its model, version and label, its groups and segments, its outcome.

Rows of a CaseTable hold codes, because texts repeat a million times; here each text is kept once, and rows are put into words
again when they are given out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from agents.monitor.case_table import Names
from agents.monitor.contract import Ints
from agents.monitor.matured import Matured, Texts


class About(NamedTuple):
    """What a decision was made by, and its answer."""

    model: str
    version: str
    label: str | None


class CaseCodes:
    """Codes in the order of their first appearance, a list for each column that has some."""

    def __init__(self) -> None:
        self.abouts: Names[About] = Names()
        self.groups, self.segments = Texts(), Texts()
        self.outcomes: Names[str] = Names()

    def keep(self, columns: Mapping[str, np.ndarray[Any, Any]], count: int) -> None:
        """Forget groups and segments that none of the first `count` rows has; their codes are renumbered in place."""
        for name, texts in (("groups", self.groups), ("segments", self.segments)):
            texts.keep(columns[name][:count])

    def matured(
        self,
        columns: Mapping[str, np.ndarray[Any, Any]],
        rows: Ints,
        positive: Mapping[str, Mapping[int, bool]],
        clock_of: Callable[[str], int],
    ) -> tuple[Matured, ...]:
        """Rows with an outcome in words, by model and version; `positive`: each model's outcomes by code."""
        rows = rows[np.argsort(columns["offset"][rows], kind="stable")]
        names = sorted({one[:2] for one in self.abouts.all})
        numbers = {name: number for number, name in enumerate(names)}
        number_of = np.array([numbers[one[:2]] for one in self.abouts.all], dtype=np.int64)[columns["about"][rows]]
        found = []
        for number in np.unique(number_of):
            at = rows[number_of == number]
            model, version = names[number]
            is_positive = np.array([positive[model].get(code, False) for code in range(len(self.outcomes.all))])
            found.append(
                Matured(
                    model=model,
                    version=version,
                    offsets=columns["offset"][at],
                    labels=[self.abouts.all[about].label for about in columns["about"][at].tolist()],
                    scores=columns["score"][at],
                    outcome=is_positive[columns["value"][at]].astype(np.float64),
                    once=columns["once"][at],
                    clock_ms=clock_of(model),
                    groups=self.groups.picked(columns["groups"][at]),
                    segments=self.segments.picked(columns["segments"][at]),
                )
            )
        return tuple(found)

    def dump(self) -> dict[str, Any]:
        """All of them as plain values."""
        return {
            "abouts": [list(one) for one in self.abouts.all],
            "groups": self.groups.texts,
            "segments": self.segments.texts,
            "outcomes": list(self.outcomes.all),
        }

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Self:
        """What `dump` gave. Raises ValueError, KeyError or TypeError where it is damaged."""
        found = cls()
        found.abouts = Names([About(*one) for one in kept["abouts"]])
        found.groups, found.segments = Texts(kept["groups"]), Texts(kept["segments"])
        found.outcomes = Names([str(one) for one in kept["outcomes"]])
        return found
