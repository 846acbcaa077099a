"""The archive of decision bytes, for replay and for proofs that disclose: Parquet by topic, partition and offsets.

    <archive>/<topic>/<partition>/<first offset>-<last offset>.parquet      20 digits each, both included
    <archive>/<topic>/<partition>/expired                                   the first offset that is still kept

A chunk holds every committed record of its range, appears whole or not at all, and is never changed: a lane that starts
again, or one that was overtaken and wakes, writes ranges that overlap, with the same records. Readers see each record
once. Decisions are personal data: they are kept for the replay retention and then deleted, and reading one that is gone
says so.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import fsspec
import polars as pl

from agents.errors import GovernanceError, Inconsistent
from agents.records import Plain, Record
from orchestration.log_store import LogStore

_HEADERS = pl.List(pl.Struct({"name": pl.Binary, "value": pl.Binary}))
SCHEMA = pl.Schema(
    [("offset", pl.Int64), ("timestamp", pl.Int64), ("key", pl.Binary), ("headers", _HEADERS), ("value", pl.Binary)]
)
_NAME = re.compile(r"(\d{20})-(\d{20})\.parquet")

Chunk = tuple[int, int]
"""First and last offset of a file."""


class Expired(GovernanceError):
    """The decision was archived once, and deleted when its retention ended."""


class Archive:
    """Decisions by position, under a folder or fsspec URL."""

    def __init__(self, url: str) -> None:
        self._store = LogStore(url)
        self._fs, self._root = fsspec.core.url_to_fs(url)

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Keep records of one partition: all that are committed in their range, in offset order. Durable on return.

        Nothing is deleted or replaced, whoever else writes at the same time.
        """
        if not records:
            return
        path = _path(topic, partition, (records[0].offset, records[-1].offset))
        if not self._fs.exists(f"{self._root}/{path}"):
            self._store.write({path: _parquet(records)})

    def read(self, topic: str, partition: int, offset: int) -> Plain | None:
        """The record at a position; None where none was archived.

        Raises:
            Expired: it was, and its retention has ended.
        """
        if offset < self.expired_before(topic, partition):
            raise Expired(f"{topic}/{partition}/{offset} has expired: it was deleted when its replay retention ended")
        return next(self.scan(topic, partition, offset, offset + 1), None)

    def scan(self, topic: str, partition: int, start: int, end: int) -> Iterator[Plain]:
        """The archived records with offsets in [start, end) that have not expired, each once, in order."""
        start = max(start, self.expired_before(topic, partition))
        for chunk in self._chunks(topic, partition):
            if chunk[1] < start or chunk[0] >= end:
                continue
            frame = self._frame(topic, partition, chunk).filter((pl.col("offset") >= start) & (pl.col("offset") < end))
            yield from records_of(frame, topic, partition)
            start = chunk[1] + 1  # a chunk is complete: what overlaps it tells nothing new up to here

    def some(self, topic: str, partition: int, offsets: Iterable[int]) -> Iterator[Plain]:
        """Those of these offsets that are archived and have not expired, each once, in order; each file is read once."""
        start = self.expired_before(topic, partition)
        wanted = sorted(set(offsets))
        for chunk in self._chunks(topic, partition):
            here = wanted[bisect_left(wanted, max(start, chunk[0])) : bisect_right(wanted, chunk[1])]
            if here:
                frame = self._frame(topic, partition, chunk)
                yield from records_of(frame.filter(pl.col("offset").is_in(here)), topic, partition)
                start = chunk[1] + 1  # as in `scan`

    def span(self, topic: str, partition: int) -> int:
        """How many offsets its files cover, by their names; no fewer than there are records."""
        return sum(last - first + 1 for first, last in self._chunks(topic, partition))

    def offset_before(self, topic: str, partition: int, end: int, count: int) -> int:
        """Where the last `count` (at least 1) archived records before `end` begin; markers too take offsets, so look."""
        found, low = 0, end
        for chunk in sorted(self._chunks(topic, partition), key=lambda one: one[1], reverse=True):
            if chunk[0] >= low:
                continue
            offsets = self._frame(topic, partition, chunk, ["offset"])["offset"]
            offsets = offsets.filter(offsets < low)
            if found + len(offsets) >= count:
                return int(offsets[len(offsets) - (count - found)])
            found, low = found + len(offsets), chunk[0]
        return low

    def expired_before(self, topic: str, partition: int) -> int:
        """The first offset that has not expired; 0 where nothing has."""
        try:
            return int(self._store.read(f"{topic}/{partition}/expired"))
        except FileNotFoundError:
            return 0

    def expire(self, topic: str, partition: int, retention_ms: int, now_ms: int) -> int:
        """Delete chunks whose newest record is older than the retention, oldest first; how many went.

        The mark is written before anything is deleted, so that an interrupted run never looks like a loss.
        """
        gone: list[Chunk] = []
        for chunk in self._chunks(topic, partition):
            frame = self._frame(topic, partition, chunk, ["timestamp"])
            if int(frame["timestamp"].max() or 0) >= now_ms - retention_ms:  # type: ignore[arg-type]
                break
            gone.append(chunk)
        if gone:
            mark = max(self.expired_before(topic, partition), *(chunk[1] + 1 for chunk in gone))
            self._store.write({f"{topic}/{partition}/expired": str(mark).encode()})
            self._remove(topic, partition, gone)
        return len(gone)

    def partitions(self) -> list[tuple[str, int]]:
        """What is archived, as (topic, partition)."""
        found: set[tuple[str, int]] = set()
        for path in self._fs.glob(f"{self._root}/*/*/*"):
            topic, partition, _ = path.rsplit("/", 3)[-3:]
            found.add((topic, int(partition)))
        return sorted(found)

    def _chunks(self, topic: str, partition: int) -> list[Chunk]:
        names = (path.rsplit("/", 1)[-1] for path in self._fs.glob(f"{self._root}/{topic}/{partition}/*.parquet"))
        return sorted((int(found[1]), int(found[2])) for name in names if (found := _NAME.fullmatch(name)))

    def _remove(self, topic: str, partition: int, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            self._fs.rm_file(f"{self._root}/{_path(topic, partition, chunk)}")

    def _frame(self, topic: str, partition: int, chunk: Chunk, columns: list[str] | None = None) -> pl.DataFrame:
        path = _path(topic, partition, chunk)
        try:
            return pl.read_parquet(io.BytesIO(self._store.read(path)), columns=columns)
        except pl.exceptions.ComputeError as error:
            raise Inconsistent(f"the archive's {path} is damaged: {error}; restore it from its copy") from error


def holder_of(file: Path) -> tuple[Path, str, int] | None:
    """(the archive's folder, topic, partition) of one of its files; None where it is none, by its name.

    >>> holder_of(Path("var/archive/gim.decisions/3/00000000000000000000-00000000000000000041.parquet"))
    (PosixPath('var/archive'), 'gim.decisions', 3)
    >>> holder_of(Path("decisions/2026/march.parquet"))
    """
    if _NAME.fullmatch(file.name) is None or not file.parent.name.isdecimal():
        return None
    return file.parents[2], file.parents[1].name, int(file.parent.name)


def records_of(frame: pl.DataFrame, topic: str, partition: int) -> Iterator[Plain]:
    """The records of an archive file's rows."""
    for offset, timestamp, key, headers, value in frame.select(list(SCHEMA)).iter_rows():
        pairs = tuple((one["name"].decode(errors="surrogateescape"), one["value"]) for one in headers)
        yield Plain(topic, partition, offset, timestamp, key, value, pairs)


def _path(topic: str, partition: int, chunk: Chunk) -> str:
    return f"{topic}/{partition}/{chunk[0]:020d}-{chunk[1]:020d}.parquet"


def _parquet(records: Sequence[Record]) -> bytes:
    rows = {
        "offset": [record.offset for record in records],
        "timestamp": [record.timestamp for record in records],
        "key": [record.key for record in records],
        "headers": [
            [{"name": name.encode(errors="surrogateescape"), "value": data} for name, data in record.headers]
            for record in records
        ],
        "value": [record.value for record in records],
    }
    out = io.BytesIO()
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(out, compression="zstd", statistics=True)
    return out.getvalue()
