"""The demo's people. They are scripted, and the screen says so, but they do what people do on the console: read and answer.

Nothing here knows more than a browser and a reader of Kafka: incidents, rulings and what became of held decisions are
read from outside, and compared with what was sent.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from aiokafka import AIOKafkaConsumer

from agents.configuration import Configuration
from agents.dsse import Public
from agents.errors import Retryable
from agents.events import Effect
from agents.people_events import IncidentData, RulingData, Status
from agents.told_events import TriageData
from orchestration import signing_keys
from orchestration.console.accounts import Accounts
from orchestration.console.database import open_database
from orchestration.console.parts import wall_clock_ms
from orchestration.demo.visitor import Page, Visitor
from orchestration.kafka import Broker, close
from orchestration.settings import Settings

PATIENCE_S = 30.0
RULED_S = 1.0
"""After so long without a ruling, a second person is wanted."""
QUIET_S = 0.8
"""After so long without another, all decisions that a ruling decides have ended."""
LENDING, FAIRNESS = "lending/approved-though-late", "fairness/hold-declines"
PAY_SLIP, PAY_SLIPS = "a pay slip explains the delay", "the pay slips are there"
UNFAIR = "the new version treats the youngest worse: loan officers decide"
OPENED = 3
"""Held decisions that somebody opens before answering for all."""


@dataclass
class Person:
    """Somebody at a browser."""

    name: str
    visitor: Visitor
    press: Callable[[], str]
    """Gives the answer; returns what the console says to that."""


@dataclass
class Answered:
    """One answer that took effect."""

    who: str
    incident: IncidentData
    why: str
    """The reason that they gave."""
    ruling: RulingData
    seconds: float
    """From sending the form until the last decision was released or withheld."""
    decisions: int


@dataclass
class Seen:
    """What people met with."""

    incidents: list[IncidentData]
    triage: dict[str, TriageData]
    """By incident: what people were told."""
    answers: list[Answered]
    finals: dict[str, str]
    """Position of a held decision that has ended → its resolution."""


def with_console(settings: Settings, configuration: Configuration, url: str) -> Configuration:
    """The configuration with this deployment's console in it: its public key and its address."""
    declared = configuration.escalation
    key: Public = signing_keys.console_key(settings).public
    update = {"console_keys": {**declared.console_keys, "demo": key.text}, "console_url": url}
    return configuration.model_copy(update={"escalation": declared.model_copy(update=update)})


def accounts(settings: Settings, configuration: Configuration) -> dict[str, str]:
    """An account for everybody that the configuration declares; person → password, made up now."""
    database = open_database(settings)
    found = Accounts(database, wall_clock_ms)
    passwords = {person: f"demo-{secrets.token_hex(6)}" for person in configuration.escalation.people}
    for person, password in passwords.items():
        found.add(person, password)
    return passwords


def answer(settings: Settings, url: str, passwords: Mapping[str, str], told: Callable[[str], None]) -> Seen:
    """Let people answer as they would: one decision, then the rest of its incident; and one that two people must agree on.

    Raises Retryable where a page, an answer or what should follow from it does not come.
    """
    return asyncio.run(_answer(settings, url, passwords, told))


async def _answer(settings: Settings, url: str, passwords: Mapping[str, str], told: Callable[[str], None]) -> Seen:
    answers = []
    async with Outside(settings) as outside:
        lending = await outside.incident(LENDING)
        fairness = await outside.incident(FAIRNESS)
        if lending is not None:
            with Visitor(url) as mei:
                await asyncio.to_thread(mei.sign_in, "mei", passwords["mei"])
                told("Mei Chen opens one decision and lets it go out")
                answers.append(
                    await outside.ended(lending, PAY_SLIP, [Person("Mei Chen", mei, lambda: _one(mei, lending))])
                )
                told("Mei Chen opens some more and lets all of them go out")
                press = partial(_all, mei, lending, "approve", PAY_SLIPS)
                answers.append(await outside.ended(lending, PAY_SLIPS, [Person("Mei Chen", mei, press)]))
        if fairness is not None:
            with Visitor(url) as ann, Visitor(url) as ben:
                await asyncio.to_thread(ann.sign_in, "ann", passwords["ann"])
                await asyncio.to_thread(ben.sign_in, "ben", passwords["ben"])
                told("Ann Lee and Ben Ortiz withhold the declines of the fine-tuned version")
                both = [
                    Person(name, one, partial(_all, one, fairness, "reject", UNFAIR))
                    for name, one in (("Ann Lee", ann), ("Ben Ortiz", ben))
                ]
                answers.append(await outside.ended(fairness, UNFAIR, both))
        await outside.drain(0.3)
        return Seen(list(outside.incidents.values()), outside.triage, answers, outside.resolutions)


def _one(visitor: Visitor, incident: IncidentData) -> str:
    """Open the first held decision and answer for it alone; what the console says to that."""
    page = visitor.get(f"/incidents/{incident.incident}")
    decision = _decisions(page)[:1]
    if not decision:
        raise Retryable(f"the page of {incident.incident} links to no held decision: {page.words[:300]}")
    return _press(visitor, visitor.get(decision[0]), "approve", PAY_SLIP)


def _all(visitor: Visitor, incident: IncidentData, action: str, reason: str) -> str:
    """Open some decisions, or those of the random sample that the page asks for, and answer for all of them."""
    path = f"/incidents/{incident.incident}"
    page = visitor.get(path)
    for url in _sample(page) or _decisions(page)[:OPENED]:
        visitor.get(url)
    return _press(visitor, visitor.get(path), action, reason)


def _sample(page: Page) -> list[str]:
    """Held decisions of the random sample that a page asks to open; empty where it asks for none."""
    return [url for url, words in page.links if words.startswith("Sample") and url.startswith("/decisions/")]


def _decisions(page: Page) -> list[str]:
    """Pages of held decisions that a page links to."""
    return [url for url in dict.fromkeys(url for url, _ in page.links) if url.startswith("/decisions/")]


def _press(visitor: Visitor, page: Page, action: str, reason: str) -> str:
    """Fill in the reason and press a button; what the page says then."""
    form = page.form("action", action)
    if form is None:
        raise Retryable(f"{page.url} offers no answer {action!r}: {page.words[:300]}")
    after = visitor.send(page, form, ("action", action), reason=reason)
    if after.status != 200:
        raise Retryable(f"the console answers {after.status}: {after.words[:300]}")
    return after.words


class Outside:
    """What any reader of Kafka sees of incidents, rulings and final verdicts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self.incidents: dict[str, IncidentData] = {}
        self.triage: dict[str, TriageData] = {}
        self.rulings: list[tuple[str, RulingData]] = []
        self.ended_ms: dict[str, list[int]] = {}
        """Ruling → when each decision that it decided ended, by the broker's clock."""
        self.resolutions: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        topics = [(self._settings.topic("verdicts"), number) for number in range(self._settings.partitions)]
        topics += [(self._settings.topic(short), 0) for short in ("incidents", "rulings", "triage")]
        self._consumer = await Broker(self._settings).consumer(*topics, from_start=True)
        await self.drain(1.0)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await close(self._consumer)

    async def incident(self, cause: str) -> IncidentData | None:
        """The open incident of a cause that holds decisions; None where none came."""
        until = time.monotonic() + PATIENCE_S / 3
        while time.monotonic() < until:
            for one in self.incidents.values():
                if one.cause == cause and one.effect is Effect.HOLD and one.status is not Status.RESOLVED:
                    return one
            await self.drain(0.2)
        return None

    async def ended(self, incident: IncidentData, why: str, people: Sequence[Person]) -> Answered:
        """Let people answer, one after the other until there is a ruling, and wait until all that it decides has ended."""
        before, names, said, sent_ms = len(self.rulings), list[str](), "", 0.0
        for person in people:
            try:
                said = await asyncio.to_thread(person.press)
            except Retryable:
                if not names:
                    raise
                break  # it was ruled in the meantime: few were held, and no second person is wanted
            names.append(person.name)
            sent_ms = person.visitor.sent_ms
            if await self._ruled(incident, before, RULED_S):
                break
        until, quiet, last = time.monotonic() + PATIENCE_S, 0.0, -1
        while time.monotonic() < until:
            await self.drain(0.1)
            new = self._rulings_of(incident, before)
            ended = self.ended_ms.get(new[-1][0], []) if new else []
            quiet, last = (quiet + 0.1 if ended and len(ended) == last else 0.0), len(ended)
            if quiet > QUIET_S:
                took = (max(ended) - sent_ms) / 1000
                return Answered(" and ".join(names), incident, why, new[-1][1], took, len(ended))
        raise Retryable(
            f"the answer to {incident.incident} ended no wait within {PATIENCE_S:.0f} s; the page said: {said[:300]}"
        )

    async def _ruled(self, incident: IncidentData, before: int, within_s: float) -> bool:
        until = time.monotonic() + within_s
        while not self._rulings_of(incident, before) and time.monotonic() < until:
            await self.drain(0.1)
        return bool(self._rulings_of(incident, before))

    def _rulings_of(self, incident: IncidentData, before: int) -> list[tuple[str, RulingData]]:
        return [(name, one) for name, one in self.rulings[before:] if one.incident == incident.incident]

    async def drain(self, within_s: float) -> None:
        """Take what has come, until nothing came for so long."""
        assert self._consumer is not None, "entered"
        while found := await self._consumer.getmany(timeout_ms=int(within_s * 1000)):
            for place, records in found.items():
                for record in records:
                    self._take(place.topic.rpartition(".")[2], record)

    def _take(self, short: str, record: Any) -> None:
        event = json.loads(record.value or b"{}")
        data = event["data"]
        if short == "incidents":
            self.incidents[data["incident"]] = IncidentData.model_validate(data)
        elif short == "triage":
            self.triage[data["incident"]] = TriageData.model_validate(data)
        elif short == "rulings" and event["type"] == "governance.ruling.v1":
            self.rulings.append((event["id"], RulingData.model_validate(data)))
        elif short == "verdicts" and data["stage"] == "final":
            self.ended_ms.setdefault(event["causationid"], []).append(record.timestamp)
            place = data["decision"]
            self.resolutions[f"{place['topic']}/{place['partition']}/{place['offset']}"] = data["resolution"]
