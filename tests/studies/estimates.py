"""Accuracy estimated without outcomes, beside NannyML's CBPE and what really came, on real decisions: `make compare`.

A logistic model fitted on the first 10,000 of 30,000 clients decides on the others by their payment history; the next 10,000,
with their outcomes, are the reference of both, the last 10,000 are estimated in chunks of 1,000. NannyML calibrates by
isotonic regression where that helps, `calibration` always by 50 bins of equal mass.

It needs packages that are not in requirements.lock; `make compare` puts them into an environment of their own and runs this.
"""

from __future__ import annotations

import os

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # NannyML reports its use over the network otherwise

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from agents.configuration import Model
from agents.monitor.contract import Budget, Floats, Setting, Step, View, of_stretch
from agents.monitor.performance import Calibration, CalibrationOptions

DATA = Path(__file__).parents[2] / "orchestration/demo/data/credit_default.parquet"
THIRD, CHUNK = 10_000, 1_000
CUT = 0.7
"""Probability of repayment from which on the model approves."""
MODEL = Model.model_validate(
    {
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "features": {"limit": "numeric"},
        "outcomes": {"repaid": {"positive": True}, "default": {}},
    }
)


@dataclass(frozen=True)
class Accuracy:
    """Of each chunk."""

    real: Floats
    ours: Floats
    theirs: Floats


def decided() -> pl.DataFrame:
    """The last 20,000 clients: score (the probability of repayment), label and outcome."""
    clients = pl.read_parquet(DATA)
    numbers = clients.select(pl.selectors.starts_with("limit", "pay", "bill")).to_numpy().astype(float)
    repaid = 1 - clients["default_next_month"].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(numbers[:THIRD], repaid[:THIRD])
    chance = model.predict_proba(numbers[THIRD:])[:, 1]
    return pl.DataFrame(
        {
            "output.score": chance,
            "output.label": np.where(chance >= CUT, "approve", "decline"),
            "outcome": repaid[THIRD:].astype(float),
        }
    )


def view(frame: pl.DataFrame) -> View:
    """All of it as one stretch."""
    count = frame.height
    return View(frame, np.zeros(count, dtype=np.int64), 1, {}, np.arange(count))


def ours(reference: pl.DataFrame, chunks: Sequence[pl.DataFrame]) -> Floats:
    """What `calibration` says of each chunk, as if it were all that came so far."""
    section, _ = Calibration.fit(view(reference), MODEL)
    monitor = Calibration(Setting("calibration", "m", MODEL, CalibrationOptions(), Budget(1e6), 0.0, section))
    found = []
    for chunk in chunks:
        state, n = monitor.start(), chunk.height
        monitor.step(state, of_stretch(monitor.observe(view(chunk)), 0), Step(n, float(n), 0, 0))
        found += [one.estimate for one in monitor.judge(state) if one.metric == "estimated_accuracy"]
    return np.array(found, dtype=np.float64)


def theirs(reference: pl.DataFrame, rest: pl.DataFrame) -> Floats:
    """NannyML's estimate of each chunk."""
    import nannyml
    import pandas as pd

    def frame(given: pl.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "score": given["output.score"].to_numpy(),
                "answer": (given["output.label"] == "approve").to_numpy().astype(int),
                "outcome": given["outcome"].to_numpy().astype(int),
            }
        )

    estimator = nannyml.CBPE(
        y_pred_proba="score",
        y_pred="answer",
        y_true="outcome",
        problem_type="classification_binary",
        metrics=["accuracy"],
        chunk_size=CHUNK,
    )
    estimator.fit(frame(reference))
    found = estimator.estimate(frame(rest).drop(columns="outcome")).filter(period="analysis").to_df()
    return np.asarray(found["accuracy", "value"], dtype=np.float64)


def compared() -> Accuracy:
    """Both estimates and the truth, chunk by chunk."""
    frame = decided()
    reference, rest = frame[:THIRD], frame[THIRD:]
    chunks = [rest[start : start + CHUNK] for start in range(0, rest.height, CHUNK)]
    right = [((one["output.label"] == "approve") == (one["outcome"] > 0)).mean() for one in chunks]
    return Accuracy(np.array(right, dtype=np.float64), ours(reference, chunks), theirs(reference, rest))


def main(argv: Sequence[str] | None = None) -> None:
    """Print how far the three lie apart."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    warnings.simplefilter("ignore")
    import nannyml

    found = compared()
    apart, mine, other = (
        np.abs(one) for one in (found.ours - found.theirs, found.ours - found.real, found.theirs - found.real)
    )
    print(
        f"accuracy of {THIRD:,} real credit decisions in chunks of {CHUNK:,}, NannyML {nannyml.__version__}:\n"
        f"  really {found.real.mean():.4f}; estimated by calibration {found.ours.mean():.4f}, by CBPE "
        f"{found.theirs.mean():.4f}\n"
        f"  a chunk's two estimates differ by {apart.mean():.4f} on average, {apart.max():.4f} at most\n"
        f"  from what came, calibration is off by {mine.mean():.4f} and CBPE by {other.mean():.4f} on average"
    )


if __name__ == "__main__":
    main()
