"""Does a version run as the model usually does: are inputs missing, are answers slow or unsure?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from agents.configuration import Model
from agents.monitor.bernoulli import SOURCE, Bernoulli
from agents.monitor.contract import Bools, Counts, Floats, Ints, Judgement, Monitor, Options, Setting, State, Step, View
from agents.monitor.shapes import COLUMNS, Shapes
from agents.monitor.shapes import fitted as shapes_fitted
from agents.monitor.shares import share_bounds, usual_share

Part = Literal["missing", "latency", "confidence"]


class OperationsOptions(Options):
    """What to watch, and what is still usual."""

    parts: tuple[Part, ...] = ("missing", "latency", "confidence")
    """All but `missing` need a profile, and are left out without one."""
    missing: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """A feature may be missing in this share of decisions, or in 1.25 × the profile's where that is more."""


class Operations(Monitor):
    """Missing inputs, and the shapes of latency and confidence, each with an equal part of the share.

    Missing: Bernoulli e-detectors, one a feature. Shapes: χ²-ball. How many decisions there are is judged for all versions
    together (volume.py).
    """

    kind = "operations"
    summary = "Missing inputs, unusual latency and confidence."
    formula = f"{SOURCE}; χ²-ball: docs/monitors.md"
    guarantee = "rule of thumb"
    options_type = OperationsOptions

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        options: OperationsOptions = setting.options
        profile = setting.profile or {}
        features = tuple(setting.declaration.features)
        self.features = features if "missing" in options.parts else ()
        shaped = [name for name in COLUMNS if name in options.parts]
        section = profile.get("shapes")
        if section is not None and not any(row["name"] in shaped for row in section["bins"]):
            section = None
        parts = bool(self.features) + (section is not None)
        share = setting.share / max(parts, 1)
        self.missing = Bernoulli(self._allowed(profile), self.limit, names=self.features, share=share)
        self.shapes = None if section is None else Shapes(section, shaped, self.limit, share)

    def _allowed(self, profile: State) -> Floats:
        """The share of decisions in which each feature may be missing."""
        allowed = np.full(max(len(self.features), 1), self.setting.options.missing)
        known = profile.get("missing")
        if known is None:
            return allowed
        usual = dict(zip(known["features"], usual_share(known["n"], known["k"]), strict=True))
        return np.array(
            [max(usual.get(name, 0.0), p0) for name, p0 in zip(self.features, allowed, strict=False)] or [0.5]
        )

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Every model can be watched, though without features there is nothing to be missing."""
        if options.parts == ("missing",) and not declaration.features:
            return "the model declares no features that could be missing; declare some, or watch other `parts`"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        if not view.height:
            return None, ()
        section: State = {}
        names = [name for name in declaration.features if f"features.{name}" in view.frame.columns]
        k = [int(absent(view.frame[f"features.{name}"]).sum()) for name in names]
        n = np.full(len(names), view.height, dtype=np.int64)
        section["missing"] = {"features": names, "n": n, "k": np.array(k, dtype=np.int64)}
        shapes, told = shapes_fitted(view)
        if shapes is not None:
            section["shapes"] = shapes
        return section, told

    @property
    def ready(self) -> str | None:
        watches = self.features or self.shapes is not None
        return None if watches else "waits for a profile (`govern profile fit`)"

    def columns(self) -> frozenset[str]:
        shapes = frozenset() if self.shapes is None else self.shapes.columns
        return frozenset(f"features.{name}" for name in self.features) | shapes

    def observe(self, view: View) -> Counts:
        found: dict[str, Ints] = {}
        if self.features:
            holes = [view.per_stretch(absent(view.frame[f"features.{name}"])) for name in self.features]
            whole = np.bincount(view.stretch, minlength=view.stretches)[:, None].astype(np.int64)
            found["missing"] = np.concatenate([whole, *holes], axis=1)
        if self.shapes is not None:
            found |= self.shapes.observe(view)
        return found

    def start(self) -> State:
        state: State = {"missing": self.missing.start()}
        if self.shapes is not None:
            state["shapes"] = self.shapes.start()
        return state

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        changed = False
        if self.features:
            table = counts.get("missing", np.zeros(len(self.features) + 1, dtype=np.int64))
            n = np.full(len(self.features), table[0], dtype=np.int64)
            changed |= self.missing.step(state["missing"], n, table[1:], step)
        if self.shapes is not None:
            changed |= self.shapes.step(state["shapes"], counts, step)
        return changed

    def judge(self, state: State) -> Sequence[Judgement]:
        found = [
            one.judgement(f"feature={one.name}", "missing_rate", "proved", {"missing": float(one.k), "allowed": one.p0})
            for one in (self.missing.judge(state["missing"], bounds=False) if self.features else ())
        ]
        if self.shapes is not None:
            found += self.shapes.judge(state["shapes"])
        return found

    def bounded(self, judgement: Judgement) -> Judgement:
        return share_bounds(judgement, judgement.detail["missing"]) if judgement.metric == "missing_rate" else judgement

    def sentence(self, judgement: Judgement) -> str:
        detail, group = judgement.detail, judgement.group or ""
        if judgement.estimate is None:
            return f"Nothing seen yet of {group.removeprefix('feature=')}"
        if judgement.metric == "missing_rate":
            told = f"{group.removeprefix('feature=')} is missing in {judgement.estimate:.1%} of the decisions"
            return f"{told} ({detail['missing']:.0f} of {judgement.n}); usual are at most {detail['allowed']:.2%}"
        words = "slower than nine in ten" if group == "latency" else "less sure than nine in ten"
        told = (
            f"{detail['tail']:.0%} of the decisions are {words} of the profile's, usually {detail['tail_usually']:.0%}"
        )
        return f"{group.capitalize()}: {told} (PSI {judgement.estimate:.2f})"

    def clears(self, judgement: Judgement) -> str:
        if judgement.metric == "missing_rate":
            return (
                f"ends when there is strong evidence that it is missing in less than {judgement.detail['allowed']:.2%}"
            )
        return "ends when recent decisions (some 500) are distributed as in the profile again"


def absent(values: pl.Series) -> Bools:
    """Where a value is null or not a number."""
    found = values.is_null()
    mask: Bools = (found | values.is_nan().fill_null(False) if values.dtype.is_float() else found).to_numpy()
    return mask
