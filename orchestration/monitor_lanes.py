"""The monitor agent's halves as lanes run them: configuration and profiles fetched, states kept in parts of a snapshot.

Both take the configuration as an input, so their manifests say which decision was counted by which one. A lane whose
profile cannot be fetched waits and says so; without a configuration nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import msgspec

from agents.configuration import Configuration
from agents.errors import NotReady, Poison
from agents.events import Severity, SnapshotData
from agents.frames import Sealed
from agents.monitor.agent import AssessAgent
from agents.monitor.contract import Monitor
from agents.monitor.observing import Observer
from agents.monitor.profiles import Profile
from agents.policy.flags import FlagBook
from agents.policy.standing import Standing
from agents.policy.times import iso
from agents.records import Record, Stretch
from orchestration.extensions import kinds
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings
from orchestration.work import Input, LaneName, State, Taken

SLICE = 300_000
"""Characters of a model's state in one part of a snapshot."""


def observe_inputs(settings: Settings, topic: str, partition: int) -> tuple[Input, ...]:
    """What an observe lane takes, in this order: what stands, what is known of subjects, decisions, the time."""
    found = [Input(settings.topic("config"), 0, "table"), Input(settings.topic("attributes"), partition, "table")]
    return (*found, Input(topic, partition), Input(settings.topic("ticks"), 0, "clock"))


def assess_inputs(settings: Settings, partition: int) -> tuple[Input, ...]:
    """What an assess lane takes, in this order."""
    observations = Input(settings.topic("observations"), partition)
    return (Input(settings.topic("config"), 0, "table"), observations, Input(settings.topic("ticks"), 0, "clock"))


@dataclass
class Configured:
    """The configuration as a table of records, with the profiles that it names."""

    settings: Settings
    standing: Standing = field(default_factory=Standing)
    refused: list[Poison] = field(default_factory=list)
    _profiles: dict[str, Profile] = field(default_factory=dict)

    def fold(self, records: Sequence[Record]) -> None:
        """Take records of `config`."""
        self.standing, refused = self.standing.fold("config", records)
        self.refused += refused

    def now(self) -> tuple[Configuration, Mapping[str, Profile]]:
        """What is in force, and its profiles by digest; raises NotReady where either is not there."""
        if not self.standing.ready:
            raise NotReady(
                f"no configuration on {self.settings.topic('config')}: run `govern config apply DIR`; "
                "until then nothing is counted"
            )
        configuration = self.standing.configuration
        wanted = {model.profile for model in configuration.models.values() if model.profile}
        store = ProfileStore(self.settings.profiles_url)
        for digest in sorted(wanted - set(self._profiles)):
            self._profiles[digest] = store.get(digest)
        self._profiles = {digest: self._profiles[digest] for digest in wanted}
        return configuration, dict(self._profiles)


class Refusing(Protocol):
    """An agent that tells which records it could not follow."""

    @property
    def refused(self) -> list[Any]: ...
    @property
    def now_ms(self) -> int: ...


class MonitorWork:
    """What the monitors' lanes share of a ManifestWork."""

    reach = 0
    durable = False
    snapshot_due = False

    def __init__(self, settings: Settings, name: LaneName) -> None:
        self.settings, self.name = settings, name
        self.configured = Configured(settings)
        self.kinds: Mapping[str, type[Monitor]] = kinds()
        self._kept: tuple[SnapshotData | None, Mapping[str, Mapping[str, Any]]] = (None, {})
        self._digest = ""

    def restore(self, snapshot: SnapshotData | None, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember the snapshot until the configuration it was made under is known."""
        self._kept = (snapshot, parts)

    def prepare(self) -> None:
        """Nothing outside Kafka."""

    def settle(self) -> None:
        """Nothing outside Kafka."""

    def flags(self, agent: Refusing, offset: int) -> Iterator[Stretch]:
        """One flag for what these inputs hold and no lane can follow; it is told once."""
        refused = [*self.configured.refused, *agent.refused]
        self.configured.refused.clear()
        agent.refused.clear()
        if refused:
            book = FlagBook(self.settings.prefix, self.name.topic, self.name.partition, speaker=self.name.agent)
            for one in refused:
                cause = f"{self.name.agent}/{one.reason}"
                told = partial(str, one)
                book.add(cause, None, None, offset, severity=Severity.ERROR, effect=None, reason=told)
            yield (self.settings.topic("flags"), 0), book.messages(iso(max(agent.now_ms, 0)))


class ObserveWork(MonitorWork):
    """Counts one partition of decisions."""

    def __init__(self, settings: Settings, name: LaneName, key: bytes, sealed: Sealed | None = None) -> None:
        super().__init__(settings, name)
        self._key, self._sealed = key, sealed
        self._observer: Observer | None = None
        self._early: list[Sequence[Record]] = []  # attributes that came before the configuration

    @property
    def reach(self) -> int:  # type: ignore[override]
        """The duplicate window."""
        return self.configured.standing.configuration.duplicate_window

    def load(self, table: Input, records: Sequence[Record]) -> None:
        """Configuration and attributes as they stood at the snapshot."""
        if table.topic == self.settings.topic("config"):
            self.configured.fold(records)
        elif self.configured.standing.ready:
            observer = self._ready()
            observer.refused += observer.attributes.fold(records)
        else:
            self._early.append(records)

    def recall(self, records: Sequence[Record]) -> None:
        """Fill the duplicate window."""
        if self.configured.standing.ready:
            self._ready().recall(records)

    def decide(self, taken: Sequence[Taken]) -> Iterable[Stretch]:
        """Count what was taken."""
        by_name = {one.input.topic.removeprefix(f"{self.settings.prefix}."): one for one in taken}
        decisions = next(one for one in taken if one.input.topic == self.name.topic)
        self.configured.fold(by_name["config"].records)
        observer = self._ready()
        if self.configured.standing.digest != self._digest:
            configuration, profiles = self.configured.now()
            observer.switch(configuration, profiles, decisions.start)
            self._digest = self.configured.standing.digest
        yield from observer.take(by_name["attributes"].records, decisions.records, by_name["ticks"].records)
        yield from self.flags(observer, decisions.start)

    def remark(self) -> str:
        """Why protected attributes are not known, where that can be mended."""
        return self._observer.unknown.told() if self._observer is not None else ""

    def snapshot(self) -> State:
        """Clocks and sequences in the head; subjects in chunks."""
        observer = self._ready()
        changed, gone = observer.subjects.parts()
        head = SnapshotData(
            lane="",
            offsets={},
            sequence=dict(observer.sequence),
            now_ms=observer.now_ms,
            clocks=dict(observer.clocks),
            window_from={str(Input(self.name.topic, self.name.partition)): observer.window_from},
            state={"progressed_ms": observer.progressed_ms},
        )
        return State(head, changed, gone)

    def _ready(self) -> Observer:
        """The observer, made from the snapshot when the configuration is first known; raises NotReady before."""
        if self._observer is None:
            configuration, profiles = self.configured.now()
            observer = Observer(
                self.settings.prefix,
                self.name.topic,
                self.name.partition,
                configuration,
                profiles,
                self._key,
                self.settings.observation_partitions,
                self.settings.partitions,
                self.kinds,
                self.settings.max_record_bytes,
                self._sealed,
            )
            snapshot, parts = self._kept
            if snapshot is not None:
                observer.now_ms, observer.clocks = snapshot.now_ms, dict(snapshot.clocks)
                observer.sequence = dict(snapshot.sequence)
                observer.window_from = next(iter(snapshot.window_from.values()), 0)
                observer.progressed_ms = snapshot.state.get("progressed_ms", -1)
                observer.subjects.restore(parts)
            for records in self._early:
                observer.refused += observer.attributes.fold(records)
            self._early.clear()
            self._observer, self._digest = observer, self.configured.standing.digest
        return self._observer


class AssessWork(MonitorWork):
    """Judges one partition of observations."""

    def __init__(self, settings: Settings, name: LaneName) -> None:
        super().__init__(settings, name)
        self._agent: AssessAgent | None = None
        self._slices: dict[str, int] = {}  # model → in how many parts its state was written last

    def load(self, table: Input, records: Sequence[Record]) -> None:
        """The configuration as it stood at the snapshot."""
        self.configured.fold(records)

    def recall(self, records: Sequence[Record]) -> None:
        """Nothing looks back."""

    def decide(self, taken: Sequence[Taken]) -> Iterable[Stretch]:
        """Judge what was taken."""
        config, observations, ticks = taken
        if self.configured.standing.ready:
            self._ready()  # as it stood at the snapshot: a configuration in the first step since is a change like any other
        self.configured.fold(config.records)
        agent = self._ready()
        if self.configured.standing.digest != self._digest:
            agent.switch(*self.configured.now())
            self._digest = self.configured.standing.digest
        yield from agent.take(observations.records, ticks.records)
        yield from self.flags(agent, observations.start)

    def snapshot(self) -> State:
        """What is not of one model in the head; of models that changed, their states in slices."""
        agent = self._ready()
        changed: dict[str, dict[str, Any]] = {}
        removed: list[str] = []
        for model in sorted(agent.dirty):
            assessor = agent.assessors.get(model)
            text = "" if assessor is None else msgspec.json.encode(assessor.snapshot()).decode()
            pieces = [text[start : start + SLICE] for start in range(0, len(text), SLICE)]
            changed |= {_slice(model, number): {"text": piece} for number, piece in enumerate(pieces)}
            removed += [_slice(model, number) for number in range(len(pieces), self._slices.get(model, 0))]
            self._slices[model] = len(pieces)
        agent.dirty.clear()
        head = SnapshotData(lane="", offsets={}, sequence=dict(agent.sequence), now_ms=agent.now_ms, state=agent.head())
        return State(head, changed, removed)

    def _ready(self) -> AssessAgent:
        if self._agent is None:
            configuration, profiles = self.configured.now()
            agent = AssessAgent(
                self.settings.prefix,
                self.name.topic,
                self.name.partition,
                configuration,
                self.settings.observation_partitions,
                profiles,
                self.kinds,
            )
            snapshot, parts = self._kept
            if snapshot is not None:
                agent.sequence = dict(snapshot.sequence)
                agent.restore(snapshot.now_ms, snapshot.state, self._models(parts))
            self._agent, self._digest = agent, self.configured.standing.digest
        return self._agent

    def _models(self, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        texts: dict[str, list[tuple[int, str]]] = {}
        for name, content in parts.items():
            _, model, number = msgspec.json.decode(name)
            texts.setdefault(model, []).append((number, content["text"]))
        self._slices = {model: len(pieces) for model, pieces in texts.items()}
        return {model: msgspec.json.decode("".join(t for _, t in sorted(pieces))) for model, pieces in texts.items()}


def _slice(model: str, number: int) -> str:
    return msgspec.json.encode(["model", model, number]).decode()
