"""The configuration in force is the newest record on `config`: applying, reading back, history and rollback.

Applying publishes one record in a transaction of its own (two operators cannot interleave: the later fences the earlier)
with the operator's `govern-seq`, so that a record lost before the audit shows. Applying what stands already does nothing.
"""

from __future__ import annotations

import asyncio
import getpass
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.escalation.declared import Escalation
from agents.escalation.proposals import Granted
from agents.events import ConfigurationData, ConfigurationEvent
from orchestration import anomaly_scores, label_retention, second_person
from orchestration.kafka import Broker, close, fate, sort_error
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings

KEY = b"current"


@dataclass(frozen=True, slots=True)
class Applied:
    """One record of the topic `config`."""

    offset: int
    time_ms: int
    digest: str
    by: str | None
    note: str | None
    document: dict[str, Any]
    changed: bool = True
    """False where an apply found the same digest in force and wrote nothing."""

    def configuration(self) -> Configuration:
        """The document, read again and checked against its digest."""
        found = Configuration.model_validate(self.document)
        if found.digest() != self.digest:
            raise Misconfigured(
                f"the configuration at config/0/{self.offset} gives {found.digest()}, not {self.digest}: it was written "
                "by a newer version, or altered"
            )
        return found


async def history(settings: Settings) -> list[Applied]:
    """What was applied, oldest first, as far as compaction has left it."""
    records = await Broker(settings).read_all(settings.topic("config"))
    found = []
    for record in records:
        if record.key == KEY and record.value is not None:
            found.append(_applied(record, ConfigurationEvent.model_validate_json(record.value)))
    return found


async def current(settings: Settings) -> Applied | None:
    """What is in force; None where nothing was ever applied."""
    return next(reversed(await history(settings)), None)


async def apply(settings: Settings, configuration: Configuration, note: str | None = None) -> Applied:
    """Put a configuration in force, unless it is already.

    Raises NotReady or Misconfigured, before anything is written, where rules ask for a profile that is not there or cannot
    be used: lanes would decide nothing. So too where labels mature after their cases have expired, and where the
    configuration in force wants a second person (`escalation.second_person`) and none has agreed to exactly this one.
    """
    _check(settings, configuration)
    async with writing(settings) as writer:
        present = writer.present
        if present is not None and present.digest == configuration.digest():
            return replace(present, changed=False)
        grant = await _granted(settings, present, configuration.digest())
        return await writer.write(writer.event(configuration, grant, note))


async def enact(settings: Settings, incident: str) -> Applied:
    """Put in force what was proposed as this incident and somebody else has approved; done already, nothing is written.

    Raises NotReady or Misconfigured, which says why it cannot come into force.
    """
    async with writing(settings) as writer:
        event = await approved(settings, writer, incident)
        if event is not None:
            return await writer.write(event)
        assert writer.present is not None, "what was approved is about what was in force"
        return replace(writer.present, changed=False)


async def approved(settings: Settings, writer: Writer, incident: str) -> ConfigurationEvent | None:
    """What puts an approved proposal in force; None where it is, or was. For whoever holds the right to write.

    Raises NotReady or Misconfigured: nobody has agreed to exactly this on top of what is in force, its document is not
    there or was altered, or lanes could not work by it.
    """
    present = writer.present
    if present is None:
        raise Misconfigured("nothing is in force that it could be a change of")
    if incident in writer.enacted:
        return None
    grant, digest = await second_person.agreed(settings, incident, _escalation(present), present.time_ms, present.by)
    if digest == present.digest:
        return None
    configuration = second_person.kept(settings, digest)
    _check(settings, configuration)
    return writer.event(configuration, grant, None)


@dataclass
class Writer:
    """The one that may write `config`, until somebody else asks for it; what stands is what it has read since."""

    settings: Settings
    producer: AIOKafkaProducer
    present: Applied | None
    """In force now."""
    enacted: frozenset[str]
    """Proposals that came into force, as far as the topic remembers."""
    sequence: int
    """The next `govern-seq`."""
    name: str
    source: str = "operator"

    def event(self, configuration: Configuration, grant: Granted | None, note: str | None) -> ConfigurationEvent:
        """What puts a configuration in force, with who proposed and who approved it where two people were needed."""
        data = ConfigurationData(
            digest=configuration.digest(),
            document=configuration.document(),
            applied_by=_whoami() if grant is None else f"{grant.author}, approved by {', '.join(grant.approvers)}",
            note=(note or None) if grant is None else f"{note or grant.text} ({grant.incident})",
        )
        return ConfigurationEvent(
            id=str(uuid.uuid4()),
            source=f"/{self.settings.prefix}/{self.source}",
            time=datetime.now(UTC),
            correlationid=grant.incident if grant is not None else None,
            data=data,
        )

    async def write(self, event: ConfigurationEvent) -> Applied:
        """Write it in a transaction of its own."""
        await self.producer.begin_transaction()
        sent = await self.send(event)
        await self.producer.commit_transaction()
        written = await sent
        data = event.data
        return Applied(written.offset, written.timestamp, data.digest, data.applied_by, data.note, data.document)

    async def send(self, event: ConfigurationEvent) -> asyncio.Future[Any]:
        """Write it in the transaction that is open."""
        sent: asyncio.Future[Any] = await self.producer.send(
            self.settings.topic("config"),
            event.model_dump_json(exclude_none=True).encode(),
            key=KEY,
            partition=0,
            headers=[("govern-seq", b"%d" % self.sequence), ("govern-writer", self.name.encode())],
        )
        return sent


@asynccontextmanager
async def writing(settings: Settings, source: str = "operator") -> AsyncIterator[Writer]:
    """The right to write `config`: whoever had it before writes nothing more. Raises Fenced where somebody took it."""
    broker, name = Broker(settings), f"{settings.prefix}.operator.config"
    producer: AIOKafkaProducer | None = None
    try:
        producer = await broker.producer(name)  # fences another's apply before we look at what is in force
        records = [one for one in await broker.read_all(settings.topic("config")) if one.key == KEY]
        last = records[-1] if records else None
        yield Writer(
            settings,
            producer,
            _applied(last, ConfigurationEvent.model_validate_json(last.value))
            if last is not None and last.value
            else None,
            frozenset(filter(None, (_proposal(one.value) for one in records))),
            int(dict(last.headers).get("govern-seq") or b"-1") + 1 if last is not None else 0,
            name,
            source,
        )
    except (KafkaError, OSError) as error:
        cause = fate(producer) if producer is not None else None
        raise sort_error(cause or error) from error
    finally:
        await close(producer)


async def rollback(settings: Settings, to: str | None = None) -> Applied:
    """Put an earlier configuration in force again: the one before, or the one whose digest starts with `to`."""
    found = await history(settings)
    if not found:
        raise Misconfigured("nothing was ever applied; `govern config apply DIR` starts")
    earlier = [one for one in found if one.digest != found[-1].digest]
    if to is not None:
        wanted = to.removeprefix("sha256:")
        earlier = [one for one in found if one.digest.removeprefix("sha256:").startswith(wanted)]
    if not earlier:
        raise Misconfigured(
            f"no configuration {to!r} in the history; `govern config history` lists them"
            if to
            else "there is no earlier configuration to go back to"
        )
    return await apply(settings, earlier[-1].configuration(), f"rollback to {earlier[-1].digest[:19]}")


async def _granted(settings: Settings, present: Applied | None, digest: str) -> Granted | None:
    """Who agreed to replace the configuration in force; None where it asks for nobody."""
    if present is None:
        return None
    declared = present.document.get("escalation") or {}
    if second_person.KIND not in declared.get("second_person", ()):
        return None
    return await second_person.granted(settings, digest, _escalation(present), present.time_ms)


def _escalation(present: Applied) -> Escalation:
    """What the configuration in force says of people, whatever else it says."""
    try:
        return Escalation.model_validate(present.document.get("escalation") or {})
    except ValidationError as error:
        raise Misconfigured(
            "the configuration in force wants a second person, and cannot be read by this version; use the one that applied it"
        ) from error


def _check(settings: Settings, configuration: Configuration) -> None:
    """Raises NotReady or Misconfigured where lanes could not work by it."""
    label_retention.check(configuration, settings)
    anomaly_scores.check(configuration, ProfileStore(settings.profiles_url))


def _applied(record: Any, event: ConfigurationEvent) -> Applied:
    data = event.data
    return Applied(record.offset, record.timestamp, data.digest, data.applied_by, data.note, data.document)


def _proposal(value: bytes | None) -> str | None:
    """Which proposal a record of `config` put in force; an old one need not be readable for that."""
    try:
        return ConfigurationEvent.model_validate_json(value or b"").correlationid
    except ValidationError:
        return None


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
