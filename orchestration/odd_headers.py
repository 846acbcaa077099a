"""Records whose header names are not UTF-8: Kafka takes them, aiokafka's fast parser dies of them, and no lane may.

`read_tolerantly` lets this process parse fetched records for a while with aiokafka's slower parser, in a form that keeps
the odd bytes of a name as lone surrogates (PEP 383). Such a record is malformed like any other; the lane goes on.
"""

from __future__ import annotations

import time
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

TOLERANT_S = 60.0
_MAGIC_AT, _BATCHES = 16, 2
_until = 0.0


def is_odd_header(error: BaseException | None) -> bool:
    """True where a fetch failed because of such a name."""
    while error is not None and not isinstance(error, UnicodeDecodeError):
        error = error.__cause__ or error.__context__
    return error is not None


def read_tolerantly() -> None:
    """From the next fetch on, for a minute."""
    global _until
    _until = time.monotonic() + TOLERANT_S
    fetcher.MemoryRecords = _records


def _records(data: bytes) -> Any:
    """What the fetcher makes of the bytes of a partition."""
    if time.monotonic() < _until:
        return _TolerantRecords(data)
    fetcher.MemoryRecords = MemoryRecords
    return MemoryRecords(data)


class _TolerantRecords(_MemoryRecordsPy):  # type: ignore[misc]
    """Fetched batches, each to be parsed tolerantly."""

    def next_batch(self, *limits: int) -> Any:
        found = self._next_slice
        batch = super().next_batch(*limits)
        if found is None or batch is None or found[_MAGIC_AT] < _BATCHES:
            return batch
        return _TolerantBatch(found)


class _TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch whose buffer decodes what it must as UTF-8, and keeps what it cannot."""

    def __init__(self, buffer: Any) -> None:
        super().__init__(buffer)
        self._buffer: bytearray = _Buffer(self._buffer)

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        if type(self._buffer) is not _Buffer:
            self._buffer = _Buffer(self._buffer)


class _Buffer(bytearray):
    """Slices of it decode tolerantly."""

    def __getitem__(self, at: Any) -> Any:
        found: Any = super().__getitem__(at)
        return _Text(found) if isinstance(at, slice) else found


class _Text(bytearray):
    """Bytes that become text without failing."""

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, "surrogateescape")
