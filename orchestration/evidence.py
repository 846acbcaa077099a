"""What audit and archive lanes run: evidence records become leaves, files and a signed checkpoint; decisions are archived.

Order (docs/design.md, section 10): bundles and tiles, synced; then one transaction with the checkpoint and the input
offsets; then the `checkpoint` file and its publication. Whatever dies in between, the next start writes the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from agents.audit.agent import Step, audit
from agents.audit.notes import Checkpoint, Signer
from agents.audit.tiles import LogState, load
from agents.events import SnapshotData
from agents.records import Record, Stretch
from orchestration.log_store import LogStore, publish

EXPIRE_EVERY_S = 3600.0


class AuditWork:
    """Keeps the log of one evidence partition; `origin` is the log's name, `checkpoints` the full topic name."""

    reach = 0
    durable = True
    snapshot_due = True  # the log's size goes with every transaction: it says what the committed offset stands for

    def __init__(self, origin: str, store: LogStore, signer: Signer, checkpoints: str, publish_to: str = "") -> None:
        self.origin, self.store, self.signer = origin, store, signer
        self._checkpoints, self._publish_to = checkpoints, publish_to
        self._state = LogState(origin, 0, b"", (b"",))
        self._step: Step | None = None
        self._note: bytes | None = None
        self._now_ms = -1

    def restore(self, snapshot: SnapshotData | None) -> None:
        """The log's state at the snapshot's size, from the store; the note of that size is signed again (same bytes)."""
        if snapshot is None:
            return
        self._now_ms = snapshot.now_ms
        self._state = load(self.store.read, self.origin, snapshot.state["size"])
        self._sign()

    def recall(self, records: Sequence[Record]) -> None:
        """Nothing: a log only looks forward."""

    def fold(self, records: Sequence[Record]) -> None:
        """Records whose leaves are stored already."""
        self._advance(records)
        self._step = None
        self._sign()

    def decide(self, records: Sequence[Record], standing: Any) -> Iterable[Stretch]:
        """Leaves for the records, and the signed checkpoint; nothing where no record becomes a leaf."""
        step = self._advance(records)
        if not step.leaves:
            return []
        self._note = self.signer.sign(step.text)
        return [((self._checkpoints, 0), [(self.origin.encode(), self._note, ())])]

    def prepare(self) -> None:
        """Tiles, bundles and blobs, before the transaction that refers to them."""
        if self._step is not None and self._step.leaves:
            self.store.write(self._step.files)

    def settle(self) -> None:
        """The committed checkpoint as a file, here and at the second place."""
        if self._note is None:
            return
        self.store.write_checkpoint(self._note)
        if self._publish_to:
            publish(self._note, self._publish_to)
        self._note = None

    def snapshot(self) -> SnapshotData:
        """The log's size."""
        return SnapshotData(lane="", offsets={}, sequence={}, now_ms=self._now_ms, state={"size": self._state.size})

    def _advance(self, records: Sequence[Record]) -> Step:
        self._step = audit(self._state, records)
        self._state = self._step.state
        self._now_ms = max([self._now_ms, *(record.timestamp for record in records)])
        return self._step

    def _sign(self) -> None:
        if self._state.size:
            root = self._state.root()
            self._note = self.signer.sign(Checkpoint(self.origin, self._state.size, root).text())


class Keeper(Protocol):
    """What an archive does for its lane (orchestration/archive.py)."""

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> object: ...
    def expire(self, topic: str, partition: int, retention_ms: int, now_ms: int) -> object: ...


class ArchiveWork:
    """Copies decision bytes of one partition into the archive, for replays."""

    reach = 0
    durable = True
    snapshot_due = False

    def __init__(self, archive: Keeper, topic: str, partition: int, retention_ms: int) -> None:
        self.archive, self.topic, self.partition = archive, topic, partition
        self._retention_ms, self._expire_at = retention_ms, 0.0
        self._records: Sequence[Record] = ()
        self._now_ms = -1

    def restore(self, snapshot: SnapshotData | None) -> None:
        """Nothing but the clock."""
        self._now_ms = snapshot.now_ms if snapshot else -1

    def recall(self, records: Sequence[Record]) -> None:
        """Nothing."""

    def fold(self, records: Sequence[Record]) -> None:
        """They are archived already."""

    def decide(self, records: Sequence[Record], standing: Any) -> Iterable[Stretch]:
        """No output: the archive is the output."""
        self._records = records
        self._now_ms = max([self._now_ms, *(record.timestamp for record in records)])
        return []

    def prepare(self) -> None:
        """Write the batch; after a crash the same offsets are written again, in other chunks that overlap."""
        self.archive.append(self.topic, self.partition, self._records)

    def settle(self) -> None:
        """Once in a while, delete what the replay retention no longer keeps."""
        self._records = ()
        if time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + EXPIRE_EVERY_S
            self.archive.expire(self.topic, self.partition, self._retention_ms, int(time.time() * 1000))

    def snapshot(self) -> SnapshotData:
        """That this lane has begun."""
        return SnapshotData(lane="", offsets={}, sequence={}, now_ms=self._now_ms)
