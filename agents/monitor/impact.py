"""Do groups get the favourable answer equally often? Impact ratio, parity difference and scoring rates, group by group.

Each kind is one class over the same engine (ratio.py): who is compared stands in groups.py, how it is told in
impact_words.py, what is compared differs. A group under 30 decisions is never judged on a point estimate; those whose
attribute is not known are in no group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from agents.configuration import Model
from agents.monitor import impact_words as words
from agents.monitor.contract import Counts, Floats, Ints, Judgement, Monitor, Setting, State, Step, View
from agents.monitor.groups import GapOptions, Grouping, mistake, segment_column, segments_of
from agents.monitor.ratio import ESTABLISHED, Rates, shares_of_appearance

SEGMENTS = 20
"""Segments with tables of their own; later ones are pooled with the whole only."""
CLOSING = 10_000.0
"""Evidence that ends an alarm: by chance at most once in so many decisions of a model that is still unfair."""
WARNING = 10.0
"""A warning is raised at this fraction of the evidence that an alarm needs."""
PLANS = 64
STAYING = 100.0
"""A warning stays until its evidence has fallen to this fraction of what raised it, so that it does not flicker."""


class ImpactOptions(GapOptions):
    """How unequal is too unequal."""

    level: Annotated[float, Field(gt=0, le=1)] = 0.8
    """An alarm: a group's rate is below this multiple of the reference's."""
    warn: Annotated[float, Field(gt=0, le=1)] = 0.9
    """A warning below this multiple."""


class ParityOptions(GapOptions):
    """How far apart is too far."""

    level: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """An alarm: a group's rate lies more than this below the reference's."""
    warn: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """A warning beyond this."""


class Gap(Monitor):
    """What the kinds below share: tables of (n, k), watched at two bounds, and closed by evidence for the opposite."""

    guarantee = "proved"
    adverse: Any = "lower"
    null: ClassVar[Any] = "ratio"
    metric: ClassVar[str] = "impact_ratio"
    outcome_words: str = "get the favourable answer"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        options: GapOptions = setting.options
        declared = setting.declaration
        singles = [(name,) for name in options.attributes or tuple(declared.groups)]
        self.groupings = [Grouping.of(declared, names) for names in (*singles, *options.intersections)]
        self.segments = {name: str(segment_column(declared, name)) for name in options.segment_by}
        self.width = max(len(grouping.groups) for grouping in self.groupings)
        self.favourable = frozenset(name for name, label in declared.labels.items() if label.favourable)
        level, warn = (getattr(options, name, 0.8) for name in ("level", "warn"))
        self.watch = Rates((level, warn), self.null, self.adverse, audit=True)
        self.quiet = float(np.log(setting.budget.limit / WARNING / max(setting.share, 1e-9)))
        self._plans: dict[tuple[str, ...], tuple[Ints, Floats]] = {}
        opposite: Any = "higher" if self.adverse == "lower" else "lower"
        self.closing = Rates((1 / level if self.null == "ratio" else -level,), self.null, opposite)

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs protected attributes with two groups, and a favourable label."""
        if not declaration.groups:
            return "the model declares no `groups`; name its protected attributes and their groups there"
        return mistake(declaration, options) or cls.needs(declaration)

    @classmethod
    def needs(cls, declaration: Model) -> str | None:
        """What the kind needs of a model beside its groups."""
        if not any(label.favourable for label in declaration.labels.values()):
            return "no label of the model is `favourable: true`; say which answer people hope for"
        return None

    def columns(self) -> frozenset[str]:
        attributes = {f"groups.{name}" for grouping in self.groupings for name in grouping.attributes}
        return frozenset(attributes | set(self.segments.values()) | {"output.label"})

    def favoured(self, view: View) -> Ints:
        """1 for each row with the favourable answer."""
        return view.frame["output.label"].is_in(list(self.favourable)).fill_null(False).to_numpy().astype(np.int64)

    def observe(self, view: View) -> Counts:
        view = view.counted
        favoured = self.favoured(view)
        found: dict[str, Ints] = {}
        codes = [grouping.codes(view) for grouping in self.groupings]
        for grouping, code in zip(self.groupings, codes, strict=True):
            found[grouping.name] = _counted(view, code, len(grouping.groups) + 1, favoured)
        for dimension, column in self.segments.items():
            for segment, rows in segments_of(view, dimension, column):
                inside = View(view.frame, view.stretch[rows], view.stretches)
                for grouping, code in zip(self.groupings, codes, strict=True):
                    counts = _counted(inside, code[rows], len(grouping.groups) + 1, favoured[rows])
                    found[f"{grouping.name}|{segment}"] = counts
        return found

    # -- state: rows are tables, first those of the whole traffic, then segments by appearance -------------------------

    def start(self) -> State:
        names = [grouping.name for grouping in self.groupings]
        tables = len(names)
        return {
            "tables": names,
            "watch": self.watch.start(tables, self.width),
            "pairs": np.zeros((0, 3), dtype=np.int64),
            "closing": self.closing.start(0, 2),
            "alarm": np.zeros((tables, self.width), dtype=np.bool_),
            "warn": np.zeros((tables, self.width), dtype=np.bool_),
            "raised": np.zeros((tables, self.width)),
            "unknown": np.zeros(tables, dtype=np.int64),
        }

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        for key in counts:
            if key not in state["tables"]:
                self._appear(state, key)
        tables: list[str] = state["tables"]
        n = np.zeros((len(tables), self.width), dtype=np.int64)
        k = np.zeros_like(n)
        for row, key in enumerate(tables):
            if key in counts:
                table = counts[key]
                n[row, : len(table) - 1], k[row, : len(table) - 1] = table[:-1, 0], table[:-1, 1]
                state["unknown"][row] += table[-1, 0]
        fixed, _ = self._plan(tables)
        closed = self.watch.step(state["watch"], n, k, step.weight, step.n, step.now_ms, fixed)
        changed = self._judged(state) if closed.any() else False
        if len(state["pairs"]):
            changed |= self._ending(state, n, k, step)
        return changed

    def _appear(self, state: State, key: str) -> None:
        if len(state["tables"]) - len(self.groupings) >= SEGMENTS * len(self.groupings):
            return
        state["tables"].append(key)
        rows = len(state["tables"])
        self.watch.extend(state["watch"], rows)
        for name in ("alarm", "warn", "raised"):
            state[name] = np.concatenate([state[name], np.zeros((1, self.width), dtype=state[name].dtype)])
        state["unknown"] = np.concatenate([state["unknown"], np.zeros(1, dtype=np.int64)])

    def _fixed(self, key: str) -> int:
        grouping = self._grouping(key)
        if len(grouping.attributes) == 1:
            found = self.setting.options.reference.get(grouping.attributes[0])
            return -1 if found is None else int(grouping.place(found) or 0)
        names = [f"{one}={self.setting.options.reference.get(one)}" for one in grouping.attributes]
        place = grouping.place(" & ".join(names))
        return -1 if place is None else place

    def _grouping(self, key: str) -> Grouping:
        name = key.partition("|")[0]
        return next(one for one in self.groupings if one.name == name)

    def _plan(self, tables: Sequence[str]) -> tuple[Ints, Floats]:
        """References and shares of the tables, worked out once."""
        key = tuple(tables)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) > PLANS:
                self._plans.clear()
            fixed = np.array([self._fixed(one) for one in tables], dtype=np.int64)
            found = self._plans[key] = fixed, self.shares(tables)
        return found

    def shares(self, tables: Sequence[str]) -> Floats:
        """Each group's part of the whole budget, by table."""
        return self.setting.share * self.parts(tables)

    def parts(self, tables: Sequence[str]) -> Floats:
        """Each group's part of the monitor's, by table: half for segments (by appearance), the rest for the whole."""
        base = len(self.groupings)
        whole = (0.5 if self.segments else 1.0) / base
        shares = [whole] * base + [0.5 / base * one for one in _repeated(base, len(tables) - base)]
        groups = [
            len(self._grouping(key).groups) - (self._fixed(key) >= 0) for key in tables
        ]  # a reference that may change can have every group compared
        return np.array([one / count for one, count in zip(shares, groups, strict=True)])

    def ever(self, state: State) -> Floats:
        """Audit form, (tables, groups): the chance, at most, that a version which always kept to the level looks so bad ever.

        An anytime-valid p-value: at any time min(1, 1 / (part × the largest K so far)), over all groups and tables together.
        """
        log_k = self.watch.ever(state["watch"]) + np.log(self.parts(state["tables"]))[:, None]
        return np.asarray(np.exp(-np.maximum(log_k, 0.0)))

    def strengths(self, state: State) -> Floats:
        """Each group's part of the budget-scaled evidence: (tables, groups, bounds); a table's strength is their sum."""
        _, shares = self._plan(state["tables"])
        return np.asarray(shares[:, None, None] * np.exp(np.minimum(self.watch.log_m(state["watch"]), 700.0)))

    def _judged(self, state: State) -> bool:
        if not state["warn"].any() and state["watch"]["log_m"].max() < self.quiet:
            return False  # nothing is near enough to either line: most steps end here
        strength = self.strengths(state)
        strength[state["alarm"]] = 0.0  # what an alarm names already says nothing on the others
        before, changed = state["warn"], False
        family = strength[:, :, 0].sum(axis=1)
        for row in np.flatnonzero(family >= self.limit):
            self._raise(state, int(row), int(strength[row, :, 0].argmax()), float(family[row]))
            changed = True
        strong = np.maximum(strength[:, :, 1], strength[:, :, 0] * WARNING)
        state["warn"] = (strong >= self.limit) | (before & (strong >= self.limit / STAYING))
        return changed or bool((state["warn"] != before).any())

    def _raise(self, state: State, row: int, group: int, strength: float) -> None:
        """An alarm names its group, starts that group's evidence anew, and waits for evidence to the contrary."""
        state["alarm"][row, group], state["raised"][row, group] = True, strength
        state["watch"]["log_m"][row, group] = -np.inf
        ref = self._reference(state, row, group)
        state["pairs"] = np.concatenate([state["pairs"], [[row, group, ref]]])
        self.closing.extend(state["closing"], len(state["pairs"]))

    def _ending(self, state: State, n: Ints, k: Ints, step: Step) -> bool:
        """Evidence that an alarm's group fares well enough again, roles swapped, ends the alarm."""
        rows, groups, refs = state["pairs"].T
        both_n, both_k = (np.stack([one[rows, groups], one[rows, refs]], axis=1) for one in (n, k))
        fixed = np.ones(len(rows), dtype=np.int64)
        self.closing.step(state["closing"], both_n, both_k, float(step.n), step.n, step.now_ms, fixed)
        over = self.closing.log_m(state["closing"])[:, 0, 0] >= np.log(CLOSING)
        for row, group in zip(rows[over], groups[over], strict=True):
            state["alarm"][row, group], state["raised"][row, group] = False, 0.0
            self.watch.reset(state["watch"], int(row), int(group))
        state["pairs"] = state["pairs"][~over]
        state["closing"] = {name: values[~over] for name, values in state["closing"].items()}
        return bool(over.any())

    def _reference(self, state: State, row: int, group: int) -> int:
        """Whom a group is compared with now: the declared reference, or the one that fares best of the others."""
        fixed = self._fixed(state["tables"][row])
        if fixed >= 0:
            return fixed
        dn, dk = state["watch"]["dn"][row], state["watch"]["dk"][row]
        rate = (dk + 0.5) / (dn + 1.0) * (1.0 if self.adverse == "lower" else -1.0)
        rate = np.where(dn >= ESTABLISHED, rate, -2.0)
        rate[group] = -3.0
        rate[len(self._grouping(state["tables"][row]).groups) :] = -3.0
        return int(rate.argmax())

    # -- saying -------------------------------------------------------------------------------------------------------

    def judge(self, state: State) -> list[Judgement]:
        strength, ever = self.strengths(state), self.ever(state)
        found = []
        for row, key in enumerate(state["tables"]):
            names, fixed = self._grouping(key).groups, self._fixed(key)
            for group in range(len(names)):
                if group != fixed:
                    at = row, group, self._reference(state, row, group)
                    one = words.judgement(state, at, strength[row, group, 0], names, self.metric, self.null)
                    p = float(ever[row, group])
                    shown = {"ever_unfair": 1.0} if p <= self.setting.options.audit else {}
                    found.append(replace(one, detail={**one.detail, "ever_p": p, **shown}))
        return found

    def bounded(self, judgement: Judgement) -> Judgement:
        return words.bounded(judgement, self.null)

    def sentence(self, judgement: Judgement) -> str:
        return words.sentence(judgement, self.outcome_words, self.null)

    def clears(self, judgement: Judgement) -> str:
        level = self.watch.bounds[0]
        what = f"difference is smaller than {level:g}" if self.null == "difference" else f"ratio is above {level:g}"
        return f"ends when the decisions since then speak strongly (1 in {CLOSING:,.0f}) for it that the {what} again"


class DisparateImpact(Gap):
    """Is any group's approval rate below four fifths (or another level) of the reference group's?"""

    kind = "disparate_impact"
    summary = "Approval rates of groups compared: the impact ratio"
    formula = "IR-SR: Turner, Ly, Grünwald (2021/24) e-values, KL-projected; Shin, Ramdas, Rinaldo (2022) e-detector"
    options_type = ImpactOptions


class StatisticalParity(Gap):
    """Does any group's approval rate lie further below the reference group's than allowed?"""

    kind = "parity"
    summary = "Approval rates of groups compared: the parity difference"
    formula = DisparateImpact.formula
    options_type = ParityOptions
    null = "difference"
    metric = "parity_difference"


def _counted(view: View, codes: Ints, size: int, favoured: Ints) -> Ints:
    """(stretches, size, 2): decisions, and favourable ones."""
    both = view.tally(codes * 2 + favoured, size * 2).reshape(view.stretches, size, 2)
    return np.stack([both.sum(axis=2), both[:, :, 1]], axis=2)


def _repeated(base: int, count: int) -> list[float]:
    """Weights of segments by appearance; each segment comes with all `base` groupings."""
    segments = shares_of_appearance(-(-count // base)) if base else []
    return [segments[place // base] for place in range(count)]
