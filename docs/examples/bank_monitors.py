"""A monitor of a bank's own: are suspiciously many loans asked for in round sums?

In a distribution of its own, installed wherever the product runs, whose pyproject.toml says

    [project.entry-points."governance.monitors"]
    round_sums = "bank_monitors:RoundSums"

and then, in the configuration:

    monitors:
      round_sums: {feature: amount, allowed: 0.05}
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.monitor.contract import Bools, View
from agents.monitor.shares import FlaggedShares, ShareOptions


class RoundSumsOptions(ShareOptions):
    """What is looked at, and how much of it is usual."""

    feature: str
    """A numeric feature."""
    allowed: float = 0.05
    """Largest share of decisions on multiples of 10,000."""


class RoundSums(FlaggedShares):
    """The share of decisions on round sums, overall and by caller."""

    kind = "round_sums"
    summary = "Decisions on round sums."
    options_type = RoundSumsOptions
    metric = "round_share"

    def columns(self) -> frozenset[str]:
        return frozenset({"caller", f"features.{self.setting.options.feature}"})

    def allowed(self) -> Mapping[str, tuple[float, bool]]:
        return {"round": (self.setting.options.allowed, False)}

    def marked(self, view: View) -> Mapping[str, Bools]:
        sums = view.frame[f"features.{self.setting.options.feature}"]
        return {"round": ((sums % 10_000 == 0) & (sums > 0)).fill_null(False).to_numpy()}

    def words(self, flag: str) -> str:
        return "were on round sums"
