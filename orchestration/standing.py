"""The standing topics as one lane sees them: config, signals and safeguards, read to their ends before anything is judged.

With a configuration whose rules ask for anomaly scores come the profiles that it names; until they are there it does not stand.

A lane looks between two batches and never in one: what it sees then is the `as_of` of its verdicts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.errors import NotReady, Poison
from agents.policy.standing import TOPICS, Standing
from orchestration.anomaly_scores import Find, known_of
from orchestration.kafka import Broker, close, read_range


class StandingTopics:
    """Reads the three topics of a deployment; `refused` collects records that break the contract, for a flag."""

    def __init__(self, broker: Broker, find: Find) -> None:
        """`find` gives the profiles that a configuration names."""
        self._broker, self._find = broker, find
        self._short = {broker.settings.topic(short): short for short in TOPICS}
        self._consumer: AIOKafkaConsumer | None = None
        self._now = Standing()
        self.refused: list[Poison] = []

    async def open(self) -> None:
        """Read to the ends seen now; raises NotReady while no configuration is in force, or a profile is not there.

        May be called again.
        """
        if self._consumer is None:
            places = [(topic, 0) for topic in self._short]
            self._consumer, self._now = await self._broker.consumer(*places, from_start=True), Standing()
            for topic in self._short:
                end = (await self._consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)]
                await self._read(self._consumer, topic, end)
        await self.poll()

    async def poll(self) -> Standing:
        """What stands now; raises NotReady where the configuration was taken away, or asks for a profile that is not there."""
        await self._poll()
        self._ready()
        await self._score()
        return self._now

    async def close(self) -> None:
        """Give the connection back."""
        await close(self._consumer)
        self._consumer = None

    async def _poll(self) -> None:
        assert self._consumer is not None
        for place, records in (await self._consumer.getmany(timeout_ms=0)).items():
            self._fold(place.topic, records)
        if self._now.forgetful:  # a rule that just came looks further back than what was remembered
            signals = self._broker.settings.topic("signals")
            read = await self._consumer.position(TopicPartition(signals, 0))
            self._now = self._now.unread()
            await self._read(self._consumer, signals, read)

    async def _read(self, consumer: AIOKafkaConsumer, topic: str, end: int) -> None:
        """Fold a topic from its start up to an offset, while the others wait."""
        place, others = TopicPartition(topic, 0), [TopicPartition(one, 0) for one in self._short if one != topic]
        start = (await consumer.beginning_offsets([place]))[place]
        consumer.pause(*others)
        self._fold(topic, await read_range(consumer, place, start, end))
        consumer.seek(place, max(start, end))  # a fetch may have gone further
        consumer.resume(*others)

    async def _score(self) -> None:
        """Find what the configuration's rules score decisions with; a lane does other things meanwhile."""
        wanted, known = {*self._now.rules.profiles.values()}, self._now.anomalies
        if wanted != known.keys():
            found = await asyncio.to_thread(known_of, wanted - known.keys(), self._find)
            kept = {digest: scores for digest, scores in known.items() if digest in wanted}
            self._now = replace(self._now, anomalies={**kept, **found})

    def _ready(self) -> None:
        if not self._now.ready:
            raise NotReady(
                f"no configuration on {self._broker.settings.topic('config')}: run `govern config apply DIR`; "
                "until then nothing is decided"
            )

    def _fold(self, topic: str, records: Sequence[object]) -> None:
        self._now, refused = self._now.fold(self._short[topic], records)  # type: ignore[arg-type]
        self.refused += refused
