"""The section of a profile that data drift is judged by: bins and counts of reference decisions, and how good they are.

Counts are kept by the strata of a week (seasons.py), so that the monitor may be told of seasons later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import chi2

from agents.configuration import Model
from agents.monitor.ball import Ball
from agents.monitor.bins import LEVELS, Binning, Bins, LevelBins, fit_levels, fit_numeric
from agents.monitor.concordance import Concordance
from agents.monitor.contract import Counts, Floats, Ints, State, View
from agents.monitor.seasons import STRATA, Seasons, added_up, strata_of

EXTRA = ("output.score",)
"""Numeric columns that are binned like features where the reference has them; a monitor watches them if it is told to."""
FEW = 1_000
"""With fewer reference decisions a profile is hardly worth the name."""
SMOOTH_BINS = 15
"""Of a smooth numeric feature."""
TOLD = 5


@dataclass(frozen=True, eq=False)
class Reference:
    """A section, read for some of its columns and for seasons."""

    binning: Binning
    counts: Ints
    """Flat, by stratum: (strata, size)."""
    concordance: Concordance
    alike: Ints
    """(strata, pairs)."""
    unknown: Ints
    n: Ints
    """Decisions by stratum."""

    @classmethod
    def of(cls, section: State, names: Sequence[str], seasons: Seasons, joint: bool) -> Reference:
        """For the columns `names`, as far as the section has them, in its own order."""
        whole = Binning.of_state(section["columns"])
        counts = added_up(section["counts"].astype(np.int64), seasons)
        rows = [row for row, name in enumerate(whole.names) if name in names]
        binning = Binning(tuple(whole.names[row] for row in rows), tuple(whole.bins[row] for row in rows))
        flat = [np.arange(whole.starts[row], whole.starts[row] + whole.bins[row].size) for row in rows]
        mine = counts[:, np.concatenate(flat)] if flat else counts[:, :0]
        known = Concordance.of(whole, counts.sum(axis=0))
        chosen = Concordance.of(binning, mine.sum(axis=0), known.names if joint else ())
        place = {pair: number for number, pair in enumerate(known.pairs)}
        pairs = np.array([place[pair] for pair in chosen.pairs], dtype=np.int64)
        alike, unknown = (added_up(section[one].astype(np.int64), seasons)[:, pairs] for one in ("alike", "unknown"))
        return cls(binning, mine, chosen, alike, unknown, added_up(section["n"].astype(np.int64), seasons))

    @property
    def cells(self) -> Ints:
        """Pairs as a Ball takes them, (strata, pairs, 2)."""
        return np.stack([self.alike, self.n[:, None] - self.unknown - self.alike], axis=2)

    def gathered(self, counts: Counts) -> tuple[Ints, Ints, int]:
        """Counts of a monitor's `observe` as Balls take them, for features and for pairs; and of how many decisions."""
        strata, pairs, first = len(self.n), len(self.concordance.pairs), self.binning.bins[0].size
        flat = np.zeros((strata, self.binning.size), dtype=np.int64)
        cells = np.zeros((strata, pairs, 2), dtype=np.int64)
        total = 0
        for key, values in counts.items():
            what, _, number = key.partition(" ")
            if what != "bins":
                continue
            flat[int(number)] = values
            n = int(values[:first].sum())
            total += n
            if pairs:
                alike = counts.get(f"alike {number}", 0)
                cells[int(number), :, 0] = alike
                cells[int(number), :, 1] = n - counts.get(f"unknown {number}", 0) - alike
        return self.binning.padded(flat), cells, total


def column_of(name: str) -> str:
    """The decision column of a feature, or of one of EXTRA."""
    return name if name in EXTRA else f"features.{name}"


def _columns(frame: pl.DataFrame, declaration: Model) -> dict[str, pl.Series]:
    """What can be binned, by name; a declared feature that the frame lacks is all missing."""
    empty = pl.Series("", [None] * frame.height, pl.Float64)
    there = set(frame.columns)
    names = [*declaration.features, *(name for name in EXTRA if name in there)]
    return {name: frame[column_of(name)] if column_of(name) in there else empty for name in names}


def fit_section(view: View, declaration: Model) -> tuple[State | None, list[str]]:
    """The section and remarks; None where there is nothing to bin."""
    view = view.counted
    columns = _columns(view.frame, declaration)
    if not columns or not view.height:
        return None, []
    bins: dict[str, Bins] = {
        name: fit_levels(values)
        if name in declaration.features and declaration.features[name].type == "categorical"
        else fit_numeric(values)
        for name, values in columns.items()
    }
    binning = Binning(tuple(bins), tuple(bins.values()))
    codes = binning.codes(list(columns.values()))
    timed = len(view.times_ms) == view.height
    strata = strata_of(view.times_ms) if timed else np.zeros(view.height, dtype=np.int64)
    order = np.argsort(strata, kind="stable")
    counts = np.bincount((strata * binning.size + codes).ravel(), minlength=STRATA * binning.size)
    counts = counts.reshape(STRATA, binning.size)
    n = np.bincount(strata, minlength=STRATA)
    concordance = Concordance.of(binning, counts.sum(axis=0))
    alike, unknown = concordance.counts(codes[:, order], np.cumsum(n))
    section: State = {"columns": binning.to_state(), "timed": timed}
    section |= {
        name: one.astype(np.int32)
        for name, one in (("n", n), ("counts", counts), ("alike", alike), ("unknown", unknown))
    }
    remarks = [*_on_size(view.height), *_on_columns(binning, counts.sum(axis=0))]
    return section, remarks + (_on_seasons(binning, counts) if timed else [])


def visible_shift(n_ref: int, psi_tol: float = 0.01) -> float:
    """The smallest shift of a normal feature, in standard deviations, that lies outside the ball.

    A normal distribution moved by d has Σ(p-π)²/π = exp(d²) - 1.

    >>> round(visible_shift(5_000), 2)
    0.13
    """
    return float(np.sqrt(np.log1p(psi_tol + chi2.ppf(0.99, SMOOTH_BINS - 1) / n_ref)))


def _on_size(n: int) -> list[str]:
    told = f"with {n:,} reference decisions a feature's shift by less than about {visible_shift(n):.2f} standard "
    told += f"deviations counts as no drift (at best {visible_shift(10**9):.2f}, with very many)"
    if n >= FEW:
        return [told]
    return [f"only {n:,} reference decisions: too few to compare data with; give {5 * FEW:,} or more", told]


def _on_columns(binning: Binning, counts: Ints) -> list[str]:
    empty, constant, many = [], [], []
    for name, one, start in zip(binning.names, binning.bins, binning.starts, strict=True):
        mine = counts[start : start + one.size]
        if mine[:-1].sum() == 0:
            empty.append(name)
        elif isinstance(one, LevelBins):
            constant += [name] if one.size == 3 else []
            many += [name] if mine[-2] > 0 else []
        elif len(one.edges) == 2 and mine[1] == mine[:-1].sum():
            constant.append(name)
    found = []
    if empty:
        found.append(f"always missing in the reference: {listed(empty)}; any value there will count as drift")
    if constant:
        found.append(f"always the same in the reference: {listed(constant)}; any other value will count as drift")
    if many:
        found.append(f"more than {LEVELS} different values: {listed(many)}; all but the commonest are watched together")
    return found


def _on_seasons(binning: Binning, counts: Ints) -> list[str]:
    """Features whose distribution depends on the hour or on the weekday by more than the tolerance."""
    found = []
    for seasons, told in (("hours", "the hour of the day"), ("weekdays", "the weekday")):
        table = added_up(counts, "hours" if seasons == "hours" else "weekdays")
        pairs = zip(binning.names, binning.bins, binning.starts, strict=True)
        names = [name for name, one, start in pairs if _depends(table[:, start : start + one.size])]
        if names:
            found.append(
                f"depending on {told}: {listed(names)}; give data_drift the option `seasons: {seasons}` (or both)"
            )
    return found


def _depends(table: Ints) -> bool:
    """Pearson's χ² of strata × bins: beyond chance, and by more than 0.01 a decision on average."""
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    n, freedom = table.sum(), (table.shape[0] - 1) * (table.shape[1] - 1)
    if freedom <= 0:
        return False
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / n
    statistic = float(((table - expected) ** 2 / expected).sum())
    return (statistic - freedom) / n > 0.01 and float(chi2.sf(statistic, freedom)) < 1e-6


def listed(names: Sequence[str]) -> str:
    """The first TOLD names, and how many more there are.

    >>> listed(["a", "b"])
    'a, b'
    """
    more = len(names) - TOLD
    return ", ".join(names[:TOLD]) + (f" and {more} more" if more > 0 else "")


def mid_ranks(ball: Ball) -> list[Floats | None]:
    """The mid-rank of each bin in the reference (0 for missing), for features with an order."""
    pi = ball.pi.mean(axis=0)
    found: list[Floats | None] = []
    for row, ordered in zip(pi, ball.layout.ordered, strict=True):
        inside = np.where(ordered, row, 0.0)[: int(ordered.sum()) + 1]
        found.append((np.cumsum(inside) - inside / 2) / inside.sum() * (inside > 0) if ordered.sum() > 1 else None)
    return found
