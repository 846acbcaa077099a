"""What travels: a record as Kafka hands it over, messages that an agent wants written, and a position's name.

Agents take any object with these attributes (aiokafka's ConsumerRecord fits as it is), so the hot path copies nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

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


Message = tuple[bytes | None, bytes | None, Sequence[Header]]
"""Key, value and headers of a record to be written."""
Place = tuple[str, int]
"""Full topic name and partition."""
Stretch = tuple[Place, Sequence[Message]]
"""Messages for one place; what a batch writes is a row of stretches, in which a place may come again."""


def collect(stretches: Iterable[Stretch]) -> dict[Place, list[Message]]:
    """All messages by place, in order.

    >>> collect([(("t", 0), [(None, b"a", ())]), (("t", 0), [(None, b"b", ())])])
    {('t', 0): [(None, b'a', ()), (None, b'b', ())]}
    """
    found: dict[Place, list[Message]] = {}
    for place, messages in stretches:
        found.setdefault(place, []).extend(messages)
    return found


def position(record: Record) -> str:
    """The name of a record's place, `<topic>/<partition>/<offset>`: unique, and known before anything is decided.

    >>> position(Plain("gim.decisions", 3, 17, 0, None, b""))
    'gim.decisions/3/17'
    """
    return f"{record.topic}/{record.partition}/{record.offset}"
