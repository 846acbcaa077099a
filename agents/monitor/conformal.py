"""How unusual is one decision's input? Isolation scores as p-values that hold whatever the features' distribution.

For the anomaly monitor, and for the policy lane where a rule asks for `anomaly.p_value` or `anomaly.score`. A p-value is
the share of calibration decisions at least as unusual: (1 + #{cal ≥ s}) / (n_cal + 1) (Bates et al., 2023). Among decisions
like those of the reference it is at most t with probability t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from sklearn.ensemble import IsolationForest

from agents.configuration import Model
from agents.errors import Misconfigured
from agents.monitor.contract import Bools, Floats, State
from agents.monitor.detectors import rounded
from agents.monitor.encoding import Encoder
from agents.monitor.trees import Isolation, exported_isolation

TREES = 64
SAMPLES = 256
CALIBRATION = 4_000
"""Fewest decisions to calibrate on: below, no p-value of 1e-3 could be told from chance."""
TRAINING = 1_000
"""Fewest decisions to grow trees on."""
MOST = 20_000
"""Decisions for either, at most."""
FLAG = 1e-3
BLOCK = 250
LARGEST = 1e30
"""Numbers beyond are as large as this; single precision ends not far off."""


class Anomalies:
    """A profile's isolation forest with its calibration, ready to score."""

    def __init__(self, section: State) -> None:
        """Read what `fitted` wrote; raises Misconfigured where it is not that."""
        self.encoder = Encoder.of(section)
        self.forest = Isolation(section["forest"])
        width = len(self.encoder.names)
        self._missing, self._typical, self._calibration = (
            section[name] for name in ("missing", "typical", "calibration")
        )
        fits = self.forest.features == width and self._missing.shape == (width,) == self._typical.shape
        calibration = self._calibration
        if not fits or calibration.ndim != 1 or not len(calibration) or (np.diff(calibration) < 0).any():
            raise Misconfigured("the profile's anomaly scores are damaged; fit the profile again")

    @property
    def columns(self) -> Sequence[str]:
        """The decision columns that scoring reads."""
        return self.encoder.columns

    @property
    def calibrated_on(self) -> int:
        """Calibration decisions."""
        return len(self._calibration)

    def scores(self, frame: pl.DataFrame) -> Floats:
        """0 … 1, a row each; large is unusual. To multiples of 2⁻³², so that ties stay ties on every processor."""
        return rounded(self.forest.score(self._filled(frame)))

    def p_values(self, scores: Floats) -> Floats:
        """The share of calibration decisions, this one included, that are at least as unusual."""
        above = len(self._calibration) - np.searchsorted(self._calibration, scores, side="left")
        return np.asarray((1.0 + above) / (len(self._calibration) + 1.0))

    def rule_columns(self, frame: pl.DataFrame) -> Mapping[str, Floats]:
        """The columns that a rule may ask for, a row each: `anomaly.p_value` and `anomaly.score`."""
        scores = self.scores(frame)
        return {"anomaly.p_value": self.p_values(scores), "anomaly.score": scores}

    def reasons(self, frame: pl.DataFrame, most: int = 3) -> list[list[tuple[str, float]]]:
        """For each row the features that make it unusual, and by how much.

        A feature's part is how far the score falls when its value alone is replaced by the reference's typical one
        (median, or most frequent level). It costs a scoring for each feature: for flagged rows only.
        """
        rows = self._filled(frame)
        whole = self.forest.score(rows)
        falls = np.empty(rows.shape)
        for place in range(rows.shape[1]):
            usual = rows.copy()
            usual[:, place] = self._typical[place]
            falls[:, place] = rounded(whole - self.forest.score(usual))
        best = np.argsort(-falls, axis=1, kind="stable")[:, :most]
        names = self.encoder.names
        return [
            [(names[place], float(fall[place])) for place in order if fall[place] > 0]
            for order, fall in zip(best, falls, strict=True)
        ]

    def _filled(self, frame: pl.DataFrame) -> Floats:
        return _filled(self.encoder.matrix(frame), self._missing)


def review(p_values: Floats, q: float = 0.1, block: int = BLOCK) -> Bools:
    """Which decisions belong on a list for review: Benjamini-Hochberg within each block of so many, in their order.

    Of those on a list a share of at most `q` is expected to be usual ones. The last block may be shorter.

    >>> review(np.array([0.001, 0.04, 0.5, 0.9])).tolist()
    [True, True, False, False]
    """
    found = np.zeros(len(p_values), dtype=np.bool_)
    for first in range(0, len(p_values), block):
        part = p_values[first : first + block]
        order = np.argsort(part, kind="stable")
        passes = np.flatnonzero(part[order] <= q * np.arange(1, len(part) + 1) / len(part))
        if len(passes):
            found[first + order[: passes[-1] + 1]] = True
    return found


def fitted(frame: pl.DataFrame, declaration: Model) -> tuple[State | None, Sequence[str]]:
    """A profile's section from reference decisions, and remarks; trees grow on other rows than those for calibration."""
    encoder = Encoder.fit(frame, declaration)
    if not encoder.names:
        return None, ["no feature of the model has a value in the reference: no anomaly scores"]
    if frame.height < CALIBRATION + TRAINING:
        needed = f"anomaly scores need {CALIBRATION + TRAINING:,} reference decisions; there are {frame.height:,}"
        return None, [f"{needed}: none"]
    calibrating = np.zeros(frame.height, dtype=np.bool_)
    calibrating[_spread(frame.height, max(CALIBRATION, frame.height // 2))] = True
    grow, measure = (np.flatnonzero(one) for one in (~calibrating, calibrating))
    grow, measure = (one[_spread(len(one), min(len(one), MOST))] for one in (grow, measure))
    matrix = encoder.matrix(frame)
    missing, typical = _stand_ins(matrix[grow], encoder)
    rows = _filled(matrix, missing)
    forest = IsolationForest(n_estimators=TREES, max_samples=SAMPLES, random_state=0).fit(rows[grow])
    section = encoder.section() | {"forest": exported_isolation(forest), "missing": missing, "typical": typical}
    section["calibration"] = np.sort(rounded(Isolation(section["forest"]).score(rows[measure])))
    constant = [
        name for name, one in zip(encoder.names, rows[grow].T, strict=True) if float(one.min()) == float(one.max())
    ]
    told = [f"anomaly scores: calibrated on {len(measure):,} decisions; one in 1,000 usual ones is flagged"]
    if constant:
        told.append(f"anomaly scores cannot see changes of {', '.join(constant)}: constant in the reference")
    return section, told


def _spread(height: int, count: int) -> np.ndarray:
    """So many rows, evenly over all."""
    return np.linspace(0, height - 1, count).round().astype(np.int64)


def _stand_ins(matrix: Floats, encoder: Encoder) -> tuple[Floats, Floats]:
    """What stands for a missing value (below all others: rare where missing is rare), and the typical value, a feature each."""
    missing, typical = np.empty(matrix.shape[1]), np.empty(matrix.shape[1])
    for place, column in enumerate(matrix.T):
        known = np.clip(column[~np.isnan(column)], -LARGEST, LARGEST)
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        middle = np.quantile(known, [0.05, 0.95]) if len(known) else np.zeros(2)
        missing[place] = max(low - max((middle[1] - middle[0]) / 2.0, 1e-3 * max(1.0, abs(high))), -LARGEST)
        often_missing = 2 * len(known) < len(column)
        usual = 0.0 if encoder.levels[place] is not None else float(np.median(known)) if len(known) else low
        typical[place] = missing[place] if often_missing else usual
    return missing, typical


def _filled(matrix: Floats, missing: Floats) -> Floats:
    found = np.where(np.isnan(matrix), missing, matrix)
    return np.clip(found, -LARGEST, LARGEST)
