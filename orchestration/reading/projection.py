"""Keeps the read model as fresh as the topics: one process projects, others follow; whoever dies is replaced.

Promise: rows and offsets are written together, so a projection that was killed goes on where its rows end. A database that
was deleted, or that was made from another Kafka, is made anew from the topics. People's topics go first: a backlog of
verdicts delays no incident by more than a batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from sqlalchemy import select
from sqlalchemy.exc import StatementError

from agents.errors import Retryable
from agents.records import Place
from orchestration.kafka import Broker, close, sort_error
from orchestration.reading.database import Database, open_database
from orchestration.reading.folding import TOPICS, Batch, fold
from orchestration.reading.following import Seen, seen
from orchestration.reading.tables import SCHEMA, offsets
from orchestration.reading.writing import put
from orchestration.settings import Settings
from orchestration.topics import BY_NAME, partitions_of

log = logging.getLogger("governance.reading")

AT_ONCE = 1_000
"""Records of a batch, all topics of people together: less than a fifth of a second's work."""
BULK = {"verdicts": 8_000, "held": 2_000}
"""Topics that can have a backlog of millions, and how many of their records go into a batch."""
IDLE_MS = 100
FOLLOWED_S, FOLLOW_S = 3.0, 0.2
"""A process that does not project looks for changes so often, and after so long whether it may project."""
PAUSE_S = 1.0
CHECK_S = 1.0
"""So often the projection looks whether its rows are still there: somebody may have deleted them while nothing came."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a batch brought."""

    topics: frozenset[str]
    """Short names of the topics that had records."""
    incidents: frozenset[str]
    """Incidents that were spoken of: changed, answered, ruled, summarised, told."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the projection is, for a page's foot."""

    state: Literal["starting", "catching up", "running", "following", "retrying"] = "starting"
    behind: int = 0
    """Records that were there and are not rows yet, as far as is known."""
    detail: str = ""


OnChange = Callable[[Changed], None]


class Projection:
    """The projection of one deployment in this process."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self.settings, self.database = settings, database or open_database(settings)
        self.status = Status()
        self._broker = Broker(settings)
        self._next: dict[Place, int] = {}
        self._target: dict[Place, int] = {}
        self._caught_up = False
        self._seen: Seen | None = None  # by this process, while another one projects
        topics = [BY_NAME[short] for short in TOPICS]
        self.places: list[Place] = [
            (settings.topic(one.name), number) for one in topics for number in range(partitions_of(one, settings))
        ]

    async def run(self, on_change: OnChange = lambda changed: None) -> None:
        """Project for ever, or follow the process that does; `on_change` hears of each batch once its rows are there.

        Ends by cancellation. Raises a Fatal where somebody must mend the settings.
        """
        while True:
            try:
                async with self._lock() as mine:
                    if mine:
                        await self._project(on_change, forever=True)
                    else:
                        await self._follow(on_change)
            except Retryable as error:
                self.status = Status("retrying", self.status.behind, str(error))
                log.warning("the read model waits: %s", error)
                await asyncio.sleep(PAUSE_S)

    async def catch_up(self, report: Callable[[int], None] = lambda behind: None) -> bool:
        """Come to the ends that the topics have now; False where another process projects. `report`: records to go.

        Raises a GovernanceError where Kafka or the database does not answer.
        """
        async with self._lock() as mine:
            if mine:
                await self._project(lambda changed: report(self.status.behind), forever=False)
            return mine

    async def ends(self) -> dict[Place, int]:
        """Where the topics end now. Raises Retryable where there are none yet."""
        with _Sorted():
            await self._cluster()
            consumer = await self._broker.consumer(*self.places)
            try:
                return {(tp.topic, tp.partition): end for tp, end in (await _ends(consumer)).items()}
            finally:
                await close(consumer)

    def missing(self, ends: Mapping[Place, int]) -> int:
        """How many offsets the rows are short of these ends; 0: they are as fresh."""
        there = _stored(self.database)
        return sum(max(0, end - there.get(place, 0)) for place, end in ends.items())

    # -- projecting ------------------------------------------------------------------------------------------------

    async def _project(self, on_change: OnChange, *, forever: bool) -> None:
        consumer: AIOKafkaConsumer | None = None
        with _Sorted():
            try:
                facts = {"schema": str(SCHEMA), "prefix": self.settings.prefix, "cluster": await self._cluster()}
                await asyncio.to_thread(self.database.prepare, facts)
                consumer = await self._broker.consumer(*self.places)
                await self._seek(consumer, facts)
                await self._loop(consumer, on_change, forever)
            finally:
                await close(consumer)

    async def _loop(self, consumer: AIOKafkaConsumer, on_change: OnChange, forever: bool) -> None:
        self._caught_up, checked = False, time.monotonic()
        while True:
            if time.monotonic() - checked > CHECK_S:
                checked = time.monotonic()
                if await asyncio.to_thread(_stored, self.database) != self._next:
                    raise Retryable("the read model was deleted or altered: it is made anew")
            batch, about = await self._fetch(consumer), frozenset[str]()
            if batch.after != batch.before:
                about = await asyncio.to_thread(fold, self.database, self.settings.prefix, batch)
                self._next = dict(batch.after)
            await self._look(consumer)
            if batch.records:
                start = len(self.settings.prefix) + 1
                on_change(Changed(frozenset(topic[start:] for topic, _ in batch.records), about))
            if self._caught_up and not forever:
                return

    async def _fetch(self, consumer: AIOKafkaConsumer) -> Batch:
        """People's records first, then some verdicts; where there is nothing, what comes within IDLE_MS."""
        full = {self.settings.topic(short): limit for short, limit in BULK.items()}
        slow = [TopicPartition(*place) for place in self.places if place[0] not in full]
        found = await consumer.getmany(*slow, timeout_ms=0, max_records=AT_ONCE)
        for topic, limit in full.items():
            bulk = [TopicPartition(*place) for place in self.places if place[0] == topic]
            found |= await consumer.getmany(*bulk, timeout_ms=0, max_records=limit)
        if not found:
            found = await consumer.getmany(timeout_ms=IDLE_MS, max_records=AT_ONCE)
        after = {place: await consumer.position(TopicPartition(*place)) for place in self.places}
        return Batch({tuple(place): records for place, records in found.items() if records}, after, dict(self._next))

    async def _seek(self, consumer: AIOKafkaConsumer, facts: dict[str, str]) -> None:
        """Go on where the rows end; where the topics are others than those of the rows, from the start."""
        ends = await _ends(consumer)
        starts = await consumer.beginning_offsets(list(ends))
        there = await asyncio.to_thread(_stored, self.database)
        if any(there.get(tuple(place), 0) > end for place, end in ends.items()):
            log.warning("the topics are shorter than what was read of them: the read model is made anew")
            await asyncio.to_thread(self.database.clear)
            await asyncio.to_thread(self.database.prepare, facts)
            there = {}
        self._next = {tuple(place): max(start, there.get(tuple(place), 0)) for place, start in starts.items()}
        self._target = {tuple(place): end for place, end in ends.items()}
        await asyncio.to_thread(_store, self.database, self._next)
        for place, start in self._next.items():
            consumer.seek(TopicPartition(*place), start)

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Note how far behind the rows are; once they are not, what this projection replaced is dropped."""
        behind = 0
        for place, position in self._next.items():
            stable = consumer.last_stable_offset(TopicPartition(*place))
            behind += max(0, (self._target[place] if stable is None or stable < 0 else stable) - position)
        self.status = Status("running" if self._caught_up else "catching up", behind)
        if not self._caught_up and all(self._next[place] >= end for place, end in self._target.items()):
            self._caught_up = True
            self.status = Status("running", behind)
            await asyncio.to_thread(self._replace)

    def _replace(self) -> None:
        self.database.note("caught_up", str(round(time.time() * 1000)))
        for name in self.database.drop_others():
            log.info("a projection of another version was dropped: %s", name)

    async def _cluster(self) -> str:
        """Kafka's id of the cluster; raises Retryable where the topics are not there yet."""
        admin = AIOKafkaAdminClient(**self.settings.client())
        await admin.start()
        try:
            there = set(await admin.list_topics())
            missing = sorted({topic for topic, _ in self.places} - there)
            if missing:
                raise Retryable(f"there is no topic {missing[0]}; `govern up` or `govern topics create` makes them")
            return str((await admin.describe_cluster()).get("cluster_id") or "")
        finally:
            await admin.close()

    # -- following -------------------------------------------------------------------------------------------------

    async def _follow(self, on_change: OnChange) -> None:
        """Hear of changes that another process writes, for a while."""
        self.status = Status("following", 0, "another process keeps the read model fresh")
        with _Sorted():
            for _ in range(round(FOLLOWED_S / FOLLOW_S)):
                now = await asyncio.to_thread(seen, self.database)
                before, self._seen = self._seen, now
                if before is not None and (topics := now.moved(before)):
                    about = await asyncio.to_thread(now.incidents_since, before, self.database)
                    start = len(self.settings.prefix) + 1
                    on_change(Changed(frozenset(topic[start:] for topic in topics), about))
                await asyncio.sleep(FOLLOW_S)

    @asynccontextmanager
    async def _lock(self) -> AsyncIterator[bool]:
        lock = self.database.lock()
        mine = await asyncio.to_thread(lock.__enter__)
        try:
            yield mine
        finally:
            await asyncio.to_thread(lock.__exit__, None, None, None)


class _Sorted:
    """Whatever a client raises becomes one of the three kinds; what the database raises is tried again."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StatementError):
            raise Retryable(f"the read model does not answer: {error}") from error
        if isinstance(error, KafkaError | OSError | TimeoutError):
            raise sort_error(error) from error


async def _ends(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    found: dict[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
    return found


def _stored(database: Database) -> dict[Place, int]:
    if not database.facts():
        return {}
    with database.reading() as connection:
        rows = connection.execute(select(offsets.c.topic, offsets.c.partition, offsets.c.next))
        return {(topic, partition): following for topic, partition, following in rows}


def _store(database: Database, positions: Mapping[Place, int]) -> None:
    rows = [{"topic": topic, "partition": partition, "next": start} for (topic, partition), start in positions.items()]
    with database.engine.begin() as connection:
        put(connection, offsets, rows)
