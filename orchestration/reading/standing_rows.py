"""Records of what stands as rows: held decisions that wait, signals and their history, configurations, orders, checkpoints.

Raises ValueError (or the agents' own faults) for a record that breaks the contract; the projection counts it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select

from agents.audit.notes import Checkpoint
from agents.configuration import Configuration
from agents.events import ConfigurationEvent, Safeguard, Signal, SignalData, Watermark
from agents.policy import held
from agents.policy.differences import differences
from agents.records import Record
from orchestration.config_topic import KEY
from orchestration.reading import tables
from orchestration.reading.writing import Put, Remove, Row, Step

WATERMARK = b'["watermark",'
"""How keys of watermarks on `signals` begin. (Where signals are explained, monitors are imported: commands need not wait.)"""
CUT = 400
"""Characters of what stood before and after in a line of what a configuration changed."""


def of_held(record: Record) -> Iterator[Step]:
    """Where a decision that waits lies, with its reasons in words; its tombstone takes both away."""
    topic, partition, offset = held.place_of(record.key)
    key: Row = {"topic": topic, "partition": partition, "offset": offset}
    if record.value is None:
        yield Remove(tables.waiting, key)
        return
    told = held.read(record).reasons
    reasons = [{name: str(one.get(name, "")) for name in ("rule", "effect", "text")} for one in told]
    lies: Row = {"held_partition": record.partition, "held_offset": record.offset, "time_ms": record.timestamp}
    yield Put(tables.waiting, key | lies | {"reasons": reasons})


def of_safeguard(record: Record) -> Iterator[Step]:
    """A standing order."""
    name = (record.key or b"").decode()
    if record.value is None:
        yield Remove(tables.safeguards, {"id": name})
        return
    data = Safeguard.model_validate_json(record.value).data
    row: Row = {"id": name, "offset": record.offset, "time_ms": record.timestamp}
    yield Put(tables.safeguards, row | data.model_dump(mode="json"))


def of_checkpoint(record: Record) -> Iterator[Step]:
    """The newest signed head of a log. The signature is not checked here: `govern audit verify` does."""
    found = Checkpoint.parse((record.value or b"").decode().partition("\n\n")[0] + "\n")
    yield Put(
        tables.checkpoints,
        {
            "origin": found.origin,
            "offset": record.offset,
            "time_ms": record.timestamp,
            "size": found.size,
            "root": base64.b64encode(found.root).decode(),
        },
    )


class Configurations:
    """Configurations with what each changed; knows the one before."""

    def __init__(self, connection: Connection) -> None:
        column = tables.configurations.c
        newest = connection.scalar(select(column.document).order_by(column.offset.desc()).limit(1))
        self._before = None if newest is None else Configuration.model_validate_json(newest)

    def steps(self, record: Record) -> Iterator[Step]:
        """A configuration that was applied."""
        if record.key != KEY or record.value is None:
            return
        data = ConfigurationEvent.model_validate_json(record.value).data
        now = Configuration.model_validate(data.document)
        told = [] if self._before is None else differences(self._before, now)
        changed = [
            {"kind": one.kind, "name": one.name, "before": one.before[:CUT], "after": one.after[:CUT]} for one in told
        ]
        self._before = now
        yield Put(
            tables.configurations,
            {
                "offset": record.offset,
                "time_ms": record.timestamp,
                "digest": data.digest,
                "applied_by": data.applied_by,
                "note": data.note,
                "changed": changed,
                "document": json.dumps(data.document, separators=(",", ":"), ensure_ascii=False),
            },
        )


class Signals:
    """Signals that stand, and their points; knows what stood before."""

    def __init__(self, connection: Connection, records: Sequence[Record]) -> None:
        keys = list({_name(record) for record in records})
        column = tables.signals.c
        self._standing: dict[str, tuple[str, int]] = {}
        for start in range(0, len(keys), 500):
            query = select(column.key, column.status, column.since_ms).where(column.key.in_(keys[start : start + 500]))
            for key, status, since_ms in connection.execute(query):
                self._standing[key] = (status, since_ms)
        self._newest: dict[str, int] = {}

    def steps(self, record: Record) -> Iterator[Step]:
        """A signal, its withdrawal, or how far a model's monitors are behind."""
        if (record.key or b"").startswith(WATERMARK):
            if record.value is not None:
                watermark = Watermark.model_validate_json(record.value).data
                row: Row = {"model": watermark.model, "lag_ms": watermark.lag_ms, "time_ms": record.timestamp}
                yield Put(tables.watermarks, row)
            return
        key = _name(record)
        if record.value is None:
            self._standing.pop(key, None)
            yield Remove(tables.signals, {"key": key})
            return
        data = Signal.model_validate_json(record.value).data
        status, since_ms = self._standing.get(key, ("", 0))
        if status != data.status.value:
            since_ms = record.timestamp
        self._standing[key] = (data.status.value, since_ms)
        self._newest[key] = max(record.timestamp, self._newest.get(key, 0))
        yield Put(
            tables.signals,
            {
                "key": key,
                "offset": record.offset,
                "time_ms": record.timestamp,
                "since_ms": since_ms,
                **{name: getattr(data, name) for name in ("model", "version", "monitor", "segment", "group")},
                "status": data.status.value,
                "data": data.model_dump_json(exclude_none=True),
            },
        )
        yield from self._points(key, record.timestamp, data)

    def prune(self, connection: Connection) -> None:
        """Delete the points of these signals that are older than points of their width are kept."""
        column = tables.signal_points.c
        for key, newest in self._newest.items():
            for width, keep in tables.SPANS.items():
                if keep is not None:
                    old = (column.key == key, column.width_ms == width, column.stretch < (newest - keep) // width)
                    connection.execute(delete(tables.signal_points).where(*old))

    def _points(self, key: str, time_ms: int, data: SignalData) -> Iterable[Step]:
        values: dict[str, Any] = {
            name: getattr(data, name) for name in ("clock_ms", "estimate", "lower", "upper", "n", "e_value", "limit")
        }
        values |= {"time_ms": time_ms, "status": data.status.value}
        for width in tables.SPANS:
            yield Put(tables.signal_points, {"key": key, "width_ms": width, "stretch": time_ms // width, **values})


def _name(record: Record) -> str:
    return (record.key or b"").decode()
