"""The escalation lane on a real Kafka: from held decisions to an incident, an answer, a ruling; decided again byte for byte."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from agents.configuration import Configuration
from agents.people_events import IncidentData, Resolution, RulingData, Status
from orchestration.escalation_lane import escalation_lane
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.manifest_lane import ManifestLane
from orchestration.reexecute_manifests import reexecute_manifests
from orchestration.settings import Settings
from tests.integration.monitored import deployment, event, lanes_of, running, send, tick, until
from tests.unit.escalation.lane import Lane, declared, flag

POLICIES = [
    {
        "policy": "lending",
        "rules": [{"id": "declines", "when": "output.label = 'decline'", "effect": "hold", "team": "credit"}],
    }
]


def configuration(**more: Any) -> Configuration:
    """Declines of a model in the path are held; ann is on call."""
    document = declared(**more).document()
    model = {
        "mode": "gate",
        "features": {"income": "numeric"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
    }
    return Configuration.model_validate({**document, "models": {"credit": model}, "policies": POLICIES})


async def events(settings: Settings, short: str) -> list[dict[str, Any]]:
    """Every event of a topic."""
    return [json.loads(one.value) for one in await Broker(settings).read_all(settings.topic(short))]


async def newest(settings: Settings) -> dict[str, IncidentData]:
    """The newest record of each incident."""
    found = [IncidentData.model_validate(one["data"]) for one in await events(settings, "incidents")]
    return {one.incident: one for one in found}


async def reexecuted(settings: Settings, declared_: Configuration) -> int:
    """Every step of the lane decided again; returns how many records came out the same."""
    (lane,) = lanes_of(settings, declared_, ("escalation",))
    assert isinstance(lane, ManifestLane)
    again = await reexecute_manifests(settings, lane.name, lane.inputs, lane.make)
    assert again.differences == ()
    return again.records


def signed(settings: Settings, person: str, action: str, incident: IncidentData, number: int) -> bytes:
    """A review with the person's own key, for this deployment."""
    lane = Lane(prefix=settings.prefix)
    lane.offsets["reviews"] = number
    return lane.signed(person, action, incident)


async def test_held_decisions_are_an_incident_and_an_answer_is_a_ruling(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    declared_ = configuration()
    settings = await deployment(broker, prefix, tmp_path, declared_)
    async with running(*lanes_of(settings, declared_, ("policy", "escalation"))):
        await send(settings, broker, "decisions", [event(n, "1", "decline") for n in range(40)])

        async def held() -> bool:
            await tick(settings, broker)
            return sum(one.held for one in (await newest(settings)).values()) == 40

        await until(held)
        (found,) = (await newest(settings)).values()
        assert (found.cause, found.team, found.told) == ("lending/declines", "credit", ("ann",))
        assert sum(found.through.values()) == 40
    async with running(*lanes_of(settings, declared_, ("policy", "escalation"))):  # from its snapshot
        began = time.monotonic()
        await send(settings, broker, "reviews", [signed(settings, "bob", "reject", found, 0)])
        await send(settings, broker, "reviews", [signed(settings, "cy", "approve", found, 1)])

        async def ruled() -> bool:
            return len(await events(settings, "rulings")) == 2

        await until(ruled)
        assert time.monotonic() - began < 10
    ruling, refusal = await events(settings, "rulings")
    assert RulingData.model_validate(ruling["data"]).resolution is Resolution.REJECTED
    assert (refusal["data"]["person"], refusal["data"]["reason"]) == ("cy", "already-ruled")
    (found,) = (await newest(settings)).values()
    assert (found.status, found.resolution, found.held) == (Status.RESOLVED, Resolution.REJECTED, 0)
    kinds = [one["data"]["kind"] for one in await events(settings, "notifications") if "kind" in one["data"]]
    assert kinds == ["trigger", "resolve"]
    assert await reexecuted(settings, declared_) >= 6


async def test_a_storm_of_fifty_thousand_held_decisions_is_twenty_incidents(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    declared_ = configuration()
    settings = await deployment(broker, prefix, tmp_path, declared_)
    values = [flag(f"lending/r{n}", count=100, first=2_500 * n + 100 * batch) for batch in range(25) for n in range(20)]
    async with running(*lanes_of(settings, declared_, ("escalation",))):
        await send(settings, broker, "flags", values)

        async def counted() -> bool:
            await tick(settings, broker)
            return sum(one.held for one in (await newest(settings)).values()) == 50_000

        await until(counted)
    assert len(await newest(settings)) == 20
    assert len(await events(settings, "notifications")) == 20
    assert len(await events(settings, "incidents")) <= 100
    await reexecuted(settings, declared_)


async def test_what_cannot_be_read_is_flagged_once_and_becomes_an_incident(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    declared_ = configuration()
    settings = await deployment(broker, prefix, tmp_path, declared_)
    await send(settings, broker, "flags", [b"{", flag()])
    await send(settings, broker, "triage", [b"nothing"])
    for _ in range(2):
        async with running(*lanes_of(settings, declared_, ("escalation",))):

            async def two() -> bool:
                return len(await newest(settings)) >= 2

            await until(two)
            await asyncio.sleep(0.5)
    records = await Broker(settings).read_all(settings.topic("flags"))
    told = [json.loads(one.value)["data"] for one in records if one.key and one.key.startswith(b'["escalation/')]
    assert sum(one["count"] for one in told) == 2
    causes = {one.cause for one in (await newest(settings)).values()}
    assert causes == {"lending/low-score", "escalation/bad-record"}
    assert escalation_lane(settings).transactional_id == f"{prefix}.escalation.{prefix}.flags.0"
    await reexecuted(settings, declared_)
