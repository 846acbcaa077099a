"""The escalation agent in memory: flags, signals, triage, answers and ticks go in; what it wrote can be looked at."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.configuration import Configuration
from agents.dsse import Private
from agents.escalation.agent import EscalationAgent, Inputs
from agents.people_events import REVIEW_KIND, IncidentData, Review, ReviewData, RulingData, shown_digest
from agents.policy.flags import dedup_key
from agents.records import Plain, collect
from agents.told_events import NotificationData

START = 1_772_442_840_000  # Monday 2026-03-02 09:14 UTC
HOUR = 3_600_000
KEYS = {name: Private(name.encode().ljust(32, b"-")) for name in ("ann", "bob", "cy", "dee")}
RULE = "lending/low-score"


def declared(**escalation: Any) -> Configuration:
    """Two teams, four people, a model in the path and one beside it; ann is on call."""
    people = {
        name: {
            "name": name,
            "roles": ["reviewer", "author"],
            "email": f"{name}@bank.example",
            "keys": [key.public.text],
        }
        for name, key in KEYS.items()
    }
    teams = {
        "credit": {
            "members": ["ann", "bob", "cy"],
            "on_call": {"rotation": ["ann", "bob"], "start": "2026-03-02T00:00:00+00:00"},
        },
        "risk": {"members": ["dee"], "on_call": {"rotation": ["dee"], "start": "2026-03-02T00:00:00+00:00"}},
    }
    standard = {
        "people": people,
        "teams": teams,
        "channels": {"mail": {"kind": "email", "url": "smtp://localhost:25"}},
        "chains": {"default": {"steps": [{}, {"after": "15m", "tell": ["members"]}]}},
    }
    return Configuration.model_validate(
        {
            "models": {"credit": {"mode": "gate"}, "chat": {"mode": "observe"}},
            "calendars": {"office": {"zone": "Europe/Berlin", "hours": {"mon-fri": "09:00-18:00"}}},
            "escalation": {**standard, **escalation},
        }
    )


def flag(
    cause: str = RULE,
    model: str | None = "credit",
    version: str | None = "1",
    segment: str | None = None,
    *,
    count: int = 1,
    first: int = 0,
    partition: int = 0,
    effect: str | None = "hold",
    mode: str | None = None,
    severity: str = "warning",
    team: str | None = None,
    reason: str = "score 0.1 of client-8231",
    labels: Mapping[str, str] | None = None,
    speaker: str = "policy",
    named: bool = False,
) -> bytes:
    """A flag's bytes; `named`: it names every held decision."""
    key = dedup_key(cause, model, version, segment)
    topic = "gim.observations" if speaker == "monitor" else "gim.decisions"
    return json.dumps(
        {
            "specversion": "1.0",
            "type": "governance.flag.v1",
            "id": f"{key}@{topic}/{partition}/{first}",
            "source": f"/gim/{speaker}",
            "data": {
                "dedup_key": key,
                "severity": severity,
                "team": team,
                "effect": effect,
                "mode": mode,
                "reason": reason,
                "labels": dict(labels or {}),
                "count": count,
                "topic": topic,
                "partition": partition,
                "first_offset": first,
                "last_offset": first + count - 1,
                "sample": list(range(first, first + min(count, 20))),
                **({"held": list(range(first, first + count))} if named else {}),
            },
        }
    ).encode()


def alarm(segment: str | None = None, *, version: str | None = "1", status: str = "alarm", at: int = 0) -> bytes:
    """A flag of the monitor `gap`."""
    severity = "error" if status == "alarm" else "warning"
    labels = {"status": status}
    return flag(
        "gap", "credit", version, segment, effect=None, severity=severity, labels=labels, speaker="monitor", first=at
    )


@dataclass
class Lane:
    """An agent that may be stopped and started from its snapshot between any two steps."""

    configuration: Configuration = field(default_factory=declared)
    now: int = START
    written: dict[str, list[tuple[bytes | None, bytes | None, Any]]] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    prefix: str = "gim"

    def __post_init__(self) -> None:
        self.agent = EscalationAgent("gim", "gim.flags", 0, self.configuration)
        self.parts: dict[str, Any] = {}
        self.signals: list[Plain] = []

    # -- in -----------------------------------------------------------------------------------------------------------

    def records(self, topic: str, values: Sequence[Any], at: int | None = None) -> list[Plain]:
        """Records of a topic, a value or (key, value) each."""
        found = []
        for one in values:
            key, value = one if isinstance(one, tuple) else (None, one)
            number = self.offsets.get(topic, 0)
            self.offsets[topic] = number + 1
            found.append(Plain(f"gim.{topic}", 0, number, self.now if at is None else at, key, value))
        return found

    def step(self, **inputs: Sequence[Any]) -> Lane:
        """One step now; values are bytes, (key, bytes), or records."""
        taken = {
            name: list(values) if values and isinstance(values[0], Plain) else self.records(name, values)
            for name, values in inputs.items()
        }
        self.signals += taken.get("signals", ())
        for place, messages in collect(self.agent.take(Inputs(**taken))).items():
            self.written.setdefault(place[0].removeprefix("gim."), []).extend(messages)
        return self

    def flags(self, *values: bytes) -> Lane:
        return self.step(flags=values)

    def wait(self, seconds: float) -> Lane:
        """Time passes; one tick at its end."""
        self.now += round(seconds * 1000)
        return self.step(ticks=[b"{}"])

    def away(self, seconds: float) -> Lane:
        """A downtime of this lane: all ticks of it come in one step, and one more."""
        times = range(self.now, self.now + round(seconds * 1000), 10_000)
        ticks = [one for at in times for one in self.records("ticks", [b"{}"], at)]
        self.now += round(seconds * 1000)
        self.step(ticks=ticks)
        return self.step(ticks=[b"{}"])

    def restart(self) -> Lane:
        """Throw the agent away and go on from its snapshot."""
        changed, removed = self.agent.desk.state.parts()
        self.parts |= json.loads(json.dumps(changed))
        for part in removed:
            self.parts.pop(part, None)
        state = self.agent.desk.state
        head = json.loads(json.dumps(state.head()))
        agent = EscalationAgent("gim", "gim.flags", 0, self.agent.desk.desks.configuration)
        agent.hear(self.signals)
        agent.restore(state.now_ms, dict(state.sequence), head, self.parts)
        self.agent = agent
        return self

    def answer(self, person: str, action: str, incident: IncidentData | None = None, **more: Any) -> Lane:
        """A review that a person signed, of the incident as it is."""
        return self.step(reviews=[self.signed(person, action, incident, **more)])

    def answer_with(self, ticks: list[Plain], person: str, action: str, incident: IncidentData, *, at: int) -> Lane:
        """The same, given at a time, in a step that brings ticks as well."""
        reviews = self.records("reviews", [self.signed(person, action, incident)], at)
        self.now = ticks[-1].timestamp
        return self.step(reviews=reviews, ticks=ticks).step(ticks=[b"{}"])

    def signed(
        self, person: str, action: str, incident: IncidentData | None = None, name: str | None = None, **more: Any
    ) -> bytes:
        """A review's bytes; `name`: its id."""
        number = self.offsets.get("reviews", 0)
        values: dict[str, Any] = {"action": action, "person": person, "reason": "as I see it", **more}
        if incident is not None:
            values = {"incident": incident.incident, "shown": shown_digest(incident), **values}
            if action in ("approve", "reject", "edit", "respond"):
                values = {"through": incident.through, **values}
        data = ReviewData.model_validate(values)
        review = Review(id=name or f"r{number}-{person}", source=f"/{self.prefix}/{person}", data=data)
        signed = KEYS[person].sign(REVIEW_KIND, review.statement())
        review = review.model_copy(update={"dssematerial": base64.b64encode(signed.encode()).decode()})
        return review.model_dump_json(exclude_none=True, by_alias=True).encode()

    # -- out ----------------------------------------------------------------------------------------------------------

    def bytes_of(self, topic: str) -> list[bytes]:
        return [value or b"" for _, value, _ in self.written.get(topic, ())]

    @property
    def history(self) -> list[IncidentData]:
        """Every record of incidents."""
        return [IncidentData.model_validate(json.loads(one)["data"]) for one in self.bytes_of("incidents")]

    @property
    def incidents(self) -> dict[str, IncidentData]:
        """The newest record of each."""
        return {one.incident: one for one in self.history}

    @property
    def one(self) -> IncidentData:
        """The only incident."""
        (found,) = self.incidents.values()
        return found

    @property
    def told(self) -> list[NotificationData]:
        return [NotificationData.model_validate(json.loads(one)["data"]) for one in self.bytes_of("notifications")]

    @property
    def rulings(self) -> list[RulingData]:
        events = [json.loads(one) for one in self.bytes_of("rulings")]
        return [RulingData.model_validate(one["data"]) for one in events if one["type"] == "governance.ruling.v1"]

    @property
    def refusals(self) -> list[dict[str, Any]]:
        events = [json.loads(one) for one in self.bytes_of("rulings")]
        return [one["data"] for one in events if one["type"] == "governance.refusal.v1"]


def signal(status: str, segment: str | None = None, version: str = "1") -> tuple[bytes, bytes]:
    """A record of `signals` of the monitor `gap`; version `*`: of all versions."""
    data: dict[str, Any] = {"model": "credit", "version": version, "monitor": "gap", "status": status}
    if segment is not None:
        data["segment"] = segment
    if version == "*":
        data["scope"] = "model"
    key = json.dumps(["credit", version, "gap", segment, None], separators=(",", ":"))
    event = {"specversion": "1.0", "type": "governance.signal.v1", "id": f"{key}{status}", "source": "/gim/monitor"}
    return key.encode(), json.dumps({**event, "data": data}).encode()
