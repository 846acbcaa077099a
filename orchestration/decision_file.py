"""Decisions in a file, for replays: as records of the topic `file`, partition 0, in batches, so that memory stays bounded.

    NDJSON     one structured CloudEvent a line; offset: the line's number from 0; broker time: the event's own, or 0
    Parquet    a chunk of the archive, with the offsets, broker times, keys and headers that the records really had

Blank lines are no records. Whatever else is wrong with a line is for the policy agent to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import polars as pl

from agents.decoding import FAILURES, VALUE_LIMIT
from agents.errors import Misconfigured
from agents.records import Plain
from agents.timestamps import milliseconds
from orchestration.archive import SCHEMA, records_of

TOPIC, PARTITION = "file", 0
BATCH = 5_000
_MAGIC = b"PAR1"

Progress = Callable[[float], None]
"""Told the share of the file that was read, 0 to 1."""


class _Timed(msgspec.Struct, gc=False):
    """Of an event only its time."""

    time: str | None = None


_timed = msgspec.json.Decoder(_Timed).decode


def batches(path: Path, limit: int = VALUE_LIMIT, progress: Progress = lambda share: None) -> Iterator[list[Plain]]:
    """The file's records in order; a line longer than `limit` bytes is cut just beyond it, and so refused as too large.

    Raises Misconfigured where the file cannot be read, or is a Parquet file with other columns.
    """
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == _MAGIC
            file.seek(0)
            yield from _of_parquet(path, progress) if parquet else _of_lines(file, path.stat().st_size, limit, progress)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}; give a file of decisions") from error
    progress(1.0)


def _of_lines(file: BinaryIO, size: int, limit: int, progress: Progress) -> Iterator[list[Plain]]:
    batch: list[Plain] = []
    for number, line in enumerate(_lines(file, limit)):
        if not line:
            continue
        batch.append(Plain(TOPIC, PARTITION, number, _time(line), None, line))
        if len(batch) == BATCH:
            yield batch
            progress(file.tell() / size)
            batch = []
    if batch:
        yield batch


def _lines(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Lines without their ends; of one that is too long only as much as shows that."""
    while line := file.readline(limit + 2):
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(limit + 2)):
            line = line[: limit + 1]
        yield line.rstrip(b"\r\n")


def _time(line: bytes) -> int:
    """The event's time in ms since 1970; 0 where it has none that can be read."""
    try:
        text = _timed(line).time
    except FAILURES:
        return 0
    return (milliseconds(text) or 0) if text else 0


def _of_parquet(path: Path, progress: Progress) -> Iterator[list[Plain]]:
    try:
        lazy = pl.scan_parquet(path)
        found = lazy.collect_schema()
        wrong = [name for name in SCHEMA if found.get(name) != SCHEMA[name]]
        rows = 0 if wrong else int(lazy.select(pl.len()).collect().item())
    except pl.exceptions.PolarsError as error:
        raise Misconfigured(f"{path} is damaged: {error}; restore it from its copy") from error
    if wrong:
        raise Misconfigured(
            f"{path} has no column {wrong[0]!r} of type {SCHEMA[wrong[0]]}; give NDJSON, or a Parquet file of the archive"
        )
    for start in range(0, rows, BATCH):
        frame = lazy.select(list(SCHEMA)).slice(start, BATCH).collect()
        yield list(records_of(frame, TOPIC, PARTITION))
        progress(min(1.0, (start + BATCH) / rows))
