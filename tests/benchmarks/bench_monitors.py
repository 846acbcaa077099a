"""What monitors cost a decision above decoding, and against river: `python -m tests.benchmarks.bench_monitors`.

Observing and assessing as the lanes do it, from bytes to bytes, in batches of 5,000 (stretches of 250), one thread. CPU of
the process, the best of the rounds, because other work on the machine only ever adds. `decode` reads the same columns and
stops there.
"""

from __future__ import annotations

import gc
import os

os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from agents.configuration import Configuration
from agents.frames import Reader
from agents.monitor.agent import AssessAgent
from agents.monitor.contract import View
from agents.monitor.observing import Observer
from agents.monitor.profiles import Profile, fit
from agents.monitor.registry import KINDS
from agents.records import Message, Plain, collect
from tests.benchmarks import workload

BATCH, BATCHES, ROUNDS = 5_000, 4, 3
REFERENCE = 5_000
CLIENTS = 50_000  # of the workload
FULL = 100  # decisions after which river's windows are full
FIRST = ("disparate_impact", "data_drift")


def configuration(features: int, monitors: Sequence[str], profile: str | None = None) -> Configuration:
    """One credit model with so many features and these kinds of monitors."""
    model: dict[str, Any] = {
        "features": {f"feature_{number:02d}": "numeric" for number in range(features)},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "groups": {"sex": ["female", "male"]},
        "callers": ["svc-portal"],
        "versions": ["2.1.0"],
        "subject_period": "none" if features == 0 else "month",
    }
    if profile is not None:
        model["profile"] = profile
    return Configuration.model_validate(
        {"models": {"credit-limit": model}, "monitors": {name: {} for name in monitors}, "duplicate_window": 100_000}
    )


def values(features: int, count: int, seed: int = 1) -> list[bytes]:
    """Decisions' bytes; 832 of them at 20 features, as in the other benchmarks."""
    if features == len(workload.FEATURES):
        return [value for _, value in workload.decisions(count, seed)]
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        event = json.loads(next(workload.decisions(1, seed))[1])
        event["id"], event["subject"] = f"{seed}-{number}", f"client-{random.integers(50_000)}"
        event["data"]["features"] = {
            f"feature_{place:02d}": round(float(one), 1) for place, one in enumerate(random.uniform(0, 1000, features))
        }
        found.append(json.dumps(event, separators=(",", ":")).encode())
    return found


def profile(features: int) -> Profile:
    """A reference of uniform features, as the workload has them."""
    random = np.random.default_rng(7)
    columns: dict[str, Any] = {f"features.feature_{n:02d}": random.uniform(0, 1000, REFERENCE) for n in range(features)}
    columns |= {
        "output.label": random.choice(["approve", "decline"], REFERENCE),
        "output.score": random.random(REFERENCE),
        "output.confidence": random.random(REFERENCE),
        "outcome": random.integers(0, 2, REFERENCE).astype(float),
        "caller": ["svc-portal"] * REFERENCE,
        "latency_ms": [12.5] * REFERENCE,
        "model.version": ["2.1.0"] * REFERENCE,
    }
    texts = {"prompt", "purpose", "output.text", "action.tool"}
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(None, dtype=pl.String if name in texts else pl.Float64).alias(name)
        for name in (*texts, *(f"feature_attributions.feature_{n:02d}" for n in range(features)))
    )
    times = np.arange(REFERENCE, dtype=np.int64) * 60_000
    view = View(frame, np.zeros(REFERENCE, dtype=np.int64), 1, {"sex": random.integers(0, 2, REFERENCE)}, times)
    model = configuration(features, ()).models["credit-limit"]
    return fit(KINDS, view, "credit-limit", model, version="2.0.0")


def watched(configuration: Configuration, profile: str) -> Configuration:
    """The same with monitors 1 and 2, who is who, and the profile of a digest."""
    document = configuration.document()
    model = document["models"]["credit-limit"]
    model |= {"groups": {"sex": ["female", "male"]}, "profile": profile}
    return Configuration.model_validate({**document, "monitors": {name: {} for name in FIRST}})


def attributes() -> Iterator[tuple[bytes, bytes]]:
    """Key and value of a record of `attributes` for each client of the workload."""
    for number in range(CLIENTS):
        subject = f"client-{number}"
        event = {
            "specversion": "1.0",
            "type": "governance.attributes.v1",
            "id": subject,
            "source": "/crm",
            "subject": subject,
            "data": {"groups": {"sex": "female" if number % 3 == 0 else "male"}},
        }
        yield subject.encode(), json.dumps(event).encode()


def batches(made: Sequence[bytes]) -> list[list[Plain]]:
    """Records in batches, with fresh bytes as from a broker, a second apart in thousands."""
    return [
        [
            Plain("b.decisions", 0, start + place, 1_772_442_843_000 + start + place, None, bytes(bytearray(value)))
            for place, value in enumerate(made[start : start + BATCH])
        ]
        for start in range(0, len(made), BATCH)
    ]


def best(run: Callable[[], float], rounds: int = ROUNDS) -> float:
    """The least CPU seconds of some rounds."""
    return min(run() for _ in range(rounds))


def cost(features: int, monitors: Sequence[str], count: int = BATCH * BATCHES) -> dict[str, float]:
    """Microseconds of CPU a decision: decode, observe (above decode), assess; bytes of observations a decision; flags."""
    reference = profile(features)
    settled = configuration(features, monitors, reference.digest)
    made = values(features, count)
    known = {f"client-{number}": {"sex": "female" if number % 3 == 0 else "male"} for number in range(CLIENTS)}
    sizes: list[int] = []
    flags: list[Message] = []

    def decode() -> float:
        observer = Observer("b", "b.decisions", 0, settled, {reference.digest: reference})
        columns = observer.prepared.reader._columns
        reader = Reader(settled, columns)
        parts = batches(made)
        began = time.process_time()
        for part in parts:
            reader.read(part)
        return time.process_time() - began

    spent: dict[str, float] = {"assess": float("inf")}

    def both() -> float:
        observer = Observer("b", "b.decisions", 0, settled, {reference.digest: reference})
        for subject, groups in known.items():
            observer.attributes.put(subject, groups)
        assess = AssessAgent("b", "b.observations", 0, settled, profiles={reference.digest: reference})
        parts = batches(made)
        counted = judged = 0.0
        sizes.clear()
        flags.clear()
        offset = 0
        for number, part in enumerate(parts):
            began = time.process_time()
            written = collect(observer.take([], part))[("b.observations", 0)]
            counted += time.process_time() - began
            sizes.append(sum(len(value or b"") for _, value, _ in written))
            records = [
                Plain("b.observations", 0, offset + place, part[-1].timestamp, key, value, headers)
                for place, (key, value, headers) in enumerate(written)
            ]
            offset += len(records)
            began = time.process_time()
            said = list(assess.take(records, []))
            if number:
                judged += time.process_time() - began
            flags.extend(collect(said).get(("b.flags", 0), ()))
        spent["assess"] = min(spent["assess"], judged * len(parts) / max(1, len(parts) - 1))
        return counted

    gc.collect()
    gc.freeze()
    gc.disable()
    decoded, observed = best(decode), best(both)
    gc.enable()
    each = 1e6 / count
    return {
        "decode": decoded * each,
        "observe": max(0.0, observed - decoded) * each,
        "assess": spent["assess"] * each,
        "bytes": sum(sizes) / count,
        "flags": len(flags),
    }


def river(name: str, features: int, count: int) -> float:
    """Microseconds of CPU a decision that a detector of river needs, one a feature, event by event, as its users run it."""
    from river import drift

    random = np.random.default_rng(3)
    rows = random.uniform(0, 1000, (FULL + count, features)).tolist()
    detectors = [getattr(drift, name)() for _ in range(features)]
    for row in rows[:FULL]:  # windows fill before they test anything
        for detector, value in zip(detectors, row, strict=True):
            detector.update(value)
    rows = rows[FULL:]
    began = time.process_time()
    for row in rows:
        for detector, value in zip(detectors, row, strict=True):
            detector.update(value)
    return (time.process_time() - began) / count * 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="*", default=[5, 20, 100, 500])
    options = parser.parse_args(argv)
    print("µs of CPU a decision above decoding            decode  observe  assess   sum   bytes")
    for features in options.features:
        found = cost(features, FIRST, BATCH * (BATCHES if features <= 100 else 2))
        _line(f"monitors 1 and 2, {features} features", found)
        both = found["observe"] + found["assess"]
        for name in ("ADWIN", "PageHinkley", "KSWIN"):
            other = river(
                name, features, max(20, 40_000 // features) if name != "KSWIN" else max(20, 4_000 // features)
            )
            print(f"    river's {name}, one a feature: {other:.1f} µs, {other / both:.1f} times as much")
    for kind in KINDS:
        if kind in ("behaviour", "anomaly", *FIRST):
            _line(f"{kind} alone, 20 features", cost(20, (kind,)))


def _line(what: str, found: dict[str, float]) -> None:
    both = found["observe"] + found["assess"]
    print(
        f"{what:45s} {found['decode']:7.2f} {found['observe']:8.2f} {found['assess']:7.2f} {both:6.2f} "
        f"{found['bytes']:7.1f}"
    )


if __name__ == "__main__":
    main()
