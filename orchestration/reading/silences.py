"""Silences as people set and ended them: whether a silence was refused, was ended early, is over, or stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select

from agents.people_events import Matchers, ReviewData
from orchestration.reading.database import Database
from orchestration.reading.tables import refusals, reviews

State = Literal["refused", "ended", "over", "to come", "stands"]


@dataclass(frozen=True, slots=True)
class Silenced:
    """A silence; its id is the review's that set it. Times in ms UTC."""

    id: str
    by: str
    matchers: Matchers
    starts_ms: int
    ends_ms: int
    comment: str
    set_ms: int
    refused: str | None
    """Why it takes no effect."""
    ended_ms: int | None
    """When somebody ended it before its time."""
    ended_by: str | None

    def stands(self, now_ms: int) -> bool:
        """Whether it mutes, or will."""
        return self.state(now_ms) in ("stands", "to come")

    def state(self, now_ms: int) -> State:
        """What became of it."""
        if self.refused is not None:
            return "refused"
        if self.ended_ms is not None:
            return "ended"
        if now_ms >= self.ends_ms:
            return "over"
        return "stands" if now_ms >= self.starts_ms else "to come"


def silences(database: Database) -> tuple[Silenced, ...]:
    """Every silence, newest first. One that nobody refused counts, also before the lane has taken it up."""
    column, against = reviews.c, refusals.c
    query = (
        select(column.id, column.action, column.person, column.time_ms, column.data, against.reason)
        .outerjoin(refusals, (against.review_partition == column.partition) & (against.review_offset == column.offset))
        .where(column.action.in_(("silence", "unsilence")))
        .order_by(column.partition, column.offset)
    )
    made: dict[str, Silenced] = {}
    with database.reading() as connection:
        for name, action, person, time_ms, text, refused in connection.execute(query):
            data = ReviewData.model_validate_json(text)
            if action == "silence" and data.silence is not None:
                span = data.silence
                comment = span.comment or data.reason
                made.setdefault(
                    name,
                    Silenced(
                        name, person, span.matchers, span.starts_ms, span.ends_ms, comment, time_ms, refused, None, None
                    ),
                )
            elif refused is None and data.silence_id in made:
                one = made[data.silence_id]
                if one.ended_ms is None:
                    made[data.silence_id] = _ended(one, time_ms, person)
    return tuple(reversed(made.values()))


def _ended(one: Silenced, time_ms: int, person: str) -> Silenced:
    return Silenced(
        one.id,
        one.by,
        one.matchers,
        one.starts_ms,
        one.ends_ms,
        one.comment,
        one.set_ms,
        one.refused,
        time_ms,
        person,
    )
