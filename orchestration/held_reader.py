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
"""Values that are held at a time: what comes after is left for the next call."""


class HeldReader:
    """Fetches records whose offsets are known to be committed; between calls it fetches nothing."""

    def __init__(self, consumer: AIOKafkaConsumer, place: TopicPartition) -> None:
        """`consumer` as Broker.reader gives it, for `place`."""
        self.consumer, self._place = consumer, place
        self._at = -1  # where the consumer stands

    async def end(self) -> int:
        """Where the partition ends now, open transactions included."""
        return int((await self.consumer.end_offsets([self._place]))[self._place])

    async def read(self, offsets: Sequence[int]) -> list[Any]:
        """The records at these ascending offsets: all of them, or the first ones as far as BYTES go, at least one.

        Raises Inconsistent where one is not there.
        """
        place, wanted = self._place, set(offsets)
        if not self._at <= offsets[0] <= self._at + FAR:
            self.consumer.seek(place, offsets[0])
            self._at = offsets[0]
        self.consumer.resume(place)
        found: list[Any] = []
        room = BYTES
        try:
            while self._at <= offsets[-1] and room > 0:
                ahead = min(
                    offsets[-1] - self._at + 1, AT_ONCE
                )  # and no further: what was fetched beyond serves the next call
                batch = await self.consumer.getmany(place, timeout_ms=500, max_records=ahead)
                for record in batch.get(place, ()):
                    if record.offset in wanted and (room > 0 or not found):
                        found.append(record)
                        room -= len(record.value or b"")
                self._at = await self.consumer.position(place)
        finally:
            self.consumer.pause(place)
        if room <= 0:
            self._at = -1  # some of what was fetched was not taken: ask again
        elif missing := sorted(wanted - {one.offset for one in found}):
            raise Inconsistent(
                f"{place.topic}/{place.partition} has no record at {missing[0]}, where a decision was held"
            )
        return found
