"""Does a caller call more often than it usually does at this hour?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.bernoulli import Bernoulli, Share
from agents.monitor.contract import Bools, Counts, Ints, Judgement, Monitor, Options, Setting, State, Step, View
from agents.monitor.poisson import MINUTE_MS, SOURCE, Rate, Rates, hour_of, ratio_sequence
from agents.monitor.rates import Minutes, count_minutes, fitted, most
from agents.monitor.shares import coded, usual_share

EVERYBODY, OTHERS = "", "*"
_KEPT = 64
"""Callers with a reference of their own in a profile, those with most calls."""
_UNWATCHED = 1e9


class CallRateOptions(Options):
    """What is still usual."""

    tolerance: Annotated[float, Field(ge=1)] = 1.1
    """A rate up to this multiple of the hour's usual one is no misuse."""
    callers: Annotated[int, Field(ge=1, le=64)] = 16
    """Most callers of the profile told apart, those with most calls."""
    per_minute: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Caller → calls a minute that are allowed, instead of the profile's; `*`: all that are not named, together."""


class CallRate(Monitor):
    """Calls a minute of each caller, against the profile's rate for the hour (UTC).

    Two detectors share the budget: Poisson, with counts divided by the profile's variance ÷ mean, which is quick; and
    Bernoulli on minutes above the hour's 95 % mark, exact where minutes are independent.
    """

    kind = "call_rate"
    summary = "Callers that call more often than usual."
    formula = f"{SOURCE}; quasi-Poisson: counts ÷ (variance ÷ mean)"
    guarantee = "rule of thumb"
    options_type = CallRateOptions

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        options: CallRateOptions = setting.options
        profile, given = setting.profile, options.per_minute
        known = profile["names"][1 : 1 + options.callers] if profile else []
        self.names: list[str] = [EVERYBODY, *known, *(name for name in given if name not in known)]
        limits, phi = self._limits(len(known), options)
        unit, limit = setting.budget.unit, self.limit
        self.minutes = Minutes(len(self.names))
        half = setting.share / 2 if profile else setting.share
        self.poisson = Rates(limits, phi, limit, names=self.names, unit=unit, share=half)
        self.high: Ints | None = None
        if profile:
            rows = len(known) + 1
            self.high = profile["high"][:rows]
            often = usual_share(np.full(rows, profile["minutes"].sum()), profile["above"][:rows])
            self.bernoulli = Bernoulli(np.maximum(often, 0.01), limit, names=self.names[:rows], share=half, least=60)

    def _limits(self, known: int, options: CallRateOptions) -> tuple[np.ndarray, np.ndarray]:
        """Calls a minute that are allowed, (names, hours), and the variance ÷ mean."""
        profile = self.setting.profile
        if profile:
            limits, phi = most(profile, options.tolerance)[: known + 1], profile["phi"][: known + 1]
        else:
            limits, phi = np.full((1, 24), _UNWATCHED), np.ones(1)
        more = len(self.names) - len(limits)
        limits = np.concatenate([limits, np.full((more, limits.shape[1]), _UNWATCHED)])
        phi = np.concatenate([phi, np.ones(more)])
        for name, allowed in options.per_minute.items():
            limits[self.names.index(name)] = allowed
        return limits, phi

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        if not view.height or "caller" not in view.frame.columns:
            return None, ()
        minutes = view.times_ms // MINUTE_MS
        if minutes.max() - minutes.min() < 24 * 60:
            return None, ["the reference decisions span less than a day; call rates by hour need at least one"]
        codes, names = coded(view.frame["caller"])
        volume = np.bincount(codes, minlength=len(names))
        order = [int(one) for one in np.argsort(-volume, kind="stable") if names[int(one)] is not None][:_KEPT]
        place = np.full(len(names), -1)
        place[order] = np.arange(1, len(order) + 1)
        own = place[codes] > 0
        rows = np.concatenate([minutes, minutes[own]])
        section = fitted(rows, np.concatenate([np.zeros_like(minutes), place[codes][own]]), len(order) + 1)
        section["names"] = [EVERYBODY, *(names[one] for one in order)]
        loud = [str(names[one]) for at, one in enumerate(order, start=1) if section["phi"][at] > 5]
        return section, [f"calls of {name} come in bursts; its rate is watched less sharply" for name in loud[:5]]

    @property
    def ready(self) -> str | None:
        if self.setting.profile or self.setting.options.per_minute:
            return None
        return "waits for a profile (`govern profile fit`), or for `per_minute` limits by caller"

    def columns(self) -> frozenset[str]:
        return frozenset({"caller"})

    def observe(self, view: View) -> Counts:
        codes, found = coded(view.frame["caller"])
        others = self.names.index(OTHERS) if OTHERS in self.names else -1
        places = {name: place for place, name in enumerate(self.names) if place}
        own = np.array([places.get(name, others) if name is not None else others for name in found], dtype=np.int64)
        return count_minutes(view, [np.zeros(view.height, dtype=np.int64), own[codes]], len(self.names))

    def start(self) -> State:
        state = {"minutes": self.minutes.start(), "poisson": self.poisson.start(), "before": 0.0}
        return state if self.high is None else state | {"bernoulli": self.bernoulli.start()}

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        changed = False
        for first, calls, skipped in self.minutes.take(state["minutes"], counts, step):
            if skipped:
                self.poisson.silent(state["poisson"])
            changed |= self.poisson.close(state["poisson"], first, calls)
            if self.high is not None:
                changed |= self._exceeded(state, first, calls)
        return changed

    def _exceeded(self, state: State, first: int, calls: Ints) -> bool:
        """Bernoulli on minutes above their hour's mark; the weight is known before: time, or the decisions until then."""
        assert self.high is not None
        marks = self.high[:, hour_of(first + np.arange(len(calls)), self.high.shape[1])].T
        over: Bools = calls[:, : len(self.high)] > marks
        minutes, total = len(calls), float(calls[:, 0].sum())
        weight = float(minutes * MINUTE_MS) if self.setting.budget.unit == "ms" else state["before"]
        state["before"] = total
        told = Step(minutes, weight, (first + minutes) * MINUTE_MS, -1)
        n = np.full(len(self.high), minutes, dtype=np.int64)
        return self.bernoulli.step(state["bernoulli"], n, over.sum(axis=0), told)

    def judge(self, state: State) -> Sequence[Judgement]:
        shares = self.bernoulli.judge(state["bernoulli"], bounds=False) if self.high is not None else []
        found = []
        for row, rate in enumerate(self.poisson.judge(state["poisson"])):
            if self.poisson.limits[row, 0] < _UNWATCHED:
                group = {EVERYBODY: None, OTHERS: "other callers"}.get(rate.name, f"caller={rate.name}")
                found.append(rate_judgement(rate, group, {}, shares[row] if row < len(shares) else None))
        return found

    def bounded(self, judgement: Judgement) -> Judgement:
        return rate_bounds(judgement)

    def sentence(self, judgement: Judgement) -> str:
        caller = (judgement.group or "").removeprefix("caller=")
        whose = caller[:1].upper() + caller[1:] if caller == "other callers" else caller or "All callers together"
        if judgement.estimate is None:
            return f"No whole minute of {whose} has been seen yet"
        times = f"{judgement.estimate:.3g} times what is still usual at the hour"
        return f"{whose} called {times} ({judgement.n} calls in {judgement.detail['minutes']:.0f} minutes)"

    def clears(self, judgement: Judgement) -> str:
        return "ends when there is strong evidence that the calls a minute are within what is usual again"


def rate_bounds(judgement: Judgement) -> Judgement:
    """A judgement on a rate with the bounds of its ratio."""
    allowed, phi = judgement.detail["allowed"], judgement.detail["variance_over_mean"]
    if allowed <= 0:
        return judgement
    lower, upper = ratio_sequence(np.array([judgement.n or 0]) / phi, np.array([allowed]) / phi)
    return replace(judgement, lower=float(lower[0]), upper=float(upper[0]))


def rate_judgement(rate: Rate, group: str | None, more: Mapping[str, float], share: Share | None = None) -> Judgement:
    """One opinion out of a rate and a share of high minutes: an alarm of either, its strength that of the stronger."""
    alarmed = [one for one in (rate, share) if one is not None and one.status == SignalStatus.ALARM]
    above = {"minutes_above_mark": share.estimate or 0.0, "usual_above_mark": share.p0} if share else {}
    return Judgement(
        status=alarmed[0].status if alarmed else rate.status,
        group=group,
        metric="rate_ratio",
        estimate=rate.estimate,
        n=rate.calls,
        e_value=max(rate.e_value, share.e_value if share else 0.0),
        guarantee="rule of thumb",
        reference="what is usual at the hour",
        onset_ms=alarmed[0].onset_ms if alarmed else None,
        onset_n=rate.calls if rate.status == SignalStatus.ALARM else None,
        detail={
            "minutes": float(rate.minutes),
            "allowed": rate.allowed,
            "variance_over_mean": rate.phi,
            **above,
            **more,
        },
    )
