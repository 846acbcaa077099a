"""Where the read model lies: a SQLite file of this machine, or a schema in PostgreSQL; made, locked and dropped here.

Promise: a database of another SCHEMA, prefix or Kafka cluster is never read as if it were this one's; one process at a
time writes to it; and what a newer projection has replaced is dropped once nobody writes to it any more.
"""

from __future__ import annotations

import fcntl
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    delete,
    event,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError
from sqlalchemy.schema import CreateSchema, DropSchema

from agents.errors import Misconfigured, Retryable
from orchestration.reading.tables import SCHEMA, meta, metadata
from orchestration.reading.writing import put
from orchestration.settings import Settings

MEND = "GOVERN_READ_MODEL is empty (SQLite in the data folder) or postgresql+pg8000://user:password@host/database"


@dataclass(frozen=True)
class Database:
    """One projection: an engine whose connections see its tables and no other's."""

    engine: Engine
    name: str
    """`read-<prefix>-<schema>`: of the file, or of the PostgreSQL schema."""
    file: Path | None
    """The SQLite file; None for PostgreSQL."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries: one moment's rows. Raises Retryable where the database does not answer."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise Retryable(f"the read model does not answer: {error.orig}; {MEND}") from error

    def facts(self) -> dict[str, str]:
        """What `meta` says; empty where there is nothing yet."""
        with self.reading() as connection:
            schema = connection.get_execution_options().get("schema_translate_map", {}).get(None)
            if not inspect(connection).has_table(meta.name, schema=schema):
                return {}
            rows = connection.execute(select(meta.c.name, meta.c.value))
            return {str(name): str(value) for name, value in rows}

    def prepare(self, facts: dict[str, str]) -> bool:
        """Make the tables, for these facts; False where what was there was made for others and had to be dropped."""
        found = self.facts()
        same = all(found.get(name, value) == value for name, value in facts.items())
        if not same:
            self.clear()
        with self.engine.begin() as connection:
            if self.file is None:
                connection.execute(CreateSchema(self.name, if_not_exists=True))
            metadata.create_all(connection)
            put(connection, meta, [{"name": name, "value": value} for name, value in facts.items()])
        return same

    def clear(self) -> None:
        """Drop every table of this projection."""
        with self.engine.begin() as connection:
            metadata.drop_all(connection)

    def note(self, name: str, value: str | None) -> None:
        """Keep a fact, or with None forget it."""
        with self.engine.begin() as connection:
            if value is None:
                connection.execute(delete(meta).where(meta.c.name == name))
            else:
                put(connection, meta, [{"name": name, "value": value}])

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """True while this process alone may write; False where another one does."""
        with _file_lock(self.file) if self.file is not None else _advisory_lock(self.engine, self.name) as mine:
            yield mine

    def drop_others(self) -> list[str]:
        """Drop projections of the same prefix with another schema that nobody writes to; returns their names."""
        family = re.compile(re.escape(self.name.rpartition("-")[0]) + r"-\d+")
        return _drop_files(self, family) if self.file is not None else _drop_schemas(self, family)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(settings: Settings, schema: int = SCHEMA) -> Database:
    """The projection of these settings; makes the folder of a file, but no table.

    Raises Misconfigured where `read_model` names nothing that can be used.
    """
    name = f"read-{settings.prefix}-{schema}"
    given = settings.read_model.get_secret_value()
    if not given:
        file = settings.data_dir.absolute() / "console" / f"{name}.db"
        file.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 15})
        _prepare_sqlite(engine, file)
        return Database(engine, name, file)
    try:
        url = make_url(given)
        if url.get_backend_name() != "postgresql":
            raise Misconfigured(f"the read model cannot lie in {url.get_backend_name()}; {MEND}")
        engine = create_engine(url, pool_pre_ping=True, execution_options={"schema_translate_map": {None: name}})
    except (ArgumentError, NoSuchModuleError) as error:
        raise Misconfigured(f"GOVERN_READ_MODEL cannot be read; {MEND}") from error
    return Database(engine, name, None)


def _prepare_sqlite(engine: Engine, file: Path) -> None:
    """Readers and the one writer do not wait for each other, transactions begin where SQLAlchemy says, and a connection to
    a file that was deleted is given up: otherwise it would go on, unseen by all others.
    """

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # sqlite3 would begin transactions by its own rules
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # what a power cut takes is folded again from the topics
        connection.create_function("lower", 1, lambda text: text and text.lower())  # SQLite's own knows ASCII alone
        record.info["file"] = _identity(file)

    @event.listens_for(engine, "checkout")
    def _taken(_connection: Any, record: Any, _proxy: object) -> None:
        if record.info["file"] != _identity(file):
            raise DisconnectionError("the read model was deleted")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _file_lock(file: Path) -> Iterator[bool]:
    handle = _locked(file)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            handle.close()


def _locked(file: Path) -> IO[str] | None:
    handle = file.with_suffix(".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


@contextmanager
def _advisory_lock(engine: Engine, name: str) -> Iterator[bool]:
    """The lock is the connection's: a process that dies gives it back."""
    number = zlib.crc32(name.encode())
    try:
        connection = engine.connect()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        mine = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": number}))
    except DBAPIError as error:
        raise Retryable(f"the read model does not answer: {error.orig}; {MEND}") from error
    try:
        yield mine
        if mine:
            with suppress(DBAPIError):  # the server is away: it gave the lock back when the connection broke
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": number})
    finally:
        connection.invalidate()  # never back to the pool: with it would go the lock
        connection.close()


def _drop_files(database: Database, family: re.Pattern[str]) -> list[str]:
    assert database.file is not None
    dropped = []
    for file in sorted(database.file.parent.glob("read-*.db")):
        if file == database.file or not family.fullmatch(file.stem):
            continue
        with _file_lock(file) as mine:
            if mine:
                for one in (file, *file.parent.glob(f"{file.name}-*")):
                    one.unlink(missing_ok=True)
                dropped.append(file.stem)
        if mine:
            file.with_suffix(".lock").unlink(missing_ok=True)
    return dropped


def _drop_schemas(database: Database, family: re.Pattern[str]) -> list[str]:
    with database.reading() as connection:
        there = [name for name in inspect(connection).get_schema_names() if family.fullmatch(name)]
    dropped = []
    for name in there:
        if name == database.name:
            continue
        with _advisory_lock(database.engine, name) as mine:
            if mine:
                with database.engine.begin() as connection:
                    connection.execute(DropSchema(name, cascade=True, if_exists=True))
                dropped.append(name)
    return dropped
