"""Evidence against the topic it came from: every record that only one of the two has is explained, or it is an error.

Who reads Kafka hands over the records of one partition, read_committed, from its log start to an end offset; this module
compares. A record that the log has and the topic lacks may be gone by retention or by compaction, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agents.audit.agent import CHECKPOINTS, blob_path
from agents.audit.entry import Digest, decode, decode_headers
from agents.audit.tiles import WIDTH, Read, stored_bundle
from agents.records import Header, Plain, Record

FIELDS = ("timestamp", "key", "headers", "value")


@dataclass
class Comparison:
    """What was found. `errors` name the offset and, where it applies, the field."""

    same: int = 0
    by_retention: int = 0
    """Records of the log which the topic's retention has deleted since."""
    by_compaction: int = 0
    """Records of the log which a later record of the same key has replaced since."""
    pending: int = 0
    """Records of the topic after the last one of the log: not audited yet."""
    errors: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is unexplained."""
        return not self.errors


def compare(
    entries: Iterable[Record], records: Iterable[Record], *, log_start: int, compacted: bool, retention: bool
) -> Comparison:
    """Compare a log's records with a topic partition's, both in offset order.

    `log_start` is the partition's first offset; `compacted` and `retention` say what its settings allow to delete. For
    the root log, leave the root log's own checkpoints out of `records`.
    """
    logged = list(entries)
    kept = list(records)
    latest: dict[bytes | None, int] = {}
    for record in (*logged, *kept):
        latest[record.key] = max(record.offset, latest.get(record.key, -1))
    result = Comparison()
    last = logged[-1].offset if logged else -1
    topic = {record.offset: record for record in kept}
    for entry in logged:
        found = topic.pop(entry.offset, None)
        if found is not None:
            _same(entry, found, result)
        elif entry.offset < log_start and retention:
            result.by_retention += 1
        elif compacted and entry.key is not None and (latest[entry.key] > entry.offset or entry.value is None):
            result.by_compaction += 1  # a tombstone goes by itself, in time
        else:
            result.errors.append(_gone(entry, log_start))
    for record in topic.values():
        if record.offset > last:
            result.pending += 1
        else:
            result.errors.append(
                f"offset {record.offset}: {record.topic}/{record.partition} has this record, the log does not: "
                "it was left out of the evidence"
            )
    return result


def stored_records(read: Read, log: str, size: int) -> Iterator[Plain]:
    """The records of a stored log, blobs put back in place.

    Raises: Inconsistent, where a file is missing or damaged (the verifier says more).
    """
    for index in range(-(-size // WIDTH)):
        for data in stored_bundle(read, log, index, size):
            yield record_of(read, log, data)


def record_of(read: Read, log: str, data: bytes) -> Plain:
    """The record that an entry of a stored log was made from, blobs put back in place."""
    entry = decode(data)
    headers: tuple[Header, ...] = (
        decode_headers(read(f"{log}/{blob_path(entry.headers.sha256)}"))
        if isinstance(entry.headers, Digest)
        else entry.headers
    )
    key, value = (
        read(f"{log}/{blob_path(part.sha256)}") if isinstance(part, Digest) else part
        for part in (entry.key, entry.value)
    )
    return Plain(entry.topic, entry.partition, entry.offset, entry.timestamp, key, value, headers)


def topic_of(log: str) -> tuple[str, int]:
    """The Kafka topic and partition that a log was made from.

    >>> topic_of("gim/verdicts/3"), topic_of("gim/root")
    (('gim.verdicts', 3), ('gim.checkpoints', 0))
    """
    prefix, _, rest = log.partition("/")
    name, _, partition = rest.partition("/")
    return (f"{prefix}.{CHECKPOINTS}", 0) if rest == "root" else (f"{prefix}.{name}", int(partition))


def _same(entry: Record, found: Record, result: Comparison) -> None:
    differing = [name for name in FIELDS if _field(entry, name) != _field(found, name)]
    if differing:
        result.errors.append(f"offset {entry.offset}: the topic's record has another {', '.join(differing)}")
    else:
        result.same += 1


def _field(record: Record, name: str) -> object:
    return list(record.headers) if name == "headers" else getattr(record, name)


def _gone(entry: Record, log_start: int) -> str:
    where = f"offset {entry.offset}: the log has this record, {entry.topic}/{entry.partition} does not"
    if entry.offset < log_start:
        return f"{where}; the topic has no retention, so somebody deleted its records before {log_start}"
    return f"{where}, and neither retention nor compaction explains it"
