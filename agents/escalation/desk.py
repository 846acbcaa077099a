"""Where an incident is written down: its record, the messages that go with it, rulings and refusals, each numbered once.

Every change of an incident goes through `Desk.write`, so that state, record, revision and messages never differ.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.escalation import messages
from agents.escalation.declared import Chain
from agents.escalation.grouping import speaks_for
from agents.escalation.incidents import Live, rank
from agents.escalation.routing import Desks
from agents.escalation.state import State
from agents.escalation.telling import ROOMS, Situation, Told, again
from agents.events import CloudEvent, Severity
from agents.people_events import Change, Incident, Refusal, RefusalData, Resolution, Ruling, RulingData, Source, Status
from agents.policy.times import iso
from agents.records import Message
from agents.told_events import Notification, NotificationData

LATE_MS = 5_000
"""What comes less than this after its time is in time: ticks are a second apart, and batches take their moment."""
STALE = 1_000
"""So many entries that no longer hold may lie on an agenda."""
Due = tuple[int, int, str, str]
"""When, the incident's number and name, and what is due."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a signal says at present."""

    source: Source
    loud: bool
    """A warning or an alarm."""
    figures: str = ""
    """What it measured, as a message says it."""


@dataclass
class Desk:
    """One lane's state, what is declared, and what this step writes."""

    prefix: str
    writer: str
    desks: Desks
    state: State = field(default_factory=State)
    signals: dict[str, Heard] = field(default_factory=dict)
    """By dedup_key: what the table `signals` says."""
    incidents: list[Message] = field(default_factory=list)
    rulings: list[Message] = field(default_factory=list)
    notifications: list[Message] = field(default_factory=list)
    by_key: dict[str, str] = field(default_factory=dict)
    """Dedup_key → the open incident that it counts in; follows from the state."""
    kin: dict[tuple[str, str | None], dict[str, None]] = field(default_factory=dict)
    """(cause, model) → its open incidents; follows from the state."""
    agenda: list[Due] = field(default_factory=list)
    """A heap; entries that no longer hold are passed over."""
    due: dict[str, Due | None] = field(default_factory=dict)
    """Incident → its entry that holds."""

    @property
    def now_ms(self) -> int:
        """The lane's clock."""
        return self.state.now_ms

    def chain(self, live: Live) -> Chain:
        """The chain that an incident goes by."""
        return self.desks.chain(live.data.chain)

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.state = state
        for live in state.live.values():
            if live.open:
                self.index(live)

    def index(self, live: Live) -> None:
        """Find an open incident by its keys and by its kin."""
        name = live.data.incident
        self.by_key.update(dict.fromkeys(live.data.keys, name))
        self.kin.setdefault((live.data.cause, live.data.model), {})[name] = None

    def _unindex(self, live: Live) -> None:
        name, kin = live.data.incident, (live.data.cause, live.data.model)
        for key in live.data.keys:
            if self.by_key.get(key) == name:
                del self.by_key[key]
        self.kin.get(kin, {}).pop(name, None)
        if not self.kin.get(kin):
            self.kin.pop(kin, None)
        self.state.dead = {channel: by for channel, by in self.state.dead.items() if by != name}

    # -- records ------------------------------------------------------------------------------------------------------

    def write(
        self,
        live: Live,
        *changes: Change,
        said: str = "",
        by: str | None = None,
        due_ms: int | None = None,
        send: Sequence[tuple[str, Told, Sequence[str]]] = (),
        **fields: Any,
    ) -> None:
        """A record of an incident after a change, and the messages that go with it.

        `due_ms`: when it should have come. `send`: (kind of message, who is told, further lines) each.
        """
        late = max(0, self.now_ms - due_ms) if due_ms is not None else 0
        self.state.update(
            live,
            revision=live.written,
            change=changes[0],
            changes=changes if len(changes) > 1 else (),
            said=said[:1000],
            by=by,
            late_ms=late if late > LATE_MS else 0,
            **fields,
        )
        live.written += 1
        live.written_ms, live.dirty = self.now_ms, False
        live.note()
        data = live.data
        event = Incident(id=f"{data.incident}/{data.revision}", source=f"/{self.prefix}/escalation", data=data)
        self.incidents.append(self._evidence("incidents", data.incident, event))
        for kind, told, why in send:
            self._send(live, kind, told, why)
        if not live.open:
            self._unindex(live)

    def _send(self, live: Live, kind: str, told: Told, why: Sequence[str]) -> None:
        data, numbers = live.data, dict[str, int]()
        zone, figures = self.desks.zone(data.team), self._figures(live)
        title = messages.headline(kind, data, zone, self.now_ms, figures)
        body = messages.lines(kind, data, self.chain(live), zone, self.now_ms, why, figures)
        for channel, people in told.sent():
            number = numbers.get(channel, 0)
            numbers[channel] = number + 1
            name = f"{data.incident}/{data.revision}/{channel}/{number}"
            note = NotificationData.model_validate(
                {
                    "incident": data.incident,
                    "kind": kind,
                    "channel": channel,
                    "to": people,
                    "team": data.team,
                    "severity": data.severity,
                    "title": title,
                    "lines": body,
                    "deadline_ms": data.deadline_ms if live.open else None,
                    "path": f"/incidents/{data.incident}",
                    "dedup": f"{self.prefix}/{data.incident}",
                }
            )
            self.notify(name, note)
            reached = live.reached.setdefault(channel, [])
            reached += [one for one in people if one not in reached]

    def notify(self, name: str, note: NotificationData) -> None:
        """A message to be sent; `name` is its id, the same whenever this step is decided again."""
        event = Notification(id=name, source=f"/{self.prefix}/escalation", correlationid=note.incident, data=note)
        self.notifications.append((name.encode(), self._bytes(event), ()))

    def _figures(self, live: Live) -> str:
        """What the monitor measured whose alarm an open incident is about."""
        heard = (self.signals[key] for key in live.monitors if live.open and key in self.signals)
        return next((one.figures for one in heard if one.loud), "")

    def rule(self, live: Live, ruling: RulingData) -> None:
        """A ruling on an incident's decisions; `live` knows then what it covers."""
        name = f"{live.data.incident}/{live.rulings}"
        live.rulings += 1
        event = Ruling(id=name, source=f"/{self.prefix}/escalation", correlationid=live.data.incident, data=ruling)
        self.rulings.append(self._evidence("rulings", live.data.incident, event))
        self.state.touched.add(live.data.incident)
        if ruling.effect.value == "hold":
            return
        if ruling.items is None:
            for place, end in ruling.through.items():
                live.covered[place] = max(end, live.covered.get(place, 0))
        for one in ruling.items or ():
            place = f"{one.topic}/{one.partition}"
            if one.offset not in live.answered.setdefault(place, []):
                live.answered[place].append(one.offset)
        live.prune()

    def refuse(self, data: RefusalData) -> None:
        """A review that takes no effect."""
        name = f"{data.review.topic}/{data.review.partition}/{data.review.offset}"
        event = Refusal(id=name, source=f"/{self.prefix}/escalation", correlationid=data.incident, data=data)
        self.rulings.append(self._evidence("rulings", data.incident or name, event))

    def _evidence(self, topic: str, key: str, event: CloudEvent) -> Message:
        number = self.state.sequence.get(topic, 0)
        self.state.sequence[topic] = number + 1
        headers = [("govern-seq", b"%d" % number), ("govern-writer", self.writer.encode())]
        return key.encode(), self._bytes(event), headers

    def _bytes(self, event: CloudEvent) -> bytes:
        return (
            event.model_copy(update={"time": iso(max(self.now_ms, 0))})
            .model_dump_json(exclude_none=True, by_alias=True, warnings=False)
            .encode()
        )

    # -- whom to tell -------------------------------------------------------------------------------------------------

    def situation(self, live: Live, severity: Severity | None = None) -> Situation:
        """What a choice of people depends on now."""
        load = self.state.load
        mine = {one: load[one] - 1 for one in live.data.with_} if live.open else {}
        return Situation(
            live.data.team,
            severity or live.data.severity,
            self.now_ms,
            {**load, **mine} if mine else load,
            self.state.resting(),
            self.state.overrides,
        )

    def present(self, live: Live, severity: Severity | None = None) -> Told:
        """Those it is with now, by whatever reaches them."""
        rooms = any(not people for people in live.reached.values())
        return again(self.desks, live.data.with_, rooms, self.situation(live, severity))

    def where_told(self, live: Live, kinds: Collection[str]) -> Told:
        """The channels of these kinds that told of it before, for what takes or ends it."""
        told = Told()
        for channel, people in live.reached.items():
            declared = self.desks.declared.channels.get(channel)
            if declared is not None and declared.kind in kinds and channel not in self.state.resting():
                told.messages[channel] = dict.fromkeys(people)
        return told

    # -- muting -------------------------------------------------------------------------------------------------------

    def wider(self, live: Live) -> Live | None:
        """An open incident that stands for this one: the widest, then the oldest."""
        found = [one for one in self._kin(live) if _stands_for(one, live)]
        return min(found, key=lambda one: (one.data.inhibited_by is not None, one.number), default=None)

    def narrower(self, live: Live) -> list[Live]:
        """Open incidents that this one stands for, the oldest first."""
        return sorted((one for one in self._kin(live) if _stands_for(live, one)), key=lambda one: one.number)

    def inhibited(self, live: Live) -> list[Live]:
        """Open incidents of which nobody is told because of this one, the oldest first."""
        found = (one for one in self._kin(live) if one.data.inhibited_by == live.data.incident)
        return sorted(found, key=lambda one: one.number)

    def undeclared(self, model: str | None) -> bool:
        """Whether a model's name is whatever somebody wrote into a record."""
        return model is not None and model not in self.desks.configuration.models

    def strangers(self, cause: str, most: int) -> bool:
        """Whether so many models that nobody declared have open incidents of a cause."""
        found = (model for of, model in self.kin if of == cause and self.undeclared(model))
        return sum(1 for _ in itertools.islice(found, most)) >= most

    def _kin(self, live: Live) -> list[Live]:
        return [self.state.live[name] for name in self.kin.get((live.data.cause, live.data.model), {})]

    # -- time ---------------------------------------------------------------------------------------------------------

    def plan(self, live: Live, found: tuple[int, str] | None) -> None:
        """Put what is due next on the agenda."""
        name = live.data.incident
        due = (found[0], live.number, name, found[1]) if found is not None else None
        if due is None:
            self.due.pop(name, None)
        elif self.due.get(name) != due:
            self.due[name] = due
            heapq.heappush(self.agenda, due)
        if len(self.agenda) > 4 * len(self.due) + STALE:  # what no longer holds is left behind
            self.agenda = [one for one in self.due.values() if one is not None]
            heapq.heapify(self.agenda)

    def next_due(self, until_ms: int) -> Due | None:
        """The earliest thing that is due by then, taken off the agenda."""
        while self.agenda and self.agenda[0][0] <= until_ms:
            due = heapq.heappop(self.agenda)
            if self.due.get(due[2]) == due:
                del self.due[due[2]]
                return due
        return None

    def resolve(
        self,
        live: Live,
        resolution: Resolution | None,
        said: str,
        *changes: Change,
        by: str | None = None,
        due_ms: int | None = None,
    ) -> None:
        """End an incident; those it stood for speak for themselves again (the caller sees to it)."""
        kind = "overdue" if resolution is Resolution.EXPIRED else "resolve"
        # What pages until it hears of the end must hear of it, also where messages are muted.
        kinds = ("pagerduty",) if live.muted else ("email", *ROOMS)
        send = [(kind, self.where_told(live, kinds), ())]
        self.write(
            live,
            *(changes or ("resolved",)),
            said=said,
            by=by,
            due_ms=due_ms,
            send=send,
            status=Status.RESOLVED,
            resolution=resolution,
            resolved_ms=self.now_ms,
            deadline_ms=None,
            agreement=None,
            with_=(),
        )


def _stands_for(wide: Live, narrow: Live) -> bool:
    """Of one group the older one stands for those that were opened because it took no more keys; none for a worse one."""
    if rank(narrow.flagged) > rank(wide.flagged):
        return False
    if wide.data.group == narrow.data.group:
        return wide.open and wide.number < narrow.number
    return wide.open and speaks_for(wide.data, narrow.data)


def stretches(prefix: str, desk: Desk) -> Iterable[tuple[tuple[str, int], list[Message]]]:
    """What this step wrote, by topic; the desk is then empty."""
    for name in ("incidents", "rulings", "notifications"):
        found: list[Message] = getattr(desk, name)
        if found:
            setattr(desk, name, [])
            yield (f"{prefix}.{name}", 0), found
