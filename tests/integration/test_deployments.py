"""Lanes against clusters of every kind: one that gives the least rights, and what the evidence says afterwards."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import TopicAuthorizationFailedError

from agents.audit import verify as standalone
from agents.errors import Misconfigured
from orchestration import config_files, config_topic, keys, topics
from orchestration.bootstrap import make_lane
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.log_store import LogStore
from orchestration.settings import Settings
from orchestration.topic_check import compare_all
from orchestration.work import LaneName
from tests.chaos import campaign, checker, monitor_campaign, monitored, stream
from tests.chaos.test_faults import send
from tests.integration.kafka_fixtures import allow_all, flags_of, produce

USER, WATCHER, PASSWORD = "governance", "monitors", "correct horse"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """TLS, SCRAM, and nothing allowed that is not granted."""
    users = {USER: PASSWORD, WATCHER: PASSWORD}
    kafka = LocalKafka(tmp_path_factory.mktemp("secure"), security="tls-scram", users=users, heap_mb=256)
    kafka.start()
    yield kafka
    kafka.stop()


def of_user(kafka: LocalKafka, folder: Path, user: str) -> Settings:
    return Settings.model_validate(
        {
            "prefix": "bank",
            "bootstrap_servers": kafka.bootstrap_servers,
            "security_protocol": "SASL_SSL",
            "sasl_username": user,
            "sasl_password": PASSWORD,
            "ssl_cafile": kafka.authority,
            "data_dir": folder,
            "keys_dir": folder / "keys",
            "partitions": 1,
            "audit_interval_ms": 1000,
        }
    )


@pytest.mark.timeout(240)
async def test_lanes_run_with_tls_scram_topics_made_beforehand_and_only_the_planned_rights(
    secure: LocalKafka, tmp_path: Path
) -> None:
    """Monitor lanes have a user of their own: none of the others may read protected attributes, and all of them work."""
    settings, watching = of_user(secure, tmp_path, USER), of_user(secure, tmp_path, WATCHER)
    admin = AIOKafkaAdminClient(**secure.client_settings())
    await admin.start()
    await admin.create_topics(
        [NewTopic(one.name, one.partitions, 1, topic_configs=dict(one.settings)) for one in topics.plan(settings, 1)]
    )
    await admin.close()
    rights = []
    for grant in topics.grants(settings):
        words = [re.sub(r"(?<!^)(?=[A-Z])", "-", word).lower() for word in grant.operations]
        user = WATCHER if grant.agent in topics.MONITORS else USER
        rights.append((user, grant.resource, grant.name, words, grant.prefixed))
    await allow_all(secure, rights)
    assert await topics.ensure(settings, create=False) == []
    with pytest.raises(Misconfigured, match=r"bank\.new"):
        await topics.ensure(settings.model_copy(update={"prefix": "bank.new"}), create=True)
    keys.generate("bank", settings.keys_dir, settings.store_url)
    await config_topic.apply(settings, config_files.load(campaign.CONFIG))
    await produce(secure, settings.topic("attributes"), stream.attributes(), partition=0)
    sent = await send(settings, 600)
    told = [one for seen in sent for one in stream.outcomes(seen.value)]
    await produce(secure, settings.topic("outcomes"), told, partition=0)

    archive = LaneName("bank", "archive", settings.topic("decisions"), 0)
    names = [*campaign.lanes(settings, "policy"), *campaign.lanes(settings, "audit"), archive]
    lanes = [make_lane(settings, name) for name in names]
    lanes += [make_lane(watching, monitor_campaign.lane(watching, agent)) for agent in topics.MONITORS]
    await campaign.run_dry(lanes)
    view = await checker.read(secure.client_settings(), "bank", Path(settings.store_url))
    assert checker.check(view, "bank", checker.Rule(), sent) == []
    assert monitored.check(await monitored.read(secure.client_settings(), "bank")) == []

    consumer = await Broker(settings).consumer((settings.topic("attributes"), 0), from_start=True)
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            await asyncio.wait_for(consumer.getmany(timeout_ms=20_000), 30)
    finally:
        await consumer.stop()


async def test_evidence_agrees_with_its_topics_and_says_what_retention_took(
    broker: LocalKafka, tmp_path: Path, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "elsewhere"
    settings = await campaign.prepare(broker, tmp_path, prefix, publish=str(second))
    await send(settings, 700)
    await campaign.drain(settings, campaign.lanes(settings, "policy") + campaign.lanes(settings, "audit"))
    store = LogStore(settings.store_url)
    found = {log: one async for log, one in compare_all(settings, store)}
    assert found[f"{prefix}/verdicts/0"].same == 700
    assert found[f"{prefix}/config/0"].same == 1
    assert all(one.ok and not one.pending for one in found.values())

    key = keys.paths(prefix, settings.keys_dir).verifier
    since = ["--since", str(second / prefix / "root" / "checkpoint")]
    assert standalone.main(["verify", settings.store_url, "--key", str(key), *since, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "anchored" in json.dumps(report)

    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    await admin.delete_records({TopicPartition(settings.topic("verdicts"), 0): RecordsToDelete(100)})
    await admin.close()
    again = {log: one async for log, one in compare_all(settings, store)}[f"{prefix}/verdicts/0"]
    assert again.ok
    assert again.by_retention > 0
    assert again.same + again.by_retention == 700


async def test_a_record_that_the_audit_never_saw_is_named(broker: LocalKafka, tmp_path: Path, prefix: str) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    await send(settings, 50)
    await campaign.drain(settings, campaign.lanes(settings, "policy") + campaign.lanes(settings, "audit"))
    log = tmp_path / "evidence" / prefix / "verdicts" / "0"
    entries = log / "tile" / "entries" / "000.p"
    bundle = next(entries.iterdir())
    data = bytearray(bundle.read_bytes())
    place = data.find(b'"effect":"allow"')
    data[place : place + 16] = b'"effect":"block"'
    bundle.write_bytes(bytes(data))
    key = keys.paths(prefix, settings.keys_dir).verifier
    assert standalone.main(["verify", settings.store_url, "--key", str(key)]) == 1
    found = {log: one async for log, one in compare_all(settings, LogStore(settings.store_url))}
    assert any("another value" in error for error in found[f"{prefix}/verdicts/0"].errors)


async def test_a_topic_with_more_partitions_than_verdicts_is_refused_by_name(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    await admin.create_topics([NewTopic(f"{prefix}-scores", 3, 1)])
    await admin.close()
    lane = make_lane(settings, LaneName(prefix, "policy", f"{prefix}-scores", 0))
    with pytest.raises(Misconfigured, match="GOVERN_PARTITIONS=3"):
        await asyncio.wait_for(lane.run(), 30)
    assert [flag["severity"] for flag in await flags_of(settings)] == ["critical"]
