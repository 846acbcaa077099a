"""Does the model decide as often as it usually does: too many decisions, too few, or none? All its versions together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from agents.configuration import Model
from agents.monitor.call_rate import rate_bounds, rate_judgement
from agents.monitor.contract import Bools, Counts, Ints, Judgement, Monitor, Options, Setting, State, Step, View
from agents.monitor.poisson import MINUTE_MS, SLOWER, SOURCE, Rates, hour_of
from agents.monitor.rates import BLOCK, DAY, Minutes, count_minutes, fitted, least, most
from agents.policy.calendars import OpenHours

MORE, FEWER = "more decisions", "fewer decisions"


class VolumeOptions(Options):
    """What is still usual."""

    tolerance: Annotated[float, Field(ge=1)] = 1.25
    """Decisions a minute up to this multiple of the hour's usual ones, and down to its inverse, are usual."""


class Volume(Monitor):
    """Decisions a minute against the profile's rate for the hour (UTC), more and fewer with half of the share each.

    Poisson e-detectors, counts divided by the profile's variance ÷ mean, which makes it a rule of thumb. A silence is
    nothing but minutes with none, and is noticed while it lasts. All versions count together: one that replaces another is
    no silence. On days on which the model's calendar does not open, too few are not judged, and no reference is taken.
    """

    kind = "volume"
    summary = "Decisions that are too many or too few, and silence, of all versions together."
    formula = f"{SOURCE}; quasi-Poisson: counts ÷ (variance ÷ mean)"
    guarantee = "rule of thumb"
    scope = "model"
    options_type = VolumeOptions

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.minutes = Minutes(1)
        self.usual = setting.profile
        if self.usual is not None:
            phi, unit, half = self.usual["phi"], setting.budget.unit, setting.share / 2
            high, low = (limits(self.usual, setting.options.tolerance) for limits in (most, least))
            self.more = Rates(high, phi, self.limit, names=[MORE], unit=unit, share=half)
            self.fewer = Rates(low, phi, self.limit, names=[FEWER], unit=unit, share=half, thetas=SLOWER)

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        if not view.height:
            return None, ()
        minutes, shut = view.times_ms // MINUTE_MS, partial(_shut, view.calendar)
        if minutes.max() - minutes.min() < DAY:
            return None, ["the reference decisions span less than a day; volume by hour needs at least one"]
        if shut(minutes).all():
            return None, ["no reference decision lies on a day on which the calendar opens; volume needs some"]
        return fitted(minutes, np.zeros_like(minutes), 1, shut), ()

    @property
    def ready(self) -> str | None:
        return "waits for a profile (`govern profile fit`)" if self.usual is None else None

    def columns(self) -> frozenset[str]:
        return frozenset()

    def observe(self, view: View) -> Counts:
        return count_minutes(view, [np.zeros(view.height, dtype=np.int64)], 1)

    def start(self) -> State:
        state = {"minutes": self.minutes.start(), "more": self.more.start(), "fewer": self.fewer.start()}
        return state | {"last": -1, "now_ms": -1}  # the last minute with a decision

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        state["now_ms"] = step.now_ms
        if state["minutes"]["next"] < 0 and not counts:
            self.minutes.begin(state["minutes"], step.now_ms)  # it was declared in the middle of a silence
            state["last"] = state["minutes"]["first"]
        for block, values in counts.items():
            state["last"] = max(state["last"], int(block) * BLOCK + int(np.flatnonzero(values)[-1]))
        changed = False
        for first, calls, skipped in self.minutes.take(state["minutes"], counts, step):
            minutes = first + np.arange(len(calls))
            known, shut = self._known(minutes), _shut(self.setting.calendar, minutes)
            for part, family, judged in (("more", self.more, known), ("fewer", self.fewer, known & ~shut)):
                if skipped:
                    family.silent(state[part])
                for begin, end in _runs(judged):
                    changed |= family.close(state[part], first + begin, calls[begin:end])
        return changed

    def _known(self, minutes: Ints) -> Bools:
        """Where the reference has minutes of the hour."""
        assert self.usual is not None, "it steps with a profile only"
        length = self.usual["minutes"]
        return np.asarray(length[hour_of(minutes, len(length))] > 0)

    def judge(self, state: State) -> Sequence[Judgement]:
        silent = max(state["now_ms"] / MINUTE_MS - state["last"] - 1, 0.0) if state["last"] >= 0 else 0.0
        found = []
        for part, family in (("more", self.more), ("fewer", self.fewer)):
            rate = family.judge(state[part])[0]
            found.append(rate_judgement(rate, rate.name, {"minutes_since_last": silent}))
        return found

    def bounded(self, judgement: Judgement) -> Judgement:
        return rate_bounds(judgement)

    def sentence(self, judgement: Judgement) -> str:
        if judgement.estimate is None:
            return f"No whole minute has been judged yet for {judgement.group}"
        usual = "the most" if judgement.group == MORE else "the fewest"
        told = f"Decisions came at {judgement.estimate:.3g} times {usual} that are usual at the hour"
        silent = judgement.detail["minutes_since_last"]
        return told + (f"; none for {silent:.0f} minutes" if judgement.group == FEWER and silent >= 1 else "")

    def clears(self, judgement: Judgement) -> str:
        return "ends when there is strong evidence that the decisions a minute are usual again"


def _shut(calendar: OpenHours | None, minutes: Ints) -> Bools:
    """Where minutes lie on days on which business does not open."""
    return np.zeros(len(minutes), dtype=np.bool_) if calendar is None else calendar.shut(minutes * MINUTE_MS)


def _runs(mask: Bools) -> Iterator[tuple[int, int]]:
    """Where runs of true values begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
