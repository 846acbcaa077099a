"""Records of what people do, and are told, as rows: incidents, reviews, rulings and refusals, summaries, messages.

Each function takes one record and returns what it changes; it raises ValueError where the record breaks the contract. None
looks at other records, so the rows are the same however records are cut into batches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agents.envelope import attributes, structured
from agents.people_events import MATERIAL, Incident, IncidentData, Refusal, Review, Ruling, Status, shown_digest
from agents.records import Record, position
from agents.told_events import Delivery, Notification, TriageEvent
from orchestration.reading import tables
from orchestration.reading.queries import RANKS
from orchestration.reading.writing import Put, Replace, Row, Step

SAME = (
    "revision",
    "status",
    "resolution",
    "severity",
    "title",
    "reason",
    "cause",
    "model",
    "version",
    "segment",
    "effect",
    "team",
    "chain",
    "count",
    "held",
    "opened_ms",
    "first_ms",
    "last_ms",
    "acknowledged_ms",
    "acknowledged_by",
    "resolved_ms",
    "deadline_ms",
    "statutory_ms",
    "previous",
    "inhibited_by",
    "silenced_by",
)
"""Columns of `incidents` that are fields of the event."""


def of_incident(record: Record) -> Iterator[Step]:
    """An incident as it stands, and a line of its timeline."""
    event = Incident.model_validate_json(record.value or b"")
    data, time_ms, shown = event.data, _moment(event.time, record), shown_digest(event.data)
    plain = data.model_dump(mode="json", include={*SAME, *MATERIAL})
    due = [one for one in (data.deadline_ms, data.statutory_ms) if one is not None]
    yield Put(
        tables.incidents,
        {
            "id": data.incident,
            **{name: plain[name] for name in SAME},
            "rank": RANKS[data.severity.value],
            "due_ms": min(due, default=None),
            "changed_ms": time_ms,
            "shown": shown,
            "data": _text(data),
        },
    )
    owner = ("incident", data.incident)
    teams = dict.fromkeys((*((data.team,) if data.team else ()), *data.teams))
    yield Replace(tables.incident_people, owner, tuple({"person": one} for one in dict.fromkeys(data.with_)))
    yield Replace(tables.incident_teams, owner, tuple({"team": one} for one in teams))
    yield Replace(tables.incident_keys, owner, tuple({"key": one} for one in dict.fromkeys(data.keys)))
    grew = set(data.changes or (data.change,)) == {"grew"}
    slot = f"{data.incident}/{f'at {time_ms // tables.GREW_MS}' if grew else data.revision}"
    yield Replace(tables.incident_changes, ("slot", slot), (_line(data, time_ms),))
    material = {name: plain[name] for name in MATERIAL}
    material["status"] = "resolved" if data.status is Status.RESOLVED else "open"
    yield Put(tables.incident_shown, {"incident": data.incident, "shown": shown, "material": material})


def _line(data: IncidentData, time_ms: int) -> Row:
    return {
        "incident": data.incident,
        "revision": data.revision,
        "time_ms": time_ms,
        "change": data.change,
        "changes": list(data.changes or (data.change,)),
        "said": data.said,
        "by": data.by,
        "status": data.status.value,
        "severity": data.severity.value,
        "count": data.count,
        "held": data.held,
        "late_ms": data.late_ms,
    }


def of_review(record: Record) -> Iterator[Step]:
    """A person's answer, whatever becomes of it; structured or binary CloudEvent."""
    given, value = attributes(record.headers), record.value or b""
    event = Review.model_validate_json(value if given is None else structured(given, value))
    data = event.data
    yield Put(
        tables.reviews,
        {
            "partition": record.partition,
            "offset": record.offset,
            "position": position(record),
            "id": event.id,
            "time_ms": record.timestamp,
            "action": data.action,
            "person": data.person,
            "incident": data.incident,
            "kind": data.kind,
            "items": None if data.items is None else len(data.items),
            "opened": len(data.opened),
            "shown_ms": data.shown_ms,
            "reason": data.reason,
            "console": data.login is not None,
            "agrees": data.agrees,
            "data": _text(data),
        },
    )


def of_ruling(record: Record) -> Iterator[Step]:
    """A ruling with the reviews that it rests on, or a refusal."""
    value = record.value or b""
    if json.loads(value).get("type") == "governance.refusal.v1":
        yield from _of_refusal(Refusal.model_validate_json(value), record)
        return
    event = Ruling.model_validate_json(value)
    data = event.data
    yield Put(
        tables.rulings,
        {
            "id": event.id,
            "offset": record.offset,
            "time_ms": _moment(event.time, record),
            "incident": data.incident,
            "resolution": data.resolution.value,
            "effect": data.effect.value,
            "kind": data.kind,
            "items": None if data.items is None else len(data.items),
            "opened": data.opened,
            "shown_ms": data.shown_ms,
            "reason": data.reason,
            "people": list(data.people),
            "late_ms": data.late_ms,
            "data": _text(data),
        },
    )
    rests = tuple({"review": one} for one in dict.fromkeys(data.reviews))
    yield Replace(tables.ruling_reviews, ("ruling", event.id), rests)


def _of_refusal(event: Refusal, record: Record) -> Iterator[Step]:
    data = event.data
    yield Put(
        tables.refusals,
        {
            "offset": record.offset,
            "time_ms": _moment(event.time, record),
            "review_partition": data.review.partition,
            "review_offset": data.review.offset,
            "id": data.id,
            "incident": data.incident,
            "person": data.person,
            "reason": data.reason,
            "detail": data.detail,
        },
    )


def of_triage(record: Record) -> Iterator[Step]:
    """A summary; the digest is that of the record's value."""
    value = record.value or b""
    event = TriageEvent.model_validate_json(value)
    data = event.data
    yield Put(
        tables.triage,
        {
            "incident": data.incident,
            "revision": data.revision,
            "by": data.by,
            "offset": record.offset,
            "time_ms": _moment(event.time, record),
            "digest": f"sha256:{hashlib.sha256(value).hexdigest()}",
            "cause": data.cause,
            "severity": data.severity.value,
            "action": data.action,
            "instead": data.instead,
            "data": _text(data),
        },
    )


def of_notification(record: Record) -> Iterator[Step]:
    """A message to be sent, or what became of one."""
    value = record.value or b""
    if json.loads(value).get("type") == "governance.delivery.v1":
        yield from _of_delivery(Delivery.model_validate_json(value), record)
        return
    event = Notification.model_validate_json(value)
    data = event.data
    yield Put(
        tables.notifications,
        {
            "id": event.id,
            "offset": record.offset,
            "time_ms": _moment(event.time, record),
            "incident": data.incident,
            "kind": data.kind,
            "channel": data.channel,
            "to": list(data.to),
            "team": data.team,
            "severity": data.severity.value,
            "title": data.title,
            "dedup": data.dedup,
            "deadline_ms": data.deadline_ms,
        },
    )


def _of_delivery(event: Delivery, record: Record) -> Iterator[Step]:
    data = event.data
    yield Put(
        tables.deliveries,
        {
            "notification": data.notification,
            "offset": record.offset,
            "time_ms": _moment(event.time, record),
            "channel": data.channel,
            "outcome": data.outcome,
            "attempts": data.attempts,
            "detail": data.detail,
            "took_ms": data.took_ms,
        },
    )


def _moment(time: datetime | None, record: Record) -> int:
    """When it was said: the lane's own word, else the broker's."""
    return record.timestamp if time is None else round(time.timestamp() * 1000)


def _text(data: Any) -> str:
    text: str = data.model_dump_json(by_alias=True, exclude_none=True)
    return text
