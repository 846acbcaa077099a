"""Signals as they stand on their topic, and the observations behind one of them; for commands and pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import Signal, SignalData
from agents.monitor.explaining import Explanation, explain
from agents.monitor.profiles import Profile
from orchestration import config_topic
from orchestration.extensions import kinds
from orchestration.kafka import Broker, close, read_range
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings

WATERMARK = b'["watermark",'


@dataclass(frozen=True, slots=True)
class Standing:
    """A signal with its place."""

    id: str
    offset: int
    time_ms: int
    data: SignalData


async def signals(settings: Settings) -> list[Standing]:
    """The newest signal of each key, strongest status first; those that were withdrawn are left out."""
    found: dict[bytes, Standing | None] = {}
    for key, one in await _records(settings):
        found[key] = one
    standing = [one for one in found.values() if one is not None]
    order = ("alarm", "warn", "ok", "insufficient", "none")
    return sorted(standing, key=lambda one: (order.index(one.data.status.value), one.data.monitor, one.id))


async def history(settings: Settings) -> list[Standing]:
    """Every signal that compaction has left, oldest first."""
    return [one for _, one in await _records(settings) if one is not None]


async def _records(settings: Settings) -> list[tuple[bytes, Standing | None]]:
    """Key and signal of each record, None where it was withdrawn; watermarks are left out."""
    found: list[tuple[bytes, Standing | None]] = []
    for record in await Broker(settings).read_all(settings.topic("signals")):
        key: bytes = record.key or b""
        if record.value is None:
            found.append((key, None))
        elif not key.startswith(WATERMARK):
            event = Signal.model_validate_json(record.value)
            found.append((key, Standing(event.id, record.offset, record.timestamp, event.data)))
    return found


async def find(settings: Settings, name: str) -> Standing:
    """The signal of an offset or id, or the newest alarm (else the newest signal) whose id contains `name`.

    Raises Misconfigured where there is none.
    """
    known = await history(settings)
    exact = [one for one in known if name in (one.id, str(one.offset))]
    near = exact or [one for one in known if name in one.id]
    if not near:
        raise Misconfigured(f"no signal is called {name!r}; `govern signals list` shows those that stand")
    alarms = [one for one in near if one.data.status.value == "alarm"]
    return (alarms or near)[-1]


async def explained(settings: Settings, standing: Standing) -> Explanation:
    """Everything about a signal, from the observations that it names and the configuration they were counted by.

    Raises Misconfigured where those are gone from Kafka.
    """
    place = standing.data.observations
    if place is None:
        raise Misconfigured(f"signal {standing.id} names no observations: it was not written by an assess lane")
    broker = Broker(settings)
    where = TopicPartition(place.topic, place.partition)
    consumer = await broker.consumer((place.topic, place.partition), from_start=True)
    try:
        begin = (await consumer.beginning_offsets([where]))[where]
        if begin > place.start:
            raise Misconfigured(
                f"observations before offset {begin} were deleted, but the signal rests on those from {place.start}; "
                "raise GOVERN_LONG_RETENTION_DAYS for the future"
            )
        records = await read_range(consumer, where, place.start, place.end)
    finally:
        await close(consumer)
    configuration = await _configuration(settings, records)
    return explain(standing.data, records, configuration, profiles_of(settings, configuration), kinds())


def profiles_of(settings: Settings, configuration: Configuration) -> Mapping[str, Profile]:
    """The profiles that a configuration names, by digest; raises NotReady where one is not there (yet)."""
    return {one.digest: one for one in ProfileStore(settings.profiles_url).of(configuration).values()}


async def _configuration(settings: Settings, records: Sequence[Any]) -> Configuration:
    """The configuration that the last of these observations was counted by."""
    applied = await config_topic.history(settings)
    for record in reversed(records):
        digest = json.loads(record.value or b"{}").get("data", {}).get("config")
        for one in reversed(applied):
            if one.digest == digest:
                return one.configuration()
    raise Misconfigured("the configuration that these observations were counted by is no longer on the topic config")
