"""Performance with late outcomes: delays and false alarms of the test that outcomes come as often as scores promise.

python -m tests.studies.performance --streams 40
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import polars as pl

from agents.configuration import Model
from agents.monitor.contract import Budget, Monitor, Options, Setting, Step, View, of_stretch
from agents.monitor.curve import fit
from agents.monitor.performance import Calibration, CalibrationOptions, Performance

LIMIT = 1e6
BATCH = 250
DECISIONS = 20_000
REFERENCE = 5_000
MODEL = Model.model_validate(
    {
        "features": {"income": "numeric"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "outcomes": {"paid": {"positive": True}, "default": {}},
        "arl": LIMIT,
    }
)


def cases(count: int, random: np.random.Generator, worse: float = 0.0, shift: float = 0.0) -> View:
    """Matured cases with calibrated scores; outcomes fall short of these by `worse`, scores shift by `shift` logits."""
    score = 1.0 / (1.0 + np.exp(-(random.normal(size=count) * 1.5 + shift)))
    outcome = (random.random(count) < np.clip(score - worse, 0.0, 1.0)).astype(float)
    label = np.where(score >= 0.5, "approve", "decline")
    stretch = np.arange(count) // BATCH
    frame = pl.DataFrame({"output.score": score, "output.label": label, "outcome": outcome})
    return View(frame, stretch, int(stretch[-1]) + 1, {}, np.arange(count) * 1_000)


def made(kind: type[Monitor], options: Options, random: np.random.Generator) -> Monitor:
    """A monitor with a profile of its own."""
    section, _ = fit(cases(REFERENCE, random).frame, MODEL)
    return kind(Setting("p", "m", MODEL, options, Budget(LIMIT), 1.0, section))


def alarm(monitor: Monitor, seen: View) -> float:
    """After how many cases it alarms; inf: never."""
    state, counts = monitor.start(), monitor.observe(seen)
    for place in range(seen.stretches):
        monitor.step(state, of_stretch(counts, place), Step(BATCH, float(BATCH), place, place))
        if any(one.status.value == "alarm" for one in monitor.judge(state)):
            return (place + 1.0) * BATCH
    return np.inf


def alarms(streams: int, worse: float, shift: float, seed: int = 1) -> np.ndarray:
    """Cases until the alarm of each stream, each with a reference of its own."""
    found = []
    for stream in range(streams):
        random = np.random.default_rng([seed, stream])
        found.append(alarm(made(Performance, Options(), random), cases(DECISIONS, random, worse, shift)))
    return np.array(found)


def cost(monitor: Monitor, seen: View) -> float:
    """Processor microseconds a case of observe and step together."""
    found = []
    for _ in range(5):
        start = time.process_time()
        counts, state = monitor.observe(seen), monitor.start()
        for place in range(seen.stretches):
            monitor.step(state, of_stretch(counts, place), Step(BATCH, float(BATCH), place, place))
        found.append(time.process_time() - start)
    return min(found) / seen.height * 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=40)
    streams = parser.parse_args(argv).streams
    for shift in (-1.0, 0.0, 1.0):
        count = int(np.isfinite(alarms(streams, 0.0, shift)).sum())
        print(
            f"calibrated, scores shifted by {shift:g} logits, {DECISIONS:,} cases: {count} of {streams} alarm",
            flush=True,
        )
    for worse in (0.05, 0.1, 0.15):
        found = alarms(streams, worse, 0.0)
        middle, late = np.quantile(found, [0.5, 0.9], method="higher")
        print(
            f"outcomes {worse:.0%} less often than promised: median {middle:,.0f} / 90 % {late:,.0f} cases", flush=True
        )
    random = np.random.default_rng(2)
    for kind, options in ((Performance, Options()), (Calibration, CalibrationOptions())):
        print(f"{kind.kind}: {cost(made(kind, options, random), cases(5_000, random)):.2f} µs a case")


if __name__ == "__main__":
    main()
