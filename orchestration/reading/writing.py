"""Rows into tables, alike on SQLite and PostgreSQL: a batch's changes are gathered first, each row once, then written.

Promise: a value that a database cannot hold is refused while its record is looked at (ValueError), so that a batch which
reaches the database is written whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

Row = dict[str, Any]
LARGEST = 2**63 - 1
AT_ONCE = 2_000
"""Rows of one statement, where rows go as one parameter."""
NAMED = 500
"""Keys that one statement names."""


@dataclass(frozen=True, slots=True)
class Put:
    """A row to be there: new, or over what is there of the same key; columns that are not given stay."""

    table: Table
    row: Row

    def __post_init__(self) -> None:
        _check(self.row)


@dataclass(frozen=True, slots=True)
class Remove:
    """A row to be gone; `key` has all columns of the primary key."""

    table: Table
    key: Row


@dataclass(frozen=True, slots=True)
class Replace:
    """All rows of a table that belong to something, anew."""

    table: Table
    owner: tuple[str, str]
    """Column and value."""
    rows: tuple[Row, ...]
    """Without that column."""

    def __post_init__(self) -> None:
        for row in self.rows:
            _check(row)


Step = Put | Remove | Replace


@dataclass
class Rows:
    """A batch's changes; the later of two to the same row counts."""

    _puts: dict[Table, dict[tuple[Any, ...], Row | None]] = field(default_factory=dict)
    _replaced: dict[Table, dict[tuple[str, str], tuple[Row, ...]]] = field(default_factory=dict)
    _added: dict[Table, tuple[dict[tuple[Any, ...], Row], Collection[str], Collection[str], Collection[str]]] = field(
        default_factory=dict
    )

    def take(self, steps: Iterable[Step]) -> None:
        """Gather the changes of one record."""
        for step in steps:
            if isinstance(step, Replace):
                self._replaced.setdefault(step.table, {})[step.owner] = step.rows
                continue
            row = step.row if isinstance(step, Put) else step.key
            rows = self._puts.setdefault(step.table, {})
            key = tuple(row[column.name] for column in step.table.primary_key)
            rows[key] = {**(rows.get(key) or {}), **row} if isinstance(step, Put) else None

    def add(
        self,
        table: Table,
        rows: Iterable[Row],
        *,
        sums: Collection[str] = (),
        least: Collection[str] = (),
        greatest: Collection[str] = (),
    ) -> None:
        """Rows that are merged with those of the same key: sums are added, the least and greatest values stay, and of
        other columns the later value."""
        merged = self._added.setdefault(table, ({}, sums, least, greatest))[0]
        for row in rows:
            key = tuple(row[column.name] for column in table.primary_key)
            old = merged.get(key)
            if old is None:
                merged[key] = row
                continue
            for name, value in row.items():
                if name in sums:
                    old[name] += value
                elif not (name in least and old[name] < value) and not (name in greatest and old[name] > value):
                    old[name] = value

    def write(self, connection: Connection) -> None:
        """Write all of it."""
        for table, rows in self._puts.items():
            remove(connection, table, [key for key, row in rows.items() if row is None])
            shapes: dict[tuple[str, ...], list[Row]] = {}
            for row in rows.values():
                if row is not None:
                    shapes.setdefault(tuple(sorted(row)), []).append(row)
            for alike in shapes.values():
                put(connection, table, alike)
        for table, owners in self._replaced.items():
            _replace(connection, table, owners)
        for table, (merged, sums, least, greatest) in self._added.items():
            put(connection, table, list(merged.values()), sums=sums, least=least, greatest=greatest)


def put(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    sums: Collection[str] = (),
    least: Collection[str] = (),
    greatest: Collection[str] = (),
) -> None:
    """Insert rows of one shape, or merge them into those of the same key. No key may come twice."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    changing = [name for name in rows[0] if name not in keys]
    if connection.dialect.name == "postgresql":
        statement: Any = postgresql.insert(table).from_select(list(rows[0]), _given(table, rows[0]))
    else:
        statement = sqlite.insert(table)
    new = statement.excluded
    merged: dict[str, Any] = {name: new[name] for name in changing}
    merged |= {name: table.c[name] + new[name] for name in sums}
    merged |= {name: case((new[name] < table.c[name], new[name]), else_=table.c[name]) for name in least}
    merged |= {name: case((new[name] > table.c[name], new[name]), else_=table.c[name]) for name in greatest}
    whole = (
        statement.on_conflict_do_update(index_elements=keys, set_=merged)
        if merged
        else statement.on_conflict_do_nothing(index_elements=keys)
    )
    if connection.dialect.name != "postgresql":
        connection.execute(whole, rows)
        return
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        connection.execute(whole, {"rows": json.dumps(part, separators=(",", ":"))})


def _given(table: Table, row: Row) -> Select[Any]:
    """Rows as one JSON parameter: pg8000 sends a statement for each row otherwise, which is a hundred times slower."""
    text = cast(bindparam("rows", type_=Text), JSON)
    columns = (column(name, table.c[name].type) for name in row)
    given = func.json_to_recordset(text).table_valued(*columns, name="given").render_derived(with_types=True)
    return select(*(given.c[name] for name in row))


def remove(connection: Connection, table: Table, keys: Sequence[tuple[Any, ...]]) -> None:
    """Delete rows by their primary keys."""
    columns = list(table.primary_key)
    for start in range(0, len(keys), NAMED):
        part = keys[start : start + NAMED]
        if len(columns) == 1:
            connection.execute(delete(table).where(columns[0].in_([key[0] for key in part])))
            continue
        groups: dict[tuple[Any, ...], list[Any]] = {}  # keys mostly differ in their last column alone: an offset
        for *shared, last in part:
            groups.setdefault(tuple(shared), []).append(last)
        for some, lasts in groups.items():
            same = [column == value for column, value in zip(columns, some, strict=False)]
            connection.execute(delete(table).where(and_(*same, columns[-1].in_(lasts))))


def _replace(connection: Connection, table: Table, owners: Mapping[tuple[str, str], tuple[Row, ...]]) -> None:
    for name in {name for name, _ in owners}:
        values = [value for other, value in owners if other == name]
        for start in range(0, len(values), NAMED):
            connection.execute(delete(table).where(table.c[name].in_(values[start : start + NAMED])))
    put(connection, table, [{name: value, **row} for (name, value), rows in owners.items() for row in rows])


def _check(row: Row) -> None:
    """Mend what no text column may hold, and refuse what no number column can."""
    for name, value in row.items():
        if isinstance(value, str | list | dict):
            row[name] = _mended(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is no number: {value}")
        elif isinstance(value, int) and not -LARGEST <= value <= LARGEST:
            raise ValueError(f"{name} is too large a number: {value}")


def _mended(value: Any) -> Any:
    """The same without NUL characters, which PostgreSQL takes in no text, also not inside JSON."""
    if isinstance(value, str):
        value.encode()  # a lone surrogate is a ValueError here
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {name: _mended(one) for name, one in value.items()}
    return value
