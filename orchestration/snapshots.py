"""Snapshots on their topic: a head for each lane, and beside it the parts of a state that is too large for one record.

Promise: what `read_snapshot` gives is one committed state, never a mixture. The head names each of its parts with the
SHA-256 of the part's bytes, so a newer part whose head is still hidden by somebody's open transaction is not taken for it.
Keys: `<transactional id>` for the head, `<transactional id>/<part>` for a part. Only changed parts are written again;
a removed one gets a tombstone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiokafka import TopicPartition

from agents.errors import Misconfigured, OffsetsLost
from agents.events import Snapshot, SnapshotData
from agents.records import Message
from orchestration.kafka import Broker, batches, close
from orchestration.work import LaneName, State

PART_BYTES = 700_000
"""The largest part, encoded: it must fit a record of the topic with room to spare."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot as it was read."""

    head: SnapshotData
    parts: Mapping[str, dict[str, Any]]
    written_ms: int
    """The broker's time of the head, ms since 1970 UTC."""


def head_message(name: LaneName, state: SnapshotData, offsets: Mapping[str, int], number: int) -> Message:
    """The record of a head. `number` makes its id unique: what it counts only grows in this lane."""
    key = name.transactional_id
    state = state.model_copy(update={"lane": key, "offsets": {**offsets, **state.offsets}})
    moment = datetime.fromtimestamp(max(state.now_ms, 0) / 1000, UTC)
    event = Snapshot(id=f"{key}/{number}", source=f"/{name.prefix}/{name.agent}", time=moment, data=state)
    return key.encode(), event.model_dump_json(exclude_none=True).encode(), ()


@dataclass
class Parts:
    """The parts that a lane's newest snapshot consists of."""

    name: LaneName
    digests: dict[str, str] = field(default_factory=dict)
    """Part → SHA-256 of the bytes that were written last."""

    def messages(self, state: State, offsets: Mapping[str, int], number: int) -> Iterator[Message]:
        """What a snapshot writes: changed parts, tombstones of removed ones, then the head.

        Raises Misconfigured where a part is larger than PART_BYTES.
        """
        key = self.name.transactional_id
        for part in state.removed:
            if self.digests.pop(part, None) is not None:
                yield f"{key}/{part}".encode(), None, ()
        for part, content in state.changed.items():
            value = self._encoded(part, content, state.head.now_ms, number)
            self.digests[part] = _digest(value)
            yield f"{key}/{part}".encode(), value, ()
        yield head_message(self.name, state.head.model_copy(update={"parts": dict(self.digests)}), offsets, number)

    def _encoded(self, part: str, content: Mapping[str, Any], now_ms: int, number: int) -> bytes:
        key = self.name.transactional_id
        data = {"lane": key, "offsets": {}, "sequence": {}, "now_ms": now_ms, "state": content}
        event = {
            "specversion": "1.0",
            "id": f"{key}/{part}/{number}",
            "source": f"/{self.name.prefix}/{self.name.agent}",
            "type": "governance.snapshot.v1",
            "data": data,
        }
        value = msgspec.json.encode(event)
        if len(value) > PART_BYTES:
            raise Misconfigured(
                f"{self.name}: the snapshot's part {part!r} has {len(value):,} bytes, more than {PART_BYTES:,}; "
                "its agent must cut its state into smaller parts"
            )
        return value


async def read_snapshot(broker: Broker, name: LaneName, *, surely: bool, newest: bool = False) -> Kept | None:
    """This lane's newest committed snapshot.

    Other lanes' open transactions may hide the newest records of the topic for some seconds. An older snapshot only costs
    time; but that there is none (`surely`), or none whose parts are all there, is known only when everything written so
    far is visible. `newest`: so it is waited for in any case, by a lane whose snapshot says what nothing else does. Raises
    OffsetsLost where parts are missing even then.
    """
    topic = broker.settings.topic("snapshots")
    place, finder = TopicPartition(topic, 0), _Finder(name.transactional_id)
    consumer = await broker.consumer(tuple(place), from_start=True)
    try:
        start = (await consumer.beginning_offsets([place]))[place]
        stable = (await consumer.end_offsets([place]))[place]
        async for records in batches(consumer, place, start, stable):
            finder.see(records)
        if newest or (finder.found is None and (surely or finder.torn)):
            async for records in batches(consumer, place, stable, await broker.written(topic, 0)):
                finder.see(records)
    finally:
        await close(consumer)
    if finder.found is None and finder.torn:
        raise OffsetsLost(f"{name} has a snapshot on {topic} whose parts are gone: {', '.join(finder.torn)}")
    return finder.found


class _Finder:
    """Takes the topic's records in order and keeps the newest head whose parts are all there."""

    def __init__(self, lane: str) -> None:
        self._key, self._within = lane.encode(), f"{lane}/".encode()
        self._parts: dict[tuple[str, str], bytes] = {}  # (part, digest) → bytes
        self._head: tuple[SnapshotData, int] | None = None
        self.torn: list[str] = []
        """Parts that the newest head names and that were not seen."""

    def see(self, records: Sequence[Any]) -> None:
        for record in records:
            if record.value is None or record.key is None:
                continue
            if record.key == self._key:
                self._see_head(Snapshot.model_validate_json(record.value).data, record.timestamp)
            elif record.key.startswith(self._within):
                part = record.key[len(self._within) :].decode()
                self._parts[part, _digest(record.value)] = record.value

    def _see_head(self, head: SnapshotData, written_ms: int) -> None:
        self.torn = sorted(part for part, digest in head.parts.items() if (part, digest) not in self._parts)
        if not self.torn:
            self._head = (head, written_ms)
            self._parts = {place: self._parts[place] for place in head.parts.items()}

    @property
    def found(self) -> Kept | None:
        if self._head is None:
            return None
        head, written_ms = self._head
        parts = {part: msgspec.json.decode(self._parts[part, digest]) for part, digest in head.parts.items()}
        return Kept(head, {part: event["data"]["state"] for part, event in parts.items()}, written_ms)


def _digest(value: bytes) -> str:
    return f"sha256:{hashlib.sha256(value).hexdigest()}"
