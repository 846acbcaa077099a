"""Accounts: a person's password as an argon2id hash, and nothing of what the person may do.

Signing in tells nobody whether a name exists: an unknown, a disabled and a locked account take the same time and give the same
answer as a wrong password. Failures are counted for each name, known or not, and each address, in the database.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from agents.errors import Misconfigured
from orchestration.console.database import Database, accounts, attempts, sessions

SHORTEST, LONGEST = 12, 256
"""Characters of a password."""
FREE = {"account": 5, "address": 20}
"""So many failures cost no waiting."""
FIRST_MS, LONGEST_MS = 30_000, 900_000
"""Wait after the first failure too many; it doubles with each further one, up to the longest."""
FORGET_MS = 3_600_000
"""Failures this long ago count no more."""
AT_ONCE = 2
"""Passwords that are hashed at the same time: each takes 64 MiB."""
OBVIOUS = ("password", "passwort", "qwerty", "azerty", "asdfgh", "letmein", "welcome", "admin", "govern", "changeme")
RUNS = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as `govern user list` shows it."""

    person: str
    disabled: bool
    created_ms: int
    changed_ms: int
    locked_until_ms: int
    """0: not locked."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a try to sign in."""

    person: str | None
    """None: refused, for whatever reason."""
    wait_s: int = 0
    """This address has failed so often that it must wait so many seconds."""
    locked_s: int = 0
    """The account is locked for so many seconds; only for the eyes of whoever is signed in with it."""


def weakness(password: str, person: str) -> str | None:
    """Why a password is refused, in words; None where it will do.

    >>> weakness("correct horse battery", "dana")
    >>> weakness("dana2026dana2026", "dana")
    'it is little more than the name of the account'
    """
    plain = password.casefold()
    if len(password) < SHORTEST:
        return f"it has fewer than {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"it has more than {LONGEST} characters"
    if len(set(plain)) < 5:
        return "it repeats the same few characters"
    if len(plain.replace(person.casefold(), "").strip("-_. 0123456789")) < 4:
        return "it is little more than the name of the account"
    left = plain
    for word in OBVIOUS:
        left = left.replace(word, "")
    if len(left.strip("-_.!? 0123456789")) < 4 and left != plain:
        return "it is one of the first that anybody would try"
    if any(plain in run or plain in run[::-1] for run in RUNS):
        return "it is a row of keys or letters"
    return None


class Accounts:
    """The accounts of one database. `clock` gives ms since 1970 UTC."""

    def __init__(self, database: Database, clock: Callable[[], int], hasher: PasswordHasher | None = None) -> None:
        self._database, self._clock = database, clock
        self._hasher = hasher or PasswordHasher()
        self._nobody = self._hasher.hash("nobody has this password")
        self._turn = threading.BoundedSemaphore(AT_ONCE)

    def add(self, person: str, password: str) -> None:
        """A new account. Raises Misconfigured where there is one already, or the password is weak."""
        hashed, now = self._strong(person, password), self._clock()
        row = {"person": person, "hash": hashed, "disabled": False, "created_ms": now, "changed_ms": now}
        try:
            with self._database.begin() as connection:
                connection.execute(insert(accounts).values(row))
        except IntegrityError as error:
            raise Misconfigured(
                f"{person} has an account already; for another password: govern user passwd {person}"
            ) from error

    def set_password(self, person: str, password: str) -> int:
        """Another password; ends every session of the person and any lock. Returns how many sessions ended."""
        hashed = self._strong(person, password)
        with self._database.begin() as connection:
            self._change(connection, person, hash=hashed, changed_ms=self._clock())
            connection.execute(delete(attempts).where(attempts.c.subject == _account(person)))
            return connection.execute(delete(sessions).where(sessions.c.person == person)).rowcount

    def disable(self, person: str) -> int:
        """Nobody signs in with it any more, and every session of the person ends; returns how many did."""
        with self._database.begin() as connection:
            self._change(connection, person, disabled=True)
            return connection.execute(delete(sessions).where(sessions.c.person == person)).rowcount

    def enable(self, person: str) -> None:
        """It may be used again; a lock after failures ends too."""
        with self._database.begin() as connection:
            self._change(connection, person, disabled=False)
            connection.execute(delete(attempts).where(attempts.c.subject == _account(person)))

    def disabled(self, person: str) -> bool:
        """Whether the person has an account that was disabled; False without one."""
        with self._database.reading() as connection:
            return bool(connection.scalar(select(accounts.c.disabled).where(accounts.c.person == person)))

    def every(self) -> list[Account]:
        """All accounts by name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(accounts).order_by(accounts.c.person)).all()
            until = {row.subject: row.until_ms for row in connection.execute(select(attempts))}
        now = self._clock()
        return [
            Account(
                row.person,
                row.disabled,
                row.created_ms,
                row.changed_ms,
                locked if (locked := until.get(_account(row.person), 0)) > now else 0,
            )
            for row in rows
        ]

    def exist(self) -> bool:
        """Whether there is any account, disabled ones included."""
        with self._database.reading() as connection:
            return bool(connection.scalar(select(func.count()).select_from(accounts)))

    def check(self, person: str, password: str, address: str, browser: str | None = None) -> Attempt:
        """Try to sign in. Takes about as long whatever the reason of a refusal.

        `browser`: one that this person has signed in with before. Its failures are counted apart, so that nobody else can
        keep a person out by failing on purpose.

        The failure is counted before the password is looked at and taken back where it was right, so that many tries at the
        same time are no more than so many one after the other.
        """
        account, place = _account(person) if browser is None else f"browser:{browser[:64]}", f"address:{address}"
        with self._database.begin() as connection:
            barred = self._count(connection, place, FREE["address"])
            if barred > 0:
                return Attempt(None, -(-barred // 1000))
            locked = self._count(connection, account, FREE["account"])
            row = connection.execute(select(accounts).where(accounts.c.person == person)).one_or_none()
        usable = row is not None and not row.disabled and locked == 0
        right = self._matches(row.hash if row is not None and usable else self._nobody, password[: LONGEST + 1])
        if row is None or not usable or not right:
            return Attempt(None, locked_s=-(-locked // 1000))
        with self._database.begin() as connection:
            connection.execute(delete(attempts).where(attempts.c.subject == account))
            connection.execute(
                update(attempts).where(attempts.c.subject == place).values(failures=attempts.c.failures - 1, until_ms=0)
            )
            if self._hasher.check_needs_rehash(row.hash):
                self._change(connection, person, hash=self._hasher.hash(password))
        return Attempt(person)

    def _strong(self, person: str, password: str) -> str:
        if why := weakness(password, person):
            raise Misconfigured(f"this password will not do: {why}. Four unrelated words are good, and easy to keep")
        with self._turn:
            return self._hasher.hash(password)

    def _matches(self, hashed: str, password: str) -> bool:
        with self._turn:
            try:
                return self._hasher.verify(hashed, password)
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False

    def _change(self, connection: Connection, person: str, **values: object) -> None:
        changed = connection.execute(update(accounts).where(accounts.c.person == person).values(values))
        if not changed.rowcount:
            raise Misconfigured(f"{person} has no account; make one: govern user add {person}")

    def _count(self, connection: Connection, subject: str, free: int) -> int:
        """Count a failure, unless its subject must wait; returns how many ms it must, 0 where it was counted.

        The row is locked until the transaction ends, so of many tries at the same time each sees the one before.
        """
        now = self._clock()
        try:
            with connection.begin_nested():
                new = {"subject": subject, "failures": 0, "last_ms": now, "until_ms": 0}
                connection.execute(insert(attempts).values(new))
        except IntegrityError:
            pass  # it failed before
        row = connection.execute(select(attempts).where(attempts.c.subject == subject).with_for_update()).one()
        if row.until_ms > now:
            return int(row.until_ms - now)
        failures = (row.failures if row.last_ms > now - FORGET_MS else 0) + 1
        over = failures - free
        wait = min(LONGEST_MS, FIRST_MS * 2 ** min(over, 16)) if over >= 0 else 0
        values = {"failures": failures, "last_ms": now, "until_ms": now + wait}
        connection.execute(update(attempts).where(attempts.c.subject == subject).values(values))
        return 0


def _account(person: str) -> str:
    """A name as it is counted: whatever was typed, in a fixed length."""
    return "account:" + hashlib.sha256(person.encode()).hexdigest()[:40]
