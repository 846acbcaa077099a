"""The configuration in force as the console knows it: read from its topic, and followed from there on.

So what the configuration says of people holds for the next request after it was applied, also for sessions that are open.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents.configuration import Configuration
from agents.errors import Misconfigured, Retryable
from agents.events import ConfigurationEvent
from orchestration.kafka import Broker, close, sort_error
from orchestration.settings import Settings

log = logging.getLogger("governance.console")
KEY = b"current"
PAUSE_S = 1.0


class InForce:
    """Follows `config` in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: Configuration | None = None
        self._ready = asyncio.Event()

    def configuration(self) -> Configuration | None:
        """What is in force; None where nothing was ever applied, or the topic was not read yet."""
        return self._found

    async def ready(self, within_s: float) -> bool:
        """Wait until the topic was read once; False where that takes longer."""
        try:
            async with asyncio.timeout(within_s):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True

    async def follow(self) -> None:
        """Follow for ever; faults of Kafka are waited out. Ends by cancellation."""
        while True:
            try:
                await self._follow()
            except (Retryable, Misconfigured) as error:
                log.warning("the configuration cannot be followed: %s", error)
            await asyncio.sleep(PAUSE_S)

    async def _follow(self) -> None:
        place = TopicPartition(self._settings.topic("config"), 0)
        consumer: AIOKafkaConsumer | None = None
        try:
            consumer = await Broker(self._settings).consumer(tuple(place), from_start=True)
            start = (await consumer.beginning_offsets([place]))[place]
            consumer.seek(place, start)
            end = (await consumer.end_offsets([place]))[place]
            newest: bytes | None = None
            while True:
                for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                    if record.key == KEY and record.value is not None:
                        newest = record.value
                if await consumer.position(place) < end:
                    continue
                if newest is not None:
                    self._take(newest)
                    newest = None
                self._ready.set()
        except (KafkaError, OSError) as error:
            raise sort_error(error) from error
        finally:
            await close(consumer)

    def _take(self, value: bytes) -> None:
        try:
            data = ConfigurationEvent.model_validate_json(value).data
            self._found = Configuration.model_validate(data.document)
        except ValidationError as error:
            log.error("a configuration of another version stays out of the console: %s", error.errors()[0]["msg"])
