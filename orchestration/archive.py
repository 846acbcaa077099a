"""The archive of decision bytes, for replay and for proofs that disclose: Parquet by topic, partition and first offset.

    <archive>/<topic>/<partition>/<first offset, 20 digits>.parquet
    <archive>/<topic>/<partition>/expired       the first offset that is still kept

A chunk appears whole or not at all. What lies behind a lane's committed offset is never lost; what lies before it may be
written again, and replaces what was there, so a killed lane leaves no double. Decisions are personal data: they are kept
for the replay retention and then deleted, and reading one that is gone says so.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import fsspec
import polars as pl

from agents.errors import GovernanceError, Inconsistent
from agents.records import Plain, Record
from orchestration.log_store import LogStore

_HEADERS = pl.List(pl.Struct({"name": pl.String, "value": pl.Binary}))
_SCHEMA = pl.Schema(
    [("offset", pl.Int64), ("timestamp", pl.Int64), ("key", pl.Binary), ("headers", _HEADERS), ("value", pl.Binary)]
)


class Expired(GovernanceError):
    """The decision was archived once, and deleted when its retention ended."""


class Archive:
    """Decisions by position, under a folder or fsspec URL."""

    def __init__(self, url: str) -> None:
        self._store = LogStore(url)
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._written: dict[tuple[str, int], list[int]] = {}  # chunks of the partitions that this writer appends to

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Keep records of one partition, in offset order; durable when this returns.

        Chunks that start at or after the first of them are replaced: they are of a lane that died before its commit.
        """
        if not records:
            return
        first = records[0].offset
        self._store.write({_path(topic, partition, first): _parquet(records)})
        known = self._written.get((topic, partition))
        if known is None:  # listed once: a busy partition has thousands of chunks
            known = self._chunks(topic, partition)
        self._remove(topic, partition, [start for start in known if start > first])
        self._written[topic, partition] = [*(start for start in known if start < first), first]

    def restart(self, topic: str, partition: int, committed: int) -> None:
        """Drop what a lane wrote beyond its committed offset."""
        self._remove(topic, partition, [start for start in self._chunks(topic, partition) if start >= committed])

    def read(self, topic: str, partition: int, offset: int) -> Plain | None:
        """The record at a position; None where none was archived.

        Raises:
            Expired: it was, and its retention has ended.
        """
        if offset < self.expired_before(topic, partition):
            raise Expired(f"{topic}/{partition}/{offset} has expired: it was deleted when its replay retention ended")
        return next(self.scan(topic, partition, offset, offset + 1), None)

    def scan(self, topic: str, partition: int, start: int, end: int) -> Iterator[Plain]:
        """The archived records with offsets in [start, end), in order."""
        chunks, last = self._chunks(topic, partition), -1
        for chunk in chunks[max(0, bisect_right(chunks, start) - 1) : bisect_right(chunks, end - 1)]:
            frame = self._frame(topic, partition, chunk).filter((pl.col("offset") >= start) & (pl.col("offset") < end))
            for offset, timestamp, key, headers, value in frame.iter_rows():
                if offset <= last:
                    continue  # a lane that died between writing a chunk and dropping the one it replaces
                last = offset
                pairs = tuple((header["name"], header["value"]) for header in headers)
                yield Plain(topic, partition, offset, timestamp, key, value, pairs)

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
        gone: list[int] = []
        last = -1
        for chunk in self._chunks(topic, partition):
            frame = self._frame(topic, partition, chunk, ["offset", "timestamp"])
            if int(frame["timestamp"].max() or 0) >= now_ms - retention_ms:  # type: ignore[arg-type]
                break
            gone.append(chunk)
            last = int(frame["offset"][-1])
        if gone:
            self._store.write({f"{topic}/{partition}/expired": str(last + 1).encode()})
            self._remove(topic, partition, gone)
        return len(gone)

    def partitions(self) -> list[tuple[str, int]]:
        """What is archived, as (topic, partition)."""
        found: set[tuple[str, int]] = set()
        for path in self._fs.glob(f"{self._root}/*/*/*"):
            topic, partition, _ = path.rsplit("/", 3)[-3:]
            found.add((topic, int(partition)))
        return sorted(found)

    def _chunks(self, topic: str, partition: int) -> list[int]:
        names = [path.rsplit("/", 1)[-1] for path in self._fs.glob(f"{self._root}/{topic}/{partition}/*.parquet")]
        return sorted(int(name.removesuffix(".parquet")) for name in names if name[0].isdecimal())

    def _remove(self, topic: str, partition: int, chunks: Sequence[int]) -> None:
        self._written.pop((topic, partition), None)
        for chunk in chunks:
            self._fs.rm_file(f"{self._root}/{_path(topic, partition, chunk)}")

    def _frame(self, topic: str, partition: int, chunk: int, columns: list[str] | None = None) -> pl.DataFrame:
        path = _path(topic, partition, chunk)
        try:
            return pl.read_parquet(io.BytesIO(self._store.read(path)), columns=columns)
        except pl.exceptions.ComputeError as error:
            raise Inconsistent(f"the archive's {path} is damaged: {error}; restore it from its copy") from error


def _path(topic: str, partition: int, first: int) -> str:
    return f"{topic}/{partition}/{first:020d}.parquet"


def _parquet(records: Sequence[Record]) -> bytes:
    rows = {
        "offset": [record.offset for record in records],
        "timestamp": [record.timestamp for record in records],
        "key": [record.key for record in records],
        "headers": [[{"name": name, "value": data} for name, data in record.headers] for record in records],
        "value": [record.value for record in records],
    }
    out = io.BytesIO()
    pl.DataFrame(rows, schema=_SCHEMA).write_parquet(out, compression="zstd", statistics=True)
    return out.getvalue()
