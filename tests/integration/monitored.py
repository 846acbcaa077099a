"""A deployment with monitors on a real Kafka, for tests: made, run lane by lane, fed, looked at, and decided again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from agents.configuration import Configuration
from orchestration import config_topic, keys, topics
from orchestration.bootstrap import lane_names, make_lane
from orchestration.kafka import Broker
from orchestration.lane_life import LaneLife
from orchestration.local_kafka import LocalKafka
from orchestration.manifest_lane import ManifestLane
from orchestration.reexecute_manifests import reexecute_manifests
from orchestration.settings import Settings
from orchestration.topics import MONITORS
from tests.integration.kafka_fixtures import produce


async def deployment(
    kafka: LocalKafka, prefix: str, folder: Path, configuration: Configuration, **more: Any
) -> Settings:
    """Topics, keys and the configuration of a deployment of its own, with lanes that are quick to tell."""
    settings = Settings(
        **{
            "prefix": prefix,
            "bootstrap_servers": kafka.bootstrap_servers,
            "data_dir": folder,
            "keys_dir": folder / "keys",
            "partitions": 2,
            "monitor_interval_ms": 50,
            "snapshot_interval_ms": 300,
            **more,
        }
    )
    keys.generate(prefix, settings.keys_dir, settings.store_url)
    await topics.ensure(settings)
    await config_topic.apply(settings, configuration)
    return settings


def lanes_of(
    settings: Settings, configuration: Configuration, agents: Sequence[str] = ("policy", *MONITORS)
) -> list[LaneLife]:
    """The lanes of these agents, as a deployment has them."""
    return [make_lane(settings, one) for one in lane_names(settings, configuration) if one.agent in agents]


@asynccontextmanager
async def running(*lanes: LaneLife) -> AsyncIterator[None]:
    """Lanes that run until the block ends; a fault of one of them is the test's."""
    tasks = [asyncio.create_task(one.run()) for one in lanes]
    try:
        yield
    finally:
        for one in lanes:
            one.stop()
        await asyncio.gather(*tasks)


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 40) -> None:
    """Wait for something, or fail."""
    deadline = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.1)


async def send(
    settings: Settings, kafka: LocalKafka, short: str, records: Sequence[Any], partition: int | None = None
) -> None:
    """Publish records to a topic of the deployment."""
    await produce(kafka, settings.topic(short), records, partition=partition)


async def tick(settings: Settings, kafka: LocalKafka) -> None:
    """Time passes for lanes: what a tick's own bytes say does not matter."""
    await send(settings, kafka, "ticks", [b"{}"])


async def observed(settings: Settings, stage: str | None = None) -> list[dict[str, Any]]:
    """The data of all observations, of one stage where it is named, in the order of the topic."""
    found = [json.loads(one.value)["data"] for one in await Broker(settings).read_all(settings.topic("observations"))]
    return [one for one in found if "counts" in one and stage in (None, one["stage"])]


async def counted(settings: Settings) -> int:
    """Decisions in all observations."""
    return sum(one["n"] for one in await observed(settings))


async def verdicts(settings: Settings) -> list[dict[str, Any]]:
    """The data of all verdicts, by partition and offset."""
    found = []
    for partition in range(settings.partitions):
        records = await Broker(settings).read_all(settings.topic("verdicts"), partition)
        found += [json.loads(one.value)["data"] for one in records]
    return found


async def reexecuted(settings: Settings, configuration: Configuration) -> int:
    """Every step of every monitor lane decided again from its manifests; returns how many records came out the same."""
    records = 0
    for lane in lanes_of(settings, configuration, MONITORS):
        assert isinstance(lane, ManifestLane)
        again = await reexecute_manifests(settings, lane.name, lane.inputs, lane.make)
        assert again.differences == (), lane.name
        records += again.records
    return records


def event(number: int, version: str, label: str) -> tuple[bytes, bytes]:
    """One decision's key and value."""
    document = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"d{number}",
        "source": "/test",
        "subject": f"s{number}",
        "data": {
            "model": {"name": "credit", "version": version},
            "features": {"income": 1.0},
            "output": {"label": label},
        },
    }
    return f"s{number}".encode(), json.dumps(document).encode()


def known(number: int, sex: str) -> tuple[bytes, bytes]:
    """What is known of a subject."""
    document = {
        "specversion": "1.0",
        "type": "governance.attributes.v1",
        "id": f"a{number}",
        "source": "/crm",
        "subject": f"s{number}",
        "data": {"groups": {"sex": sex}},
    }
    return f"s{number}".encode(), json.dumps(document).encode()


class Traffic:
    """People and what the model decides about them."""

    def __init__(self, settings: Settings, kafka: LocalKafka) -> None:
        self.settings, self.kafka = settings, kafka
        self.random, self.number = np.random.default_rng(5), 0

    async def send(self, count: int, version: str, women: float) -> None:
        """So many decisions about new people, of whom the women are approved at this rate, men at 60 %."""
        people, made = [], []
        for _ in range(count):
            woman = self.random.random() < 0.3
            people.append(known(self.number, "female" if woman else "male"))
            approved = self.random.random() < (women if woman else 0.6)
            made.append(event(self.number, version, "approve" if approved else "decline"))
            self.number += 1
        await produce(self.kafka, self.settings.topic("attributes"), people)
        await produce(self.kafka, self.settings.topic("decisions"), made)
