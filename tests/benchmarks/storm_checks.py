"""What a storm must have come to, worked out from what was published and answered alone (tests/benchmarks/storm.py)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.people_events import IncidentData
from agents.policy.flags import dedup_key
from orchestration.kafka import Broker
from orchestration.reading.database import Database
from orchestration.reading.fresh import fresh
from orchestration.reading.incident import incident
from orchestration.reading.queries import Filters, counts, queue
from orchestration.settings import Settings
from tests.receivers import Receiver

RULES = ("unsure", "large", "abroad", "new-payee", "at-night")
MODELS = ("credit-limit", "payments")
VERSIONS = ("1", "2")
CAUSES = len(RULES) * len(MODELS) * len(VERSIONS)
SAMPLED = 20
"""Decisions that an incident may keep as its sample."""
RECORDS = 30
"""Records of one incident on its topic, on average: one a second at first, then ever more rarely, however many decisions."""

Place = tuple[int, int]
"""Partition and offset of a decision."""
Exact = tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]


class Noted(Protocol):
    """Where what is found is written down."""

    held: int
    incidents: int
    records: int
    told: int
    problems: list[str]


@dataclass
class Answered:
    """What people said."""

    whole: dict[str, str] = field(default_factory=dict)
    """Dedup_key → approve or reject, for all that was held by it."""
    single: set[Place] = field(default_factory=set)
    """Decisions that were approved one by one."""

    def count(self, held: int) -> int:
        """How many decisions end by it."""
        sizes = Counter(cause_of(number) for number in range(held))
        return len(self.single) + sum(sizes[one] for one in self.whole)


def cause_of(number: int) -> str:
    """The dedup_key that the n-th decision is held by."""
    cause = number % CAUSES
    rule, model, version = cause % 5, cause // 5 % 2, cause // 10
    return dedup_key(f"storm/{RULES[rule]}", MODELS[model], VERSIONS[version])


def decision(number: int) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """The n-th decision: key, value, headers; every tenth has no key, some have headers."""
    cause = number % CAUSES
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"d{number}",
        "source": "/storm",
        "data": {
            "model": {"name": MODELS[cause // 5 % 2], "version": VERSIONS[cause // 10]},
            "features": {"cause": cause % 5},
            "output": {"label": "decline", "score": 0.5, "text": "x" * 300},
        },
    }
    key = None if number % 10 == 0 else f"client-{number}".encode()
    return key, json.dumps(event).encode(), [("trace", b"%d" % number)] if number % 3 else []


async def newest(settings: Settings) -> dict[str, IncidentData]:
    """The newest record of each incident, by its first cause; two of one cause show as two."""
    found: dict[str, IncidentData] = {}
    for one in await Broker(settings).read_all(settings.topic("incidents")):
        data = IncidentData.model_validate(json.loads(one.value)["data"])
        found[data.incident] = data
    return found


def first_messages(receiver: Receiver) -> dict[str, str]:
    """Incident → the id of its first message, of what the receiver has got; a second one is a problem elsewhere."""
    got = {one.headers["webhook-id"]: one.document["data"] for one in list(receiver.got)}
    return {data["incident"]: name for name, data in got.items() if data["kind"] == "trigger"}


async def records(settings: Settings, short: str) -> list[Any]:
    """Committed records of all partitions of a topic."""
    found = [await Broker(settings).read_all(settings.topic(short), n) for n in range(settings.partitions)]
    return [one for some in found for one in some]


# -- people's part -----------------------------------------------------------------------------------------------------


async def told(settings: Settings, receiver: Receiver, noted: Noted) -> None:
    """Incidents and their records, and the messages: one first message each, recorded as delivered, and delivered."""
    broker, problems = Broker(settings), noted.problems
    found, expected = await newest(settings), Counter(cause_of(number) for number in range(noted.held))
    noted.incidents = len(found)
    noted.records = len(await broker.read_all(settings.topic("incidents")))
    if noted.incidents != CAUSES:
        problems.append(f"{noted.incidents} incidents of {CAUSES} causes")
    counted: Counter[str] = Counter()
    for one in found.values():
        counted[one.keys[0]] += one.count
        if len(one.sample) > SAMPLED or len(one.keys) != 1:
            problems.append(f"{one.incident} keeps {len(one.sample)} decisions and {len(one.keys)} causes")
    problems += [
        f"{key}: {counted[key]:,} counted of {expected[key]:,}" for key in expected if counted[key] != expected[key]
    ]
    if noted.records > RECORDS * CAUSES:
        problems.append(f"{noted.records:,} records of {noted.incidents} incidents")
    events = [json.loads(one.value) for one in await broker.read_all(settings.topic("notifications"))]
    triggers = [
        one for one in events if one["type"] == "governance.notification.v1" and one["data"]["kind"] == "trigger"
    ]
    first = Counter(one["data"]["incident"] for one in triggers)
    problems += [f"{name} was told first {count} times" for name, count in first.items() if count != 1]
    sent = {one["data"]["notification"] for one in events if one["data"].get("outcome") == "sent"}
    problems += [f"{one['id']} is not recorded as sent" for one in triggers if one["id"] not in sent]
    requests = Counter(one.headers["webhook-id"] for one in receiver.got)
    noted.told = sum(requests[one["id"]] for one in triggers)
    if noted.told > CAUSES or len(first_messages(receiver)) != len(triggers):
        problems.append(f"the receiver got {noted.told} first messages, of {len(first_messages(receiver))} incidents")
    if set(found) - set(first_messages(receiver)):
        problems.append(f"nobody was told of {len(set(found) - set(first_messages(receiver)))} incidents")


# -- the read model ----------------------------------------------------------------------------------------------------


async def shown_before(database: Database, noted: Noted) -> None:
    """Before any answer: one line an incident, and everything waits under its own."""
    expected = Counter(cause_of(number) for number in range(noted.held))
    listed = await asyncio.to_thread(queue, database)
    pages = [await asyncio.to_thread(incident, database, one.id) for one in listed.items]
    if listed.total != CAUSES or sum(one.held.waiting for one in pages) != noted.held:
        waiting = sum(one.held.waiting for one in pages)
        noted.problems.append(f"the read model shows {listed.total} incidents in which {waiting:,} wait")
    for page in pages:
        (key,) = page.data.keys
        if (page.line.held, page.line.waiting, page.held.waiting) != (expected[key],) * 3:
            noted.problems.append(
                f"{page.line.id}: {page.line.held:,} held and {page.line.waiting:,} waiting are shown"
            )
        if page.deterministic is None:
            noted.problems.append(f"{page.line.id} has no summary")


async def shown_after(settings: Settings, database: Database, answered: Answered, noted: Noted) -> None:
    """After the answers: how each incident's decisions ended, and how many wait; of a model that is made anew as well."""
    expected = Counter(cause_of(number) for number in range(noted.held))
    (await fresh(settings)).close()  # waits until the running projection is as far as the topics
    listed = await asyncio.to_thread(queue, database, Filters(status=()))
    pages = [await asyncio.to_thread(incident, database, one.id) for one in listed.items]
    singles = [len(answered.single)]
    for page in pages:
        (key,) = page.data.keys
        action = answered.whole.get(key)
        if action is not None:
            wanted = (0, {"approve": "approved", "reject": "rejected"}[action], expected[key], "resolved")
            got = (page.held.waiting, *next(iter(page.held.ended.items()), ("", 0)), page.line.status)
        else:
            some = singles.pop() if page.held.ended else 0
            wanted = (expected[key] - some, "approved" if some else "", some, "triggered")
            got = (page.held.waiting, *next(iter(page.held.ended.items()), ("", 0)), page.line.status)
        if got != wanted or len(page.held.ended) > 1:
            noted.problems.append(f"{page.line.id}: the read model shows {got}, not {wanted}")
    waits = (await asyncio.to_thread(counts, database, 0)).waiting
    if waits != noted.held - answered.count(noted.held) or singles:
        noted.problems.append(f"the read model shows {waits:,} that wait in all")


# -- decisions ---------------------------------------------------------------------------------------------------------


async def where_they_went(settings: Settings, held: int, answered: Answered, noted: Noted) -> None:
    """Every decision is held once; its answer puts it out, or withholds it, once and byte for byte; others wait."""
    published = {(one.partition, one.offset): one for one in await records(settings, "decisions")}
    wanted: dict[Place, str | None] = {}
    for place, one in published.items():
        said = answered.whole.get(cause_of(int(json.loads(one.value)["id"][1:])))
        wanted[place] = "approve" if place in answered.single else said
    problems = noted.problems
    if len(published) != held:
        problems.append(f"{len(published):,} decisions on their topic")
    ends: Counter[tuple[Place, str]] = Counter()
    for short, action in (("released", "approve"), ("withheld", "reject")):
        for one in await records(settings, short):
            place = _place(dict(one.headers)["govern-verdict"].decode(), settings)
            ends[place, action] += 1
            if place not in published or _exact(one) != _exact(published[place]):
                problems.append(f"{place} is on {short} with other bytes")
    finals, gates = Counter[Place](), Counter[Place]()
    for one in await records(settings, "verdicts"):
        event = json.loads(one.value)
        (finals if event["data"]["stage"] == "final" else gates)[_place(event["id"], settings)] += 1
    pending = {one.key.decode(): one.value is not None for one in await records(settings, "held")}
    topic = settings.topic("decisions")
    for place, action in wanted.items():
        out = (ends[place, "approve"], ends[place, "reject"])
        right = (int(action == "approve"), int(action == "reject"))
        waits = pending.get(f"{topic}/{place[0]}/{place[1]}")
        if (out, finals[place], gates[place], waits) != (right, sum(right), 1, action is None):
            problems.append(
                f"{place}: answered {action}; out and withheld {out}, {gates[place]} gate and {finals[place]} final verdicts, "
                f"waits {waits}"
            )
    if len(pending) != held or sum(ends.values()) != answered.count(held):
        problems.append(f"{len(pending):,} were held, {sum(ends.values()):,} ended")


def _place(verdict: str, settings: Settings) -> Place:
    topic, partition, offset, _ = verdict.rsplit("/", 3)
    assert topic == settings.topic("decisions"), verdict
    return int(partition), int(offset)


def _exact(record: Any) -> Exact:
    theirs = tuple((name, value) for name, value in record.headers if not name.startswith("govern-"))
    return record.key, record.value, theirs
