"""Disparate impact: delays and false alarms of the ratio engine, many streams at once, one table a stream.

python -m tests.studies.impact --streams 300
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.monitor.ratio import Rates

LIMIT = 1e6
GRAIN = 25  # decisions between two looks
BEFORE = 10_000  # fair decisions before a change


@dataclass(frozen=True)
class Case:
    """One row of the table: who, how often approved, how unfair; and the bar."""

    share: float
    rate: float
    ratio: float
    median: float
    late: float
    """The bar's 90 % delay."""


BARS = (
    Case(0.2, 0.5, 0.70, 7_450, 12_910),
    Case(0.2, 0.5, 0.65, 3_600, 6_300),
    Case(0.2, 0.5, 0.50, 1_050, 1_800),
    Case(0.2, 0.5, 0.30, 450, 650),
    Case(0.5, 0.5, 0.65, 2_325, 4_050),
    Case(0.1, 0.5, 0.50, 1_850, 3_155),
    Case(0.05, 0.5, 0.50, 3_300, 5_450),
    Case(0.2, 0.2, 0.50, 2_900, 5_100),
)


@dataclass(frozen=True)
class Delays:
    """What a case gave: decisions after the change."""

    case: Case
    median: float
    late: float
    missed: int
    early: int
    """Alarms before the change: false ones."""

    @property
    def times(self) -> float:
        """The worse of both figures as a multiple of its bar."""
        return max(self.median / self.case.median, self.late / self.case.late)


class Streams:
    """Many independent streams of two groups, watched by one engine."""

    def __init__(self, count: int, random: np.random.Generator) -> None:
        self.engine = Rates((0.8,), audit=True)
        self.state = self.engine.start(count, 2)
        self.random, self.count = random, count
        self.fixed = np.ones(count, dtype=np.int64)  # the second group is the reference

    def run(self, share: float, rate: float, ratio: float) -> np.ndarray:
        """GRAIN more decisions of each; True where the detector stands at the limit."""
        ng = self.random.binomial(GRAIN, share, self.count)
        n = np.stack([ng, GRAIN - ng], axis=1)
        k = self.random.binomial(n, np.array([rate * ratio, rate]))
        self.engine.step(self.state, n, k, float(GRAIN), GRAIN, 0, self.fixed)
        return self.engine.log_m(self.state)[:, 0, 0] >= np.log(LIMIT)


def delays(case: Case, streams: int, seed: int = 1) -> Delays:
    """Delays of one case; streams that alarm before the change are counted apart and left out."""
    watched = Streams(streams, np.random.default_rng(seed))
    early = np.zeros(streams, dtype=bool)
    for _ in range(BEFORE // GRAIN):
        early |= watched.run(case.share, case.rate, 1.0)
    found = np.full(streams, np.inf)
    for step in range(int(case.late * 4) // GRAIN):
        hit = watched.run(case.share, case.rate, case.ratio) & np.isinf(found)
        found[hit] = (step + 1) * GRAIN
        if np.isfinite(found).all():
            break
    found = found[~early]
    return Delays(
        case, float(np.median(found)), float(np.quantile(found, 0.9)), int(np.isinf(found).sum()), int(early.sum())
    )


def false_alarms(ratio: float, streams: int, decisions: int = 50_000, seed: int = 2) -> int:
    """How many streams with this ratio throughout raise an alarm at all."""
    watched = Streams(streams, np.random.default_rng(seed))
    ever = np.zeros(streams, dtype=bool)
    for _ in range(decisions // GRAIN):
        ever |= watched.run(0.2, 0.5, ratio)
    return int(ever.sum())


def ever_unfair(ratio: float, streams: int, decisions: int, alpha: float = 0.05, seed: int = 3) -> int:
    """How many versions with this ratio all their life are said, at any time of it, to have been unfair (audit form)."""
    watched = Streams(streams, np.random.default_rng(seed))
    for _ in range(decisions // GRAIN):
        watched.run(0.2, 0.5, ratio)
    return int((watched.engine.ever(watched.state)[:, 0] >= -np.log(alpha)).sum())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=300)
    options = parser.parse_args(argv)
    print("group share, reference rate, ratio: median / 90 % (bars), worse one as a multiple; missed, early")
    for case in BARS:
        one = delays(case, options.streams)
        print(
            f"{case.share:.0%}, {case.rate}, {case.ratio}: {one.median:,.0f} / {one.late:,.0f} "
            f"({case.median:,.0f} / {case.late:,.0f}), {one.times:.2f}; {one.missed}, {one.early}"
        )
    for ratio in (0.8, 0.9, 1.0):
        print(f"ratio {ratio} over 50,000 decisions: {false_alarms(ratio, options.streams)} of {options.streams} alarm")
    for ratio, decisions in ((0.8, 50_000), (1.0, 50_000), (0.7, 5_000), (0.5, 1_000)):
        found = ever_unfair(ratio, options.streams, decisions)
        print(
            f"ever unfair at α = 0.05, ratio {ratio} over {decisions:,} decisions: said of {found} of {options.streams}"
        )


if __name__ == "__main__":
    main()
