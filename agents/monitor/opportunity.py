"""Do groups fare equally among those who turned out alike? Equal opportunity and false-positive rates, from late labels.

Both look at matured cases only, each decision once. A case is positive where what happened is what a right favourable
decision leads to (`outcomes: {repaid: {positive: true}}`), and a prediction is positive where its label is favourable.

    opportunity           among positive cases (who would have repaid): how often is the answer favourable?
                          Harm: a group's true positive rate is below the reference's.
    false_positive_rate   among the other cases (who did not repay): how often was the answer favourable?
                          Harm: `higher` (roles swapped, the default): the group is given more often what it cannot bear;
                          the model tells its members apart less well. `lower`: it gets less of the benefit of the doubt.

Outcomes of people who were declined are often never known: then both say nothing on them, which the coverage shows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from agents.configuration import Model
from agents.monitor.contract import Counts, Judgement, Setting, View
from agents.monitor.impact import CLOSING, DisparateImpact, Gap, ImpactOptions
from agents.monitor.matured import OUTCOME


class OddsOptions(ImpactOptions):
    """How unequal is too unequal, and in which direction."""

    adverse: Literal["higher", "lower"] = "higher"
    """Harm is a group's rate above the reference's (divided by `level`), or below it (times `level`)."""


class Opportunity(Gap):
    """Among those with a positive outcome: does any group get the favourable answer less often than the reference?"""

    kind = "opportunity"
    summary = "Favourable answers among positive outcomes compared: equal opportunity"
    formula = (
        f"true positive rates (Hardt, Price, Srebro, 2016) in the engine of disparate impact. {DisparateImpact.formula}"
    )
    stage = "outcomes"
    options_type = ImpactOptions
    metric = "true_positive_rate_ratio"
    outcome_words = "with a positive outcome got the favourable answer"
    among: ClassVar[float] = 1.0
    """Which outcome a case must have to be counted."""

    @classmethod
    def needs(cls, declaration: Model) -> str | None:
        """Needs outcomes of both signs, and a favourable label."""
        signs = {one.positive for one in declaration.outcomes.values()}
        if signs != {True, False}:
            return (
                "its `outcomes` are not of two kinds; declare what may really happen, "
                "and mark with `positive: true` what a right favourable decision leads to"
            )
        return super().needs(declaration)

    def observe(self, view: View) -> Counts:
        return super().observe(_among(view.counted, self.among))


class FalsePositiveRate(Opportunity):
    """Among those with another outcome: does any group get the favourable answer more often than the reference?"""

    kind = "false_positive_rate"
    summary = "Favourable answers among other outcomes compared: false-positive rates"
    options_type = OddsOptions
    metric = "false_positive_rate_ratio"
    outcome_words = "without a positive outcome got the favourable answer"
    among = 0.0

    def __init__(self, setting: Setting) -> None:
        self.adverse: Any = setting.options.adverse
        super().__init__(setting)

    def clears(self, judgement: Judgement) -> str:
        if self.adverse == "lower":
            return super().clears(judgement)
        level = 1 / self.watch.bounds[0]
        strength = f"strongly (1 in {CLOSING:,.0f})"
        return f"ends when the decisions since then speak {strength} for it that the ratio is below {level:g} again"


def _among(view: View, outcome: float) -> View:
    """Only the rows with this outcome."""
    kept = (view.frame[OUTCOME] == outcome).fill_null(False)
    rows = kept.to_numpy()
    times = view.times_ms[rows] if len(view.times_ms) else view.times_ms
    groups = {name: codes[rows] for name, codes in view.groups.items()}
    return replace(view, frame=view.frame.filter(kept), stretch=view.stretch[rows], groups=groups, times_ms=times)
