"""A lane with several inputs: each step takes a range of each, and a manifest beside its outputs says which.

The seven steps and their guarantees are those of every lane (docs/design.md, section 5). What is different: one
transaction commits one or more steps, with the offsets of all inputs; the consumer group is the lane's own, because
several lanes of a kind read the same ticks; and a start decides the steps since the snapshot again, by their manifests.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from aiokafka import TopicPartition

from agents.errors import OffsetsLost
from agents.records import Stretch
from orchestration import manifests
from orchestration.inputs import Intake, Ranges, place_of
from orchestration.kafka import Broker, read_back
from orchestration.lane_life import RECOMMIT_S, RECOVERY_S, SETTLE_S, LaneLife
from orchestration.snapshots import Kept, Parts, read_snapshot
from orchestration.topics import COMPACTION_LAG_MS
from orchestration.work import Input, LaneName, ManifestWork, Pace, Remarking, Remembering, State, Taken

log = logging.getLogger("governance.lane")

LOADED_AT_ONCE = 5_000
"""Records of a table that are shown at a time: other lanes of the process have their turn in between."""


class ManifestLane(LaneLife):
    """Runs one ManifestWork on several input partitions until stopped, fenced or failed."""

    def __init__(
        self, name: LaneName, broker: Broker, inputs: Sequence[Input], make: Callable[[], ManifestWork], pace: Pace
    ) -> None:
        """`inputs` in the order in which a step sees them; the lane's main topic and partition must be among them."""
        super().__init__(name, broker, pace, group=name.transactional_id)
        self.inputs, self.make = tuple(inputs), make
        self._main = next(one for one in inputs if (one.topic, one.partition) == (name.topic, name.partition))
        self._intake: Intake | None = None
        self._parts = Parts(name)
        self._number = 0
        self._begun = False  # whether offsets of this lane are committed
        self._redone = False  # whether this life had to decide steps again
        self._steps: list[Sequence[Taken]] = []  # decided, not yet committed: none of them has written anything

    async def _live_once(self) -> None:
        work = await self._open()
        self.status.state, self.status.detail = "running", ""
        await self._loop(work)

    async def _loop(self, work: ManifestWork) -> None:
        assert self._intake is not None
        idle_since = settled_at = time.monotonic()
        lazy_at = snapshot_at = 0.0  # the first transaction of a life always carries a snapshot
        unsaved = self._redone  # a start that had to decide steps again spares the next one that
        while not self._stopping:
            step = await self._intake.take(self.pace, lambda: self._stopping)  # 1. fetch (read_committed)
            self._kill.reach("fetched") if step else None
            await self._note(work)  # 2. there is no as_of: everything that a step sees is in its manifest
            outputs: Iterator[Stretch] = iter(())
            first: Stretch | None = None
            if step:
                self._kill.reach("noted")
                outputs = iter(work.decide(step))  # 3. decide, purely
                first = next(outputs, None)
                self._kill.reach("decided")
                lazy_at = lazy_at if self._steps else time.monotonic() + self.pace.lazy_ms / 1000
                self._steps.append(step)
            now = time.monotonic()
            saving = now >= snapshot_at
            if not self._steps:
                if work.durable and now - settled_at > SETTLE_S:
                    await asyncio.to_thread(work.settle)
                    settled_at = now
                if not (unsaved and saving) and not (self._begun and now - idle_since > RECOMMIT_S):
                    continue
            elif first is None and not work.snapshot_due and now < lazy_at:
                continue
            written = [first] if first is not None else []
            saving = saving or work.snapshot_due
            if work.durable:
                await asyncio.to_thread(work.prepare)
            self._kill.reach("prepared")
            everything = self._with_evidence(work, itertools.chain(written, outputs), saving=saving)
            await self._transact(everything, self._offsets())  # 4. begin … 7. commit
            if work.durable:
                await asyncio.to_thread(work.settle)
            self._kill.reach("settled")
            self._begun = True
            self.status.records += sum(
                len(one.records) for step in self._steps for one in step if one.input.kind != "clock"
            )
            self._steps, unsaved = [], not saving
            snapshot_at = time.monotonic() + self.pace.snapshot_ms / 1000 if saving else snapshot_at
            idle_since = time.monotonic()
            self.status.committed_at = time.time()

    def _with_evidence(self, work: ManifestWork, outputs: Iterable[Stretch], *, saving: bool) -> Iterator[Stretch]:
        """The outputs, the manifests of the steps that this transaction commits, and a snapshot where one is due."""
        yield from outputs
        if self._steps:
            said = [manifests.message(self.name, self._number + at, step) for at, step in enumerate(self._steps)]
            self._number += len(said)
            yield (manifests.topic_of(self.name), 0), said
        if saving:
            state = self._counted(work.snapshot())
            offsets = {str(one): self._position(one) for one in self.inputs}
            for message in self._parts.messages(state, offsets, self._number):
                yield (self._snapshots, 0), [message]

    def _counted(self, state: State) -> State:
        sequence = {**state.head.sequence, manifests.counter(self.name): self._number}
        return State(state.head.model_copy(update={"sequence": sequence}), state.changed, state.removed)

    def _position(self, one: Input) -> int:
        assert self._intake is not None
        return self._intake.positions[one]

    def _offsets(self) -> dict[TopicPartition, int]:
        """Of every input, also those that gave nothing: all are committed or none is."""
        return {place_of(one): self._position(one) for one in self.inputs}

    async def _note(self, work: ManifestWork) -> None:
        """What `govern status` shows."""
        assert self._intake is not None
        self.status.turned_at = time.monotonic()
        self.status.next_offset = self._position(self._main)
        self.status.lag = await self._intake.lag()
        self.status.detail = work.remark() if isinstance(work, Remarking) else ""

    # -- opening ---------------------------------------------------------------------------------------------------

    async def _open(self) -> ManifestWork:
        """Fence, then committed offsets, then the snapshot and what came after it: in this order, or a zombie could write."""
        self.status.state, self._steps, self._redone = "starting", [], False
        self._producer = await self.broker.producer(self.name.transactional_id)
        for one in self.inputs:
            await self._fits(one.topic, one.partition)
        places = [(one.topic, one.partition) for one in self.inputs]
        self._consumer = await self.broker.consumer(*places)
        found = await self.broker.committed(self.group, places)
        committed = {one: found[one.topic, one.partition] for one in self.inputs if (one.topic, one.partition) in found}
        self._begun = bool(committed)
        kept, begins = await self._resume_from(committed)
        work = self.make()
        work.restore(kept.head if kept else None, kept.parts if kept else {})
        self._parts = Parts(self.name, dict(kept.head.parts) if kept else {})
        self._number = kept.head.sequence.get(manifests.counter(self.name), 0) if kept else 0
        if kept is not None:
            await self._decide_again(work, kept, committed, begins)
        positions = {one: max(committed.get(one, begins[one]), begins[one]) for one in self.inputs}
        ends = await self._consumer.end_offsets([place_of(one) for one in self.inputs])
        self._intake = Intake(self._consumer, self.inputs, positions, {one: ends[place_of(one)] for one in self.inputs})
        if work.durable:
            await asyncio.to_thread(work.settle)
        self._kill.reach("opened")
        return work

    async def _decide_again(
        self, work: ManifestWork, kept: Kept, committed: dict[Input, int], begins: dict[Input, int]
    ) -> None:
        """Bring the work from the snapshot's offsets to the committed ones, step by step as they were, without output."""
        assert self._consumer is not None
        starts = {one: kept.head.offsets.get(str(one), end) for one, end in committed.items()}
        steps = await manifests.since_snapshot(self.broker, self.name, self._number, starts, committed, kept.written_ms)
        if time.time() * 1000 - kept.written_ms > COMPACTION_LAG_MS and steps:
            log.warning("lane %s was away for longer than tables keep what was replaced since its snapshot", self.name)
        await self._load(work, starts, begins)
        if self._main in starts:
            floor = max(begins[self._main], kept.head.window_from.get(str(self._main), 0))
            place = place_of(self._main)
            work.recall(await read_back(self._consumer, place, starts[self._main], work.reach, floor))
        ranges = Ranges(self._consumer, {one: max(start, begins[one]) for one, start in starts.items()})
        for step in steps:
            for _ in work.decide(await ranges.step(self.inputs, step.inputs)):
                pass  # it was written then
        self._number += len(steps)
        self._redone = bool(steps)

    async def _load(self, work: ManifestWork, ends: dict[Input, int], begins: dict[Input, int]) -> None:
        """Show the work its tables as they were at the snapshot; needs that compaction left what came later alone."""
        assert self._consumer is not None
        tables = [one for one in self.inputs if one.kind == "table" and one in ends]
        seen = {one: work.seen(one) if isinstance(work, Remembering) else 0 for one in tables}
        first = {one: max(begins[one], seen[one]) for one in tables}
        ranges = Ranges(self._consumer, first)
        for one in tables:
            for start in range(first[one], ends[one], LOADED_AT_ONCE):
                records = await ranges.read(one, start, min(start + LOADED_AT_ONCE, ends[one]))
                if records:
                    work.load(one, records)

    async def _resume_from(self, committed: dict[Input, int]) -> tuple[Kept | None, dict[Input, int]]:
        """The snapshot to start from, None where the lane is new, and each input's first offset."""
        assert self._consumer is not None
        places, until = [place_of(one) for one in self.inputs], time.monotonic() + RECOVERY_S
        while True:
            first, last = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
            begins = {one: first[place_of(one)] for one in self.inputs}
            ends = {one: last[place_of(one)] for one in self.inputs}
            kept = await read_snapshot(self.broker, self.name, surely=not committed)
            if kept is None and not committed:
                return None, begins
            gone = self._gone(kept, committed, begins)
            hidden = [f"{one} ends at {ends[one]}, before {at}" for one, at in committed.items() if at > ends[one]]
            if kept is None:
                hidden.append(f"there is no snapshot on {self._snapshots}")
            if not gone and not hidden:
                return kept, begins
            if gone or time.monotonic() > until:
                raise OffsetsLost(f"{self.name} has committed offsets, but {'; '.join(gone or hidden)}")
            self.status.detail = "a topic ends before what was committed: waiting for the broker to recover"
            await asyncio.sleep(0.5)

    def _gone(self, kept: Kept | None, committed: dict[Input, int], begins: dict[Input, int]) -> list[str]:
        """What no waiting brings back. An input that neither an offset nor the snapshot names is a new one."""
        if kept is None:
            return []
        found = []
        for one in self.inputs:
            since = kept.head.offsets.get(str(one), committed.get(one))
            if since is None:
                continue
            if one not in committed:
                found.append(
                    f"that of {one} is gone; when you know why, put it back to where the last manifest ends: "
                    f"kafka-consumer-groups.sh --reset-offsets --execute --group {self.group} "
                    f"--topic {one.topic}:{one.partition} --to-offset N"
                )
                continue
            needed = min(since, committed[one]) if one.kind == "stream" else committed[one]
            if needed < begins[one] and one.kind != "clock":
                found.append(
                    f"{one} begins at {begins[one]}, after {needed}: records were deleted before they were taken"
                )
        return found

    async def _drop(self) -> None:
        self._intake = None
        await super()._drop()
