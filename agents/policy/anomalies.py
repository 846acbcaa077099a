"""How unusual a decision's input is, for rules that ask: `anomaly.p_value`, `anomaly.score`, in reasons `anomaly.because`.

Promise to the rules: nothing is computed unless a rule of the model reads it, and a decision gets the same figures alone and
in any batch. What computes them was made from a profile and comes in as an argument, by the profile's digest: no policy waits
for scikit-learn, and whoever judges again brings the same profile or none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from agents.errors import NotReady
from agents.policy.columns import ANOMALY, BECAUSE


class Scores(Protocol):
    """What is asked of a profile's scores, of frames with the model's features (agents/monitor/conformal.py has it)."""

    def rule_columns(self, frame: pl.DataFrame) -> Mapping[str, npt.NDArray[np.float64]]:
        """The columns of ANOMALY, a row each."""

    def reasons(self, frame: pl.DataFrame, most: int = 3) -> Sequence[Sequence[tuple[str, float]]]:
        """For each row the features that make it unusual, and by how much: the strongest first."""


Known = Mapping[str, Scores | None]
"""By a profile's digest; None: the profile has no anomaly scores."""


def asked(names: Collection[str]) -> list[str]:
    """Those of some columns that are made here."""
    return [name for name in (*ANOMALY, BECAUSE) if name in names]


def anomalies(wanted: Collection[str], frame: pl.DataFrame, digest: str, known: Known) -> list[pl.Series]:
    """The wanted columns, a row each; null where the profile has no anomaly scores.

    Raises NotReady where the profile is not there: what a rule asks for is never taken for unknown because of that.
    """
    if digest not in known:
        raise NotReady(
            f"rules read {' and '.join(wanted)}, and the profile {digest} is not here: `govern profile fit` makes it, "
            "GOVERN_PROFILES says where it lies"
        )
    scores = known[digest]
    if scores is None:
        return [pl.repeat(None, len(frame), dtype=pl.Float64, eager=True).alias(name) for name in wanted]
    made = scores.rule_columns(frame) if {*wanted} - {BECAUSE} else {}
    return [
        pl.Series(name, _because(scores, frame)) if name == BECAUSE else pl.Series(name, made[name], dtype=pl.Float64)
        for name in wanted
    ]


def _because(scores: Scores, frame: pl.DataFrame) -> list[str]:
    return [", ".join(name for name, _ in one) or "no single feature" for one in scores.reasons(frame)]


def single(row: Mapping[str, object], features: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """One decision's features, by their columns and types, as a frame of one row."""
    return pl.DataFrame([pl.Series(name, [row.get(name)], dtype=kind) for name, kind in features.items()])
