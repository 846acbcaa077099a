"""How many decisions have a label when theirs is mature? What monitors of late labels rest on, as a signal that rules can read.

The counts come from the join (joined.TALLIES), not from rows: a decision without an outcome is no matured case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.contract import Counts, Judgement, Monitor, Options, State, Step, View
from agents.monitor.joined import TALLIES

ENOUGH = 30
"""Mature decisions from which on the share is judged."""
HALF_LIFE = 2_000.0
"""Of the counts behind `recent`, in mature decisions."""


class CoverageOptions(Options):
    """How much is enough."""

    least: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A warning where a smaller share of recently matured decisions has an outcome; 0: never."""


class LabelCoverage(Monitor):
    """The share of mature decisions whose outcome is known: joined ÷ (joined + unlabelled - late).

    Never an alarm: that labels are missing is a matter of their source, and nothing is tested.
    """

    kind = "label_coverage"
    summary = "Share of mature decisions whose outcome is known"
    formula = "a share, with the counts behind it; docs/design.md, Late labels"
    guarantee = "rule of thumb"
    stage = "outcomes"
    alarms = False
    options_type = CoverageOptions

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs declared outcomes."""
        return None if declaration.outcomes else "the model declares no `outcomes`; name what may really happen later"

    def columns(self) -> frozenset[str]:
        return frozenset()

    def observe(self, view: View) -> Counts:
        return {}

    def start(self) -> State:
        return {**dict.fromkeys(TALLIES, 0), "recent_joined": 0.0, "recent": 0.0}

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        before = self._status(state)
        found = {name: int(counts[name].sum()) for name in TALLIES if name in counts}
        for name, count in found.items():
            state[name] += count
        joined, missed = found.get("joined", 0), found.get("unlabelled", 0) - found.get("late", 0)
        fading = 2.0 ** (-max(joined + missed, 0) / HALF_LIFE)
        state["recent_joined"] = state["recent_joined"] * fading + joined
        state["recent"] = max(state["recent"] * fading + joined + missed, state["recent_joined"])
        return self._status(state) is not before

    def judge(self, state: State) -> Sequence[Judgement]:
        mature = self._mature(state)
        share = state["joined"] / mature if mature else None
        detail = {name: float(state[name]) for name in TALLIES}
        if state["recent"] > 0:
            detail["recent"] = state["recent_joined"] / state["recent"]
        return [
            Judgement(
                status=self._status(state),
                metric="label_coverage",
                estimate=share,
                n=mature,
                coverage=share,
                detail=detail,
            )
        ]

    def sentence(self, judgement: Judgement) -> str:
        if judgement.estimate is None:
            return "no decision's label is mature yet"
        late, revised = (int(judgement.detail[name]) for name in ("late", "revised"))
        return (
            f"the outcome of {judgement.estimate:.1%} of {judgement.n:,} mature decisions is known; "
            f"{late:,} came after maturity, {revised:,} changed after it"
        )

    def clears(self, judgement: Judgement) -> str:
        return (
            f"ends when outcomes of at least {self.setting.options.least:.0%} of recently matured decisions are known"
        )

    def _mature(self, state: State) -> int:
        return int(state["joined"] + state["unlabelled"] - state["late"])

    def _status(self, state: State) -> SignalStatus:
        if self._mature(state) < ENOUGH:
            return SignalStatus.INSUFFICIENT
        short = state["recent_joined"] < self.setting.options.least * state["recent"]
        return SignalStatus.WARN if short else SignalStatus.OK
