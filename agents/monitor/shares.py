"""What monitors of flagged decisions have in common: whose share of them is larger than allowed, overall and by caller.

A subclass says which decisions bear which flag. Every call counts, also a subject's second one: misuse is a matter of
calls, not of people.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import polars as pl
from pydantic import Field
from scipy.stats import beta

from agents.events import SignalStatus
from agents.monitor.bernoulli import OTHER, SOURCE, Bernoulli, Share, confidence_sequence
from agents.monitor.contract import (
    Bools,
    Counts,
    Guarantee,
    Ints,
    Judgement,
    Monitor,
    Options,
    Setting,
    State,
    Step,
    View,
)
from agents.monitor.ratio import shares_of_appearance

NAMED = 32
"""Most culprits (unknown callers, tools) whose counts are kept; the first to appear."""
MARGIN = 1.25
"""A profile's share times this, at its upper 99.9 % bound, is what is still usual."""


class ShareOptions(Options):
    """Whom to tell apart."""

    by_caller: bool = True
    """Also watch each caller's own share."""
    callers: Annotated[int, Field(ge=1, le=1000)] = 64
    """Most callers told apart, by appearance; the others are watched together."""
    exempt: tuple[str, ...] = ()
    """Callers that are not counted."""


class FlaggedShares(Monitor):
    """Bernoulli e-detectors on the share of flagged decisions: one family a flag, one name a caller."""

    formula = SOURCE
    guarantee: ClassVar[Guarantee] = "proved"
    options_type: ClassVar[type[Options]] = ShareOptions
    metric: ClassVar[str] = "share"
    counted: ClassVar[str] = "decisions"
    """What the share is of, in plain words."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.flags = tuple(self.allowed())
        self.telling = setting.options if isinstance(setting.options, ShareOptions) else ShareOptions(by_caller=False)
        self.families = self._families(self.telling)

    def _families(self, options: ShareOptions) -> dict[str, Bernoulli]:
        profile = self.setting.profile or {}
        known: list[str] = profile.get("callers", [])[: options.callers] if options.by_caller else []
        families = {}
        for flag, (allowed, from_profile) in self.allowed().items():
            p0 = np.full(2 + len(known), allowed)
            if from_profile and flag in profile.get("k", {}):
                usual = usual_share(profile["n"], profile["k"][flag])
                p0[: 1 + len(known)] = np.maximum(usual[: 1 + len(known)], allowed)
            families[flag] = Bernoulli(
                p0,
                self.limit,
                names=["", *known],
                share=self.setting.share / max(len(self.flags), 1),
                open_set=True,
                cap=1 + options.callers,
                spread=self._spread(flag),
            )
        return families

    @abstractmethod
    def allowed(self) -> Mapping[str, tuple[float, bool]]:
        """Flag → the share of decisions that may bear it, and whether a profile's usual share may widen that."""

    @abstractmethod
    def marked(self, view: View) -> Mapping[str, Bools]:
        """Flag → the rows that bear it."""

    def whole(self, flag: str) -> tuple[float, float, float]:
        """What all decisions together are held to: the share that may bear a flag, their part of the budget, and how many
        times the variance of independent hits the flag's have (Bernoulli's `spread`)."""
        part = self.setting.share / max(len(self.flags), 1) * shares_of_appearance(1)[0]
        return float(self.families[flag].p0[0]), part, self._spread(flag)

    def _spread(self, flag: str) -> float:
        return float((self.setting.profile or {}).get("spread", {}).get(flag, 1.0))

    def eligible(self, view: View) -> Bools | None:
        """Rows that count at all; None: every one."""
        return None

    def culprits(self, view: View, flag: str, rows: Ints) -> pl.Series | None:
        """What is worth telling of `rows`, which bear the flag: a caller's name, a tool's, a row each; None: nothing is."""
        return None

    @abstractmethod
    def words(self, flag: str) -> str:
        """What flagged decisions did, in plain words: `came outside the opening hours`."""

    def observe(self, view: View) -> Counts:
        marked = self.marked(view)
        eligible = self.eligible(view)
        keep = np.ones(view.height, dtype=np.bool_) if eligible is None else eligible.copy()
        options = self.telling
        if options.exempt:
            keep &= ~view.frame["caller"].is_in(list(options.exempt)).fill_null(False).to_numpy()
        marks = [marked[flag] & keep for flag in self.flags]
        found: dict[str, Ints] = {}
        found["all"] = np.concatenate([view.per_stretch(keep), *(view.per_stretch(mark) for mark in marks)], axis=1)
        if options.by_caller:
            codes, names = coded(view.frame["caller"])
            columns = [view.tally(codes, len(names), one.astype(np.int64)) for one in (keep, *marks)]
            table = np.stack(columns, axis=-1)
            for place, name in enumerate(names):
                if name is not None and table[:, place, 0].any():
                    found[f"caller={name}"] = table[:, place]
        for flag, mark in zip(self.flags, marks, strict=True):
            rows = np.flatnonzero(mark)
            culprits = self.culprits(view, flag, rows) if len(rows) else None
            if culprits is not None:
                codes, names = coded(culprits)
                inside = View(view.frame, view.stretch[rows], view.stretches)
                for place, name in enumerate(names):
                    if name is not None:
                        found[f"of {flag}|{name}"] = inside.per_stretch(codes == place)
        return found

    def start(self) -> State:
        return {
            "families": {flag: family.start() for flag, family in self.families.items()},
            "named": {flag: {} for flag in self.flags},
            "seen": 0,
        }

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        state["seen"] += step.n
        tables: dict[str, Ints] = {}
        for key, values in counts.items():
            if key.startswith("of "):
                flag, _, name = key[3:].partition("|")
                named = state["named"][flag]
                if name in named or len(named) < NAMED:
                    named[name] = named.get(name, 0) + int(values[0])
            else:
                tables["" if key == "all" else key] = values
        changed = False
        for place, flag in enumerate(self.flags, start=1):
            pairs = {name: (int(values[0]), int(values[place])) for name, values in tables.items()}
            changed |= self.families[flag].take(state["families"][flag], pairs, step)
        return changed

    def judge(self, state: State) -> Sequence[Judgement]:
        found = []
        for flag, family in self.families.items():
            for one in family.judge(state["families"][flag], bounds=False):
                if not one.name or one.status != SignalStatus.INSUFFICIENT:
                    found.append(self._judgement(state, flag, one, family))
        return found

    def _judgement(self, state: State, flag: str, one: Share, family: Bernoulli) -> Judgement:
        several = len(self.flags) > 1
        parts = [flag] * several + [one.name if one.name != OTHER else "other callers"] * bool(one.name)
        total = int(state["families"][flag]["n"][0])
        named = {} if one.name else dict(sorted(state["named"][flag].items(), key=lambda item: -item[1])[:5])
        return one.judgement(
            " & ".join(parts) or None,
            self.metric,
            self.guarantee if self._spread(flag) == 1.0 else "rule of thumb",
            {"flagged": float(one.k), "allowed": one.p0, **{name: float(count) for name, count in named.items()}},
            coverage=min(1.0, total / state["seen"]) if state["seen"] and not one.onset_ms else None,
        )

    def bounded(self, judgement: Judgement) -> Judgement:
        return share_bounds(judgement, judgement.detail["flagged"])

    def sentence(self, judgement: Judgement) -> str:
        flag = (judgement.group or "").partition(" & ")[0] if len(self.flags) > 1 else self.flags[0]
        _, found, caller = (judgement.group or "").rpartition("caller=")
        whose = f"the {self.counted} of {caller}" if found else f"the {self.counted}"
        whose += " of all other callers" if (judgement.group or "").endswith("other callers") else ""
        allowed = judgement.detail["allowed"]
        if judgement.estimate is None:
            return f"No {self.counted} seen yet"
        told = f"{judgement.estimate:.1%} of {whose} {self.words(flag)} ({judgement.detail['flagged']:.0f} of {judgement.n})"
        return f"{told}; usual are at most {allowed:.2%}"

    def clears(self, judgement: Judgement) -> str:
        return f"ends when there is strong evidence that the share is below {judgement.detail['allowed']:.2%} again"


def coded(names: pl.Series) -> tuple[Ints, list[str | None]]:
    """Rows as places in the list of different names, null among them; sorted."""
    levels: list[str | None] = names.unique().sort().to_list()
    first = 0 if levels[:1] == [None] else 1  # a null has no rank
    codes = names.cast(pl.String).rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    return np.asarray(codes - first, dtype=np.int64), levels


def share_bounds(judgement: Judgement, hits: float) -> Judgement:
    """A judgement on a share of n, of which `hits` were, with its bounds (bernoulli.confidence_sequence)."""
    if not judgement.n:
        return judgement
    lower, upper = confidence_sequence(np.array([judgement.n]), np.array([int(hits)]))
    return replace(judgement, lower=float(lower[0]), upper=float(upper[0]))


def usual_share(n: Ints, k: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """What may still be usual where k of n reference decisions bore a flag: MARGIN × Clopper-Pearson's upper 99.9 % bound."""
    bound = np.where(n > k, beta.ppf(0.999, k + 1, np.maximum(n - k, 1)), 1.0)
    return np.asarray(np.minimum(MARGIN * bound, 1.0), dtype=np.float64)


def fitted(view: View, marks: Mapping[str, Bools], keep: Bools | None = None, cap: int = 256) -> State:
    """A profile's section: callers by volume, n and k of (the whole, each caller), and how flags come in clusters.

    `spread`: over days, the variance of the flagged count ÷ what independent calls would have; at least 1.
    """
    keep = np.ones(view.height, dtype=np.bool_) if keep is None else keep
    codes, names = coded(view.frame["caller"])
    volume = np.bincount(codes[keep], minlength=len(names))
    order = [place for place in np.argsort(-volume, kind="stable") if names[place] is not None and volume[place]][:cap]
    n = np.concatenate([[keep.sum()], volume[order]]).astype(np.int64)
    k, spread = {}, {}
    for flag, mark in marks.items():
        flagged = mark & keep
        hits = np.bincount(codes[flagged], minlength=len(names))
        k[flag] = np.concatenate([[flagged.sum()], hits[order]]).astype(np.int64)
        spread[flag] = _spread(view.times_ms[keep] // 86_400_000, mark[keep])
    return {"callers": [f"caller={names[place]}" for place in order], "n": n, "k": k, "spread": spread}


def _spread(days: Ints, mark: Bools) -> float:
    if not mark.any() or mark.all():
        return 1.0
    _, code = np.unique(days, return_inverse=True)
    n, k = np.bincount(code), np.bincount(code, weights=mark)
    share = mark.mean()
    if len(n) < 2:
        return 1.0
    return max(1.0, float(((k - share * n) ** 2 / (n * share * (1 - share))).sum() / (len(n) - 1)))
