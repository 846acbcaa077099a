"""The escalation agent as its one lane runs it: what stands as tables, state in parts of a snapshot.

The configuration is an input, so the manifest of a step says by which one an incident was routed and an answer judged.
Without a configuration nothing is folded; the lane waits and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from agents.errors import NotReady, Poison
from agents.escalation.agent import EscalationAgent, Inputs
from agents.events import Severity, SnapshotData
from agents.policy.flags import FlagBook
from agents.policy.standing import Standing
from agents.policy.times import iso
from agents.records import Record, Stretch
from orchestration.settings import Settings
from orchestration.work import Input, LaneName, State, Taken


def escalation_lane(settings: Settings) -> LaneName:
    """The name of the one lane."""
    return LaneName(settings.prefix, "escalation", settings.topic("flags"), 0)


def escalation_inputs(settings: Settings) -> tuple[Input, ...]:
    """What the lane takes, in this order: what stands, what others said of incidents, answers, flags, the time.

    After a restart answers come before all that tells the time: brokers answer in any order, and one given in time counts.
    """
    tables = [Input(settings.topic(name), 0, "table") for name in ("config", "signals")]
    streams = [Input(settings.topic(name), 0, early=name == "reviews") for name in ("triage", "reviews", "flags")]
    return (*tables, *streams, Input(settings.topic("ticks"), 0, "clock"))


class EscalationWork:
    """Folds flags, signals, triage, reviews and time into incidents and rulings."""

    reach = 0
    durable = False
    snapshot_due = False

    def __init__(self, settings: Settings, name: LaneName) -> None:
        self.settings, self.name = settings, name
        self._standing = Standing()
        self._refused: list[Poison] = []
        self._kept: tuple[SnapshotData | None, Mapping[str, Mapping[str, Any]]] = (None, {})
        self._early: list[Record] = []  # signals that were seen before the configuration
        self._agent: EscalationAgent | None = None
        self._digest = ""

    def restore(self, snapshot: SnapshotData | None, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember the snapshot until the configuration that it was made under is known."""
        self._kept = (snapshot, parts)

    def load(self, table: Input, records: Sequence[Record]) -> None:
        """Configuration and signals as they stood at the snapshot."""
        if table.topic == self.settings.topic("config"):
            self._configure(records)
            self._refused.clear()  # flagged when they came
        else:
            self._early += records

    def recall(self, records: Sequence[Record]) -> None:
        """Nothing looks back."""

    def decide(self, taken: Sequence[Taken]) -> Iterable[Stretch]:
        """One step."""
        config, signals, triage, reviews, flags, ticks = (one.records for one in taken)
        if self._standing.ready:
            self._ready()  # as it stood at the snapshot: a configuration that came since is a change like any other
        self._configure(config)
        agent = self._ready()
        if self._standing.digest != self._digest:
            agent.switch(self._standing.configuration)
            self._digest = self._standing.digest
        yield from agent.take(Inputs(signals, triage, reviews, flags, ticks))
        yield from self._flags(agent, taken[4].start)

    def prepare(self) -> None:
        """Nothing outside Kafka."""

    def settle(self) -> None:
        """Nothing outside Kafka."""

    def remark(self) -> str:
        """That nobody hears of what is open, where nobody is declared."""
        desk = self._agent.desk if self._agent is not None else None
        if desk is None or desk.desks.staffed or not any(live.open for live in desk.state.live.values()):
            return ""
        return "incidents are open, and nobody is declared who could be told: see `escalation:` in docs/escalation.md"

    def snapshot(self) -> State:
        """Clock, sequences and what is small in the head; incidents in parts."""
        state = self._ready().desk.state
        changed, removed = state.parts()
        head = SnapshotData(lane="", offsets={}, sequence=dict(state.sequence), now_ms=state.now_ms, state=state.head())
        return State(head, changed, removed)

    def _configure(self, records: Sequence[Record]) -> None:
        self._standing, refused = self._standing.fold("config", records)
        self._refused += refused

    def _ready(self) -> EscalationAgent:
        """The agent, made from the snapshot when the configuration is first known; raises NotReady before."""
        if self._agent is None:
            if not self._standing.ready:
                raise NotReady(
                    f"no configuration on {self.settings.topic('config')}: run `govern config apply DIR`; "
                    "until then no incident is made"
                )
            agent = EscalationAgent(
                self.settings.prefix, self.name.topic, self.name.partition, self._standing.configuration
            )
            agent.hear(self._early)
            self._early.clear()
            snapshot, parts = self._kept
            if snapshot is not None:
                agent.restore(snapshot.now_ms, snapshot.sequence, snapshot.state, parts)
            self._agent, self._digest, self._kept = agent, self._standing.digest, (None, {})
        return self._agent

    def _flags(self, agent: EscalationAgent, offset: int) -> Iterator[Stretch]:
        """One flag for what these inputs hold and nobody can follow; it is told once."""
        refused = [*self._refused, *agent.refused]
        self._refused.clear()
        agent.refused.clear()
        if refused:
            book = FlagBook(self.settings.prefix, self.name.topic, self.name.partition, speaker=self.name.agent)
            for one in refused:
                cause = f"{self.name.agent}/{one.reason}"
                told = partial(str, one)
                book.add(cause, None, None, offset, severity=Severity.ERROR, effect=None, reason=told)
            yield (self.settings.topic("flags"), 0), book.messages(iso(max(agent.now_ms, 0)))
