"""Manifests: which range of each input a step of a lane with several inputs took. Written, read again, and chained.

A chain is what makes a start exact: beginning at the snapshot's offsets, each manifest begins where the one before ended,
numbers count up by one, and the last one ends at the committed offsets. Key of the records: the transactional id.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.errors import OffsetsLost
from agents.events import Manifest, ManifestData
from agents.records import Message
from orchestration.kafka import Broker, close
from orchestration.lane_life import RECOVERY_S
from orchestration.work import Input, LaneName, Taken

MARGINS_MS = (60_000, 3_600_000, 86_400_000)
"""How far before the snapshot the search begins: brokers' clocks differ. The later ones are for clocks that are wrong."""
HIDDEN_S = 45.0
"""How long another lane's open transaction can hide manifests: its time-out, and the broker's pace of looking for such."""


def topic_of(name: LaneName) -> str:
    """The Kafka name of the topic."""
    return f"{name.prefix}.manifests"


def counter(name: LaneName) -> str:
    """The key of the next manifest's number in a snapshot's `sequence`: it is their `govern-seq` too."""
    return f"{topic_of(name)}/0"


def message(name: LaneName, number: int, step: Sequence[Taken]) -> Message:
    """A manifest's record; inputs that gave nothing are left out. It has no time: the broker's is on the record."""
    key = name.transactional_id
    inputs = [
        {"topic": one.input.topic, "partition": one.input.partition, "start": one.start, "end": one.end}
        for one in step
        if one.end > one.start
    ]
    event = {
        "specversion": "1.0",
        "id": f"{key}/{number}",
        "source": f"/{name.prefix}/{name.agent}",
        "type": "governance.manifest.v1",
        "data": {"lane": key, "number": number, "inputs": inputs},
    }
    headers = [("govern-seq", b"%d" % number), ("govern-writer", key.encode())]
    return key.encode(), msgspec.json.encode(event), headers


class Chain:
    """Follows one lane's manifests; `ends` are the offsets after the last one taken, `number` is the next one's."""

    def __init__(self, name: LaneName, inputs: Iterable[Input], number: int, starts: Mapping[Input, int]) -> None:
        """An input without a start begins where the first manifest that names it says."""
        self._key, self._name = name.transactional_id.encode(), name
        self.number, self.ends = number, dict(starts)
        self._inputs = {(one.topic, one.partition): one for one in inputs}

    def take(self, record: Any) -> ManifestData | None:
        """The next manifest, if this record is it; None for others', and for this lane's earlier ones.

        Raises OffsetsLost where one is missing before it, or it does not begin where the one before ended.
        """
        if record.key != self._key or record.value is None:
            return None
        found = Manifest.model_validate_json(record.value).data
        if found.number < self.number:
            return None
        if found.number > self.number:
            raise OffsetsLost(f"{self._name} lacks its manifest {self.number}; the next one there is {found.number}")
        for place in found.inputs:
            one = self._inputs.get((place.topic, place.partition))
            if one is None:
                raise OffsetsLost(
                    f"{self._name} took {place.topic}/{place.partition} in its manifest {found.number} and no longer does"
                )
            expected = self.ends.get(one, place.start)
            if place.start != expected and not (one.kind == "clock" and place.start > expected):
                raise OffsetsLost(
                    f"{self._name} begins at {place.start} of {one} in its manifest {found.number}, not at {expected}"
                )
            self.ends[one] = place.end
        self.number += 1
        return found


async def since_snapshot(
    broker: Broker, name: LaneName, number: int, starts: Mapping[Input, int], ends: Mapping[Input, int], written_ms: int
) -> list[ManifestData]:
    """The lane's manifests that lead from a snapshot's offsets to the committed ones, the first being `number`.

    Reads the topic from a little before `written_ms`, the broker's time of the snapshot, and no further than needed.
    Raises OffsetsLost where they do not lead there.
    """
    chain, told = Chain(name, starts, number, starts), ""
    if chain.ends == dict(ends):
        return []
    place = TopicPartition(topic_of(name), 0)
    consumer = await broker.consumer(tuple(place), from_start=True)
    until, hidden_until = time.monotonic() + RECOVERY_S, time.monotonic() + HIDDEN_S
    try:
        for margin in MARGINS_MS:
            chain, found = Chain(name, starts, number, starts), []
            await _seek(consumer, place, max(0, written_ms - margin))
            try:
                while chain.ends != dict(ends):
                    records = (await consumer.getmany(place, timeout_ms=200, max_records=5_000)).get(place, [])
                    for record in records:
                        step = chain.take(record)
                        if step is not None:
                            found.append(step)
                        if chain.ends == dict(ends):
                            break
                    if not records:
                        seen = await consumer.position(place) >= await broker.written(*place)
                        if time.monotonic() > (until if seen else hidden_until):
                            raise OffsetsLost(f"{name} finds no manifest {chain.number} on {place.topic}")
                return found
            except OffsetsLost as error:
                told = str(error)
                if chain.number > number:
                    break  # the beginning of the chain was there: looking further back finds nothing more
        committed = ", ".join(f"{one} {end}" for one, end in ends.items())
        reached = ", ".join(f"{one} {end}" for one, end in chain.ends.items())
        raise OffsetsLost(
            f"{told}: its manifests lead to {reached}, the committed offsets are {committed}; if somebody reset these, "
            f"put them back to what the manifests say (kafka-consumer-groups.sh --group {name.transactional_id})"
        )
    finally:
        await close(consumer)


async def all_of(broker: Broker, name: LaneName, inputs: Sequence[Input]) -> list[ManifestData]:
    """Every manifest of a lane that is visible, from number 0; raises OffsetsLost where one is missing."""
    chain = Chain(name, inputs, 0, {})
    found = [chain.take(record) for record in await broker.read_all(topic_of(name))]
    return [step for step in found if step is not None]


async def _seek(consumer: AIOKafkaConsumer, place: TopicPartition, since_ms: int) -> None:
    found = (await consumer.offsets_for_times({place: since_ms}))[place]
    consumer.seek(place, found.offset if found is not None else (await consumer.end_offsets([place]))[place])
