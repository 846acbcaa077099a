"""Single decisions for pages, from a real Kafka and from the archive: the held one, the released one, and the expired one."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from agents.errors import Retryable
from agents.events import Position
from agents.records import Plain
from orchestration.archive import Archive
from orchestration.console.records import KafkaRecords, parsed
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import create_topics, produce
from tests.unit.reading.world import World

DECISION = {
    "specversion": "1.0",
    "type": "governance.decision.v1",
    "id": "1",
    "source": "/credit",
    "data": {"model": {"name": "credit-limit", "version": "2.1.0"}, "output": {"label": "decline"}},
}
BYTES = json.dumps(DECISION).encode()


async def test_a_page_gets_the_exact_record_wherever_it_lies(broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, prefix=prefix, bootstrap_servers=broker.bootstrap_servers, data_dir=tmp_path)  # type: ignore[call-arg]
    decisions, held, verdicts = (settings.topic(name) for name in ("decisions", "held", "verdicts"))
    await create_topics(broker, [decisions, held, verdicts])
    records = KafkaRecords(settings)
    await produce(broker, decisions, [(b"client-1", BYTES)], transactional_id=f"{prefix}.test")
    name = f"{decisions}/0/0"
    headers = [
        ("govern-verdict", f"{name}/gate".encode()),
        ("govern-reasons", b"[]"),
        ("govern-causes", b"{}"),
        ("govern-key", base64.b64encode(b"client-1")),
    ]
    value = BYTES.replace(b'"1"', b'"held"')
    await produce(broker, held, [(name.encode(), value, headers)])
    verdict = World(prefix).gate(0, "hold").value
    await produce(broker, verdicts, [(name.encode(), verdict)])
    place = Position(topic=decisions, partition=0, offset=0)

    released = (await records.decision(place, None)).record
    assert released is not None
    assert (released.key, released.value, tuple(released.headers)) == (b"client-1", BYTES, ())
    waiting = (await records.decision(place, (0, 0))).record
    assert waiting is not None
    assert (waiting.topic, waiting.offset, waiting.key, waiting.value) == (decisions, 0, b"client-1", value)
    assert waiting.headers == (), "headers of ours are taken off"
    found = parsed(waiting, None)
    assert found is not None
    assert found.id == "held"

    told = await records.verdict(0, 0)
    assert told is not None
    assert (told.data.effect, told.data.decision.offset) == ("hold", 0)
    assert await records.verdict(0, 99) is None

    Archive(settings.archive_url).append(decisions, 0, [Plain(decisions, 0, 7, 1_000, b"k", BYTES)])
    archived = (await records.decision(place.model_copy(update={"offset": 7}), (0, 55))).record
    assert archived is not None
    assert (archived.key, archived.value) == (b"k", BYTES)
    Archive(settings.archive_url).expire(decisions, 0, 1, 2_000_000_000_000)
    expired = await records.decision(place.model_copy(update={"offset": 7}), None)
    assert expired.record is None
    assert "deleted when its retention ended" in expired.why
    nowhere = await records.decision(place.model_copy(update={"offset": 99}), None)
    assert nowhere.record is None
    assert "not in the archive" in nowhere.why


async def test_without_kafka_a_page_waits_some_seconds_and_no_longer(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, bootstrap_servers="127.0.0.1:9", data_dir=tmp_path)  # type: ignore[call-arg]
    began = time.monotonic()
    with pytest.raises(Retryable):
        await KafkaRecords(settings).decision(Position(topic="gim.decisions", partition=0, offset=0), None)
    assert time.monotonic() - began < 8
