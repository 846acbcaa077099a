"""From held decisions to released ones on a real Kafka: policy, escalation and release lanes, and people's signed answers."""

from __future__ import annotations

import time
from pathlib import Path

from agents.people_events import IncidentData, Status
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.integration.monitored import deployment, event, lanes_of, running, send, tick, until
from tests.integration.test_escalation_lane import configuration, newest, signed


async def values(settings: Settings, short: str) -> list[bytes | None]:
    """Values of all partitions of a topic."""
    return [
        one.value
        for number in range(settings.partitions)
        for one in await Broker(settings).read_all(settings.topic(short), number)
    ]


async def test_an_approval_releases_what_was_held_and_a_rejection_withholds_it(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    declared = configuration()
    settings = await deployment(broker, prefix, tmp_path, declared)
    decisions = [event(n, version, "decline") for n, version in enumerate("12" * 15)]
    async with running(*lanes_of(settings, declared, ("policy", "escalation", "release"))):
        await send(settings, broker, "decisions", decisions)

        async def waiting() -> bool:
            await tick(settings, broker)
            return sum(one.held for one in (await newest(settings)).values()) == 30

        await until(waiting)
        by_version: dict[str | None, IncidentData] = {one.version: one for one in (await newest(settings)).values()}
        assert set(by_version) == {"1", "2"}
        began = time.monotonic()
        await send(settings, broker, "reviews", [signed(settings, "bob", "approve", by_version["1"], 0)])
        await send(settings, broker, "reviews", [signed(settings, "cy", "reject", by_version["2"], 1)])

        async def done() -> bool:
            return len(await values(settings, "released")) == 15 and len(await values(settings, "withheld")) == 15

        await until(done)
        print(f"answer to effect, read back: {time.monotonic() - began:.2f} s")
    sent = {"1": set(), "2": set()}  # type: dict[str, set[bytes]]
    for (_, value), version in zip(decisions, "12" * 15, strict=True):
        sent[version].add(value)
    assert set(await values(settings, "released")) == sent["1"]
    assert set(await values(settings, "withheld")) == sent["2"]
    held = [one for one in await values(settings, "held") if one is not None]
    gone = [one for one in await values(settings, "held") if one is None]
    assert (len(held), len(gone)) == (30, 30), "each has its tombstone"
    assert {one.status for one in (await newest(settings)).values()} == {Status.RESOLVED}
