"""A local cluster with TLS, SCRAM and ACLs behaves as an operator's does: by password, by right, and by nothing else."""

from __future__ import annotations

import asyncio
import logging
import ssl
import stat
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from agents.errors import Misconfigured
from orchestration.local_kafka import LocalKafka
from tests.integration.kafka_fixtures import admin_client, allow, consume_all, create_topics, produce

PASSWORD = 'quotes " and \\ and = stay'


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    kafka = LocalKafka(
        tmp_path_factory.mktemp("secure"), security="tls-scram", users={"lane": PASSWORD, "nobody": "n"}, heap_mb=256
    )
    kafka.start()
    yield kafka
    kafka.stop()


async def connect(settings: dict[str, Any]) -> None:
    producer = AIOKafkaProducer(**settings)
    try:
        await producer.start()
    finally:
        await producer.stop()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_the_right_password_connects(secure: LocalKafka, mechanism: str) -> None:
    await connect(secure.client_settings("lane", mechanism))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_refused(
    secure: LocalKafka, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**secure.client_settings("lane", mechanism), "sasl_plain_password": PASSWORD + "."}
    with pytest.raises(KafkaConnectionError):
        await connect(settings)
    assert "SaslAuthenticationFailed" in caplog.text  # the client only logs the reason


async def test_neither_plaintext_nor_an_unknown_authority_connects(
    secure: LocalKafka, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    with pytest.raises(KafkaConnectionError):
        await connect({"bootstrap_servers": secure.bootstrap_servers, "request_timeout_ms": 2_000})

    settings = {**secure.client_settings("lane"), "ssl_context": ssl.create_default_context()}
    with pytest.raises(KafkaConnectionError):
        await connect(settings)


async def test_without_acls_a_user_may_do_nothing(secure: LocalKafka, prefix: str) -> None:
    topic = f"{prefix}.decisions"
    await create_topics(secure, [topic])
    nobody = secure.client_settings("nobody")
    async with admin_client(secure, **nobody) as client:
        assert topic not in await client.list_topics()

        refused = await client.create_topics([NewTopic(f"{prefix}.mine", 1, 1)])
        assert [code for _, code, _ in refused.topic_errors] == [TopicAuthorizationFailedError.errno]
    with pytest.raises(TopicAuthorizationFailedError):
        await produce(secure, topic, [b"x"], **nobody)


async def test_with_the_least_acls_a_lane_runs_its_transaction_on_topics_made_beforehand(
    secure: LocalKafka, prefix: str
) -> None:
    source, target, group = f"{prefix}.decisions", f"{prefix}.verdicts", f"{prefix}.policy"
    await create_topics(secure, [source, target])
    await produce(secure, source, [b"one", b"two"])
    await allow(secure, "lane", "topic", source, "read", "describe")
    await allow(secure, "lane", "topic", target, "write", "describe")
    await allow(secure, "lane", "group", group, "read")
    await allow(secure, "lane", "transactional-id", f"{prefix}-", "write", "describe", prefixed=True)
    lane = secure.client_settings("lane")
    consumer = AIOKafkaConsumer(**lane, group_id=group, enable_auto_commit=False, isolation_level="read_committed")
    producer = AIOKafkaProducer(**lane, transactional_id=f"{prefix}-lane-0")
    part = TopicPartition(source, 0)
    await consumer.start()
    await producer.start()
    try:
        consumer.assign([part])
        consumer.seek(part, 0)
        records = (await consumer.getmany(timeout_ms=5_000))[part]
        async with producer.transaction():
            for record in records:
                await producer.send(target, b"verdict on " + record.value)
            await producer.send_offsets_to_transaction({part: records[-1].offset + 1}, group)
        for _ in range(100):  # the markers of a transaction are written after its commit is answered
            if (committed := await consumer.committed(part)) is not None:
                break
            await asyncio.sleep(0.05)
        assert committed == 2
    finally:
        await producer.stop()
        await consumer.stop()
    assert [one.value for one in await consume_all(secure, target)] == [b"verdict on one", b"verdict on two"]
    with pytest.raises(TopicAuthorizationFailedError):
        await produce(secure, source, [b"x"], **lane)
    with pytest.raises(TransactionalIdAuthorizationFailed):
        await produce(secure, target, [b"x"], transactional_id="another-tenant", **lane)


def test_keys_and_passwords_are_their_owners_alone_and_users_are_fixed(secure: LocalKafka) -> None:
    folder = secure.data_dir / "security"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("node.pem", "users.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(secure.nodes[0].properties.stat().st_mode) == 0o600
    with pytest.raises(Misconfigured, match="no user 'eve'; there are admin, lane, nobody"):
        secure.client_settings("eve")
    secure.stop()
    try:
        with pytest.raises(Misconfigured, match=r"users of .* were fixed when it was first started"):
            LocalKafka(secure.data_dir, security="tls-scram", users={"lane": "another"}).start()
    finally:
        secure.start()
