"""The database of accounts, sessions and page tickets: the one store of the console that nothing can rebuild.

SQLite in the data folder, readable by its owner only, or PostgreSQL by setting. Passwords, session ids and sign-in states lie
in it as hashes alone; whoever reads it can sign in as nobody.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    insert,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.schema import CreateSchema

from agents.errors import Misconfigured, Retryable
from orchestration.settings import Settings

VERSION = "1"
META = MetaData()

accounts = Table(
    "accounts",
    META,
    Column("person", String(64), primary_key=True),
    Column("hash", Text, nullable=False),  # argon2id, with its own salt and costs
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),  # the password
)
attempts = Table(
    "attempts",
    META,
    Column("subject", String(80), primary_key=True),  # `account:<digest>` or `address:<address>`
    Column("failures", Integer, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)
sessions = Table(
    "sessions",
    META,
    Column("digest", String(71), primary_key=True),
    Column("person", String(64), nullable=False),
    Column("method", String(16), nullable=False),  # password, oidc or proxy
    Column("csrf", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Index("sessions_person", "person"),
)
tickets = Table(
    "tickets",
    META,
    Column("digest", String(71), primary_key=True),
    Column("session", String(71), nullable=False),
    Column("incident", String(64)),
    Column("about", Text, nullable=False),  # JSON: what the page showed (answering.py)
    Column("rendered_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
    Column("told", Text),  # JSON: what became of the answer
    Index("tickets_session", "session", "rendered_ms"),
)
opened = Table(
    "opened",
    META,
    Column("session", String(71), primary_key=True),
    Column("incident", String(64), primary_key=True),
    Column("position", String(300), primary_key=True),
    Column("first_ms", BigInteger, nullable=False),
)
flows = Table(
    "flows",
    META,
    Column("state", String(71), primary_key=True),
    Column("browser", String(71), nullable=False),  # digest of the cookie of the browser that began it
    Column("nonce", String(64), nullable=False),
    Column("verifier", String(128), nullable=False),
    Column("next", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
facts = Table("facts", META, Column("name", String(32), primary_key=True), Column("value", Text, nullable=False))


class Database:
    """The open database; every method of the console's stores is one transaction of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        try:
            with self.begin() as connection:
                schema = connection.get_execution_options().get("schema_translate_map", {}).get(None)
                if schema is not None:
                    connection.execute(CreateSchema(schema, if_not_exists=True))
                META.create_all(connection)
            self._check()
        except (DBAPIError, Retryable) as error:
            raise Misconfigured(
                f"cannot use the database of accounts {engine.url.render_as_string()} "
                f"({getattr(error, 'orig', error)}); check GOVERN_ACCOUNTS"
            ) from error

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction that may write; on SQLite one at a time, so what it has read stands until it ends."""
        with _answering(self.engine), self.engine.execution_options(writes=True).begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that only reads."""
        with _answering(self.engine), self.engine.begin() as connection:
            yield connection

    def secret(self, name: str) -> bytes:
        """32 random bytes of that name, made once and the same for every process on this database."""
        with self.reading() as connection:
            found = connection.scalar(select(facts.c.value).where(facts.c.name == name))
        if found is None:
            self._put(name, secrets.token_hex(32))
            return self.secret(name)
        return bytes.fromhex(found)

    def sweep(self, now_ms: int, sessions_before_ms: int) -> None:
        """Delete what is long over."""
        day = now_ms - 86_400_000
        with self.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.created_ms < sessions_before_ms))
            connection.execute(delete(tickets).where(tickets.c.rendered_ms < day))
            connection.execute(delete(opened).where(opened.c.first_ms < day))
            connection.execute(delete(flows).where(flows.c.created_ms < now_ms - 3_600_000))
            connection.execute(delete(attempts).where(attempts.c.last_ms < day, attempts.c.until_ms < now_ms))

    def _check(self) -> None:
        with self.reading() as connection:
            found = connection.scalar(select(facts.c.value).where(facts.c.name == "version"))
        if found is None:
            self._put("version", VERSION)
        elif found != VERSION:
            raise Misconfigured(
                f"the database of accounts has version {found}, this program knows {VERSION}: use the newer program, or set "
                "GOVERN_ACCOUNTS to another database"
            )

    def _put(self, name: str, value: str) -> None:
        try:
            with self.begin() as connection:
                connection.execute(insert(facts).values(name=name, value=value))
        except IntegrityError:
            pass  # another process was first, and its value counts


@contextmanager
def _answering(engine: Engine) -> Iterator[None]:
    """Raises Retryable where the database does not answer; a row that is there already stays an IntegrityError."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Retryable(f"the database of accounts does not answer ({error.orig}); see GOVERN_ACCOUNTS") from error


def open_database(settings: Settings) -> Database:
    """The database that the settings name, made where it is not there. Raises Misconfigured with the mend."""
    given = settings.accounts.get_secret_value()
    if not given:
        return Database(_sqlite(settings.data_dir / "console" / "accounts.db"))
    try:
        url = make_url(given)
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            return Database(_sqlite(Path(str(url.database))))
        own = {
            "schema_translate_map": {None: f"console-{settings.prefix}"}
        }  # one database may serve several deployments
        return Database(create_engine(url, pool_pre_ping=True, execution_options=own))
    except (ArgumentError, NoSuchModuleError) as error:
        raise Misconfigured(
            "GOVERN_ACCOUNTS is no database URL; for example postgresql+pg8000://user:password@host/name"
        ) from error


def _sqlite(path: Path) -> Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077:
            raise Misconfigured(f"{path} can be read by others; mend it: chmod 600 {path}")
    except OSError as error:
        raise Misconfigured(f"cannot use {path} ({error.strerror}); check GOVERN_DATA_DIR") from error
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begun)
    return engine


def _connected(connection: Any, _entry: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions by its own rules
    for pragma in ("journal_mode=WAL", "busy_timeout=10000", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def _begun(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def digest(value: str) -> str:
    """`sha256:<hex>` of a random value: what is stored in its place."""
    return "sha256:" + hashlib.sha256(value.encode()).hexdigest()
