"""What changed of a model in a stretch of time: configurations, versions seen first, safeguards."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from agents.configuration import Configuration
from orchestration.reading.database import Database
from orchestration.reading.overview import current
from orchestration.reading.tables import configurations, safeguards, versions


@dataclass(frozen=True, slots=True)
class Named:
    """Something with a moment and a sentence."""

    time_ms: int
    text: str
    incident: str | None = None
    """Of an incident: its id, and how bad and how far it is."""
    severity: str = ""
    status: str = ""
    resolution: str | None = None


def changes(database: Database, model: str, span: tuple[int, int]) -> tuple[Named, ...]:
    """In [start, end), in order of their time."""
    with database.reading() as connection:
        found = [
            *_configured(connection, model, span),
            *_versions(connection, model, span),
            *_safeguards(connection, model, span),
        ]
    return tuple(sorted(found, key=lambda one: one.time_ms))


def _configured(connection: Connection, model: str, span: tuple[int, int]) -> list[Named]:
    """Configurations that changed something of this model or of all."""
    others, column, found = _others(current(connection), model), configurations.c, []
    query = select(column.time_ms, column.applied_by, column.changed).where(
        column.time_ms >= span[0], column.time_ms < span[1]
    )
    for time_ms, applied_by, changed in connection.execute(query.order_by(column.offset)):
        names = [one["name"] for one in changed if one["name"].partition(": ")[0] not in others]
        if not names:
            continue
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        who = f" by {applied_by}" if applied_by else ""
        found.append(Named(time_ms, f"configuration changed{who}: {', '.join(names[:2])}{more}"))
    return found


def _others(configuration: Configuration | None, model: str) -> frozenset[str]:
    """What changes that concern other models only are called."""
    names = configuration.models if configuration is not None else ()
    return frozenset(f"model {name}" for name in names if name != model)


def _versions(connection: Connection, model: str, span: tuple[int, int]) -> list[Named]:
    column = versions.c
    rows = connection.execute(
        select(versions).where(column.model == model, column.first_ms >= span[0], column.first_ms < span[1])
    )
    return [Named(row.first_ms, f"version {row.version} was seen for the first time") for row in rows]


def _safeguards(connection: Connection, model: str, span: tuple[int, int]) -> list[Named]:
    column = safeguards.c
    rows = connection.execute(
        select(safeguards).where(column.model == model, column.time_ms >= span[0], column.time_ms < span[1])
    )
    found = []
    for row in rows:
        done = "set" if row.active else "lifted"
        why = f": {row.reason}" if row.reason else ""
        found.append(Named(row.time_ms, f"safeguard {row.kind.replace('_', ' ')} {done}{why}"))
    return found
