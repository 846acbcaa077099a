"""A small agent with three inputs, as exact as the monitors' must be: a table of facts, a stream of events, and ticks.

What it writes depends on everything a manifest fixes (how the events were cut into steps, which facts and ticks were there)
and its state is larger than one record, so a lane that starts again in any other way than the design's cannot hide it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from agents.events import SnapshotData
from agents.records import Message, Record, Stretch
from orchestration.kafka import Broker
from orchestration.manifest_lane import ManifestLane
from orchestration.settings import Settings
from orchestration.work import Input, LaneName, Pace, State, Taken

BUCKETS = 16


class Tally:
    """Counts events by key, with the fact that is known of the key; also keeps every event's text."""

    durable = False
    snapshot_due = False
    reach = 3

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.writer = f"{prefix}.observe.{prefix}.decisions.0"
        self.facts: dict[str, str] = {}
        self.buckets: dict[str, dict[str, Any]] = {}
        self.dirty: set[str] = set()
        self.removed: set[str] = set()
        self.number, self.ticks, self.steps, self.mean, self.now_ms = 0, 0, 0, 0.0, -1
        self.recalled: list[int] = []

    def restore(self, snapshot: SnapshotData | None, parts: Mapping[str, Mapping[str, Any]]) -> None:
        if snapshot is not None:
            self.number = snapshot.sequence[f"{self.prefix}.observations/0"]
            self.ticks, self.steps, self.mean = (snapshot.state[name] for name in ("ticks", "steps", "mean"))
            self.now_ms = snapshot.now_ms
        self.buckets = {name: {key: list(kept) for key, kept in part.items()} for name, part in parts.items()}

    def load(self, table: Input, records: Sequence[Record]) -> None:
        for record in records:
            self.facts[(record.key or b"").decode()] = (record.value or b"").decode()

    def recall(self, records: Sequence[Record]) -> None:
        self.recalled = [record.offset for record in records]

    def decide(self, taken: Sequence[Taken]) -> Iterator[Stretch]:
        facts, events, ticks = taken
        assert [one.input.kind for one in taken] == ["table", "stream", "clock"]
        self.steps += 1
        self.load(facts.input, facts.records)
        messages: list[Message] = []
        for event in events.records:
            messages.append(self._count(event, len(events.records)))
        self.ticks += len(ticks.records)
        self.now_ms = max([self.now_ms, *(one.timestamp for taken_ in taken for one in taken_.records)])
        if messages:
            yield (f"{self.prefix}.observations", 0), messages
            yield (f"{self.prefix}.cases", 0), [(key, value, ()) for key, value, _ in messages[-1:]]

    def _count(self, event: Record, beside: int) -> Message:
        key, text = (event.key or b"").decode(), (event.value or b"").decode()
        bucket = str(hash_of(key) % BUCKETS)
        if text == "forget":
            self.buckets.pop(bucket, None)
            self.dirty.discard(bucket)
            self.removed.add(bucket)
        else:
            kept = self.buckets.setdefault(bucket, {}).setdefault(key, [0, ""])
            kept[0], kept[1] = kept[0] + 1, (kept[1] + text)[-60_000:]
            self.dirty.add(bucket)
            self.removed.discard(bucket)
        self.mean = self.mean * 0.9 + len(text) / 3.0
        said = {
            "offset": event.offset,
            "fact": self.facts.get(key),
            "count": self.buckets.get(bucket, {}).get(key, [0])[0],
            "beside": beside,
            "ticks": self.ticks,
            "step": self.steps,
            "mean": self.mean,
        }
        headers = [("govern-seq", b"%d" % self.number), ("govern-writer", self.writer.encode())]
        self.number += 1
        return key.encode(), json.dumps(said).encode(), headers

    def prepare(self) -> None:
        """Nothing outside Kafka."""

    def settle(self) -> None:
        """Nothing outside Kafka."""

    def snapshot(self) -> State:
        head = SnapshotData(
            lane="",
            offsets={},
            sequence={f"{self.prefix}.observations/0": self.number},
            now_ms=self.now_ms,
            state={"ticks": self.ticks, "steps": self.steps, "mean": self.mean},
        )
        state = State(head, {name: dict(self.buckets[name]) for name in sorted(self.dirty)}, sorted(self.removed))
        self.dirty, self.removed = set(), set()
        return state

    def everything(self) -> str:
        """The whole state, to compare."""
        fields = (self.facts, self.buckets, self.number, self.ticks, self.steps, self.mean, self.now_ms)
        return json.dumps(fields, sort_keys=True)


def hash_of(key: str) -> int:
    """The same in every process."""
    return sum(key.encode())


def inputs(settings: Settings) -> tuple[Input, ...]:
    """Facts, events, ticks."""
    return (
        Input(settings.topic("attributes"), 0, "table"),
        Input(settings.topic("decisions"), 0),
        Input(settings.topic("ticks"), 0, "clock"),
    )


def name_of(settings: Settings) -> LaneName:
    """The lane's name; its main topic is that of the events."""
    return LaneName(settings.prefix, "observe", settings.topic("decisions"), 0)


def lane(
    settings: Settings,
    *,
    records: int = 50,
    age_ms: int = 0,
    lazy_ms: int = 500,
    snapshot_ms: int | None = None,
    made: Callable[[Tally], None] = lambda _: None,
) -> ManifestLane:
    """A lane of it; `made` is shown each new Tally."""

    def make() -> Tally:
        one = Tally(settings.prefix)
        made(one)
        return one

    pace = Pace(records, age_ms, settings.snapshot_interval_ms if snapshot_ms is None else snapshot_ms, lazy_ms=lazy_ms)
    return ManifestLane(name_of(settings), Broker(settings), inputs(settings), make, pace)


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["orchestration.manifest_lane"])


def start(settings: Settings, kill: str, **more: int) -> BaseProcess:
    """A process that runs the lane until it dies; `kill` is what GOVERN_KILL says."""
    values = settings.model_dump(mode="json", exclude_none=True)
    life = _context.Process(target=_live, args=(values, kill, more), daemon=True)
    life.start()
    return life


def _live(values: dict[str, Any], kill: str, more: dict[str, Any]) -> None:
    os.environ["GOVERN_KILL"] = kill
    asyncio.run(lane(Settings(**values), **more).run())
