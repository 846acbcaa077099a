"""A batch of records into rows and offsets, in one database transaction: what was read is written once or not at all.

Promise: a record that breaks its contract, or that the database cannot hold, is kept out, counted and named in `unreadable`;
the others of its batch are written all the same. A batch that was cut elsewhere gives the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from agents.errors import GovernanceError, Retryable
from agents.records import Place, Record
from orchestration.reading import people_rows, standing_rows, tables
from orchestration.reading.database import Database
from orchestration.reading.verdict_rows import Verdicts
from orchestration.reading.writing import Put, Row, Rows, Step, put

log = logging.getLogger("governance.reading")

BROKEN = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, GovernanceError)
"""What looking at a record that breaks its contract raises: pydantic's and msgspec's faults, and the agents' own."""
ROWS: Mapping[str, Callable[[Record], Iterator[Step]]] = {
    "incidents": people_rows.of_incident,
    "reviews": people_rows.of_review,
    "rulings": people_rows.of_ruling,
    "triage": people_rows.of_triage,
    "notifications": people_rows.of_notification,
    "held": standing_rows.of_held,
    "safeguards": standing_rows.of_safeguard,
    "checkpoints": standing_rows.of_checkpoint,
}
"""Topics whose records are looked at one by one."""
TOPICS = (*ROWS, "config", "signals", "verdicts")
"""Every topic of the read model, by short name."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records by place, and where each place goes on after them; places without records may have moved past markers."""

    records: Mapping[Place, Sequence[Record]]
    after: Mapping[Place, int]
    before: Mapping[Place, int]
    """Where the places stood: another projection must not have moved them meanwhile."""


def fold(database: Database, prefix: str, batch: Batch) -> frozenset[str]:
    """Write a batch; returns the incidents that it says something of.

    Raises Retryable where the database does not take it now, or another projection writes too.
    """
    try:
        return _write(database, prefix, batch)
    except (StatementError, OverflowError) as error:
        if not _unholdable(error):
            raise Retryable(f"the read model does not take rows: {error}") from error
        if sum(map(len, batch.records.values())) <= 1:
            _keep_out(database, batch, error)
            return frozenset()
        return frozenset().union(*(fold(database, prefix, part) for part in _halves(batch)))


def _write(database: Database, prefix: str, batch: Batch) -> frozenset[str]:
    about: set[str] = set()
    with database.engine.begin() as connection:
        _check(connection, batch)
        for place, records in batch.records.items():
            about |= _fold(connection, place[0].removeprefix(f"{prefix}."), records)
        _settle(connection, batch)
    return frozenset(about)


def _unholdable(error: StatementError | OverflowError) -> bool:
    """Whether a value is at fault (SQLSTATE classes 22 and 23), and not the database."""
    if isinstance(error, DataError | IntegrityError) or not isinstance(error, DBAPIError):
        return True
    told = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return isinstance(told, Mapping) and str(told.get("C", ""))[:2] in ("22", "23")


def _check(connection: Connection, batch: Batch) -> None:
    column = tables.offsets.c
    there = {
        (row.topic, row.partition): row.next
        for row in connection.execute(select(column.topic, column.partition, column.next))
    }
    moved = [place for place, start in batch.before.items() if there.get(place, start) != start]
    if moved:
        raise Retryable(f"another projection writes to the read model too: {moved[0][0]}/{moved[0][1]} has moved")


def _settle(connection: Connection, batch: Batch) -> None:
    moved = [(place, after) for place, after in batch.after.items() if batch.before.get(place) != after]
    rows = [{"topic": topic, "partition": partition, "next": after} for (topic, partition), after in moved]
    put(connection, tables.offsets, rows)


def _fold(connection: Connection, short: str, records: Sequence[Record]) -> set[str]:
    """Write records of one place; returns the incidents that they are about."""
    rows, about = Rows(), set[str]()

    def bad(record: Record, error: Exception) -> None:
        log.warning("a record is kept out of the read model", extra={"topic": record.topic, "offset": record.offset})
        rows.add(tables.unreadable, [_unreadable(record, error)], sums=("count",))

    if short == "verdicts":
        verdicts = Verdicts()
        verdicts.take(records, bad)
        verdicts.write(connection)
    elif short == "signals":
        signals = standing_rows.Signals(connection, records)
        _each(rows, records, signals.steps, bad)
        rows.write(connection)
        signals.prune(connection)
        return about
    else:
        steps = standing_rows.Configurations(connection).steps if short == "config" else ROWS[short]
        about = _each(rows, records, steps, bad)
    rows.write(connection)
    return about


def _each(
    rows: Rows,
    records: Iterable[Record],
    steps: Callable[[Record], Iterator[Step]],
    bad: Callable[[Record, Exception], None],
) -> set[str]:
    about: set[str] = set()
    for record in records:
        try:
            found = list(steps(record))
        except BROKEN as error:
            bad(record, error)
        else:
            rows.take(found)
            about |= {name for step in found if (name := _about(step)) is not None}
    return about


def _about(step: Step) -> str | None:
    """The incident that a change is about; None where it is about none."""
    if not isinstance(step, Put):
        return None
    if step.table is tables.incidents:
        return str(step.row["id"])
    if step.table is tables.deliveries:  # a notification's id begins with its incident
        return str(step.row["notification"]).partition("/")[0]
    name = step.row.get("incident")
    return None if name is None else str(name)


def _unreadable(record: Record, error: Exception) -> Row:
    why = f"{type(error).__name__}: {error}".replace("\x00", "\ufffd").encode(errors="replace").decode()
    place: Row = {"topic": record.topic, "partition": record.partition}
    return place | {"count": 1, "last_offset": record.offset, "last_why": why.splitlines()[0][:300]}


def _keep_out(database: Database, batch: Batch, error: Exception) -> None:
    """One record that the database cannot hold."""
    with database.engine.begin() as connection:
        _check(connection, batch)
        for records in batch.records.values():
            for record in records:
                put(connection, tables.unreadable, [_unreadable(record, error)], sums=("count",))
        _settle(connection, batch)


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """The same in two, each place's records in order."""
    first: dict[Place, Sequence[Record]] = {}
    second: dict[Place, Sequence[Record]] = {}
    left = sum(map(len, batch.records.values())) // 2
    for place, records in batch.records.items():
        cut = min(left, len(records))
        left -= cut
        if cut:
            first[place] = records[:cut]
        if cut < len(records):
            second[place] = records[cut:]
    middle = dict(batch.before)
    middle |= {place: records[-1].offset + 1 for place, records in first.items()}
    middle |= {place: batch.after[place] for place in first if place not in second}
    return Batch(first, middle, batch.before), Batch(second, batch.after, middle)
