"""The supervisor's own business with Kafka: a tick a second, and the configuration in force.

A tick (governance.tick.v1, stamped by the broker) is how time passes for a lane while nothing else arrives. Both tasks
run in a thread of their own and start again by themselves, so that a broker that is away never delays the care of lanes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents.configuration import Configuration
from agents.errors import Misconfigured, Retryable
from agents.events import ConfigurationEvent, Tick, TickData
from orchestration.config_topic import KEY
from orchestration.kafka import Broker, close, sort_error
from orchestration.settings import Settings

log = logging.getLogger("governance.ticks")

TICK_S = 1.0
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class InForce:
    """What the topic `config` says, as far as it was read."""

    known: bool = False
    """True once the topic was read to its end."""
    digest: str | None = None
    configuration: Configuration | None = None
    offset: int | None = None
    problem: str = ""
    """Why the newest record cannot be used; the one before stands."""


class Pulse:
    """Writes ticks and follows the configuration from `start` until `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.in_force = InForce()
        self.ticks = 0
        """How many ticks this process has written."""
        self.problem = ""
        """Why no tick is written at present; empty while all is well."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End; returns when the connections are closed."""
        self._ending.set()
        self._thread.join(10)

    def _run(self) -> None:
        async def both() -> None:
            await asyncio.gather(self._again(self._tick), self._again(self._follow))

        asyncio.run(both())

    async def _again(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task until the end is asked for; after a fault of Kafka, begin it again."""
        while not self._ending.is_set():
            try:
                await task()
            except (KafkaError, OSError, Retryable, Misconfigured) as error:
                self.problem = str(sort_error(error))
                log.warning("ticks or configuration wait: %s", self.problem)
                await asyncio.sleep(AGAIN_S)

    async def _tick(self) -> None:
        producer = AIOKafkaProducer(**self.settings.client(), enable_idempotence=True, acks="all", linger_ms=0)
        try:
            await producer.start()
            number = await Broker(self.settings).written(self.settings.topic("ticks"), 0)
            due = time.monotonic()
            while not self._ending.is_set():
                await producer.send_and_wait(self.settings.topic("ticks"), self._event(number), partition=0)
                number, self.ticks, self.problem = number + 1, self.ticks + 1, ""
                due = max(due + TICK_S, time.monotonic() - TICK_S)  # after a pause, no burst of ticks
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            await close(producer)

    def _event(self, number: int) -> bytes:
        prefix = self.settings.prefix
        event = Tick(id=str(number), source=f"/{prefix}/supervisor", data=TickData(number=number))
        return event.model_dump_json(exclude_none=True).encode()

    async def _follow(self) -> None:
        place = TopicPartition(self.settings.topic("config"), 0)
        consumer = await Broker(self.settings).consumer(tuple(place), from_start=True)
        try:
            end = (await consumer.end_offsets([place]))[place]
            found = InForce()
            while not self._ending.is_set():
                for record in (await consumer.getmany(place, timeout_ms=500)).get(place, ()):
                    if record.key == KEY and record.value is not None:
                        found = read(record.value, record.offset, found)
                if await consumer.position(place) >= end:  # until then, old configurations would seem to be in force
                    self.in_force = replace(found, known=True)
        finally:
            await close(consumer)


def read(value: bytes, offset: int, before: InForce) -> InForce:
    """What stands after this record of `config`; a record that cannot be used leaves the one before in force."""
    try:
        data = ConfigurationEvent.model_validate_json(value).data
        configuration = Configuration.model_validate(data.document)
        if configuration.digest() != data.digest:
            raise Misconfigured(f"it gives the digest {configuration.digest()}, not {data.digest}")
    except (ValidationError, Misconfigured) as error:
        what = f"{error.error_count()} fields do not fit" if isinstance(error, ValidationError) else str(error)
        problem = f"the configuration at offset {offset} cannot be read ({what}); apply one with `govern config apply`"
        return replace(before, problem=problem)
    return InForce(before.known, data.digest, configuration, offset)
