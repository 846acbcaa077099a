"""The joining part of the monitor agent as a lane runs it: cases, outcomes and ticks in; observations of matured cases out.

Cases and outcomes are tables to the lane: what this work remembers of them is all of both topics up to the offsets and the
lane's clock (agents/monitor/joining.py). So a start needs no state but the snapshot's small head: the store on the local disk
only says from where on the topics must be read again, and may be deleted at any time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agents.errors import Retryable
from agents.events import Severity, SnapshotData
from agents.monitor.join_agent import JoinAgent
from agents.policy.flags import FlagBook
from agents.policy.times import iso
from agents.records import Record, Stretch
from orchestration.case_store import CaseStore, Stored
from orchestration.label_retention import remembered_ms
from orchestration.monitor_lanes import MonitorWork
from orchestration.settings import Settings
from orchestration.work import Input, LaneName, State, Taken

log = logging.getLogger("governance.case-store")

STORE_S = 60.0
"""How often the store is written, at most: a million cases take a second, and seeing a minute again takes less."""


def join_inputs(settings: Settings, partition: int) -> tuple[Input, ...]:
    """What a join lane takes, in this order: what stands, cases, outcomes, the time."""
    cases, outcomes = (Input(settings.topic(name), partition, "table") for name in ("cases", "outcomes"))
    return (Input(settings.topic("config"), 0, "table"), cases, outcomes, Input(settings.topic("ticks"), 0, "clock"))


class JoinWork(MonitorWork):
    """Joins one partition of cases with the same partition of outcomes."""

    durable = True

    def __init__(self, settings: Settings, name: LaneName, key: bytes, every_s: float = STORE_S) -> None:
        """`key` is for hashing identities; the store is written every `every_s` seconds at most."""
        super().__init__(settings, name)
        self.store = CaseStore(settings.data_dir / "cases" / name.transactional_id)
        self._key, self._every_s, self._next = key, every_s, 0.0
        _, self._cases, self._outcomes, _ = join_inputs(settings, name.partition)
        self._offsets: dict[str, int] = {}
        self._saved = False  # True between a snapshot and the settling of its transaction
        self._stored: Stored | None = None
        self._recalling = False
        self._agent: JoinAgent | None = None

    def restore(self, snapshot: SnapshotData | None, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the store where it is no newer than the snapshot; without it everything is shown again."""
        super().restore(snapshot, parts)
        if snapshot is None:
            return
        self._offsets, self._recalling = dict(snapshot.offsets), True
        stored = self.store.load()
        if stored is not None and self._fits(stored, snapshot):
            self._stored = stored

    def _fits(self, stored: Stored, snapshot: SnapshotData) -> bool:
        places = (str(self._cases), str(self._outcomes))
        older = all(stored.offsets.get(one, 0) <= snapshot.offsets.get(one, 0) for one in places)
        return older and stored.kept.meta.get("clock", [0])[0] <= snapshot.now_ms

    def seen(self, table: Input) -> int:
        """Where the store ends."""
        return self._stored.offsets.get(str(table), 0) if self._stored and table in (self._cases, self._outcomes) else 0

    def load(self, table: Input, records: Sequence[Record]) -> None:
        """The configuration as it stood at the snapshot, and what was taken of cases and outcomes since the store."""
        if table == self._cases:
            self._ready().recall(cases=records)
        elif table == self._outcomes:
            self._ready().recall(outcomes=records)
        else:
            self.configured.fold(records)

    def recall(self, records: Sequence[Record]) -> None:
        """Nothing looks back."""

    def decide(self, taken: Sequence[Taken]) -> Iterable[Stretch]:
        """Join what was taken, and count what is mature."""
        config, cases, outcomes, ticks = taken
        self.configured.fold(config.records)
        agent = self._current()
        if self.configured.standing.digest != self._digest:
            agent.switch(*self.configured.now())
            self._digest = self.configured.standing.digest
        yield from agent.take(cases.records, outcomes.records, ticks.records)
        yield from self.flags(agent, cases.start)
        yield from self._orphaned(agent, outcomes.start)
        self._offsets.update((str(one.input), one.end) for one in taken)

    def _orphaned(self, agent: JoinAgent, offset: int) -> Iterator[Stretch]:
        """One flag for outcomes that were given up, with their number."""
        book = FlagBook(self.settings.prefix, self._outcomes.topic, self._outcomes.partition, speaker=self.name.agent)
        told = "outcomes came for decisions without a case: is the model watched, and their key that of the decision?"
        for _ in range(agent.orphaned):
            severity = Severity.WARNING
            book.add("join/orphaned", None, None, offset, severity=severity, effect=None, reason=lambda: told)
        if book:
            yield (self.settings.topic("flags"), 0), book.messages(iso(max(agent.now_ms, 0)))

    def snapshot(self) -> State:
        """Clock, sequence and what was settled; the cases are in the topics, and in the store to be read sooner."""
        agent = self._current()
        self._saved = True
        state = {"settled": dict(agent.join.settled)}
        return State(SnapshotData(lane="", offsets={}, sequence=dict(agent.sequence), now_ms=agent.now_ms, state=state))

    def settle(self) -> None:
        """Write the store where a snapshot was committed with this very state, and the last time is long enough ago."""
        due, self._saved = self._saved and time.monotonic() >= self._next, False
        if not due or self._agent is None:
            return
        try:
            self.store.save(self._agent.join.dump(), self._offsets)
        except OSError as error:
            log.warning("%s cannot be written, so the next start takes longer: %s", self.store.path, error)
        self._next = time.monotonic() + self._every_s

    def _current(self) -> JoinAgent:
        """The agent, once it was shown all that came before."""
        agent = self._ready()
        snapshot, _ = self._kept
        if self._recalling and snapshot is not None:
            agent.recalled(snapshot.now_ms, snapshot.sequence)
            self._recalling = False
        return agent

    def _ready(self) -> JoinAgent:
        """The agent, made when the configuration is first known; raises NotReady before."""
        if self._agent is None:
            configuration, profiles = self.configured.now()
            agent = JoinAgent(
                self.settings.prefix,
                self.name.topic,
                self.name.partition,
                configuration,
                profiles,
                self._key,
                self.settings.observation_partitions,
                *remembered_ms(self.settings),
                kinds=self.kinds,
            )
            if self._recalling:
                self._load_into(agent)
            self._agent, self._digest = agent, self.configured.standing.digest
        return self._agent

    def _load_into(self, agent: JoinAgent) -> None:
        snapshot, _ = self._kept
        settled = {} if snapshot is None else snapshot.state.get("settled", {})
        try:
            agent.load(None if self._stored is None else self._stored.kept, settled)
        except (ValueError, KeyError, TypeError) as error:
            self.store.delete()  # where to read from was answered already: only another start can do without it
            raise Retryable(f"{self.store.path} cannot be used and was deleted: {error}") from error
