"""What monitors keep in memory for each model, and what 1,000 models cost: `python -m tests.benchmarks.bench_models`.

Memory is that of both halves, observing and assessing, told apart by what a model's state holds (bytes of its arrays), what a
snapshot writes of it, and what a process grows by; subjects, duplicate windows and attributes are of a stream and not of a
model, and are told beside. Times are CPU of one thread. Each figure comes from a process of its own, because memory once
taken hides what comes later.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import psutil

from agents.configuration import Configuration
from agents.monitor.agent import AssessAgent
from agents.monitor.observing import Observer
from agents.monitor.registry import KINDS
from agents.records import Plain, collect
from tests.benchmarks import bench_monitors
from tests.studies.fair_streams import UNUSED

SIZES = (5, 20, 100, 500)
DECISIONS = 10_000
"""Of all models whose memory is measured."""
ALL = tuple(sorted(KINDS.keys() - UNUSED))
"""Every kind that a model of features can have."""
MANY, EACH = 1_000, 100
"""Models of a large deployment, and decisions of each of them."""
FEW = 2
"""Models of the deployment that a larger one's memory is compared with."""
LINE = "{:34s} {:>9s} {:>12s} {:>12s}"


def configuration(models: int, features: int, monitors: Sequence[str], profile: str) -> Configuration:
    """So many models that differ only by name: `model-0` …; what only some kinds need is declared where all are asked for."""
    document = bench_monitors.configuration(features, (), profile).document()
    one = document["models"]["credit-limit"]
    if len(monitors) > len(bench_monitors.FIRST):
        one |= {"outcomes": {"repaid": {"positive": True}, "default": {}}, "calendar": "office"}
    return Configuration.model_validate(
        {
            **document,
            "models": {f"model-{number}": one for number in range(models)},
            "monitors": {name: {} for name in monitors},
            "calendars": {"office": {"zone": "UTC", "hours": {"mon-sun": "00:00-24:00"}}},
        }
    )


def decisions(models: int, features: int, count: int) -> list[bytes]:
    """The workload's decisions, each model's in turn."""
    made = bench_monitors.values(features, count)
    return [
        one.replace(b'"name":"credit-limit"', b'"name":"model-%d"' % (place % models)) for place, one in enumerate(made)
    ]


class Pair:
    """Both halves on one stream, as the two lanes have them."""

    def __init__(self, configuration: Configuration, profiles: dict[str, Any]) -> None:
        self.observer = Observer("b", "b.decisions", 0, configuration, profiles)
        self.assessor = AssessAgent("b", "b.observations", 0, configuration, profiles=profiles)
        for number in range(bench_monitors.CLIENTS):
            self.observer.attributes.put(f"client-{number}", {"sex": "female" if number % 3 == 0 else "male"})
        self._offset = 0

    def take(self, made: Sequence[bytes]) -> tuple[float, float, int]:
        """CPU seconds of observing and of assessing, and how many observations there were."""
        observing = assessing = 0.0
        before = self._offset
        for part in bench_monitors.batches(made):
            began = time.process_time()
            written = collect(self.observer.take([], part))[("b.observations", 0)]
            observing += time.process_time() - began
            records = [
                Plain("b.observations", 0, self._offset + place, part[-1].timestamp, key, value, headers)
                for place, (key, value, headers) in enumerate(written)
            ]
            self._offset += len(records)
            began = time.process_time()
            list(self.assessor.take(records, []))
            assessing += time.process_time() - began
        return observing, assessing, self._offset - before


def memory(features: int, monitors: Sequence[str], models: int) -> dict[str, float]:
    """Bytes a model: its state's arrays, and its part of a snapshot; and what the process grew by for all of them."""
    profile = bench_monitors.profile(features)
    settled = configuration(models, features, monitors, profile.digest)
    made = decisions(models, features, DECISIONS)  # states have their full size from the first block on
    before = _resident()
    pair = Pair(settled, {profile.digest: profile})
    pair.take(made)
    assessors = pair.assessor.assessors.values()
    resident = _resident() - before
    states = sum(_arrays(state) for one in assessors for state in one.states.values())
    return {"state": states / models, "snapshot": _snapshot(pair) / models, "resident": resident}


def a_model(features: int, monitors: Sequence[str], models: int) -> dict[str, float]:
    """`memory` by model; what a process takes once, whatever the number of models, is not theirs."""
    few, more = (beside(f"memory({features}, {tuple(monitors)}, {count})") for count in (FEW, FEW + models))
    return more | {"resident": max(0.0, more["resident"] - few["resident"]) / models}


def _resident() -> int:
    """What the process holds, less what it has freed and the C library keeps for later (glibc; elsewhere that stays in)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(psutil.Process().memory_info().rss)


def _arrays(value: Any) -> int:
    """Bytes of all arrays in a state."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_arrays, value.values()))
    return sum(map(_arrays, value)) if isinstance(value, list) else 0


def _snapshot(pair: Pair) -> int:
    """Bytes that a snapshot writes of all models."""
    return sum(len(msgspec.json.encode(one.snapshot())) for one in pair.assessor.assessors.values())


def many(features: int, models: int, each: int) -> dict[str, float]:
    """A deployment of many models under monitors 1 and 2: µs a decision, memory whole, time to start, snapshot."""
    profile = bench_monitors.profile(features)
    settled = configuration(models, features, bench_monitors.FIRST, profile.digest)
    made = decisions(models, features, models * each)
    before, began = _resident(), time.process_time()
    pair = Pair(settled, {profile.digest: profile})
    started = time.process_time() - began
    first = sum(pair.take(made[: bench_monitors.BATCH])[:2])
    rest = made[bench_monitors.BATCH :]
    observing, assessing, observations = pair.take(rest)
    resident = _resident() - before
    began = time.process_time()
    size = _snapshot(pair)
    written = time.process_time() - began
    kept = msgspec.json.decode(msgspec.json.encode({n: one.snapshot() for n, one in pair.assessor.assessors.items()}))
    began = time.process_time()
    again = AssessAgent("b", "b.observations", 0, settled, profiles={profile.digest: profile})
    again.restore(pair.assessor.now_ms, pair.assessor.head(), kept)
    restored = time.process_time() - began
    assert len(again.assessors) == models
    return {
        "first_us": first / bench_monitors.BATCH * 1e6,
        "observe_us": observing / len(rest) * 1e6,
        "assess_us": assessing / len(rest) * 1e6,
        "decisions": len(made),
        "an_observation": len(rest) / observations,
        "resident": resident,
        "start_s": started,
        "restore_s": restored,
        "snapshot": size,
        "snapshot_s": written,
    }


def beside(call: str) -> dict[str, float]:
    """What a function of this module gives in a fresh process."""
    code = f"import json; from tests.benchmarks import bench_models as b; print(json.dumps(b.{call}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--features", type=int, nargs="*", default=list(SIZES), help="of the models measured one by one"
    )
    parser.add_argument("--models", type=int, default=MANY, help="of the large deployment, 20 features each")
    options = parser.parse_args(argv)
    print(LINE.format("memory a model, KiB", "state", "snapshot", "resident"), flush=True)
    for features in options.features:
        models = max(4, 400 // features)
        _row(f"monitors 1 and 2, {features} features", a_model(features, bench_monitors.FIRST, models))
    _row("every kind of monitor, 20 features", a_model(20, ALL, 10))
    found = beside(f"many(20, {options.models}, {EACH})")
    both = found["observe_us"] + found["assess_us"]
    print(
        f"{options.models:,} models, 20 features, monitors 1 and 2, {found['decisions']:,.0f} decisions in batches of "
        f"{bench_monitors.BATCH:,} ({found['an_observation']:.1f} an observation):\n"
        f"  {both:.0f} µs a decision, decoding included: {found['observe_us']:.0f} observing, {found['assess_us']:.0f} "
        f"assessing (the first batch: {found['first_us']:.0f})\n"
        f"  {found['resident'] / 2**20:,.0f} MiB in all; started in {found['start_s']:.1f} s, started again from a snapshot "
        f"in {found['restore_s']:.1f} s\n"
        f"  a snapshot of all: {found['snapshot'] / 2**20:,.0f} MiB, made in {found['snapshot_s']:.1f} s"
    )


def _row(what: str, found: dict[str, float]) -> None:
    print(LINE.format(what, *(f"{found[name] / 1024:,.0f}" for name in ("state", "snapshot", "resident"))), flush=True)


if __name__ == "__main__":
    main()
