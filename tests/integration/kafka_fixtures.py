"""Fixtures and helpers on a real Apache Kafka: one broker for the whole session, a topic prefix of its own for each test."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A running local Kafka, shared by the session; a test that kills brokers makes its own LocalKafka instead."""
    kafka = LocalKafka(tmp_path_factory.mktemp("kafka"))
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture
def prefix() -> str:
    """A topic prefix that no other test of this or another run uses, such as `t1a2b3`."""
    return f"t{next(_numbers):x}{secrets.token_hex(3)}"


@asynccontextmanager
async def admin_client(kafka: LocalKafka, **more: Any) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client."""
    client = AIOKafkaAdminClient(**{**kafka.client_settings(), **more})
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create_topics(
    kafka: LocalKafka, topics: Iterable[str], *, partitions: int = 1, settings: Mapping[str, str] | None = None
) -> None:
    """Create topics and wait until each partition has a leader."""
    names = list(topics)
    copies = min(3, len(kafka.nodes))
    async with admin_client(kafka) as client:
        wanted = [NewTopic(name, partitions, copies, topic_configs=dict(settings or {})) for name in names]
        answer = await client.create_topics(wanted)
        errors = [error for error in answer.topic_errors if error[1] != 0]
        assert not errors, errors
        for _ in range(200):
            described = await client.describe_topics(names)
            if all(
                topic["error_code"] == 0
                and len(topic["partitions"]) == partitions
                and all(part["leader"] >= 0 for part in topic["partitions"])
                for topic in described
            ):
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"no leader for {names} after 10 s")


async def produce(
    kafka: LocalKafka,
    topic: str,
    records: Iterable[
        bytes | tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
    ],
    *,
    partition: int | None = None,
    transactional_id: str | None = None,
    **more: Any,
) -> list[int]:
    """Send values, (key, value) or (key, value, headers); return the offsets. With a transactional id: one transaction."""
    producer = AIOKafkaProducer(
        **{**kafka.client_settings(), "transactional_id": transactional_id, "acks": "all", **more}
    )
    try:
        await producer.start()
        if transactional_id is None:
            return await _send_all(producer, topic, records, partition)
        async with producer.transaction():
            return await _send_all(producer, topic, records, partition)
    finally:
        await producer.stop()


async def _send_all(producer: AIOKafkaProducer, topic: str, records: Iterable[Any], partition: int | None) -> list[int]:
    waiting = []
    for record in records:
        key, value, headers = (None, record, ()) if isinstance(record, bytes) else (*record, ())[:3]
        waiting.append(await producer.send(topic, value, key=key, partition=partition, headers=list(headers)))
    await producer.flush()
    return [(await one).offset for one in waiting]


async def consume_all(
    kafka: LocalKafka,
    *topics: str,
    isolation_level: str = "read_committed",
    from_offsets: Mapping[tuple[str, int], int] | None = None,
    **more: Any,
) -> list[ConsumerRecord]:
    """Every record of the topics up to the end offsets seen at the start, by topic, partition and offset.

    read_committed ends at the last stable offset: records of transactions still open are not waited for.
    """
    consumer = AIOKafkaConsumer(
        **{
            **kafka.client_settings(),
            "isolation_level": isolation_level,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "max_partition_fetch_bytes": 8 * 1024 * 1024,
            **more,
        }
    )
    await consumer.start()
    try:
        partitions = await _partitions(consumer, topics)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        for (topic, number), offset in (from_offsets or {}).items():
            consumer.seek(TopicPartition(topic, number), offset)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while [part for part in partitions if await consumer.position(part) < ends[part]]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [
                    record for record in records if record.offset < ends[TopicPartition(record.topic, record.partition)]
                ]
        return sorted(found, key=lambda record: (record.topic, record.partition, record.offset))
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    known = await consumer._client.fetch_all_metadata()
    found = []
    for topic in topics:
        numbers = known.partitions_for_topic(topic)
        assert numbers, f"there is no topic {topic}"
        found += [TopicPartition(topic, number) for number in sorted(numbers)]
    return found


# Numbers of Kafka's ACL protocol.
RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
OPERATIONS = {
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "cluster-action": 9,
    "describe-configs": 10,
    "alter-configs": 11,
    "idempotent-write": 12,
}
_LITERAL, _PREFIXED, _ALLOW = 3, 4, 3


async def allow(
    kafka: LocalKafka, user: str, resource: str, name: str, *operations: str, prefixed: bool = False
) -> None:
    """As `admin`, let the user do the operations on a resource (words of RESOURCES, OPERATIONS); waits until it counts."""
    await allow_all(kafka, [(user, resource, name, operations, prefixed)])


async def allow_all(kafka: LocalKafka, rights: Iterable[tuple[str, str, str, Iterable[str], bool]]) -> None:
    """The same for many: (user, resource, name, operations, prefixed) each."""
    wanted = [
        (RESOURCES[resource], name, _PREFIXED if prefixed else _LITERAL, f"User:{user}", "*", OPERATIONS[one], _ALLOW)
        for user, resource, name, operations, prefixed in rights
        for one in operations
    ]
    async with admin_client(kafka) as client:
        for one in wanted:
            answer = await client._send_to_controller(CreateAclsRequest(*one))
            assert [code for code, _ in answer.creation_responses] == [0], answer
        for one in wanted:
            for _ in range(200):
                if (await client._send_request(DescribeAclsRequest(*one))).resources:
                    break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError(f"the ACL {one} does not show after 4 s")


async def flags_of(settings: Settings, least: int = 1) -> list[dict[str, Any]]:
    """The data of the deployment's flags, once so many are there: what was committed is seen a moment later."""
    for _ in range(100):
        found = await Broker(settings).read_all(settings.topic("flags"))
        if len(found) >= least:
            break
        await asyncio.sleep(0.1)
    return [json.loads(one.value)["data"] for one in found]
