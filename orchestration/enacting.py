"""Approved changes come into force by themselves: each once, or somebody is told why not.

Follows `rulings` beside the supervisor's ticks, in a thread of its own. Kafka is the only memory: what it did and the
ruling's offset are one transaction of the one writer of `config`, so that a process killed at any moment, or two of them,
put nothing in force twice, and leave nothing out.

    1. a ruling that approves a proposal                3. the checks of `govern config apply`
    2. the right to write `config`; others lose it      4. the configuration, or a flag; the offset; commit
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents.errors import GovernanceError, Misconfigured, NotReady
from agents.escalation.proposals import change_key
from agents.events import ConfigurationEvent, Flag, FlagData, Severity
from agents.people_events import Resolution, Ruling
from orchestration import config_topic, second_person
from orchestration.kafka import Broker, close, sort_error
from orchestration.kill_points import KillPoints
from orchestration.settings import Settings

log = logging.getLogger("governance.enacting")

AGAIN_S, LONGEST_S = 1.0, 30.0
"""After a fault it begins again; where two take the right to write from each other, at random moments ever further apart."""
POLL_MS = 300
TOLD = " is not in force: "
REMEMBER_S = 86_400.0
"""So often the offset is committed again, since Kafka forgets those of a group without members after a week."""


class Enacting:
    """Puts approved configurations in force from `start` until `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._trouble, self._done = "", False
        self.group = f"{settings.prefix}.supervisor"
        self._place = TopicPartition(settings.topic("rulings"), 0)
        self._kill = KillPoints("supervisor/enacting")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.run()), name="enacting", daemon=True)

    @property
    def problem(self) -> str:
        """Why nothing that is approved comes into force at present; empty while all is well."""
        if self._thread.ident is not None and not self._thread.is_alive() and not self._ending.is_set():
            return (
                "approved changes wait: a fault of the program ended what puts them in force; see the supervisor's log"
            )
        return self._trouble

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End; returns when the connections are closed."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(10)

    async def run(self) -> None:
        """Follow until the end is asked for; after a fault, begin again from what was committed."""
        pause = AGAIN_S
        while not self._ending.is_set():
            try:
                await self._follow()
            except (KafkaError, OSError, GovernanceError) as error:
                pause = AGAIN_S if self._done else min(LONGEST_S, 2 * pause)
                self._done = False
                self._trouble = f"approved changes wait: {sort_error(error)}"
                log.warning(self._trouble)
                await asyncio.to_thread(self._ending.wait, random.uniform(AGAIN_S / 2, pause))

    async def _follow(self) -> None:
        consumer = await Broker(self.settings).consumer(tuple(self._place))
        try:
            consumer.seek(self._place, await self._start(consumer))
            remembered = time.monotonic()
            self._trouble = ""
            while not self._ending.is_set():
                for record in (await consumer.getmany(self._place, timeout_ms=POLL_MS)).get(self._place, ()):
                    incident = approves(record.value)
                    if incident is not None:
                        await self._enact(incident, record)
                if time.monotonic() - remembered > REMEMBER_S:
                    await self._remember(await consumer.position(self._place))
                    remembered = time.monotonic()
        finally:
            await close(consumer)

    async def _start(self, consumer: AIOKafkaConsumer) -> int:
        """Where to go on; the very first time with what was ruled since the configuration in force was applied."""
        begin: int = (await consumer.beginning_offsets([self._place]))[self._place]
        committed = await self._committed()
        if committed is not None:
            return max(begin, committed)
        end: int = (await consumer.end_offsets([self._place]))[self._place]
        present = await config_topic.current(self.settings)
        since = {self._place: present.time_ms} if present is not None else {}
        found = (await consumer.offsets_for_times(since)).get(self._place) if since else None
        start = found.offset if found is not None else end
        await self._remember(start)
        return start

    async def _committed(self) -> int | None:
        return (await Broker(self.settings).committed(self.group, [self._place])).get(tuple(self._place))

    async def _remember(self, offset: int) -> None:
        """Commit an offset outside of any transaction."""
        consumer = AIOKafkaConsumer(**self.settings.client(), group_id=self.group, enable_auto_commit=False)
        try:
            await consumer.start()
            consumer.assign([self._place])
            await consumer.commit({self._place: offset})
        finally:
            await close(consumer)

    async def _enact(self, incident: str, record: Any) -> None:
        """Steps 2 to 4."""
        if (await self._committed() or 0) > record.offset:
            return  # another supervisor was faster
        async with config_topic.writing(self.settings, "supervisor") as writer:  # 2.
            if (await self._committed() or 0) > record.offset:
                return  # faster still
            event: ConfigurationEvent | None = None
            flag: Flag | None = None
            try:
                event = await config_topic.approved(self.settings, writer, incident)  # 3.
            except (Misconfigured, NotReady) as error:
                flag = self._flag(incident, record, str(error))
            self._kill.reach("prepared")
            producer = writer.producer
            await producer.begin_transaction()  # 4.
            if event is not None:
                await (await writer.send(event))
            if flag is not None:
                value = flag.model_dump_json(exclude_none=True).encode()
                topic = self.settings.topic("flags")
                await producer.send_and_wait(topic, value, key=flag.data.dedup_key.encode(), partition=0)
            self._kill.reach("written")
            await producer.send_offsets_to_transaction({self._place: record.offset + 1}, self.group)
            self._kill.reach("offsets-sent")
            await producer.commit_transaction()
            self._kill.reach("committed")
            self._done = True
            what = flag.data.reason if flag is not None else "in force already" if event is None else event.data.digest
            log.info("approved change: %s", what, extra={"incident": incident})

    def _flag(self, incident: str, record: Any, why: str) -> Flag:
        key = change_key(second_person.KIND, incident)
        return Flag(
            id=f"{key}@{record.topic}/{record.partition}/{record.offset}",
            source=f"/{self.settings.prefix}/supervisor",
            correlationid=incident,
            data=FlagData(
                dedup_key=key,
                severity=Severity.ERROR,
                reason=f"the approved change {incident}{TOLD}{why}"[:1000],
                labels={"incident": incident},
                count=1,
                topic=record.topic,
                partition=record.partition,
                first_offset=record.offset,
                last_offset=record.offset,
                sample=[record.offset],
            ),
        )


def approves(value: bytes | None) -> str | None:
    """The proposal of a configuration that a record of `rulings` approves; None for all others."""
    if b'"approved"' not in (value or b""):
        return None
    try:
        ruling = Ruling.model_validate_json(value or b"").data
    except ValidationError:
        return None
    approved = (
        ruling.resolution is Resolution.APPROVED and change_key(second_person.KIND, ruling.incident) in ruling.keys
    )
    return ruling.incident if approved else None
