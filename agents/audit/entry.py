"""Leaf entries: one committed Kafka record as bytes, complete and canonical; the format is frozen in docs/formats.md.

An entry holds every field of the record, so that none can be changed without changing the leaf. Null and empty differ;
headers keep their order. An entry never passes 65,535 bytes (the limit of tlog-tiles): large fields stand as their
digest, and their bytes are handed back as blobs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from agents.errors import Inconsistent
from agents.records import Header, Record

VERSION = 1
LIMIT = 65_535
NULL, BYTES, DIGEST = 0, 1, 2
NO_BLOBS: Mapping[str, bytes] = MappingProxyType({})

_NULL = b"\x00"
_where = struct.Struct(">Qq").pack
_length = struct.Struct(">BI").pack
_count = struct.Struct(">I").pack
_prefixes: dict[tuple[str, int], bytes] = {}
_names: dict[str, bytes] = {}
_CACHE = 4096  # names of headers come from producers: a cache of them must not grow for ever


@dataclass(frozen=True, slots=True)
class Digest:
    """Stands for a field whose bytes lie under `blobs/<sha256>`."""

    sha256: str
    length: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A decoded entry. A `Digest` stands where a field was too large; that of headers is of their encoded list."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | Digest | None
    headers: tuple[Header, ...] | Digest
    value: bytes | Digest | None


def encode(record: Record) -> tuple[bytes, Mapping[str, bytes]]:
    """The record's entry, and the blobs (by SHA-256 in hex) that it refers to; nearly always none.

    While the entry would pass 65,535 bytes, value, then headers, then key are replaced by their digests. A null field
    is never replaced.
    """
    start = _prefixes.get((record.topic, record.partition)) or _prefix(record.topic, record.partition)
    key, value = record.key, record.value
    entry = b"".join(
        (
            start,
            _where(record.offset, record.timestamp),
            _NULL if key is None else _length(BYTES, len(key)) + key,
            _length(BYTES, len(record.headers)),
            encode_headers(record.headers),
            _NULL if value is None else _length(BYTES, len(value)) + value,
        )
    )
    if len(entry) <= LIMIT:
        return entry, NO_BLOBS
    return _shortened(start + _where(record.offset, record.timestamp), key, record.headers, value)


def encode_field(data: bytes | None) -> bytes:
    """A nullable byte string: 0x00, or 0x01, its length (u32) and its bytes."""
    return _NULL if data is None else _length(BYTES, len(data)) + data


def encode_headers(headers: Sequence[Header]) -> bytes:
    """Name (u32 length, UTF-8) and nullable value of each header, in order; the count stands before, where it is used."""
    if not headers:
        return b""
    parts: list[bytes] = []
    for name, data in headers:
        parts.append(_names.get(name) or _name(name))
        parts.append(_NULL if data is None else _length(BYTES, len(data)) + data)
    return b"".join(parts)


def decode(entry: bytes) -> Entry:
    """The inverse of `encode`.

    Raises:
        Inconsistent: the bytes are not an entry of this format; the message says at which byte.
    """
    reader = _Reader(entry)
    version = reader.number(1)
    if version != VERSION:
        raise Inconsistent(f"entry of format {version}; this version of the software reads format {VERSION}")
    topic = reader.text(reader.number(2))
    partition, offset = reader.number(4), reader.number(8)
    timestamp = int.from_bytes(reader.take(8), "big", signed=True)
    result = Entry(topic, partition, offset, timestamp, reader.field(), reader.headers(), reader.field())
    reader.end()
    return result


def decode_headers(blob: bytes) -> tuple[Header, ...]:
    """Headers from their blob: the count (u32), then as `encode_headers` writes them."""
    reader = _Reader(blob)
    headers = reader.header_list(reader.number(4))
    reader.end()
    return headers


def _prefix(topic: str, partition: int) -> bytes:
    name = topic.encode()
    if len(_prefixes) >= _CACHE:
        _prefixes.clear()
    made = struct.pack(f">BH{len(name)}sI", VERSION, len(name), name, partition)
    _prefixes[topic, partition] = made
    return made


def _name(name: str) -> bytes:
    if len(_names) >= _CACHE:
        _names.clear()
    data = name.encode(errors="surrogateescape")  # a producer's name may not be UTF-8: its bytes, then
    made = _names[name] = _count(len(data)) + data
    return made


def _shortened(
    start: bytes, key: bytes | None, headers: Sequence[Header], value: bytes | None
) -> tuple[bytes, Mapping[str, bytes]]:
    listed = _count(len(headers)) + encode_headers(headers)
    fields = [encode_field(key), bytes([BYTES]) + listed, encode_field(value)]
    blobs: dict[str, bytes] = {}
    for place, data in ((2, value), (1, listed), (0, key)):
        if len(start) + sum(map(len, fields)) <= LIMIT:
            break
        if data is not None:
            digest = hashlib.sha256(data)
            fields[place] = bytes([DIGEST]) + digest.digest() + struct.pack(">Q", len(data))
            blobs[digest.hexdigest()] = data
    return start + b"".join(fields), blobs


class _Reader:
    """Takes an encoding apart, strictly."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Inconsistent(f"entry ends at byte {len(self._data)}, within a field that goes to byte {end}")
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise Inconsistent(f"a name in the entry before byte {self._at} is not UTF-8") from error

    def digest(self) -> Digest:
        return Digest(self.take(32).hex(), self.number(8))

    def field(self) -> bytes | Digest | None:
        tag = self.number(1)
        if tag == DIGEST:
            return self.digest()
        return self._tagged(tag)

    def headers(self) -> tuple[Header, ...] | Digest:
        tag = self.number(1)
        if tag == DIGEST:
            return self.digest()
        if tag != BYTES:
            raise Inconsistent(f"tag {tag} before the headers at byte {self._at - 1}; 1 or 2 is allowed")
        return self.header_list(self.number(4))

    def header_list(self, count: int) -> tuple[Header, ...]:
        return tuple((self.text(self.number(4)), self._tagged(self.number(1))) for _ in range(count))

    def end(self) -> None:
        if self._at != len(self._data):
            raise Inconsistent(f"entry goes on after its end at byte {self._at}")

    def _tagged(self, tag: int) -> bytes | None:
        if tag == NULL:
            return None
        if tag != BYTES:
            raise Inconsistent(f"unknown tag {tag} at byte {self._at - 1} of an entry")
        return self.take(self.number(4))
