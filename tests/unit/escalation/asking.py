"""A small world to answer in: two teams, their people and keys, one console, one incident with held decisions."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.configuration import Configuration
from agents.dsse import Private
from agents.escalation.answers import Accepted, check
from agents.escalation.case import Case, Context, Ended
from agents.events import Effect, Position, Severity
from agents.people_events import REVIEW_KIND, IncidentData, RefusalData, Review, ReviewData, Status, shown_digest
from agents.records import Plain

NOW = 1_772_442_843_000
PLACE = "gim.decisions/0"
ANN, BEN, CONSOLE, STRANGER, OLD = (Private(bytes([number]) * 32) for number in range(1, 6))


def at(offset: int, partition: int = 0) -> Position:
    return Position(topic="gim.decisions", partition=partition, offset=offset)


def configuration(**escalation: Any) -> Configuration:
    people = {
        "ann": {"name": "Ann", "roles": ["reviewer", "author"], "keys": [ANN.public.text]},
        "ben": {"name": "Ben", "roles": ["reviewer"], "keys": [BEN.public.text]},
        "cid": {"name": "Cid", "roles": ["reviewer"]},
        "eve": {"name": "Eve", "roles": ["viewer"]},
        "far": {"name": "Far", "roles": ["reviewer"]},
        "root": {"name": "Root", "roles": ["admin", "author"]},
    }
    teams = {"credit": {"members": ["ann", "ben", "cid", "eve"]}, "chat": {"members": ["far"]}}
    declared = {"people": people, "teams": teams, "console_keys": {"main": CONSOLE.public.text}, **escalation}
    labels = {"decline": {}, "approve": {"favourable": True}}
    return Configuration.model_validate({"models": {"credit-limit": {"labels": labels}}, "escalation": declared})


def incident(**changes: Any) -> IncidentData:
    known = {
        "incident": "7f29-k1mq",
        "revision": 4,
        "change": "grew",
        "status": Status.TRIGGERED,
        "severity": Severity.ERROR,
        "title": "credit-limit 2.1.0: scores below 0.2",
        "cause": "lending/low-score",
        "model": "credit-limit",
        "version": "2.1.0",
        "group": "[]",
        "keys": ('["lending/low-score","credit-limit","2.1.0",null]',),
        "effect": Effect.HOLD,
        "team": "credit",
        "count": 30,
        "held": 30,
        "through": {PLACE: 100},
        "opened_ms": NOW - 60_000,
        "first_ms": NOW - 60_000,
        "last_ms": NOW - 1_000,
    }
    return IncidentData.model_validate({**known, **changes})


@dataclass(frozen=True)
class State:
    """A state that pages showed."""

    digest: str
    fields: Mapping[str, Any]


def shown(data: IncidentData) -> State:
    told = {"status": "open", "severity": data.severity.value, "title": data.title, "keys": len(data.keys)}
    return State(
        shown_digest(data), {**told, "effect": "hold", "team": data.team, "version": data.version, "segment": None}
    )


def case(data: IncidentData | None = None, **changes: Any) -> Case:
    data = data or incident()
    chain = changes.pop("chain", {})
    known: dict[str, Any] = {
        "incident": data,
        "chain": next(iter(configuration(chains={"default": chain}).escalation.chains.values())),
        "shown": [shown(data)],
        "waiting": lambda through: data.held if through.get(PLACE, 0) > 0 else 0,
    }
    return Case(**{**known, **changes})


@dataclass
class World:
    """What reviews meet; `send` signs and checks one."""

    configuration: Configuration = field(default_factory=configuration)
    case: Case | Ended | None = field(default_factory=case)
    seen: set[str] = field(default_factory=set)
    silences: dict[str, Any] = field(default_factory=dict)

    def context(self) -> Context:
        found = self.case
        name = found.incident.incident if isinstance(found, Case) else "7f29-k1mq"
        return Context(self.configuration, "gim", {name: found}.get, self.seen, self.silences)

    def check(
        self, value: bytes | None, timestamp: int = NOW, offset: int = 7, headers: Any = ()
    ) -> Accepted | RefusalData:
        return check(Plain("gim.reviews", 0, offset, timestamp, None, value, headers), self.context())

    def send(self, data: ReviewData, key: Private = ANN, at_ms: int = NOW, id: str = "01JQ1") -> Accepted | RefusalData:
        return self.check(signed(data, key, id), at_ms)


def answer(action: str = "approve", person: str = "ann", **changes: Any) -> ReviewData:
    known: dict[str, Any] = {
        "action": action,
        "person": person,
        "incident": "7f29-k1mq",
        "shown": shown_digest(incident()),
        "through": {PLACE: 100},
        "reason": "checked three files: the income is right",
    }
    return ReviewData.model_validate({**known, **changes})


def review(data: ReviewData, id: str = "01JQ1", source: str = "/gim/people/ann") -> Review:
    return Review(id=id, source=source, data=data)


def signed(data: ReviewData, key: Private = ANN, id: str = "01JQ1", source: str = "/gim/people/ann") -> bytes:
    event = review(data, id, source)
    envelope = base64.b64encode(key.sign(REVIEW_KIND, event.statement()).encode()).decode()
    return event.model_copy(update={"dssematerial": envelope}).model_dump_json(exclude_none=True).encode()


def document(value: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value)
    return found
