"""One incident as the escalation lane remembers it: its last record, and what is needed to go on from there.

Promise: all of it goes into a snapshot and comes back the same, and none of it grows without bound.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from agents.escalation.case import Case, Ended, Vote, place_of
from agents.escalation.declared import Chain
from agents.events import Position, Severity
from agents.people_events import IncidentData, Resolution, Status, Through, shown_digest

MOST_KEYS = 500
"""Dedup_keys of one incident; flags of more open another one of the same group."""
MOST_MARKS = 64
MOST_KNOWN = 500
"""Held decisions of a partition that are known by their offsets."""
MOST_KIN = 20
"""Open incidents of one cause and model, by version and segment; further ones share one of the whole model."""
MOST_SHOWN = 32
"""States that an answer may be bound to and still be told what changed."""
SEVERITIES = tuple(Severity)


def rank(severity: Severity) -> int:
    """0 for info up to 3 for critical."""
    return SEVERITIES.index(severity)


@dataclass(frozen=True, slots=True)
class Shown:
    """A state of an incident that pages showed."""

    digest: str
    revision: int
    fields: dict[str, Any]
    """What is material, in short: of causes only how many, and no text from decisions."""

    @classmethod
    def of(cls, data: IncidentData) -> Shown:
        """The present one."""
        told = {
            "status": "resolved" if data.status is Status.RESOLVED else "open",
            "severity": data.severity.value,
            "title": data.title,
            "version": data.version,
            "segment": data.segment,
            "keys": len(data.keys),
            "effect": data.effect.value if data.effect else None,
            "team": data.team,
        }
        return cls(shown_digest(data), data.revision, told)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the flagged decisions of a partition ended at a time, and how many were held until there."""

    end: int
    held: int
    """Since the incident began, in this partition."""
    ms: int
    """When the flag was read: the clock of what came after the mark before starts here."""


@dataclass(slots=True)
class Live:
    """An incident that is open, or was resolved a short while ago."""

    data: IncidentData
    number: int
    """How many incidents there were before it."""
    flagged: Severity
    """The worst severity among its flags; triage may raise by one step from here."""
    base_ms: int
    """When its chain began to count."""
    left: tuple[int, ...] = ()
    """Steps of the chain that are still to come."""
    repeated_ms: int = 0
    """When its last step was told last."""
    insisting: bool = False
    """The chain goes on though somebody has acknowledged: a deadline came near or passed since."""
    paused_ms: int | None = None
    """Since when messages are muted by a silence or by a wider incident."""
    warned: bool = False
    """The statutory deadline was announced."""
    lapsed: bool = False
    """The statutory deadline has passed, and this was said."""
    quiet_ms: int | None = None
    """Since when no signal of it is a warning or an alarm; None where one is, or where it is of no monitor."""
    monitors: tuple[str, ...] = ()
    """Those of its keys that monitors raised."""
    loud: tuple[str, ...] = ()
    """Those of them whose signal is a warning or an alarm."""
    reached: dict[str, list[str]] = field(default_factory=dict)
    """Channel → people who were told by it; none where a room was."""
    at_open: tuple[str, ...] = ()
    """Teams that are told of an LLM's raise when their business opens."""
    dirty: bool = False
    """Something was counted since it was written."""
    written: int = 0
    """Records so far: the next one's revision."""
    written_ms: int = 0
    marks: dict[str, list[Mark]] = field(default_factory=dict)
    """By partition of decisions: only held ones."""
    covered: dict[str, int] = field(default_factory=dict)
    """By partition: decisions before this offset were ruled on."""
    answered: dict[str, list[int]] = field(default_factory=dict)
    """By partition: single decisions that were ruled on beyond that."""
    known: dict[str, list[int]] = field(default_factory=dict)
    """By partition: held decisions, as far as flags named each and MOST_KNOWN has room."""
    vague: dict[str, int] = field(default_factory=dict)
    """By partition: before this offset not every held decision is known."""
    waits_since_ms: int | None = None
    """Since when the first of its held decisions that nobody ruled on waits."""
    shown: list[Shown] = field(default_factory=list)
    votes: tuple[Vote, ...] = ()
    """Answers that wait for others to agree."""
    rulings: int = 0
    """How many there were: the number of the next."""
    triaged: tuple[int, int] = (-1, 0)
    """Revision and rank (1: a model's) of the triage record that counts."""

    @property
    def open(self) -> bool:
        """Neither resolved nor forgotten."""
        return self.data.status is not Status.RESOLVED

    @property
    def muted(self) -> bool:
        """Nobody is told of it for the time being."""
        return self.paused_ms is not None

    def note(self) -> None:
        """Remember what pages show from now on."""
        now = Shown.of(self.data)
        if not self.shown or self.shown[-1].digest != now.digest:
            self.shown = [*self.shown, now][-MOST_SHOWN:]

    def case(self, chain: Chain) -> Case:
        """As an answer meets it."""
        return Case(self.data, chain, self.shown, self.votes, self.covered, self.answered, self.before, self.holds)

    def hold(self, place: str, end: int, count: int, ms: int, sample: Sequence[int] = ()) -> None:
        """Count held decisions of a partition up to `end`; marks beyond MOST_MARKS are thinned.

        `sample`: offsets of some of them. Where it names all, and there is room, each is known from now on.
        """
        marks = self.marks.setdefault(place, [])
        total = (marks[-1].held if marks else 0) + count
        marks.append(Mark(max(end, marks[-1].end if marks else 0), total, ms))
        if len(marks) > MOST_MARKS:  # two become one that began when the first of them did
            paired = [Mark(two.end, two.held, one.ms) for one, two in zip(marks[::2], marks[1::2], strict=False)]
            self.marks[place] = paired + marks[len(paired) * 2 :]
        before = self.known.get(place, [])
        if len(before) >= MOST_KNOWN:
            self.vague[place] = max(end, self.vague.get(place, 0))
            return
        covered = self.covered.get(place, 0)
        known = sorted(one for one in {*before, *sample} if one >= covered)
        if len(set(sample)) < count or len(known) > MOST_KNOWN:
            self.vague[place] = max([end, self.vague.get(place, 0), *(one + 1 for one in known[MOST_KNOWN:])])
        self.known[place] = known[:MOST_KNOWN]

    def begin_anew(self, since_ms: int, now_ms: int) -> bool:
        """Let what was flagged after a moment wait from now on; whether that changes anything."""
        changed = False
        for place, marks in self.marks.items():
            late = [mark for mark in marks if since_ms < mark.ms < now_ms]
            if late:
                changed = True
                self.marks[place] = [replace(mark, ms=now_ms) if mark in late else mark for mark in marks]
        return changed

    def holds(self, position: Position) -> bool:
        """Whether a decision is one of the held ones that nobody ruled on as a whole, as far as this is known."""
        place = place_of(position)
        return self._vague(place) or position.offset in self.known.get(place, ())

    def ruled(self, position: Position) -> bool:
        """Whether somebody has ruled on a decision, alone or with others."""
        place = place_of(position)
        return position.offset < self.covered.get(place, 0) or position.offset in self.answered.get(place, ())

    def known_to_wait(self) -> list[Position]:
        """Held decisions that nobody has ruled on, as far as flags named them."""
        every = (
            Position(topic=place.rpartition("/")[0], partition=int(place.rpartition("/")[2]), offset=offset)
            for place, offsets in self.known.items()
            for offset in offsets
        )
        return [one for one in every if not self.ruled(one)]

    def prune(self) -> None:
        """Let go of single decisions that an answer to the whole has covered since."""
        for single in (self.answered, self.known):
            for place, offsets in list(single.items()):
                covered = self.covered.get(place, 0)
                single[place] = [one for one in offsets if one >= covered]
                if not single[place]:
                    del single[place]

    def waiting(self) -> tuple[int, int | None]:
        """How many held decisions nobody has ruled on, and since when the first of them waits.

        Exact where answers cover what a page showed; between two marks it counts all of the later one as waiting.
        """
        left, since = 0, None
        for place, marks in self.marks.items():
            here = self._left(place, marks[-1].end)
            if here:
                left += here
                began = next(mark.ms for mark in marks if mark.end > self.covered.get(place, 0))
                since = began if since is None else min(since, began)
        return left, since

    def before(self, through: Through) -> int:
        """How many held decisions before `through` nobody has ruled on; never fewer than there are."""
        return sum(self._left(place, end) for place, end in through.items())

    def _vague(self, place: str) -> bool:
        """Whether a held decision may wait there whose position is not known."""
        return self.vague.get(place, 0) > self.covered.get(place, 0)

    def _left(self, place: str, end: int) -> int:
        """The same in one partition. Single answers count as far as they name decisions that are known to be held."""
        marks, covered = self.marks.get(place, []), self.covered.get(place, 0)
        if not marks or min(end, marks[-1].end) <= covered:
            return 0
        ends = [mark.end for mark in marks]
        last, first = bisect_left(ends, end), bisect_right(ends, covered)
        counted = marks[min(last, len(marks) - 1)].held - (marks[first - 1].held if first else 0)
        if end >= marks[-1].end and place not in self.answered:  # as with each flag of a storm
            return counted
        answered = set(self.answered.get(place, ()))
        known = [offset for offset in self.known.get(place, ()) if covered <= offset < end]
        still = sum(offset not in answered for offset in known)
        if not still and not self._vague(place):
            return 0
        return max(still, counted - (len(known) - still))

    def plain(self) -> dict[str, Any]:
        """JSON values, for a snapshot."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        found["data"] = self.data.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        found["flagged"] = self.flagged.value
        found["marks"] = {place: [[one.end, one.held, one.ms] for one in marks] for place, marks in self.marks.items()}
        found["shown"] = [asdict(one) for one in self.shown]
        found["votes"] = [one.plain() for one in self.votes]
        return found

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> Live:
        """From `plain`."""
        found = dict(plain)
        found["data"] = IncidentData.model_validate(found["data"])
        found["flagged"] = Severity(found["flagged"])
        found["marks"] = {place: [Mark(*one) for one in marks] for place, marks in found["marks"].items()}
        found["shown"] = [Shown(**one) for one in found["shown"]]
        found["votes"] = tuple(Vote.restored(one) for one in found["votes"])
        for name in ("left", "monitors", "loud", "at_open", "triaged"):
            found[name] = tuple(found[name])
        # A snapshot of an earlier version names none: then any decision may be held.
        found.setdefault("vague", {place: marks[-1].end for place, marks in found["marks"].items()})
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Closed:
    """What stays known of an incident that was resolved long ago."""

    number: int
    group: str
    resolved_ms: int
    resolution: str | None = None
    by: str | None = None
    model: str | None = None
    opened_ms: int = 0
    severity: str = ""
    told: bool = True
    """Whether it spoke for itself; False where a wider one stood for it to its end."""

    @classmethod
    def of(cls, live: Live) -> Closed:
        """What stays of one that was resolved."""
        data = live.data
        return cls(
            live.number,
            data.group,
            data.resolved_ms or 0,
            data.resolution.value if data.resolution else None,
            data.by,
            data.model,
            data.opened_ms,
            data.severity.value,
            data.inhibited_by is None,
        )

    def ended(self) -> Ended:
        """As a late answer meets it."""
        return Ended(self.resolved_ms, Resolution(self.resolution) if self.resolution else None, self.by)
