"""From the onset of unfairness to the first held decision, on running lanes: `python -m tests.benchmarks.onset --runs 50`.

A real Kafka; policy, observe and assess lanes in a process of their own; 500 decisions a second. Each run is a version of
its own: fair for a while, then a fifth of the people, one group, are approved half as often as the others. A rule holds the
version's declines once the signal alarms. Delays count decisions of the version after the onset; behind the stream is how
long after it was sent the first held decision lay on `held`.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.configuration import Configuration
from orchestration import config_topic, keys, topics
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings

RATE = 500
TURN_S = 0.02
BEFORE = 1_000  # fair decisions of each version
PATIENCE = 6_000  # decisions after the onset until a run counts as missed
BAR_DECISIONS, BAR_S = 2_500, 5.0
CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "credit": {
                "domain": "credit",
                "mode": "gate",
                "features": {f"x{number}": "numeric" for number in range(20)},
                "labels": {"approve": {"favourable": True}, "decline": {}},
                "groups": {"group": ["a", "b"]},
                "arl": 1_000_000,
            }
        },
        "monitors": {"gap": {"kind": "disparate_impact", "reference": {"group": "a"}}},
        "policies": [
            {
                "policy": "fairness",
                "rules": [
                    {
                        "id": "hold-declines",
                        "when": "signals.gap.status = 'alarm' AND output.label = 'decline'",
                        "effect": "hold",
                    }
                ],
            }
        ],
    }
)


@dataclass(frozen=True)
class Held:
    """What one run gave."""

    decisions: int
    """Of the version after the onset, up to and with the first held one; PATIENCE where none was."""
    seconds: float
    """From its being sent until it lay on `held`."""


class Scenario:
    """Sends people and decisions, and watches what is held."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, held: AIOKafkaConsumer, seed: int) -> None:
        self.settings, self.producer, self.consumer = settings, producer, held
        self.random = np.random.default_rng(seed)
        self.number = 0
        self.sent_at: dict[int, float] = {}
        self.onset: dict[int, int] = {}

    async def run(self, version: int) -> Held:
        """One version's life until its first held decision."""
        first, began = self.number, time.perf_counter()
        onset = first + BEFORE
        while self.number < onset + PATIENCE:
            due = first + int((time.perf_counter() - began) * RATE)
            while self.number < due:
                await self._send(version, 0.5 if self.number >= onset else 1.0)
            held = await self._held(onset)
            if held is not None:
                return held
            await asyncio.sleep(TURN_S)
        return Held(PATIENCE, float("inf"))

    async def _send(self, version: int, ratio: float) -> None:
        group = "b" if self.random.random() < 0.2 else "a"
        approved = self.random.random() < (0.5 * ratio if group == "b" else 0.5)
        subject = f"s{self.number}"
        known = {
            "specversion": "1.0",
            "type": "governance.attributes.v1",
            "id": subject,
            "source": "/crm",
            "subject": subject,
            "data": {"groups": {"group": group}},
        }
        made = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": str(self.number),
            "source": "/bench",
            "subject": subject,
            "data": {
                "model": {"name": "credit", "version": str(version)},
                "features": {f"x{place}": round(float(one), 3) for place, one in enumerate(self.random.random(20))},
                "output": {"label": "approve" if approved else "decline"},
            },
        }
        await self.producer.send(
            self.settings.topic("attributes"), json.dumps(known).encode(), key=subject.encode(), partition=0
        )
        await self.producer.send(
            self.settings.topic("decisions"), json.dumps(made).encode(), key=subject.encode(), partition=0
        )
        self.sent_at[self.number] = time.perf_counter()
        self.number += 1

    async def _held(self, onset: int) -> Held | None:
        for records in (await self.consumer.getmany(timeout_ms=0)).values():
            for record in records:
                number = int(json.loads(record.value)["id"])
                if number >= onset:
                    return Held(number - onset + 1, time.perf_counter() - self.sent_at[number])
        return None


async def measure(kafka: LocalKafka, folder: Path, runs: int, seed: int) -> list[Held]:
    """All runs on one deployment."""
    settings = Settings(
        prefix="onset",
        bootstrap_servers=kafka.bootstrap_servers,
        data_dir=folder,
        keys_dir=folder / "keys",
        partitions=1,
    )
    keys.generate("onset", settings.keys_dir, settings.store_url)
    await topics.ensure(settings)
    await config_topic.apply(settings, CONFIGURATION)
    lanes = [["policy", "decisions"], ["observe", "decisions"], ["assess", "observations"]]
    order = {
        "run": "lanes",
        "settings": settings.model_dump(mode="json", exclude_none=True),
        "lanes": [[agent, settings.topic(short)] for agent, short in lanes],
        "records": None,
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.child", json.dumps(order)],
        env=os.environ | {"POLARS_MAX_THREADS": "1"},
    )
    consumer = AIOKafkaConsumer(**settings.client(), group_id=None, isolation_level="read_committed")
    await consumer.start()
    consumer.assign([TopicPartition(settings.topic("held"), 0)])
    await consumer.seek_to_beginning()
    found = []
    try:
        await asyncio.sleep(4)  # the lanes open
        async with AIOKafkaProducer(**settings.client(), linger_ms=2) as producer:
            scenario = Scenario(settings, producer, consumer, seed)
            for version in range(runs):
                one = await scenario.run(version)
                found.append(one)
                print(f"run {version + 1} of {runs}: {one.decisions:,} decisions, {one.seconds:.2f} s", flush=True)
    finally:
        child.kill()
        child.wait()
        await consumer.stop()
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; exit status 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        kafka = LocalKafka(Path(name) / "kafka")
        kafka.start(print)
        try:
            found = asyncio.run(measure(kafka, Path(name), options.runs, options.seed))
        finally:
            kafka.stop()
    decisions = sorted(one.decisions for one in found)
    behind = sorted(one.seconds for one in found)
    late = int(np.ceil(0.9 * len(found))) - 1
    print(f"decisions from onset to first held: median {decisions[len(found) // 2]:,}, 90 % {decisions[late]:,}")
    print(f"behind the stream: median {behind[len(found) // 2]:.2f} s, 90 % {behind[late]:.2f} s")
    raise SystemExit(not (decisions[late] <= BAR_DECISIONS and behind[late] <= BAR_S))


if __name__ == "__main__":
    main()
