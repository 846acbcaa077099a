"""What the read model costs: verdicts folded into rows, held decisions, incidents, and the questions that pages ask.

    python -m tests.benchmarks.bench_reading [POSTGRESQL_URL]

Without Kafka, on one thread; times are of the processor, and of the clock where a database answers from its own process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.records import Place, Record
from orchestration.reading import held, incident, queries
from orchestration.reading.database import Database, open_database
from orchestration.reading.folding import Batch, fold
from orchestration.reading.projection import AT_ONCE, BULK
from orchestration.settings import Settings
from tests.unit.reading.world import T0, World, positions

VERDICTS, HELD, INCIDENTS = 200_000, 50_000, 2_000


def main(url: str = "") -> None:
    """Print one line a figure."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, prefix="bench", data_dir=Path(folder), read_model=url)
        database = open_database(settings)
        database.prepare({})
        _plain(database)
        _held(database)
        _people(database)
        database.clear()
        database.close()


def _plain(database: Database) -> None:
    world = World("bench-a")
    for offset in range(VERDICTS):
        world.gate(
            offset, "log" if offset % 20 == 0 else "allow", T0 + offset // 20, rules=["a/b"] if offset % 20 == 0 else []
        )
    _told(
        "verdicts, 20,000 a second, one in 20 with a reason", VERDICTS, lambda: _fold(database, world, BULK["verdicts"])
    )


def _held(database: Database) -> None:
    world = World("bench-b")
    for offset in range(HELD):
        world.holds(offset, T0 + offset // 20)
    _told("held decisions: verdict and record on held", HELD, lambda: _fold(database, world, BULK["verdicts"]))
    made = world.incident(through={f"{world.name('decisions')}/0": HELD}, held=HELD, count=HELD)
    _fold(database, world, AT_ONCE)
    _told("queue with one incident of 50,000 held", 1, lambda: queries.queue(database))
    _told("that incident", 1, lambda: incident.incident(database, made.incident))
    _told("its first page of held decisions", 1, lambda: held.held_items(database, made))
    for offset in range(HELD):
        world.final(offset, "approved", f"{made.incident}/0", T0 + 60_000 + offset // 20)
    _told("their final verdicts and tombstones", HELD, lambda: _fold(database, world, BULK["verdicts"]))


def _people(database: Database) -> None:
    world = World("bench-c")
    for number in range(INCIDENTS):
        made = world.incident(f"{number:04d}-aaaa", cause=f"p/r{number}")
        world.summary(made)
    _told("incidents and their summaries", 2 * INCIDENTS, lambda: _fold(database, world, AT_ONCE))
    _told("queue of 2,000", 1, lambda: queries.queue(database))


def _fold(database: Database, world: World, size: int) -> None:
    for place, records in world.topics.items():
        start = positions(database, [place])[place]
        left = [one for one in records if one.offset >= start]
        for first in range(0, len(left), size):
            start = _batch(database, world.prefix, place, left[first : first + size], start)


def _batch(database: Database, prefix: str, place: Place, records: Sequence[Record], start: int) -> int:
    end = records[-1].offset + 1
    fold(database, prefix, Batch({place: records}, {place: end}, {place: start}))
    return end


def _told(what: str, count: int, work: Callable[[], object]) -> None:
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    spent, took = time.process_time() - cpu, time.perf_counter() - clock
    if count == 1:
        print(f"{what:52} {1000 * spent:9.1f} ms of CPU {1000 * took:9.1f} ms")
    else:
        print(f"{what:52} {1e6 * spent / count:9.1f} µs of CPU each, {count / took:9,.0f} a second")


if __name__ == "__main__":
    main(*sys.argv[1:])
