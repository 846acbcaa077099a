"""Data drift: have the inputs of a model left their reference, each by itself, and in how they go together?

Every feature is a χ²-ball detector (ball.py) over its bins, and so is every pair of the first 30 features over "alike or
not" (concordance.py), and where asked for how unusual inputs are taken together (drift_isolation.py). An alarm names the
feature or pair, starts its evidence anew and stays until the recent profile (half-life 2,000 decisions) lies in the ball
again, at least 2,000 decisions later: a rule of thumb, unlike the alarm.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from agents.configuration import Model
from agents.monitor.ball import SOURCE, Ball, resting
from agents.monitor.contract import Bools, Counts, Floats, Ints, Judgement, Monitor, Options, Setting, State, Step, View
from agents.monitor.drift_isolation import SECTION, IsolationBins
from agents.monitor.drift_profile import EXTRA, Reference, column_of, fit_section, listed
from agents.monitor.drift_saying import LEAST, WARNING, Saying
from agents.monitor.drift_words import MAJOR
from agents.monitor.seasons import Seasons, strata_of
from agents.monitor.state import packed

STAYING = 1_000.0
"""It stays until the evidence has fallen to this fraction of an alarm's."""
COOLING = 2_000
"""Decisions, at least, between an alarm and its end."""
JOINT = 0.5
"""The part of the monitor's evidence that is on how features go together; pairs and isolation share it equally."""


class DriftOptions(Options):
    """What is compared with the reference, and how much difference counts as none."""

    features: tuple[str, ...] = ()
    """Features of the model; none given: all."""
    joint: tuple[Literal["pairs", "isolation"], ...] = ("pairs",)
    """How features go together: every pair of the first 30; the profile's isolation score, which sees what pairs do not and
    costs as much as the monitor `anomaly`. Empty: only each by itself."""
    score: bool = False
    """Also the model's own score, as if it were a feature."""
    seasons: Seasons = "none"
    """Compare 6-hour buckets of the day, weekdays, or both, each with its own reference (UTC, the model's clock)."""
    psi_tol: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """A difference Σ(p-π)²/π up to this, about the PSI, is none; the reference's own noise comes on top."""
    psi_warn: Annotated[float, Field(gt=0)] | None = MAJOR
    """A recent PSI above this is a warning even without evidence for an alarm; `null`: never."""


class DataDrift(Monitor):
    """Features and pairs as two families of detectors that share the monitor's part of the budget."""

    kind = "data_drift"
    summary = "Inputs compared with the reference: which have moved, and which go together differently"
    formula = SOURCE
    guarantee = "proved"
    options_type = DriftOptions
    reads = (SECTION,)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        options: DriftOptions = setting.options
        chosen = options.features or tuple(setting.declaration.features)
        names = (*chosen, *(EXTRA if options.score else ()))
        section: State | None = setting.profile
        pairs = "pairs" in options.joint
        self.reference = None if section is None else Reference.of(section, names, options.seasons, pairs)
        forest = setting.others.get(SECTION) if "isolation" in options.joint else None
        self.isolation = None if forest is None else IsolationBins(forest)
        if self.reference is None or section is None:
            return
        self.names = self.reference.binning.names
        self._columns = [column_of(name) for name in self.names]
        self.pairs = self.reference.concordance.pairs
        members = bool(self.pairs) + (self.isolation is not None)
        joint = JOINT if members else 0.0
        rest = resting(setting.budget.limit, setting.share)
        singles = self.reference.binning.padded(self.reference.counts)
        layout = self.reference.binning.layout
        self.balls = {"features": Ball(layout, singles, psi_tol=options.psi_tol, rest=rest)}
        self.weights = {"features": setting.share * (1 - joint) / max(len(self.names), 1)}
        if self.pairs:
            layout, cells = self.reference.concordance.layout, self.reference.cells
            self.balls["pairs"] = Ball(layout, cells, psi_tol=options.psi_tol, rest=rest)
            self.weights["pairs"] = setting.share * joint / members / len(self.pairs)
        if self.isolation is not None:
            layout, counts = self.isolation.layout, self.isolation.reference[None]
            self.balls["isolation"] = Ball(layout, counts, psi_tol=options.psi_tol, rest=rest)
            self.weights["isolation"] = setting.share * joint / members
        self.saying = Saying(self.reference, self.balls, self.limit, options.psi_warn)
        read = [packed(section)] + ([] if forest is None else [packed(forest)])
        self._print = hashlib.sha256(json.dumps(read if forest else read[0], sort_keys=True).encode()).hexdigest()

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs features."""
        if not declaration.features:
            return "the model declares no `features`; name its inputs there"
        for name in options.features:
            if name not in declaration.features:
                return f"{name!r} is no feature of the model; there are {listed(tuple(declaration.features))}"
        if "isolation" in options.joint and options.seasons != "none":
            return "joint: isolation has one reference for all times; leave out `seasons`, or watch it in a monitor of its own"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        return fit_section(view, declaration)

    @property
    def ready(self) -> str | None:
        if self.reference is None:
            return "needs a profile of reference decisions: `govern profile fit`"
        if not self.names:
            return "the profile has none of the features; fit it again with `govern profile fit`"
        if self.setting.options.seasons != "none" and not (self.setting.profile or {})["timed"]:
            return (
                "the profile was fitted on decisions without times; fit it on decisions with times, or drop `seasons`"
            )
        if "isolation" in self.setting.options.joint and self.isolation is None:
            return "`joint: isolation` needs a profile with anomaly scores: `govern profile fit` on 5,000 decisions or more"
        return None

    @property
    def _known(self) -> Reference:
        assert self.reference is not None, "a monitor that is not ready is not asked"
        return self.reference

    def columns(self) -> frozenset[str]:
        names = self.names if self.reference is not None else ()
        return frozenset(map(column_of, names)) | (self.isolation.columns if self.isolation else frozenset())

    # -- counting -----------------------------------------------------------------------------------------------------

    def observe(self, view: View) -> Counts:
        """`bins <stratum>`: flat counts of all bins; `alike …` and `unknown …` of all pairs; `isolation`: by its bins."""
        view = view.counted
        binning, concordance = self._known.binning, self._known.concordance
        codes = binning.codes([view.frame.get_column(name) for name in self._columns])
        if self.setting.options.seasons == "none":
            parts: dict[int, Any] = {0: slice(None)} if view.height else {}
        else:
            strata = strata_of(view.times_ms, self.setting.options.seasons)
            parts = {int(one): np.flatnonzero(strata == one) for one in np.unique(strata)}
        found: dict[str, Ints] = {}
        for stratum, rows in parts.items():
            stretch, mine = view.stretch[rows], codes[:, rows]
            flat = (mine + stretch * binning.size).ravel()
            counts = np.bincount(flat, minlength=view.stretches * binning.size)
            found[f"bins {stratum}"] = counts.reshape(view.stretches, binning.size)
            if self.pairs:
                ends = np.searchsorted(stretch, np.arange(view.stretches), side="right")
                found[f"alike {stratum}"], unknown = concordance.counts(mine, ends)
                if unknown.any():
                    found[f"unknown {stratum}"] = unknown
        if self.isolation is not None and view.height:
            found["isolation"] = self.isolation.count(view)
        return found

    # -- state --------------------------------------------------------------------------------------------------------

    def start(self) -> State:
        state: State = {"reference": self._print, "seen": 0}
        for part, ball in self.balls.items():
            members = ball.features
            state[part] = {
                "ball": ball.start(),
                "alarm": np.zeros(members, dtype=np.bool_),
                "warn": np.zeros(members, dtype=np.bool_),
                "told": np.zeros(members, dtype=np.bool_),
                "raised": np.zeros(members),
                "after": np.zeros(members, dtype=np.int64),
            }
        return state

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        if state["reference"] != self._print:  # counts of another reference's bins mean nothing here
            state.clear()
            state.update(self.start())
        singles, cells, n = self._known.gathered(counts)
        pending = int(state["features"]["ball"]["n"][0]) + n
        closed = self.balls["features"].step(state["features"]["ball"], singles, n, step.weight, step.now_ms)
        if self.pairs:
            self.balls["pairs"].step(state["pairs"]["ball"], cells, n, step.weight, step.now_ms)
        if self.isolation is not None:
            unusual = counts.get("isolation", np.zeros(self.isolation.bins.size, dtype=np.int64))
            self.balls["isolation"].step(state["isolation"]["ball"], unusual[None], n, step.weight, step.now_ms)
        return bool(closed.any()) and self._judged(state, pending)

    def strengths(self, state: State) -> dict[str, Floats]:
        """Each member's part of the budget-scaled evidence; the monitor's is their sum."""
        return {
            part: self.weights[part] * np.exp(np.minimum(ball.log_m(state[part]["ball"])[0], 690.0))
            for part, ball in self.balls.items()
        }

    def _judged(self, state: State, n: int) -> bool:
        enough = state["seen"] >= LEAST
        state["seen"] += n
        changed = bool(enough != (state["seen"] >= LEAST))
        if self._quiet(state):
            return changed
        self._silence(state)
        strength = self.strengths(state)
        total = sum(float(one.sum()) for one in strength.values())
        while total >= self.limit:
            part = max(strength, key=lambda name: strength[name].max())
            self._raise(state, part, int(strength[part].argmax()), total)
            self._silence(state)
            strength, changed = self.strengths(state), True
            total = sum(float(one.sum()) for one in strength.values())
        changed |= self._ending(state, n)
        for part, one in strength.items():
            mine = state[part]
            before: Bools = mine["warn"]
            mine["warn"] = (one >= self.limit / WARNING) | (before & (one >= self.limit / STAYING))
            mine["told"] |= mine["warn"] | mine["alarm"]
            changed |= bool((mine["warn"] != before).any())
        return bool(changed)

    def _quiet(self, state: State) -> bool:
        """Whether there is, and can be, neither a warning nor an alarm: the usual case, told at a glance."""
        bound = 0.0
        for part, ball in self.balls.items():
            mine = state[part]
            if mine["alarm"].any() or mine["warn"].any():
                return False
            bound += self.weights[part] * ball.features * math.exp(min(float(mine["ball"]["log_m"].max()), 690.0))
        return bound < self.limit / WARNING

    def _raise(self, state: State, part: str, member: int, strength: float) -> None:
        mine = state[part]
        mine["alarm"][member], mine["raised"][member], mine["after"][member] = True, strength, 0

    def _silence(self, state: State) -> None:
        """What is in alarm gathers no evidence for another; nor do pairs of which a feature is in alarm, nor isolation while
        anything is: it is there for what nothing else sees."""
        alarm = state["features"]["alarm"]
        if alarm.any():
            self.balls["features"].reset(state["features"]["ball"], alarm)
        if self.pairs and (alarm.any() or state["pairs"]["alarm"].any()):
            affected = alarm[self._known.concordance.members].any(axis=1)
            self.balls["pairs"].reset(state["pairs"]["ball"], affected | state["pairs"]["alarm"])
        if self.isolation is not None and any(state[part]["alarm"].any() for part in self.balls):
            self.balls["isolation"].reset(state["isolation"]["ball"], 0)

    def _ending(self, state: State, n: int) -> bool:
        """The rule of thumb that ends alarms."""
        changed = False
        for part, ball in self.balls.items():
            mine = state[part]
            if mine["alarm"].any():
                inside = ball.distance(mine["ball"])[0] <= 1
                ended = mine["alarm"] & (mine["after"] >= COOLING) & inside
                mine["after"] = np.where(mine["alarm"], mine["after"] + n, 0)
                mine["alarm"] &= ~ended
                changed |= bool(ended.any())
        return changed

    # -- saying -------------------------------------------------------------------------------------------------------

    def judge(self, state: State) -> list[Judgement]:
        """One of everything, one of each feature, of isolation, and of each pair that was ever worth a word."""
        return self.saying.judge(state, self.strengths(state))

    def sentence(self, judgement: Judgement) -> str:
        return self.saying.sentence(judgement)

    def clears(self, judgement: Judgement) -> str:
        return (
            f"ends when the recent decisions (half-life {2_000:,}) lie within the tolerance of the reference again, at "
            f"least {COOLING:,} decisions after the alarm"
        )
