"""A lane: one agent kind on one partition. Every committed input record takes effect exactly once, whatever dies when.

The loop is the design's seven steps (docs/design.md, section 5); each has a kill point, and tests kill the process there.
What every lane shares is orchestration/lane_life.py.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import TopicPartition

from agents.errors import NotReady, OffsetsLost, Poison
from agents.events import Severity, SnapshotData
from agents.records import Stretch
from orchestration.kafka import Broker, read_back, read_range
from orchestration.lane_life import IDLE_MS, RECOMMIT_S, RECOVERY_S, SETTLE_S, LaneLife
from orchestration.snapshots import head_message, read_snapshot
from orchestration.work import LaneName, Pace, Standing, Work

__all__ = ["Lane", "LaneName"]

WAIT_FOR_STANDING_S = 0.25


class Lane(LaneLife):
    """Runs one Work on one partition until stopped, fenced or failed."""

    def __init__(
        self,
        name: LaneName,
        broker: Broker,
        make: Callable[[Any], Work],
        pace: Pace,
        standing: Callable[[], Standing] | None = None,
    ) -> None:
        """`make`: a new Work, from what stands at the start (None for agents that need no standing topics)."""
        super().__init__(name, broker, pace, name.group)
        self.make, self.standing = make, standing
        self._place = TopicPartition(name.topic, name.partition)
        self._stands: Standing | None = None
        self._begun = False  # whether an offset of this lane is committed; without one there is no snapshot either

    async def _live_once(self) -> None:
        work, offset = await self._open()
        self.status.state, self.status.detail = "running", ""
        await self._loop(work, offset)

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
                if self._begun and time.monotonic() - idle_since > RECOMMIT_S:
                    await self._transact((), {self._place: offset})
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
            await self._transact(outputs, {self._place: offset})  # 4. begin … 7. commit
            if work.durable:
                await asyncio.to_thread(work.settle)
            self._kill.reach("settled")
            self._begun = True
            idle_since = time.monotonic()
            self.status.records += len(records)
            self.status.committed_at = time.time()

    # -- opening ---------------------------------------------------------------------------------------------------

    async def _open(self) -> tuple[Work, int]:
        """Fence, then committed offsets, then standing topics and snapshot: in this order, or a zombie could still write."""
        self.status.state = "starting"
        self._producer = await self.broker.producer(self.name.transactional_id)
        await self._fits(self.name.topic, self.name.partition)
        committed = (await self.broker.committed(self.group, [self._place])).get(tuple(self._place))
        self._begun = committed is not None
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

    async def _resume_from(self, committed: int | None) -> tuple[int, SnapshotData | None, int]:
        """Where to go on: the offset, the snapshot to start from, and the topic's first offset."""
        assert self._consumer is not None
        until = time.monotonic() + RECOVERY_S
        while True:
            begin = (await self._consumer.beginning_offsets([self._place]))[self._place]
            end = (await self._consumer.end_offsets([self._place]))[self._place]
            kept = await read_snapshot(self.broker, self.name, surely=committed is None)
            if committed is None and kept is None:
                return begin, None, begin
            if committed is not None and kept is not None and begin <= committed <= end:
                return committed, kept.head, begin
            if time.monotonic() > until or committed is None or committed < begin:
                raise OffsetsLost(self._lost(committed, begin, end))
            self.status.detail = "the topic ends before what was committed: waiting for the broker to recover"
            await asyncio.sleep(0.5)

    def _lost(self, committed: int | None, begin: int, end: int) -> str:
        if committed is None:
            return (
                f"{self.name} has written before, but its committed offset is gone; when you know why, put it back: "
                f"kafka-consumer-groups.sh --reset-offsets --execute --group {self.group} "
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

    async def _look_back(self, work: Work, snapshot: SnapshotData | None, begin: int, offset: int) -> None:
        """Show the work what it needs from before the committed offset: first what it recalls, then what it folds."""
        assert self._consumer is not None
        here = f"{self.name.topic}/{self.name.partition}"
        fold_from = snapshot.offsets.get(here, offset) if snapshot else offset
        if fold_from < begin:
            raise OffsetsLost(f"{self.name} must fold from {fold_from}, but the topic begins at {begin}")
        floor = max(begin, snapshot.window_from.get(here, begin) if snapshot else begin)
        work.recall(await read_back(self._consumer, self._place, min(fold_from, offset), work.reach, floor))
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
        if state is not None:
            offsets = {f"{self.name.topic}/{self.name.partition}": offset}
            yield (self._snapshots, 0), [head_message(self.name, state, offsets, offset)]

    # -- ending ----------------------------------------------------------------------------------------------------

    async def _tell_refused(self, refused: list[Poison]) -> None:
        """Flag what the standing topics hold and this lane does not follow; each lane that meets it says so."""
        for error in refused:
            await self._cry("standing/refused", str(error), Severity.ERROR)
        refused.clear()

    async def _drop(self) -> None:
        stands, self._stands = self._stands, None
        await super()._drop()
        if stands is not None:
            await stands.close()
