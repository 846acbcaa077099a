"""Kill the escalation lane at every kill point, while flags and answers come, and let an outsider say what came of it.

    python -m tests.chaos.escalation_campaign --hits 5

Flags of a few causes arrive all the time, a tick a second, and scripted people answer what they see. A process that runs
the lane is killed at each point, the next one takes over; a life without kills drains everything. Then
tests/chaos/escalated.py looks at the topics, and every step is decided again from its manifest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer

from agents.configuration import Configuration
from agents.people_events import IncidentData
from orchestration.escalation_lane import escalation_lane
from orchestration.kafka import Broker
from orchestration.kill_points import POINTS, Point
from orchestration.local_kafka import LocalKafka
from orchestration.manifest_lane import ManifestLane
from orchestration.reexecute_manifests import reexecute_manifests
from orchestration.settings import Settings
from tests.chaos import campaign, checker, escalated, lives
from tests.integration.monitored import deployment, lanes_of
from tests.unit.escalation.lane import Lane, declared, flag

AT_ONCE = 4
"""Causes that are flagged at a time."""
EACH = 120
"""After so many flags an old one ends and a new one begins, so that answers can end incidents."""


def configuration() -> Configuration:
    """One person's word is enough, and messages go by mail."""
    return declared(
        bulk={"items": 1_000_000, "sample": 0}, chains={"default": {"steps": [{}, {"after": "20s", "tell": ["bob"]}]}}
    )


@dataclass
class Result:
    """What a campaign did and found."""

    hits: Counter[str] = field(default_factory=Counter)
    aborted: int = 0
    """Records that were written and are seen by no reader, because their transaction was aborted."""
    flags: int = 0
    incidents: int = 0
    reviews: int = 0
    rulings: int = 0
    again: int = 0
    """Records that came out byte for byte when every step was decided again."""
    problems: list[checker.Problem] = field(default_factory=list)

    def table(self) -> str:
        """Kill point × hits, and the rest in a line."""
        lines = [f"{point:<14}{self.hits[point]:>5}" for point in POINTS if self.hits[point]]
        told = f"{self.flags} flags, {self.incidents} incidents, {self.reviews} reviews, {self.rulings} rulings"
        return "\n".join([*lines, f"{told}; {self.again} records the same again; {len(self.problems)} problems"])


class World:
    """Flags, ticks, and people who answer what they see."""

    def __init__(self, settings: Settings, seed: int, rate: int) -> None:
        self.settings, self.rate, self.chance = settings, rate, random.Random(seed)
        self.flags = self.reviews = 0
        self._offset, self._stop = 0, False

    def stop(self) -> None:
        """End after the burst in hand."""
        self._stop = True

    async def run(self) -> None:
        """Flags in bursts of 50 ms; every second a tick and some answers."""
        async with AIOKafkaProducer(**self.settings.client(), linger_ms=5, enable_idempotence=True) as producer:
            second = time.monotonic()
            while not self._stop:
                for _ in range(max(1, self.rate // 20)):
                    await producer.send(self.settings.topic("flags"), self._flag(), partition=0)
                    self.flags += 1
                if time.monotonic() - second >= 1:
                    second = time.monotonic()
                    await producer.send(self.settings.topic("ticks"), b"{}", partition=0)
                    for value in await self._answers():
                        await producer.send(self.settings.topic("reviews"), value, partition=0)
                        self.reviews += 1
                await asyncio.sleep(0.05)

    def _flag(self) -> bytes:
        count = self.chance.randint(1, 9)
        self._offset += count
        cause = f"lending/r{self.flags // EACH + self.chance.randrange(AT_ONCE)}"
        return flag(cause, count=count, first=self._offset - count, effect="hold")

    async def _answers(self) -> list[bytes]:
        """Two people look at the queue and answer, sometimes the same incident, sometimes twice."""
        records = await Broker(self.settings).read_all(self.settings.topic("incidents"))
        newest = {(one.key or b""): json.loads(one.value)["data"] for one in records}
        queue = [IncidentData.model_validate(one) for one in newest.values() if one["status"] != "resolved"]
        found: list[bytes] = []
        for incident in self.chance.sample(queue, min(2, len(queue))):
            for person in self.chance.sample(["bob", "cy"], self.chance.randint(1, 2)):
                lane = Lane(prefix=self.settings.prefix)
                lane.offsets["reviews"] = self.reviews + len(found)
                action = self.chance.choice(["approve", "reject", "acknowledge"])
                found.append(lane.signed(person, action, incident))
        return found + found[:1] if self.chance.random() < 0.2 else found


async def prepare(kafka: LocalKafka, folder: Path, prefix: str) -> Settings:
    """A deployment with people."""
    return await deployment(kafka, prefix, folder, configuration(), partitions=1, snapshot_interval_ms=1000)


async def run(
    settings: Settings,
    hits: int,
    rate: int = 200,
    seed: int = 1,
    at_least: int = 0,
    points: Sequence[Point] = POINTS,
    show: bool = False,
) -> Result:
    """Hit each point, go on until so many flags were sent, drain, check."""
    result, world, chance = Result(), World(settings, seed, rate), random.Random(seed)
    name = escalation_lane(settings)
    sending, began = asyncio.create_task(world.run()), time.monotonic()
    for point in points:
        for _ in range(hits):
            count = 1 if point == "opened" else chance.randint(1, 4)
            if await campaign.killed(lives.start(settings, [name], f"escalation/*@{point}#{count}")):
                result.hits[point] += 1
        if show:
            print(f"{point:<14}{result.hits[point]:>4} hits", flush=True)
    while world.flags < at_least:
        await asyncio.sleep(0.2)
    world.stop()
    await sending
    await _last_ticks(settings, round((time.monotonic() - began) / 20) + 7)
    await campaign.drain(settings, [name])
    await _last_ticks(settings, 2)  # a step that catches up fires nothing before the next tick, which always comes
    await campaign.drain(settings, [name])
    await _verify(settings, result)
    return result


async def _last_ticks(settings: Settings, seconds: int) -> None:
    """Time goes on after the last flag, so that what was only counted is written: the older an incident, the later."""
    async with AIOKafkaProducer(**settings.client(), enable_idempotence=True) as producer:
        for _ in range(seconds):
            await producer.send_and_wait(settings.topic("ticks"), b"{}", partition=0)
            await asyncio.sleep(1)


async def _verify(settings: Settings, result: Result) -> None:
    topics = await escalated.read(settings.client(), settings.prefix)
    result.problems = escalated.check(topics)
    result.flags, result.reviews = len(topics["flags"]), len(topics["reviews"])
    result.incidents = sum(b'"revision":0,' in (one.value or b"") for one in topics["incidents"])
    result.rulings = sum(b"governance.ruling.v1" in (one.value or b"") for one in topics["rulings"])
    for topic in ("incidents", "rulings", "notifications", "manifests"):
        all_ = await checker.read_topic(settings.client(), settings.topic(topic), "read_uncommitted")
        kept = await checker.read_topic(settings.client(), settings.topic(topic))
        result.aborted += len(all_) - len(kept)
    (lane,) = lanes_of(settings, configuration(), ("escalation",))
    assert isinstance(lane, ManifestLane)
    again = await reexecute_manifests(settings, lane.name, lane.inputs, lane.make)
    result.again = again.records
    result.problems += [checker.Problem("altered", "decided again", one) for one in again.differences]


def main() -> None:
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=2, help="kills at each point")
    parser.add_argument("--flags", type=int, default=2_000, help="go on until so many were sent")
    parser.add_argument("--rate", type=int, default=200, help="flags a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    campaign.told(lambda kafka, folder: _main(kafka, folder, options))


async def _main(kafka: LocalKafka, folder: Path, options: argparse.Namespace) -> Result:
    settings = await prepare(kafka, folder, "chaos")
    return await run(settings, options.hits, options.rate, options.seed, options.flags, show=True)


if __name__ == "__main__":
    main()
