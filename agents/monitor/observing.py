"""The observe half of the monitor agent: decisions of one partition in, observations and cases out.

Promise: every decision that is neither malformed nor a repeat of another is counted in exactly one observation, and the
sums do not depend on how the partition was cut into batches. Protected attributes are read here and in no other lane; what
leaves are counts, and cases, which only join lanes read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import polars as pl

from agents.columns import GROUPS
from agents.configuration import Configuration, Model
from agents.decoding import VALUE_LIMIT
from agents.events import ProgressData
from agents.frames import Group, Reader, Sealed
from agents.monitor.attributes import AttributeTable, BadAttributes, group_codes, prefer
from agents.monitor.compilation import compile_monitors
from agents.monitor.contract import Bools, Ints, Monitor
from agents.monitor.counting import Counted, Counter, nested
from agents.monitor.intake import CALENDAR, calendars_of, with_calendar
from agents.monitor.profiles import Profile
from agents.monitor.registry import KINDS
from agents.monitor.subjects import Subjects
from agents.monitor.unknown import Unknown
from agents.partitions import partition_of
from agents.policy.times import iso
from agents.policy.window import Window
from agents.records import Message, Record, Stretch

_encode = msgspec.json.Encoder().encode
PROGRESS_MS = 1_000


@dataclass
class Prepared:
    """What one configuration asks an observe lane to do."""

    configuration: Configuration
    digest: str
    reader: Reader
    counters: Mapping[str, Counter]
    calendars: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        profiles: Mapping[str, Profile],
        kinds: Mapping[str, type[Monitor]],
        value_limit: int,
        sealed: Sealed | None,
    ) -> Prepared:
        """Compile it; raises Misconfigured."""
        watched = compile_monitors(configuration, profiles, kinds)
        counters = {name: Counter(one) for name, one in watched.items() if one.monitors}
        columns = {"subject", "model.version", "output.label", "output.score", "broker_time_ms"}
        for name, counter in counters.items():
            columns |= set(counter.columns) - {CALENDAR}
            columns |= {column for one in counter.watched.monitors for column in _segment_columns(one)}
            model = configuration.models[name]
            if not model.groups_in_events:
                columns -= {f"{GROUPS}{one}" for one in model.groups}
        for name, model in configuration.models.items():
            if name in counters and model.groups_in_events:
                columns |= {f"{GROUPS}{one}" for one in model.groups}
        reader = Reader(configuration, columns, value_limit, sealed)
        return cls(configuration, configuration.digest(), reader, counters, calendars_of(configuration))


@dataclass
class Observer:
    """Counts one partition of decisions; holds what a lane remembers between batches."""

    prefix: str
    topic: str
    partition: int
    configuration: Configuration
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    """By digest: those that the configuration names and that could be fetched."""
    key: bytes = b""
    """For hashing subjects."""
    observation_partitions: int = 1
    case_partitions: int = 1
    """Of `cases`, and of `attributes`."""
    kinds: Mapping[str, type[Monitor]] = field(default_factory=lambda: KINDS)
    value_limit: int = VALUE_LIMIT
    sealed: Sealed | None = None
    """What looks at amended decisions, which no monitor counts: a person decided them."""

    def __post_init__(self) -> None:
        self.writer = f"{self.prefix}.observe.{self.topic}.{self.partition}"
        self.now_ms = -1
        self.clocks: dict[str, int] = {}
        self.subjects = Subjects(self.key)
        self.attributes = AttributeTable()
        self.window = Window(self.configuration.duplicate_window)
        self.refused: list[BadAttributes] = []
        self.sequence: dict[str, int] = {}
        self.progressed_ms = -1
        self.window_from = 0
        self.prepared = Prepared.of(self.configuration, self.profiles, self.kinds, self.value_limit, self.sealed)
        self.unknown = self._nothing_sampled()

    def switch(self, configuration: Configuration, profiles: Mapping[str, Profile], offset: int) -> None:
        """Count by another configuration from the decision at `offset` on.

        The duplicate window starts anew there where its size or the source mappings changed: earlier records were read
        by other terms.
        """
        if _terms(configuration) != _terms(self.configuration):
            self.window, self.window_from = Window(configuration.duplicate_window), offset
        self.configuration, self.profiles = configuration, profiles
        self.prepared = Prepared.of(configuration, profiles, self.kinds, self.value_limit, self.sealed)
        self.unknown = self._nothing_sampled()

    def recall(self, records: Sequence[Record]) -> None:
        """Fill the duplicate window from records before the snapshot."""
        records = [record for record in records if record.offset >= self.window_from]
        if records:
            self.window.see(*self.prepared.reader.identify(records))

    def take(
        self, attributes: Sequence[Record], decisions: Sequence[Record], ticks: Sequence[Record] = ()
    ) -> Iterator[Stretch]:
        """Count a batch: first what is known of subjects, then the decisions."""
        self.refused += self.attributes.fold(attributes)
        observations: dict[int, list[Message]] = {}
        cases: dict[int, list[Message]] = {}
        if decisions:
            self._count(decisions, observations, cases)
        through = decisions[-1].timestamp if decisions else max((one.timestamp for one in ticks), default=-1)
        if through - self.progressed_ms >= PROGRESS_MS:
            self.progressed_ms = through
            for number in range(self.observation_partitions):
                observations.setdefault(number, []).append(self._progress(through, number))
        for name, found in (("observations", observations), ("cases", cases)):
            for number, messages in sorted(found.items()):
                yield (f"{self.prefix}.{name}", number), messages

    def _count(
        self, records: Sequence[Record], observations: dict[int, list[Message]], cases: dict[int, list[Message]]
    ) -> None:
        prepared = self.prepared
        batch = prepared.reader.read(records)
        repeated = self.window.see(batch.identities, batch.fingerprints)
        broker = np.maximum.accumulate(
            np.maximum(np.array([record.timestamp for record in records], dtype=np.int64), self.now_ms)
        )
        self.now_ms = int(broker[-1])
        for group in batch.groups:
            counter = prepared.counters.get(group.model)
            if counter is None or group.model != group.declared:
                continue
            out = {*repeated, *batch.answered}
            kept = [place for place, row in enumerate(group.rows) if row not in out] if out else None
            self._count_group(group, kept, counter, records, broker, batch.identities, observations, cases)

    def _count_group(
        self,
        group: Group,
        kept: list[int] | None,
        counter: Counter,
        records: Sequence[Record],
        broker: Ints,
        identities: Sequence[str | None],
        observations: dict[int, list[Message]],
        cases: dict[int, list[Message]],
    ) -> None:
        frame, versions, rows = group.frame, group.versions, np.array(group.rows, dtype=np.int64)
        event = np.array(group.event_times, dtype=np.int64)
        if kept is not None:
            frame, versions = frame[kept], [versions[place] for place in kept]
            rows, event = rows[kept], event[kept]
        if not versions:
            return
        model, declaration = group.model, group.declaration
        clock, local = self._clock(model, declaration, event, rows, broker, frame)
        subjects: list[str | None] = frame["subject"].to_list()
        groups = self._groups(model, declaration, subjects, frame)
        once = self._once(model, declaration, versions, subjects, clock)
        frame = with_calendar(frame, counter.columns, self.prepared.calendars.get(model), local)
        place = partition_of(model.encode(), self.observation_partitions)
        for one in counter.count(frame, versions, clock, groups, once):
            first, last = records[int(rows[one.first])].offset, records[int(rows[one.last])].offset
            observations.setdefault(place, []).append(self._observation(model, one, first, last, place))
        if declaration.outcomes:
            self._cases(model, declaration, frame, versions, clock, groups, once, rows, identities, cases)

    def _clock(
        self, model: str, declaration: Model, event: Ints, rows: Ints, broker: Ints, frame: pl.DataFrame
    ) -> tuple[Ints, Ints]:
        """The model's clock at each decision, and the time that calendars go by."""
        if declaration.clock == "broker":
            return broker[rows], frame["broker_time_ms"].to_numpy()
        clock = np.maximum.accumulate(np.maximum(event, self.clocks.get(model, -1)))
        self.clocks[model] = int(clock[-1])
        return clock, event

    def _groups(
        self, model: str, declaration: Model, subjects: Sequence[str | None], frame: pl.DataFrame
    ) -> dict[str, Ints]:
        found = self.attributes.codes(model, declaration, subjects)
        events: dict[str, list[str | None]] = {}
        if declaration.groups_in_events:
            events = {name: frame[f"{GROUPS}{name}"].to_list() for name in declaration.groups}
            told = {name: group_codes(declaration, name, values) for name, values in events.items()}
            found = prefer(found, told)
        self.unknown.look(model, declaration, subjects, found, events)
        return found

    def _nothing_sampled(self) -> Unknown:
        topic = f"{self.prefix}.attributes"
        return Unknown(self.attributes, topic, self.topic, self.partition, self.case_partitions)

    def _once(
        self,
        model: str,
        declaration: Model,
        versions: Sequence[str],
        subjects: Sequence[str | None],
        clock: Ints,
    ) -> Bools | None:
        period = declaration.subject_period
        if versions.count(versions[0]) == len(versions):
            return self.subjects.first(model, versions[0], subjects, clock, period)
        once = np.ones(len(versions), dtype=np.bool_)
        for version in dict.fromkeys(versions):
            at = np.array([place for place, one in enumerate(versions) if one == version])
            first = self.subjects.first(model, version, [subjects[place] for place in at], clock[at], period)
            if first is not None:
                once[at] = first
        return once

    # -- bytes --------------------------------------------------------------------------------------------------------

    def _observation(self, model: str, one: Counted, first: int, last: int, place: int) -> Message:
        scope = {"scope": one.scope} if one.scope == "model" else {}
        event = {
            "specversion": "1.0",
            "id": "/".join((f"{self.topic}/{self.partition}/{first}/{model}", *([] if scope else [one.version])))[:256],
            "source": f"/{self.prefix}/observe",
            "time": iso(max(self.now_ms, 0)),
            "type": "governance.observation.v1",
            "data": {
                "model": model,
                "version": one.version,
                **scope,
                "stage": "decisions",
                "inputs": {"topic": self.topic, "partition": self.partition, "start": first, "end": last + 1},
                "n": one.n,
                "once": one.once,
                "clock_ms": one.clock_ms,
                "config": self.prepared.digest,
                "counts": nested(one.counts),
            },
        }
        return model.encode(), _encode(event), self._numbered("observations", place)

    def _progress(self, through_ms: int, place: int) -> Message:
        event = {
            "specversion": "1.0",
            "id": f"{self.writer}/{through_ms}",
            "source": f"/{self.prefix}/observe",
            "time": iso(max(through_ms, 0)),
            "type": "governance.progress.v1",
            "data": ProgressData(lane=self.writer, through_ms=through_ms).model_dump(),
        }
        return self.writer.encode(), _encode(event), self._numbered("observations", place)

    def _numbered(self, short: str, place: int) -> list[tuple[str, bytes | None]]:
        name = f"{self.prefix}.{short}/{place}"
        number = self.sequence.get(name, 0)
        self.sequence[name] = number + 1
        return [("govern-seq", b"%d" % number), ("govern-writer", self.writer.encode())]

    def _cases(
        self,
        model: str,
        declaration: Model,
        frame: pl.DataFrame,
        versions: Sequence[str],
        clock: Ints,
        groups: Mapping[str, Ints],
        once: Bools | None,
        rows: Ints,
        identities: Sequence[str | None],
        cases: dict[int, list[Message]],
    ) -> None:
        labels, scores = frame["output.label"].to_list(), frame["output.score"].to_list()
        segments = self._segments(model, frame)
        known = {name: codes.tolist() for name, codes in groups.items()}
        for place, version in enumerate(versions):
            source, _, id_ = (identities[int(rows[place])] or "").partition("\0")
            told = {name: declaration.groups[name][codes[place]] for name, codes in known.items() if codes[place] >= 0}
            event = {
                "specversion": "1.0",
                "id": id_,
                "source": source,
                "type": "governance.case.v1",
                "data": {
                    "decision": {"source": source, "id": id_},
                    "model": model,
                    "version": version,
                    "label": labels[place],
                    "score": scores[place],
                    "groups": told,
                    "segments": {name: values[place] for name, values in segments.items() if values[place] is not None},
                    "once": True if once is None else bool(once[place]),
                    "decided_ms": int(clock[place]),
                },
            }
            key = json.dumps([source, id_], separators=(",", ":"), ensure_ascii=False).encode()
            number = partition_of(key, self.case_partitions)
            cases.setdefault(number, []).append((key, _encode(event), ()))

    def _segments(self, model: str, frame: pl.DataFrame) -> dict[str, list[str | None]]:
        found: dict[str, list[str | None]] = {}
        for monitor in self.prepared.counters[model].watched.monitors:
            for column in _segment_columns(monitor):
                found.setdefault(column, frame[column].to_list())
        return found


def _segment_columns(monitor: Monitor) -> Sequence[str]:
    """What a case must carry for a monitor of matured cases."""
    return tuple(getattr(monitor, "segments", {}).values()) if monitor.stage == "outcomes" else ()


def _terms(configuration: Configuration) -> object:
    return configuration.duplicate_window, configuration.sources
