"""The newest signed checkpoint on the topic `checkpoints`, for status pages: how far the evidence has come, and when."""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.audit.notes import Checkpoint
from agents.errors import GovernanceError
from orchestration.kafka import Broker, close, read_range, sort_error
from orchestration.settings import Settings

TAIL = 400  # offsets, markers included: every log has at most one checkpoint in some seconds


@dataclass(frozen=True, slots=True)
class Newest:
    """One checkpoint: its log, how many entries it covers, and the broker's time of it."""

    origin: str
    size: int
    time_ms: int


async def newest(settings: Settings) -> Newest | None:
    """The newest checkpoint of the root log, else of any log; None where there is none yet.

    Raises a GovernanceError where Kafka does not answer. The signature is not checked here: `govern audit verify` does.
    """
    place = TopicPartition(settings.topic("checkpoints"), 0)
    try:
        consumer = await Broker(settings).consumer(tuple(place), from_start=True)
    except (KafkaError, OSError) as error:
        raise sort_error(error) from error
    try:
        start = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        records = await read_range(consumer, place, max(start, end - TAIL), end)
    except (KafkaError, OSError) as error:
        raise sort_error(error) from error
    finally:
        await close(consumer)
    return pick(f"{settings.prefix}/root", [(record.value, record.timestamp) for record in records])


def pick(root: str, notes: list[tuple[bytes | None, int]]) -> Newest | None:
    """The last of the root log's notes, else the last note; what is no checkpoint is passed over."""
    found: Newest | None = None
    for value, time_ms in reversed(notes):
        try:
            one = Checkpoint.parse((value or b"").decode().partition("\n\n")[0] + "\n")
        except (UnicodeDecodeError, GovernanceError):
            continue
        if one.origin == root:
            return Newest(one.origin, one.size, time_ms)
        found = found or Newest(one.origin, one.size, time_ms)
    return found
