"""All that the escalation lane remembers: incidents, what they were, silences, stand-ins, and which answers were given.

Promise: it follows from the lane's inputs alone; a snapshot of it in parts, each small, gives the same state again.
`answers.check` reads it and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import lru_cache
from typing import Any

from agents.escalation.incidents import Closed, Live
from agents.people_events import IncidentData, Matchers, OverrideData, SilenceData
from agents.slices import Slices

DAY_MS = 86_400_000
WHOLE_MS = DAY_MS
"""So long a resolved incident is remembered whole, to say what became of it to whoever answers late."""
CLOSED_MS = 400 * DAY_MS
"""So long its id, group and end are remembered: `previous` names it, and a late answer is told so."""
ANSWERED_MS = 400 * DAY_MS
"""So long the marks of reviews are: one that comes again is a repetition."""
REST_MS = 600_000
"""So long nobody is told by a channel that did not deliver; then it is tried again, also where nobody has looked at it."""
SWEEP_MS = 3_600_000
BUCKETS = 64


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence that was set by a review; its id is the review's."""

    id: str
    by: str
    data: SilenceData

    def mutes(self, data: IncidentData, now_ms: int) -> bool:
        """Whether it mutes messages of an incident at a moment."""
        return self.data.starts_ms <= now_ms < self.data.ends_ms and matches(self.data.matchers, data)


def matches(matchers: Matchers, data: IncidentData) -> bool:
    """Every given field matches, and at least one is given; `team` is the owner, so that nobody mutes others' incidents."""
    wanted = matchers.model_dump(exclude_none=True)
    found: dict[str, Sequence[object]] = {
        "cause": (data.cause,),
        "model": (data.model,),
        "version": (data.version,),
        "segment": (data.segment,),
        "team": (data.team,),
        "severity": (data.severity,),
        "incident": (data.incident,),
    }
    return bool(wanted) and all(value in found[name] for name, value in wanted.items())


@dataclass(frozen=True, slots=True)
class Digested:
    """The last week of a model that was told of."""

    week: str
    by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Channel → the people told by it; none where its own place was."""


@dataclass
class State:
    """What is known between two records."""

    now_ms: int = -1
    opened: int = 0
    """How many incidents there were."""
    live: dict[str, Live] = field(default_factory=dict)
    """By incident: open ones, and those resolved within WHOLE_MS."""
    groups: dict[str, str] = field(default_factory=dict)
    """Group → its newest incident."""
    closed: dict[str, Closed] = field(default_factory=dict)
    """Incidents that are no longer in `live`."""
    silences: dict[str, Silence] = field(default_factory=dict)
    overrides: dict[str, list[OverrideData]] = field(default_factory=dict)
    """By team, in the order in which they were accepted."""
    dead: dict[str, str] = field(default_factory=dict)
    """Channel → the open incident that says it is dead."""
    dead_ms: dict[str, int] = field(default_factory=dict)
    """Channel → when that was said last."""
    reviews: dict[str, int] = field(default_factory=dict)
    """Mark of a review that was really signed by whom it names (`case.mark_of`) → when it came."""
    sequence: dict[str, int] = field(default_factory=dict)
    """Evidence topic → the next `govern-seq`."""
    load: Counter[str] = field(default_factory=Counter)
    """Person → open incidents that are with them."""
    digests: dict[str, Digested] = field(default_factory=dict)
    """Model → the last week that was told of."""
    swept_ms: int = 0
    """When what is old was forgotten last."""
    behind_ms: int | None = None
    """The clock before a downtime that the lane is catching up with."""
    touched: set[str] = field(default_factory=set)
    """Incidents that changed since the last snapshot."""
    days: set[int] = field(default_factory=set)
    """Days whose part of `reviews` changed since then."""
    closings: set[int] = field(default_factory=set)
    """Days whose part of `closed` changed since then."""
    stood: dict[str, Any] = field(default_factory=dict)
    """Silences and stand-ins as they were written last."""
    slices: Slices = field(default_factory=Slices)
    """How parts of a snapshot were cut last."""

    # -- reading ------------------------------------------------------------------------------------------------------

    def find(self, incident: str | None) -> Live | None:
        """The incident, open or resolved a short while ago."""
        return self.live.get(incident or "")

    def current(self, group: str) -> Live | None:
        """The open incident of a group."""
        found = self.live.get(self.groups.get(group, ""))
        return found if found is not None and found.open else None

    def known(self, incident: str) -> bool:
        """Whether the id is taken."""
        return incident in self.live or incident in self.closed

    def silenced(self, data: IncidentData) -> Silence | None:
        """The silence that mutes it now: the one that lasts longest."""
        found = [one for one in self.silences.values() if one.mutes(data, self.now_ms)]
        return max(found, key=lambda one: (one.data.ends_ms, one.id), default=None)

    # -- changing -----------------------------------------------------------------------------------------------------

    def gave(self, mark: str) -> None:
        """Remember a review by its mark."""
        self.reviews[mark] = self.now_ms
        self.days.add(self.now_ms // DAY_MS)

    def update(self, live: Live, **changes: Any) -> None:
        """Change an incident's data."""
        if live.open:
            self.load.subtract(live.data.with_)
        live.data = live.data.model_copy(update=changes)
        if live.open:
            self.load.update(live.data.with_)
        self.touched.add(live.data.incident)

    def add(self, live: Live) -> None:
        """An incident that was opened just now."""
        self.live[live.data.incident] = live
        self.groups[live.data.group] = live.data.incident
        self.opened += 1
        self.load.update(live.data.with_)
        self.touched.add(live.data.incident)

    def forget(self) -> None:
        """Let go of what is old by the clock; looks once an hour."""
        now = self.now_ms
        if now - self.swept_ms < SWEEP_MS:
            return
        self.swept_ms = now
        for name, live in list(self.live.items()):
            ended = live.data.resolved_ms
            if not live.open and ended is not None and now - ended > WHOLE_MS:
                self.closed[name] = Closed.of(live)
                self.closings.add(ended // DAY_MS)
                self.touched.add(name)
                del self.live[name]
        for name, gone in list(self.closed.items()):
            if now - gone.resolved_ms > CLOSED_MS:
                self.closings.add(gone.resolved_ms // DAY_MS)
                if self.groups.get(gone.group) == name:
                    del self.groups[gone.group]
                del self.closed[name]
        for mark, given in list(self.reviews.items()):
            if now - given > ANSWERED_MS:
                self.days.add(given // DAY_MS)
                del self.reviews[mark]
        self.silences = {name: one for name, one in self.silences.items() if one.data.ends_ms > now}
        self.overrides = {
            team: kept for team, those in self.overrides.items() if (kept := [one for one in those if one.end_ms > now])
        }

    def bury(self, channel: str, incident: str) -> None:
        """Note that a channel does not deliver now."""
        self.dead[channel], self.dead_ms[channel] = incident, self.now_ms

    def resting(self) -> frozenset[str]:
        """Channels that nobody is told by: dead ones, until they are tried again REST_MS after they last failed."""
        return frozenset(one for one in self.dead if self.now_ms - self.dead_ms.get(one, self.now_ms) < REST_MS)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def head(self) -> dict[str, Any]:
        """What is small: clocks, counts, dead channels."""
        return {
            "dead": dict(self.dead),
            "dead_ms": dict(self.dead_ms),
            "digests": {model: [one.week, dict(one.by)] for model, one in self.digests.items()},
            "opened": self.opened,
            "swept_ms": self.swept_ms,
            "behind_ms": self.behind_ms,
        }

    def parts(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Parts that changed since the last call, and parts that are gone."""
        changed: dict[str, dict[str, Any]] = {}
        removed: list[str] = []
        inside: dict[int, list[dict[str, Any]]] = {_bucket(name): [] for name in self.touched}
        for name, live in self.live.items():
            if (bucket := _bucket(name)) in inside:
                inside[bucket].append(live.plain())
        for bucket, plain in sorted(inside.items()):
            self._cut(f"incidents/{bucket}", plain, changed, removed)
        for day in sorted(self.closings):
            of_day = {name: list(astuple(one)) for name, one in self.closed.items() if one.resolved_ms // DAY_MS == day}
            self._cut(f"closed/{day}", of_day, changed, removed)
        for day in sorted(self.days):
            self._cut(
                f"reviews/{day}",
                {mark: given for mark, given in self.reviews.items() if given // DAY_MS == day},
                changed,
                removed,
            )
        standing = self._standing()
        if standing != self.stood:
            self._cut("standing", standing, changed, removed)
            self.stood = standing
        self.touched.clear()
        self.closings.clear()
        self.days.clear()
        return changed, removed

    def _standing(self) -> dict[str, Any]:
        """Silences and stand-ins: each with its comment, and as many as people set."""
        silences = [
            {"id": one.id, "by": one.by, "data": one.data.model_dump(mode="json", exclude_none=True)}
            for one in self.silences.values()
        ]
        overrides = {team: [one.model_dump(mode="json") for one in those] for team, those in self.overrides.items()}
        return {"silences": silences, "overrides": overrides} if silences or overrides else {}

    def _stand(self, standing: Mapping[str, Any]) -> None:
        for one in standing.get("silences", ()):
            self.silences[one["id"]] = Silence(one["id"], one["by"], SilenceData.model_validate(one["data"]))
        for team, those in standing.get("overrides", {}).items():
            self.overrides[team] = [OverrideData.model_validate(one) for one in those]

    def _cut(self, part: str, content: Any, changed: dict[str, dict[str, Any]], removed: list[str]) -> None:
        slices, gone = self.slices.cut(part, content)
        changed.update(slices)
        removed += gone

    @classmethod
    def restored(
        cls, now_ms: int, sequence: Mapping[str, int], head: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]
    ) -> State:
        """From a snapshot."""
        state = cls(now_ms=now_ms, sequence=dict(sequence))
        state._stand(head)  # where a snapshot of an earlier version has them
        state.dead, state.opened = dict(head.get("dead", {})), head.get("opened", 0)
        state.dead_ms = dict(head.get("dead_ms", {}))
        state.digests = {model: Digested(*one) for model, one in head.get("digests", {}).items()}
        state.swept_ms = head.get("swept_ms", 0)
        state.behind_ms = head.get("behind_ms")
        for part, content in state.slices.joined(parts):
            kind = part.partition("/")[0]
            if kind == "incidents":
                for plain in content:
                    live = Live.restored(plain)
                    state.live[live.data.incident] = live
            elif kind == "standing":
                state._stand(content)
                state.stood = state._standing()
            elif kind == "closed":
                state.closed |= {name: Closed(*row) for name, row in content.items()}
            else:
                state.reviews |= content
        state.live = dict(sorted(state.live.items(), key=lambda item: item[1].number))
        for live in state.live.values():
            state.load.update(live.data.with_ if live.open else ())
        named = [(one.number, one.group, name) for name, one in state.closed.items()]
        named += [(live.number, live.data.group, name) for name, live in state.live.items()]
        state.groups = {group: name for _, group, name in sorted(named)}
        return state


@lru_cache(maxsize=65_536)
def _bucket(incident: str) -> int:
    return int.from_bytes(hashlib.sha256(incident.encode()).digest()[:2]) % BUCKETS
