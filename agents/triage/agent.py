"""The triage agent: incidents in, with what stands around them; one deterministic summary out for each that is new or worse.

Promise: the same records, cut the same way, give the same bytes. An incident is told again only where it became materially
worse since it was told last, and never because of what triage itself said of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from pydantic import ValidationError

from agents.errors import Poison
from agents.events import Effect, SafeguardData, Severity, SignalData
from agents.people_events import Incident, IncidentData, Resolution, Ruling, Status
from agents.policy.standing import Standing
from agents.policy.times import iso
from agents.records import Message, Record, Stretch, position
from agents.told_events import Allowed, FactData, Similar, TriageData, TriageEvent
from agents.triage.causes import ORDER, judge
from agents.triage.changes import Lately
from agents.triage.facts import cause_name, gather, subject
from agents.triage.fields import Names
from agents.triage.seen import Seen
from agents.triage.similar import Memory, Past, words
from agents.triage.summary import summarise

GROWN = 10
"""So many times as many decisions as when it was told last make an incident worse."""
MOST_OPEN = 5_000
"""Open incidents whose last telling is remembered; the oldest go first."""
MOST_RULINGS = MOST_WORDS = 300
LONGEST_REASON = 400
MOST_WAITING = 50
"""Incidents that wait for their signals at the same time; more are told without."""
PATIENCE_MS = 3_000
"""So long an incident of a monitor waits for the signal that it speaks of."""


SAMPLE = 5
"""Decisions that a summary may be based on."""


class BadIncident(Poison):
    """A record of `incidents` or `rulings` that cannot be read; none that our lanes write."""

    reason = "bad-incident"


@dataclass(frozen=True)
class Told:
    """How bad an incident was when it was told last."""

    severity: str
    effect: str | None
    count: int
    held: int

    @classmethod
    def of(cls, one: IncidentData) -> Told:
        """As it stands."""
        return cls(one.severity.value, one.effect.value if one.effect else None, one.count, one.held)

    def worse(self, one: IncidentData) -> bool:
        """Whether it is materially worse now: severity, effect, decisions that wait, or many times as many."""
        harder = Effect(self.effect or "allow").strictness < (one.effect or Effect.ALLOW).strictness
        graver = ORDER.index(Severity(self.severity)) < ORDER.index(one.severity) and "triaged" not in _changes(one)
        more = one.count >= GROWN * max(self.count, 1) or (one.held > 0 and one.held >= GROWN * self.held)
        return harder or graver or more


class TriageAgent:
    """Tells what is known of each incident."""

    def __init__(self, prefix: str, topic: str, partition: int = 0) -> None:
        """`topic`: the full name of `incidents`."""
        self.prefix, self.topic, self.partition = prefix, topic, partition
        self.writer = f"{prefix}.triage.{topic}.{partition}"
        self.now_ms = -1
        self.sequence: dict[str, int] = {}
        self.standing = Standing()
        self.lately = Lately()
        self.memory = Memory()
        self.told: dict[str, Told] = {}
        self.waiting: dict[str, tuple[IncidentData, int]] = {}
        """Incidents that wait for their signal, and until when, ms."""
        self.words: dict[str, str] = {}
        """What an open incident was about when it was told, to find it by when it has ended."""
        self.rulings: dict[str, str] = {}
        """Reasons of rulings whose incident has not ended yet."""
        self.refused: list[Poison] = []

    def load(self, table: str, records: Sequence[Record]) -> None:
        """See again what stood at a snapshot: `config`, `signals` or `safeguards`. What changed then is in the snapshot."""
        self.standing, _ = self.standing.fold(table, records)

    def take(
        self,
        tables: Mapping[str, Sequence[Record]],
        rulings: Sequence[Record],
        incidents: Sequence[Record],
        ticks: Sequence[Record],
    ) -> Iterator[Stretch]:
        """What a step writes. `tables`: new records of config, signals and safeguards."""
        for records in (*tables.values(), rulings, incidents, ticks):
            self.now_ms = max((self.now_ms, *(record.timestamp for record in records)))
        self._stand(tables)
        for record in rulings:
            self._ruled(record)
        due = [one for record in incidents if (one := self._read(record)) is not None and self._is_due(one)]
        newest = {one.incident: one for one in due}  # of several revisions in one step the last one is told
        messages = [self._message(one) for one in newest.values() if self._can_tell(one)]
        messages += [self._message(one) for one in self._no_longer_waiting(newest)]
        if messages:
            yield (f"{self.prefix}.triage", 0), messages

    # -- what stands ---------------------------------------------------------------------------------------------------

    @property
    def _names(self) -> Names:
        return Names.of(self.standing.configuration)

    def _stand(self, tables: Mapping[str, Sequence[Record]]) -> None:
        for record in tables.get("config", ()):
            before = self.standing
            self._fold("config", record)
            if before.ready and self.standing.ready and before.digest != self.standing.digest:
                after = self.standing
                self.lately.configured(before.configuration, after.configuration, after.digest, record.timestamp)
        names = self._names
        signals = tables.get("signals", ())
        self.standing, refused = self.standing.fold("signals", signals)
        self.refused += refused
        for record in signals:
            told = self.standing.circumstances.signals.get((record.key or b"").decode(errors="replace"))
            if told is not None and told.data.scope != "model":
                self.lately.met(told.data.model, told.data.version, names, record.timestamp)
        for record in tables.get("safeguards", ()):
            key, before_order = (record.key or b"").decode(errors="replace"), self._order(record)
            self._fold("safeguards", record)
            if (order := self._order(record)) != before_order:
                self.lately.ordered(key, order, names, record.timestamp)

    def _order(self, record: Record) -> SafeguardData | None:
        return self.standing.circumstances.safeguards.get((record.key or b"").decode(errors="replace"))

    def _fold(self, table: str, record: Record) -> None:
        self.standing, refused = self.standing.fold(table, [record])
        self.refused += refused

    # -- incidents ------------------------------------------------------------------------------------------------------

    def _read(self, record: Record) -> IncidentData | None:
        try:
            return Incident.model_validate_json(record.value or b"").data
        except ValidationError as error:
            self.refused.append(BadIncident(f"{position(record)} is refused: {error.errors()[0]['msg']}"))
            return None

    def _ruled(self, record: Record) -> None:
        """Keep why people ruled as they did, for the day when an incident like it comes."""
        value = record.value or b""
        try:
            if msgspec.json.decode(value).get("type") == "governance.ruling.v1":
                data = Ruling.model_validate_json(value).data
                self.rulings[data.incident] = data.reason[:LONGEST_REASON]
                while len(self.rulings) > MOST_RULINGS:
                    del self.rulings[next(iter(self.rulings))]
        except (ValidationError, msgspec.DecodeError, AttributeError) as error:
            self.refused.append(BadIncident(f"{position(record)} is refused: {type(error).__name__}"))

    def _is_due(self, one: IncidentData) -> bool:
        """Whether it must be told; takes note of an incident that ended."""
        if one.status is Status.RESOLVED:
            self._ended(one)
            return False
        told = self.told.get(one.incident)
        ours = "triaged" in _changes(one)
        if told is None and one.triage is not None and (ours or "worsened" not in _changes(one)):
            self._remember_told(one)  # it was told, and forgotten since among so many others
            return False
        if told is not None and ours:  # a severity that triage raised is no news to it
            self.told[one.incident] = replace(told, severity=one.severity.value)
        if one.incident in self.waiting:
            self.waiting[one.incident] = (one, self.waiting[one.incident][1])
            return False
        return told is None or told.worse(one)

    def _ended(self, one: IncidentData) -> None:
        self.waiting.pop(one.incident, None)
        self.told.pop(one.incident, None)
        seen = self._seen(one)
        resolution = Resolution(one.resolution).value if one.resolution is not None else None
        title = f"{cause_name(seen)}: {subject(seen)}"[:200]
        reason = self.rulings.pop(one.incident, "")
        about = self.words.pop(one.incident, None) or words(seen)
        self.memory.remember(one.incident, Past(about, title, resolution, reason, one.team))

    def _can_tell(self, one: IncidentData) -> bool:
        """False where the signal that it speaks of has not arrived: it is written before, but read from another topic."""
        expects = one.signal is not None or one.cause in self.standing.configuration.monitors
        known = one.incident in self.told or len(self.waiting) >= MOST_WAITING
        if not expects or known or self._seen(one).about:
            return True
        self.waiting[one.incident] = (one, self.now_ms + PATIENCE_MS)
        return False

    def _no_longer_waiting(self, just: Mapping[str, IncidentData]) -> list[IncidentData]:
        ready = [
            one
            for name, (one, until) in self.waiting.items()
            if self.now_ms >= until or (name not in just and self._seen(one).about)
        ]
        for one in ready:
            del self.waiting[one.incident]
        return ready

    def _seen(self, one: IncidentData, similar: Sequence[Similar] = ()) -> Seen:
        around = self.standing.circumstances
        signals: dict[str, SignalData] = {key: told.data for key, told in around.signals.items()}
        return Seen(
            incident=one,
            now_ms=self.now_ms,
            configuration=self.standing.configuration,
            digest=self.standing.digest,
            signals=signals,
            safeguards=around.safeguards,
            changes=tuple(self.lately.changes),
            versions=dict(self.lately.versions.get(one.model or "", {})),
            similar=similar,
        )

    def _message(self, one: IncidentData) -> Message:
        if one.model is not None:
            self.lately.met(one.model, one.version, self._names, one.first_ms)
        seen = self._seen(one)
        about = self.words[one.incident] = words(seen)
        while len(self.words) > MOST_WORDS:
            del self.words[next(iter(self.words))]
        similar = self.memory.like(about, self.standing.configuration.triage.similar, one.incident)
        data = tell(replace(seen, similar=similar), tuple(self.memory.teams(similar)))
        self._remember_told(one)
        event = TriageEvent(
            id=f"{one.incident}/{one.revision}/deterministic", source=f"/{self.prefix}/triage", data=data
        )
        document = {**event.model_dump(mode="json", exclude_none=True), "time": iso(max(self.now_ms, 0))}
        return one.incident.encode(), msgspec.json.encode(document), self._numbered()

    def _remember_told(self, one: IncidentData) -> None:
        self.told.pop(one.incident, None)
        self.told[one.incident] = Told.of(one)
        while len(self.told) > MOST_OPEN:
            del self.told[next(iter(self.told))]

    def _numbered(self) -> list[tuple[str, bytes | None]]:
        number = self.sequence.get("triage", 0)
        self.sequence["triage"] = number + 1
        return [("govern-seq", b"%d" % number), ("govern-writer", self.writer.encode())]

    # -- snapshots ------------------------------------------------------------------------------------------------------

    def head(self) -> dict[str, Any]:
        """What is small."""
        return {"changes": self.lately.plain()["changes"]}

    def open_incidents(self) -> dict[str, Any]:
        """What is remembered of incidents that have not ended, and of versions."""
        told = {name: [one.severity, one.effect, one.count, one.held] for name, one in self.told.items()}
        waiting = {
            name: [one.model_dump(mode="json", by_alias=True), until] for name, (one, until) in self.waiting.items()
        }
        versions = self.lately.plain()["versions"]
        return {"told": told, "waiting": waiting, "words": self.words, "rulings": self.rulings, "versions": versions}

    def restore(self, now_ms: int, head: Mapping[str, Any], open_: Mapping[str, Any], past: Mapping[str, Any]) -> None:
        """Go on from a snapshot."""
        around = {**head, **open_}
        self.now_ms, self.lately, self.memory = now_ms, Lately.restored(around), Memory.restored(past)
        self.rulings = dict(around.get("rulings", {}))
        self.told = {name: Told(*one) for name, one in open_.get("told", {}).items()}
        self.words = dict(open_.get("words", {}))
        self.waiting = {
            name: (IncidentData.model_validate(one), until) for name, (one, until) in open_.get("waiting", {}).items()
        }


def tell(seen: Seen, like_teams: tuple[str, ...] = ()) -> TriageData:
    """The deterministic record of one incident."""
    facts: tuple[FactData, ...] = gather(seen)
    judged = judge(seen, like_teams)
    said = summarise(seen, facts, judged)
    return TriageData(
        incident=seen.incident.incident,
        revision=seen.incident.revision,
        by="deterministic",
        summary=said.summary,
        cause=judged.cause,
        cause_text=said.cause_text,
        severity=seen.incident.severity,
        action=judged.action,
        action_text=said.action_text,
        teams=judged.teams,
        questions=said.questions,
        cites=said.cites,
        facts=facts,
        similar=tuple(seen.similar),
        allowed=Allowed(
            causes=judged.causes, actions=judged.actions, severities=judged.severities, teams=judged.further
        ),
        sample=seen.incident.sample[:SAMPLE],
    )


def _changes(one: IncidentData) -> tuple[str, ...]:
    return (one.change, *one.changes)
