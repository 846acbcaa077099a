"""The local Kafka: what a user gets from starting, losing, finding and stopping it."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from orchestration.local_kafka import LocalKafka
from tests.integration.kafka_fixtures import consume_all, create_topics, produce


async def test_committed_transactions_are_read_and_aborted_ones_are_not(broker: LocalKafka, prefix: str) -> None:
    topic = f"{prefix}.decisions"
    await create_topics(broker, [topic], partitions=2)
    await produce(broker, topic, [(b"k", b"kept", [("h", b"1")])], partition=1, transactional_id=f"{prefix}-a")
    producer = AIOKafkaProducer(**broker.client_settings(), transactional_id=f"{prefix}-b")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"dropped", partition=1)
    await producer.abort_transaction()
    await producer.stop()
    await produce(broker, topic, [b"plain"], partition=0)
    records = await consume_all(broker, topic)
    assert [(one.partition, one.key, one.value, one.headers) for one in records] == [
        (0, None, b"plain", ()),
        (1, b"k", b"kept", (("h", b"1"),)),
    ]
    assert {one.timestamp_type for one in records} == {1}, "stamped by the broker"
    assert len(await consume_all(broker, topic, isolation_level="read_uncommitted")) == 3
