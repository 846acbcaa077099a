"""What pages and commands ask of incidents: the queue and its counts.

Every function reads one moment's rows and returns frozen values. Who may see what is the caller's business: `Filters.teams`
narrows to teams, and nothing here knows a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, case, func, or_, select

from agents.events import Severity
from agents.people_events import IncidentData
from orchestration.reading.database import Database
from orchestration.reading.held import waiting_of
from orchestration.reading.tables import held, incident_people, incident_teams, incidents

OPEN = ("triggered", "acknowledged")
RANKS = {severity.value: rank for rank, severity in enumerate(Severity)}
"""Severity → how bad, 0 to 3."""
PAGE = 50


@dataclass(frozen=True, slots=True)
class Filters:
    """Which incidents; what is not given does not narrow."""

    status: tuple[str, ...] = OPEN
    """Empty: all."""
    team: str | None = None
    model: str | None = None
    severity: str | None = None
    """This severe or worse."""
    person: str | None = None
    """Those that are with this person."""
    text: str | None = None
    """Words of title, reason, cause, model, version, segment or id; all must occur."""
    in_reasons: bool = True
    """Whether words may be those of a reason, which shows values of a decision: finding one tells that it stands there."""
    teams: frozenset[str] | None = None
    """Only incidents of these teams, and those of none; null: all."""
    inhibited: bool = False
    """Also open ones that a wider incident speaks for."""
    limit: int = PAGE
    offset: int = 0
    asked: str | None = None
    """With `teams`: also incidents that are with this person, and proposals, which are everybody's."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the queue. Times in ms UTC."""

    id: str
    revision: int
    status: str
    resolution: str | None
    severity: str
    title: str
    reason: str
    cause: str
    model: str | None
    version: str | None
    segment: str | None
    effect: str | None
    team: str | None
    chain: str
    count: int
    held: int
    """Decisions that its flags counted as held, ever."""
    waiting: int
    """Held decisions that an answer would cover now."""
    opened_ms: int
    first_ms: int
    last_ms: int
    acknowledged_ms: int | None
    acknowledged_by: str | None
    resolved_ms: int | None
    deadline_ms: int | None
    statutory_ms: int | None
    due_ms: int | None
    """The earlier of the two deadlines."""
    previous: str | None
    inhibited_by: str | None
    silenced_by: str | None
    changed_ms: int
    shown: str
    """What an answer to this revision is bound to."""
    people: tuple[str, ...]
    """Whom it is with."""
    teams: tuple[str, ...]
    """Its team and those that were added."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A page of the queue."""

    items: tuple[Listed, ...]
    total: int
    """How many match in all."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is open, for headings and badges."""

    open: int
    triggered: int
    acknowledged: int
    critical: int
    overdue: int
    mine: int
    """With `filters.person`."""
    waiting: int
    """Held decisions without an answer, whatever holds them."""


def queue(database: Database, filters: Filters | None = None) -> Queue:
    """Incidents that match: open ones by deadline, then severity, then age; resolved ones after them, newest first."""
    filters = filters or Filters()
    column = incidents.c
    with database.reading() as connection:
        total = connection.scalar(_narrowed(select(func.count()).select_from(incidents), filters)) or 0
        rows = connection.execute(
            _narrowed(select(incidents), filters)
            .order_by(
                case((column.status == "resolved", 1), else_=0),
                case((column.status == "resolved", -column.resolved_ms), else_=0),
                case((column.due_ms.is_(None), 1), else_=0),
                column.due_ms,
                column.rank.desc(),
                column.opened_ms,
                column.id,
            )
            .limit(filters.limit)
            .offset(filters.offset)
        )
        return Queue(listed(connection, rows.mappings().all()), total)


def counts(database: Database, now_ms: int, filters: Filters | None = None) -> Counts:
    """Of open incidents that match, whoever they are with."""
    given = filters or Filters()
    wide = replace(given, status=OPEN, person=None)
    column = incidents.c

    def number(condition: Any) -> Any:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    mine = column.id.in_(_of(incident_people, "person", [given.person or ""]))
    with database.reading() as connection:
        query = select(
            func.count(),
            number(column.status == "triggered"),
            number(column.status == "acknowledged"),
            number(column.rank == RANKS["critical"]),
            number(column.due_ms < now_ms),
            number(mine),
        )
        found = connection.execute(_narrowed(query.select_from(incidents), wide)).one()
        waits = connection.scalar(select(func.count()).select_from(held).where(held.c.resolution.is_(None))) or 0
        every, triggered, acknowledged, critical, overdue, with_one = (int(value) for value in found)
        return Counts(every, triggered, acknowledged, critical, overdue, with_one, waits)


def _narrowed(query: Select[Any], filters: Filters) -> Select[Any]:
    column = incidents.c
    if filters.status:
        query = query.where(column.status.in_(filters.status))
    if filters.model is not None:
        query = query.where(column.model == filters.model)
    if filters.severity is not None:
        query = query.where(column.rank >= RANKS[filters.severity])
    if filters.team is not None:
        query = query.where(column.id.in_(_of(incident_teams, "team", [filters.team])))
    if filters.person is not None:
        query = query.where(column.id.in_(_of(incident_people, "person", [filters.person])))
    if filters.teams is not None:
        theirs = column.id.in_(_of(incident_teams, "team", sorted(filters.teams)))
        seen: list[Any] = [theirs, ~column.id.in_(select(incident_teams.c.incident))]
        if filters.asked is not None:
            asked = column.id.in_(_of(incident_people, "person", [filters.asked]))
            seen += [asked, column.cause.startswith("change/", autoescape=True)]
        query = query.where(or_(*seen))
    if not filters.inhibited:
        query = query.where(or_(column.inhibited_by.is_(None), column.status == "resolved"))
    for word in (filters.text or "").lower().split():
        places = [column.title, column.cause, column.segment, column.id, column.model, column.version]
        places += [column.reason] if filters.in_reasons else []
        query = query.where(or_(*(func.lower(place).contains(word, autoescape=True) for place in places)))
    return query


def _of(table: Table, name: str, values: Sequence[str]) -> Select[Any]:
    return select(table.c.incident).where(table.c[name].in_(values))


_PLAIN = [one.name for one in fields(Listed) if one.name not in ("people", "teams", "waiting")]


def listed(connection: Connection, rows: Sequence[RowMapping]) -> tuple[Listed, ...]:
    """Lines of the queue from rows of `incidents`, in a transaction that is open."""
    ids = [row["id"] for row in rows]
    people = _by_incident(connection, incident_people, "person", ids)
    teams = _by_incident(connection, incident_teams, "team", ids)
    return tuple(
        Listed(
            **{name: row[name] for name in _PLAIN},
            waiting=_waiting(connection, row),
            people=people.get(row["id"], ()),
            teams=teams.get(row["id"], ()),
        )
        for row in rows
    )


def _waiting(connection: Connection, row: RowMapping) -> int:
    if not row["held"]:
        return 0
    return waiting_of(connection, IncidentData.model_validate_json(row["data"]))


def _by_incident(connection: Connection, table: Table, name: str, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    query = select(table.c.incident, table.c[name]).where(table.c.incident.in_(ids)).order_by(table.c[name])
    for incident, value in connection.execute(query):
        found[incident] = (*found.get(incident, ()), value)
    return found
