"""Is a model used outside its opening hours more than it may be, by anybody or by one caller?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from agents.configuration import Model
from agents.monitor.contract import Bools, State, View
from agents.monitor.shares import FlaggedShares, ShareOptions, fitted

FLAG = "after hours"
DEFAULT = 0.01


class AfterHoursOptions(ShareOptions):
    """What is still in order."""

    allowed: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Largest share of calls outside the calendar's hours; not given: the profile's usual one, at least 1 %."""


class AfterHours(FlaggedShares):
    """The share of decisions outside the calendar of the model.

    Calls at night come in runs, and the null is that each call falls outside hours with P ≤ p0 whatever came before: a
    night's legitimate work breaks it, so this is a rule of thumb. Name such callers in `exempt`; a profile that has seen
    them divides the evidence by how clustered their calls were.
    """

    kind = "after_hours"
    summary = "Calls outside the opening hours."
    guarantee = "rule of thumb"
    options_type = AfterHoursOptions
    metric = "after_hours_share"

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs a calendar."""
        if declaration.calendar is None:
            return "the model has no calendar; declare one under `calendars` and name it in the model's `calendar`"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        if declaration.calendar is None or not view.height or "calendar.open" not in view.frame.columns:
            return None, ()
        section = fitted(view, {FLAG: _closed(view)})
        share = float(section["k"][FLAG][0]) / max(int(section["n"][0]), 1)
        if share <= DEFAULT:
            return section, ()
        return section, [
            f"{share:.1%} of the reference decisions lie outside the opening hours; that much counts as usual"
        ]

    def columns(self) -> frozenset[str]:
        return frozenset({"caller", "calendar.open"})

    def allowed(self) -> Mapping[str, tuple[float, bool]]:
        given = self.setting.options.allowed
        return {FLAG: (DEFAULT if given is None else given, given is None)}

    def marked(self, view: View) -> Mapping[str, Bools]:
        return {FLAG: _closed(view)}

    def words(self, flag: str) -> str:
        return "came outside the opening hours"


def _closed(view: View) -> Bools:
    found: Bools = (~view.frame["calendar.open"]).fill_null(False).to_numpy()
    return found
