"""The audit agent: from the committed records of one evidence partition to leaves, files and the checkpoint to sign.

The lane reads records, calls `audit`, writes the step's files and blobs, signs `step.text` and commits; see design.md
section 10 for the order. Pure: the same records after the same state give the same step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.audit.entry import encode
from agents.audit.notes import Checkpoint
from agents.audit.tiles import LogState, extend
from agents.errors import Inconsistent
from agents.records import Record

EVIDENCE = (
    "verdicts",
    "incidents",
    "reviews",
    "rulings",
    "triage",
    "config",
    "safeguards",
    "signals",
    "observations",
    "manifests",
)
"""Short names of the topics whose partitions are logs. Dead letters and outcomes are not: they hold personal data."""
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch of records adds to a log."""

    state: LogState
    files: Mapping[str, bytes]
    """Tiles, bundles and blobs to make durable before the commit: path under the store → bytes."""
    checkpoint: Checkpoint
    leaves: int
    """How many records became leaves."""

    @property
    def text(self) -> str:
        """The checkpoint's text, to be signed."""
        return self.checkpoint.text()


def origin(prefix: str, topic: str, partition: int) -> str:
    """The name of the log of a partition; `topic` is the short name. The log of `checkpoints` is the root log.

    >>> origin("gim", "verdicts", 0), origin("gim", "checkpoints", 0)
    ('gim/verdicts/0', 'gim/root')
    """
    return root_origin(prefix) if topic == CHECKPOINTS else f"{prefix}/{topic}/{partition}"


def root_origin(prefix: str) -> str:
    """The name of the log of checkpoints."""
    return f"{prefix}/root"


def audit(state: LogState, records: Sequence[Record]) -> Step:
    """Append committed records, in offset order, of the partition that `state.origin` stands for.

    In the root log, records whose key is the root log's own origin are no leaves: they are its own checkpoints.

    Raises:
        Inconsistent: offsets do not increase, or a record is of another topic or partition.
    """
    own = state.origin.encode() if state.origin == root_origin(state.origin.partition("/")[0]) else None
    files: dict[str, bytes] = {}
    entries: list[bytes] = []
    before: Record | None = None
    for record in records:
        if before is not None and (record.offset <= before.offset or record.partition != before.partition):
            raise Inconsistent(
                f"{state.origin}: record {record.topic}/{record.partition}/{record.offset} comes after "
                f"{before.topic}/{before.partition}/{before.offset}; a log takes one partition in offset order"
            )
        before = record
        if own is not None and record.key == own:
            continue
        entry, blobs = encode(record)
        entries.append(entry)
        for digest, blob in blobs.items():
            files[f"{state.origin}/{blob_path(digest)}"] = blob
    new, written, root = extend(state, entries)
    files.update(written)
    return Step(new, files, Checkpoint(new.origin, new.size, root), len(entries))


def blob_path(sha256: str) -> str:
    """Where a log keeps a field too large for an entry, under the log's folder."""
    return f"blobs/{sha256}"
