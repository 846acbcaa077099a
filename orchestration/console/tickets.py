"""Page tickets: what the console showed to whom and when, kept on the server, so that no form can claim anything else.

A ticket is good for one answer. Whoever sends the form twice is told what the first one did.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from agents.events import Position
from orchestration.console.database import Database, digest, opened, tickets

KEPT = 300
"""Tickets of one session; older ones are forgotten."""


class About(BaseModel):
    """What a page showed."""

    model_config = ConfigDict(frozen=True)

    incident: str | None = None
    shown: str | None = None
    """`shown_digest` of the incident."""
    through: dict[str, int] = {}
    """What an answer to all of it covers."""
    items: tuple[Position, ...] | None = None
    """The single decisions that it offered to answer; None: none by itself."""
    covered: int = 0
    """Held decisions that an answer to all of it would cover."""
    waiting: tuple[Position, ...] | None = None
    """Which ones these are, where they are few; None: not known one by one."""
    decision: Position | None = None
    """For a blind label: the released decision."""
    teams: tuple[str, ...] = ()
    """Whose the incident was; empty: everybody's."""
    people: tuple[str, ...] = ()
    """Whom its chain had asked."""
    not_after_ms: int | None = None
    """The answer link's expiry, where one led here."""


class Ticket(BaseModel):
    """A page, and what became of its answer."""

    model_config = ConfigDict(frozen=True)

    digest: str
    session: str
    about: About
    rendered_ms: int
    used_ms: int | None = None
    told: dict[str, Any] | None = None


class Tickets:
    """The tickets of one database. `clock` gives ms since 1970 UTC."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def issue(self, session: str, about: About) -> str:
        """A new ticket of a session; returns its value, which the page's form carries."""
        value = secrets.token_urlsafe(24)
        with self._database.begin() as connection:
            connection.execute(
                insert(tickets).values(
                    digest=digest(value),
                    session=session,
                    incident=about.incident,
                    about=about.model_dump_json(),
                    rendered_ms=self._clock(),
                )
            )
            mine = tickets.c.session == session
            newest = select(tickets.c.rendered_ms).where(mine).order_by(tickets.c.rendered_ms.desc())
            oldest = connection.scalar(newest.offset(KEPT).limit(1))
            if oldest is not None:
                connection.execute(delete(tickets).where(mine, tickets.c.rendered_ms <= oldest))
        return value

    def find(self, session: str, value: str) -> Ticket | None:
        """A ticket of this session; None for another's, a made-up or a forgotten one."""
        return self.kept(session, digest(value)) if len(value) == 32 else None

    def kept(self, session: str, key: str) -> Ticket | None:
        """The same by the digest, which is no secret."""
        with self._database.reading() as connection:
            where = (tickets.c.digest == key, tickets.c.session == session)
            row = connection.execute(select(tickets).where(*where)).one_or_none()
        if row is None:
            return None
        told = None if row.told is None else json.loads(row.told)
        about = About.model_validate_json(row.about)
        return Ticket(
            digest=key,
            session=session,
            about=about,
            rendered_ms=row.rendered_ms,
            used_ms=row.used_ms,
            told=told,
        )

    def claim(self, ticket: Ticket, told: dict[str, Any]) -> bool:
        """Use it up; False where it was used before, also a moment ago in another process."""
        with self._database.begin() as connection:
            where = (tickets.c.digest == ticket.digest, tickets.c.used_ms.is_(None))
            values = {"used_ms": self._clock(), "told": json.dumps(told)}
            return connection.execute(update(tickets).where(*where).values(values)).rowcount == 1

    def free(self, ticket: Ticket) -> None:
        """Let the form be sent again: the first one did not leave."""
        with self._database.begin() as connection:
            connection.execute(update(tickets).where(tickets.c.digest == ticket.digest).values(used_ms=None))

    def used_since(self, session: str, since_ms: int) -> int:
        """How many answers a session gave since then."""
        with self._database.reading() as connection:
            where = (tickets.c.session == session, tickets.c.used_ms >= since_ms)
            return connection.scalar(select(func.count()).select_from(tickets).where(*where)) or 0

    def tell(self, ticket: Ticket, told: dict[str, Any]) -> None:
        """Keep what became of its answer."""
        with self._database.begin() as connection:
            where = tickets.c.digest == ticket.digest
            connection.execute(update(tickets).where(where).values(told=json.dumps(told)))

    def open(self, session: str, incident: str, position: Position) -> None:
        """Record that a decision of an incident was shown to this session."""
        values = {"session": session, "incident": incident, "position": place(position), "first_ms": self._clock()}
        try:
            with self._database.begin() as connection:
                connection.execute(insert(opened).values(values))
        except IntegrityError:
            pass  # it was shown before

    def opened(self, session: str, incident: str) -> tuple[Position, ...]:
        """Decisions of an incident that were shown to this session, in the order of their first showing."""
        with self._database.reading() as connection:
            where = (opened.c.session == session, opened.c.incident == incident)
            rows = connection.execute(select(opened.c.position).where(*where).order_by(opened.c.first_ms))
            return tuple(position for (text,) in rows if (position := parse_place(text)) is not None)


def place(position: Position) -> str:
    """`<topic>/<partition>/<offset>`, as forms and addresses name a decision."""
    return f"{position.topic}/{position.partition}/{position.offset}"


def parse_place(text: str) -> Position | None:
    """The decision that a form names; None where it names none.

    >>> parse_place("gim.decisions/1/42")
    Position(topic='gim.decisions', partition=1, offset=42)
    >>> parse_place("gim.decisions/1/-4")
    >>> parse_place("gim.decisions/9999999999/1")
    """
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    numbers = all(part.isascii() and part.isdecimal() and len(part) < 19 for part in (partition, offset))
    numbers = numbers and len(partition) < 10
    if not topic or len(topic) > 249 or not numbers:
        return None
    return Position(topic=topic, partition=int(partition), offset=int(offset))
