"""Writes the messages of one transaction in as few batches as fit, and hands each to the broker as soon as it is full."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.errors import Misconfigured
from agents.records import Message, Place, Stretch


class Writer:
    """Takes messages for any places; `flush` sends what is left. Used for one transaction only."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._open: dict[Place, BatchBuilder] = {}
        self._sent: list[asyncio.Future[Any]] = []

    async def write_all(self, stretches: Iterable[Stretch]) -> None:
        """Every stretch in its order; while bytes are made here, full batches travel already."""
        for place, messages in stretches:
            await self.write(place, messages)
            await asyncio.sleep(0)

    async def write(self, place: Place, messages: Sequence[Message]) -> None:
        """Append messages to the place's batch.

        Raises Misconfigured where a message is larger than any batch may be.
        """
        batch = self._open.get(place)
        if batch is None:
            batch = self._open[place] = self._producer.create_batch()
        append = batch.append
        for key, value, given in messages:
            headers = given if type(given) is list else list(given)  # aiokafka takes no other sequence
            if append(key=key, value=value, timestamp=None, headers=headers) is None:
                await self._send(place, batch)
                batch = self._open[place] = self._producer.create_batch()
                append = batch.append
                if append(key=key, value=value, timestamp=None, headers=headers) is None:
                    raise Misconfigured(
                        f"a record for {place[0]} can never fit a batch; GOVERN_MAX_RECORD_BYTES is too small"
                    )

    async def flush(self) -> None:
        """Hand over what no batch was full with."""
        for place, batch in self._open.items():
            await self._send(place, batch)
        self._open.clear()

    async def arrived(self) -> None:
        """Wait until the broker has everything; raises what it refused."""
        await asyncio.gather(*self._sent)

    async def _send(self, place: Place, batch: BatchBuilder) -> None:
        if not batch.record_count():
            return
        batch.close()
        future = await self._producer.send_batch(batch, place[0], partition=place[1])
        # A fault is raised where it is waited for; asyncio must not report it again for each batch.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._sent.append(future)
