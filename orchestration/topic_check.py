"""Evidence against Kafka: is every record of the evidence topics in its log, and every leaf on its topic or accounted for?"""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiokafka import TopicPartition

from agents.audit.agent import CHECKPOINTS, root_origin
from agents.audit.notes import Checkpoint, split_note
from orchestration.evidence_topic import Comparison, compare, stored_records, topic_of
from orchestration.kafka import Broker, close
from orchestration.log_store import LogStore
from orchestration.settings import Settings
from orchestration.topics import BY_NAME, EVIDENCE, partitions_of


async def compare_all(settings: Settings, store: LogStore) -> AsyncIterator[tuple[str, Comparison]]:
    """Each log of the deployment with what the comparison found; logs that have nothing on either side are left out."""
    broker = Broker(settings)
    for short in (*EVIDENCE, CHECKPOINTS):
        topic = BY_NAME[short]
        for partition in range(partitions_of(topic, settings)):
            log = root_origin(settings.prefix) if short == CHECKPOINTS else f"{settings.prefix}/{short}/{partition}"
            note = store.checkpoint(log)
            size = Checkpoint.parse(split_note(note)[0]).size if note else 0
            name = settings.topic(short)
            records = [one for one in await broker.read_all(name, partition) if one.key != log.encode()]
            if not size and not records:
                continue
            entries = stored_records(store.read, log, size) if size else iter(())
            assert log == root_origin(settings.prefix) or topic_of(log) == (name, partition)
            kept = topic.kept
            yield (
                log,
                compare(
                    entries,
                    records,
                    log_start=await _first(broker, name, partition),
                    compacted=kept == "compacted",
                    retention=kept != "compacted",
                ),
            )


async def _first(broker: Broker, topic: str, partition: int) -> int:
    consumer = await broker.consumer((topic, partition))
    try:
        place = TopicPartition(topic, partition)
        return int((await consumer.beginning_offsets([place]))[place])
    finally:
        await close(consumer)
