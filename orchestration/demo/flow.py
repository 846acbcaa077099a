"""Sends the demo's decisions to Kafka at a visible rate, and watches from outside what becomes of them.

Both ends use Kafka as any producer and any reader would; nothing here asks the lanes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from aiokafka import AIOKafkaProducer

from agents.audit.notes import Checkpoint
from agents.errors import GovernanceError, Retryable
from orchestration.demo.population import Groups
from orchestration.demo.records import Desk, Message, known, unknown
from orchestration.demo.traffic import Call
from orchestration.kafka import Broker, close
from orchestration.settings import Settings

RATE = 600.0
"""Decisions a second."""
TURN_S = 0.025
AT_ONCE = 200
PATIENCE_S = 60.0
"""How long nothing may happen before the demo gives up."""

MONITORS_S = 60.0
"""How long the demo waits, after the last verdict, until monitors have caught up."""

Place = tuple[int, int]
"""Partition and offset on the decisions topic."""


class _Effect(msgspec.Struct, gc=False):
    kind: str
    effect: str | None


class _Verdict(msgspec.Struct, gc=False):
    data: _Effect


class _Raised(msgspec.Struct, gc=False):
    reason: str
    count: int


class _Flag(msgspec.Struct, gc=False):
    data: _Raised


class Said(msgspec.Struct, gc=False):
    """What the screen shows of a signal; of a watermark, how far its model's monitors are behind."""

    model: str
    lag_ms: float = 0.0
    version: str = ""
    monitor: str = ""
    segment: str | None = None
    group: str | None = None
    status: str = ""
    metric: str | None = None
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None


class _Signal(msgspec.Struct, gc=False):
    data: Said
    time: datetime


_verdict = msgspec.json.Decoder(_Verdict).decode
_flag = msgspec.json.Decoder(_Flag).decode
_signal = msgspec.json.Decoder(_Signal).decode


@dataclass
class Seen:
    """What the screen shows while it runs."""

    total: int
    sent: int = 0
    judged: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    """By effect; of records that are no decision of their own, by kind."""
    flagged: int = 0
    last_flag: str = ""
    business_ms: int = 0
    """Business time of the newest decision sent."""
    started: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    checkpoints: dict[str, int] = field(default_factory=dict)
    """Log -> size that its newest checkpoint signs."""
    checkpoint_at: float = 0.0
    deciding: dict[str, str] = field(default_factory=dict)
    """Model -> the version that decided last."""
    signals: dict[tuple[str, str], dict[tuple[str, str | None, str | None], Said]] = field(default_factory=dict)
    """Version and monitor -> model, segment and group -> the newest signal."""
    watched_ms: dict[str, int] = field(default_factory=dict)
    """Model -> up to which time, by the broker's clock, its monitors have taken all decisions."""

    @property
    def seconds(self) -> float:
        """How long it has been sending."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def waiting(self) -> int:
        """Sent and not judged yet, as far as we have seen."""
        return max(0, self.sent - self.judged)


@dataclass(frozen=True)
class Sent:
    """Everything that was sent, by its place in Kafka, in the order of sending."""

    messages: dict[Place, Message]
    calls: dict[Place, Call]
    at_ms: dict[Place, int]
    """When the broker took it, ms since 1970 UTC."""


async def introduce(settings: Settings, groups: Mapping[int, Groups]) -> int:
    """Tell monitors, and nobody else, who clients are; returns of how many anything is known."""
    producer = AIOKafkaProducer(**settings.client(), enable_idempotence=True, acks="all", linger_ms=20)
    await producer.start()
    try:
        topic = settings.topic("attributes")
        told = [await producer.send(topic, value, key=key) for key, value in known(groups, unknown)]
        await asyncio.gather(*told)
    finally:
        await close(producer)
    return len(told)


async def run(
    settings: Settings,
    desk: Desk,
    calls: list[Call],
    rate: float | None,
    seen: Seen,
    told: Callable[[], None],
) -> Sent:
    """Send every call's record (at `rate` a second, or None: as fast as it goes); return once each has a verdict.

    Monitors have caught up by then, too. Raises Retryable where verdicts stop to come.
    """
    watching = asyncio.create_task(_watch(settings, seen, told))
    try:
        sent = await _send(settings, desk, calls, rate, seen)
        judged, since = -1, time.monotonic()
        while seen.judged < len(calls):
            if watching.done():
                watching.result()
            if seen.judged != judged:
                judged, since = seen.judged, time.monotonic()
            if time.monotonic() - since > PATIENCE_S:
                raise Retryable(
                    f"only {judged:,} of {len(calls):,} decisions have a verdict, and no more come; "
                    f"see {settings.data_dir / 'logs'}"
                )
            await asyncio.sleep(0.05)
        waited, last = time.monotonic(), max(sent.at_ms.values())
        while min(seen.watched_ms.get(model, 0) for model in seen.deciding) <= last:
            if time.monotonic() - waited > MONITORS_S:
                raise Retryable(
                    f"monitors have not caught up within {MONITORS_S:.0f} s; see {settings.data_dir / 'logs'}"
                )
            await asyncio.sleep(0.05)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return sent


async def _send(settings: Settings, desk: Desk, calls: list[Call], rate: float | None, seen: Seen) -> Sent:
    """The models answer the calls of each moment together; records go out in their order, keyed by client."""
    producer = AIOKafkaProducer(**settings.client(), enable_idempotence=True, acks="all", linger_ms=5)
    await producer.start()
    sent: list[Message] = []
    acknowledged = []
    try:
        seen.started = time.monotonic()
        while len(sent) < len(calls):
            due = len(sent) + AT_ONCE if rate is None else int((time.monotonic() - seen.started) * rate)
            part = calls[len(sent) : min(due, len(sent) + AT_ONCE)]
            for new in desk.serve(part, sent):
                acknowledged.append(
                    await producer.send(settings.topic("decisions"), new.value, key=new.key, headers=list(new.headers))
                )
                sent.append(new)
            for call in part:
                seen.sent, seen.business_ms = len(sent), call.time_ms
                if call.kind == "decision" and call.version in desk.versions:
                    seen.deciding[call.model] = call.version
            await asyncio.sleep(TURN_S if rate is not None else 0)
        found = await asyncio.gather(*acknowledged)
        seen.ended = time.monotonic()
    finally:
        await close(producer)
    places = [(one.partition, one.offset) for one in found]
    return Sent(
        dict(zip(places, sent, strict=True)),
        dict(zip(places, calls, strict=True)),
        {place: one.timestamp for place, one in zip(places, found, strict=True)},
    )


async def _watch(settings: Settings, seen: Seen, told: Callable[[], None]) -> None:
    """Count verdicts, flags and checkpoints as they are committed."""
    names = {settings.topic(short): short for short in ("verdicts", "flags", "signals", "checkpoints")}
    places = [(settings.topic("verdicts"), number) for number in range(settings.partitions)]
    places += [(settings.topic(short), 0) for short in ("flags", "signals", "checkpoints")]
    takes: Mapping[str, Callable[[Seen, bytes], None]] = {
        "verdicts": _take_verdict,
        "flags": _take_flag,
        "signals": _take_signal,
        "checkpoints": _take_checkpoint,
    }
    consumer = await Broker(settings).consumer(*places, from_start=True)
    try:
        while True:
            for place, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    takes[names[place.topic]](seen, record.value or b"")
            told()
    finally:
        await close(consumer)


def _take_verdict(seen: Seen, value: bytes) -> None:
    data = _verdict(value).data
    seen.judged += 1
    seen.effects[data.effect or data.kind if data.kind == "decision" else data.kind] += 1


def _take_flag(seen: Seen, value: bytes) -> None:
    data = _flag(value).data
    seen.flagged += data.count
    seen.last_flag = data.reason


def _take_signal(seen: Seen, value: bytes) -> None:
    event = _signal(value)
    data = event.data
    if data.monitor:
        seen.signals.setdefault((data.version, data.monitor), {})[data.model, data.segment, data.group] = data
    else:
        seen.watched_ms[data.model] = int(event.time.timestamp() * 1000 - data.lag_ms)


def _take_checkpoint(seen: Seen, value: bytes) -> None:
    try:
        found = Checkpoint.parse(value.decode().partition("\n\n")[0] + "\n")
    except (UnicodeDecodeError, GovernanceError):
        return
    seen.checkpoints[found.origin] = found.size
    seen.checkpoint_at = time.monotonic()
