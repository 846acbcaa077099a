"""The joining part of the monitor agent: cases and late labels of one partition in, observations of matured cases out.

Promise: every case that has an outcome is counted in exactly one observation, once it is mature; what was joined, late,
missing or revised stands beside the counts, so that coverage can be judged. Any batch gives the same bytes whenever its
records and what is remembered are the same, and what is remembered can be had again from the topics (joining.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from agents.configuration import Configuration
from agents.errors import Poison
from agents.monitor.compilation import compile_monitors
from agents.monitor.contract import Counts, Monitor
from agents.monitor.counting import Counted, Counter, nested
from agents.monitor.coverage import LabelCoverage
from agents.monitor.joined import Joined
from agents.monitor.joining import DAY_MS, Join, Kept
from agents.monitor.matured import Matured
from agents.monitor.profiles import Profile
from agents.monitor.registry import KINDS
from agents.partitions import partition_of
from agents.policy.times import iso
from agents.records import Message, Record, Stretch

TALLY = "~joining"
"""Among the counts of an observation: what was joined (joined.TALLIES). No monitor can have this name."""
_encode = msgspec.json.Encoder().encode


def counters_of(
    configuration: Configuration, profiles: Mapping[str, Profile], kinds: Mapping[str, type[Monitor]]
) -> dict[str, Counter]:
    """A counter of matured cases for every model with outcomes; raises Misconfigured."""
    watched = compile_monitors(configuration, profiles, kinds)
    return {
        name: Counter(one, stage="outcomes") for name, one in watched.items() if configuration.models[name].outcomes
    }


def counted(one: Matured, counter: Counter) -> list[Counted]:
    """Observations of one version's matured cases, in stretches."""
    declaration = counter.watched.declaration
    clock = np.full(len(one), one.clock_ms, dtype=np.int64)
    once = None if bool(one.once.all()) else one.once
    versions = [one.version] * len(one)
    return counter.count(one.frame(counter.columns, declaration), versions, clock, one.group_codes(declaration), once)


@dataclass
class JoinAgent:
    """Joins one partition of cases with the same partition of outcomes; holds what a lane remembers between batches."""

    prefix: str
    topic: str
    """Of the cases, the full name."""
    partition: int
    configuration: Configuration
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    key: bytes = b""
    """For hashing identities."""
    observation_partitions: int = 1
    retention_ms: int = 400 * DAY_MS
    patience_ms: int = DAY_MS
    kinds: Mapping[str, type[Monitor]] = field(default_factory=lambda: KINDS)

    def __post_init__(self) -> None:
        self.writer = f"{self.prefix}.join.{self.topic}.{self.partition}"
        self.sequence: dict[str, int] = {}
        self.counters = counters_of(self.configuration, self.profiles, self.kinds)
        self.digest = self.configuration.digest()
        self.join = self._empty()
        self.orphaned = 0
        """Outcomes that the last batch gave up, because no case came for them."""

    def _empty(self) -> Join:
        return Join(self.configuration, self.key, self.retention_ms, self.patience_ms)

    @property
    def now_ms(self) -> int:
        """The lane's clock: the latest broker time of all inputs."""
        return self.join.now_ms

    @property
    def refused(self) -> list[Poison]:
        """Records that break the contract; whoever flags them empties the list."""
        return self.join.refused

    def switch(self, configuration: Configuration, profiles: Mapping[str, Profile]) -> None:
        """Join and count by another configuration from now on."""
        self.counters = counters_of(configuration, profiles, self.kinds)
        self.join.switch(configuration)
        self.configuration, self.profiles, self.digest = configuration, profiles, configuration.digest()

    def take(self, cases: Sequence[Record], outcomes: Sequence[Record], ticks: Sequence[Record]) -> Iterator[Stretch]:
        """One batch: its cases, then its outcomes, then the time of its last tick."""
        found: dict[int, list[Message]] = {}
        joined = self._joined(cases, outcomes, ticks)
        self.orphaned = joined.orphaned
        told = set()
        for matured in joined.matured:
            told.add((matured.model, matured.version))
            tally = joined.tallies.get((matured.model, matured.version), {})
            self._observe(matured, tally, found)
        for version, tally in joined.tallies.items():
            if version not in told:
                self._tell(*version, tally, found)
        for number, messages in sorted(found.items()):
            yield (f"{self.prefix}.observations", number), messages

    # -- a start: what a store kept, then the records since, in any order and cut; nothing is told twice ---------------

    def load(self, kept: Kept | None, settled: Mapping[str, int] | None = None) -> None:
        """Go on from what a store kept; None: from nothing, to be shown all that the topics hold. `settled` as in Join."""
        self.join = self._empty()
        self.join.settled.update(settled or {})
        if kept is not None:
            self.join.load(kept)
        self.join.room_only = True

    def recall(self, cases: Sequence[Record] = (), outcomes: Sequence[Record] = ()) -> None:
        """See records again that committed steps have taken."""
        self.join.take_cases(cases)
        self.join.take_outcomes(outcomes)
        self.refused.clear()

    def recalled(self, now_ms: int, sequence: Mapping[str, int]) -> None:
        """All was seen that was taken until the lane's clock was `now_ms`: what it says is what was said then."""
        self.join.advance(now_ms)
        self.join.room_only = False
        self.sequence = dict(sequence)

    def _joined(self, cases: Sequence[Record], outcomes: Sequence[Record], ticks: Sequence[Record]) -> Joined:
        self.join.take_cases(cases)
        self.join.take_outcomes(outcomes)
        return self.join.advance(max((tick.timestamp for tick in ticks), default=-1))

    def _observe(self, matured: Matured, tally: Mapping[str, int], found: dict[int, list[Message]]) -> None:
        counter = self.counters[matured.model]
        for number, one in enumerate(counted(matured, counter)):
            first, last = int(matured.offsets[one.first]), int(matured.offsets[one.last])
            counts = dict(one.counts) if number else {**one.counts, **self._tallied(matured.model, tally)}
            identity = f"{self.topic}/{self.partition}/{first}/{matured.model}"
            identity += f"/{one.version}" if one.scope == "version" else f"/{matured.version}/all"
            self._add(matured.model, one.version, identity, (first, last + 1), one, counts, found)

    def _tell(self, model: str, version: str, tally: Mapping[str, int], found: dict[int, list[Message]]) -> None:
        """What happened where no case was given out."""
        if model not in self.counters:
            return
        clock = self.join.clock_of(model)
        one = Counted(version, 0, 0, 0, 0, clock, {})
        place = partition_of(model.encode(), self.observation_partitions)
        number = self.sequence.get(f"{self.prefix}.observations/{place}", 0)
        identity = f"{self.writer}/{number}/{model}/{version}"
        self._add(model, version, identity, (0, 0), one, self._tallied(model, tally), found)

    def _add(
        self,
        model: str,
        version: str,
        identity: str,
        inputs: tuple[int, int],
        one: Counted,
        counts: Mapping[str, Counts],
        found: dict[int, list[Message]],
    ) -> None:
        event = {
            "specversion": "1.0",
            "id": identity[:256],
            "source": f"/{self.prefix}/join",
            "time": iso(max(self.now_ms, 0)),
            "type": "governance.observation.v1",
            "data": {
                "model": model,
                "version": version,
                **({"scope": one.scope} if one.scope == "model" else {}),
                "stage": "outcomes",
                "inputs": {
                    "topic": self.topic,
                    "partition": self.partition,
                    "start": inputs[0],
                    "end": inputs[1],
                },
                "n": one.n,
                "once": one.once,
                "clock_ms": one.clock_ms,
                "config": self.digest,
                "counts": nested(counts),
            },
        }
        place = partition_of(model.encode(), self.observation_partitions)
        found.setdefault(place, []).append((model.encode(), _encode(event), self._numbered(place)))

    def _tallied(self, model: str, tally: Mapping[str, int]) -> dict[str, Counts]:
        """What was joined, for readers of observations and for monitors of the coverage."""
        counts = {name: np.array([count], dtype=np.int64) for name, count in tally.items()}
        watching = [one.name for one in self.counters[model].monitors if isinstance(one, LabelCoverage)]
        return dict.fromkeys((TALLY, *watching), counts)

    def _numbered(self, place: int) -> list[tuple[str, bytes | None]]:
        name = f"{self.prefix}.observations/{place}"
        number = self.sequence.get(name, 0)
        self.sequence[name] = number + 1
        return [("govern-seq", b"%d" % number), ("govern-writer", self.writer.encode())]
