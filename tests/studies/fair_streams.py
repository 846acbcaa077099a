"""False alarms with every monitor on, all sharing one budget of a million decisions, watched at every stretch.

    python -m tests.studies.fair_streams --streams 500 --processes 2

`fair`: nothing is wrong. `boundary`: as much is wrong as the nulls still allow: approval rates at exactly four fifths and a
tenth apart, and every numeric feature shifted to the edge of the ball that counts as no drift (scores follow them).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter as Tally
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from typing import Any, Literal

import numpy as np
import polars as pl

from agents.configuration import Configuration, Model
from agents.events import SignalStatus
from agents.monitor.assessing import Assessor
from agents.monitor.compilation import compile_monitors
from agents.monitor.contract import Stage, View
from agents.monitor.counting import Counter
from agents.monitor.profiles import Profile, fit
from agents.monitor.registry import KINDS

State = Literal["fair", "boundary"]
FEATURES = 20
REFERENCE = 5_000
DECISIONS = 20_000
BATCH = 5_000
MINUTE_MS = 60_000
RATE = 0.5
PSI_TOLERANCE = 0.01
UNUSED = frozenset({"unusual_tools", "prompt_risk"})
"""Kinds for agents and prompts, which these decisions have not."""


def model() -> Model:
    """A credit model with 20 features, two groups and a calendar."""
    return Model.model_validate(
        {
            "domain": "credit",
            "features": {f"x{number}": "numeric" for number in range(FEATURES)},
            "labels": {"approve": {"favourable": True}, "decline": {}},
            "groups": {"group": ["a", "b"]},
            "callers": ["portal", "batch"],
            "versions": ["1"],
            "calendar": "office",
            "outcomes": {"repaid": {"positive": True}, "default": {}},
            "arl": 1_000_000,
        }
    )


def decisions(count: int, random: np.random.Generator, state: State, start_ms: int) -> View:
    """Decisions a minute apart on average; features are correlated, the score depends on three of them."""
    common = random.normal(size=(count, 1))
    x = 0.5 * common + np.sqrt(0.75) * random.normal(size=(count, FEATURES))
    shift = np.sqrt(PSI_TOLERANCE) if state == "boundary" else 0.0  # a normal moved by d has Σ(p-π)²/π = exp(d²) - 1
    x = x + shift
    group = (random.random(count) < 0.2).astype(np.int64)
    score = 1 / (1 + np.exp(-(x[:, :3].sum(axis=1) + 0.5 * random.normal(size=count))))
    rate = np.where((group == 1) & (state == "boundary"), 0.8 * RATE, RATE)
    approve = random.random(count) < rate
    outcome = (random.random(count) < score).astype(float)
    times = start_ms + np.sort(random.integers(0, count * MINUTE_MS, count))
    columns: dict[str, Any] = {f"features.x{number}": x[:, number] for number in range(FEATURES)}
    columns |= {
        "output.label": np.where(approve, "approve", "decline"),
        "output.score": score,
        "output.confidence": random.uniform(0.5, 1.0, count),
        "caller": np.where(random.random(count) < 0.8, "portal", "batch"),
        "caller_declared": np.ones(count, dtype=bool),
        "model.version_declared": np.ones(count, dtype=bool),
        "latency_ms": random.gamma(3.0, 10.0, count),
        "calendar.open": random.random(count) < 0.995,
        "outcome": outcome,
        "model.version": np.full(count, "1"),
    }
    frame = pl.DataFrame(columns)
    empty = [
        "prompt",
        "purpose",
        "output.text",
        "action.tool",
        *(f"feature_attributions.x{n}" for n in range(FEATURES)),
    ]
    texts = {"prompt", "purpose", "output.text", "action.tool"}
    frame = frame.with_columns(
        pl.lit(None, dtype=pl.String if name in texts else pl.Float64).alias(name) for name in empty
    )
    return View(frame, np.zeros(count, dtype=np.int64), 1, {"group": group}, times)


@cache
def reference(seed: int) -> Profile:
    """A profile of undrifted decisions."""
    kinds = {name: kind for name, kind in KINDS.items() if name not in UNUSED}
    view = decisions(REFERENCE, np.random.default_rng(seed), "fair", 0)
    return fit(kinds, view, "m", model(), version="1")


@dataclass
class Run:
    """What one stream gave."""

    alarms: list[str] = field(default_factory=list)
    """`<monitor> <group>`, the first alarm of each."""
    seconds: float = 0.0


def run(seed: int, state: State) -> Run:
    """One stream through all monitors, each stretch a look; every 20th stream has a reference sample of its own."""
    profile = reference(1_000_000 + seed // 20)
    monitors = {name: {} for name in KINDS if name not in UNUSED}
    document = model().model_copy(update={"profile": profile.digest})
    configuration = Configuration.model_validate(
        {
            "models": {"m": document.model_dump(exclude_defaults=True)},
            "monitors": monitors,
            "calendars": {"office": {"zone": "UTC", "hours": {"mon-sun": "00:00-24:00"}}},
        }
    )
    watched = compile_monitors(configuration, {profile.digest: profile})["m"]
    counters: dict[Stage, Counter] = {stage: Counter(watched, stage) for stage in ("decisions", "outcomes")}
    assessor = Assessor(watched)
    random = np.random.default_rng(seed)
    found = Run()
    began = time.process_time()
    for batch in range(DECISIONS // BATCH):
        view = decisions(BATCH, random, state, REFERENCE * MINUTE_MS + batch * BATCH * MINUTE_MS)
        for stage, counter in counters.items():
            for one in counter.count(view.frame, ["1"] * BATCH, view.times_ms, view.groups):
                # With `now` standing still only what changes is said.
                for said in assessor.take(
                    one.version, one.n, one.clock_ms, one.counts, 0, stage=stage, scope=one.scope
                ):
                    if said.judgement.status is SignalStatus.ALARM and said.before is not SignalStatus.ALARM:
                        found.alarms.append(f"{said.monitor.name} {said.judgement.group or ''}".strip())
    found.seconds = time.process_time() - began
    return found


def _run(order: tuple[int, State]) -> Run:
    return run(*order)


def false_alarms(streams: int, state: State, processes: int = 1, seed: int = 0) -> tuple[int, Tally[str]]:
    """How many streams raised any alarm, and which monitors did."""
    orders = [(seed + number, state) for number in range(streams)]
    if processes == 1:
        runs = [_run(order) for order in orders]
    else:
        # A forked child would hang where its parent has used OpenMP's threads.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            runs = list(pool.map(_run, orders, chunksize=min(20, -(-streams // processes))))
    who = Tally(name for one in runs for name in dict.fromkeys(one.alarms))
    return sum(bool(one.alarms) for one in runs), who


def main(argv: Sequence[str] | None = None) -> None:
    """Print both rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    print(f"monitors: {', '.join(name for name in KINDS if name not in UNUSED)}")
    states: tuple[State, ...] = ("fair", "boundary")
    for state in states:
        began = time.monotonic()
        count, who = false_alarms(options.streams, state, options.processes)
        took = time.monotonic() - began
        print(
            f"{state}: {count} of {options.streams} streams of {DECISIONS:,} decisions alarm {dict(who)} ({took:.0f} s)"
        )


if __name__ == "__main__":
    main()
