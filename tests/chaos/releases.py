"""Held decisions by the thousand, and rulings over them, for tests that kill release lanes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.audit.agent import CHECKPOINTS
from agents.audit.verify import Key, verify
from orchestration import keys
from orchestration.bootstrap import make_lane
from orchestration.kafka import Broker
from orchestration.kill_points import Point
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.chaos import campaign, checker, lives, stream
from tests.integration.kafka_fixtures import produce

KEY = '["limits/hold-unsure","loan","1.0.0",null]'


def unsure(count: int, seed: int = 3) -> Iterator[stream.Sent]:
    """Decisions that the chaos configuration holds, some without a key, some with headers twice."""
    chance = random.Random(seed)
    for number in range(count):
        key, value, headers = stream.decision(chance, f"{seed}-{number}", number)
        event = json.loads(value)
        event["data"]["output"] |= {"confidence": 0.1, "score": round(chance.random() * 0.9, 3)}
        headers = [*headers, ("trace", b"\x00\xff")] if number % 3 else headers
        yield None if number % 7 == 0 else key, json.dumps(event).encode(), headers


def ruling(settings: Settings, number: int, effect: str, through: int, **more: object) -> bytes:
    """A ruling over what was held before an offset of decisions."""
    resolution = {"allow": "approved", "block": "rejected"}[effect]
    data: dict[str, object] = {"incident": "7f29-k1mq", "resolution": resolution, "effect": effect, "keys": [KEY]}
    data |= {"through": {f"{settings.topic('decisions')}/0": through}, "reason": "seen"} | more
    event = {"specversion": "1.0", "type": "governance.ruling.v1", "id": f"7f29-k1mq/{number}", "source": "/g"}
    return json.dumps(event | {"data": data}).encode()


async def hold(settings: Settings, kafka: LocalKafka, count: int) -> list[checker.Seen]:
    """So many decisions published and held; returns what was sent."""
    sent = list(unsure(count))
    offsets = await produce(kafka, settings.topic("decisions"), sent, partition=0, linger_ms=5)
    await campaign.drain(settings, campaign.lanes(settings, "policy"))
    rows = zip(sent, offsets, strict=True)
    return [checker.Seen(0, offset, key, value, tuple(headers)) for (key, value, headers), offset in rows]


async def pending(settings: Settings) -> int:
    """Decisions that are held and have not ended."""
    found = {one.key: one.value is not None for one in await Broker(settings).read_all(settings.topic("held"))}
    return sum(found.values())


def lane(settings: Settings) -> LaneName:
    """The release lane of partition 0."""
    return LaneName(settings.prefix, "release", settings.topic("held"), 0)


async def killed_at(settings: Settings, points: Sequence[tuple[Point, int]]) -> list[str]:
    """One life after the other, each killed at its point the n-th time it comes; returns those that were not."""
    missed = []
    for point, count in points:
        life = lives.start(settings, [lane(settings)], f"release/*@{point}#{count}")
        if not await campaign.killed(life):
            missed.append(f"{point}#{count}")
    return missed


async def finished(settings: Settings, sent: list[checker.Seen]) -> list[str]:
    """Work off and audit what is left; every broken promise, by the outsider's checker and by the auditor's verifier."""
    names = [lane(settings), *campaign.lanes(settings, "policy")]
    await campaign.run_dry([make_lane(settings, name) for name in names])
    audit = [LaneName(settings.prefix, "audit", settings.topic(one), 0) for one in ("verdicts", "config", CHECKPOINTS)]
    await campaign.drain(settings, audit)
    view = await checker.read(settings.client(), settings.prefix, Path(settings.store_url))
    told = [
        f"{one.kind}: {one.where}: {one.detail}" for one in checker.check(view, settings.prefix, checker.Rule(), sent)
    ]
    public = keys.paths(settings.prefix, settings.keys_dir).verifier.read_text().strip()
    report = verify(Path(settings.store_url), Key(public))
    return told + [f"audit: {one}" for one in report.findings]


async def aborted(settings: Settings) -> int:
    """Verdicts that were written in a transaction that was undone."""
    topic = settings.topic("verdicts")
    everything = await checker.read_topic(settings.client(), topic, "read_uncommitted")
    return len(everything) - len(await Broker(settings).read_all(topic))
