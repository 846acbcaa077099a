"""The notify lane: what `notifications` says is to be sent is sent at least once, and what became of it is recorded there.

Its own deliveries say what is done, so after kill -9 it sends again only what has no final record, under the same id. It
waits for no channel: attempts run beside the loop (orchestration/notify/delivering.py), and only their results are written.

    1. fetch      2. follow config      3. begin with what is new, once a transaction has committed past it
    4. wait for results      5. deliveries, and flags of what was given up, with the offsets, in one transaction

Its two decisions cannot be made again (whether a server answered, and when), hence no manifest. A lost offset or snapshot
does no harm: it reads the topic from the beginning, and deliveries say the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from aiokafka import TopicPartition

from agents.errors import Malformed
from agents.events import Severity, SnapshotData
from agents.policy.flags import FlagBook
from agents.policy.times import iso
from agents.records import Message as KafkaMessage
from agents.records import Record, Stretch
from agents.told_events import Delivery, DeliveryData
from orchestration.following import Following
from orchestration.kafka import Broker, batches
from orchestration.lane_life import RECOMMIT_S, LaneLife
from orchestration.notify.delivering import LASTING, PROBE, SOON, Delivering, Patience, Result
from orchestration.notify.errand import Sent
from orchestration.notify.message import Message
from orchestration.notify.outbox import Entry, Outbox
from orchestration.notify.sending import send
from orchestration.snapshots import head_message, read_snapshot
from orchestration.work import LaneName, Pace

log = logging.getLogger("governance.notify")

TURN_S = 0.1
"""How long a turn waits for a result; also how soon a new notification is seen."""
GRACE_S = 5.0
"""How long a lane that is stopped waits for attempts on their way."""
SPOKEN = "spoken"


class NotifyLane(LaneLife):
    """Runs the outbox of one deployment until stopped, fenced or failed."""

    def __init__(
        self,
        name: LaneName,
        broker: Broker,
        pace: Pace,
        patience: Callable[[bool], Patience] | None = None,
        links: bytes | None = None,
    ) -> None:
        """`patience`: how long a message is tried, given whether its channel is down; None: by the channels declared.
        `links`: the secret of answer links (answer_links.py).
        """
        super().__init__(name, broker, pace, group=name.transactional_id)
        self._links = links
        self._place = TopicPartition(name.topic, name.partition)
        self._given_patience = patience
        self._following: Following | None = None
        self._delivering: Delivering | None = None
        self._outbox = Outbox()
        self._seen = 0  # the next offset to read
        self._committed = 0  # what lies before it may have been sent without a record of it
        self._snapshot_at = 0.0

    # -- the loop --------------------------------------------------------------------------------------------------

    async def _live_once(self) -> None:
        await self._open()
        assert self._delivering is not None
        self.status.state, self.status.detail = "running", ""
        idle_since = time.monotonic()
        while not self._stopping:
            fresh = await self._fetch()  # 1.
            await self._follow(surely=fresh)  # 2.
            if fresh:
                await self._record()
            self._delivering.wake()  # 3.
            await self._delivering.wait(TURN_S)  # 4.
            if self._delivering.results or time.monotonic() - idle_since > RECOMMIT_S:
                await self._record()  # 5.
                idle_since = time.monotonic()
            await self._note()
        await self._delivering.end(GRACE_S)
        await self._record()

    async def _fetch(self) -> bool:
        """Take what came; whether a notification is among it."""
        assert self._consumer is not None
        records: list[Record] = (await self._consumer.getmany(self._place, timeout_ms=0)).get(self._place, [])
        self._kill.reach("fetched") if records else None
        return await self._see(records)

    async def _see(self, records: Sequence[Record]) -> bool:
        fresh = False
        for record in records:
            self._seen = record.offset + 1
            try:
                fresh |= self._outbox.see(record, known=record.offset < self._committed) is not None
            except Malformed as error:
                if record.offset >= self._committed:
                    await self._cry("notify/malformed", f"a message is not sent: {error}", Severity.ERROR)
                    fresh = True
        return fresh

    async def _follow(self, *, surely: bool) -> None:
        """The configuration in force; `surely`: at least as new as the notification that was just read."""
        assert self._following is not None
        await (self._following.catch_up() if surely else self._following.poll())
        self.status.configuration = self._following.in_force.digest

    async def _record(self) -> None:
        """Deliveries and flags of all results so far; with none, only that everything up to here is known."""
        assert self._delivering is not None
        now_ms, name = int(time.time() * 1000), self.name
        # All is taken and made before the first await: a snapshot must not skip an entry whose delivery is not in here.
        results = self._delivering.take()
        outputs: list[Stretch] = []
        if results:
            outputs.append(((name.topic, 0), [self._delivery(one, now_ms) for one in results]))
        for one in results:
            if one.outcome == "failed" or one.missed:
                outputs.append(((self.broker.settings.topic("flags"), 0), self._flag(one, now_ms)))
        if time.monotonic() >= self._snapshot_at:
            outputs.append(((self._snapshots, 0), [self._snapshot(now_ms)]))
            self._snapshot_at = time.monotonic() + self.pace.snapshot_ms / 1000
        seen = self._seen
        self._kill.reach("prepared")
        await self._transact(outputs, {self._place: seen})
        self._kill.reach("settled")
        self._committed = max(self._committed, seen)
        self.status.records += sum(one.outcome == "sent" for one in results)
        self.status.committed_at = time.time()

    async def _note(self) -> None:
        """What `govern status` shows."""
        assert self._consumer is not None
        assert self._delivering is not None
        self.status.turned_at = time.monotonic()
        self.status.next_offset = self._seen
        stable = self._consumer.last_stable_offset(self._place)
        behind = (
            max(0, stable - await self._consumer.position(self._place)) if stable is not None and stable >= 0 else 0
        )
        self.status.lag = behind + len(self._outbox)
        troubled = sorted(self._delivering.troubled.items())
        self.status.detail = "; ".join(f"channel {channel} does not work ({why})" for channel, why in troubled)

    # -- an attempt ------------------------------------------------------------------------------------------------

    async def _send(self, entry: Entry) -> Sent:
        """One attempt, as the configuration stands now."""
        assert self._following is not None
        escalation = self._following.escalation
        message = Message(
            entry.id,
            self.name.prefix,
            entry.data,
            entry.recorded_ms,
            int(time.time() * 1000),
            escalation.console_url,
            self._outbox.thread(entry.line),
            self._links,
        )
        return await send(escalation, message, entry.done)

    def _patience(self, down: bool) -> Patience:
        """Short where another channel can tell it, long where there is none."""
        if self._given_patience is not None:
            return self._given_patience(down)
        if self._following is None or len(self._following.escalation.channels) < 2:
            return LASTING
        return PROBE if down else SOON

    # -- what is written -------------------------------------------------------------------------------------------

    def _delivery(self, result: Result, now_ms: int) -> KafkaMessage:
        entry = result.entry
        data = DeliveryData(
            notification=entry.id,
            channel=entry.data.channel,
            outcome=result.outcome,
            attempts=result.attempts,
            detail=result.detail,
            took_ms=round(result.took_ms, 1),
            reference=result.reference,
        )
        event = Delivery(
            id=f"{entry.id}/{result.outcome}/{result.attempts}",
            source=f"/{self.name.prefix}/notify",
            time=datetime.fromtimestamp(now_ms / 1000, UTC),
            causationid=entry.id,
            data=data,
        )
        return entry.id.encode(), event.model_dump_json(exclude_none=True).encode(), ()

    def _flag(self, result: Result, now_ms: int) -> Sequence[KafkaMessage]:
        """That a channel does not work, or does not reach somebody: one flag a message.

        Where it reached nobody it names the incident, so that another channel tells of it.
        """
        data, failed, times = result.entry.data, result.outcome == "failed", result.attempts
        what = f"was given up after {times} attempt{'s' if times != 1 else ''}" if failed else "did not reach everybody"
        labels = {"notification": result.entry.id, "channel": data.channel}
        flags = FlagBook(self.name.prefix, self.name.topic, self.name.partition, speaker="notify")
        flags.add(
            f"{'contact' if result.missed else 'channel'}/{data.channel}",
            None,
            None,
            result.entry.offset,
            severity=Severity.ERROR if failed else Severity.WARNING,
            effect=None,
            reason=lambda: f"a message by channel {data.channel} {what}: {result.detail}"[:1000],
            labels=labels | ({"incident": data.incident} if failed else {}),
        )
        return flags.messages(iso(now_ms))

    def _snapshot(self, now_ms: int) -> KafkaMessage:
        here = f"{self.name.topic}/{self.name.partition}"
        state = SnapshotData(
            lane="",
            offsets={},
            sequence={},
            now_ms=now_ms,
            window_from={here: self._outbox.low(self._seen)},
            state={SPOKEN: self._outbox.remembered()},
        )
        return head_message(self.name, state, {here: self._seen}, self._seen)

    # -- opening ---------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Fence, then committed offset and snapshot, then all that is on the topic, then the configuration."""
        self.status.state, self._snapshot_at = "starting", 0.0
        self._producer = await self.broker.producer(self.name.transactional_id)
        await self._fits(self.name.topic, self.name.partition)
        committed = (await self.broker.committed(self.group, [self._place])).get(tuple(self._place), 0)
        kept = await read_snapshot(self.broker, self.name, surely=False)
        self._consumer = await self.broker.consumer(tuple(self._place))
        begin = (await self._consumer.beginning_offsets([self._place]))[self._place]
        here = f"{self.name.topic}/{self.name.partition}"
        start = max(begin, kept.head.window_from.get(here, 0) if kept else 0)
        self._outbox = Outbox(kept.head.state.get(SPOKEN) if kept else None)
        self._seen, self._committed = start, committed
        # What others' open transactions hide just now may be deliveries of ours: without them a message goes out twice.
        end = await self.broker.written(self.name.topic, self.name.partition)
        async for records in batches(self._consumer, self._place, start, end):
            await self._see(records)
        self._consumer.seek(self._place, max(self._seen, end))
        self._seen = max(self._seen, end)
        self._following = Following(self.broker)
        await self._following.open()
        self._delivering = Delivering(self._outbox, self._send, self._patience)
        await self._record()
        self._kill.reach("opened")
        if len(self._outbox):
            log.info("the outbox holds %d messages that are not done", len(self._outbox))

    async def _drop(self) -> None:
        delivering, self._delivering = self._delivering, None
        following, self._following = self._following, None
        if delivering is not None:
            await delivering.end(0)
        await super()._drop()
        if following is not None:
            await following.close()
