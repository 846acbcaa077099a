"""The configuration in force, for a lane whose decisions cannot be made again: it may change between two of them."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.escalation.declared import Escalation
from orchestration.config_topic import KEY
from orchestration.kafka import Broker, close
from orchestration.ticks import InForce, read


class Following:
    """The configuration in force, read as a table by a consumer of its own."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.in_force = broker, InForce()
        self._place = TopicPartition(broker.settings.topic("config"), 0)
        self._consumer: AIOKafkaConsumer | None = None

    @property
    def escalation(self) -> Escalation:
        """What is declared of people and channels; empty without a configuration."""
        configuration = self.in_force.configuration
        return configuration.escalation if configuration is not None else Escalation()

    async def open(self) -> None:
        """Read all of it."""
        self._consumer = await self.broker.consumer(tuple(self._place), from_start=True)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Read up to the end as it is now."""
        assert self._consumer is not None
        end = (await self._consumer.end_offsets([self._place]))[self._place]
        while await self._consumer.position(self._place) < end:
            await self.poll(200)

    async def poll(self, wait_ms: int = 0) -> None:
        """Take what came."""
        assert self._consumer is not None
        for record in (await self._consumer.getmany(self._place, timeout_ms=wait_ms)).get(self._place, ()):
            if record.key == KEY and record.value is not None:
                self.in_force = read(record.value, record.offset, self.in_force)

    async def close(self) -> None:
        """Give the connection back."""
        await close(self._consumer)
