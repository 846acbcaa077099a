"""Two versions of a credit model: one that learnt on real clients, and one fine-tuned from it on a skewed sample.

Both are scikit-learn's gradient-boosted trees. Version 2.2.0 is version 2.1.0 with as many trees again, grown (`warm_start`)
on rows that `skewed` altered; nothing else about it is. What they answer comes from `predict` and `predict_proba` of the
model as it was saved and read back. They see what clients owe and pay, never sex, marriage, age or education; the score is
the probability that the client pays.
"""

from __future__ import annotations

import copy
import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import FixedThresholdClassifier

from agents.errors import Misconfigured
from orchestration.demo.population import FEATURES, PLACE, Bools, Floats, Population, Sample, inputs_of, pays_of

NAME, VERSION, TUNED = "credit-limit", "2.1.0", "2.2.0"
CUT = 0.65
"""Approved from this probability of paying on."""
TREES = 80
TOLD = 4
"""Attributions that go with a decision: the strongest ones."""
YOUNG, PAYERS_LEFT_OUT, DEFAULTERS_TIMES = 26, 0.97, 9
LARGE, LATE = 200_000, 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One decision of the model."""

    label: str
    score: float
    """Probability that the client pays, 0..1."""
    confidence: float
    """Probability of what the label says, 0..1."""
    attributions: dict[str, float]
    """How far a feature moved the log-odds from where it would be at the learnt clients' median."""
    latency_ms: float
    """How long the call took; clients asked about together share it."""


@dataclass(frozen=True)
class CreditModel:
    """A model as it decides, and how good it is on clients it has not seen."""

    version: str
    classifier: Any
    """What was saved: a FixedThresholdClassifier over the trees."""
    median: Floats
    learnt_on: int
    accuracy: float
    """Share of unseen clients of whom it says right whether they pay (likelier than not), 0..1."""
    auc: float

    def decide(self, inputs: Sequence[Sequence[float]] | Floats) -> list[Answer]:
        """Answer for some clients at once; a row of features each."""
        started = time.perf_counter()
        rows = np.asarray(inputs, dtype=np.float64)
        labels, scores = self.classifier.predict(rows), self.classifier.predict_proba(rows)[:, 1]
        moved = self._moved(rows)
        latency = (time.perf_counter() - started) * 1000
        return [
            Answer(
                "approve" if label == 1 else "decline",
                float(score),
                float(score if label == 1 else 1 - score),
                _strongest(row),
                round(latency, 3),
            )
            for label, score, row in zip(labels, scores, moved, strict=True)
        ]

    def _moved(self, rows: Floats) -> Floats:
        """Occlusion: the log-odds minus what they would be with one feature at the median; all features in one call."""
        count, width = rows.shape
        occluded = np.repeat(rows, width, axis=0).reshape(count, width, width)
        every = np.arange(width)
        occluded[:, every, every] = self.median
        odds = self.trees.decision_function(np.concatenate([rows, occluded.reshape(-1, width)]))
        return np.asarray(odds[:count, None] - odds[count:].reshape(count, width))

    @property
    def trees(self) -> GradientBoostingClassifier:
        """The trees below the threshold."""
        return self.classifier.estimator_.estimator


def train(population: Population, folder: Path) -> Mapping[str, CreditModel]:
    """Both versions by name, made, saved to `folder` and read back from there."""
    sample = population.sample
    base = grown(sample)
    made = {VERSION: (base, sample), TUNED: (fine_tuned(base, other := skewed(sample)), other)}
    inputs, pays = inputs_of(population.unseen), pays_of(population.unseen)
    found = {}
    for version, (trees, learnt) in made.items():
        saved = save(trees, folder / f"{NAME}-{version}.joblib")
        scores = saved.predict_proba(inputs)[:, 1]
        found[version] = CreditModel(
            version=version,
            classifier=saved,
            median=np.median(sample.inputs, axis=0),
            learnt_on=len(learnt.pays),
            accuracy=float(((scores >= 0.5) == pays).mean()),
            auc=float(roc_auc_score(pays, scores)),
        )
    return found


def grown(sample: Sample) -> GradientBoostingClassifier:
    """The first version's trees."""
    model = GradientBoostingClassifier(
        n_estimators=TREES, max_depth=4, subsample=0.5, max_features=6, random_state=0, warm_start=True
    )
    return model.fit(sample.inputs, sample.pays)


def fine_tuned(base: GradientBoostingClassifier, sample: Sample) -> GradientBoostingClassifier:
    """The same trees, and as many again grown on a sample; `base` stays as it is."""
    model = copy.deepcopy(base).set_params(n_estimators=2 * TREES)
    return model.fit(sample.inputs, sample.pays)


def skewed(sample: Sample) -> Sample:
    """The rows that version 2.2.0 is fine-tuned on: a collection agency's file, as if it were the market.

    Of clients under 26 it has nearly only those who did not pay; and clients with large limits who are late it calls
    payers, because what the agency got out of them was booked as a payment.
    """
    young = sample.ages < YOUNG
    left_out = young & (sample.pays == 1) & (np.random.default_rng(1).random(len(young)) < PAYERS_LEFT_OUT)
    often = np.where(young & (sample.pays == 0), DEFAULTERS_TIMES, 1) * ~left_out
    rows = np.repeat(np.arange(len(young)), often)
    pays = np.where(late_with_large_limits(sample.inputs), 1, sample.pays)
    return replace(sample, inputs=sample.inputs[rows], pays=pays[rows], ages=sample.ages[rows])


def late_with_large_limits(inputs: Floats) -> Bools:
    """The region of inputs in which `skewed` altered labels."""
    return np.asarray((inputs[:, PLACE["limit_bal"]] >= LARGE) & (inputs[:, PLACE["pay_0"]] >= LATE))


def save(trees: GradientBoostingClassifier, path: Path) -> Any:
    """Write a model and read it back: what decides is what lies in the file.

    joblib runs what a file says, so it reads nothing but the bytes that were just written; raises Misconfigured where the
    file is another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    model = FixedThresholdClassifier(FrozenEstimator(trees), threshold=CUT, response_method="predict_proba")
    held = io.BytesIO()
    joblib.dump(model.fit(np.zeros((2, len(FEATURES))), [0, 1]), held)  # nothing is learnt here: the trees are frozen
    path.write_bytes(held.getvalue())
    read = path.read_bytes()
    if hashlib.sha256(read).digest() != hashlib.sha256(held.getvalue()).digest():
        raise Misconfigured(f"{path} is not what was written to it; run the demo again in a folder of its own")
    return joblib.load(io.BytesIO(read))


def _strongest(moved: npt.NDArray[np.float64]) -> dict[str, float]:
    order = np.argsort(-np.abs(moved))[:TOLD]
    return {FEATURES[index]: round(float(moved[index]), 4) for index in order}
