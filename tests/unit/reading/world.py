"""Synthetic records of every topic that the read model is made of, and how they are folded without a Kafka."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from agents.people_events import Incident, IncidentData, shown_digest
from agents.policy.flags import dedup_key
from agents.policy.times import iso
from agents.records import Place, Plain, Record
from orchestration.reading import tables
from orchestration.reading.database import Database
from orchestration.reading.folding import Batch, fold

T0 = 1_772_442_843_000
"""2026-03-02 09:14:03 UTC."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
RULE = "lending/no-decline"
DIGEST = "sha256:" + "1" * 64


@dataclass
class World:
    """Topics in memory: each call appends a record at the next offset."""

    prefix: str
    topics: dict[Place, list[Plain]] = field(default_factory=dict)

    def name(self, short: str) -> str:
        return f"{self.prefix}.{short}"

    def append(
        self,
        short: str,
        value: bytes | Mapping[str, Any] | None,
        *,
        key: str | None = None,
        at: int = T0,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> Plain:
        place = (self.name(short), partition)
        records = self.topics.setdefault(place, [])
        data = json.dumps(value).encode() if isinstance(value, Mapping) else value
        offset = records[-1].offset + (2 if len(records) % 7 == 6 else 1) if records else 0  # markers take offsets
        found = Plain(*place, offset, at, None if key is None else key.encode(), data, headers)
        records.append(found)
        return found

    def say(self, short: str, kind: str, name: str, data: Mapping[str, Any], at: int, **more: Any) -> Plain:
        extra = {one: more.pop(one) for one in ("causationid",) if one in more}
        event = {"specversion": "1.0", "type": f"governance.{kind}.v1", "id": name, "source": "/test", "time": iso(at)}
        return self.append(short, {**event, **extra, "data": dict(data)}, at=at, **more)

    # -- people ------------------------------------------------------------------------------------------------

    def incident(self, name: str = "7f29-k1mq", at: int = T0, revision: int = 0, **given: Any) -> IncidentData:
        data = {
            "incident": name,
            "revision": revision,
            "change": "triggered" if revision == 0 else "grew",
            "said": "opened",
            "status": "triggered",
            "severity": "error",
            "title": "credit-limit: declines are held",
            "cause": RULE,
            "model": "credit-limit",
            "version": "2.1.0",
            "group": "{}",
            "keys": [dedup_key(RULE, "credit-limit", "2.1.0")],
            "effect": "hold",
            "team": "risk",
            "count": 3,
            "held": 3,
            "opened_ms": T0,
            "first_ms": T0,
            "last_ms": at,
            "through": {f"{self.name('decisions')}/0": 10},
            **given,
        }
        self.say("incidents", "incident", f"{name}/{revision}", data, at, key=name)
        return Incident.model_validate_json(self.topics[self.name("incidents"), 0][-1].value or b"").data

    def review(self, action: str, incident: IncidentData | None, person: str, at: int = T0, **given: Any) -> str:
        data = {"action": action, "person": person, "reason": "looked at it", **given}
        if incident is not None:
            data |= {"incident": incident.incident, "shown": shown_digest(incident)}
        made = self.say("reviews", "review", f"{person}-{at}", data, at)
        return f"{made.topic}/{made.partition}/{made.offset}"

    def ruling(self, incident: IncidentData, number: int, resolution: str, at: int = T0, **given: Any) -> str:
        name = f"{incident.incident}/{number}"
        effect = {"approved": "allow", "responded": "hold"}.get(resolution, "block")
        data = {
            "incident": incident.incident,
            "resolution": resolution,
            "effect": effect,
            "keys": list(incident.keys),
            "through": dict(incident.through),
            "kind": "individual",
            **given,
        }
        self.say("rulings", "ruling", name, data, at, key=incident.incident)
        return name

    def refusal(self, review: str, reason: str, incident: str | None = None, at: int = T0) -> None:
        topic, partition, offset = review.rsplit("/", 2)
        place = {"topic": topic, "partition": int(partition), "offset": int(offset)}
        data = {"review": place, "incident": incident, "reason": reason, "detail": f"refused: {reason}"}
        self.say("rulings", "refusal", f"refusal-{offset}", data, at)

    def summary(self, incident: IncidentData, by: str = "deterministic", at: int = T0, **given: Any) -> Plain:
        data = {
            "incident": incident.incident,
            "revision": incident.revision,
            "by": by,
            "summary": "Declines are held.",
            "cause": "policy_too_strict",
            "severity": incident.severity.value,
            "action": "review_held",
            "facts": [{"id": "f1", "kind": "count", "text": "3 decisions"}],
            **given,
        }
        name = f"{incident.incident}/{incident.revision}/{by}"
        return self.say("triage", "triage", name, data, at, key=incident.incident)

    def notification(self, incident: IncidentData, at: int = T0, channel: str = "mail") -> str:
        name = f"{incident.incident}/{incident.revision}/{channel}/0"
        data = {
            "incident": incident.incident,
            "kind": "trigger",
            "channel": channel,
            "to": ["ada"],
            "severity": "error",
            "title": incident.title,
            "dedup": incident.incident,
        }
        self.say("notifications", "notification", name, data, at, key=name)
        return name

    def delivery(self, notification: str, outcome: str, at: int = T0) -> None:
        data = {"notification": notification, "channel": "mail", "outcome": outcome, "attempts": 1, "took_ms": 12.5}
        self.say("notifications", "delivery", f"{notification}/{at}", data, at, key=notification)

    # -- decisions ---------------------------------------------------------------------------------------------

    def gate(self, offset: int, effect: str | None = "allow", at: int = T0, partition: int = 0, **given: Any) -> Plain:
        rules = given.pop("rules", [RULE] if effect == "hold" else [])
        reasons = [{"rule": rule, "effect": effect, "outcome": "matched", "applied": True} for rule in rules]
        return self._verdict(offset, "gate", effect, at, partition, {"reasons": reasons, **given})

    def final(self, offset: int, resolution: str, ruling: str, at: int = T0, partition: int = 0) -> Plain:
        effect = "allow" if resolution == "approved" else "block"
        self.append("held", None, key=self.position(offset, partition), at=at, partition=partition)
        return self._verdict(offset, "final", effect, at, partition, {"resolution": resolution}, causationid=ruling)

    def holds(
        self, offset: int, at: int = T0, partition: int = 0, text: str = "declined by 2.1.0", **given: Any
    ) -> None:
        """A decision that is held: its verdict and its record on `held`."""
        self.gate(offset, "hold", at, partition, **given)
        key, reasons = self.position(offset, partition), [{"rule": RULE, "effect": "hold", "text": text}]
        headers: list[tuple[str, bytes | None]] = [
            ("govern-verdict", f"{key}/gate".encode()),
            ("govern-reasons", json.dumps(reasons).encode()),
            ("govern-causes", json.dumps({"model": "credit-limit", "version": "2.1.0", "rules": [RULE]}).encode()),
            ("govern-key", base64.b64encode(b"client-1")),
        ]
        self.append("held", b'{"secret":"value"}', key=key, at=at, partition=partition, headers=headers)

    def position(self, offset: int, partition: int = 0) -> str:
        return f"{self.name('decisions')}/{partition}/{offset}"

    def _verdict(
        self,
        offset: int,
        stage: str,
        effect: str | None,
        at: int,
        partition: int,
        given: Mapping[str, Any],
        **more: Any,
    ) -> Plain:
        data = {
            "decision": {"topic": self.name("decisions"), "partition": partition, "offset": offset},
            "stage": stage,
            "mode": "gate",
            "kind": "decision",
            "effect": effect,
            "model": "credit-limit",
            "version": "2.1.0",
            "skewed": False,
            "as_of": {"config": 1, "signals": 0, "safeguards": 0},
            "config": DIGEST,
            "code": "0.1.0",
            "commitment": {"alg": "sha256", "key": "k", "value": "0" * 64},
            **given,
        }
        key = self.position(offset, partition)
        return self.say("verdicts", "verdict", f"{key}/{stage}", data, at, key=key, partition=partition, **more)

    # -- what stands -------------------------------------------------------------------------------------------

    def signal(self, status: str | None, at: int = T0, **given: Any) -> str:
        data = {"model": "credit-limit", "version": "2.1.0", "monitor": "approval_gap", "segment": None, **given}
        key = json.dumps(
            [data.get(n) for n in ("model", "version", "monitor", "segment", "group")], separators=(",", ":")
        )
        if status is None:
            self.append("signals", None, key=key, at=at)
        else:
            self.say("signals", "signal", f"{key}@{at}", {"status": status, **data}, at, key=key)
        return key

    def watermark(self, model: str, lag_ms: float, at: int = T0) -> None:
        self.say(
            "signals", "watermark", f"w@{at}", {"model": model, "lag_ms": lag_ms}, at, key=f'["watermark","{model}"]'
        )

    def configuration(self, document: Mapping[str, Any], at: int = T0, by: str = "ada") -> None:
        from agents.configuration import Configuration

        found = Configuration.model_validate(document)
        data = {"digest": found.digest(), "document": found.document(), "applied_by": by}
        self.say("config", "configuration", f"c{at}", data, at, key="current")

    def safeguard(self, name: str, at: int = T0, **given: Any) -> None:
        data = {"kind": "quarantine", "model": "credit-limit", "version": "2.1.0", "active": True, **given}
        self.say("safeguards", "safeguard", name, data, at, key=name)

    def checkpoint(self, log: str, size: int, at: int = T0) -> None:
        text = f"{self.prefix}/{log}\n{size}\n{base64.b64encode(b'r' * 32).decode()}\n\n— {self.prefix} AAAA\n"
        self.append("checkpoints", text.encode(), key=f"{self.prefix}/{log}", at=at)


def everything(world: World) -> World:
    """Some of each kind of record, with their corners."""
    world.configuration({"models": {"credit-limit": {"mode": "gate"}}}, T0 - HOUR)
    rule = {"id": "no-decline", "when": "output.label = 'decline'", "effect": "hold"}
    policies = [{"policy": "lending", "rules": [rule]}]
    world.configuration({"models": {"credit-limit": {"mode": "gate"}}, "policies": policies}, T0 - MINUTE, "bob")
    for offset in range(40):
        if offset % 8 == 3:
            world.holds(offset, T0 + offset * 1000, offset % 2)
        else:
            world.gate(offset, "log" if offset % 5 == 0 else "allow", T0 + offset * 1000, offset % 2)
    world.gate(40, None, T0 + 40_000, kind="duplicate")
    for offset in range(100, 400):  # so many that the sample for blind review has some
        world.gate(offset, at=T0 + 42_000)
    world.append("verdicts", b"no verdict", at=T0 + 41_000)
    first = world.incident(at=T0 + 4_000, **{"with": ["ada"]}, deadline_ms=T0 + HOUR)
    through = {f"{world.name('decisions')}/{n}": 41 for n in (0, 1)}
    grown = world.incident(at=T0 + 9_000, revision=1, count=9, held=5, through=through, **{"with": ["ada", "bob"]})
    world.summary(first)
    model = world.summary(grown, "model", T0 + 10_000, severity="critical", usage=[])
    world.incident(
        "aaaa-bbbb", T0 + 1_000, effect="log", held=0, severity="info", cause="hours/late", team=None, keys=[]
    )
    review = world.review("approve", grown, "ada", T0 + 20_000, kind="individual", shown_ms=41_000)
    stale = world.review("reject", first, "bob", T0 + 21_000)
    ruling = world.ruling(grown, 0, "approved", T0 + 20_500, people=["ada"], reviews=[review])
    world.refusal(stale, "already-ruled", grown.incident, T0 + 21_500)
    for offset in (3, 11):
        world.final(offset, "approved", ruling, T0 + 22_000, 1)
    world.notification(first)
    world.delivery(world.notification(grown), "retrying", T0 + 11_000)
    world.delivery(f"{grown.incident}/1/mail/0", "sent", T0 + 12_000)
    for second in range(0, 4000, 29):
        estimate = {"estimate": second / 4000, "n": second, "e_value": float(second), "limit": 1e6}
        world.signal("alarm" if second > 2000 else "ok", T0 + second * 1000, **estimate)
    world.signal("ok", T0, monitor="drift")
    world.signal(None, T0 + 1000, monitor="drift")
    world.watermark("credit-limit", 1200.0)
    world.append("signals", b"{}", key='["x"]')
    world.safeguard("q-1")
    world.safeguard("q-2", caller="svc")
    world.append("safeguards", None, key="q-2")
    for size in (5, 9):
        world.checkpoint("verdicts/0", size)
    world.append("incidents", b'{"type":"governance.incident.v1"}')
    world.append("reviews", b"\xff\x00")
    assert model.value is not None
    return world


def folded(database: Database, world: World, size: int = 10_000, order: Iterable[str] = ()) -> None:
    """Fold all records that were not folded yet, in batches of a size; topics named in `order` go first."""
    first = [world.name(short) for short in order]
    places = sorted(world.topics, key=lambda place: (place[0] not in first, place))
    while True:
        before = positions(database, places)
        records: dict[Place, Sequence[Record]] = {}
        left = size
        for place in places:
            todo = [one for one in world.topics[place] if one.offset >= before[place]][:left]
            left -= len(todo)
            if todo:
                records[place] = todo
        if not records:
            return
        after = before | {place: part[-1].offset + 1 for place, part in records.items()}
        fold(database, world.prefix, Batch(records, after, before))


def positions(database: Database, places: Iterable[Place]) -> dict[Place, int]:
    with database.reading() as connection:
        rows = connection.execute(select(tables.offsets.c.topic, tables.offsets.c.partition, tables.offsets.c.next))
        there = {(topic, partition): following for topic, partition, following in rows}
    return {place: there.get(place, 0) for place in places}


def rows_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in the order of the keys."""
    found = {}
    with database.reading() as connection:
        for table in tables.metadata.sorted_tables:
            if table is not tables.meta:
                rows = connection.execute(select(table).order_by(*table.primary_key))
                found[table.name] = [tuple(row) for row in rows]
    return found
