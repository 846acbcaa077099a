"""Sessions: a random id in the browser's cookie, its hash in the database, and an end.

A session ends 30 minutes after its last request, 12 hours after its first, at sign-out, and when the password changes or the
account is disabled. Every sign-in makes a new id, so an id that somebody planted beforehand is worth nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import delete, func, insert, select, update

from orchestration.console.database import Database, accounts, digest, sessions

IDLE_MS = 30 * 60_000
LONGEST_MS = 12 * 3_600_000
NOTED_MS = 15_000
"""The time of the last request is written at most so often."""
COOKIE = "__Host-govern"
"""The cookie's name: browsers take it only with Secure and for this very host. By plain http they take it on loopback alone."""
Method = Literal["password", "oidc", "proxy"]


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser."""

    digest: str
    """`sha256:<hex>` of the cookie's value: what reviews name as their login."""
    person: str
    method: Method
    csrf: str
    created_ms: int
    seen_ms: int


class Disabled(Exception):
    """The person has an account that was disabled: however they prove who they are, they are kept out."""

    said = "this account is disabled"


class Sessions:
    """The sessions of one database. `clock` gives ms since 1970 UTC."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def start(self, person: str, method: Method) -> tuple[str, Session]:
        """A new session; returns the cookie's value, which is kept nowhere, and the session.

        Raises Disabled for a person whose account is disabled, whoever vouches for them.
        """
        value, now = secrets.token_urlsafe(32), self._clock()
        made = Session(digest(value), person, method, secrets.token_urlsafe(32), now, now)
        with self._database.begin() as connection:
            if connection.scalar(select(accounts.c.disabled).where(accounts.c.person == person)):
                raise Disabled(person)
            connection.execute(
                insert(sessions).values(
                    digest=made.digest, person=person, method=method, csrf=made.csrf, created_ms=now, seen_ms=now
                )
            )
        return value, made

    def find(self, value: str, *, attended: bool = True) -> Session | None:
        """The session of a cookie's value; None where there is none, or none any more.

        A request that no person stands behind (`attended` false: a stream that a browser opens by itself) does not prolong it.
        """
        if not 40 <= len(value) <= 50:
            return None
        key, now = digest(value), self._clock()
        with self._database.reading() as connection:
            row = connection.execute(select(sessions).where(sessions.c.digest == key)).one_or_none()
            if row is None:
                return None
            disabled = connection.scalar(select(accounts.c.disabled).where(accounts.c.person == row.person))
        over = now - row.seen_ms > IDLE_MS or now - row.created_ms > LONGEST_MS
        if over or disabled or (disabled is None and row.method == "password"):
            self.end(key)
            return None
        if attended and now - row.seen_ms > NOTED_MS:
            with self._database.begin() as connection:
                connection.execute(update(sessions).where(sessions.c.digest == key).values(seen_ms=now))
        return Session(row.digest, row.person, row.method, row.csrf, row.created_ms, row.seen_ms)

    def end(self, key: str) -> None:
        """End one session, by its digest."""
        with self._database.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.digest == key))

    def end_all(self, person: str) -> int:
        """End every session of a person; returns how many."""
        with self._database.begin() as connection:
            return connection.execute(delete(sessions).where(sessions.c.person == person)).rowcount

    def count(self, person: str) -> int:
        """How many sessions of a person are open, as far as their last requests tell."""
        now = self._clock()
        with self._database.reading() as connection:
            live = (sessions.c.seen_ms >= now - IDLE_MS, sessions.c.created_ms >= now - LONGEST_MS)
            query = select(func.count()).select_from(sessions).where(sessions.c.person == person, *live)
            return connection.scalar(query) or 0
