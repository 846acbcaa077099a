"""What monitor lanes that are far behind cost a policy lane on the same machine: `python -m tests.benchmarks.starvation`.

A backlog of decisions that policy has judged and monitors have not; then decisions at a steady rate, and the time from the
producer's send to a read_committed reader's sight of `released`: with the policy lane alone, with observe and assess lanes
catching up in a worker of their own, and with them in the policy lane's own worker. Only decisions sent while the monitors
were behind count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.configuration import Configuration
from orchestration import config_topic, keys, topics
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.benchmarks import workload

MONITORS = (("observe", "decisions"), ("assess", "observations"))
ALONE, APART, TOGETHER = "policy alone", "monitors behind, in another worker", "monitors behind, in the same worker"
BARS = {APART: 4.0, TOGETHER: 8.0}
"""Medians, as multiples of the policy lane's alone. In one worker lanes take turns on one event loop, and a step of an observe
lane that is behind takes 5,000 decisions at once, some 40 ms."""


@dataclass(frozen=True)
class Waits:
    """Latencies of the decisions that were sent while monitors were behind, in ms."""

    p50: float
    p99: float
    seen: int
    behind_s: float
    """How long the monitors took to catch up, or were watched."""

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, {self.seen:,} decisions in {self.behind_s:.1f} s"


class Scenario:
    """One deployment with a backlog; the policy lane has judged all of it."""

    def __init__(self, kafka: LocalKafka, folder: Path, prefix: str) -> None:
        self.settings = Settings(
            prefix=prefix,
            bootstrap_servers=kafka.bootstrap_servers,
            data_dir=folder,
            keys_dir=folder / "keys",
            partitions=1,
        )
        self.observe = LaneName(prefix, "observe", self.settings.topic("decisions"), 0)

    async def prepare(self, backlog: int) -> None:
        """Topics, keys, configuration, and decisions that only monitors have still to see."""
        settings = self.settings
        keys.generate(settings.prefix, settings.keys_dir, settings.store_url)
        await topics.ensure(settings)
        await config_topic.apply(settings, _watched())
        async with AIOKafkaProducer(**settings.client(), linger_ms=20, max_batch_size=500_000) as producer:
            for key, value in workload.decisions(backlog):
                await producer.send(settings.topic("decisions"), value, key=key, partition=0)
        with self.running(("policy", "decisions"), records=backlog) as child:
            await asyncio.to_thread(child.wait, 300)

    @contextmanager
    def running(self, *lanes: tuple[str, str], records: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """A worker with these lanes."""
        order = {
            "run": "lanes",
            "settings": self.settings.model_dump(mode="json", exclude_none=True),
            "lanes": [[agent, self.settings.topic(short)] for agent, short in lanes],
            "records": records,
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.child", json.dumps(order)],
            env=os.environ | {"POLARS_MAX_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()

    async def warm(self, rate: int) -> None:
        """Traffic until the policy lane has judged some of it, and some more."""
        for seed in range(1_000, 1_020):
            if (await self.waits(rate, 3, seed, behind=False)).seen > rate:
                return
        raise AssertionError("the policy lane judges nothing")

    async def waits(self, rate: int, seconds: float, seed: int, *, behind: bool) -> Waits:
        """Send at a rate, and look how long each decision takes; with `behind` no longer than monitors are."""
        settings = self.settings
        sent: dict[bytes, float] = {}
        seen: dict[bytes, float] = {}
        consumer = AIOKafkaConsumer(
            **settings.client(), group_id=None, isolation_level="read_committed", fetch_max_wait_ms=50
        )
        await consumer.start()
        place = TopicPartition(settings.topic("released"), 0)
        consumer.assign([place])
        await consumer.seek_to_end(place)

        async def watch() -> None:
            while True:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    now = time.perf_counter()
                    seen.update((one.key, now) for one in records)

        watching = asyncio.create_task(watch())
        began, number, caught_up = time.perf_counter(), 0, seconds
        lagging = asyncio.create_task(self._until_caught_up()) if behind else None
        async with AIOKafkaProducer(**settings.client(), linger_ms=0) as producer:
            for key, value in workload.decisions(int(rate * seconds), seed):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                if lagging is not None and lagging.done():
                    caught_up = time.perf_counter() - began
                    break
                number += 1
                key += b"-%d-%d" % (seed, number)
                sent[key] = time.perf_counter()
                await producer.send(settings.topic("decisions"), value, key=key, partition=0)
        await asyncio.sleep(2)
        for task in (watching, lagging):
            if task is not None:
                task.cancel()
        await consumer.stop()
        opened = min(seen.values(), default=0.0)  # what was sent before the policy lane ran waited for that alone
        found = np.array([seen[key] - at for key, at in sent.items() if key in seen and at >= opened]) * 1000
        p50, p99 = np.quantile(found, [0.5, 0.99]).tolist() if len(found) else (0.0, 0.0)
        return Waits(p50, p99, len(found), caught_up)

    async def _until_caught_up(self) -> None:
        broker, place = Broker(self.settings), (self.observe.topic, 0)
        while True:
            await asyncio.sleep(0.5)
            at = (await broker.committed(self.observe.transactional_id, [place])).get(place, 0)
            if await broker.written(*place) - at < 2_000:
                return


def _watched() -> Configuration:
    document = workload.configuration(20).document()
    document["models"]["credit-limit"] |= {"groups": {"sex": ["female", "male"]}, "arl": 1_000_000}
    document["duplicate_window"] = 1_000  # lanes open sooner
    document["monitors"] = {"gap": {"kind": "disparate_impact"}, "inputs": {"kind": "operations"}}
    return Configuration.model_validate(document)


async def measure(kafka: LocalKafka, folder: Path, backlog: int, rate: int, seconds: float) -> dict[str, Waits]:
    """The three variants, each figure of the same traffic."""
    found: dict[str, Waits] = {}
    apart, together = Scenario(kafka, folder / "apart", "apart"), Scenario(kafka, folder / "together", "together")
    await apart.prepare(backlog)
    with apart.running(("policy", "decisions")):
        await apart.warm(rate)
        found[ALONE] = await apart.waits(rate, seconds, 3, behind=False)
        with apart.running(*MONITORS):
            await asyncio.sleep(2)
            found[APART] = await apart.waits(rate, 60, 4, behind=True)
    await together.prepare(backlog)
    with together.running(("policy", "decisions"), *MONITORS):
        await asyncio.sleep(3)
        found[TOGETHER] = await together.waits(rate, 60, 5, behind=True)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; exit status 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=500, help="decisions a second")
    parser.add_argument("--seconds", type=float, default=10, help="of traffic to the policy lane alone")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        kafka = LocalKafka(Path(name) / "kafka", heap_mb=1024)
        kafka.start(print)
        try:
            found = asyncio.run(measure(kafka, Path(name), options.backlog, options.rate, options.seconds))
        finally:
            kafka.stop()
    for name, waits in found.items():
        print(f"{name:<36} {waits}")
    missed = [name for name, bar in BARS.items() if found[name].p50 > bar * found[ALONE].p50 or not found[name].seen]
    raise SystemExit("; ".join(f"{name}: more than {BARS[name]:.0f} × alone" for name in missed) or 0)


if __name__ == "__main__":
    main()
