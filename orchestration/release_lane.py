"""The release lane: one partition of `held`; what rulings decide goes out, or is withheld, exactly once.

It reads rulings (its progress is their committed offset) and all of its partition of `held`, and works off what is due some
hundred decisions a transaction: bytes read again, final verdict, released or withheld, and the tombstone that ends the wait.
Killed anywhere it goes on where the tombstones end. A ruling's offset is committed when nothing of it is left to do.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.audit.commitment import Committer
from agents.errors import OffsetsLost, Poison
from agents.events import Severity, SnapshotData
from agents.policy import held
from agents.policy.finals import Finals, Translate
from agents.policy.release import Due, Release
from agents.policy.ruled import BadRuling, Ruled, ruled_of
from agents.policy.standing import Standing
from agents.records import Record, Stretch
from agents.sources import SourceMapping
from orchestration.held_reader import BYTES, HeldReader
from orchestration.kafka import Broker, batches, close
from orchestration.lane_life import IDLE_MS, RECOMMIT_S, RECOVERY_S, LaneLife
from orchestration.snapshots import Kept, Parts, read_snapshot
from orchestration.work import LaneName, Pace, State

AT_ONCE = 500
"""Decisions that one transaction ends."""
PROGRESS_S = 1.0
"""How long progress without output may wait for its commit: rulings about other partitions, refusals."""
VERBS = {"release": "releasing", "withhold": "withholding", "edit": "withholding as edited"}


class ReleaseLane(LaneLife):
    """Lets held decisions of one partition out, or withholds them, as rulings say."""

    def __init__(
        self, name: LaneName, broker: Broker, committer: Committer, pace: Pace, at_once: int = AT_ONCE
    ) -> None:
        """`name`'s main topic is `held`; `at_once` bounds the decisions of a transaction."""
        super().__init__(name, broker, pace, group=name.transactional_id)
        self.committer, self.at_once = committer, at_once
        self._held = TopicPartition(name.topic, name.partition)
        self._rulings = TopicPartition(broker.settings.topic("rulings"), 0)
        self._release = Release(name.partition)
        self._finals = self._counting(0)
        self._parts = Parts(name)
        self._reader: HeldReader | None = None
        self._number = 0  # snapshots written
        self._held_end = 0  # held is written so far at least
        self._now_ms = -1  # the broker's time of the newest ruling read
        self._seen = 0  # the next offset of rulings to read
        self._settled = 0  # all that was held when the rulings before this one were made has been seen
        self._marks: list[tuple[int, int]] = []  # (next offset of rulings, where held ended when it was read)
        self._committed = -1  # the offset of rulings that is committed; -1: none yet
        self._totals: dict[int, int] = {}  # offset of a ruling → what it decided in this life

    async def _live_once(self) -> None:
        await self._open()
        self.status.state, self.status.detail = "running", ""
        await self._loop()

    async def _loop(self) -> None:
        idle_since = time.monotonic()
        moved_at: float | None = None  # since when there is progress without output
        while not self._stopping:
            taken = await self._take()  # 1. fetch (read_committed)
            self._kill.reach("fetched") if taken else None
            await self._note()  # 2. there is no as_of: rulings and held records say it all
            due = self._release.take(self.at_once)
            outputs: Sequence[Stretch] = ()
            ended = 0
            if due is not None:
                self._kill.reach("noted")
                outputs, ended = await self._decide(due)  # 3. decide, purely
                self._kill.reach("decided")
            progress = self._release.progress(self._seen, self._settled)
            now = time.monotonic()
            if due is None:
                moved_at = None if progress == self._committed else moved_at or now
                if (moved_at is None or now - moved_at < PROGRESS_S) and now - idle_since < RECOMMIT_S:
                    continue
            self._kill.reach("prepared")
            everything = self._with_snapshot(outputs, progress)
            await self._transact(everything, {self._rulings: (progress, str(self._number))})  # 4. begin … 7. commit
            self._kill.reach("settled")
            self._committed, idle_since, moved_at = progress, time.monotonic(), None
            self.status.records += ended
            self.status.committed_at = time.time()
            await self._tell_refused()

    # -- a turn ----------------------------------------------------------------------------------------------------

    async def _take(self) -> bool:
        """What is new of rulings and held; whether anything was."""
        assert self._consumer is not None
        assert self._reader is not None
        wait = 0 if self._release.due else IDLE_MS
        found = await self._consumer.getmany(timeout_ms=wait, max_records=self.pace.records)
        self._release.see(found.get(self._held, ()))
        rulings = found.get(self._rulings, ())
        for record in rulings:
            await self._rule(record)
        if rulings:
            self._seen, self._now_ms = rulings[-1].offset + 1, max(self._now_ms, rulings[-1].timestamp)
            self._marks.append((self._seen, await self._reader.end()))
        await self._settle()
        return bool(found)

    async def _rule(self, record: Record) -> None:
        try:
            ruled = ruled_of(record, self.name.partition)
        except BadRuling as error:
            await self._cry("release/bad-ruling", str(error), Severity.ERROR)
            return
        if ruled is not None:
            self._release.rule(ruled)

    async def _settle(self) -> None:
        """Rulings are settled once held was read to where it ended when they came: no more of theirs can appear."""
        assert self._consumer is not None
        here, before = await self._consumer.position(self._held), self._settled
        self._held_end = max(self._held_end, here)
        while self._marks and self._marks[0][1] <= here:
            self._settled = self._marks.pop(0)[0]
        if self._settled != before:
            self._release.settle(self._settled)

    async def _decide(self, due: Due) -> tuple[Sequence[Stretch], int]:
        """The outputs of some decisions that are due, and how many they end: from here on, since a failure ends this life."""
        assert self._reader is not None
        self._totals.setdefault(due.ruled.offset, self._release.left(due.ruled))
        translate: Translate = _never
        room = BYTES
        if due.ruled.action == "edit":  # topics of decisions take no batch larger than the largest decision
            translate, room = await self._translations(), self.broker.settings.max_record_bytes // 2
        found, ended = [], dict[str, list[int]]()
        for record in await self._reader.read(due.offsets, room):
            topic, _, offset = held.place_of(record.key)
            ended.setdefault(topic, []).append(offset)
            try:
                found.append(held.read(record))
            except held.BadHeld as error:
                self._release.bad += 1
                await self._cry("release/bad-held", f"{record.topic}/{record.partition}/{record.offset}: {error}")
        outputs = list(self._finals.outputs(found, due.ruled, translate)) if found else []
        for topic, offsets in ended.items():
            self._release.end(topic, offsets)
        if not self._release.left(due.ruled):
            self._totals.pop(due.ruled.offset)
            self._release.settle(self._settled)
        return outputs, len(found)

    async def _translations(self) -> Translate:
        """How records of mapped topics are read, as the configuration in force says."""
        standing, _ = Standing().fold("config", await self.broker.read_all(self.broker.settings.topic("config")))
        models = standing.configuration.models
        mapped = {one.topic: SourceMapping(one, models).translate for one in standing.configuration.sources}
        return mapped.get

    def _with_snapshot(self, outputs: Sequence[Stretch], progress: int) -> Iterator[Stretch]:
        """The outputs, and in every transaction what they leave behind: the count of verdicts, rulings still needed.

        Each snapshot has a number, which is committed beside the offset, and says how far `held` is written at least: a start
        can tell from that whether it sees all that was committed.
        """
        self._number += 1
        ends = sum(len(messages) for place, messages in outputs if place == tuple(self._held))
        self._held_end += ends + 1 if ends else 0  # the commit's marker takes an offset, too
        return itertools.chain(outputs, self._snapshot(progress))

    def _snapshot(self, progress: int) -> Iterator[Stretch]:
        kept = {f"ruling-{one.offset}": one.plain() for one in self._release.kept(progress)}
        known = self._parts.digests
        changed = {part: content for part, content in kept.items() if part not in known}
        head = SnapshotData(
            lane="",
            offsets={},
            sequence={f"{self.broker.settings.topic('verdicts')}/{self.name.partition}": self._finals.sequence},
            now_ms=self._now_ms,
            state={"snapshots": self._number, "held": self._held_end},
        )
        state = State(head, changed, [part for part in known if part not in kept])
        offsets = {f"{self._rulings.topic}/{self._rulings.partition}": progress}
        for message in self._parts.messages(state, offsets, self._number):
            yield (self._snapshots, 0), [message]

    async def _note(self) -> None:
        """What `govern status` shows: lag is what is due, and the rulings that were not read yet."""
        assert self._consumer is not None
        release, status = self._release, self.status
        status.turned_at = time.monotonic()
        status.next_offset = await self._consumer.position(self._held)
        stable = self._consumer.last_stable_offset(self._rulings)
        unread = max(0, stable - await self._consumer.position(self._rulings)) if stable is not None else 0
        status.lag = release.due + unread
        now = release.take(1)
        if now is not None:
            left = release.left(now.ruled)
            total = max(self._totals.get(now.ruled.offset, left), left)
            status.detail = f"{VERBS[now.ruled.action]} {total - left:,} of {total:,} by {now.ruled.id}"
        else:
            status.detail = f"{release.pending:,} held" if release.pending else ""
        if release.bad:
            status.detail += f"; {release.bad:,} records of held that no policy lane wrote"

    async def _tell_refused(self) -> None:
        """Flag what was withheld as edited and could not be amended: somebody must publish what was meant."""
        refused: Sequence[Poison] = list(self._finals.refused)
        self._finals.refused.clear()
        for error in refused:
            await self._cry("release/cannot-amend", str(error), Severity.ERROR)

    # -- opening ---------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Fence, committed offset, snapshot, then held to its end: in this order, or a zombie could still write."""
        self.status.state = "starting"
        self._producer = await self.broker.producer(self.name.transactional_id)
        await self._fits(self.name.topic, self.name.partition)
        found = await self.broker.noted(self.group, [tuple(self._rulings)])
        committed, number = found.get(tuple(self._rulings), (None, ""))
        self._consumer = await self.broker.consumer(tuple(self._rulings), tuple(self._held))
        kept, start = await self._resume_from(self._consumer, committed, int(number or "0"))
        self._committed = -1 if committed is None else committed
        self._seen = self._settled = start
        self._marks, self._totals = [], {}
        self._consumer.seek(self._rulings, start)
        self._release = Release(self.name.partition)
        self._number = int(kept.head.state.get("snapshots", 0)) if kept else 0
        self._held_end = int(kept.head.state.get("held", 0)) if kept else 0
        self._now_ms = kept.head.now_ms if kept else -1
        sequence = kept.head.sequence if kept else {}
        self._finals = self._counting(next(iter(sequence.values()), 0))
        self._parts = Parts(self.name, dict(kept.head.parts) if kept else {})
        self._reader = HeldReader(await self.broker.reader(*self._held), self._held)
        await self._read_held(self._consumer, await self._end_of_held(self._reader))
        for told in sorted((kept.parts if kept else {}).values(), key=lambda one: int(one["offset"])):
            self._release.rule(Ruled.of_plain(told))
        self._kill.reach("opened")

    async def _resume_from(
        self, consumer: AIOKafkaConsumer, committed: int | None, number: int
    ) -> tuple[Kept | None, int]:
        """The snapshot to start from, None where the lane is new, and the first ruling to read.

        An older snapshot than the one that was committed last would count verdicts twice.
        """
        until = time.monotonic() + RECOVERY_S
        while True:
            begin = (await consumer.beginning_offsets([self._rulings]))[self._rulings]
            end = (await consumer.end_offsets([self._rulings]))[self._rulings]
            kept = await read_snapshot(self.broker, self.name, surely=True, newest=True)
            if committed is None and kept is None:
                return None, begin
            fresh = kept is not None and int(kept.head.state.get("snapshots", 0)) >= number
            if committed is not None and fresh and begin <= committed <= end:
                return kept, committed
            if time.monotonic() > until or committed is None or committed < begin:
                raise OffsetsLost(self._lost(committed, begin, end))
            self.status.detail = "what was committed last cannot be seen yet: waiting for the broker to recover"
            await asyncio.sleep(0.5)

    def _lost(self, committed: int | None, begin: int, end: int) -> str:
        place = f"{self._rulings.topic}:{self._rulings.partition}"
        if committed is None:
            return (
                f"{self.name} has written before, but its committed offset is gone; when you know why, put it back: "
                f"kafka-consumer-groups.sh --reset-offsets --execute --group {self.group} --topic {place} --to-offset N, "
                "with N = the offset that its last snapshot names"
            )
        if begin <= committed <= end:
            return f"{self.name} has a committed offset, but {self._snapshots} lacks the snapshot that was committed with it"
        return (
            f"{self.name} must read rulings from offset {committed}, but {place} holds {begin} to {end}: "
            "rulings were deleted before they were worked off"
        )

    async def _end_of_held(self, reader: HeldReader) -> int:
        """Where held ends, once that is as far as the last snapshot says."""
        until = time.monotonic() + RECOVERY_S
        while (end := await reader.end()) < self._held_end:
            if time.monotonic() > until:
                raise OffsetsLost(
                    f"{self.name}: {self._held.topic}/{self._held.partition} ends at {end}, but was written up to "
                    f"{self._held_end}: tombstones are lost, and decisions that went out would go out again"
                )
            self.status.detail = "held ends before what was committed: waiting for the broker to recover"
            await asyncio.sleep(0.5)
        return end

    async def _read_held(self, consumer: AIOKafkaConsumer, end: int) -> None:
        """All of held up to where it ended after the fence; open transactions of policy lanes are waited for.

        A tombstone of this lane's last life that was overlooked would let a decision out twice.
        """
        start = (await consumer.beginning_offsets([self._held]))[self._held]
        consumer.seek(self._held, start)
        self.status.detail = f"reading what is held: {end - start:,} records at most"
        async for records in batches(consumer, self._held, start, end):
            self._release.see(records)
            self.status.turned_at = time.monotonic()
        consumer.seek(self._held, max(start, end))

    def _counting(self, sequence: int) -> Finals:
        name = self.name
        largest = self.broker.settings.max_record_bytes
        return Finals(name.prefix, name.partition, name.transactional_id, self.committer, largest, sequence)

    async def _drop(self) -> None:
        reader, self._reader = self._reader, None
        await super()._drop()
        if reader is not None:
            await close(reader.consumer)


def _never(topic: str) -> None:
    """No topic is mapped: nothing is amended."""
