"""The configuration in force is the newest record on `config`: applying, reading back, history and rollback.

Applying publishes one record in a transaction of its own (two operators cannot interleave: the later fences the earlier)
with the operator's `govern-seq`, so that a record lost before the audit shows. Applying what stands already does nothing.
"""

from __future__ import annotations

import getpass
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.escalation.declared import Escalation
from agents.escalation.proposals import Granted
from agents.events import ConfigurationData, ConfigurationEvent
from orchestration import anomaly_scores, label_retention, second_person
from orchestration.kafka import Broker, close, sort_error
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
            data = ConfigurationEvent.model_validate_json(record.value).data
            found.append(
                Applied(record.offset, record.timestamp, data.digest, data.applied_by, data.note, data.document)
            )
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
    label_retention.check(configuration, settings)
    anomaly_scores.check(configuration, ProfileStore(settings.profiles_url))
    broker = Broker(settings)
    writer = f"{settings.prefix}.operator.config"
    producer = None
    try:
        producer = await broker.producer(writer)  # fences another operator's apply before we look at what is in force
        records = [one for one in await broker.read_all(settings.topic("config")) if one.key == KEY]
        last = records[-1] if records else None
        digest = configuration.digest()
        if last is not None and last.value is not None:
            data = ConfigurationEvent.model_validate_json(last.value).data
            if data.digest == digest:
                return Applied(
                    last.offset, last.timestamp, digest, data.applied_by, data.note, data.document, changed=False
                )
        grant = await _granted(settings, last, digest)
        sequence = int(dict(last.headers).get("govern-seq") or b"-1") + 1 if last is not None else 0
        data = ConfigurationData(
            digest=digest,
            document=configuration.document(),
            applied_by=_whoami() if grant is None else f"{grant.author}, approved by {', '.join(grant.approvers)}",
            note=(note or None) if grant is None else f"{note or grant.text} ({grant.incident})",
        )
        event = ConfigurationEvent(
            id=str(uuid.uuid4()),
            source=f"/{settings.prefix}/operator",
            time=datetime.now(UTC),
            correlationid=grant.incident if grant is not None else None,
            data=data,
        )
        await producer.begin_transaction()
        sent = await producer.send(
            settings.topic("config"),
            event.model_dump_json(exclude_none=True).encode(),
            key=KEY,
            partition=0,
            headers=[("govern-seq", b"%d" % sequence), ("govern-writer", writer.encode())],
        )
        await producer.commit_transaction()
        written = await sent
        return Applied(written.offset, written.timestamp, digest, data.applied_by, data.note, data.document)
    except (KafkaError, OSError) as error:
        raise sort_error(error) from error
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


async def _granted(settings: Settings, last: Any, digest: str) -> Granted | None:
    """Who agreed to replace the configuration in force; None where it asks for nobody."""
    if last is None or last.value is None:
        return None
    document = ConfigurationEvent.model_validate_json(last.value).data.document
    declared = document.get("escalation") or {}
    if second_person.KIND not in declared.get("second_person", ()):
        return None
    try:
        in_force = Escalation.model_validate(declared)
    except ValidationError as error:
        raise Misconfigured(
            "the configuration in force wants a second person, and cannot be read by this version; use the one that applied it"
        ) from error
    return await second_person.granted(settings, digest, in_force, last.timestamp)


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
