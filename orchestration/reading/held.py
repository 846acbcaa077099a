"""Held decisions as pages and commands see them: which ones an incident is about, what became of them, where they lie.

Which decisions an answer would cover is asked here exactly as the release lane asks it (design.md, section 9): the incident
names the dedup_key, and the decision lies before `through`. What ended earlier, under the incident before, is not counted
again. Nothing here holds a decision's content.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, false, func, or_, select, tuple_

from agents.events import Position
from agents.people_events import IncidentData
from orchestration.reading.database import Database
from orchestration.reading.tables import held, held_causes, incident_keys, incidents, waiting

Places = Mapping[str, int]
"""`<topic>/<partition>` → an offset, as `through` has it."""


@dataclass(frozen=True, slots=True)
class HeldCounts:
    """How an incident's held decisions stand."""

    waiting: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    """Resolution → how many ended so under this incident."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.waiting + sum(self.ended.values())


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason that holds a decision, in words; untrusted text."""

    rule: str
    effect: str
    text: str


@dataclass(frozen=True, slots=True)
class HeldItem:
    """One held decision, without its content. Times in ms UTC."""

    decision: Position
    model: str | None
    version: str | None
    rules: tuple[str, ...]
    """Ids of the reasons that hold it."""
    held_ms: int | None
    verdict_offset: int | None
    resolution: str | None
    """Null while it waits."""
    effect: str | None
    ended_ms: int | None
    final_offset: int | None
    causationid: str | None
    """Of the final verdict: the ruling that ended the wait."""
    bytes_at: tuple[int, int] | None
    """Partition and offset on `held`, while it waits."""
    reasons: tuple[Reason, ...]
    """Rendered, while it waits."""

    @property
    def id(self) -> str:
        """`<topic>/<partition>/<offset>`."""
        return f"{self.decision.topic}/{self.decision.partition}/{self.decision.offset}"


@dataclass(frozen=True, slots=True)
class HeldPage:
    """Some of an incident's held decisions, in the order of their positions."""

    items: tuple[HeldItem, ...]
    counts: HeldCounts
    next: Position | None
    """Where the next page goes on; null: this was the last."""


def held_items(
    database: Database,
    incident: IncidentData,
    *,
    waits: bool | None = True,
    after: Position | None = None,
    limit: int = 50,
) -> HeldPage:
    """A page of the decisions that an incident is about: those that wait, those that ended, or (None) both."""
    with database.reading() as connection:
        scope = _scope(connection, incident, waits)
        if after is not None:
            scope = and_(scope, tuple_(*_PLACE) > tuple_(after.topic, after.partition, after.offset))
        places = connection.execute(select(*_PLACE).where(scope).distinct().order_by(*_PLACE).limit(limit + 1))
        found = [Position(topic=topic, partition=partition, offset=offset) for topic, partition, offset in places]
        return HeldPage(
            tuple(_items(connection, found[:limit])),
            _counts(connection, incident),
            found[limit - 1] if len(found) > limit else None,
        )


def sample(database: Database, incident: IncidentData, size: int, seed: int) -> tuple[HeldItem, ...]:
    """A random sample of the decisions that wait, each as likely as the others; the same for the same seed and rows."""
    with database.reading() as connection:
        scope = _scope(connection, incident, True)
        every = connection.execute(select(*_PLACE).where(scope).distinct().order_by(*_PLACE)).all()
        drawn = random.Random(seed).sample(range(len(every)), min(size, len(every)))
        chosen = [every[number] for number in sorted(drawn)]
        return tuple(_items(connection, [Position(topic=t, partition=p, offset=o) for t, p, o in chosen]))


def held_item(database: Database, decision: Position) -> HeldItem | None:
    """One decision that is or was held; None where it never was."""
    with database.reading() as connection:
        return next(iter(_items(connection, [decision])), None)


def incidents_of(database: Database, decision: Position) -> tuple[str, ...]:
    """Incidents that a held decision belongs to, newest first."""
    with database.reading() as connection:
        here = and_(
            held_causes.c.topic == decision.topic,
            held_causes.c.partition == decision.partition,
            held_causes.c.offset == decision.offset,
        )
        query = (
            select(incidents.c.data)
            .join(incident_keys, incident_keys.c.incident == incidents.c.id)
            .join(held_causes, held_causes.c.key == incident_keys.c.key)
            .where(here)
            .distinct()
        )
        known = [IncidentData.model_validate_json(data) for data in connection.scalars(query)]
        place = f"{decision.topic}/{decision.partition}"
        mine = []
        for one in known:
            end, start = one.through.get(place, 0), _before(connection, one).get(place, 0)
            if start <= decision.offset < end:
                mine.append(one)
        return tuple(one.incident for one in sorted(mine, key=lambda one: (-one.opened_ms, one.incident)))


def held_counts(connection: Connection, incident: IncidentData) -> HeldCounts:
    """How an incident's held decisions stand, in a transaction that is open."""
    return _counts(connection, incident)


def waiting_of(connection: Connection, incident: IncidentData) -> int:
    """How many held decisions an answer to an incident would cover now; cheaper than all of its counts."""
    if not incident.keys or not incident.through:
        return 0
    return _number(connection, _scope(connection, incident, True), len(incident.keys) > 1)


def waiting_by_model(connection: Connection) -> dict[tuple[str | None, str | None], int]:
    """Held decisions that wait, by model and version."""
    query = (
        select(held.c.model, held.c.version, func.count())
        .where(held.c.resolution.is_(None))
        .group_by(held.c.model, held.c.version)
    )
    return {(model, version): count for model, version, count in connection.execute(query)}


_PLACE = (held_causes.c.topic, held_causes.c.partition, held_causes.c.offset)


def _counts(connection: Connection, incident: IncidentData) -> HeldCounts:
    if not incident.keys or not incident.through:
        return HeldCounts()
    several = len(incident.keys) > 1  # one decision may be held by two of its causes
    waits = _number(connection, _scope(connection, incident, True), several)
    scope = _scope(connection, incident, False)
    rows = select(held_causes.c.resolution, *_PLACE).where(scope)
    distinct = (rows.distinct() if several else rows).subquery()
    ended = connection.execute(select(distinct.c.resolution, func.count()).group_by(distinct.c.resolution))
    return HeldCounts(waits, {resolution: count for resolution, count in ended if resolution is not None})


def _number(connection: Connection, scope: ColumnElement[bool], several: bool) -> int:
    rows: Select[Any] = select(*_PLACE).where(scope)
    return connection.scalar(select(func.count()).select_from((rows.distinct() if several else rows).subquery())) or 0


def _scope(connection: Connection, incident: IncidentData, waits: bool | None) -> ColumnElement[bool]:
    """The rows of `held_causes` that an incident is about."""
    if not incident.keys or not incident.through:
        return false()
    named = held_causes.c.key.in_(incident.keys)
    waiting_ones = and_(named, held_causes.c.resolution.is_(None), _between({}, incident.through))
    if waits:
        return waiting_ones
    began = _before(connection, incident)
    ended = and_(named, held_causes.c.resolution.is_not(None), _between(began, incident.through))
    return ended if waits is False else or_(waiting_ones, ended)


def _between(starts: Places, ends: Places) -> ColumnElement[bool]:
    spans = []
    for place, end in ends.items():
        topic, _, partition = place.rpartition("/")
        span = [held_causes.c.topic == topic, held_causes.c.partition == int(partition), held_causes.c.offset < end]
        if place in starts:
            span.append(held_causes.c.offset >= starts[place])
        spans.append(and_(*span))
    return or_(*spans)


def _before(connection: Connection, incident: IncidentData) -> Places:
    """Where the incident of the same group before this one ended."""
    if incident.previous is None:
        return {}
    data = connection.scalar(select(incidents.c.data).where(incidents.c.id == incident.previous))
    return {} if data is None else IncidentData.model_validate_json(data).through


def _items(connection: Connection, places: Sequence[Position]) -> list[HeldItem]:
    """In the order of the places; those that were never held are left out."""
    same = and_(
        waiting.c.topic == held.c.topic,
        waiting.c.partition == held.c.partition,
        waiting.c.offset == held.c.offset,
    )
    by_place: dict[tuple[str, int], list[int]] = {}
    for one in places:
        by_place.setdefault((one.topic, one.partition), []).append(one.offset)
    found: dict[tuple[str, int, int], HeldItem] = {}
    for (topic, partition), offsets in by_place.items():
        query = (
            select(held, waiting.c.held_partition, waiting.c.held_offset, waiting.c.reasons)
            .outerjoin(waiting, same)
            .where(held.c.topic == topic, held.c.partition == partition, held.c.offset.in_(offsets))
        )
        for row in connection.execute(query).mappings():
            found[topic, partition, row["offset"]] = _item(row)
    keys = [(one.topic, one.partition, one.offset) for one in places]
    return [found[key] for key in keys if key in found]


def _item(row: RowMapping) -> HeldItem:
    lies = row["held_partition"] is not None
    return HeldItem(
        decision=Position(topic=row["topic"], partition=row["partition"], offset=row["offset"]),
        rules=tuple(row["rules"] or ()),
        bytes_at=(row["held_partition"], row["held_offset"]) if lies else None,
        reasons=tuple(Reason(**one) for one in row["reasons"] or ()),
        **{
            name: row[name]
            for name in (
                "model",
                "version",
                "held_ms",
                "verdict_offset",
                "resolution",
                "effect",
                "ended_ms",
                "final_offset",
                "causationid",
            )
        },
    )
