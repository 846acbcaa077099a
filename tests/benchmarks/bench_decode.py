"""CPU microseconds a decision for `Reader.read` and `Reader.identify`: `python tests/benchmarks/bench_decode.py`.

832-byte decisions with 20 features, 25 columns asked for, batches of 5,000; one thread; the best of the rounds, because
other work on the machine only ever adds.
"""

import gc
import json
import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = "1"

from agents.configuration import Configuration
from agents.frames import Reader
from agents.records import Plain

SIZE, BATCH, ROUNDS = 832, 5_000, 15
NUMERIC = ["limit_bal", *(f"{kind}_{i}" for kind in ("pay", "bill_amt", "pay_amt") for i in range(6))]
FEATURES = {**dict.fromkeys(NUMERIC, "numeric"), "product": "categorical"}
LABELS = {"approve": {"favourable": True}, "decline": {}}
MODEL = {"versions": ["2.1.0"], "features": FEATURES, "labels": LABELS, "callers": ["svc-portal"]}
COLUMNS = [f"features.{name}" for name in NUMERIC[:15]] + [
    *("id", "caller", "caller_declared", "model.version", "output.label", "output.score", "output.confidence"),
    *("latency_ms", "event_time_ms", "skewed"),
]


def decision(number: int) -> bytes:
    """A decision of exactly SIZE bytes."""
    features = {name: (number * 37 + place) % 100_000 for place, name in enumerate(NUMERIC)}
    data = {
        "model": {"name": "credit-limit", "version": "2.1.0"},
        "caller": "svc-portal",
        "purpose": "loan",
        "features": {**features, "product": "card"},
        "prompt": None,
        "output": {"label": ("approve", "decline")[number % 2], "score": 0.31, "confidence": 0.74, "text": None},
        "action": None,
        "feature_attributions": {"pay_0": -0.41, "limit_bal": 0.2},
        "latency_ms": 12.5,
    }
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"01JQ{number:022d}",
        "source": "/credit/eu-1",
        "time": f"2026-03-02T09:14:{number // 1000 % 60:02d}.{number % 1000:03d}Z",
        "subject": f"client-{number}",
        "data": data,
        "pad": "",
    }
    event["pad"] = "x" * (SIZE - len(json.dumps(event, separators=(",", ":"))))
    return json.dumps(event, separators=(",", ":")).encode()


def measure(what: str, call, values, headers=()) -> float:  # type: ignore[no-untyped-def]
    """Print and return the best round; every round gets fresh bytes, as from a broker (no cached hashes)."""
    best = float("inf")
    for _ in range(ROUNDS):
        records = [
            Plain("gim.decisions", 0, i, 1772442843000, b"k", bytes(bytearray(v)), headers)
            for i, v in enumerate(values)
        ]
        start = time.process_time()
        call(records)
        best = min(best, time.process_time() - start)
    print(f"{what:55s} {best / len(values) * 1e6:6.2f} µs")
    return best / len(values) * 1e6


def main() -> int:
    values = [decision(number) for number in range(BATCH)]
    assert {len(value) for value in values} == {SIZE}
    reader = Reader(Configuration.model_validate({"models": {"credit-limit": MODEL}}), COLUMNS)
    mixed = Reader(Configuration.model_validate({"models": {"credit-limit": MODEL, "other": MODEL}}), COLUMNS)
    assert reader.read([Plain("t", 0, 0, 0, None, values[0])]).groups[0].frame.shape == (1, len(COLUMNS))
    gc.collect()
    gc.freeze()
    gc.disable()
    measure(f"read, {len(COLUMNS)} columns", reader.read, values)
    measure(
        "read, with a content-type header", reader.read, values, [("content-type", b"application/cloudevents+json")]
    )
    measure(
        "read, no columns", Reader(Configuration.model_validate({"models": {"credit-limit": MODEL}}), []).read, values
    )
    other = [value.replace(b'"credit-limit"', b'"other"', 1) if i % 2 else value for i, value in enumerate(values)]
    measure("read, two models in turn", mixed.read, other)
    accents = [value.replace(b"client", "cliënt".encode()) if i % 2 else value for i, value in enumerate(values)]
    measure("read, every second one not ASCII", reader.read, accents)
    broken = [value[:-5] if i % 100 == 0 else value for i, value in enumerate(values)]
    measure("read, 1 % truncated", reader.read, broken)
    measure("read, all truncated", reader.read, [value[:-5] for value in values])
    measure("identify", reader.identify, values)
    return 0


if __name__ == "__main__":
    sys.exit(main())
