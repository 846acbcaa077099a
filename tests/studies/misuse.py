"""Delays and false alarms of the detectors behind misuse and operations: `python -m tests.studies.misuse`.

Shares: streams side by side, looked at every 50 decisions, A = 1e6 decisions. Rates: one minute at a time, A = a year.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from agents.monitor.bernoulli import Bernoulli
from agents.monitor.contract import Ints, Step, of_stretch
from agents.monitor.poisson import FASTER, SLOWER, Rates
from tests.unit.monitor.samples import monitor, view

LIMIT = 1e6
YEAR_MS = 365.25 * 86_400_000
BLOCK = 50


def share_alarms(rate: float, p0: float, streams: int, decisions: int, seed: int = 1) -> Ints:
    """Decisions until each stream's alarm, 0 where there is none; every stream has the whole budget to itself."""
    random = np.random.default_rng(seed)
    family = Bernoulli(p0, LIMIT, names=[str(one) for one in range(streams)], share=float(streams))
    state, first = family.start(), np.zeros(streams, dtype=np.int64)
    n = np.full(streams, BLOCK, dtype=np.int64)
    for done in range(BLOCK, decisions + 1, BLOCK):
        family.step(state, n, random.binomial(BLOCK, rate, streams), Step(BLOCK, BLOCK, done, -1))
        first[state["alarm"] & (first == 0)] = done
        if first.all():
            break
    return first


def rate_alarms(
    rate: float,
    allowed: float,
    streams: int,
    minutes: int,
    *,
    seed: int = 1,
    thetas: Sequence[float] = FASTER,
    limit_ms: float = YEAR_MS,
) -> Ints:
    """Minutes until each stream's alarm, 0 where there is none."""
    random = np.random.default_rng(seed)
    names = [str(one) for one in range(streams)]
    limits, phi = np.full((streams, 24), allowed), np.ones(streams)
    family = Rates(limits, phi, limit_ms, names=names, unit="ms", share=float(streams), thetas=thetas)
    state, first = family.start(), np.zeros(streams, dtype=np.int64)
    for minute in range(minutes):
        family.close(state, minute, random.poisson(rate, (1, streams)))
        first[state["alarm"] & (first == 0)] = minute + 1
        if first.all():
            break
    return first


def told(first: Ints, unit: str) -> str:
    """Median and 90 % of the delays."""
    found = first[first > 0]
    if not len(found):
        return "no alarm"
    missed = "" if len(found) == len(first) else f", {len(first) - len(found)} of {len(first)} not at all"
    return f"median {np.median(found):.0f}, 90 % {np.quantile(found, 0.9):.0f} {unit}{missed}"


KINDS = ("after_hours", "strangers", "call_rate", "unusual_tools", "operations", "prompt_risk")


def costs(rows: int = 5_000) -> dict[str, tuple[float, float]]:
    """Microseconds a decision to observe and to step, by kind: batches of 5,000 at 100 a second, 4 features."""
    found = {}
    for kind in KINDS:
        one, seen = monitor(kind), view(rows, every_ms=10)
        state, times = one.start(), ([], [])  # type: tuple[list[float], list[float]]
        for _ in range(5):
            begin = time.perf_counter()
            counts = one.observe(seen)
            middle = time.perf_counter()
            for place in range(seen.stretches):
                one.step(state, of_stretch(counts, place), Step(250, 250.0, int(seen.times_ms[-1]), -1))
            times[0].append(middle - begin)
            times[1].append(time.perf_counter() - middle)
        found[kind] = (min(times[0]) / rows * 1e6, min(times[1]) / rows * 1e6)
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=300)
    streams = parser.parse_args().streams
    for p0 in (0.001, 0.01, 0.05):
        false = float((share_alarms(p0, p0, streams, 50_000) > 0).mean())
        print(f"share {p0:.1%} allowed and there: false alarms {false:.1%} in 50,000 decisions (bound 5 %)")
        for times in (1.5, 2, 5, 20):
            if p0 * times < 1:
                print(f"  {times} × as many: {told(share_alarms(p0 * times, p0, streams, 50_000), 'decisions')}")
    for allowed in (0.5, 5.0):
        false = float((rate_alarms(allowed, allowed, streams, 2_000, limit_ms=4e4 * 6e4) > 0).mean())
        print(
            f"{allowed} calls a minute allowed and there: false alarms {false:.1%} in 2,000 minutes at A = 40,000 (bound 5 %)"
        )
        for times in (1.5, 2.0, 3.0, 10.0):
            print(f"  {times} × as many: {told(rate_alarms(allowed * times, allowed, streams, 2_000), 'minutes')}")
        for times in (0.5, 0.0):
            found = rate_alarms(allowed * times, allowed, streams, 2_000, thetas=SLOWER)
            print(f"  {times} × as few: {told(found, 'minutes')}")
    for kind, (observe, step) in costs().items():
        print(f"cost of {kind}: observe {observe:.2f} µs, step {step:.2f} µs a decision")


if __name__ == "__main__":
    main()
