"""Are single decisions out of the ordinary more often than they may be: odd inputs, answers that contradict their score?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.stats import beta

from agents.configuration import Model
from agents.monitor.bernoulli import SOURCE, Bernoulli, Share
from agents.monitor.conformal import FLAG, Anomalies, fitted
from agents.monitor.contract import Bools, Counts, Floats, Ints, Judgement, Monitor, Options, Setting, State, Step, View
from agents.monitor.cuts import Cut, favourable_labels, favoured
from agents.monitor.shares import usual_share

UNUSUAL, CONTRADICTION = "unusual input", "answer against score"
AGREEMENT = 0.9
"""A reference whose answers follow the score less often has no cut to contradict."""
KEPT = 2_000
"""Distances of reference decisions beyond the cut that a profile keeps."""
NAMED = 5


class AnomalyOptions(Options):
    """What counts as a contradiction."""

    margin: Annotated[float, Field(ge=0)] | None = None
    """A favourable answer contradicts a score this far on the wrong side of the cut, in the score's unit; not given: 5 %
    of the distance between the reference's 5th and 95th percentile."""


class Anomaly(Monitor):
    """Bernoulli e-detectors on the share of flagged decisions (conformal p ≤ 1e-3) and of contradictions.

    The flag rate is tested against the 99.9 % quantile of Beta(m, n_cal + 1 - m), m = ⌊1e-3 (n_cal + 1)⌋: what a finite
    calibration can turn a rate of 1e-3 into. Against 1e-3 itself one undrifted stream in ten would alarm.
    """

    kind = "anomaly"
    summary = "Unusual decisions, one by one: odd inputs, and answers against their score."
    formula = "conformal p-values of an isolation forest: Liu, Ting, Zhou (2008), Bates et al. (2023); " + SOURCE
    guarantee = "rule of thumb"
    options_type = AnomalyOptions

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        profile = setting.profile
        self.anomalies = None if profile is None else Anomalies(profile)
        self.favourable = favourable_labels(setting.declaration)
        self.cut: Cut | None = None
        self.margin = 0.0
        names, usual = [UNUSUAL], [flag_rate(self.anomalies.calibrated_on) if self.anomalies else FLAG]
        if profile is not None and "cut" in profile:
            self.cut = Cut(float(profile["cut"]), bool(profile["above"]), float(profile["agreement"]))
            given = setting.options.margin
            self.margin = float(profile["margin"] if given is None else given)
            usual.append(_usual_contradictions(profile, self.margin))
            names.append(CONTRADICTION)
        self.rates = Bernoulli(usual, self.limit, names=names, share=setting.share)

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs features."""
        if not declaration.features:
            return "the model declares no features; name its inputs under `features`"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        frame = view.counted.frame
        section, remarks = fitted(frame, declaration)
        labels = favourable_labels(declaration)
        if section is None or not labels or not {"output.label", "output.score"} <= set(frame.columns):
            return section, remarks
        scores = frame["output.score"].to_numpy()
        answers, known = favoured(frame, labels)
        known &= ~np.isnan(scores)
        cut = Cut.fit(scores[known], answers[known])
        if cut is None or cut.agreement < AGREEMENT:
            return section, [*remarks, "answers do not follow the score: contradictions between them are not watched"]
        short = cut.short(scores[known & answers])
        beyond = np.sort(short[short > 0])[::-1]
        low, high = np.quantile(scores[known], [0.05, 0.95])
        section |= {"cut": cut.at, "above": cut.above, "agreement": cut.agreement, "margin": 0.05 * float(high - low)}
        section |= {"scored": int(known.sum()), "beyond": beyond[:KEPT].copy()}
        return section, remarks

    @property
    def ready(self) -> str | None:
        return None if self.anomalies else "it needs a profile with anomaly scores: `govern profile fit`"

    def columns(self) -> frozenset[str]:
        read = {} if self.anomalies is None else set(self.anomalies.columns)
        return frozenset({*read, *(("output.label", "output.score") if self.cut else ())})

    def observe(self, view: View) -> Counts:
        anomalies = self.anomalies
        assert anomalies is not None, "the machinery asks for `ready` first"
        view = view.counted
        flagged = anomalies.p_values(anomalies.scores(view.frame)) <= FLAG
        every = np.ones(view.height, dtype=np.bool_)
        found: dict[str, Ints] = {UNUSUAL: _pair(view, every, flagged)}
        rows = np.flatnonzero(flagged)
        if len(rows):
            inside = View(view.frame, view.stretch[rows], view.stretches)
            place = {name: number for number, name in enumerate(anomalies.encoder.names)}
            reasons = anomalies.reasons(view.frame[rows], most=1)
            codes = np.array([place[one[0][0]] if one else len(place) for one in reasons])
            found["because"] = inside.tally(codes, len(place) + 1)
        if self.cut is not None:
            scores = view.frame["output.score"].to_numpy()
            answers, labelled = favoured(view.frame, self.favourable)
            found[CONTRADICTION] = _pair(view, labelled & ~np.isnan(scores), self.contradicts(scores, answers))
        return found

    def contradicts(self, scores: Floats, favourable: Bools) -> Bools:
        """The plain rule: a favourable answer to a score that lies beyond the cut by more than the margin."""
        if self.cut is None:
            return np.zeros(len(scores), dtype=np.bool_)
        with np.errstate(invalid="ignore"):
            return np.asarray(favourable & (self.cut.short(scores) > self.margin))

    def start(self) -> State:
        width = 0 if self.anomalies is None else len(self.anomalies.encoder.names) + 1
        return {"rates": self.rates.start(), "because": np.zeros(width, dtype=np.int64), "seen": 0}

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        state["seen"] += step.n
        pairs = [counts.get(name, np.zeros(2, dtype=np.int64)) for name in self.rates.names]
        if "because" in counts:
            state["because"] += counts["because"]
        n, k = np.array(pairs).T
        return self.rates.step(state["rates"], n, k, step)

    def judge(self, state: State) -> list[Judgement]:
        return [self._judgement(state, one) for one in self.rates.judge(state["rates"])]

    def _judgement(self, state: State, one: Share) -> Judgement:
        detail = {"flagged": float(one.k), "usual": one.p0}
        if one.name == UNUSUAL and self.anomalies is not None:
            names = [*self.anomalies.encoder.names, "no single feature"]
            for place in np.argsort(-state["because"], kind="stable")[:NAMED]:
                if state["because"][place]:
                    detail[f"because of {names[place]}"] = float(state["because"][place])
        elif self.cut is not None:
            detail |= {"cut": self.cut.at, "margin": self.margin}
        metric = "anomaly_rate" if one.name == UNUSUAL else "contradiction_rate"
        return one.judgement(one.name, metric, self.guarantee, detail)

    def sentence(self, judgement: Judgement) -> str:
        detail = judgement.detail
        if judgement.estimate is None:
            return f"No decisions yet that could be told apart by {judgement.group}"
        what = "have an unusual input" if judgement.group == UNUSUAL else "are favourable against their score"
        named = [name.removeprefix("because of ") for name in detail if name.startswith("because of ")][:3]
        why = f", mostly because of {', '.join(named)}" if named else ""
        told = f"{judgement.estimate:.2%} of the decisions {what} ({detail['flagged']:.0f} of {judgement.n:,}){why}"
        return f"{told}; usual are at most {detail['usual']:.2%}"

    def clears(self, judgement: Judgement) -> str:
        return f"ends when there is strong evidence that the share is below {judgement.detail['usual']:.2%} again"


def flag_rate(calibrated_on: int) -> float:
    """The rate of flags that is still usual: the 99.9 % quantile of Beta(m, n + 1 - m), m = ⌊1e-3 (n + 1)⌋.

    >>> round(flag_rate(4_000), 5)
    0.00326
    """
    hits = int(FLAG * (calibrated_on + 1))
    return float(beta.ppf(0.999, hits, calibrated_on + 1 - hits)) if hits else FLAG


def _usual_contradictions(profile: State, margin: float) -> float:
    beyond = int((profile["beyond"] > margin).sum())
    return float(usual_share(np.array([profile["scored"]]), np.array([beyond]))[0])


def _pair(view: View, counted: Bools, marked: Bools) -> Ints:
    """(stretches, 2): rows that count, and those of them that are marked."""
    return np.concatenate([view.per_stretch(counted), view.per_stretch(counted & marked)], axis=1)
