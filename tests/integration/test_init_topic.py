"""`govern init TOPIC` on a real Kafka: a configuration from the newest records, whose mapping then reads them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agents.frames import Reader
from agents.records import Plain
from orchestration.config_files import load
from orchestration.local_kafka import LocalKafka
from tests.integration.kafka_fixtures import create_topics, produce
from tests.unit.commands.world import alone, decisions, typed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: LocalKafka, prefix: str) -> Path:
    monkeypatch.setenv("GOVERN_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("GOVERN_PREFIX", prefix)
    return alone(tmp_path, monkeypatch)


def test_records_of_an_existing_topic_become_a_configuration_that_reads_them(here, broker, prefix, capsys):
    topic = f"{prefix}.scoring.responses"
    values = [
        json.dumps(
            {
                "request_id": row["request_id"],
                "at": row["at"].isoformat() + "Z",
                "client_id": row["client_id"],
                "model_version": row["model_version"],
                "income": row["income"],
                "y": {"decision": row["decision"], "score": row["score"]},
                "sex": row["sex"],
            }
        ).encode()
        for row in decisions(600).iter_rows(named=True)
    ]
    asyncio.run(create_topics(broker, [topic], partitions=2))
    asyncio.run(produce(broker, topic, [b"no json", *values[:300]], partition=0))
    asyncio.run(produce(broker, topic, values[300:], partition=1))

    said = typed(["init", topic, "--yes", "--model", "credit"], capsys)
    assert "answer     y.decision (" in said
    assert "protected  sex (female, male)" in said
    configuration = load(Path("governance.yaml"))
    (source,) = configuration.sources
    assert (source.topic, source.model) == (topic, "credit")
    assert source.fields["output.label"] == "$.y.decision"
    batch = Reader(configuration).read([Plain(topic, 0, place, 0, None, value) for place, value in enumerate(values)])
    assert batch.faults == {}
    (group,) = batch.groups
    assert group.frame.height == 600
    assert group.frame["output.label"].to_list() == decisions(600)["decision"].to_list()
    assert group.frame["features.income"].to_list() == decisions(600)["income"].to_list()


def test_what_is_neither_file_nor_topic_is_named_with_the_topics_there_are(here, broker, prefix, capsys):
    topic = f"{prefix}.there"
    asyncio.run(create_topics(broker, [topic]))
    said = typed(["init", f"{prefix}.gone", "--yes"], capsys, status=1)
    assert f"'{prefix}.gone' is neither a file nor a topic; topics are " in said
    assert topic in said
    said = typed(["init", topic, "--yes"], capsys, status=1)
    assert "holds no JSON objects to guess from" in said
    assert not Path("governance.yaml").exists()
