"""Connections of a lane to Kafka: consumers that never skip, a transactional producer tuned once, and errors sorted.

Everything that this project learnt about the client is in this file, so that lanes and benchmarks use the same tuning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.producer import sender
from aiokafka.structs import OffsetAndMetadata

from agents.errors import Fatal, Fenced, GovernanceError, Misconfigured, OffsetsLost, Poison, Retryable
from orchestration.settings import MIB, Settings

KNOWN_TRIES = 20
RETRY_BACKOFF_MS = 3
# aiokafka waits this long when a transaction's first AddPartitions meets CONCURRENT_TRANSACTIONS; 20 ms is its default,
# and the marker of the previous transaction is written in 1-3 ms.
sender.BACKOFF_OVERRIDE = RETRY_BACKOFF_MS / 1000


class _Expected(logging.Filter):
    """Kafka 4 answers NotEnoughReplicas to older clients while it verifies a transaction's partition: no news."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "NotEnoughReplicas" not in record.getMessage()


logging.getLogger("aiokafka.producer.sender").addFilter(_Expected())


class _Unknown(logging.Filter):
    """The client asks for a topic that is not there every few ms, and writes a line each time; whoever asks says it once."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "not found in cluster metadata" not in record.getMessage()


logging.getLogger("aiokafka.cluster").addFilter(_Unknown())

_FENCED = (
    kafka_errors.ProducerFenced,
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.UnknownProducerId,
)
_OFFSETS = (kafka_errors.OffsetOutOfRangeError, kafka_errors.NoOffsetForPartitionError)
_REFUSED = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.UnsupportedSaslMechanismError,
)
_TOO_LARGE = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordTooLargeError,
    kafka_errors.RecordListTooLargeError,
)


def sort_error(error: BaseException) -> GovernanceError:
    """One of the three kinds for whatever a client raised; unknown faults of Kafka are Retryable, others Fatal."""
    if isinstance(error, Poison):
        return Fatal(f"a bad record was not isolated: {error}")
    if isinstance(error, GovernanceError):
        return error
    if isinstance(error, _FENCED):
        return Fenced(f"another process owns this lane now ({type(error).__name__})")
    if isinstance(error, _OFFSETS):
        return OffsetsLost(f"the offsets to read from are gone: {error}")
    if isinstance(error, _REFUSED):
        return Misconfigured(f"Kafka refuses: {error!r}; `govern topics plan` lists the ACLs that each agent needs")
    if isinstance(error, _TOO_LARGE):
        return Misconfigured(
            f"Kafka finds a record too large: {error!r}; raise max.message.bytes as `govern topics plan` says"
        )
    if isinstance(error, kafka_errors.KafkaConnectionError):
        return Retryable(f"Kafka does not answer: {error}; does it run, and does GOVERN_BOOTSTRAP_SERVERS name it?")
    if isinstance(error, kafka_errors.KafkaError | OSError | TimeoutError | asyncio.TimeoutError):
        return Retryable(f"Kafka: {error!r}")
    return Fatal(f"a fault of the program: {error!r}")


class Broker:
    """Makes tuned clients for one deployment; every client is started when handed out and must be closed with `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def consumer(self, *topics: tuple[str, int], from_start: bool = False, largest: int = 0) -> AIOKafkaConsumer:
        """A read_committed consumer with a static assignment; it raises rather than skip when offsets are out of range."""
        fetch = max(8 * MIB, 2 * self.settings.output_bytes, largest)
        consumer = AIOKafkaConsumer(
            **self.settings.client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if from_start else "none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=fetch,
            fetch_max_bytes=2 * fetch,
            fetch_max_wait_ms=100,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            metadata_max_age_ms=60_000,
        )
        await _start(consumer)
        consumer.assign([TopicPartition(*topic) for topic in topics])
        return consumer

    async def reader(self, topic: str, partition: int) -> AIOKafkaConsumer:
        """A consumer for records whose offsets are known to be committed: nobody's open transaction hides them from it.

        It stands at the partition's beginning and fetches nothing until it is resumed; its end is that of all writing.
        """
        consumer = AIOKafkaConsumer(
            **self.settings.client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_uncommitted",
            max_partition_fetch_bytes=2 * self.settings.output_bytes,
            fetch_max_wait_ms=100,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            metadata_max_age_ms=60_000,
        )
        await _start(consumer)
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.pause(place)
        return consumer

    async def producer(self, transactional_id: str) -> AIOKafkaProducer:
        """A transactional producer; starting it fences every earlier owner of the id and ends its open transaction."""
        producer = AIOKafkaProducer(
            **self.settings.client(),
            transactional_id=transactional_id,
            transaction_timeout_ms=self.settings.transaction_timeout_ms,
            acks="all",
            linger_ms=0,
            max_batch_size=self.settings.output_bytes - 1024,
            max_request_size=2 * self.settings.output_bytes,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            request_timeout_ms=self.settings.transaction_timeout_ms,
            metadata_max_age_ms=60_000,
        )
        await _start(producer)
        return producer

    async def committed(self, group: str, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Committed offsets of a group without joining it; partitions that have none are left out."""
        return {place: offset for place, (offset, _) in (await self.noted(group, partitions)).items()}

    async def noted(self, group: str, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, str]]:
        """The same with the text that was committed beside each offset; empty where none was."""
        admin = AIOKafkaAdminClient(**self.settings.client())
        await admin.start()
        try:
            found: Mapping[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
                group, partitions=[TopicPartition(*place) for place in partitions]
            )
        finally:
            await admin.close()
        return {tuple(tp): (meta.offset, meta.metadata or "") for tp, meta in found.items() if meta.offset >= 0}

    async def written(self, topic: str, partition: int) -> int:
        """The end of a partition, open transactions included (its high watermark)."""
        consumer = AIOKafkaConsumer(**self.settings.client(), group_id=None, isolation_level="read_uncommitted")
        await _start(consumer)
        try:
            place = TopicPartition(topic, partition)
            return int((await consumer.end_offsets([place]))[place])
        finally:
            await close(consumer)

    async def read_all(self, topic: str, partition: int = 0) -> list[Any]:
        """Every committed record of a partition up to the last stable offset at the time of the call.

        Raises Retryable where Kafka does not answer, or there is no such topic: the client would ask for it for 40 s, and
        write a line about each of thousands of tries.
        """
        consumer = None
        try:
            consumer = await self.consumer(from_start=True)
            await _known(consumer, topic)
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            start = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            return await read_range(consumer, place, start, end)
        except (kafka_errors.KafkaError, OSError) as error:
            raise sort_error(error) from error
        finally:
            await close(consumer)


async def _known(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Raise Retryable where the brokers know no such topic; a new one is not known to each of them at once."""
    for _ in range(KNOWN_TRIES):
        if topic in await consumer.topics():
            return
        await asyncio.sleep(0.1)
    raise Retryable(f"there is no topic {topic}, or no right to see it; `govern up` or `govern topics create` makes it")


async def read_range(consumer: AIOKafkaConsumer, place: TopicPartition, start: int, end: int) -> list[Any]:
    """Committed records with start <= offset < end; markers and aborted records in between have no record."""
    return [record async for batch in batches(consumer, place, start, end) for record in batch]


async def batches(
    consumer: AIOKafkaConsumer, place: TopicPartition, start: int, end: int
) -> AsyncIterator[Sequence[Any]]:
    """The same, as it comes: for what need not be in memory all at once."""
    if start >= end:
        return
    consumer.seek(place, start)
    while await consumer.position(place) < end:
        records = (await consumer.getmany(place, timeout_ms=200, max_records=20_000)).get(place, [])
        while records and records[-1].offset >= end:
            records.pop()
        yield records


async def read_back(
    consumer: AIOKafkaConsumer, place: TopicPartition, before: int, count: int, floor: int
) -> list[Any]:
    """The last `count` committed records before an offset, as far as `floor`; fewer where there are fewer."""
    start, step = before, max(count, 1)
    found: list[Any] = []
    while count and start > floor and len(found) < count:  # markers take offsets: look further back
        earlier = max(floor, start - step)
        found = await read_range(consumer, place, earlier, start) + found
        start, step = earlier, step * 2
    return found[-count:] if count else []


def fate(producer: AIOKafkaProducer) -> BaseException | None:
    """Why a transaction ended by itself (fenced, refused): aiokafka keeps it where only its own commit looks."""
    waiter = producer._txn_manager._transaction_waiter
    if waiter is None or not waiter.done() or waiter.cancelled():
        return None
    found: BaseException | None = waiter.exception()
    return found


async def _start(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Start a client; one that cannot start is closed, and says no more."""
    started = False
    try:
        await client.start()
        started = True
    finally:
        if not started:
            await close(client)


async def close(*clients: AIOKafkaConsumer | AIOKafkaProducer | None) -> None:
    """Stop clients without waiting long for brokers that may be gone."""
    for client in clients:
        if client is not None:
            try:
                await asyncio.wait_for(client.stop(), 3)
            except (TimeoutError, kafka_errors.KafkaError, OSError, asyncio.CancelledError):
                continue
