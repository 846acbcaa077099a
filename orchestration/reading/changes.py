"""What became of a proposed configuration, from the rows of what was applied and of what could not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

from agents.escalation.proposals import change_key
from agents.people_events import IncidentData
from orchestration.reading.database import Database
from orchestration.reading.overview import AppliedConfiguration, Difference
from orchestration.reading.tables import configurations, incident_keys, incidents


@dataclass(frozen=True, slots=True)
class Became:
    """What is known of a proposal beside what was ruled on it."""

    applied: AppliedConfiguration | None = None
    """By which it came into force."""
    after: AppliedConfiguration | None = None
    """The next one: it replaced this, or it came before somebody agreed to this, which then can come into force no more."""
    failed: IncidentData | None = None
    """The incident that tells why it could not be put in force."""


def became(database: Database, proposed: IncidentData) -> Became:
    """What became of the change that an incident proposes."""
    proposal = proposed.proposal
    if proposal is None:
        return Became()
    with database.reading() as connection:
        since = _applied(connection, proposed.opened_ms) or _newest(connection)
        mine = next((one for one in since[:1] if one.digest == proposal.digest), None)
        others = [one for one in since if one.digest != proposal.digest and one.time_ms > proposed.opened_ms]
        failed = _failed(connection, proposal.kind, proposed.incident) if mine is None else None
        return Became(mine, others[0] if others else None, failed)


def _applied(connection: Connection, after_ms: int) -> list[AppliedConfiguration]:
    """The first ones applied after a time, enough to see what came of the change and what replaced it."""
    column = configurations.c
    return _read(connection, select(configurations).where(column.time_ms > after_ms).order_by(column.offset).limit(2))


def _newest(connection: Connection) -> list[AppliedConfiguration]:
    """The one in force: it may be what was proposed, so that there was nothing to do."""
    return _read(connection, select(configurations).order_by(configurations.c.offset.desc()).limit(1))


def _read(connection: Connection, query: Select[Any]) -> list[AppliedConfiguration]:
    return [
        AppliedConfiguration(
            **{name: row[name] for name in ("offset", "time_ms", "digest", "applied_by", "note")},
            changed=tuple(Difference(**one) for one in row["changed"]),
        )
        for row in connection.execute(query).mappings()
    ]


def _failed(connection: Connection, kind: str, incident: str) -> IncidentData | None:
    query = (
        select(incidents.c.data)
        .join(incident_keys, incident_keys.c.incident == incidents.c.id)
        .where(incident_keys.c.key == change_key(kind, incident), incidents.c.id != incident)
        .order_by(incidents.c.opened_ms.desc(), incidents.c.id)
        .limit(1)
    )
    found = connection.scalar(query)
    return IncidentData.model_validate_json(found) if found is not None else None
