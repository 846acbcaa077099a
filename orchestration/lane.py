"""A lane: one agent kind on one partition. Every committed input record takes effect exactly once, whatever dies when.

The loop is the design's seven steps (docs/design.md, section 5); each has a kill point, and tests kill the process there.
Kafka is the only memory: after an abort, or a commit whose result is unknown, the lane drops producer, consumer and state
and opens again from its transactional id; a commit is never retried in place.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import tenacity
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.errors import Fatal, Fenced, Misconfigured, NotReady, OffsetsLost, Poison, Retryable
from agents.events import Severity, Snapshot, SnapshotData
from agents.policy.flags import FlagBook
from agents.policy.times import iso
from agents.records import Record, Stretch
from orchestration.kafka import Broker, close, fate, read_range, sort_error
from orchestration.kill_points import KillPoints, Point, die
from orchestration.odd_headers import is_odd_header, read_tolerantly
from orchestration.work import LaneName, LaneStatus, Pace, Standing, Work
from orchestration.writer import Writer

log = logging.getLogger("governance.lane")

IDLE_MS = 100  # how long a fetch waits when nothing is there; also how soon an idle lane sees a new configuration
RECOMMIT_S = 86_400.0  # offsets of manually assigned partitions expire after 7 days without a commit
WAIT_FOR_STANDING_S = 0.25
RECOVERY_S = 15.0
LONGEST_PAUSE_S = 5.0
SETTLE_S = 900.0  # how often an idle lane's work may tidy up outside Kafka


@dataclass
class Lane:
    """Runs one Work on one partition until stopped, fenced or failed."""

    name: LaneName
    broker: Broker
    make: Callable[[Any], Work]
    """A new Work, from what stands at the start (None for agents that need no standing topics)."""
    pace: Pace
    standing: Callable[[], Standing] | None = None
    status: LaneStatus = field(init=False)

    def __post_init__(self) -> None:
        self.status = LaneStatus(str(self.name))
        self._place = TopicPartition(self.name.topic, self.name.partition)
        self._kill = KillPoints(str(self.name))
        self._stopping = False
        self._barren, self._at_last = 0, 0  # lives in a row without a commit; commits when the last one ended
        self._snapshots = self.broker.settings.topic("snapshots")
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._stands: Standing | None = None

    def stop(self) -> None:
        """Ask the lane to end after the batch in hand; `run` then returns."""
        self._stopping = True

    async def run(self) -> None:
        """Live until `stop`; Retryable faults start the lane again with back-off, Fatal ones are raised."""
        try:
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(Retryable),
                wait=self._pause,
                before_sleep=self._retrying,
            ):
                with attempt:
                    await self._live()
            self.status.state = "stopped"
        except Fatal as error:
            self.status.state = "fenced" if isinstance(error, Fenced) else "failed"
            self.status.detail = str(error)
            log.error("lane %s ended: %s", self.name, error)
            raise

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next life: short after a life that committed something, longer with each that did not."""
        self._barren = 0 if self.status.transactions > self._at_last else self._barren + 1
        self._at_last = self.status.transactions
        return random.uniform(0, min(LONGEST_PAUSE_S, 0.05 * 2**self._barren))

    def _retrying(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.status.restarts += 1
        self.status.state, self.status.detail = "retrying", str(error)
        log.warning("lane %s starts again: %s", self.name, error)

    async def _live(self) -> None:
        """One life: from opening to a stop or the first failure, sorted into one of the three kinds."""
        try:
            work, offset = await self._open()
            self.status.state, self.status.detail = "running", ""
            await self._loop(work, offset)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # the lane's edge: whatever it is becomes Retryable, Poison or Fatal
            cause = fate(self._producer) if self._producer is not None else None
            if is_odd_header(error):
                read_tolerantly()
                cause = Retryable("a record has a header whose name is not UTF-8: reading it with the tolerant parser")
            sorted_error = sort_error(cause or error)
            if not isinstance(sorted_error, Fenced):
                await self._abort()
            if isinstance(sorted_error, Fatal) and not isinstance(sorted_error, Fenced):
                kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(sorted_error).__name__).lower()
                await self._cry(f"lane/{kind}", str(sorted_error))
            if sorted_error is error:
                raise
            raise sorted_error from error
        finally:
            await self._drop()

    async def _loop(self, work: Work, offset: int) -> None:
        idle_since = settled_at = time.monotonic()
        snapshot_at = 0.0  # the first transaction of a life always carries one
        while not self._stopping:
            records = await self._fetch()  # 1. fetch (read_committed)
            self._kill.reach("fetched") if records else None
            standing = await self._stands.poll() if self._stands else None  # 2. note as_of
            await self._note(standing, records[-1].offset + 1 if records else offset)
            if self._stands is not None and self._stands.refused:
                await self._tell_refused(self._stands.refused)
            if not records:
                if work.durable and time.monotonic() - settled_at > SETTLE_S:
                    await asyncio.to_thread(work.settle)
                    settled_at = time.monotonic()
                if time.monotonic() - idle_since > RECOMMIT_S:
                    await self._transact((), offset)
                    idle_since = time.monotonic()
                continue
            self._kill.reach("noted")
            outputs = work.decide(records, standing)  # 3. decide, purely
            self._kill.reach("decided")
            offset = records[-1].offset + 1
            if time.monotonic() >= snapshot_at or work.snapshot_due:
                outputs = itertools.chain(outputs, self._snapshot(work, offset))
                snapshot_at = time.monotonic() + self.pace.snapshot_ms / 1000
            if work.durable:
                await asyncio.to_thread(work.prepare)
            self._kill.reach("prepared")
            await self._transact(outputs, offset)  # 4. begin … 7. commit
            if work.durable:
                await asyncio.to_thread(work.settle)
            self._kill.reach("settled")
            idle_since = time.monotonic()
            self.status.records += len(records)
            self.status.committed_at = time.time()

    # -- opening ---------------------------------------------------------------------------------------------------

    async def _open(self) -> tuple[Work, int]:
        """Fence, then committed offsets, then standing topics and snapshot: in this order, or a zombie could still write."""
        self.status.state = "starting"
        self._producer = await self.broker.producer(self.name.transactional_id)
        await self._fits(self._producer)
        committed = (await self.broker.committed(self.name.group, [self._place])).get(tuple(self._place))
        self._consumer = await self.broker.consumer(tuple(self._place))
        offset, snapshot, begin = await self._resume_from(committed)
        await self._open_standing()
        work = self.make(await self._stands.poll() if self._stands else None)
        work.restore(snapshot)
        await self._look_back(work, snapshot, begin, offset)
        self._consumer.seek(self._place, offset)
        if work.durable:
            await asyncio.to_thread(work.settle)
        self._kill.reach("opened")
        return work, offset

    async def _fits(self, producer: AIOKafkaProducer) -> None:
        """The topic has this partition, and no more than the topics that are written beside it."""
        count = len(await producer.partitions_for(self.name.topic))
        planned = self.broker.settings.partitions
        if self.name.partition >= count:
            raise Misconfigured(f"{self.name.topic} has only {count} partitions, there is no {self.name.partition}")
        if count > planned:
            raise Misconfigured(
                f"{self.name.topic} has {count} partitions, but verdicts and the others have {planned}: "
                f"set GOVERN_PARTITIONS={count} and add partitions (`govern topics plan` prints them)"
            )

    async def _resume_from(self, committed: int | None) -> tuple[int, SnapshotData | None, int]:
        """Where to go on: the offset, the snapshot to start from, and the topic's first offset.

        A broker that was killed shows its newest records only some moments after it is back: what seems to be missing
        at the end of a topic is lost only if it stays so.
        """
        assert self._consumer is not None
        until = time.monotonic() + RECOVERY_S
        while True:
            begin = (await self._consumer.beginning_offsets([self._place]))[self._place]
            end = (await self._consumer.end_offsets([self._place]))[self._place]
            snapshot = await self._read_snapshot(surely=committed is None)
            if committed is None and snapshot is None:
                return begin, None, begin
            if committed is not None and snapshot is not None and begin <= committed <= end:
                return committed, snapshot, begin
            if time.monotonic() > until or committed is None or committed < begin:
                raise OffsetsLost(self._lost(committed, begin, end))
            self.status.detail = "the topic ends before what was committed: waiting for the broker to recover"
            await asyncio.sleep(0.5)

    def _lost(self, committed: int | None, begin: int, end: int) -> str:
        if committed is None:
            return (
                f"{self.name} has written before, but its committed offset is gone; when you know why, put it back: "
                f"kafka-consumer-groups.sh --reset-offsets --execute --group {self.name.group} "
                f"--topic {self.name.topic}:{self.name.partition} --to-offset N, with N = the offset after that of the "
                "decision which its last verdict names"
            )
        if begin <= committed <= end:
            return f"{self.name} has a committed offset but no snapshot on {self._snapshots}"
        return (
            f"{self.name} must read from offset {committed}, but {self.name.topic}/{self.name.partition} holds "
            f"{begin} to {end}: records were deleted before they were judged"
        )

    async def _open_standing(self) -> None:
        if self.standing is None:
            return
        self._stands = self.standing()
        while not self._stopping:
            try:
                return await self._stands.open()
            except NotReady as error:
                self.status.state, self.status.detail = "waiting", str(error)
                await asyncio.sleep(WAIT_FOR_STANDING_S)

    async def _read_snapshot(self, *, surely: bool) -> SnapshotData | None:
        """This lane's newest committed snapshot.

        Other lanes' open transactions may hide the newest records of the topic for some seconds. An older snapshot
        only costs time; but that there is none (`surely`) is known only when everything written so far is visible.
        """
        place, key = TopicPartition(self._snapshots, 0), self.name.transactional_id.encode()
        consumer = await self.broker.consumer(tuple(place), from_start=True)
        found: SnapshotData | None = None
        try:
            start = (await consumer.beginning_offsets([place]))[place]
            stable = (await consumer.end_offsets([place]))[place]
            for record in await read_range(consumer, place, start, stable):
                if record.key == key and record.value is not None:
                    found = Snapshot.model_validate_json(record.value).data
            if found is None and surely:
                written = await self.broker.written(self._snapshots, 0)
                for record in await read_range(consumer, place, stable, written):
                    if record.key == key and record.value is not None:
                        found = Snapshot.model_validate_json(record.value).data
        finally:
            await close(consumer)
        return found

    async def _look_back(self, work: Work, snapshot: SnapshotData | None, begin: int, offset: int) -> None:
        """Show the work what it needs from before the committed offset: first what it recalls, then what it folds."""
        assert self._consumer is not None
        here = f"{self.name.topic}/{self.name.partition}"
        fold_from = snapshot.offsets.get(here, offset) if snapshot else offset
        if fold_from < begin:
            raise OffsetsLost(f"{self.name} must fold from {fold_from}, but the topic begins at {begin}")
        floor = max(begin, snapshot.window_from.get(here, begin) if snapshot else begin)
        start, step = min(fold_from, offset), max(work.reach, 1)
        recalled: list[Record] = []
        while work.reach and start > floor and len(recalled) < work.reach:  # markers take offsets: look further back
            earlier = max(floor, start - step)
            recalled = await read_range(self._consumer, self._place, earlier, start) + recalled
            start, step = earlier, step * 2
        work.recall(recalled[-work.reach :] if work.reach else [])
        if fold_from < offset:
            work.fold(await read_range(self._consumer, self._place, fold_from, offset))

    # -- a batch ---------------------------------------------------------------------------------------------------

    async def _fetch(self) -> list[Any]:
        """What is there, up to a batch; with an age, waits that long after the first record for more."""
        assert self._consumer is not None
        pace = self.pace
        records: list[Any] = (
            await self._consumer.getmany(self._place, timeout_ms=IDLE_MS, max_records=pace.records)
        ).get(self._place, [])
        if records and pace.age_ms:
            until = time.monotonic() + pace.age_ms / 1000
            while len(records) < pace.records and not self._stopping and (left := until - time.monotonic()) > 0:
                records += (
                    await self._consumer.getmany(
                        self._place,
                        timeout_ms=min(IDLE_MS, int(left * 1000) + 1),
                        max_records=pace.records - len(records),
                    )
                ).get(self._place, [])
        return records

    async def _note(self, standing: Any, seen: int) -> None:
        """What `govern status` shows; lag is what lies behind the batch in hand, markers left out."""
        assert self._consumer is not None
        self.status.turned_at = time.monotonic()
        self.status.next_offset = seen
        stable = self._consumer.last_stable_offset(self._place)
        here = max(seen, await self._consumer.position(self._place))
        self.status.lag = max(0, stable - here) if stable is not None and stable >= 0 else 0
        if standing is not None:
            self.status.configuration = standing.digest

    def _snapshot(self, work: Work, offset: int) -> Iterator[Stretch]:
        """The work's state after this batch, as the last of its outputs: taken when the others were made."""
        state = work.snapshot()
        if state is None:
            return
        key = self.name.transactional_id
        state = state.model_copy(
            update={"lane": key, "offsets": {f"{self.name.topic}/{self.name.partition}": offset, **state.offsets}}
        )
        moment = datetime.fromtimestamp(max(state.now_ms, 0) / 1000, UTC)
        event = Snapshot(id=f"{key}/{offset}", source=f"/{self.name.prefix}/{self.name.agent}", time=moment, data=state)
        yield (self._snapshots, 0), [(key.encode(), event.model_dump_json(exclude_none=True).encode(), ())]

    async def _transact(self, outputs: Iterable[Stretch], offset: int) -> None:
        """Steps 4 to 7; any failure leaves nothing behind and ends this life of the lane."""
        producer = self._producer
        assert producer is not None
        writer, stretches = Writer(producer), iter(outputs)
        await producer.begin_transaction()  # 4. begin
        self._kill.reach("begun")
        if self._kill.at == "half-written":
            await self._reach_written(writer, "half-written", itertools.islice(stretches, 1))
        await writer.write_all(stretches)  # 5. write every output
        await writer.flush()
        await self._reach_written(writer, "written")
        await producer.send_offsets_to_transaction({self._place: offset}, self.name.group)  # 6. write the input offsets
        await self._reach_written(writer, "offsets-sent")
        await writer.arrived()
        await self._commit(producer)  # 7. commit: only now does the new state replace the old
        self._kill.reach("committed")
        self.status.transactions += 1

    async def _reach_written(self, writer: Writer, point: Point, first: Iterable[Stretch] = ()) -> None:
        """A kill point inside the transaction: a kill here must leave records behind an open transaction."""
        if self._kill.at == point:
            await writer.write_all(first)
            await writer.flush()
            await writer.arrived()
            self._kill.reach(point)

    async def _commit(self, producer: AIOKafkaProducer) -> None:
        if self._kill.at == "committing" and self._kill.due():
            ending = asyncio.ensure_future(producer.commit_transaction())
            await asyncio.sleep(0.001)  # the request is on its way, the answer is not here yet
            ending.cancel()
            die()
        try:
            await asyncio.wait_for(producer.commit_transaction(), self.pace.commit_timeout_s)
        except TimeoutError as error:
            raise Retryable("the result of a commit is unknown; opening again tells what happened") from error

    # -- ending ----------------------------------------------------------------------------------------------------

    async def _tell_refused(self, refused: list[Poison]) -> None:
        """Flag what the standing topics hold and this lane does not follow; each lane that meets it says so."""
        for error in refused:
            await self._cry("standing/refused", str(error), Severity.ERROR)
        refused.clear()

    async def _cry(self, fault: str, reason: str, severity: Severity = Severity.CRITICAL) -> None:
        """A flag about this lane itself, in a transaction of its own; best effort, the log has it too."""
        log.error("lane %s: %s", self.name, reason)
        if self._producer is None:
            return
        here = self.status.next_offset
        flags = FlagBook(self.name.prefix, self.name.topic, self.name.partition, speaker=self.name.agent)
        flags.add(fault, None, None, here, severity=severity, effect=None, reason=lambda: reason[:1000])
        with contextlib.suppress(Exception):
            await self._producer.begin_transaction()
            place = (self.broker.settings.topic("flags"), 0)
            writer = Writer(self._producer)
            await writer.write(place, flags.messages(iso(int(time.time() * 1000))))
            await writer.flush()
            await writer.arrived()
            await asyncio.wait_for(self._producer.commit_transaction(), self.pace.commit_timeout_s)

    async def _abort(self) -> None:
        """End an open transaction now, so that no reader waits for its time-out; where that fails, the broker does it."""
        if self._producer is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._producer.abort_transaction(), 2)

    async def _drop(self) -> None:
        producer, consumer, stands = self._producer, self._consumer, self._stands
        self._producer = self._consumer = self._stands = None
        await close(producer, consumer)
        if stands is not None:
            await stands.close()
