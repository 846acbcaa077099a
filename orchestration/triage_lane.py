"""The triage agent as its lane runs it: what stands comes as tables, its memory in parts of a snapshot.

It asks no LLM and waits for nobody: its manifests can be decided again, and what it writes is what reviewers see first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from agents.events import Severity, SnapshotData
from agents.policy.flags import FlagBook
from agents.policy.times import iso
from agents.records import Record, Stretch
from agents.slices import Slices
from agents.triage.agent import TriageAgent
from orchestration.settings import Settings
from orchestration.work import Input, LaneName, State, Taken

TABLES = ("config", "signals", "safeguards")


def triage_inputs(settings: Settings) -> tuple[Input, ...]:
    """What the triage lane takes, in this order: what stands, how incidents ended, incidents, the time."""
    tables = [Input(settings.topic(one), 0, "table") for one in TABLES]
    streams = [Input(settings.topic(one), 0) for one in ("rulings", "incidents")]
    return (*tables, *streams, Input(settings.topic("ticks"), 0, "clock"))


class TriageWork:
    """A ManifestWork around one TriageAgent."""

    reach = 0
    durable = False
    snapshot_due = False

    def __init__(self, settings: Settings, name: LaneName) -> None:
        self.settings, self.name = settings, name
        self.agent = TriageAgent(settings.prefix, name.topic, name.partition)
        self._slices = Slices()
        self._written: dict[str, str] = {}  # slice → digest of what was written last

    def restore(self, snapshot: SnapshotData | None, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the state of a snapshot; the tables follow."""
        if snapshot is not None:
            self.agent.sequence = dict(snapshot.sequence)
            whole = dict(self._slices.joined(parts))
            self.agent.restore(snapshot.now_ms, snapshot.state, whole.get("open", {}), whole.get("past", {}))

    def load(self, table: Input, records: Sequence[Record]) -> None:
        """What stood at the snapshot."""
        self.agent.load(self._short(table), records)

    def recall(self, records: Sequence[Record]) -> None:
        """Nothing looks back."""

    def decide(self, taken: Sequence[Taken]) -> Iterable[Stretch]:
        """Tell of what is new or worse."""
        found = {self._short(one.input): one for one in taken}
        tables = {name: found[name].records for name in TABLES}
        told = (found[name].records for name in ("rulings", "incidents", "ticks"))
        yield from self.agent.take(tables, *told)
        yield from self._flags(found["incidents"].start)

    def prepare(self) -> None:
        """Nothing outside Kafka."""

    def settle(self) -> None:
        """Nothing outside Kafka."""

    def snapshot(self) -> State:
        """Recent changes in the head; open and past incidents as parts, in slices."""
        agent = self.agent
        opened, shorter = self._slices.cut("open", agent.open_incidents())
        past, fewer = self._slices.cut("past", agent.memory.plain())
        slices = {**opened, **past}
        digests = {name: hashlib.sha256(one["text"].encode()).hexdigest() for name, one in slices.items()}
        changed = {name: one for name, one in slices.items() if self._written.get(name) != digests[name]}
        self._written = digests
        head = SnapshotData(lane="", offsets={}, sequence=dict(agent.sequence), now_ms=agent.now_ms, state=agent.head())
        return State(head, changed, [*shorter, *fewer])

    def _short(self, one: Input) -> str:
        return one.topic.removeprefix(f"{self.settings.prefix}.")

    def _flags(self, offset: int) -> Iterator[Stretch]:
        """One flag for what these inputs hold and cannot be followed; it is told once."""
        refused, agent = [*self.agent.refused], self.agent
        agent.refused.clear()
        if refused:
            book = FlagBook(self.settings.prefix, self.name.topic, self.name.partition, speaker="triage")
            for one in refused:
                told = partial(str, one)
                book.add(f"triage/{one.reason}", None, None, offset, severity=Severity.ERROR, effect=None, reason=told)
            yield (self.settings.topic("flags"), 0), book.messages(iso(max(agent.now_ms, 0)))
