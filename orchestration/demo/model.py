"""A credit model for the demo: it learns on half of the real clients and decides for the others, whom it has never seen.

It sees what clients owe and pay, never sex, marriage, age or education. Its score is the probability that the client
pays; it approves where that is the likelier outcome.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAME, VERSION = "credit-limit", "2.1.0"
SEED = 20260302
FEATURES = (
    "limit_bal",
    *("pay_0", "pay_2", "pay_3", "pay_4", "pay_5", "pay_6"),
    *(f"bill_amt{month}" for month in range(1, 7)),
    *(f"pay_amt{month}" for month in range(1, 7)),
)
TOLD = 4  # attributions that go with a decision: the strongest ones


@dataclass(frozen=True, slots=True)
class Client:
    """A client whom the model has not seen: what it is told of them."""

    number: int
    features: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One decision of the model."""

    label: str
    score: float
    """Probability that the client pays, 0..1."""
    confidence: float
    """Probability of what the label says, 0..1."""
    attributions: dict[str, float]
    """How far a feature moved the log-odds from those of an average client."""
    latency_ms: float
    """How long the call took; clients asked about together share it."""


@dataclass(frozen=True)
class CreditModel:
    """A fitted model and how good it is on clients it has not seen."""

    pipeline: Any
    learnt_on: int
    accuracy: float
    """Share of unseen clients of whom it says right whether they pay, 0..1."""
    auc: float

    def decide(self, clients: Sequence[Client]) -> list[Answer]:
        """Answer for some clients at once."""
        started = time.perf_counter()
        inputs = np.array([client.features for client in clients], dtype=np.float64)
        labels, scores = self.pipeline.predict(inputs), self.pipeline.predict_proba(inputs)[:, 1]
        moved = self.pipeline[0].transform(inputs) * self.pipeline[1].coef_[0]
        latency = (time.perf_counter() - started) * 1000
        return [
            Answer(
                "approve" if label == 1 else "decline",
                float(score),
                float(max(score, 1 - score)),
                _strongest(row),
                round(latency, 3),
            )
            for label, score, row in zip(labels, scores, moved, strict=True)
        ]


def train() -> tuple[CreditModel, list[Client]]:
    """The model, and the clients it has not seen, in a fixed random order."""
    found = resources.files("orchestration.demo").joinpath("data", "credit_default.parquet").read_bytes()
    everybody = pl.read_parquet(found)
    order = np.random.default_rng(SEED).permutation(len(everybody))
    seen, unseen = everybody[order[: len(order) // 2]], everybody[order[len(order) // 2 :]]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    pipeline.fit(_inputs(seen), _pays(seen))
    scores = pipeline.predict_proba(_inputs(unseen))[:, 1]
    right = float((pipeline.predict(_inputs(unseen)) == _pays(unseen)).mean())
    model = CreditModel(pipeline, len(seen), right, float(roc_auc_score(_pays(unseen), scores)))
    clients = [Client(row[0], row[1:]) for row in unseen.select("id", *FEATURES).iter_rows()]
    return model, clients


def _inputs(frame: pl.DataFrame) -> npt.NDArray[np.float64]:
    return frame.select(FEATURES).to_numpy().astype(np.float64)


def _pays(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    return 1 - frame["default_next_month"].to_numpy().astype(np.int64)


def _strongest(moved: npt.NDArray[np.float64]) -> dict[str, float]:
    order = np.argsort(-np.abs(moved))[:TOLD]
    return {FEATURES[index]: round(float(moved[index]), 4) for index in order}
