"""The assess half of the monitor agent: observations in, in order; signals, flags and watermarks out.

Promise: the same observations in the same order give the same bytes, wherever the lane was restarted in between. What a
signal says follows from the observations alone, so anybody who has them can recompute and challenge it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.configuration import Configuration
from agents.errors import Poison
from agents.events import InputRange, Severity, Signal, SignalData, SignalStatus, Watermark, WatermarkData
from agents.monitor.assessing import Assessor, Signalled, signal_data
from agents.monitor.changes import unchanged
from agents.monitor.compilation import Watched, compile_monitors
from agents.monitor.contract import Monitor, Scope, Stage
from agents.monitor.counting import arrays
from agents.monitor.lane_progress import LaneProgress
from agents.monitor.profiles import Profile
from agents.monitor.registry import KINDS
from agents.partitions import partition_of
from agents.policy.flags import dedup_key
from agents.policy.surroundings import key_of, signal_key
from agents.policy.times import iso
from agents.records import Message, Record, Stretch, position

WATERMARK_MS = 1_000
MILDER = {
    Severity.CRITICAL: Severity.ERROR,
    Severity.ERROR: Severity.WARNING,
    Severity.WARNING: Severity.INFO,
    Severity.INFO: Severity.INFO,
}


class BadObservation(Poison):
    """A record of `observations` that cannot be read; none that our lanes write."""

    reason = "bad-observation"


class _Inputs(msgspec.Struct, gc=False):
    topic: str
    partition: int
    start: int
    end: int


class _Data(msgspec.Struct, gc=False):
    model: str | None = None
    version: str = ""
    scope: Scope = "version"
    stage: Stage = "decisions"
    n: int = 0
    clock_ms: int = -1
    config: str = ""
    counts: dict[str, dict[str, Any]] = {}
    lane: str | None = None
    through_ms: int = -1


class _Event(msgspec.Struct, gc=False):
    type: str
    data: _Data


_decode = msgspec.json.Decoder(_Event).decode


@dataclass
class AssessAgent:
    """Judges the models of one partition of observations."""

    prefix: str
    topic: str
    partition: int
    configuration: Configuration
    partitions: int = 1
    """Of the topic: a model lives in one of them."""
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    kinds: Mapping[str, type[Monitor]] = field(default_factory=lambda: KINDS)

    def __post_init__(self) -> None:
        self.writer = f"{self.prefix}.assess.{self.topic}.{self.partition}"
        self.now_ms = -1
        self.sequence: dict[str, int] = {}
        self.assessors: dict[str, Assessor] = {}
        self.progress = LaneProgress()
        self.told_ms = -1
        self.dirty: set[str] = set()
        self.refused: list[Poison] = []
        self.withdrawn: list[str] = []
        """Keys of signals that no longer stand, until the next batch."""
        self.watched = compile_monitors(self.configuration, self.profiles, self.kinds)
        self.digest = self.configuration.digest()

    def switch(self, configuration: Configuration, profiles: Mapping[str, Profile]) -> None:
        """Judge by another configuration from now on: what a monitor has gathered is kept where it is declared as before.

        A monitor with other options, budget or profile starts anew, because what it counted means something else. What
        it said, or one that ended, is withdrawn with the next batch: nothing stands that no monitor would say again.
        """
        before, self.configuration, self.profiles = self.watched, configuration, profiles
        self.watched = compile_monitors(configuration, profiles, self.kinds)
        self.digest = configuration.digest()
        for model, assessor in list(self.assessors.items()):
            now, old = self.watched.get(model), before[model]
            kept = unchanged(old, now) if now is not None else set[str]()
            self.withdrawn += [key_of(model, *one) for one in assessor.published if one[1] not in kept]
            self.dirty.add(model)
            if now is None or not now.monitors:
                del self.assessors[model]
                continue
            fresh = self.assessors[model] = Assessor(now)
            fresh.restore(only(assessor.snapshot(), kept))

    def take(self, observations: Sequence[Record], ticks: Sequence[Record]) -> Iterator[Stretch]:
        """Judge a batch of observations, then let time pass to the last tick."""
        signals: list[Message] = [(key.encode(), None, self._numbered()) for key in self.withdrawn]
        flags: list[Message] = []
        self.withdrawn.clear()
        for record in observations:
            self.now_ms = max(self.now_ms, record.timestamp)
            try:
                data = _decode(record.value or b"").data
            except msgspec.DecodeError as error:
                self.refused.append(BadObservation(f"{position(record)} is refused: {error}"))
                continue
            if data.lane is not None:
                self.progress.take(data.lane, data.through_ms)
            elif data.model is not None:
                self._observation(data.model, data, record.offset, signals, flags)
            self._watermarks(signals)
        for tick in ticks:
            self.now_ms = max(self.now_ms, tick.timestamp)
        if ticks:
            self._time_passes(signals, flags)
            self._watermarks(signals)
        if signals:
            yield (f"{self.prefix}.signals", 0), signals
        if flags:
            yield (f"{self.prefix}.flags", 0), flags

    def _observation(self, model: str, data: _Data, offset: int, signals: list[Message], flags: list[Message]) -> None:
        watched = self.watched.get(model)
        if watched is None or not watched.monitors:
            return
        assessor = self.assessors.get(model)
        if assessor is None:
            assessor = self.assessors[model] = Assessor(watched)
        self.dirty.add(model)
        counts = arrays(data.counts)
        clock = self.progress.clock(data.clock_ms, watched.declaration, data.stage, data.scope)
        said = assessor.take(data.version, data.n, clock, counts, self.now_ms, offset, data.stage, data.scope)
        self._say(model, watched, said, signals, flags)

    def _time_passes(self, signals: list[Message], flags: list[Message]) -> None:
        """Under `clock: broker` a model's time goes on while it decides nothing; under `event` it stands."""
        for model, assessor in self.assessors.items():
            if assessor.watched.declaration.clock == "broker":
                said = assessor.pass_time(self.now_ms, self.now_ms, self.progress.counted_ms)
                self.dirty.add(model)
                self._say(model, assessor.watched, said, signals, flags)

    def _say(
        self,
        model: str,
        watched: Watched,
        said: Sequence[Signalled],
        signals: list[Message],
        flags: list[Message],
    ) -> None:
        for one in said:
            data = signal_data(one, model, watched)
            if one.first >= 0:
                place = InputRange(topic=self.topic, partition=self.partition, start=one.first, end=one.last + 1)
                data = data.model_copy(update={"observations": place})
            signals.append(self._signal(data, one.last))
            if one.before != data.status and data.status in (SignalStatus.ALARM, SignalStatus.WARN):
                flags.append(self._flag(model, watched, one, data))

    def _signal(self, data: SignalData, offset: int) -> Message:
        key = signal_key(data)
        event = Signal(
            id=f"{key}@{self.topic}/{self.partition}/{offset}/{self.sequence.get('signals', 0)}"[-256:],
            source=f"/{self.prefix}/monitor",
            data=data,
        )
        return key.encode(), self._timed(event), self._numbered()

    def _timed(self, event: Signal | Watermark) -> bytes:
        document = event.model_dump(mode="json", exclude_none=True)
        return msgspec.json.encode({**document, "time": iso(max(self.now_ms, 0))})

    def _numbered(self) -> list[tuple[str, bytes | None]]:
        number = self.sequence.get("signals", 0)
        self.sequence["signals"] = number + 1
        return [("govern-seq", b"%d" % number), ("govern-writer", self.writer.encode())]

    def _flag(self, model: str, watched: Watched, one: Signalled, data: SignalData) -> Message:
        """What, since when, how large, which observations, what would clear it, how strong."""
        about = watched.about[one.monitor.name]
        alarm = data.status is SignalStatus.ALARM
        where = " ".join(part for part in (data.segment, data.group) if part) or None
        key = dedup_key(one.monitor.name, model, None if data.scope == "model" else one.version, where)
        first, last = max(one.first, 0), max(one.last, 0)
        event = {
            "specversion": "1.0",
            "type": "governance.flag.v1",
            "id": f"{key}@{self.topic}/{self.partition}/{last}"[:256],
            "source": f"/{self.prefix}/monitor",
            "time": iso(max(self.now_ms, 0)),
            "data": {
                "dedup_key": key,
                "severity": (about.severity if alarm else MILDER[about.severity]).value,
                "team": about.team,
                "effect": None,
                "reason": told(data, one, watched, alarm),
                "labels": {"status": data.status.value, "metric": data.metric or ""},
                "count": 1,
                "topic": self.topic,
                "partition": self.partition,
                "first_offset": first,
                "last_offset": last,
                "sample": [last],
            },
        }
        return key.encode(), json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode(), ()

    def _watermarks(self, signals: list[Message]) -> None:
        """Once a second of broker time, how far each model's monitors are behind: the slowest observe lane decides."""
        if not self.progress or self.now_ms - self.told_ms < WATERMARK_MS:
            return
        self.told_ms = self.now_ms
        lag = float(max(0, self.now_ms - self.progress.counted_ms))
        for model, watched in self.watched.items():
            if watched.monitors and partition_of(model.encode(), self.partitions) == self.partition:
                key = json.dumps(["watermark", model], separators=(",", ":"), ensure_ascii=False)
                event = Watermark(
                    id=f"{key}@{self.now_ms}"[-256:],
                    source=f"/{self.prefix}/monitor",
                    data=WatermarkData(model=model, lag_ms=lag),
                )
                signals.append((key.encode(), self._timed(event), self._numbered()))

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def head(self) -> dict[str, Any]:
        """The state beside that of the models."""
        return {"progress": self.progress.through_ms, "told_ms": self.told_ms, "config": self.digest}

    def restore(self, now_ms: int, head: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from a snapshot: `head`, and each model's part."""
        self.now_ms = now_ms
        self.progress, self.told_ms = LaneProgress(head.get("progress")), head.get("told_ms", -1)
        for model, kept in models.items():
            watched = self.watched.get(model)
            if watched is not None and watched.monitors:
                self.assessors[model] = Assessor(watched)
                self.assessors[model].restore(kept)


def told(data: SignalData, one: Signalled, watched: Watched, alarm: bool) -> str:
    """A flag's sentence: what, how large, since when, how strong, what would end it."""
    parts = [data.text or one.monitor.summary]
    if data.onset_n is not None and data.onset_ms:  # 0: when is not known
        parts.append(f"since about {iso(data.onset_ms)} ({data.onset_n:,} decisions)")
    if alarm and data.e_value is not None:
        parts.append(f"strength of the alarm: {strength(data.e_value, watched.budget.unit)}")
    if alarm:
        parts.append(one.monitor.clears(one.judgement))
    return "; ".join(parts)


def strength(e_value: float, unit: str) -> str:
    """`1 in 3,200,000 decisions` or `once in 4 years`: how rarely chance alone goes so far, in units that people live in.

    >>> strength(3_200_000, "decisions")
    '1 in 3,200,000 decisions'
    >>> strength(4e11, "ms")
    'once in 13 years'
    """
    if unit == "decisions":
        return "1 in more than 10¹⁵ decisions" if e_value > 1e15 else f"1 in {e_value:,.0f} decisions"
    for name, ms in (("years", 31_557_600_000.0), ("days", 86_400_000.0), ("hours", 3_600_000.0)):
        if e_value >= 2 * ms:
            return f"once in more than 10⁹ {name}" if e_value > 1e9 * ms else f"once in {e_value / ms:,.0f} {name}"
    return f"once in {e_value / 60_000.0:,.0f} minutes"


def only(kept: Mapping[str, Any], monitors: set[str]) -> dict[str, Any]:
    """A snapshot of an Assessor with these monitors only."""
    found = dict(kept)
    for name in ("states", "published", "said_ms", "ranges"):
        found[name] = [row for row in kept[name] if row[1] in monitors]
    return found
