"""Sends the demo's decisions to Kafka at a visible rate, and watches from outside what becomes of them.

Both ends use Kafka as any producer and any reader would; nothing here asks the lanes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaProducer

from agents.audit.notes import Checkpoint
from agents.errors import GovernanceError, Retryable
from orchestration.demo.model import Client, CreditModel
from orchestration.demo.traffic import Call, Message, again, message
from orchestration.kafka import Broker, close
from orchestration.settings import Settings

RATE = 600.0
"""Decisions a second."""
TURN_S = 0.025
AT_ONCE = 200
PATIENCE_S = 60.0
"""How long nothing may happen before the demo gives up."""

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


_verdict = msgspec.json.Decoder(_Verdict).decode
_flag = msgspec.json.Decoder(_Flag).decode


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

    @property
    def seconds(self) -> float:
        """How long it has been sending."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def waiting(self) -> int:
        """Sent and not judged yet, as far as we have seen."""
        return max(0, self.sent - self.judged)


async def run(
    settings: Settings,
    model: CreditModel,
    clients: list[Client],
    calls: list[Call],
    rate: float | None,
    seen: Seen,
    told: Callable[[], None],
) -> dict[Place, Message]:
    """Send every call's record (at `rate` a second, or None: as fast as it goes); return once each has a verdict.

    The result says where in Kafka each record is. Raises Retryable where verdicts stop to come.
    """
    watching = asyncio.create_task(_watch(settings, seen, told))
    try:
        places = await _send(settings, model, clients, calls, rate, seen)
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
        await asyncio.sleep(0.3)  # the flags of the last batch
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return places


async def _send(
    settings: Settings, model: CreditModel, clients: list[Client], calls: list[Call], rate: float | None, seen: Seen
) -> dict[Place, Message]:
    """The model answers the calls of each moment together; records go out in their order, keyed by client."""
    producer = AIOKafkaProducer(**settings.client(), enable_idempotence=True, acks="all", linger_ms=5)
    await producer.start()
    sent: list[Message] = []
    acknowledged = []
    try:
        seen.started = time.monotonic()
        while len(sent) < len(calls):
            due = len(sent) + AT_ONCE if rate is None else int((time.monotonic() - seen.started) * rate)
            part = calls[len(sent) : min(due, len(sent) + AT_ONCE)]
            answers = model.decide([clients[call.client] for call in part]) if part else []
            for call, answer in zip(part, answers, strict=True):
                who = clients[call.client]
                new = (
                    message(len(sent), call, answer, who.number, who.features)
                    if call.repeats < 0
                    else again(call, sent[call.repeats])
                )
                acknowledged.append(
                    await producer.send(settings.topic("decisions"), new.value, key=new.key, headers=list(new.headers))
                )
                sent.append(new)
                seen.sent, seen.business_ms = len(sent), call.time_ms
            await asyncio.sleep(TURN_S if rate is not None else 0)
        found = await asyncio.gather(*acknowledged)
        seen.ended = time.monotonic()
    finally:
        await close(producer)
    return {(one.partition, one.offset): new for one, new in zip(found, sent, strict=True)}


async def _watch(settings: Settings, seen: Seen, told: Callable[[], None]) -> None:
    """Count verdicts, flags and checkpoints as they are committed."""
    names = {settings.topic(short): short for short in ("verdicts", "flags", "checkpoints")}
    places = [(settings.topic("verdicts"), number) for number in range(settings.partitions)]
    places += [(settings.topic("flags"), 0), (settings.topic("checkpoints"), 0)]
    takes: Mapping[str, Callable[[Seen, bytes], None]] = {
        "verdicts": _take_verdict,
        "flags": _take_flag,
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


def _take_checkpoint(seen: Seen, value: bytes) -> None:
    try:
        found = Checkpoint.parse(value.decode().partition("\n\n")[0] + "\n")
    except (UnicodeDecodeError, GovernanceError):
        return
    seen.checkpoints[found.origin] = found.size
    seen.checkpoint_at = time.monotonic()
