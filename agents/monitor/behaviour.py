"""Does a version behave as the reference version would have, decision by decision, whatever inputs it gets?

What the reference version would have said comes from a surrogate (surrogate.py), or from that version itself where decisions
carry its score (paired.py). Inputs that shift are no alarm, another answer to the same inputs is. Four parts share the budget:
residuals, flips, flips by group, and reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor import behaviour_words as words
from agents.monitor.ball import SOURCE, Ball, Layout, resting
from agents.monitor.behaviour_profile import fit_section
from agents.monitor.bernoulli import Bernoulli
from agents.monitor.contract import (
    FIXED_POINT,
    Bools,
    Counts,
    Ints,
    Judgement,
    Monitor,
    Options,
    Setting,
    State,
    Step,
    View,
    fixed,
)
from agents.monitor.cuts import favourable_labels, favoured
from agents.monitor.detectors import rounded
from agents.monitor.flips import Flips, usual_flips
from agents.monitor.groups import groupings_of
from agents.monitor.lifts import Lifts
from agents.monitor.paired import TOLERANCE as TOLERANCE_PAIRED
from agents.monitor.paired import Paired
from agents.monitor.reasons import Reasons
from agents.monitor.shifts import Shift
from agents.monitor.surrogate import DECILES, Surrogate

BLOCK = 125
"""Decisions of a block: a changed concept shows in a few hundred."""
TOLERANCE = 0.4
"""Of residuals within a decile: a shift of 0.6 of their standard deviation. Where inputs leave the reference's range the
surrogate errs by as much."""
TILTS = (0.8, 1.5, 2.5)
"""Of bets on residuals: what lies beyond so wide a tolerance is a strong shift."""
TAILS = (3.0, 8.0)
"""Bets on so many times more of the outermost residuals, both of them: where a version errs both ways."""
POOLED = 0.5
"""The part of the residuals' weight that is on all tenths together: a change of the whole shows in each of them a little."""
UNEVEN = 3.0
"""How many times more than the reference's own extreme inputs a shift of inputs may move residuals."""
REASONS = 0.25
"""Of top reasons, as a PSI: inputs that shift move them too, and below this it is no major shift."""
FARTHEST = 1e6
"""Residuals beyond count as this."""
MEMORY = 500.0
"""Half-life, in decisions, of the counts that name features."""
PARTS = {"residuals": 0.35, "flips": 0.25, "groups": 0.15, "reasons": 0.15, "proxies": 0.1}
"""How the budget is shared where all parts are there."""


class BehaviourOptions(Options):
    """How much may change, and which features stand for protected attributes."""

    tolerance: Annotated[float, Field(gt=0, le=1)] | None = None
    """Difference of residuals (a χ² distance, as a PSI) within a decile that is still no change of behaviour; not given: 0.4
    (reasons: 0.25; with `shadow_score`: 0.05), or three times what the reference's residuals differ by between its own extreme
    inputs if more."""
    shadow_score: str | None = None
    """The numeric feature that holds the old version's score of the same input; it then takes the surrogate's place. Decisions
    without it are not compared, and lower the coverage."""
    proxies: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Protected attribute → features that stand for it, for example {age_band: [limit_bal]}."""


class Behaviour(Monitor):
    """A new version against the profile's version: residuals within deciles, flipped answers, reasons."""

    kind = "behaviour"
    summary = "Behaviour of a version compared with the profile's version on the same inputs."
    formula = f"residuals within deciles of a surrogate's score: {SOURCE}"
    guarantee = words.GUARANTEE
    options_type = BehaviourOptions

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.surrogate: Surrogate | None = None
        self.old: Surrogate | Paired | None = None
        self.favourable = favourable_labels(setting.declaration)
        self.groupings = groupings_of(setting.declaration)
        if setting.profile is not None:
            self._read(setting.profile)

    def _read(self, profile: State) -> None:
        options: BehaviourOptions = self.setting.options
        self.surrogate = Surrogate(profile)
        self.lifts = Lifts(profile["lifts"], self.surrogate.encoder)
        self.reasons = Reasons(profile["reasons"], options.proxies) if profile["reasons"] is not None else None
        self.old = old = self._old(profile, self.surrogate)
        if old is None:
            return
        self.judges = old.cut is not None
        there = {"residuals"} | ({"flips"} if self.judges else set())
        there |= {"groups"} if self.judges and self.groupings else set()
        there |= {"reasons"} if self.reasons else set()
        there |= {"proxies"} if self.reasons and self.reasons.proxies else set()
        total = sum(PARTS[part] for part in there)
        shares = {part: self.setting.share * PARTS[part] / total for part in there}
        uneven = max(TOLERANCE_PAIRED if isinstance(old, Paired) else TOLERANCE, UNEVEN * old.unevenness)
        tolerance = uneven if options.tolerance is None else options.tolerance
        rest = resting(self.limit, shares["residuals"])
        residual = Ball(
            _layout(old),
            old.reference,
            psi_tol=tolerance,
            block=BLOCK,
            rest=rest,
            tilts=TILTS,
            tails=TAILS,
            pooled=POOLED,
        )
        self.residual = Shift(residual, shares["residuals"], self.limit)
        everybody = old.flips if isinstance(old, Paired) else profile["flips"]
        if any(one.shape != (DECILES, 2) for one in (everybody, *profile["groups"].values())):
            raise Misconfigured("the profile's flips are damaged; fit the profile again")
        usual = usual_flips(everybody)[None]
        self.flips = Flips([""], usual, self.limit, shares.get("flips", 0.0))
        self.names = [name for grouping in self.groupings for name in grouping.groups]
        groups = {} if isinstance(old, Paired) else profile["groups"]
        by_group = [usual_flips(everybody, groups.get(name)) for name in self.names]
        allowed = np.array(by_group).reshape(-1, DECILES)
        self.by_group = Flips(self.names, allowed, self.limit, shares.get("groups", 0.0))
        if self.reasons is not None:
            levels = len(self.reasons.reference) - 1
            rest = resting(self.limit, shares["reasons"])
            wide = options.tolerance or REASONS
            ball = Ball(Layout.of([(0, levels, 1)]), self.reasons.reference[None], psi_tol=wide, rest=rest)
            self.reason = Shift(ball, shares["reasons"], self.limit)
            mass = self.reasons.usual_mass() if self.reasons.proxies else [0.5]
            names = list(self.reasons.proxies)
            self.proxies = Bernoulli(mass, self.limit, names=names, share=shares.get("proxies", 0.0))

    def _old(self, profile: State, surrogate: Surrogate) -> Surrogate | Paired | None:
        """What new decisions are compared with; None: asked for by an option that the profile cannot serve."""
        name = self.setting.options.shadow_score
        if name is None:
            return surrogate
        paired = profile.get("paired")
        return None if paired is None else Paired(paired, f"features.{name}")

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs features; proxies must be declared features."""
        if not declaration.features:
            return "the model declares no features; name its inputs under `features`"
        shadow = options.shadow_score
        if shadow is not None and (
            shadow not in declaration.features or declaration.features[shadow].type != "numeric"
        ):
            return f"shadow_score: {shadow!r} is no numeric feature of the model; declare it there as `numeric?`"
        for attribute, features in options.proxies.items():
            if attribute not in declaration.groups:
                return f"proxies: {attribute!r} is no attribute in the model's `groups`; declare it there"
            for name in features:
                if name not in declaration.features:
                    return f"proxies: {name!r} is no feature of the model; there are {', '.join(declaration.features)}"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        return fit_section(view, declaration)

    @property
    def ready(self) -> str | None:
        if self.surrogate is None:
            return "it needs a profile with a surrogate: `govern profile fit`"
        return (
            None if self.old else "`shadow_score` needs a profile with the version's own scores: `govern profile fit`"
        )

    def columns(self) -> frozenset[str]:
        if self.surrogate is None or self.old is None:
            return frozenset()
        groups = {f"groups.{name}" for name in self.setting.declaration.groups} if self.judges else set()
        shadow = {self.old.column} if isinstance(self.old, Paired) else set()
        return self.surrogate.columns | groups | shadow | (self.reasons.columns if self.reasons else frozenset())

    # -- counting -----------------------------------------------------------------------------------------------------

    def observe(self, view: View) -> Counts:
        surrogate, old = self.surrogate, self.old
        assert surrogate is not None, "the machinery asks for `ready` first"
        assert old is not None, "the machinery asks for `ready` first"
        view = view.counted
        found: dict[str, Ints] = self.reasons.count(view) if self.reasons is not None else {}
        if isinstance(old, Paired):
            every = view.per_stretch(np.ones(view.height, dtype=np.bool_))
            view = _with_value(view, old.column)
            found["covered"] = np.concatenate([every, view.per_stretch(np.ones(view.height, dtype=np.bool_))], axis=1)
        matrix = surrogate.encoder.matrix(view.frame)
        said = surrogate.said(view.frame, self.favourable)
        at = old.residuals(view.frame[old.column].to_numpy() if isinstance(old, Paired) else matrix, said)
        width = old.reference.shape[1]
        found["residuals"] = view.tally(at.decile * width + at.code, DECILES * width)
        off = np.clip(np.nan_to_num(said - at.expected), -FARTHEST, FARTHEST)
        parts = [view.tally(at.decile, DECILES, fixed(np.maximum(one, 0.0))) for one in (off, -off)]
        found["off"] = np.concatenate(parts, axis=1)
        if old.cut is not None:
            answers, known = favoured(view.frame, self.favourable)
            flips = known & (answers != old.cut.favours(at.expected))
            both = (known.astype(np.int64), flips.astype(np.int64))
            found["flips"] = np.stack([view.tally(at.decile, DECILES, one) for one in both], axis=2)
            found["features"] = self.lifts.count(view, matrix, flips)
            for grouping in self.groupings:
                size = len(grouping.groups) + 1
                codes = grouping.codes(view) * DECILES + at.decile
                pair = np.stack([view.tally(codes, size * DECILES, one) for one in both], axis=2)
                found[f"flips|{grouping.name}"] = pair[:, :-DECILES]
        return found

    # -- state --------------------------------------------------------------------------------------------------------

    def start(self) -> State:
        state: State = {"residuals": self.residual.start(), "flips": self.flips.start()}
        state |= {name: np.zeros((2, DECILES), dtype=np.int64) for name in ("off", "decisions")}
        state |= {"groups": self.by_group.start(), "features": np.zeros(self.lifts.shape)}
        if isinstance(self.old, Paired):
            state["covered"] = np.zeros(2, dtype=np.int64)
        if self.reasons is not None:
            state |= {"reasons": self.reason.start(), "proxies": self.proxies.start()}
            state["carried"] = np.zeros(len(self.reasons.proxies), dtype=np.int64)
        return state

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        assert self.old is not None
        width = self.old.reference.shape[1]
        if "covered" in counts:
            state["covered"] += counts["covered"]
        residuals = counts.get("residuals", np.zeros(DECILES * width, dtype=np.int64)).reshape(DECILES, width)
        changed = self.residual.step(state["residuals"], residuals, step)
        self._follow(state, residuals, counts.get("off", np.zeros(2 * DECILES, dtype=np.int64)))
        pair = counts.get("flips", np.zeros((DECILES, 2), dtype=np.int64))
        changed |= self.flips.step(state["flips"], pair[:, 0], pair[:, 1], step)
        if self.names:
            pairs = [
                counts.get(f"flips|{one.name}", np.zeros((len(one.groups) * DECILES, 2), dtype=np.int64))
                for one in self.groupings
            ]
            n, k = np.concatenate(pairs).T
            changed |= self.by_group.step(state["groups"], n, k, step)
        if "features" in counts:
            fade = float(rounded(np.exp2(np.array(-step.n / MEMORY))))
            state["features"] = rounded(state["features"] * fade) + counts["features"]
        if self.reasons is not None:
            changed |= self._step_reasons(self.reasons, state, counts, step)
        return changed

    def _follow(self, state: State, residuals: Ints, off: Ints) -> None:
        """Sums by decile, since the start and since the onset: decisions with an answer, and how far off they were."""
        assert self.old is not None
        more, less = off.reshape(2, DECILES)
        inner = residuals.copy()
        inner[np.arange(DECILES), self.old.bins] = 0
        state["off"] += more - less
        state["decisions"] += inner.sum(axis=1)
        ball = state["residuals"]["ball"]
        if not ball["n"][0]:  # a block closed
            rests = self.residual.ball.onset(ball)[0][0] == 0
            state["off"][1, rests] = state["decisions"][1, rests] = 0

    def _step_reasons(self, reasons: Reasons, state: State, counts: Counts, step: Step) -> bool:
        top = counts.get("reasons", np.zeros(len(reasons.reference), dtype=np.int64))
        changed = self.reason.step(state["reasons"], top[None], step)
        if reasons.proxies:
            found = counts.get("proxies", np.zeros(1 + len(reasons.proxies), dtype=np.int64))
            state["carried"] += found[1:]  # shares add up to whole decisions; what is left over waits
            whole = state["carried"] // FIXED_POINT
            state["carried"] -= whole * FIXED_POINT
            n = np.full(len(whole), found[0])
            changed |= self.proxies.step(state["proxies"], n, np.minimum(whole, n), step)
        return changed

    # -- saying -------------------------------------------------------------------------------------------------------

    def judge(self, state: State) -> list[Judgement]:
        assert self.old is not None
        where = self.lifts.named(state["features"])
        found = [words.of_residuals(state, self.old, self.residual, where)]
        if self.judges:
            found += [words.of_flips(state, one, where) for one in self.flips.judge(state["flips"])]
            found += [words.of_flips(state, one, where) for one in self.by_group.judge(state["groups"]) if one.share.n]
        if self.reasons is not None:
            found.append(words.of_reasons(state["reasons"], self.reasons, self.reason))
            found += [words.of_proxies(one) for one in self.proxies.judge(state["proxies"])]
        return found

    def sentence(self, judgement: Judgement) -> str:
        return words.sentence(judgement)

    def clears(self, judgement: Judgement) -> str:
        return words.end(judgement)


def _with_value(view: View, column: str) -> View:
    """The rows that have a value there."""
    values = view.frame[column]
    return view.where((values.is_not_null() & values.is_not_nan()).to_numpy())


def _layout(old: Surrogate | Paired) -> Layout:
    """Residual bins in their order, the outermost also by themselves, then `no score`."""
    plain = Layout.of([(int(size), 0, 1) for size in old.bins])
    levels: Bools = np.zeros_like(plain.ordered)
    levels[:, 0] = True
    levels[np.arange(len(old.bins)), old.bins - 1] = True
    width = old.reference.shape[1]
    masks = [_padded(one, width) for one in (plain.used, plain.ordered, levels, plain.rare)]
    return Layout(*masks)


def _padded(mask: Bools, width: int) -> Bools:
    return np.pad(mask, ((0, 0), (0, width - mask.shape[1])))
