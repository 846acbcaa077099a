"""The assist lane: for each deterministic triage record an LLM is asked; its checked answer, or why there is none, is kept.

What it does cannot be decided again, so it does nothing else, and nobody waits for it: the deterministic summary is there
already. No transaction is open while a model thinks. Killed at any moment it asks again and records once, because a record
and the offset after its question are one transaction.

    1. fetch      2. the newest question of each incident; older ones are passed over      3. ask, checked, mended once
    4. the raw answers beside the log, by digest      5. the record, the offset and a snapshot, in one transaction
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from pydantic import ValidationError

from agents.audit.agent import origin
from agents.configuration import Configuration
from agents.decoding import FAILURES
from agents.errors import OffsetsLost, Poison, Retryable
from agents.events import Position, SnapshotData
from agents.frames import Reader
from agents.policy.times import iso
from agents.records import Message, Record
from agents.told_events import TriageData, TriageEvent, Usage
from agents.triage.asking import told_instead
from agents.triage.facts import PROPOSAL
from agents.triage.fields import Fenced, Names, fenced
from orchestration.consulting import consult
from orchestration.following import Following
from orchestration.kafka import Broker, batches, close, read_range
from orchestration.lane_life import RECOMMIT_S, LaneLife
from orchestration.llm import Llm
from orchestration.log_store import LogStore
from orchestration.snapshots import head_message, read_snapshot
from orchestration.topics import inputs
from orchestration.work import LaneName, Pace

log = logging.getLogger("governance.assist")

TURN_S = 0.2
STALE_MS = 3_600_000
"""Questions older than this are passed over: a reviewer has long read the other summary."""
DAY_MS = 86_400_000
NOT_ASKED = ("inhibited_by", PROPOSAL)
"""Facts of incidents that no model is asked about: nobody is told of the former, and the latter are for people alone."""
LOOK_UP_S = 5.0
SAMPLE = 3
"""Decisions that a prompt shows a fenced view of."""


@dataclass
class Read:
    """What the topic `triage` says so far: questions to ask, tokens spent today, and this lane's next number."""

    writer: bytes
    pending: dict[str, tuple[int, int, TriageData]] = field(default_factory=dict)
    """Incident → offset, broker time, record: the newest question of each."""
    spent: dict[int, int] = field(default_factory=dict)
    """Day since 1970 (UTC) → tokens."""
    sequence: int = 0
    paid: int = 0
    """Records of this lane before this number are counted in `spent`."""

    def see(self, record: Record, *, asked: bool) -> None:
        """Take a record; `asked`: its question was dealt with before. One that cannot be read is none of ours."""
        headers = dict(record.headers)
        try:
            data = TriageEvent.model_validate_json(record.value or b"").data
        except ValidationError:
            return
        if headers.get("govern-writer") == self.writer:
            self.pay(int(headers.get("govern-seq") or b"0"), record.timestamp, data.usage)
        elif not asked and data.by == "deterministic" and data.instead is None:
            self.pending.pop(data.incident, None)
            if not any(name in fact.values for fact in data.facts for name in NOT_ASKED):
                self.pending[data.incident] = (record.offset, record.timestamp, data)

    def pay(self, number: int, at_ms: int, usage: Iterable[Usage]) -> None:
        """Count what a record of this lane cost, on its day: when it is written, and not again when it is read."""
        self.sequence = max(self.sequence, number + 1)
        if number < self.paid:
            return
        self.paid, day = number + 1, at_ms // DAY_MS
        self.spent = {day: sum(one.input_tokens + one.output_tokens for one in usage) + self.spent.get(day, 0)} | {
            other: tokens for other, tokens in self.spent.items() if other > day
        }

    def first(self, now_ms: int) -> tuple[int, TriageData] | None:
        """The question to ask next, the earliest; those that are stale are dropped."""
        self.pending = {name: one for name, one in self.pending.items() if now_ms - one[1] <= STALE_MS}
        found = min(self.pending.values(), key=lambda one: one[0], default=None)
        return (found[0], found[2]) if found is not None else None

    def behind(self, seen: int) -> int:
        """The offset from which on a start must read again."""
        return min((one[0] for one in self.pending.values()), default=seen)


class AssistLane(LaneLife):
    """Asks for one deployment until stopped, fenced or failed."""

    def __init__(
        self, name: LaneName, broker: Broker, store: LogStore, pace: Pace, make: Callable[..., Llm] = Llm
    ) -> None:
        """`make`: an Llm for what the configuration declares."""
        super().__init__(name, broker, pace, group=name.transactional_id)
        self._store, self._make = store, make
        self._place = TopicPartition(name.topic, name.partition)
        self._following: Following | None = None
        self._read = Read(name.transactional_id.encode())
        self._seen = self._committed = 0
        self._llm: Llm | None = None

    async def _live_once(self) -> None:
        await self._open()
        self.status.state, self.status.detail = "running", ""
        idle_since = time.monotonic()
        while not self._stopping:
            await self._fetch()  # 1.
            await self._note()
            found = self._read.first(_now_ms())  # 2.
            if found is not None:
                await self._answer(*found)
                idle_since = time.monotonic()
            elif self._seen > self._committed or time.monotonic() - idle_since > RECOMMIT_S:
                await self._commit_read([])
                idle_since = time.monotonic()

    async def _fetch(self) -> None:
        assert self._consumer is not None
        assert self._following is not None
        wait = 0 if self._read.pending else int(TURN_S * 1000)
        records = (await self._consumer.getmany(self._place, timeout_ms=wait)).get(self._place, [])
        self._kill.reach("fetched") if records else None
        for record in records:
            self._see(record)
        await (self._following.catch_up() if records else self._following.poll())
        self.status.configuration = self._following.in_force.digest

    def _see(self, record: Record) -> None:
        self._seen = record.offset + 1
        self._read.see(record, asked=record.offset < self._committed)

    async def _answer(self, offset: int, record: TriageData) -> None:
        """Ask one question and record what came of it; what was fetched meanwhile may be newer, and is asked next."""
        assert self._following is not None
        configuration = self._following.in_force.configuration or Configuration()
        self._kill.reach("noted")
        told = await self._attended(self._asked(configuration, record))  # 3.
        if told is None:
            return
        self._kill.reach("decided")
        data, raw = told
        await asyncio.to_thread(self._keep, raw)  # 4.
        self._kill.reach("prepared")
        if self._read.pending.get(record.incident, (None,))[0] == offset:
            del self._read.pending[record.incident]
        now_ms = _now_ms()
        message = self._message(data, now_ms)
        self._read.pay(self._read.sequence, now_ms, data.usage)
        await self._commit_read([message])  # 5.
        self.status.records += 1
        self.status.detail = data.instead or ""

    async def _attended(
        self, asking: Coroutine[Any, Any, tuple[TriageData, Sequence[bytes]]]
    ) -> tuple[TriageData, Sequence[bytes]] | None:
        """Wait for an answer while the lane shows that it lives; None where it is to stop, and nothing is recorded."""
        task = asyncio.create_task(asking)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=TURN_S)
                self.status.turned_at = time.monotonic()
                if self._stopping:
                    return None
            return task.result()
        finally:
            task.cancel()

    async def _asked(self, configuration: Configuration, record: TriageData) -> tuple[TriageData, Sequence[bytes]]:
        """The record to write, and the raw answers behind it."""
        declared = configuration.triage
        if declared.model is None:
            return told_instead(record, "no model is configured"), ()
        spent = self._read.spent.get(_now_ms() // DAY_MS, 0)
        if spent >= declared.tokens_per_day:
            told = f"the day's budget of {declared.tokens_per_day:,} tokens is used up; it begins anew at midnight, UTC"
            return told_instead(record, told), ()
        if self._llm is None or self._llm.declared != declared:
            self._llm = self._make(declared)
        sample = await self._sample(configuration, record.sample[:SAMPLE])
        return await consult(self._llm, record, sample)

    async def _sample(self, configuration: Configuration, positions: Sequence[Position]) -> list[Fenced]:
        """Some of the decisions, reduced; those that are gone or cannot be read are left out."""
        found = []
        reader, names = Reader(configuration), Names.of(configuration)
        topics = inputs(self.broker.settings, configuration)
        for one in positions:
            if one.topic not in topics:
                continue
            try:
                for record in await asyncio.wait_for(self._look_up(one), LOOK_UP_S):
                    row = reader.row(record)
                    declared = configuration.models.get(str(row["model.name"]))
                    found.append(fenced(row, names, configuration.triage.fields, declared))
            except (Poison, *FAILURES, kafka_errors.KafkaError, TimeoutError) as error:
                place = f"{one.topic}/{one.partition}/{one.offset}"
                log.info("the decision %s is not shown to a model: %s", place, type(error).__name__)
        return found

    async def _look_up(self, one: Position) -> Sequence[Record]:
        place = TopicPartition(one.topic, one.partition)
        consumer = await self.broker.consumer((one.topic, one.partition))
        try:
            return await read_range(consumer, place, one.offset, one.offset + 1)
        finally:
            await close(consumer)

    def _keep(self, raw: Sequence[bytes]) -> None:
        log_origin = origin(self.name.prefix, "triage", self.name.partition)
        files = {f"{log_origin}/answers/{hashlib.sha256(one).hexdigest()}": one for one in raw}
        try:
            self._store.write(files)
        except OSError as error:
            raise Retryable(f"the answer cannot be kept in {self._store.url}: {error}") from error

    def _message(self, data: TriageData, now_ms: int) -> Message:
        name = self.name
        event = TriageEvent(id=f"{data.incident}/{data.revision}/{data.by}", source=f"/{name.prefix}/assist", data=data)
        document = {**event.model_dump(mode="json", exclude_none=True), "time": iso(now_ms)}
        headers: list[tuple[str, bytes | None]] = [
            ("govern-seq", b"%d" % self._read.sequence),
            ("govern-writer", name.transactional_id.encode()),
        ]
        return data.incident.encode(), msgspec.json.encode(document), headers

    async def _commit_read(self, messages: Sequence[Message]) -> None:
        """Record, and that everything before the earliest open question is dealt with."""
        here, at = f"{self.name.topic}/{self.name.partition}", self._read.behind(self._seen)
        state = SnapshotData(lane="", offsets={}, sequence={"triage": self._read.sequence}, now_ms=_now_ms())
        outputs = [((self.name.topic, self.name.partition), messages)] if messages else []
        head = head_message(self.name, state, {here: at}, self._read.sequence)
        await self._transact([*outputs, ((self._snapshots, 0), [head])], {self._place: at})
        self._kill.reach("settled")
        self._committed, self.status.committed_at = self._seen if at == self._seen else at, time.time()

    async def _note(self) -> None:
        """What `govern status` shows."""
        self.status.turned_at = time.monotonic()
        self.status.next_offset, self.status.lag = self._seen, len(self._read.pending)

    async def _open(self) -> None:
        """Fence, then committed offset and snapshot, then the topic from there (and from midnight on, for the budget)."""
        self.status.state = "starting"
        self._producer = await self.broker.producer(self.name.transactional_id)
        await self._fits(self.name.topic, self.name.partition)
        committed = (await self.broker.committed(self.group, [self._place])).get(tuple(self._place))
        kept = await read_snapshot(self.broker, self.name, surely=committed is None)
        self._consumer = await self.broker.consumer(tuple(self._place))
        begin = (await self._consumer.beginning_offsets([self._place]))[self._place]
        if committed is None and kept is not None:
            raise OffsetsLost(
                f"{self.name} has written before, but its committed offset is gone; when you know why, put it back: "
                f"kafka-consumer-groups.sh --reset-offsets --execute --group {self.group} "
                f"--topic {self.name.topic}:{self.name.partition} --to-offset N"
            )
        here = f"{self.name.topic}/{self.name.partition}"
        self._committed = max(committed or 0, begin)
        midnight_ms = _now_ms() // DAY_MS * DAY_MS
        found = (await self._consumer.offsets_for_times({self._place: midnight_ms}))[self._place]
        today = found.offset if found is not None else self._committed
        known = kept.head.offsets.get(here, begin) if kept is not None else begin
        self._read = Read(self.name.transactional_id.encode())
        self._read.sequence = kept.head.sequence.get("triage", 0) if kept is not None else 0
        # What others' open transactions hide just now may be records of ours.
        end = await self.broker.written(self.name.topic, self.name.partition)
        async for records in batches(self._consumer, self._place, max(begin, min(today, known, self._committed)), end):
            for record in records:
                self._see(record)
        self._seen = max(self._seen, end, self._committed)
        self._consumer.seek(self._place, self._seen)
        self._following = Following(self.broker)
        await self._following.open()
        self._kill.reach("opened")

    async def _drop(self) -> None:
        following, self._following = self._following, None
        await super()._drop()
        if following is not None:
            await following.close()


def _now_ms() -> int:
    return int(time.time() * 1000)
