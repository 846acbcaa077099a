"""How well do decisions turn out: estimated before outcomes are known, measured and tested once they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.bernoulli import confidence_sequence
from agents.monitor.contract import Counts, Floats, Ints, Judgement, Monitor, Options, Setting, State, Step, View
from agents.monitor.curve import BINS, Curve, auc, coded, fit
from agents.monitor.cuts import favourable_labels, favoured
from agents.monitor.detectors import rounded
from agents.monitor.deviations import Deviations
from agents.monitor.matured import OUTCOME

HALF_LIFE = 2_000.0
"""Of recent figures, in decisions."""
ESTABLISHED = 30


class CalibrationOptions(Options):
    """What to warn of."""

    drop: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """A warning: the estimated accuracy of recent decisions is this much below the reference's."""


class _Scored(Monitor):
    """What both kinds share: they read scores, answers and outcomes."""

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs outcomes, one of them positive, and a favourable label."""
        if not any(one.positive for one in declaration.outcomes.values()):
            return "no outcome of the model is positive; declare `outcomes: {repaid: {positive: true}, …}`"
        if not favourable_labels(declaration):
            return "no label of the model is `favourable: true`; say which answer expects a positive outcome"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        return fit(view.counted.frame, declaration)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.curve = None if setting.profile is None else Curve(setting.profile)
        self.favourable = favourable_labels(setting.declaration)

    def columns(self) -> frozenset[str]:
        return frozenset({"output.label", "output.score"})

    def _decayed(self, state: State, counts: Ints, n: int) -> None:
        fade = float(rounded(np.exp2(np.array(-n / HALF_LIFE))))
        state["recent"] = rounded(state["recent"] * fade) + counts


class Calibration(_Scored):
    """Accuracy and positive rate estimated from scores alone (CBPE): what holds while scores mean what they meant.

    A favourable answer is right with the calibrated share c_b of its score's bin, another with 1 - c_b. Blind to concept
    drift: where the same score comes to mean something else, the estimate does not move. Never an alarm.
    """

    kind = "calibration"
    alarms = False
    summary = "Accuracy estimated before outcomes are known, from scores."
    formula = "confidence-based performance estimation (CBPE, NannyML, 2022); docs/statistics.md"
    guarantee = "rule of thumb"
    options_type = CalibrationOptions

    @property
    def ready(self) -> str | None:
        return None if self.curve else "it needs a profile fitted on decisions with outcomes: `govern profile fit`"

    def observe(self, view: View) -> Counts:
        assert self.curve is not None, "the machinery asks for `ready` first"
        view = view.counted
        answers, labelled = favoured(view.frame, self.favourable)
        rows = np.flatnonzero(labelled)
        codes = self.curve.codes(view.frame["output.score"].to_numpy().astype(np.float64))[rows] * 2 + answers[rows]
        return {"answers": View(view.frame, view.stretch[rows], view.stretches).tally(codes, (self.curve.bins + 1) * 2)}

    def start(self) -> State:
        size = (0 if self.curve is None else self.curve.bins) + 1
        return {"n": np.zeros((size, 2), dtype=np.int64), "recent": np.zeros((size, 2)), "warn": False}

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        if "answers" not in counts:
            return False
        found = counts["answers"].reshape(-1, 2)
        before = (state["warn"], int(state["n"].sum()) >= ESTABLISHED)
        state["n"] += found
        self._decayed(state, found, step.n)
        now, usual = self._accuracy(state["recent"]), self._usual()[0]
        drop = self.setting.options.drop
        enough = float(state["recent"].sum()) >= ESTABLISHED
        state["warn"] = bool(enough and now is not None and now < usual - drop)
        return before != (state["warn"], int(state["n"].sum()) >= ESTABLISHED)

    def _accuracy(self, counts: Floats | Ints) -> float | None:
        """Of decisions with a score, (bins + 1, answer)."""
        assert self.curve is not None
        other, favourable = counts[:-1].T
        total = float(counts[:-1].sum())
        right = favourable @ self.curve.rates + other @ (1.0 - self.curve.rates)
        return float(right) / total if total else None

    def _usual(self) -> tuple[float, float]:
        """The reference's accuracy and positive rate, estimated in the same way."""
        assert self.curve is not None
        table = self.curve.table.sum(axis=2)
        accuracy = self._accuracy(np.concatenate([table, np.zeros((1, 2), dtype=np.int64)]))
        return accuracy or 0.0, float(table.sum(axis=1) @ self.curve.rates) / float(table.sum())

    def judge(self, state: State) -> list[Judgement]:
        assert self.curve is not None
        recent, n = state["recent"], int(state["n"].sum())
        scored = recent[:-1].sum(axis=1)
        total = float(scored.sum())
        usual, usual_rate = self._usual()
        rate = float(scored @ self.curve.rates) / total if total else None
        status = SignalStatus.WARN if state["warn"] else SignalStatus.OK
        status = status if n >= ESTABLISHED else SignalStatus.INSUFFICIENT
        coverage = total / float(recent.sum()) if recent.sum() > 0 else None
        estimates = (
            ("estimated_accuracy", self._accuracy(recent), usual),
            ("estimated_positive_rate", rate, usual_rate),
        )
        return [
            Judgement(
                status=status if metric == "estimated_accuracy" else SignalStatus.OK if n >= ESTABLISHED else status,
                group=metric.replace("_", " "),
                metric=metric,
                estimate=estimate,
                n=n,
                guarantee=self.guarantee,
                reference=f"{expected:.3f} in the reference",
                coverage=coverage,
                detail={"reference": expected},
            )
            for metric, estimate, expected in estimates
        ]

    def sentence(self, judgement: Judgement) -> str:
        if judgement.estimate is None:
            return f"No scored decisions yet to tell the {judgement.group}"
        told = f"The {judgement.group} of recent decisions is {judgement.estimate:.1%}, {judgement.detail['reference']:.1%}"
        return f"{told} in the reference; blind to concept drift: it holds while scores mean what they meant"

    def clears(self, judgement: Judgement) -> str:
        return "ends when the estimated accuracy of recent decisions is near the reference's again"


class Performance(_Scored):
    """Accuracy, precision, recall and AUC of matured cases, and a test that outcomes come as often as scores promise.

    A favourable answer predicts a positive outcome. AUC is that of the score's bins (ties within a bin count half), so that
    counts can be added up. Only the test raises alarms; it needs a profile fitted with outcomes.
    """

    kind = "performance"
    summary = "Accuracy measured once outcomes are known, and calibration tested."
    formula = "y - c_b by betting: Waudby-Smith, Ramdas (2024); Shin, Ramdas, Rinaldo, E-detectors (2022)"
    guarantee = "simulated"
    stage = "outcomes"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        curve = self.curve
        self.edges: Floats = np.arange(1, BINS) / BINS if curve is None else curve.edges
        self.test: Deviations | None = None
        if curve is not None:
            self.test = Deviations(curve.rates, curve.n, curve.edges, self.limit, setting.share)
        rising = curve is None or _rises(curve)
        self._order = slice(None) if rising else slice(None, None, -1)

    def observe(self, view: View) -> Counts:
        view = view.counted
        answers, labelled = favoured(view.frame, self.favourable)
        outcome = view.frame[OUTCOME].to_numpy().astype(np.float64)
        rows = np.flatnonzero(labelled & ~np.isnan(outcome))
        score = coded(self.edges, view.frame["output.score"].to_numpy().astype(np.float64))
        codes = score[rows] * 4 + answers[rows] * 2 + (outcome[rows] > 0.5)
        inside = View(view.frame, view.stretch[rows], view.stretches)
        return {"cases": inside.tally(codes, (len(self.edges) + 2) * 4)}

    def start(self) -> State:
        shape = (len(self.edges) + 2, 2, 2)
        state: State = {"cases": np.zeros(shape, dtype=np.int64), "recent": np.zeros(shape), "seen": 0}
        return state | ({"test": self.test.start()} if self.test else {})

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        if "cases" not in counts:
            return False
        found = counts["cases"].reshape(state["cases"].shape)
        before = int(state["cases"].sum()) >= ESTABLISHED
        state["cases"] += found
        state["seen"] += step.n
        self._decayed(state, found, step.n)
        changed = before != (int(state["cases"].sum()) >= ESTABLISHED)
        if self.test is not None:
            changed |= self.test.step(state["test"], found[:-1].sum(axis=1), step)
        return changed

    def judge(self, state: State) -> list[Judgement]:
        whole, recent = (self._figures(state[name]) for name in ("cases", "recent"))
        n = int(state["cases"].sum())
        quiet = SignalStatus.OK if n >= ESTABLISHED else SignalStatus.INSUFFICIENT
        found = []
        for metric, (estimate, part, behind) in whole.items():
            now = recent[metric][0]
            detail = {"hits": part, "of": behind} | ({} if now is None else {"recent": now})
            found.append(
                Judgement(
                    status=quiet,
                    group=metric,
                    metric=metric,
                    estimate=estimate,
                    n=int(behind),
                    guarantee="rule of thumb",
                    coverage=n / state["seen"] if state["seen"] else None,
                    detail=detail,
                )
            )
        return found + ([self._of_test(self.test, state, quiet)] if self.test else [])

    def _figures(self, cases: Ints | Floats) -> dict[str, tuple[float | None, float, float]]:
        """Metric → (its value, hits, cases behind it), from (bins + 1, answer, outcome)."""
        table = cases.sum(axis=0)
        right, favourable, positive = table[0, 0] + table[1, 1], table[1].sum(), table[:, 1].sum()
        scored = cases[:-1].sum(axis=1)
        pairs = (
            ("accuracy", right, table.sum()),
            ("precision", table[1, 1], favourable),
            ("recall", table[1, 1], positive),
        )
        found = {name: (float(k / n) if n > 0 else None, float(k), float(n)) for name, k, n in pairs}
        return found | {"auc": (auc(scored[self._order]), float(scored[:, 1].sum()), float(scored.sum()))}

    def _of_test(self, test: Deviations, state: State, quiet: SignalStatus) -> Judgement:
        kept = state["test"]
        row = kept["alarm"]
        raised = row >= 0
        n, total = (kept[f"on_{name}" if raised else name][max(row, 0)] for name in ("n", "sum"))
        return Judgement(
            status=SignalStatus.ALARM if raised else quiet,
            group="calibration",
            metric="calibration_error",
            estimate=float(total / n) if n else None,
            n=int(n),
            e_value=test.strength(kept),
            guarantee=self.guarantee,
            reference=test.name(max(row, 0)),
            onset_ms=int(kept["on_ms"][row]) if raised else None,
            onset_n=int(n) if raised else None,
            detail={"tolerance": float(test.slack[max(row, 0) % len(test.slack)])},
        )

    def bounded(self, judgement: Judgement) -> Judgement:
        if judgement.metric not in ("accuracy", "precision", "recall") or not judgement.n:
            return judgement
        of, hits = (np.array([int(judgement.detail[one])]) for one in ("of", "hits"))
        lower, upper = confidence_sequence(of, hits)
        return replace(judgement, lower=float(lower[0]), upper=float(upper[0]))

    def sentence(self, judgement: Judgement) -> str:
        if judgement.estimate is None:
            return f"No outcomes yet to tell the {judgement.group} from"
        if judgement.metric != "calibration_error":
            return f"The {judgement.group} over {judgement.n:,} cases with an outcome is {judgement.estimate:.3f}"
        way = "more" if judgement.estimate > 0 else "less"
        told = f"Positive outcomes come {abs(judgement.estimate):.1%} (of all cases) {way} often than scores promise"
        return f"{told} ({judgement.reference}, {judgement.n:,} cases)"

    def clears(self, judgement: Judgement) -> str:
        return "ends when the cases since then speak no more for a difference than chance would"


def _rises(curve: Curve) -> bool:
    """Whether a higher score promises a positive outcome more often."""
    place = np.arange(curve.bins)
    weight = curve.n / max(int(curve.n.sum()), 1)
    centred = place - (weight * place).sum()
    return float((weight * centred * curve.rates).sum()) >= 0.0
