"""How every lane lives: it opens, takes batches, commits whole transactions or nothing, and opens again after a fault.

Kafka is the only memory: after an abort, or a commit whose result is unknown, a lane drops producer, consumer and state and
opens again from its transactional id; a commit is never retried in place. What opening and a batch mean is the subclass's:
orchestration/lane.py for one input, orchestration/manifest_lane.py for several.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import tenacity
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from agents.errors import Fatal, Fenced, Misconfigured, NotReady, Retryable
from agents.events import Severity
from agents.policy.flags import FlagBook
from agents.policy.times import iso
from agents.records import Stretch
from orchestration.kafka import Broker, close, fate, sort_error
from orchestration.kill_points import KillPoints, Point, die
from orchestration.odd_headers import is_odd_header, read_tolerantly
from orchestration.topics import planned_partitions
from orchestration.work import LaneName, LaneStatus, Pace
from orchestration.writer import Writer

log = logging.getLogger("governance.lane")

IDLE_MS = 100  # how long a fetch waits when nothing is there; also how soon an idle lane sees a new configuration
RECOMMIT_S = 86_400.0  # offsets of manually assigned partitions expire after 7 days without a commit
RECOVERY_S = 15.0
"""A broker that was killed shows its newest records only some moments after it is back: what seems to be missing at the
end of a topic is lost only if it stays so for so long."""
LONGEST_PAUSE_S = 5.0
SETTLE_S = 900.0  # how often an idle lane's work may tidy up outside Kafka


class LaneLife(ABC):
    """One lane until it is stopped, fenced or failed; `group` is the consumer group that keeps its offsets."""

    def __init__(self, name: LaneName, broker: Broker, pace: Pace, group: str) -> None:
        self.name, self.broker, self.pace, self.group = name, broker, pace, group
        self.status = LaneStatus(str(name))
        self._kill = KillPoints(str(name))
        self._stopping = False
        self._barren, self._at_last = 0, 0  # lives in a row without a commit; commits when the last one ended
        self._snapshots = broker.settings.topic("snapshots")
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None

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

    @abstractmethod
    async def _live_once(self) -> None:
        """One life: open, then batch after batch until a stop; any failure is raised as it is."""

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next life: short after a life that committed something, longer with each that did not."""
        self._barren = 0 if self.status.transactions > self._at_last else self._barren + 1
        self._at_last = self.status.transactions
        return random.uniform(0, min(LONGEST_PAUSE_S, 0.05 * 2**self._barren))

    def _retrying(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.status.restarts += 1
        self.status.state = "waiting" if isinstance(error, NotReady) else "retrying"
        self.status.detail = str(error)
        log.warning("lane %s starts again: %s", self.name, error)

    async def _live(self) -> None:
        """One life: from opening to a stop or the first failure, sorted into one of the three kinds."""
        try:
            await self._live_once()
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

    async def _fits(self, topic: str, partition: int) -> None:
        """The topic has this partition, and no more than the topics that are written beside it."""
        assert self._producer is not None
        try:
            count = len(await self._producer.partitions_for(topic))
        except UnknownTopicOrPartitionError as error:
            own = topic.startswith(f"{self.broker.settings.prefix}.")
            mend = "`govern topics create` makes it" if own else "create it, or correct `sources` in the configuration"
            raise Retryable(f"there is no topic {topic}, or no right to see it: {mend}") from error
        planned = planned_partitions(topic, self.broker.settings)
        if partition >= count:
            raise Misconfigured(f"{topic} has only {count} partitions, there is no {partition}")
        if count > planned:
            raise Misconfigured(
                f"{topic} has {count} partitions, but verdicts and the others have {planned}: "
                f"set GOVERN_PARTITIONS={count} and add partitions (`govern topics plan` prints them)"
                if planned == self.broker.settings.partitions
                else f"{topic} has {count} partitions, not {planned}; see `govern topics plan`"
            )

    # -- a transaction ---------------------------------------------------------------------------------------------

    async def _transact(
        self, outputs: Iterable[Stretch], offsets: Mapping[TopicPartition, int | tuple[int, str]]
    ) -> None:
        """Steps 4 to 7; any failure leaves nothing behind and ends this life of the lane.

        An offset may come with a text that is committed beside it.
        """
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
        await producer.send_offsets_to_transaction(offsets, self.group)  # 6. write the input offsets
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
        """Forget everything that this life held."""
        producer, consumer = self._producer, self._consumer
        self._producer = self._consumer = None
        await close(producer, consumer)
