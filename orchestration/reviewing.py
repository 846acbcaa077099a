"""People's answers on their way: signed, sent, and what became of them. For the console and for commands.

    async with Desk(settings, key, source) as desk:
        sent = await desk.send(ReviewData(...))        # on `reviews`, whatever happens now
        found = await desk.outcome(sent, within_s=5)   # Effective | Refused | Pending, each with a sentence: found.text

    send(settings, data, key, source)   outcome(settings, sent, within_s)     the same, with connections of their own

`key` is the console's (`signing_keys.console_key`; `data.login` then names the session) or a person's own
(`signing_keys.person_key`); `source` is `console_source(settings)` or `person_source(settings, person)`. Sending the same
`id` again does no harm: an answer counts once, the second one is refused as repeated and changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents.dsse import Private
from agents.escalation.proposals import change_key
from agents.people_events import (
    REVIEW_KIND,
    Agreement,
    Incident,
    IncidentData,
    Refusal,
    RefusalData,
    Review,
    ReviewData,
    Ruling,
    RulingData,
)
from orchestration.kafka import Broker, close, sort_error
from orchestration.odd_headers import read_tolerantly
from orchestration.settings import Settings
from orchestration.work import LaneName

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
POLL_MS = 100
LOOK_S = 0.25
"""So often the lane is asked how far it has come, where nothing was heard of an answer."""
SEND_MS = 10_000
GOOD_FOR_MS = 86_400_000
DONE = {
    "acknowledge": "the incident is with you now",
    "resolve": "the incident is closed",
    "unsilence": "the silence has ended",
}
SKEW_MS = 60_000
"""Brokers' clocks may differ by so much."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A review that stands on `reviews`."""

    id: str
    action: str
    person: str
    incident: str | None
    topic: str
    offset: int
    time_ms: int
    """The broker's time of it."""
    proposal: str | None = None
    """The digest of what it proposes."""

    @property
    def position(self) -> str:
        """`<topic>/0/<offset>`, as rulings name it."""
        return f"{self.topic}/0/{self.offset}"

    def plain(self) -> dict[str, Any]:
        """JSON values; `Sent(**plain)` gives it back."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Effective:
    """The answer counts."""

    text: str
    ruling: RulingData | None = None
    """Where it ruled, alone or with others."""
    agreement: Agreement | None = None
    """Where others must agree first."""
    incident: IncidentData | None = None
    """The incident after it, where one changed."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer does not count."""

    text: str
    refusal: RefusalData


@dataclass(frozen=True, slots=True)
class Pending:
    """It is recorded, and nobody has taken it up yet."""

    text: str


Outcome = Effective | Refused | Pending


def console_source(settings: Settings) -> str:
    """The `source` of reviews that a console signs."""
    return f"/{settings.prefix}/console"


def person_source(settings: Settings, person: str) -> str:
    """The `source` of reviews that people sign themselves."""
    return f"/{settings.prefix}/people/{person}"


def new_id() -> str:
    """A ULID: 26 letters and digits, unique, in the order of time.

    >>> len(new_id())
    26
    """
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def signed(data: ReviewData, key: Private, source: str, id: str) -> bytes:
    """The record's value: the review as a CloudEvent with its signature (docs/formats.md)."""
    review = Review(id=id, source=source, data=data)
    envelope = key.sign(REVIEW_KIND, review.statement())
    material = base64.b64encode(envelope.encode()).decode()
    whole = review.model_copy(update={"dssematerial": material})
    return whole.model_dump_json(by_alias=True, exclude_none=True).encode()


class Desk:
    """Signs and sends with connections that stay open; for one event loop."""

    def __init__(self, settings: Settings, key: Private, source: str) -> None:
        self.settings, self.source = settings, source
        self._key = key
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; a later `send` opens another."""
        producer, self._producer = self._producer, None
        await close(producer)

    async def send(self, data: ReviewData, id: str | None = None) -> Sent:
        """Sign a review and return once the brokers have it. Unless it says otherwise it is good for a day.

        Raises Retryable where it may not be there: sending again under the same id does no harm.
        """
        id = id or new_id()
        if data.not_after_ms is None:  # so that a copy of it is worth nothing once nobody remembers its id
            data = data.model_copy(update={"not_after_ms": time.time_ns() // 1_000_000 + GOOD_FOR_MS})
        topic = self.settings.topic("reviews")
        try:
            producer = await self._open()
            record = await producer.send_and_wait(
                topic,
                signed(data, self._key, self.source, id),
                key=data.incident.encode() if data.incident else None,
                partition=0,
            )
        except (KafkaError, OSError) as error:
            await self.close()
            raise sort_error(error) from error
        return _sent(id, data, topic, record)

    async def outcome(self, sent: Sent, within_s: float = 5.0) -> Outcome:
        """What became of it; Pending where nobody took it up within so many seconds. Raises Retryable without Kafka."""
        return await outcome(self.settings, sent, within_s)

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self.settings.client(),
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=0,
                    request_timeout_ms=SEND_MS,
                    max_request_size=self.settings.output_bytes,
                )
                try:
                    await producer.start()
                except (KafkaError, OSError):
                    await close(producer)
                    raise
                self._producer = producer
            return self._producer


async def send(settings: Settings, data: ReviewData, key: Private, source: str, id: str | None = None) -> Sent:
    """As `Desk.send`, with a connection of its own."""
    async with Desk(settings, key, source) as desk:
        return await desk.send(data, id)


async def find(settings: Settings, id: str, since_ms: int = 0) -> Sent | None:
    """The first review of this id on `reviews` from a time on, whoever sent it; None where there is none.

    Raises Retryable where Kafka is away.
    """
    named = id.encode()
    for record in await records_since(settings, "reviews", since_ms, lambda one: named in (one.value or b"")):
        try:
            review = Review.model_validate_json(record.value)
        except ValidationError:
            continue
        if review.id == id:
            return _sent(id, review.data, record.topic, record)
    return None


async def records_since(
    settings: Settings, name: str, since_ms: int, wanted: Callable[[Any], bool] = lambda record: True
) -> list[Any]:
    """Committed records of a topic with one partition, from about a time on, that are wanted. Raises Retryable."""
    read_tolerantly()  # anybody may write reviews, with headers of any bytes
    try:
        async with _Tail(settings, [name], since_ms) as tail:
            return await tail.rest(wanted)
    except (KafkaError, OSError) as error:
        raise sort_error(error) from error


async def outcome(settings: Settings, sent: Sent, within_s: float = 5.0) -> Outcome:
    """What became of a review that stands on `reviews`.

    A ruling or a refusal that names it says so; else the change of its incident; else that the escalation lane has
    gone past it without a refusal. Raises Retryable where Kafka is away.
    """
    until = time.monotonic() + within_s
    heard = _Heard(sent)
    try:
        async with _Tail(settings, ["rulings", "incidents"], sent.time_ms - SKEW_MS) as tail:
            look = 0.0
            while True:
                heard.note(await tail.more())
                if heard.certain is not None:
                    return heard.certain
                if time.monotonic() >= look:
                    look = time.monotonic() + LOOK_S
                    if await _taken(settings, sent):
                        heard.note(await tail.rest())
                        return heard.certain or heard.likely
                if time.monotonic() >= until:
                    return Pending(
                        f"your answer is recorded ({sent.id}), and no lane has taken it up yet; "
                        "`govern status` says whether escalation runs"
                    )
    except (KafkaError, OSError) as error:
        raise sort_error(error) from error


def _sent(id: str, data: ReviewData, topic: str, record: Any) -> Sent:
    proposal = data.proposal.digest if data.action == "propose" and data.proposal is not None else None
    return Sent(id, data.action, data.person, data.incident, topic, record.offset, record.timestamp, proposal)


class _Heard:
    """What records of `rulings` and `incidents` say of one review."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._incident: IncidentData | None = None
        self.certain: Outcome | None = None

    def note(self, records: list[Any]) -> None:
        for record in records:
            try:
                self._one(record)
            except ValidationError:
                continue  # not ours to judge: the audit names what breaks the contract

    @property
    def likely(self) -> Effective:
        """What it came to where no ruling and no refusal names it, once the lane has gone past it."""
        incident, sent = self._incident, self._sent
        agreement = incident.agreement if incident is not None else None
        if agreement is not None and sent.person in agreement.people:
            left = agreement.needed - len(agreement.people)
            more = f"{left} more {'person' if left == 1 else 'people'} with the role {agreement.role} must agree"
            return Effective(f"your answer counts; {more}", None, agreement, incident)
        if sent.proposal is not None and incident is not None:
            return Effective(f"proposed as {incident.incident}; somebody else must approve it", None, None, incident)
        return Effective(DONE.get(sent.action, f"your {sent.action} took effect"), None, None, incident)

    def _one(self, record: Any) -> None:
        value = record.value or b""
        if record.topic.endswith(".incidents"):
            if record.timestamp >= self._sent.time_ms:
                self._changed(Incident.model_validate_json(value).data)
        elif b'"governance.refusal.v1"' in value:
            refusal = Refusal.model_validate_json(value).data
            if (refusal.review.topic, refusal.review.offset) == (self._sent.topic, self._sent.offset):
                self.certain = Refused(f"refused ({refusal.reason}): {refusal.detail}", refusal)
        else:
            ruling = Ruling.model_validate_json(value).data
            if self._sent.position in ruling.reviews:
                self.certain = Effective(_told(ruling), ruling, None, self._incident)

    def _changed(self, incident: IncidentData) -> None:
        sent, proposal = self._sent, incident.proposal
        if sent.proposal is None:
            about = incident.incident == sent.incident and incident.by == sent.person
        else:
            about = proposal is not None and (proposal.digest, proposal.author) == (sent.proposal, sent.person)
        if about:
            self._incident = incident


class _Tail:
    """Committed records of topics with one partition, from a time on."""

    def __init__(self, settings: Settings, names: list[str], since_ms: int) -> None:
        self._broker, self._since_ms = Broker(settings), since_ms
        self._places = [TopicPartition(settings.topic(name), 0) for name in names]
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        consumer = await self._broker.consumer(*self._places, from_start=True)
        self._consumer = consumer
        starts = await consumer.offsets_for_times(dict.fromkeys(self._places, self._since_ms))
        ends = await consumer.end_offsets(self._places)
        for place in self._places:
            start = starts.get(place)
            consumer.seek(place, start.offset if start is not None else ends[place])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await close(self._consumer)

    async def more(self) -> list[Any]:
        """What has come, after at most POLL_MS."""
        assert self._consumer is not None, "entered"
        return [one for some in (await self._consumer.getmany(timeout_ms=POLL_MS)).values() for one in some]

    async def rest(self, wanted: Callable[[Any], bool] = lambda record: True) -> list[Any]:
        """All that was committed when this was called, and is wanted."""
        assert self._consumer is not None, "entered"
        ends, found = await self._consumer.end_offsets(self._places), []
        while [place for place in self._places if await self._consumer.position(place) < ends[place]]:
            found += [one for one in await self.more() if wanted(one)]
        return found


async def _taken(settings: Settings, sent: Sent) -> bool:
    """Whether the escalation lane has committed beyond this review."""
    lane = LaneName(settings.prefix, "escalation", settings.topic("flags"), 0)
    place = (sent.topic, 0)
    try:
        found = await Broker(settings).committed(lane.transactional_id, [place])
    except KafkaError:
        return False  # a cluster where nobody has committed yet has no coordinator; asked again in a moment
    return found.get(place, -1) > sent.offset


def _told(ruling: RulingData) -> str:
    """A ruling in a sentence."""
    name = ruling.resolution.value
    what = {
        "approved": "approved: the held decisions go out",
        "edited": "edited: the changed decisions go out, the originals are withheld",
        "rejected": "rejected: the held decisions are withheld",
        "responded": "your question is on its way; the decisions stay held",
    }.get(name, name)
    if not ruling.through and not ruling.items:
        what = (
            "your question is on its way" if name == "responded" else f"{name}: your answer counts"
        )  # nothing was held
        if name == "approved" and ruling.keys == (change_key("configuration", ruling.incident),):
            what = "approved: the change comes into force within seconds, where a deployment runs"
    with_whom = f" (with {', '.join(ruling.people[:-1])})" if len(ruling.people) > 1 else ""
    return what + with_whom
