"""What the reference version would have said: a surrogate learnt from its decisions, and how far off it is by itself.

Kept in a profile as arrays (trees.py). Residuals are those of cross-fitting: each reference decision is predicted by trees
that have not seen it, so what a later decision's residual is compared with is not flattered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.contract import Bools, Floats, Ints, State
from agents.monitor.cuts import Cut, favourable_labels, favoured
from agents.monitor.encoding import Encoder
from agents.monitor.trees import Boosted, exported_boosted

DECILES = 10
SHARES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
"""Where residuals within a decile are cut: shares of the reference's."""
FOLDS = 5
GRAIN = 0.1
"""Residuals smaller than this part of the score's standard deviation are all the same: there a surrogate errs elsewhere than
in the reference once inputs shift."""
SLICE = 30
"""Reference decisions of a decile that a slice needs to be looked at."""
LEAST = 2_000
MOST = 40_000
SCORED = 0.95
"""A reference of which fewer decisions have a score is compared by its answers."""
SETTINGS = {"max_iter": 60, "max_leaf_nodes": 15, "learning_rate": 0.15, "early_stopping": False, "random_state": 0}


@dataclass(frozen=True)
class Residuals:
    """Where a decision stands: its decile of what was expected, and its residual's bin there; a row each."""

    expected: Floats
    decile: Ints
    code: Ints
    """0 … bins of the decile - 1; `bins` of the decile where the decision has no score (no answer)."""


class Surrogate:
    """Trees that stand for the reference version."""

    def __init__(self, section: State) -> None:
        """Read what `fit` wrote; raises Misconfigured where it is not that."""
        self.encoder = Encoder.of(section)
        self.trees = Boosted(section["trees"])
        self.by_score = bool(section["by_score"])
        self.deciles: Floats = section["deciles"]
        self.edges: Floats = section["edges"]
        self.bins: Ints = section["bins"]
        self.reference: Ints = section["reference"]
        self.usual: Floats = section["usual"]
        """Mean residual of each decile in the reference."""
        self.unevenness = float(section["unevenness"])
        cut = section.get("cut")
        self.cut = None if cut is None else Cut(float(cut["at"]), bool(cut["above"]), float(cut["agreement"]))
        width = self.edges.shape[-1] + 1
        fits = (
            self.trees.features == len(self.encoder.names)
            and self.deciles.shape == (DECILES - 1,)
            and self.edges.shape == (DECILES, width - 1)
            and self.bins.shape == (DECILES,)
            and self.reference.shape == (DECILES, width + 1)
            and self.usual.shape == (DECILES,)
            and bool((self.bins >= 1).all() and (self.bins <= width).all() and (self.reference >= 0).all())
        )
        if not fits or np.isnan(self.edges).any() or np.isnan(self.deciles).any():
            raise Misconfigured("the profile's surrogate is damaged; fit the profile again")

    @property
    def columns(self) -> frozenset[str]:
        """The decision columns that it reads."""
        read = {*self.encoder.columns, "output.score"} if self.by_score else set(self.encoder.columns)
        return frozenset(read | ({"output.label"} if self.cut is not None or not self.by_score else set()))

    def residuals(self, matrix: Floats, said: Floats) -> Residuals:
        """For rows of the encoder's matrix and what the new version said (its score, or 1 and 0 for its answer)."""
        expected = self.trees.predict(matrix)
        decile = np.searchsorted(self.deciles, expected, side="right")
        code = (said - expected)[:, None] > self.edges[decile]
        codes = np.where(np.isnan(said), self.bins[decile], code.sum(axis=1))
        return Residuals(expected, decile, codes)

    def said(self, frame: pl.DataFrame, favourable: frozenset[str]) -> Floats:
        """What decisions said, in the surrogate's terms; NaN where they said nothing."""
        return _said(frame, favourable, self.by_score)


@dataclass(frozen=True)
class Fitted:
    """What fitting gives; without a section the rest is empty."""

    remarks: Sequence[str]
    section: State | None = None
    encoder: Encoder | None = None
    rows: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The reference decisions that were used."""
    matrix: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """Their features, encoded."""
    decile: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """What was expected of them by trees that have not seen them, as its decile."""
    judged: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    """Those of them that have an answer."""
    flips: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    """Those of them whose answer trees that have not seen it do not expect."""


def fit(frame: pl.DataFrame, declaration: Model) -> Fitted:
    """A section from reference decisions; `cut` is in it only where there are answers to expect."""
    labels = favourable_labels(declaration)
    encoder = Encoder.fit(frame, declaration)
    missing = frame["output.score"].null_count() if "output.score" in frame.columns else frame.height
    by_score = missing <= (1.0 - SCORED) * frame.height
    if not encoder.names or not (by_score or (labels and "output.label" in frame.columns)):
        return Fitted(["behaviour needs features, and a score or a favourable label: no surrogate"])
    said = _said(frame, labels, by_score)
    rows = np.flatnonzero(~np.isnan(said))
    if len(rows) < LEAST:
        return Fitted([f"a surrogate needs {LEAST:,} reference decisions with an answer; there are {len(rows):,}"])
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().astype(np.int64)]
    used = frame[rows]
    target, matrix = said[rows], encoder.matrix(used)
    if len(np.unique(target)) < 2:
        return Fitted(["all reference decisions said the same: no surrogate"])
    expected = _cross_fitted(matrix, target, by_score)
    section: State = encoder.section() | {"trees": exported_boosted(_model(matrix, target, by_score))}
    section |= {"by_score": by_score} | _binned(expected, target)
    section["unevenness"] = _unevenness(section, matrix, expected, target)
    judged = flips = np.zeros(len(rows), dtype=np.bool_)
    if labels and "output.label" in frame.columns:
        answers, known = favoured(used, labels)
        cut = Cut.fit(np.where(known, expected, np.nan), answers)
        if cut is not None:
            section["cut"] = {"at": cut.at, "above": cut.above, "agreement": cut.agreement}
            judged, flips = known, known & (answers != cut.favours(expected))
    remarks = _remarks(expected, target, by_score)
    if judged.any():
        share = flips.sum() / judged.sum()
        remarks.append(f"behaviour: {share:.1%} of held-out answers differ from what the surrogate expects")
        if share > 0.2:
            remarks.append("behaviour: the features hardly tell the answer; flips of a new version are seen late")
    decile = np.searchsorted(section["deciles"], expected, side="right")
    return Fitted(remarks, section, encoder, rows, matrix, decile, judged, flips)


def _said(frame: pl.DataFrame, favourable: frozenset[str], by_score: bool) -> Floats:
    if by_score:
        return np.asarray(frame["output.score"].to_numpy(), dtype=np.float64)
    answers, known = favoured(frame, favourable)
    return np.where(known, answers.astype(np.float64), np.nan)


def _model(matrix: Floats, target: Floats, by_score: bool) -> Any:
    made = HistGradientBoostingRegressor if by_score else HistGradientBoostingClassifier
    return made(**SETTINGS).fit(matrix, target)


def _cross_fitted(matrix: Floats, target: Floats, by_score: bool) -> Floats:
    """Each row predicted by trees that have not seen it; folds are every fifth row, so that time does not part them."""
    found = np.empty(len(target))
    fold = np.arange(len(target)) % FOLDS
    for one in range(FOLDS):
        held = fold == one
        if len(np.unique(target[~held])) < 2:
            found[held] = target[~held][0]
            continue
        model = _model(matrix[~held], target[~held], by_score)
        found[held] = model.predict(matrix[held]) if by_score else model.predict_proba(matrix[held])[:, 1]
    return found


def _binned(expected: Floats, target: Floats) -> State:
    """Deciles of what is expected, and within each the residuals' bins with their counts, and their mean."""
    deciles = np.quantile(expected, np.arange(1, DECILES) / DECILES)
    decile = np.searchsorted(deciles, expected, side="right")
    residual = target - expected
    grain = GRAIN * float(np.std(target))
    width = len(SHARES) + 1
    edges = np.full((DECILES, width - 1), np.inf)
    bins = np.ones(DECILES, dtype=np.int64)
    reference = np.zeros((DECILES, width + 1), dtype=np.int64)
    usual = np.zeros(DECILES)
    for one in range(DECILES):
        inside = residual[decile == one]
        if not len(inside):
            continue
        cuts = np.quantile(inside, SHARES, method="higher")
        cuts = np.unique(np.where(np.abs(cuts) < grain, np.where(np.array(SHARES) < 0.5, -grain, grain), cuts))
        cuts = cuts[cuts < inside.max()]
        edges[one, : len(cuts)] = cuts
        bins[one] = len(cuts) + 1
        code = (inside[:, None] > cuts).sum(axis=1)
        reference[one, : len(cuts) + 1] = np.bincount(code, minlength=len(cuts) + 1)
        usual[one] = inside.mean()
    return {"deciles": deciles, "edges": edges, "bins": bins, "reference": reference, "usual": usual}


def _unevenness(section: State, matrix: Floats, expected: Floats, target: Floats) -> float:
    """How much residuals within deciles depend on the inputs: what a shift of inputs alone may make of them.

    The largest χ² distance, averaged over deciles and freed from chance, between the residuals of a feature's lowest or
    highest fifth and all: large where the surrogate errs in places.
    """
    decile = np.searchsorted(section["deciles"], expected, side="right")
    reference, bins = section["reference"], section["bins"]
    codes = decile * reference.shape[1] + ((target - expected)[:, None] > section["edges"][decile]).sum(axis=1)
    usual = reference / np.maximum(reference.sum(axis=1, keepdims=True), 1)
    inverse = np.where(usual > 0, 1.0 / np.where(usual > 0, usual, 1.0), 0.0)
    largest = 0.0
    for column in matrix.T:
        low, high = np.nanquantile(column, [0.2, 0.8])
        for rows in (column <= low, column >= high, np.isnan(column)):
            counts = np.bincount(codes[rows], minlength=usual.size).reshape(usual.shape)
            n = counts.sum(axis=1)
            distance = ((counts / np.maximum(n, 1)[:, None] - usual) ** 2 * inverse).sum(axis=1)
            enough = n >= SLICE
            if enough.any():
                over = distance - (bins - 1) / np.maximum(n, 1)
                largest = max(largest, float((over * n)[enough].sum() / n[enough].sum()))
    return largest


def _remarks(expected: Floats, target: Floats, by_score: bool) -> list[str]:
    """How well the surrogate knows the reference version, in plain words."""
    told = []
    if by_score:
        r2 = float(r2_score(target, expected))
        spread = float(np.std(target - expected))
        told.append(
            f"behaviour: from the features alone {max(r2, 0.0):.0%} of the score's variance can be foretold (R² on held-out "
            f"decisions); it is off by {spread:.3g} as a rule, and much smaller changes of a new version are not seen"
        )
    else:
        auc = float(roc_auc_score(target, expected))
        told.append(
            f"behaviour: without scores, answers are foretold from the features (AUC {auc:.2f} on held-out decisions); "
            "changes are seen once answers flip"
        )
    return told
