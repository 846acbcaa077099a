"""Some decisions to guess from: a file's, or the newest few thousand of a Kafka topic, as a table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from agents.errors import Misconfigured
from orchestration import deployment
from orchestration.kafka import Broker, close, read_range, sort_error
from orchestration.settings import Settings
from orchestration.tables import flat, read

NEWEST = 5_000
"""Records of a topic that are looked at."""
_SUFFIXES = (".csv", ".tsv", ".parquet", ".ndjson", ".jsonl")


@dataclass(frozen=True)
class Sample:
    """What was found."""

    frame: pl.DataFrame
    model: str
    called: str
    """The file or topic."""
    topic: str
    """What a `sources:` entry would name; empty where the records are decisions of the contract already."""
    generation: bool = False


def of(source: str, settings: Settings) -> Sample:
    """The table of a file, or of a topic where no such file exists; raises Misconfigured with the mend."""
    path = Path(source)
    if path.suffix.lower() in _SUFFIXES or path.exists():
        rows = read(path)
        if isinstance(rows, pl.DataFrame):
            return _table(rows, path.stem, path.name, path.stem)
        return _events([_json(record.value) for record in rows], path.stem, path.name)
    if not settings.bootstrap_servers and deployment.local_kafka(settings) is None:
        raise Misconfigured(
            f"there is no file {source}, and no Kafka to look for a topic in; set GOVERN_BOOTSTRAP_SERVERS, or give a file"
        )
    values = asyncio.run(_newest(source, settings))
    documents = [one for one in map(_json, values) if one]
    if not documents:
        raise Misconfigured(f"the topic {source} holds no JSON objects to guess from; publish some, or give a file")
    if any("specversion" in one for one in documents):
        return _events(documents, source, f"the topic {source}")
    return _table(pl.from_dicts([flat(one) for one in documents], infer_schema_length=None), source, source, source)


def _table(frame: pl.DataFrame, model: str, called: str, topic: str) -> Sample:
    if not frame.height or not frame.width:
        raise Misconfigured(f"{called} holds no rows to guess from")
    return Sample(frame, model, called, topic)


def _events(documents: Iterable[Mapping[str, Any]], model: str, called: str) -> Sample:
    """Decisions of the contract: of the model that most of them are of."""
    rows = [_row(one) for one in documents if isinstance(one.get("data"), Mapping)]
    if not rows:
        raise Misconfigured(f"{called} holds no decisions to guess from")
    frame = pl.from_dicts(rows, infer_schema_length=None)
    if "model.name" in frame.columns:
        model = str(frame["model.name"].drop_nulls().mode().sort()[0])
        frame = frame.filter(pl.col("model.name") == model).drop("model.name")
    generation = "output.label" not in frame.columns and ("output.text" in frame.columns or "prompt" in frame.columns)
    strange = [
        one for one in frame.columns if one.startswith(("feature_attributions.", "action.", "output.text", "prompt"))
    ]
    return Sample(frame.drop(strange), model, called, "", generation)


def _row(event: Mapping[str, Any]) -> dict[str, Any]:
    envelope = {name: event[name] for name in ("id", "time", "subject") if event.get(name) is not None}
    return envelope | flat(event["data"])


def _json(value: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(value or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _newest(topic: str, settings: Settings) -> Sequence[bytes | None]:
    """The newest records of a topic, evenly from its partitions."""
    settings = await asyncio.to_thread(deployment.with_kafka, deployment.located(settings))
    try:
        places = [TopicPartition(topic, number) for number in await _partitions(topic, settings)]
        consumer = await Broker(settings).consumer(*places, from_start=True)
        try:
            starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            found: list[bytes | None] = []
            for place in places:
                start = max(starts[place], ends[place] - NEWEST // len(places))
                found += [record.value for record in await read_range(consumer, place, start, ends[place])]
            return found
        finally:
            await close(consumer)
    except KafkaError as error:
        raise sort_error(error) from error


async def _partitions(topic: str, settings: Settings) -> list[int]:
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        there = sorted(one for one in await admin.list_topics() if not one.startswith("_"))
        if topic not in there:
            raise Misconfigured(f"{topic!r} is neither a file nor a topic; topics are {', '.join(there) or 'none'}")
        (described,) = await admin.describe_topics([topic])
        return sorted(int(part["partition"]) for part in described["partitions"])
    finally:
        await admin.close()
