"""What a lane runs and what it is told: its name and pace, the work inside it, what stands around it, how it reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from agents.errors import Poison
from agents.events import SnapshotData
from agents.records import Record, Stretch


@dataclass(frozen=True, slots=True)
class LaneName:
    """Which lane; `topic` is the full Kafka name of its main topic."""

    prefix: str
    agent: str
    topic: str
    partition: int

    @property
    def transactional_id(self) -> str:
        return f"{self.prefix}.{self.agent}.{self.topic}.{self.partition}"

    @property
    def group(self) -> str:
        return f"{self.prefix}.{self.agent}"

    def __str__(self) -> str:
        return f"{self.agent}/{self.topic}/{self.partition}"


class Work(Protocol):
    """What a lane runs. A new one is made at every start; on any failure it is thrown away with all it remembers."""

    @property
    def reach(self) -> int:
        """How many committed records before the committed offset it must see again at a start (0: none)."""

    @property
    def durable(self) -> bool:
        """True where `prepare` and `settle` write files; they then run in a thread of their own."""

    @property
    def snapshot_due(self) -> bool:
        """True where the next transaction must carry a snapshot whatever the clock says."""

    def restore(self, snapshot: SnapshotData | None) -> None:
        """Take the state of a snapshot; None: this lane has never committed anything."""

    def recall(self, records: Sequence[Record]) -> None:
        """See records from before the snapshot again (at most `reach`), for what only looks back."""

    def fold(self, records: Sequence[Record]) -> None:
        """Take records between the snapshot and the committed offset into the state, without output."""

    def decide(self, records: Sequence[Record], standing: Any) -> Iterable[Stretch]:
        """Step 3, pure: what this batch writes. The state has moved on when every stretch was taken."""

    def prepare(self) -> None:
        """Make durable outside Kafka what the transaction will refer to; idempotent. Runs before the transaction."""

    def settle(self) -> None:
        """Finish outside Kafka what the committed transaction allows; idempotent, repeated at a start if it was cut off."""

    def snapshot(self) -> SnapshotData | None:
        """The present state without lane, offsets; None where this agent keeps none beyond its outputs."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input partition of a lane with several; `topic` is the full Kafka name."""

    topic: str
    partition: int
    kind: Literal["stream", "table", "clock"] = "stream"
    """stream: records that a snapshot must carry the effect of. table: a compacted topic whose state is all of it up to the
    offset (attributes, config); it is read again at each start, and is known before any stream is read. clock: records of
    which only the time matters (ticks); deleted ones are passed over."""
    early: bool = False
    """A stream of which what stood on it when the lane opened is taken before other streams and clocks: answers that were
    given in time are read before a deadline passes."""

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step takes of one input: all committed records with start <= offset < end; none where the two are equal."""

    input: Input
    start: int
    end: int
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class State:
    """A snapshot in parts: the head, and what changed since the last one (or since `restore`)."""

    head: SnapshotData
    """The small state without lane, offsets and parts."""
    changed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part → its whole new content: JSON values, finite floats, at most 700 kB encoded."""
    removed: Collection[str] = ()
    """Parts that no longer exist."""


class ManifestWork(Protocol):
    """What a lane with several inputs runs. A new one is made at every start and thrown away on any failure.

    Calls at a start: `restore`, `load` for each table, `recall`, then `decide` again for the steps since the snapshot.
    """

    @property
    def reach(self) -> int:
        """How many committed records of the main topic before the snapshot it must see again at a start (0: none)."""

    @property
    def durable(self) -> bool:
        """True where `prepare` and `settle` write files; they then run in a thread of their own."""

    @property
    def snapshot_due(self) -> bool:
        """True where the step just decided must be committed now, with a snapshot."""

    def restore(self, snapshot: SnapshotData | None, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the state of a snapshot; None: this lane has never committed anything."""

    def load(self, table: Input, records: Sequence[Record]) -> None:
        """See a table's records from before the snapshot, in offset order; comes again and again until all are seen."""

    def recall(self, records: Sequence[Record]) -> None:
        """See records of the main topic from before the snapshot again (at most `reach`), for what only looks back."""

    def decide(self, taken: Sequence[Taken]) -> Iterable[Stretch]:
        """Step 3, pure: what this step writes. `taken` has every input in the lane's order, also those without records.

        The state has moved on when every stretch was taken. The same state and the same records, cut the same way, must
        give the same bytes: nothing but this is known of a step afterwards.
        """

    def prepare(self) -> None:
        """Make durable outside Kafka what the transaction will refer to; idempotent. Runs before the transaction."""

    def settle(self) -> None:
        """Finish outside Kafka what the committed transaction allows; idempotent, repeated at a start if it was cut off."""

    def snapshot(self) -> State:
        """The present state; what changed is then no longer reported as changed."""


@runtime_checkable
class Remembering(Protocol):
    """A ManifestWork that keeps tables in a store of its own, and need not be shown all of them again."""

    def seen(self, table: Input) -> int:
        """The first offset of a table that it must be shown, asked after `restore`; 0: all of it."""


@runtime_checkable
class Remarking(Protocol):
    """A ManifestWork that has something to say of what it is given, beside its outputs."""

    def remark(self) -> str:
        """What an operator should mend, in a sentence or two; empty where all is well. Asked at every turn of the loop."""


class Standing(Protocol):
    """The standing topics as a lane sees them between two batches."""

    async def open(self) -> None:
        """Read config, signals and safeguards to the ends seen now; raises NotReady without a configuration."""

    async def poll(self) -> Any:
        """What stands now, with its as_of: never blocks."""

    refused: list[Poison]
    """Records that break the contract and are not followed; the lane flags them and empties the list."""

    async def close(self) -> None:
        """Give the connection back."""


@dataclass
class LaneStatus:
    """What `govern status` shows of a lane; plain values only."""

    lane: str
    state: str = "starting"
    """starting, waiting, running, retrying, stopped, fenced, failed."""
    detail: str = ""
    next_offset: int = 0
    lag: int = 0
    records: int = 0
    transactions: int = 0
    restarts: int = 0
    configuration: str | None = None
    committed_at: float = 0.0
    """Seconds since 1970, UTC, of the last commit; 0 before the first."""
    turned_at: float = 0.0
    """The process's monotonic clock when the loop last turned, in seconds: its heartbeat."""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Pace:
    """When a batch is complete: by size, or by age since its first record."""

    records: int
    """With several inputs: of each."""
    age_ms: int
    snapshot_ms: int
    commit_timeout_s: float = 10.0
    lazy_ms: int = 3_000
    """With several inputs: a step that writes nothing is committed within so many ms, with those that follow it."""
