"""One incident with all that belongs to it: what is said of it, its timeline, its answers, messages, signal and relatives.

Promise: everything is of one moment of the projection, and an answer's binding (`shown`) is that of the incident beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

from agents.errors import Misconfigured
from agents.events import SignalData
from agents.people_events import IncidentData, RulingData
from agents.policy.surroundings import key_of
from agents.told_events import Similar, TriageData
from orchestration.reading.database import Database
from orchestration.reading.held import HeldCounts, held_counts
from orchestration.reading.queries import Listed, listed
from orchestration.reading.tables import (
    deliveries,
    incident_changes,
    incident_shown,
    incidents,
    notifications,
    refusals,
    reviews,
    ruling_reviews,
    rulings,
    signal_points,
    signals,
    triage,
)


@dataclass(frozen=True, slots=True)
class Changed:
    """A line of the timeline."""

    revision: int
    time_ms: int
    change: str
    changes: tuple[str, ...]
    said: str
    by: str | None
    """The person; null: the agent did."""
    status: str
    severity: str
    count: int
    held: int
    late_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A review, and what became of it."""

    position: str
    """`<topic>/<partition>/<offset>` on `reviews`."""
    id: str
    time_ms: int
    action: str
    person: str
    kind: str | None
    items: int | None
    opened: int
    shown_ms: float
    reason: str
    console: bool
    """Whether it came through a console's login; else it was signed with a key of the person's own."""
    ruling: str | None
    """The ruling that rests on it."""
    refused: str | None
    """Why it takes no effect, as a word; null: nothing speaks against it."""
    detail: str | None
    """The same as a sentence."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """A ruling."""

    id: str
    time_ms: int
    resolution: str
    effect: str
    kind: str | None
    """Null where a deadline ruled."""
    opened: int
    shown_ms: float
    reason: str
    people: tuple[str, ...]
    late_ms: int
    data: RulingData


@dataclass(frozen=True, slots=True)
class Message:
    """A notification and the last word on its delivery."""

    id: str
    time_ms: int
    kind: str
    channel: str
    to: tuple[str, ...]
    team: str | None
    title: str
    outcome: str | None
    """Null where nothing became of it yet."""
    attempts: int
    detail: str
    delivered_ms: int | None


@dataclass(frozen=True, slots=True)
class Point:
    """What a monitor said at some time."""

    time_ms: int
    status: str
    estimate: float | None
    lower: float | None
    upper: float | None
    n: int | None
    e_value: float | None
    limit: float | None


@dataclass(frozen=True, slots=True)
class Watched:
    """The signal an incident is about, with its history, oldest first; `data` is null where it was withdrawn."""

    key: str
    data: SignalData | None
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Incident:
    """Everything about one incident."""

    line: Listed
    data: IncidentData
    shown: str
    timeline: tuple[Changed, ...]
    """Oldest first."""
    triage: TriageData | None
    """The summary that counts: the one that the incident names, else the newest one of a model, else the newest."""
    deterministic: TriageData | None
    """The newest deterministic summary: its facts are there even where a model's words count."""
    similar: tuple[tuple[Similar, Listed | None], ...]
    held: HeldCounts
    answers: tuple[Answer, ...]
    rulings: tuple[Ruled, ...]
    messages: tuple[Message, ...]
    signal: Watched | None
    previous: Listed | None
    """The incident of the same group before this one."""
    later: tuple[Listed, ...]
    """Incidents of the same group after this one."""
    inhibits: tuple[Listed, ...]
    """Incidents that this one speaks for."""


def incident(database: Database, name: str) -> Incident:
    """The incident of this id, or the only one whose id begins so. Raises Misconfigured where there is none, or several."""
    with database.reading() as connection:
        row = connection.execute(select(incidents).where(incidents.c.id == _named(connection, name))).mappings().one()
        data = IncidentData.model_validate_json(row["data"])
        said = _triage(connection, data)
        deterministic = next((one for _, one in said if one.by == "deterministic"), None)
        chosen = _counting(data, said)
        likely = next((one.similar for one in (chosen, deterministic) if one is not None and one.similar), ())
        known = {one.id: one for one in _lines(connection, [one.incident for one in likely])}
        previous = _lines(connection, [data.previous] if data.previous else [])
        return Incident(
            line=listed(connection, [row])[0],
            data=data,
            shown=row["shown"],
            timeline=_timeline(connection, data.incident),
            triage=chosen,
            deterministic=deterministic,
            similar=tuple((one, known.get(one.incident)) for one in likely),
            held=held_counts(connection, data),
            answers=_answers(connection, reviews.c.incident == data.incident),
            rulings=_rulings(connection, data.incident),
            messages=_messages(connection, data.incident),
            signal=_watched(connection, data),
            previous=previous[0] if previous else None,
            later=_where(connection, incidents.c.previous == data.incident),
            inhibits=_where(connection, incidents.c.inhibited_by == data.incident),
        )


def changed_since(database: Database, name: str, shown: str) -> list[tuple[str, Any, Any]] | None:
    """What an answer rests on and is different from what was shown: (field, then, now). None where that was never shown."""
    with database.reading() as connection:
        column = incident_shown.c
        of_it = select(column.material).where(column.incident == name)
        then = connection.scalar(of_it.where(column.shown == shown))
        now = connection.scalar(
            of_it.join(incidents, incidents.c.id == column.incident).where(column.shown == incidents.c.shown)
        )
        if then is None or now is None:
            return None
        return [(field, then.get(field), value) for field, value in now.items() if then.get(field) != value]


def answers_of(database: Database, *, action: str | None = None, person: str | None = None) -> tuple[Answer, ...]:
    """Reviews of an action or a person, newest first."""
    column = reviews.c
    given = [column.action == action] if action is not None else []
    given += [column.person == person] if person is not None else []
    with database.reading() as connection:
        return tuple(reversed(_answers(connection, *given)))


def _named(connection: Connection, name: str) -> str:
    exact = connection.scalar(select(incidents.c.id).where(incidents.c.id == name))
    if exact is not None:
        return str(exact)
    near = connection.scalars(
        select(incidents.c.id).where(incidents.c.id.startswith(name, autoescape=True)).order_by(incidents.c.id).limit(6)
    ).all()
    if len(near) == 1 and name:
        return str(near[0])
    if near and name:
        raise Misconfigured(f"{name!r} begins several incidents: {', '.join(near)}; give more of it")
    raise Misconfigured(f"there is no incident {name!r}; `govern incidents list --all` shows them")


def _lines(connection: Connection, ids: Sequence[str]) -> tuple[Listed, ...]:
    return _where(connection, incidents.c.id.in_(ids)) if ids else ()


def _where(connection: Connection, condition: Any) -> tuple[Listed, ...]:
    query = select(incidents).where(condition).order_by(incidents.c.opened_ms.desc(), incidents.c.id)
    return listed(connection, connection.execute(query).mappings().all())


def _timeline(connection: Connection, name: str) -> tuple[Changed, ...]:
    column = incident_changes.c
    query = select(*(column[field] for field in Changed.__dataclass_fields__))
    rows = connection.execute(query.where(column.incident == name).order_by(column.revision)).mappings()
    return tuple(Changed(**{**row, "changes": tuple(row["changes"])}) for row in rows)


def _triage(connection: Connection, data: IncidentData) -> list[tuple[str, TriageData]]:
    """(digest of the record, summary), newest first."""
    query = select(triage.c.digest, triage.c.data).where(triage.c.incident == data.incident)
    rows = connection.execute(query.order_by(triage.c.offset.desc()))
    return [(digest, TriageData.model_validate_json(text)) for digest, text in rows]


def _counting(data: IncidentData, said: Sequence[tuple[str, TriageData]]) -> TriageData | None:
    named = [one for digest, one in said if digest == data.triage]
    models = [one for _, one in said if one.by == "model"]
    return next(iter([*named, *models, *(one for _, one in said)]), None)


def _answers(connection: Connection, *conditions: Any) -> tuple[Answer, ...]:
    against = (
        select(refusals.c.review_partition, refusals.c.review_offset, refusals.c.reason, refusals.c.detail)
        .order_by(refusals.c.offset)
        .subquery()
    )
    query: Select[Any] = (
        select(reviews, against.c.reason.label("refused"), against.c.detail)
        .outerjoin(
            against,
            (against.c.review_partition == reviews.c.partition) & (against.c.review_offset == reviews.c.offset),
        )
        .where(*conditions)
        .order_by(reviews.c.offset)
    )
    rows = connection.execute(query).mappings().all()
    positions = [row["position"] for row in rows]
    rests = select(ruling_reviews.c.review, ruling_reviews.c.ruling).where(ruling_reviews.c.review.in_(positions))
    ruled: dict[str, str] = {str(review): str(ruling) for review, ruling in connection.execute(rests)}
    plain = [name for name in Answer.__dataclass_fields__ if name != "ruling"]
    return tuple(Answer(**{name: row[name] for name in plain}, ruling=ruled.get(row["position"])) for row in rows)


def _rulings(connection: Connection, name: str) -> tuple[Ruled, ...]:
    rows = connection.execute(select(rulings).where(rulings.c.incident == name).order_by(rulings.c.offset)).mappings()
    plain = [name for name in Ruled.__dataclass_fields__ if name not in ("people", "data")]
    return tuple(
        Ruled(
            **{name: row[name] for name in plain},
            people=tuple(row["people"]),
            data=RulingData.model_validate_json(row["data"]),
        )
        for row in rows
    )


def _messages(connection: Connection, name: str) -> tuple[Message, ...]:
    query = select(notifications).where(notifications.c.incident == name).order_by(notifications.c.offset)
    rows = connection.execute(query).mappings().all()
    said = select(deliveries).where(deliveries.c.notification.in_([row["id"] for row in rows]))
    last = {row["notification"]: row for row in connection.execute(said.order_by(deliveries.c.offset)).mappings()}
    found = []
    for row in rows:
        became = last.get(row["id"])
        plain = {field: row[field] for field in ("id", "time_ms", "kind", "channel", "team", "title")}
        found.append(
            Message(
                **plain,
                to=tuple(row["to"]),
                outcome=became["outcome"] if became else None,
                attempts=became["attempts"] if became else 0,
                detail=became["detail"] if became else "",
                delivered_ms=became["time_ms"] if became else None,
            )
        )
    return tuple(found)


def _watched(connection: Connection, data: IncidentData) -> Watched | None:
    if data.signal is None:
        return None
    one = data.signal
    key = key_of(one.model, one.version, one.monitor, one.segment, one.group)
    return Watched(key, _signal(connection, key), points(connection, key))


def _signal(connection: Connection, key: str) -> SignalData | None:
    found = connection.scalar(select(signals.c.data).where(signals.c.key == key))
    return None if found is None else SignalData.model_validate_json(found)


def points(connection: Connection, key: str) -> tuple[Point, ...]:
    """A signal's history, oldest first: the newest part in full, older parts in wider stretches."""
    column = signal_points.c
    query = select(column.width_ms, *(column[field] for field in Point.__dataclass_fields__)).where(column.key == key)
    by_width: dict[int, list[Point]] = {}
    for width, *values in connection.execute(query.order_by(column.width_ms, column.stretch)):
        by_width.setdefault(width, []).append(Point(*values))
    found: list[Point] = []
    for some in by_width.values():
        found = [one for one in some if not found or one.time_ms < found[0].time_ms] + found
    return tuple(found)
