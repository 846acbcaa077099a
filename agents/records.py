"""What travels: a record as Kafka hands it over, a record that an agent wants written, and a position's name.

Agents take any object with these attributes (aiokafka's ConsumerRecord fits as it is), so the hot path copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

Header = tuple[str, bytes | None]
OWN_HEADERS = "govern-"  # every header of ours starts so; a producer's record that has one is malformed


class Record(Protocol):
    """One committed record; `timestamp` is the broker's time in milliseconds since 1970, UTC (LogAppendTime)."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[Header]: ...


@dataclass(frozen=True, slots=True)
class Plain:
    """A Record made by us: from a file, an archive or a test."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()


class Out(NamedTuple):
    """A record to be written in the lane's transaction.

    `topic` is the design's short name (`verdicts`, `released` …); the lane adds the prefix.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()


def position(record: Record) -> str:
    """The name of a record's place, `<topic>/<partition>/<offset>`: unique, and known before anything is decided.

    >>> position(Plain("gim.decisions", 3, 17, 0, None, b""))
    'gim.decisions/3/17'
    """
    return f"{record.topic}/{record.partition}/{record.offset}"
