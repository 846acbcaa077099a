"""A week of one model on one page: quiet or not, gaps, what waits, what people found, what changed.

Promise to whoever gets it once a week: it is short, says first whether anything needs them, and says nothing that the
read model does not hold. Counts come from hours of verdicts; the week before stands beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from agents.configuration import Configuration
from agents.events import SignalData
from orchestration.reading.database import Database
from orchestration.reading.overview import Flowed, current, flowed, history, models, signals_of
from orchestration.reading.queries import OPEN
from orchestration.reading.tables import held, incidents, rulings, safeguards, versions

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
USUAL = 5
"""An hour without a decision is a gap where the same hour a week before had at least so many."""
MOST = 5
"""Incidents and changes that are named; the others are counted."""
LOUD = ("warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class Gap:
    """Hours in which nothing came, though it usually does."""

    start_ms: int
    end_ms: int
    usual: int
    """Decisions in the same hours a week before."""


@dataclass(frozen=True, slots=True)
class Named:
    """Something with a moment and a sentence."""

    time_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Digest:
    """A week of a model."""

    model: str
    start_ms: int
    end_ms: int
    decisions: int
    before: int
    """In the week before."""
    effects: Mapping[str, int]
    """allow, log, hold, block at the gate; released and withheld by people or deadlines."""
    gaps: tuple[Gap, ...]
    opened: Mapping[str, int]
    """Severity → incidents opened in the week."""
    incidents: tuple[Named, ...]
    """Open ones and this week's, the worst first."""
    left_out: int
    waiting: int
    oldest_ms: int | None
    expired: int
    """Held decisions that a deadline ended in the week, because nobody answered."""
    rulings: Mapping[str, int]
    """Resolution → rulings that people made in the week."""
    alarms: tuple[SignalData, ...]
    warnings: tuple[SignalData, ...]
    short: int
    """Signals that have too few decisions to say anything."""
    changes: tuple[Named, ...]
    changes_left_out: int

    @property
    def quiet(self) -> bool:
        """Whether nothing needs anybody."""
        loud = sum(self.opened.get(severity, 0) for severity in LOUD)
        return not (self.alarms or self.gaps or self.expired or loud or self.waiting or self.incidents)


def weekly(database: Database, model: str, now_ms: int, days: int = 7) -> Digest:
    """The digest of the `days` before now, by the hour."""
    end = now_ms - now_ms % HOUR_MS + HOUR_MS
    start = end - days * DAY_MS
    now, then = (
        flowed(database, since, since + days * DAY_MS, HOUR_MS, model) for since in (start, start - days * DAY_MS)
    )
    effects = Counter[str]()
    for hour in now:
        effects.update(hour.counts)
    said = [one.data for one in signals_of(database, model)]
    configuration_changes = _configured(database, model, start)
    with database.reading() as connection:
        named, left_out, opened = _incidents(connection, model, start)
        waiting, oldest = _waiting(connection, model)
        changes = sorted(
            [*configuration_changes, *_versions(connection, model, start), *_safeguards(connection, model, start)],
            key=lambda one: one.time_ms,
        )
        return Digest(
            model=model,
            start_ms=start,
            end_ms=end,
            decisions=_came(now),
            before=_came(then),
            effects=dict(effects),
            gaps=_gaps(now, then, now_ms, _first(connection, model)),
            opened=opened,
            incidents=named,
            left_out=left_out,
            waiting=waiting,
            oldest_ms=oldest,
            expired=_expired(connection, model, start),
            rulings=_rulings(connection, model, start),
            alarms=tuple(one for one in said if one.status.value == "alarm"),
            warnings=tuple(one for one in said if one.status.value == "warn"),
            short=sum(one.status.value == "insufficient" for one in said),
            changes=tuple(changes[-MOST:]),
            changes_left_out=max(0, len(changes) - MOST),
        )


def known_models(database: Database, now_ms: int) -> list[str]:
    """Models that were seen or are declared, by name."""
    return sorted({one.model for one in models(database, now_ms)})


def _came(hours: Sequence[Flowed]) -> int:
    return sum(hour.counts.get(effect, 0) for hour in hours for effect in ("allow", "log", "hold", "block"))


def _gaps(now: Sequence[Flowed], then: Sequence[Flowed], now_ms: int, first_ms: int | None) -> tuple[Gap, ...]:
    """Silent hours that were not silent a week before, neighbours as one."""
    found: list[Gap] = []
    for here, before in zip(now, then, strict=True):
        usual, end = _came([before]), here.start_ms + HOUR_MS
        if first_ms is None or end > now_ms or usual < USUAL or _came([here]):
            continue
        if found and found[-1].end_ms == here.start_ms:
            found[-1] = Gap(found[-1].start_ms, end, found[-1].usual + usual)
        else:
            found.append(Gap(here.start_ms, end, usual))
    return tuple(found)


def _first(connection: Connection, model: str) -> int | None:
    first: int | None = connection.scalar(select(func.min(versions.c.first_ms)).where(versions.c.model == model))
    return first


def _incidents(connection: Connection, model: str, start: int) -> tuple[tuple[Named, ...], int, dict[str, int]]:
    column = incidents.c
    query = select(incidents).where(
        column.model == model, (column.opened_ms >= start) | column.status.in_(OPEN), column.inhibited_by.is_(None)
    )
    rows = list(connection.execute(query.order_by(column.rank.desc(), column.opened_ms)))
    opened = Counter(row.severity for row in rows if row.opened_ms >= start)
    named = [
        Named(row.opened_ms, f"{row.title} ({row.severity}, {row.resolution or row.status})")
        for row in rows
        if row.severity in LOUD
    ]
    return tuple(named[:MOST]), max(0, len(named) - MOST), dict(opened)


def _waiting(connection: Connection, model: str) -> tuple[int, int | None]:
    query = select(func.count(), func.min(held.c.held_ms)).where(held.c.model == model, held.c.resolution.is_(None))
    count, oldest = connection.execute(query).one()
    return int(count), oldest


def _expired(connection: Connection, model: str, start: int) -> int:
    column = held.c
    query = select(func.count()).select_from(held)
    return int(
        connection.scalar(query.where(column.model == model, column.resolution == "expired", column.ended_ms >= start))
        or 0
    )


def _rulings(connection: Connection, model: str, start: int) -> dict[str, int]:
    query = (
        select(rulings.c.resolution, func.count())
        .join(incidents, incidents.c.id == rulings.c.incident)
        .where(incidents.c.model == model, rulings.c.time_ms >= start, rulings.c.kind.is_not(None))
        .group_by(rulings.c.resolution)
    )
    return {resolution: int(count) for resolution, count in connection.execute(query)}


def _configured(database: Database, model: str, start: int) -> list[Named]:
    """Configurations of the week that changed something of this model or of all."""
    with database.reading() as connection:
        configuration = current(connection)
    others = _others(configuration, model)
    found = []
    for one in history(database):
        names = [change.name for change in one.changed if not any(change.name.startswith(other) for other in others)]
        if one.time_ms < start or not names:
            continue
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        who = f" by {one.applied_by}" if one.applied_by else ""
        found.append(Named(one.time_ms, f"configuration changed{who}: {', '.join(names[:2])}{more}"))
    return found


def _others(configuration: Configuration | None, model: str) -> tuple[str, ...]:
    """How changes that concern other models only are called."""
    if configuration is None:
        return ()
    return tuple(f"model {name}" for name in configuration.models if name != model and not name.startswith(model))


def _versions(connection: Connection, model: str, start: int) -> list[Named]:
    rows = connection.execute(select(versions).where(versions.c.model == model, versions.c.first_ms >= start))
    return [Named(row.first_ms, f"version {row.version} was seen for the first time") for row in rows]


def _safeguards(connection: Connection, model: str, start: int) -> list[Named]:
    rows = connection.execute(select(safeguards).where(safeguards.c.model == model, safeguards.c.time_ms >= start))
    told = []
    for row in rows:
        on = "set" if row.active else "lifted"
        told.append(
            Named(
                row.time_ms, f"safeguard {row.kind.replace('_', ' ')} {on}" + (f": {row.reason}" if row.reason else "")
            )
        )
    return told
