"""Where a model's score turns into its favourable answer: the cut, learnt from reference decisions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from agents.configuration import Model
from agents.monitor.contract import Bools, Floats


@dataclass(frozen=True, slots=True)
class Cut:
    """Favourable from this score on (`above`), or below it."""

    at: float
    above: bool
    agreement: float
    """Share of reference decisions whose answer is the one that the cut gives."""

    @classmethod
    def fit(cls, scores: Floats, favourable: Bools) -> Cut | None:
        """The cut that agrees most often; None without scores, or where all answers are the same."""
        known = ~np.isnan(scores)
        scores, answers = scores[known], favourable[known]
        if not len(scores) or answers.all() or not answers.any():
            return None
        order = np.argsort(scores, kind="stable")
        ordered, hits = scores[order], np.concatenate([[0], np.cumsum(answers[order])])
        places = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))  # a cut before each new value
        below, total = hits[places], hits[-1]
        right = (total - below) + (places - below)  # favourable ones from here on, others before
        best, worst = int(right.argmax()), int(right.argmin())
        count = len(scores)
        above = bool(right[best] >= count - right[worst])
        place = places[best if above else worst]
        at = float(ordered[0] if place == 0 else (ordered[place - 1] + ordered[place]) / 2.0)
        at = float(ordered[place]) if place and not ordered[place - 1] < at else at
        return cls(at, above, float((right[best] if above else count - right[worst]) / count))

    def favours(self, scores: Floats) -> Bools:
        """Whether a score gives the favourable answer; NaN: it does not."""
        with np.errstate(invalid="ignore"):
            return np.asarray(scores >= self.at if self.above else scores < self.at)

    def short(self, scores: Floats) -> Floats:
        """How far a score is from giving the favourable answer; negative where it gives it."""
        return self.at - scores if self.above else scores - self.at


def favourable_labels(declaration: Model) -> frozenset[str]:
    """The model's favourable answers."""
    return frozenset(name for name, label in declaration.labels.items() if label.favourable)


def favoured(frame: pl.DataFrame, labels: frozenset[str]) -> tuple[Bools, Bools]:
    """Which rows have one of the labels, and which have any label."""
    column = frame["output.label"]
    return column.is_in(list(labels)).fill_null(False).to_numpy(), column.is_not_null().to_numpy()
