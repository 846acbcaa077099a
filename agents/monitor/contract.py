"""What a monitor is: the View it counts from, the Counts it makes, and how a state of it takes them.

One monitor is one class in one file, with one entry in registry.py. Its two pure halves run in different lanes:

    observe   a batch of decisions → Counts       parallel; Counts merge by addition, in any order and grouping
    step      a state and Counts → the state      in the order of the observations, in one place for each model

Counts are whole numbers: a sum of shares is counted in fixed point (`fixed`), because only then does the order of merging
leave no trace. What a state holds is arrays and plain values (state.py), so any monitor can be stopped and resumed anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from agents.configuration import Model
from agents.events import SignalStatus
from agents.policy.calendars import OpenHours
from agents.strict import Strict

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Counts = Mapping[str, Ints]
"""What was counted, by key. From `observe` the first axis is the stretch; `step` gets one stretch, without that axis."""
State = dict[str, Any]
"""Arrays, numbers, texts, lists and dicts of these (state.py)."""
Guarantee = Literal["proved", "simulated", "rule of thumb"]
Stage = Literal["decisions", "outcomes"]
Scope = Literal["version", "model"]

FIXED_POINT = 2**20
"""One whole in the fixed-point counts of `fixed`."""


@dataclass(frozen=True)
class View:
    """Decisions of one model version (of all, for a kind of scope `model`), as monitors see them: neither malformed nor
    duplicate, in the lane's order."""

    frame: pl.DataFrame
    """The columns that the monitors asked for (agents/columns.py; `calendar.open` and, at the stage outcomes, `outcome`)."""
    stretch: Ints
    """Which stretch each row belongs to, ascending from 0: at most STRETCH rows each, in which nobody needs the order."""
    stretches: int
    groups: Mapping[str, Ints] = field(default_factory=dict)
    """Protected attribute → a row's place among the groups that the model declares; -1 where it is not known."""
    times_ms: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The model's clock, a row each (docs/design.md, Time)."""
    once: Bools | None = None
    """True for the first decision of its subject, by version, in the subject's period; None: every row is."""
    calendar: OpenHours | None = None
    """The model's; only in what `fit` gets."""

    @property
    def height(self) -> int:
        """How many rows."""
        return len(self.stretch)

    @cached_property
    def counted(self) -> View:
        """Only rows that are the first of their subject: what tests of independence may count."""
        if self.once is None or bool(self.once.all()):
            return self
        return replace(self.where(self.once), once=None)

    def where(self, keep: Bools) -> View:
        """Only the rows of a mask; the stretches stay as many."""
        if keep.all():
            return self
        groups = {name: codes[keep] for name, codes in self.groups.items()}
        once = None if self.once is None else self.once[keep]
        frame, times = self.frame.filter(pl.Series(keep)), self.times_ms[keep] if len(self.times_ms) else self.times_ms
        return replace(self, frame=frame, stretch=self.stretch[keep], groups=groups, times_ms=times, once=once)

    def tally(self, codes: npt.NDArray[Any], size: int, weights: Ints | None = None) -> Ints:
        """How often each code 0 … size-1 occurs in each stretch, or the sum of whole `weights` there: (stretches, size).

        >>> view = View(pl.DataFrame(height=3), np.array([0, 0, 1]), 2)
        >>> view.tally(np.array([1, 1, 0]), 2).tolist()
        [[0, 2], [1, 0]]
        """
        flat = self.stretch * size + codes
        shape = (self.stretches, size)
        if weights is None:
            return np.bincount(flat, minlength=self.stretches * size).reshape(shape).astype(np.int64, copy=False)
        found = np.zeros(self.stretches * size, dtype=np.int64)
        np.add.at(found, flat, weights)  # bincount would sum as floats
        return found.reshape(shape)

    def per_stretch(self, mask: Bools) -> Ints:
        """How many rows of the mask are true in each stretch: (stretches, 1)."""
        return np.bincount(self.stretch[mask], minlength=self.stretches)[:, None].astype(np.int64, copy=False)


def fixed(values: Floats) -> Ints:
    """Shares (or other numbers of modest size) as whole multiples of 1/FIXED_POINT, so that sums do not depend on order.

    >>> fixed(np.array([0.5, 0.25])).sum() / FIXED_POINT
    0.75
    """
    return np.asarray(np.rint(values * FIXED_POINT), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Step:
    """What `step` is told of an observation beside its counts."""

    n: int
    """Decisions of this model version (or of all) in it, repeated subjects included."""
    weight: float
    """What it adds to the budget's clock: decisions under `arl`, milliseconds of the model's clock under `false_alarms`."""
    now_ms: int
    """The model's clock after it, ms since 1970 UTC."""
    offset: int
    """Where it stands on the topic `observations`; -1 without Kafka."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A monitor's present opinion of one segment and group: what becomes a signal."""

    status: SignalStatus
    segment: str | None = None
    """`purpose=loan`; None: the whole traffic."""
    group: str | None = None
    """`age_band=under 30`, `age_band=under 30 & sex=female`, or what else the monitor tells apart (a feature, a caller)."""
    metric: str | None = None
    """What `estimate` is, in the field's standard term: impact_ratio, psi, flip_rate …"""
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    n: int | None = None
    """Decisions behind the estimate."""
    e_value: float | None = None
    """Strength: by chance alone, so much is reached at most once in so many decisions (or ms, the budget's unit) of this
    model, all its monitors together. An alarm is raised from the budget on."""
    guarantee: Guarantee = "rule of thumb"
    reference: str | None = None
    """What it is compared with: a group, a profile, a version."""
    onset_ms: int | None = None
    """Since when, by the model's clock: an estimate, and an optimistic one."""
    onset_n: int | None = None
    """Decisions since then."""
    coverage: float | None = None
    """Share of decisions that could be counted (attributes known, outcomes there)."""
    detail: Mapping[str, float] = field(default_factory=dict)
    """Further figures by name: shares and counts that stand behind the estimate."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How seldom the monitors of one model may cry wolf, all together."""

    limit: float
    """Decisions, or ms of the model's clock, between two false alarms."""
    unit: Literal["decisions", "ms"] = "decisions"


class Options(Strict):
    """What a configuration may say of a monitor of this kind; subclasses add their own fields."""


@dataclass(frozen=True)
class Setting:
    """Everything a monitor is made from."""

    name: str
    """Its id in the configuration: `signals.<name>.…` in rules."""
    model: str
    declaration: Model
    options: Any
    """An instance of the kind's `options_type`."""
    budget: Budget = Budget(1e6)
    share: float = 1.0
    """Its part of the budget; the parts of all monitors of a model sum to at most 1."""
    profile: State | None = None
    """What this kind's `fit` put into the model's profile; None: there is no profile, or it was fitted without."""
    calendar: OpenHours | None = None
    """The model's, where it has one."""
    others: Mapping[str, State] = field(default_factory=dict)
    """The profile's sections of the kinds that this kind `reads`, as far as they are there."""


class Monitor(ABC):
    """One kind of monitor, made for one model. Holds no state of the stream: `observe` and `step` get all they need."""

    kind: ClassVar[str]
    """Its name in configurations; also the name of its section in a profile."""
    summary: ClassVar[str]
    """One line for people."""
    formula: ClassVar[str]
    """Where its statistic comes from: authors and year, or the page of the docs."""
    guarantee: ClassVar[Guarantee]
    stage: ClassVar[Stage] = "decisions"
    """`outcomes`: it counts matured cases instead of decisions; the View then has the column `outcome`."""
    scope: ClassVar[Scope] = "version"
    """`model`: it counts and judges the decisions of all versions together; its signals have the version `*`."""
    options_type: ClassVar[type[Options]] = Options
    reads: ClassVar[tuple[str, ...]] = ()
    """Other kinds whose sections of the profile it may need as well."""
    alarms: ClassVar[bool] = True
    """False for a kind that reports only: it takes no part of the budget."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.name = setting.name

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """None where a model can be monitored so; else why not, with the mend. Options are checked against the model."""
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        """A section for the model's profile from reference decisions, and remarks in plain words on how good it is."""
        return None, ()

    @property
    def ready(self) -> str | None:
        """None where it can judge; else what it waits for (a profile …), in plain words."""
        return None

    @property
    def limit(self) -> float:
        """What `share` × a family's e-detector must reach for an alarm."""
        return self.setting.budget.limit

    @abstractmethod
    def columns(self) -> frozenset[str]:
        """Decision columns (agents/columns.py), and `groups.<attribute>` for protected attributes, that it reads."""

    @abstractmethod
    def observe(self, view: View) -> Counts:
        """Count; every array has the stretch as its first axis. Keys depend on the data only where values are open sets."""

    @abstractmethod
    def start(self) -> State:
        """The state before the first observation."""

    @abstractmethod
    def step(self, state: State, counts: Counts, step: Step) -> bool:
        """Take one stretch's counts into the state, in place; True where a status changed."""

    @abstractmethod
    def judge(self, state: State) -> Sequence[Judgement]:
        """What there is to say now, bounds left out where they cost much. Asked for every few seconds, not at every step."""

    def bounded(self, judgement: Judgement) -> Judgement:
        """The same with its bounds; asked for only where a judgement is published."""
        return judgement

    def sentence(self, judgement: Judgement) -> str:
        """The judgement in plain words, for flags and pages; no jargon."""
        where = f" for {judgement.group}" if judgement.group else ""
        where += f" in {judgement.segment}" if judgement.segment else ""
        told = "" if judgement.estimate is None else f": {judgement.metric or 'estimate'} {judgement.estimate:.3g}"
        return f"{self.summary.rstrip('.')}{where}{told}"

    def clears(self, judgement: Judgement) -> str:
        """What would end an alarm, in plain words."""
        return "ends when as strong evidence speaks for the opposite"


STRETCH = 250
"""Rows of a stretch, at most: the finest grain at which a detector looks."""


def merge(one: Counts, other: Counts) -> dict[str, Ints]:
    """The sum of two Counts; associative and commutative.

    >>> merge({"a": np.array([1])}, {"a": np.array([2]), "b": np.array([3])})
    {'a': array([3]), 'b': array([3])}
    """
    found = dict(one)
    for key, values in other.items():
        found[key] = found[key] + values if key in found else values
    return found


def of_stretch(counts: Counts, place: int) -> dict[str, Ints]:
    """The counts of one stretch, without keys that counted nothing there."""
    return {key: values[place] for key, values in counts.items() if values[place].any()}
