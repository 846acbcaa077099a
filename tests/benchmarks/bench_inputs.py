"""What a lane with several inputs costs: CPU of its process idle and busy, transactions and steps a second.

    python -m tests.benchmarks.bench_inputs

The lane runs the small agent of tests/integration/tally.py, whose own work is a few µs a record, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer

from orchestration import manifests, topics
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.integration import tally


@dataclass(frozen=True)
class Case:
    """One situation: what arrives a second, and how long a batch gathers."""

    told: str
    events: int
    ticks: int
    age_ms: int


CASES = (
    Case("nothing arrives", 0, 0, 200),
    Case("one tick a second, committed lazily", 0, 1, 200),
    Case("500 events and a tick a second, age 200 ms", 500, 1, 200),
    Case("500 events and a tick a second, age 100 ms", 500, 1, 100),
    Case("500 events and a tick a second, no age", 500, 1, 0),
)


async def _transactions(settings: Settings) -> int:
    """How often the lane committed, by the gaps that markers leave among its manifests."""
    records = await Broker(settings).read_all(manifests.topic_of(tally.name_of(settings)))
    offsets = [one.offset for one in records]
    return sum(1 for a, b in itertools.pairwise(offsets) if b != a + 1) + bool(offsets)


async def _feed(settings: Settings, case: Case, until: float) -> None:
    async with AIOKafkaProducer(**settings.client(), linger_ms=5) as producer:
        number, tick_at = 0, time.monotonic()
        while (now := time.monotonic()) < until:
            for _ in range(case.events // 20):
                await producer.send(settings.topic("decisions"), b"x" * 20, key=b"k%d" % (number % 40), partition=0)
                number += 1
            if case.ticks and now >= tick_at:
                tick_at += 1 / case.ticks
                await producer.send(settings.topic("ticks"), b"tick", partition=0)
            await asyncio.sleep(0.05)


async def _run(kafka: LocalKafka, folder: Path, number: int, case: Case, seconds: float) -> str:
    settings = Settings(
        prefix=f"bench{number}", bootstrap_servers=kafka.bootstrap_servers, data_dir=folder, partitions=1
    )
    await topics.ensure(settings)
    life = tally.start(settings, "", records=5_000, age_ms=case.age_ms, lazy_ms=3_000)
    try:
        await _feed(settings, case, time.monotonic() + 5)  # it has opened, and the broker is warm
        process = psutil.Process(life.pid)
        before, steps, began = process.cpu_times(), await _counts(settings), time.monotonic()
        await _feed(settings, case, began + seconds)
        after, spent = process.cpu_times(), time.monotonic() - began
        done = [b - a for a, b in zip(steps, await _counts(settings), strict=True)]
    finally:
        life.kill()
        life.join()
    cpu = after.user + after.system - before.user - before.system
    each = f"{1000 * cpu / done[0]:>8.1f}" if done[0] else f"{'':>8}"
    return f"{case.told:<46}{100 * cpu / spent:>7.2f}{done[0] / spent:>9.2f}{done[1] / spent:>8.2f}{each}"


async def _counts(settings: Settings) -> tuple[int, int]:
    steps = await manifests.all_of(Broker(settings), tally.name_of(settings), tally.inputs(settings))
    return await _transactions(settings), len(steps)


async def _drain(kafka: LocalKafka, folder: Path, count: int) -> str:
    settings = Settings(prefix="drain", bootstrap_servers=kafka.bootstrap_servers, data_dir=folder, partitions=1)
    await topics.ensure(settings)
    async with AIOKafkaProducer(**settings.client(), linger_ms=20, max_batch_size=500_000) as producer:
        for number in range(count):
            await producer.send(settings.topic("decisions"), b"x" * 20, key=b"k%d" % (number % 40), partition=0)
    life = tally.start(settings, "", records=5_000, age_ms=200)
    process = psutil.Process(life.pid)
    group, place = tally.name_of(settings).transactional_id, (settings.topic("decisions"), 0)
    began = 0.0
    try:
        while (await Broker(settings).committed(group, [place])).get(place, 0) < count:
            if not began and await Broker(settings).committed(group, [place]):
                began, before = time.monotonic(), process.cpu_times()
                first = (await Broker(settings).committed(group, [place]))[place]
            await asyncio.sleep(0.05)
        after, spent = process.cpu_times(), time.monotonic() - began
    finally:
        life.kill()
        life.join()
    cpu = after.user + after.system - before.user - before.system
    done = count - first
    return f"backlog: {done / spent:,.0f} records/s, {1e6 * cpu / done:.1f} µs CPU a record, the small agent's included"


async def _main(kafka: LocalKafka, folder: Path, seconds: float) -> None:
    print(f"{'':<46}{'CPU, %':>7}{'commits/s':>10}{'steps/s':>8}{'ms/commit':>10}")
    for number, case in enumerate(CASES):
        print(await _run(kafka, folder, number, case, seconds), flush=True)
    print(await _drain(kafka, folder, 200_000))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="length of each measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        kafka = LocalKafka(Path(name) / "kafka")
        kafka.start()
        try:
            asyncio.run(_main(kafka, Path(name), options.seconds))
        finally:
            kafka.stop()


if __name__ == "__main__":
    main()
