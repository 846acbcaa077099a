"""Do groups score above the middle equally often? Scoring rates as in New York City's Local Law 144, while they happen.

The law's report takes the share of each group that scores above the median of the audited sample. Live, the median is that of
the period before (strictly above it counts), because that of the present one is not known yet. So the counts are histograms
of scores, group by group, and the median is applied where they are judged.

Resolution: scores in the same bin as the median count as not above it. With 100 bins over 0..1 a score must exceed the
median by up to 0.01; a stretch of decisions that crosses into a new period belongs to the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from agents.configuration import Model
from agents.monitor.contract import Bools, Counts, Floats, Ints, Setting, State, Step, View
from agents.monitor.groups import segments_of
from agents.monitor.impact import DisparateImpact, Gap, ImpactOptions
from agents.monitor.subjects import Period, periods

ENOUGH = 100
"""Scores that a period needs for its median to count; otherwise the median before stays."""
_GROUP = "/"  # before a group's number, at the end of a key


class ScoringOptions(ImpactOptions):
    """Which scores, and how finely."""

    range: tuple[float, float] = (0.0, 1.0)
    """Between which scores the bins lie; scores beyond count in the first and the last one."""
    bins: Annotated[int, Field(ge=10, le=1_000)] = 100
    favourable: Literal["high", "low"] = "high"
    """Which end of the scores people hope for: `low` where the score is a risk."""
    period: Literal["day", "week", "month", "year"] | None = None
    """Whose median the next period is compared with; not given: the model's `subject_period`, or a month."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.range[0] < self.range[1]:
            raise ValueError("range: write the lower bound first, for example [0, 1]")
        return self


class ScoringRate(Gap):
    """Is any group's share of scores above the previous period's median below four fifths of the reference group's?

    The median is fixed before a period begins, so the guarantee is that of disparate impact.
    """

    kind = "scoring_rate"
    summary = "Shares of scores above the previous period's median compared: scoring rates"
    formula = f"scoring rate and impact ratio of NYC Local Law 144 (rules of 2023). {DisparateImpact.formula}"
    options_type = ScoringOptions
    metric = "scoring_rate_ratio"
    outcome_words = "score above the median of the period before"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        options: ScoringOptions = setting.options
        self.bins = options.bins
        self.period: Period = options.period or (
            "month" if setting.declaration.subject_period == "none" else setting.declaration.subject_period
        )
        if options.favourable == "low":
            self.outcome_words = "score below the median of the period before"

    @classmethod
    def needs(cls, declaration: Model) -> str | None:
        """Needs scores, which only predictions surely have."""
        if declaration.kind != "prediction":
            return "it makes no predictions with a score; leave the monitor to models of kind prediction"
        return None

    def columns(self) -> frozenset[str]:
        return (super().columns() - {"output.label"}) | {"output.score"}

    def observe(self, view: View) -> Counts:
        view = view.counted
        bins, known = self.places(view.frame["output.score"])
        found: dict[str, Ints] = {}
        codes = [grouping.codes(view) for grouping in self.groupings]
        inside: list[tuple[str, Bools]] = [("", np.ones(view.height, dtype=np.bool_))]
        for dimension, column in self.segments.items():
            inside += [(f"|{segment}", rows) for segment, rows in segments_of(view, dimension, column)]
        for segment, rows in inside:
            rows = rows & known
            part = View(view.frame, view.stretch[rows], view.stretches)
            for grouping, code in zip(self.groupings, codes, strict=True):
                size = len(grouping.groups) + 1
                table = part.tally(code[rows] * self.bins + bins[rows], size * self.bins)
                table = table.reshape(view.stretches, size, self.bins)
                for group in np.flatnonzero(table.any(axis=(0, 2))):
                    found[f"{grouping.name}{segment}{_GROUP}{group}"] = table[:, group]
        return found

    def places(self, scores: pl.Series) -> tuple[Ints, Bools]:
        """Each score's bin, the least favourable first, and whether there is a score."""
        low, high = self.setting.options.range
        values: Floats = scores.fill_null(np.nan).to_numpy()
        known = ~np.isnan(values)
        scaled = np.where(known, (np.clip(values, low, high) - low) / (high - low) * self.bins, 0.0)
        bins = np.minimum(scaled.astype(np.int64), self.bins - 1)
        if self.setting.options.favourable == "low":
            bins = self.bins - 1 - bins
        return bins, known

    def start(self) -> State:
        return super().start() | {"period": -1, "median": -1, "scores": np.zeros(self.bins, dtype=np.int64)}

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        number = int(periods(np.array([step.now_ms]), self.period)[0])
        if number != state["period"]:
            middle = median_bin(state["scores"])
            state["median"] = state["median"] if middle is None else middle
            state["period"], state["scores"] = number, np.zeros(self.bins, dtype=np.int64)
        whole = f"{self.groupings[0].name}{_GROUP}"
        state["scores"] = state["scores"] + sum(one for key, one in counts.items() if _of_table(key) + _GROUP == whole)
        return super().step(state, self._tables(counts, state["median"]), step)

    def _tables(self, counts: Counts, median: int) -> dict[str, Ints]:
        """What Gap counts: (groups and unknown, 2), decisions and those above the median; nothing before there is one."""
        found: dict[str, Ints] = {}
        for key, histogram in counts.items() if median >= 0 else ():
            name, group = _of_table(key), int(key.rpartition(_GROUP)[2])
            size = len(self._grouping(name).groups) + 1
            table = found.setdefault(name, np.zeros((size, 2), dtype=np.int64))
            table[group] = histogram.sum(), histogram[median + 1 :].sum()
        return found


def median_bin(scores: Ints) -> int | None:
    """The bin that holds the (lower) median; None where there are too few scores to say.

    >>> median_bin(np.array([0, 60, 60, 0]))
    1
    """
    total = int(scores.sum())
    if total < ENOUGH:
        return None
    return int(np.searchsorted(np.cumsum(scores), total / 2))


def scoring_rates(scores: Mapping[str, Floats]) -> dict[str, float]:
    """In a report: each group's share above the median of the whole sample, strictly, as the law's rules say.

    >>> scoring_rates({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])})
    {'a': 0.0, 'b': 1.0}
    """
    median = float(np.median(np.concatenate([np.asarray(one) for one in scores.values()])))
    return {group: float((np.asarray(one) > median).mean()) for group, one in scores.items()}


def _of_table(key: str) -> str:
    return key.rpartition(_GROUP)[0]
