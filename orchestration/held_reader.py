"""Reads single records of a partition again by their offsets, for lanes that keep positions and no bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.errors import Inconsistent

FAR = 20_000
"""Records that are read and thrown away rather than asking the broker for another place."""
AT_ONCE = 1_000
"""Records that are unpacked at a time."""
BYTES = 16 * 1024 * 1024
"""Records that are held at a time: what comes after is left for the next call."""
EXTRA = 500
"""Bytes counted for a record beside its key, value and headers."""


class HeldReader:
    """Fetches records whose offsets are known to be committed; between calls it fetches nothing."""

    def __init__(self, consumer: AIOKafkaConsumer, place: TopicPartition) -> None:
        """`consumer` as Broker.reader gives it, for `place`."""
        self.consumer, self._place = consumer, place
        self._at: int | None = None  # where the consumer stands; None: it must be told

    async def end(self) -> int:
        """Where the partition ends now, open transactions included."""
        return int((await self.consumer.end_offsets([self._place]))[self._place])

    async def read(self, offsets: Sequence[int], room: int = BYTES) -> list[Any]:
        """The records at these ascending offsets: all of them, or the first ones as far as `room` bytes go, at least one.

        Raises Inconsistent where one is not there.
        """
        place, wanted, at = self._place, set(offsets), self._at
        if at is None or not at <= offsets[0] <= at + FAR:
            at = offsets[0]
            self.consumer.seek(place, at)
        self.consumer.resume(place)
        found: list[Any] = []
        try:
            while at <= offsets[-1] and room > 0:
                ahead = min(offsets[-1] - at + 1, AT_ONCE)  # no further: what was fetched beyond serves the next call
                batch = await self.consumer.getmany(place, timeout_ms=500, max_records=ahead)
                for record in batch.get(place, ()):
                    if record.offset in wanted and room > 0:
                        found.append(record)
                        room -= size_of(record)
                at = await self.consumer.position(place)
        finally:
            self.consumer.pause(place)
        self._at = at if room > 0 else None  # some of what was fetched was not taken then
        if room > 0 and len(found) < len(wanted):
            first = min(wanted - {one.offset for one in found})
            raise Inconsistent(f"{place.topic}/{place.partition} has no record at {first}, where a decision was held")
        return found


def size_of(record: Any) -> int:
    """Bytes of a record, a little more than it takes on the wire."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + EXTRA
