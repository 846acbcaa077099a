"""The escalation agent: flags, signals, triage, reviews and time in; incidents, rulings and notifications out, each once.

    grouping.py   which flags are one incident, and its id       messages.py   what is said, fit for a lock screen
    incidents.py  one incident as it is remembered               telling.py    who is told, by which channel
    state.py      all of it, in parts of a snapshot              routing.py    which team, which chain, which hours
    desk.py       records, revisions and messages, numbered      timing.py     steps, deadlines, silences by the clock
    folding.py    flags, signals, dead channels                  answering.py  reviews, by answers.py and quorum.py
    triaging.py   summaries, and what they may not do          digesting.py  the week of each model, in weeks.py's weeks

Promise: the same inputs in the same steps give the same bytes, wherever the lane was restarted in between.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agents.configuration import Configuration
from agents.errors import Poison
from agents.escalation import answering, folding, timing, triaging
from agents.escalation.desk import Desk, Heard, stretches
from agents.escalation.digesting import Digests
from agents.escalation.messages import figures
from agents.escalation.routing import Desks
from agents.escalation.state import State
from agents.events import ALL_VERSIONS, Flag, Signal
from agents.people_events import Source
from agents.policy.flags import dedup_key
from agents.policy.surroundings import signal_key
from agents.records import Record, Stretch, position
from agents.told_events import TriageEvent

CATCHING_UP = 60
"""A step with more ticks than this comes after a downtime: nothing is due before all that happened meanwhile was read."""


class BadInput(Poison):
    """A record of flags, signals or triage that cannot be read."""

    reason = "bad-record"


@dataclass
class Inputs:
    """What a step takes."""

    signals: Sequence[Record] = ()
    triage: Sequence[Record] = ()
    reviews: Sequence[Record] = ()
    flags: Sequence[Record] = ()
    ticks: Sequence[Record] = ()


class EscalationAgent:
    """Keeps the incidents of one deployment."""

    def __init__(self, prefix: str, topic: str, partition: int, configuration: Configuration) -> None:
        """`topic` and `partition` name the lane's main input."""
        self.prefix = prefix
        self.desk = Desk(prefix, f"{prefix}.escalation.{topic}.{partition}", Desks(configuration))
        self.digests = Digests(self.desk)
        self.refused: list[Poison] = []

    @property
    def now_ms(self) -> int:
        """The lane's clock."""
        return self.desk.now_ms

    def switch(self, configuration: Configuration) -> None:
        """Go by another configuration from now on: chains, deadlines and hours of open incidents included."""
        before, desk = self.desk.desks, self.desk
        desk.desks = Desks(configuration)
        self.digests.switch()
        for live in desk.state.live.values():
            if not live.open:
                continue
            old, new = before.chain(live.data.chain), desk.chain(live)
            if old != new:
                taken = max((number for number in range(len(old.steps)) if number not in live.left), default=-1)
                live.left = tuple(number for number in range(len(new.steps)) if number > taken)
                statutory = new.statutory_deadline
                until = live.data.first_ms + round(statutory * 1000) if statutory is not None else None
                desk.state.update(live, statutory_ms=until)
                folding.due_by(desk, live)
                live.dirty = True  # pages show by when it is due
            folding.adopt(desk, live)
            folding.forsaken(desk, live)
            timing.plan(desk, live)

    def take(self, step: Inputs) -> Iterator[Stretch]:
        """One step: what happened, input by input, each after what was due before it.

        What signals and triage say moves the clock, and nothing is due by it alone: after a restart they are read before
        the answers that were given meanwhile.
        """
        desk, behind = self.desk, len(step.ticks) > CATCHING_UP
        if behind and desk.state.behind_ms is None:
            desk.state.behind_ms = desk.now_ms
        for record in step.signals:
            self._note(record)
            self._signal(record)
        for record in step.triage:
            self._note(record)
            self._triage(record)
        for record in step.reviews:
            self._pass(record, behind=behind)
            self._overdue(record)
            answering.review(desk, record)
        ends_ms = max((record.timestamp for record in step.ticks), default=desk.now_ms)
        for record in step.flags:
            self._pass(record, behind=behind)
            # Ticks are a second apart: a step that ends long after the flag was read then, and no sooner.
            self._flag(record, ends_ms if ends_ms - desk.now_ms > CATCHING_UP * 1000 else desk.now_ms)
        for record in step.ticks:
            self._note(record)
        if desk.state.behind_ms is not None:
            self._caught_up(desk.state.behind_ms, behind=behind)
        heard = [*step.reviews, *step.flags, *step.ticks]
        if heard and not behind:
            self._due(max(record.timestamp for record in heard))
            desk.state.forget()
        yield from stretches(self.prefix, desk)

    def hear(self, records: Sequence[Record]) -> None:
        """Signals from before the snapshot: what they changed is in the state already."""
        for record in records:
            for key, heard in self._heard(record):
                if heard is None:
                    self.desk.signals.pop(key, None)
                else:
                    self.desk.signals[key] = heard
        self.refused.clear()

    # -- one record ---------------------------------------------------------------------------------------------------

    def _note(self, record: Record) -> None:
        """The clock is never before a record that was read."""
        self.desk.state.now_ms = max(self.desk.now_ms, record.timestamp)

    def _pass(self, record: Record, *, behind: bool) -> None:
        """Time passes to a record's, and what is due by then happens first; while catching up only the clock moves."""
        self._note(record)
        if not behind:
            self._due(record.timestamp)

    def _due(self, until_ms: int) -> None:
        """Do what is due by then, in order of its time."""
        digest = self.digests.due(until_ms)
        if digest is not None:
            self._steps(digest[0])
            self.digests.tell(*digest)
        self._steps(until_ms)

    def _steps(self, until_ms: int) -> None:
        while (due := self.desk.next_due(until_ms)) is not None:
            self._fire(due[2], due[3], due[0])

    def _overdue(self, record: Record) -> None:
        """Deadlines that lie before a review have passed for it, also while the lane catches up."""
        desk = self.desk
        if not desk.agenda or desk.agenda[0][0] - timing.GRACE_MS >= record.timestamp:
            return
        for live in sorted(desk.state.live.values(), key=lambda one: (one.data.deadline_ms or 0, one.number)):
            until = live.data.deadline_ms
            if live.open and until is not None and until < record.timestamp:
                timing.deadline(desk, live, until)
                timing.plan(desk, live)

    def _caught_up(self, since_ms: int, *, behind: bool) -> None:
        """What was flagged in a downtime waits from its end on: before, nobody was told of it."""
        desk = self.desk
        for live in desk.state.live.values():
            if live.open and live.begin_anew(since_ms, desk.now_ms):
                folding.waits(desk, live)
                live.dirty = True
                timing.plan(desk, live)
        desk.state.behind_ms = since_ms if behind else None

    def _fire(self, name: str, what: str, due_ms: int) -> None:
        live = self.desk.state.find(name)
        if live is not None:
            timing.fire(self.desk, live, what, due_ms)
            timing.plan(self.desk, live)

    def _flag(self, record: Record, read_ms: int) -> None:
        try:
            folding.flag(self.desk, Flag.model_validate_json(record.value or b""), record.timestamp, read_ms)
        except ValueError as error:
            self._refuse(record, error)

    def _triage(self, record: Record) -> None:
        try:
            event = TriageEvent.model_validate_json(record.value or b"")
        except ValueError as error:
            self._refuse(record, error)
            return
        triaging.triage(self.desk, event.data, "sha256:" + hashlib.sha256(record.value or b"").hexdigest())

    def _signal(self, record: Record) -> None:
        for key, heard in self._heard(record):
            folding.signal(self.desk, key, heard)

    def _heard(self, record: Record) -> Iterator[tuple[str, Heard | None]]:
        """The dedup_key of the flags beside a signal, and what it says; nothing of watermarks."""
        try:
            parts = json.loads(record.key or b"")
            if parts[0] == "watermark":
                return
            model, version, monitor, segment, group = parts
            if record.value is None:
                where = " ".join(part for part in (segment, group) if part) or None
                yield dedup_key(monitor, model, None if version == ALL_VERSIONS else version, where), None
                return
            data = Signal.model_validate_json(record.value).data
            if signal_key(data) != (record.key or b"").decode():
                raise ValueError("its key is not that of its content")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            self._refuse(record, error)
            return
        source = Source.model_validate(
            {
                "model": data.model,
                "version": data.version,
                "monitor": data.monitor,
                "segment": data.segment,
                "group": data.group,
            }
        )
        yield folding.key_of_signal(data), Heard(source, data.status in folding.LOUD, figures(data))

    def _refuse(self, record: Record, error: Exception) -> None:
        text = f"{error.error_count()} of its fields" if isinstance(error, ValidationError) else str(error)[:200]
        self.refused.append(BadInput(f"{position(record)} is refused: {text}"))

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def restore(
        self, now_ms: int, sequence: Mapping[str, int], head: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Go on from a snapshot; the agenda follows from the state."""
        self.desk.restore(State.restored(now_ms, sequence, head, parts))
        self.digests.switch()
        for live in self.desk.state.live.values():
            timing.plan(self.desk, live)
