"""Data drift: delays, false alarms and cost of the monitor itself, from decisions to alarms.

python -m tests.studies.drift --streams 40
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import polars as pl
from scipy.stats import norm, t

from agents.configuration import Model
from agents.monitor.anomaly import Anomaly
from agents.monitor.contract import STRETCH, Budget, Floats, Setting, Step, View, of_stretch
from agents.monitor.drift import DataDrift, DriftOptions

LIMIT = 1e6
FEATURES = 20
REFERENCE = 5_000
BEFORE = 10_000  # undrifted decisions before a change
BATCH = 2_500
PER_REFERENCE = 20  # streams that share a reference sample
Joint = tuple[Literal["pairs", "isolation"], ...]
PAIRS: Joint = ("pairs",)
EVERY: Joint = ("pairs", "isolation")
Change = Callable[[Floats, np.random.Generator], Floats]
"""Drifted values of some features, (rows, features), from standard normal ones; the first feature is the one that moves."""


def _first(change: Callable[[Floats, np.random.Generator], Floats]) -> Change:
    def changed(x: Floats, random: np.random.Generator) -> Floats:
        x[:, 0] = change(x[:, 0], random)
        return x

    return changed


def _bimodal(x: Floats, random: np.random.Generator) -> Floats:
    """Halves around ±0.8 with mean 0 and sd 1, by quantiles, so that the correlation with other features stays."""
    grid = np.linspace(-6, 6, 4_001)
    cdf = (norm.cdf(grid, -0.8, 0.6) + norm.cdf(grid, 0.8, 0.6)) / 2
    return np.interp(norm.cdf(x), cdf, grid)


def _apart(x: Floats, random: np.random.Generator) -> Floats:
    """The first two features become correlated by 0.6 instead of 0.25; each keeps its distribution."""
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * random.normal(size=len(x))
    return x


@dataclass(frozen=True)
class Case:
    """A change, and its bar in decisions: median, and the 90 % delay where there is one."""

    name: str
    change: Change
    median: float
    late: float | None = None


BARS = (
    Case("mean +0.25 sd", _first(lambda x, random: x + 0.25), 2_500, 5_000),
    Case("mean +0.5 sd", _first(lambda x, random: x + 0.5), 500),
    Case("sd × 1.3", _first(lambda x, random: 1.3 * x), 1_000),
    Case("5 % at 2.5 sd", _first(lambda x, random: np.where(random.random(len(x)) < 0.05, 2.5, x)), 1_500),
    Case("t3 tails", _first(lambda x, random: t.ppf(norm.cdf(x), 3)), 1_000),
    Case("two peaks, same mean and sd", _first(_bimodal), 3_000),
    Case("a pair's correlation 0.25 → 0.6", _apart, np.inf),
)


def _extremes_together(x: Floats, random: np.random.Generator) -> Floats:
    """Student's copula with two degrees of freedom in place of the normal one: what is extreme is so in many features at once.

    Each feature keeps its distribution, and each pair lies on the same side of its medians as often as before.
    """
    return np.asarray(norm.ppf(t.cdf(x / np.sqrt(random.chisquare(2, (len(x), 1)) / 2), 2)))


TOGETHER = Case(
    "all features extreme at once, each by itself and each pair's sides as before", _extremes_together, np.inf
)
TOLERATED = Case("mean +0.1 sd", _first(lambda x, random: x + 0.1), np.inf)

EDGE = Case("every feature's mean at the edge of the ball", lambda x, random: x + np.sqrt(np.log1p(0.01)), np.inf)


@dataclass(frozen=True)
class Delays:
    """What a case gave: decisions from the change to the first alarm."""

    case: Case
    median: float
    late: float
    missed: int
    early: int
    """Alarms before the change: false ones."""
    named: float
    """Share of the first alarms that name the feature (or the pair) that moved."""
    onset: float
    """Median of |estimated onset - change|, decisions."""

    @property
    def times(self) -> float:
        """The worse figure as a multiple of its bar."""
        return max(self.median / self.case.median, self.late / self.case.late if self.case.late else 0.0)


def model(features: int = FEATURES) -> Model:
    """So many numeric features."""
    return Model.model_validate({"features": {f"x{number}": "numeric" for number in range(features)}, "arl": LIMIT})


def values(count: int, random: np.random.Generator, features: int = FEATURES) -> Floats:
    """Standard normal features that are correlated by 0.25."""
    return 0.5 * random.normal(size=(count, 1)) + np.sqrt(0.75) * random.normal(size=(count, features))


def view(x: Floats, stretch: int = STRETCH) -> View:
    """As a lane gives it to the monitor."""
    frame = pl.DataFrame({f"features.x{number}": x[:, number] for number in range(x.shape[1])})
    places = np.arange(len(x)) // stretch
    return View(frame, places, int(places[-1]) + 1, times_ms=np.zeros(len(x), dtype=np.int64))


@cache
def monitor(seed: int, joint: Joint = PAIRS, limit: float = LIMIT, features: int = FEATURES) -> DataDrift:
    """A monitor with a reference sample of its own."""
    declared = model(features)
    x = values(REFERENCE, np.random.default_rng([seed, 1]), features)
    section, _ = DataDrift.fit(view(x, REFERENCE), declared)
    forest, _ = Anomaly.fit(view(x, REFERENCE), declared) if "isolation" in joint else (None, ())
    others = {} if forest is None else {"anomaly": forest}
    return DataDrift(
        Setting("drift", "m", declared, DriftOptions(joint=joint), Budget(limit), 1.0, section, others=others)
    )


@dataclass(frozen=True)
class Alarm:
    """The first alarm of a stream."""

    after: int
    """Decisions since its start."""
    group: str
    onset_n: int


def first_alarm(one: DataDrift, seed: int, before: int, after: int, change: Change | None = None) -> Alarm | None:
    """One stream, looked at after every block; None: no alarm in before + after decisions."""
    random = np.random.default_rng([seed, 2])
    state = one.start()
    for start in range(0, before + after, BATCH):
        x = values(BATCH, random)
        if change is not None and start >= before:
            x = change(x, random)
        counts = one.observe(view(x))
        for place in range(BATCH // STRETCH):
            seen = start + (place + 1) * STRETCH
            changed = one.step(state, of_stretch(counts, place), Step(STRETCH, float(STRETCH), seen, -1))
            if changed and any(state[part]["alarm"].any() for part in one.balls):
                named = [each for each in one.judge(state)[1:] if each.status.value == "alarm"]
                return Alarm(seen, named[0].group or "", named[0].onset_n or 0)
    return None


def delays(case: Case, streams: int, seed: int = 0, joint: Joint = PAIRS, after: int = 10_000) -> Delays:
    """A case over independent streams; a stream without an alarm counts as infinitely late."""
    found = [
        first_alarm(monitor(seed + number // PER_REFERENCE, joint), seed + number, BEFORE, after, case.change)
        for number in range(streams)
    ]
    late = [one for one in found if one is not None and one.after > BEFORE]
    early = sum(one is not None and one.after <= BEFORE for one in found)
    times = np.array([one.after - BEFORE for one in late] + [np.inf] * found.count(None))
    named = [one.group in ("feature=x0", "pair=x0 & x1", "inputs taken together") for one in late]
    onset = [abs(one.after - one.onset_n - BEFORE) for one in late]
    return Delays(
        case,
        float(np.quantile(times, 0.5, method="inverted_cdf")),
        float(np.quantile(times, 0.9, method="inverted_cdf")),
        found.count(None),
        early,
        float(np.mean(named)) if named else 0.0,
        float(np.median(onset)) if onset else np.inf,
    )


def false_alarms(
    streams: int,
    decisions: int = 50_000,
    seed: int = 10_000,
    limit: float = LIMIT,
    change: Change | None = None,
    joint: Joint = PAIRS,
) -> int:
    """How many undrifted (or tolerably drifted) streams raise an alarm at all."""
    return sum(
        first_alarm(monitor(seed + number // PER_REFERENCE, joint, limit), seed + number, 0, decisions, change)
        is not None
        for number in range(streams)
    )


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU a decision."""

    features: int
    block: int
    batch: int
    observe: float
    step: float


def cost(features: int, block: int = STRETCH, batch: int = 0, joint: Joint = PAIRS) -> Cost:
    """Of undrifted decisions in batches of one block, or of `batch`; the best of five passes over 10,000 of them."""
    one = monitor(7, joint, LIMIT, features)
    random = np.random.default_rng(3)
    size = batch or block
    count = max(10_000 // size, 1)
    views = [view(values(size, random, features), block) for _ in range(count)]
    best = [np.inf, np.inf]
    for _ in range(5):
        state = one.start()
        began = time.process_time()
        counts = [one.observe(each) for each in views]
        between = time.process_time()
        found = [of_stretch(each, place) for each in counts for place in range(size // block)]
        after = time.process_time()
        for number, each in enumerate(found):
            one.step(state, each, Step(block, float(block), number, -1))
        took = (between - began, time.process_time() - after)
        best = [min(a, b) for a, b in zip(best, took, strict=True)]
    return Cost(features, block, size, *(seconds / count / size * 1e6 for seconds in best))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("delays", "false", "cost"), default=None)
    options = parser.parse_args(argv)
    if options.only in (None, "delays"):
        print(
            "change: median / 90 % (bars), worse one as a multiple; missed, early, named, onset missed by; without pairs"
        )
        for case in BARS:
            one, alone = (delays(case, options.streams, options.seed, joint) for joint in (PAIRS, ()))
            print(
                f"{case.name}: {one.median:,.0f} / {one.late:,.0f} ({case.median:,.0f} / {case.late or np.nan:,.0f}), "
                f"{one.times:.2f}; {one.missed}, {one.early}, {one.named:.0%}, {one.onset:,.0f}; "
                f"{alone.median:,.0f} / {alone.late:,.0f}"
            )
        one, alone = (delays(TOGETHER, options.streams, options.seed, joint) for joint in (EVERY, PAIRS))
        print(
            f"{TOGETHER.name}: with isolation {one.median:,.0f} / {one.late:,.0f}; {one.missed}, {one.early}, {one.named:.0%}; "
            f"with pairs only {alone.median:,.0f} / {alone.late:,.0f}"
        )
    if options.only in (None, "false"):
        for limit in (LIMIT, 1e4):
            count = false_alarms(options.streams, limit=limit)
            print(f"undrifted, 50,000 decisions, A = {limit:g}: {count} of {options.streams} alarm")
        for case, decisions in ((TOLERATED, 50_000), (EDGE, 20_000)):
            count = false_alarms(options.streams, decisions, change=case.change)
            print(f"{case.name}, {decisions:,} decisions: {count} of {options.streams} alarm")
        count = false_alarms(options.streams, joint=EVERY)
        print(f"undrifted, 50,000 decisions, with isolation, A = {LIMIT:g}: {count} of {options.streams} alarm")
    if options.only in (None, "cost"):
        for features in (5, 20, 100, 500):
            for block, batch in ((STRETCH, STRETCH), (STRETCH, 5_000), (1_000, 1_000)):
                each = cost(features, block, batch)
                told = f"{each.observe:.2f} + {each.step:.2f} = {each.observe + each.step:.2f} µs"
                print(f"{features} features, blocks of {block:,} in batches of {batch:,}: {told}")
        each = cost(FEATURES, STRETCH, 5_000, EVERY)
        told = f"{each.observe:.2f} + {each.step:.2f} = {each.observe + each.step:.2f} µs"
        print(f"{FEATURES} features, blocks of {STRETCH:,} in batches of 5,000, with isolation: {told}")


if __name__ == "__main__":
    main()
