"""What pages read of single decisions: their bytes and their verdicts, by position, from Kafka and the archive.

The read model holds no content, so whoever opens a decision has it fetched at that moment. Nothing here decides who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from agents.configuration import Configuration
from agents.envelope import attributes, structured
from agents.errors import Malformed, Misconfigured
from agents.events import Decision, Position, Verdict
from agents.policy import held
from agents.records import Plain, Record
from agents.sources import SourceMapping
from orchestration.archive import Archive, Expired
from orchestration.kafka import Broker, close, read_range, sort_error
from orchestration.settings import Settings

WAIT_S = 5.0
"""A page waits so long for a record, and then says that it is not there."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A decision's record, or why there is none."""

    record: Plain | None
    why: str = ""


class Records(Protocol):
    """Where single records come from."""

    async def decision(self, position: Position, held_at: tuple[int, int] | None) -> Fetched:
        """The decision's exact record; `held_at`: partition and offset on `held`, while it waits."""
        ...

    async def verdict(self, partition: int, offset: int) -> Verdict | None:
        """The verdict at an offset of `verdicts`; None where it is not there (any more)."""
        ...


class KafkaRecords:
    """From the broker while it keeps them, else from the archive."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._broker = settings, Broker(settings)

    async def decision(self, position: Position, held_at: tuple[int, int] | None) -> Fetched:
        """As Records.decision. Raises Retryable where Kafka does not answer."""
        if held_at is not None:
            found = await self._one(self._settings.topic("held"), *held_at)
            if found is not None and found.value is not None:
                return Fetched(held.read(found).original)
        found = await self._one(position.topic, position.partition, position.offset)
        if found is not None:
            return Fetched(_plain(found))
        return await run_in_threadpool(self._archived, position)

    async def verdict(self, partition: int, offset: int) -> Verdict | None:
        """As Records.verdict. Raises Retryable where Kafka does not answer."""
        found = await self._one(self._settings.topic("verdicts"), partition, offset)
        if found is None or found.value is None:
            return None
        try:
            return Verdict.model_validate_json(found.value)
        except ValidationError:
            return None

    async def _one(self, topic: str, partition: int, offset: int) -> Record | None:
        consumer = None
        try:
            async with asyncio.timeout(WAIT_S):
                consumer = await self._broker.consumer((topic, partition))
                place = TopicPartition(topic, partition)
                first = (await consumer.beginning_offsets([place]))[place]
                end = (await consumer.end_offsets([place]))[place]
                if not first <= offset < end:
                    return None
                records = await read_range(consumer, place, offset, offset + 1)
                return next(iter(records), None)
        except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
            raise sort_error(error) from error
        finally:
            await close(consumer)

    def _archived(self, position: Position) -> Fetched:
        try:
            found = Archive(self._settings.archive_url).read(position.topic, position.partition, position.offset)
        except Expired:
            return Fetched(None, "Its content has expired: it was deleted when its retention ended. The verdict stays.")
        return Fetched(found, "" if found is not None else "Its content is no longer on Kafka and not in the archive.")


def parsed(record: Record, configuration: Configuration | None) -> Decision | None:
    """The record as the contract's event, whatever form its producer gave it; None where it is malformed."""
    try:
        return Decision.model_validate_json(_document(record, configuration))
    except (Malformed, Misconfigured, ValidationError):
        return None


def _document(record: Record, configuration: Configuration | None) -> bytes:
    mapped: Mapping[str, SourceMapping] = {}
    if configuration is not None:
        mapped = {
            one.topic: SourceMapping(one, configuration.models)
            for one in configuration.sources
            if one.topic == record.topic
        }
    if record.topic in mapped:
        return mapped[record.topic].translate(record)
    found, value = attributes(record.headers), record.value or b""
    return value if found is None else structured(found, value)


def _plain(record: Record) -> Plain:
    return Plain(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers)
    )
