"""What common practice does on streams where nothing is wrong, and how fast it is where something is.

    python -m tests.studies.naive --streams 200

The four-fifths rule looked at every 100 decisions; a two-sample Kolmogorov-Smirnov test a window; river's ADWIN.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from river.drift import ADWIN
from scipy import stats

DECISIONS = 50_000
LOOK = 100
WINDOW = 1_000
REFERENCE = 20_000


def four_fifths(streams: int, seed: int = 1) -> float:
    """Share of perfectly fair streams (20 % group, rate ½) on which the cumulative ratio is ever seen below 0.8."""
    random = np.random.default_rng(seed)
    looks = DECISIONS // LOOK
    group = random.binomial(LOOK, 0.2, (streams, looks))
    k = [random.binomial(n, 0.5).cumsum(axis=1) for n in (group, LOOK - group)]
    n = [group.cumsum(axis=1), (LOOK - group).cumsum(axis=1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (k[0] / n[0]) / (k[1] / n[1])
    return float((ratio < 0.8).any(axis=1).mean())


def windowed_ks(streams: int, seed: int = 2) -> float:
    """Share of undrifted streams on which some window of 1,000 differs from the reference at p < .05."""
    random = np.random.default_rng(seed)
    reference = np.sort(random.normal(size=REFERENCE))
    found = 0
    for _ in range(streams):
        stream = random.normal(size=DECISIONS)
        found += any(
            stats.ks_2samp(reference, stream[start : start + WINDOW], method="asymp").pvalue < 0.05
            for start in range(0, DECISIONS, WINDOW)
        )
    return found / streams


def adwin_delay(streams: int, mean: float, sd: float, seed: int = 3) -> tuple[float, int]:
    """Median delay of river's ADWIN after 10,000 undrifted values, and how many streams it never noticed in 20,000."""
    random = np.random.default_rng(seed)
    delays = []
    for _ in range(streams):
        detector = ADWIN()
        for value in random.normal(size=10_000).tolist():
            detector.update(value)
        for place, value in enumerate(random.normal(mean, sd, 20_000).tolist()):
            detector.update(value)
            if detector.drift_detected:
                delays.append(place + 1)
                break
    return float(np.median(delays)) if delays else float("inf"), streams - len(delays)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    options = parser.parse_args(argv)
    print(
        f"four-fifths rule every {LOOK} decisions: {four_fifths(options.streams):.0%} of fair streams of {DECISIONS:,}"
    )
    print(f"windowed KS at p < .05: {windowed_ks(min(options.streams, 30)):.0%} of undrifted streams")
    for what, mean, sd in (("mean +.25 sd", 0.25, 1.0), ("mean +.5 sd", 0.5, 1.0), ("sd × 1.3", 0.0, 1.3)):
        median, missed = adwin_delay(min(options.streams, 40), mean, sd)
        print(f"ADWIN, {what}: median {median:,.0f}, never in {missed} of {min(options.streams, 40)}")


if __name__ == "__main__":
    main()
