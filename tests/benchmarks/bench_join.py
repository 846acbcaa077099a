"""A million decisions that wait for their labels: memory, outcomes a second, and how long a rebuild takes.

`python -m tests.benchmarks.bench_join` runs in a process of its own, on one thread, without Kafka: what a join lane does
between its fetches and its writes. Decisions carry two protected attributes and a segment; all labels are mature at once.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from agents.configuration import Configuration
from agents.monitor.join_agent import JoinAgent
from agents.records import Plain
from orchestration.case_store import CaseStore

CASES, BATCH = 1_000_000, 5_000
DAY = 86_400_000
START = 1_772_000_000_000
MOST_BYTES, LEAST_RATE = 1 << 30, 20_000
CONFIGURATION = {
    "models": {
        "credit": {
            "labels": {"approve": {"favourable": True}, "decline": {}},
            "features": {"product": "categorical"},
            "groups": {"age": ["under", "over"], "sex": ["f", "m"]},
            "outcomes": {"repaid": {"positive": True}, "default": {}},
            "label_maturity": "90d",
        }
    },
    "monitors": {
        "opportunity": {"segment_by": ["purpose"]},
        "false_positive_rate": {},
    },
}


def cases(count: int) -> Iterator[list[Plain]]:
    """Records of `cases`, batch by batch."""
    for first in range(0, count, BATCH):
        found = []
        for number in range(first, min(first + BATCH, count)):
            source, id_ = "/credit/eu-1", f"01JQ{number:022d}"
            data = {
                "decision": {"source": source, "id": id_},
                "model": "credit",
                "version": "2.1.0",
                "label": ("approve", "decline")[number % 3 == 0],
                "score": (number * 7919 % 1000) / 1000,
                "groups": {"age": ("under", "over")[number % 5 > 0], "sex": ("f", "m")[number % 2]},
                "segments": {"purpose": ("loan", "card", "limit")[number % 3]},
                "once": True,
                "decided_ms": START + number,
            }
            event = {"specversion": "1.0", "id": id_, "source": source, "type": "governance.case.v1", "data": data}
            found.append(_record("gim.cases", number, START + number, source, id_, event))
        yield found


def outcomes(count: int) -> Iterator[list[Plain]]:
    """Their outcomes, in another order."""
    for first in range(0, count, BATCH):
        found = []
        for place in range(first, min(first + BATCH, count)):
            number = place * 7919 % count
            source, id_ = "/credit/eu-1", f"01JQ{number:022d}"
            event = {
                "specversion": "1.0",
                "id": f"o{number}",
                "source": "/ledger",
                "time": "2026-06-01T00:00:00Z",
                "type": "governance.outcome.v1",
                "data": {
                    "decision": {"source": source, "id": id_},
                    "outcome": ("repaid", "default")[number % 4 == 0],
                    "revision": 0,
                },
            }
            found.append(_record("gim.outcomes", place, START + 91 * DAY + place, source, id_, event))
        yield found


def _record(topic: str, offset: int, timestamp: int, source: str, id_: str, event: dict[str, object]) -> Plain:
    key = json.dumps([source, id_], separators=(",", ":")).encode()
    return Plain(topic, 0, offset, timestamp, key, json.dumps(event, separators=(",", ":")).encode())


def agent() -> JoinAgent:
    """A lane's agent."""
    return JoinAgent("gim", "gim.cases", 0, Configuration.model_validate(CONFIGURATION), key=b"k" * 32)


def main() -> None:
    """Print the figures; exit status 1 where one misses its bar."""
    before = psutil.Process().memory_info().rss
    lane, spent = agent(), 0.0
    for batch in cases(CASES):
        start = time.process_time()
        list(lane.take(batch, (), ()))
        spent += time.process_time() - start
    waiting = psutil.Process().memory_info().rss - before
    print(f"{lane.join.waiting:,} cases wait: {waiting / 2**20:,.0f} MiB more; taken at {CASES / spent:,.0f}/s")
    with tempfile.TemporaryDirectory() as folder:
        store = CaseStore(Path(folder) / "cases")
        start = time.process_time()
        store.save(lane.join.dump(), {})
        saved = time.process_time() - start
        size = store.path.stat().st_size
        start = time.process_time()
        other, kept = agent(), store.load()
        assert kept is not None
        other.join.load(kept.kept)
        loaded = time.process_time() - start
        assert other.join.waiting == CASES
        del other, kept
        print(f"the store: {size / 2**20:,.0f} MiB, written in {saved:.2f} s, loaded in {loaded:.2f} s")
    spent, joined = 0.0, 0
    for batch in outcomes(CASES):
        start = time.process_time()
        for _, messages in lane.take((), batch, ()):
            joined += sum(json.loads(value or b"")["data"]["n"] for _, value, _ in messages)
        spent += time.process_time() - start
    rate = CASES / spent
    assert joined == CASES, joined
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{rate:,.0f} outcomes/s joined, judged mature and counted (at least {LEAST_RATE:,})")
    spent, fresh = 0.0, agent()
    fresh.load(None)
    for name, stream in (("cases", cases(CASES)), ("outcomes", outcomes(CASES))):
        for batch in stream:
            start = time.process_time()
            fresh.recall(**{name: batch})
            spent += time.process_time() - start
    start = time.process_time()
    fresh.recalled(lane.now_ms, lane.sequence)
    spent += time.process_time() - start
    same = [one.join.dump() for one in (lane, fresh)]
    assert same[0].meta == same[1].meta
    assert same[0].identities == same[1].identities
    assert all((one == same[1].columns[name]).all() for name, one in same[0].columns.items())
    print(f"rebuilt from {2 * CASES:,} records in {spent:.1f} s")
    print(f"the process at its peak, both agents and the records in hand: {peak / 2**20:,.0f} MiB")
    if rate < LEAST_RATE or waiting > MOST_BYTES:
        raise SystemExit("a bar is missed")


if __name__ == "__main__":
    main()
