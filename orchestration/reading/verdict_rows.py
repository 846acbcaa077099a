"""Verdicts as rows, at tens of thousands a second: counted in memory and written as sums; only held decisions get rows.

What is decoded of a verdict is what is counted. Buckets that are older than their width is kept are deleted as newer ones
come, so the table stays small whatever the traffic.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import Connection, Select, and_, delete, func, select, update

from agents.policy.flags import dedup_key
from agents.records import Record
from agents.tuning.blind import rank
from orchestration.reading.tables import (
    BLIND_EACH,
    BLIND_MS,
    BLIND_SHARE,
    WIDTHS,
    blind,
    flow,
    held,
    held_causes,
    rule_hits,
    versions,
)
from orchestration.reading.writing import LARGEST, Row, Rows, put, remove

HOUR_MS = 3_600_000
NARROW_MS = min(WIDTHS)

Bounded = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Named = Annotated[str, msgspec.Meta(max_length=256)]


class _Place(msgspec.Struct, gc=False):
    topic: Named
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: Bounded


class _Reason(msgspec.Struct, gc=False):
    rule: Named
    effect: Named
    outcome: Named = "matched"
    applied: bool = True


class _Data(msgspec.Struct, gc=False):
    decision: _Place
    stage: Named
    mode: Named
    kind: Named
    effect: Named | None = None
    resolution: Named | None = None
    model: Named | None = None
    version: Named | None = None
    reasons: tuple[_Reason, ...] = ()


class _Verdict(msgspec.Struct, gc=False):
    data: _Data
    time: Named | None = None
    causationid: Named | None = None


_decode = msgspec.json.Decoder(_Verdict).decode
Bad = Callable[[Record, Exception], None]
_Counted = dict[tuple[Any, ...], list[int]]


class Verdicts:
    """Counts one batch."""

    def __init__(self) -> None:
        self._flow: _Counted = {}  # (bucket, model, version, stage, mode, kind, effect) → [count, first ms, last ms]
        self._hits: _Counted = {}  # (hour, rule, model, version, effect, outcome, applied) → [count, last ms]
        self._drawn: dict[tuple[str, str, int], list[tuple[float, str, int, int, int]]] = {}
        self._held: list[Row] = []
        self._causes: list[Row] = []
        self._finals: list[Row] = []
        self._times: dict[str | None, int] = {}

    def take(self, records: Iterable[Record], bad: Bad) -> None:
        """Count records; those that are no verdicts are handed to `bad`."""
        counted, times = self._flow, self._times
        for record in records:
            try:
                verdict = _decode(record.value or b"")
                time_ms = times.get(verdict.time)
                if time_ms is None:
                    time_ms = times[verdict.time] = _moment(verdict.time)
            except (msgspec.DecodeError, ValueError) as error:
                bad(record, error)
                continue
            data = verdict.data
            time_ms = time_ms if time_ms >= 0 else record.timestamp
            bucket = time_ms - time_ms % NARROW_MS
            key = (bucket, data.model, data.version, data.stage, data.mode, data.kind, data.effect)
            entry = counted.get(key)
            if entry is None:
                counted[key] = [1, time_ms, time_ms]
            else:
                entry[0] += 1
                if time_ms > entry[2]:
                    entry[2] = time_ms
                elif time_ms < entry[1]:
                    entry[1] = time_ms
            if data.stage == "gate":
                if data.reasons:
                    self._reasons(record, data, time_ms)
                if data.mode == "gate" and data.effect in ("allow", "log"):
                    self._draw(data, time_ms)
            else:
                self._final(record, verdict, time_ms)

    def write(self, connection: Connection) -> None:
        """Write the sums, and rows of what is held or was."""
        rows = Rows()
        rows.add(flow, self._flow_rows(), sums=("count",))
        rows.add(versions, self._version_rows(), sums=("count",), least=("first_ms",), greatest=("last_ms",))
        rows.add(rule_hits, self._hit_rows(), sums=("count",), greatest=("last_ms",))
        rows.write(connection)
        _put_unique(connection, held, self._held)
        _put_unique(connection, held_causes, self._causes)
        _put_unique(connection, held, self._finals)
        self._close_causes(connection)
        if self._drawn:
            self._sample(connection)
        if self._flow:
            _prune(connection)

    # -- one record ------------------------------------------------------------------------------------------------

    def _reasons(self, record: Record, data: _Data, time_ms: int) -> None:
        hour, hits = time_ms - time_ms % HOUR_MS, self._hits
        model, version = data.model or "", data.version or ""
        for reason in data.reasons:
            key = (hour, reason.rule, model, version, reason.effect, reason.outcome, int(reason.applied))
            entry = hits.setdefault(key, [0, time_ms])
            entry[0] += 1
            entry[1] = max(entry[1], time_ms)
        if data.effect != "hold" or data.mode != "gate":
            return
        rules = [one.rule for one in data.reasons if one.applied and one.effect == "hold"]
        place = _place(data)
        row: Row = {"model": data.model, "version": data.version, "rules": rules, "held_ms": time_ms}
        self._held.append(place | row | {"verdict_offset": record.offset})
        keys = dict.fromkeys(dedup_key(rule, data.model, data.version) for rule in rules)
        self._causes += [{"key": key, **place} for key in keys]

    def _final(self, record: Record, verdict: _Verdict, time_ms: int) -> None:
        data = verdict.data
        row: Row = {
            "resolution": data.resolution or "unknown",
            "effect": data.effect,
            "ended_ms": time_ms,
            "final_offset": record.offset,
            "causationid": verdict.causationid,
        }
        self._finals.append(_place(data) | row)

    def _draw(self, data: _Data, time_ms: int) -> None:
        place = data.decision
        draw = rank(f"{place.topic}/{place.partition}/{place.offset}")
        if draw < BLIND_SHARE:
            bucket = (data.model or "", data.version or "", time_ms - time_ms % HOUR_MS)
            self._drawn.setdefault(bucket, []).append((draw, place.topic, place.partition, place.offset, time_ms))

    # -- a batch ---------------------------------------------------------------------------------------------------

    def _flow_rows(self) -> Iterable[Row]:
        for (bucket, *names), (count, _, _) in self._flow.items():
            model, version, stage, mode, kind, effect = (name or "" for name in names)
            for width in WIDTHS:
                yield {
                    "width_ms": width,
                    "start_ms": bucket - bucket % width,
                    "model": model,
                    "version": version,
                    "stage": stage,
                    "mode": mode,
                    "kind": kind,
                    "effect": effect,
                    "count": count,
                }

    def _version_rows(self) -> Iterable[Row]:
        for (_, model, version, stage, _, kind, _), (count, first_ms, last_ms) in self._flow.items():
            if model is not None and version is not None and stage == "gate" and kind == "decision":
                yield {
                    "model": model,
                    "version": version,
                    "first_ms": first_ms,
                    "last_ms": last_ms,
                    "count": count,
                }

    def _hit_rows(self) -> Iterable[Row]:
        names = ("start_ms", "rule", "model", "version", "effect", "outcome", "applied")
        for key, (count, last_ms) in self._hits.items():
            yield {**dict(zip(names, key, strict=True)), "count": count, "last_ms": last_ms}

    def _close_causes(self, connection: Connection) -> None:
        """Causes of decisions that ended say so too."""
        column = held_causes.c
        groups: dict[tuple[str, int, str], list[int]] = {}
        for row in self._finals:
            groups.setdefault((row["topic"], row["partition"], row["resolution"]), []).append(row["offset"])
        for (topic, partition, resolution), offsets in groups.items():
            for start in range(0, len(offsets), 500):
                here = and_(
                    column.topic == topic,
                    column.partition == partition,
                    column.offset.in_(offsets[start : start + 500]),
                )
                connection.execute(update(held_causes).where(here).values(resolution=resolution))

    def _sample(self, connection: Connection) -> None:
        """Keep the smallest draws of each model version and hour: what is kept does not depend on how batches were cut."""
        for (model, version, start_ms), drawn in self._drawn.items():
            here = and_(blind.c.model == model, blind.c.version == version, blind.c.start_ms == start_ms)
            query: Select[Any] = select(blind.c.draw, blind.c.topic, blind.c.partition, blind.c.offset, blind.c.time_ms)
            there = {tuple(row) for row in connection.execute(query.where(here))}
            kept = set(heapq.nsmallest(BLIND_EACH, there | set(drawn)))
            remove(connection, blind, [row[1:4] for row in there - kept])
            names = ("draw", "topic", "partition", "offset", "time_ms")
            bucket: Row = {"model": model, "version": version, "start_ms": start_ms}
            put(connection, blind, [bucket | dict(zip(names, row, strict=True)) for row in kept - there])


def _put_unique(connection: Connection, table: Any, rows: Sequence[Row]) -> None:
    keys = [column.name for column in table.primary_key]
    put(connection, table, list({tuple(row[name] for name in keys): row for row in rows}.values()))


def _prune(connection: Connection) -> None:
    """Delete buckets that are older than their width is kept, behind the newest of all."""
    newest = connection.scalar(select(func.max(flow.c.start_ms)).where(flow.c.width_ms == NARROW_MS))
    if newest is None:
        return
    for width, keep in WIDTHS.items():
        if keep is not None:
            connection.execute(delete(flow).where(flow.c.width_ms == width, flow.c.start_ms < newest - keep))
    connection.execute(delete(blind).where(blind.c.start_ms < newest - BLIND_MS))


def _place(data: _Data) -> Row:
    place = data.decision
    return {"topic": place.topic, "partition": place.partition, "offset": place.offset}


def _moment(time: str | None) -> int:
    """Milliseconds UTC; -1 where nothing is said."""
    return -1 if time is None else round(datetime.fromisoformat(time).timestamp() * 1000)
