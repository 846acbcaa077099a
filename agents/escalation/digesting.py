"""The week of each model, told once to the team whose model it is: what the lane knows of it, and where the rest stands.

Promise: one message a model and week, whatever restarts, and none for a week that was over before digests were declared.
After a downtime the newest week is told, late, and says so. It wakes nobody, and names no person and no value.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agents.configuration import Configuration
from agents.escalation.desk import Desk
from agents.escalation.incidents import SEVERITIES, Closed, Live
from agents.escalation.messages import TITLE, WORTH_MS, counted, lasting, moment
from agents.escalation.routing import Desks, route
from agents.escalation.state import Digested, State
from agents.escalation.telling import gently
from agents.escalation.weeks import Week, last_told, told_ms, week_named
from agents.events import Severity
from agents.people_events import Resolution
from agents.told_events import NotificationData

CAUSE = "digest"
"""What routes match on."""
LOUD = tuple(one.value for one in reversed(SEVERITIES) if one is not Severity.INFO)
ENDED = {
    None: "without an answer",
    "approved": "approved",
    "edited": "changed",
    "rejected": "rejected",
    "responded": "asked back",
    "expired": "by its deadline",
    "cancelled": "cancelled",
}


class Digests:
    """When the next digests are due, and telling them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._next_ms: int | None = None
        self._planned = False

    def switch(self) -> None:
        """Go by what is declared now."""
        self._planned = False

    def due(self, until_ms: int) -> tuple[int, Week] | None:
        """The newest week that is to be told of by then, and since when; None where all know of it."""
        declared = self._desk.desks.declared.digest
        if not self._planned:
            self._plan(until_ms)
        if declared is None or self._next_ms is None or self._next_ms > until_ms:
            return None
        week = last_told(declared, until_ms)
        return told_ms(week, declared), week

    def tell(self, due_ms: int, week: Week) -> None:
        """Tell of each model that was not told of yet."""
        desk, kept = self._desk, remembered(self._desk.state)
        for model in desk.desks.configuration.models:
            if desk.state.digests[model].week < week.name:
                desk.state.digests[model] = Digested(week.name, _tell(desk, kept, model, week, due_ms))
        self._plan(desk.now_ms)

    def _plan(self, now_ms: int) -> None:
        """Models that are new begin with the next week; those that are declared no more are forgotten."""
        state, models = self._desk.state, self._desk.desks.configuration.models
        declared = self._desk.desks.declared.digest
        known, self._next_ms, self._planned = state.digests, None, True
        state.digests = {}
        if declared is None:
            return
        last = last_told(declared, now_ms)
        state.digests = {model: known.get(model, Digested(last.name)) for model in models}
        if any(one.week < last.name for one in state.digests.values()):
            self._next_ms = told_ms(last, declared)
        elif models:
            self._next_ms = told_ms(last.next, declared)


def elsewhere(desk: Desk, name: str | None, channel: str) -> None:
    """A digest that a channel did not deliver, by another one; each is tried once. `name`: as `name_of` gave it."""
    kind, _, rest = (name or "").partition("/")
    model, _, week = rest.rpartition("/")
    known, declared = desk.state.digests.get(model), desk.desks.declared.digest
    if kind != CAUSE or known is None or declared is None or known.week != week or channel not in known.by:
        return
    by = gently(
        desk.desks, owner(desk.desks, model, desk.now_ms), {*known.by, *desk.state.resting()}, known.by[channel]
    )
    said = f"{channel} does not deliver, so this comes by another way"
    _send(desk, remembered(desk.state), model, week_named(week, declared.zone), by, (said,))
    desk.state.digests[model] = Digested(week, {**known.by, **by})


def owner(desks: Desks, model: str, now_ms: int) -> str | None:
    """The team that a model's week is for: by the first route that matches it, else the default one."""
    return route(desks, CAUSE, model, None, Severity.INFO, {}, now_ms).team


def remarks(configuration: Configuration) -> Iterator[str]:
    """For `govern config check`: who gets the digests, and models whose digest nobody gets."""
    declared, desks = configuration.escalation.digest, Desks(configuration)
    if declared is None:
        return
    ways: dict[str, list[str]] = {}
    for model in configuration.models:
        team = owner(desks, model, 0)
        by = gently(desks, team, ())
        if not by:
            yield f"digest of {model}: nobody gets it; {_mend(team)}"
            continue
        people = any(by.values())
        ways.setdefault(f"{'the members of ' if people else ''}{team} by {', '.join(by)}", []).append(model)
    for way, models in ways.items():
        yield f"digest of {', '.join(models)}: each {declared.day} at {declared.at} ({declared.zone}) to {way}"


def _mend(team: str | None) -> str:
    if team is None:
        return "declare a team"
    return f"give {team} a channel of its own, or members with an `email` (a pager or a channel with `least` gets none)"


# -- what is told ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """What the lane knows of a model's week, and of now."""

    began: Mapping[str, int]
    """Severity → incidents that began in the week."""
    ended: Mapping[str | None, int]
    """Resolution → incidents that ended in it; None: by themselves, or closed without a ruling."""
    open: int
    """Now; those that a wider one stands for left out."""
    loud: int
    """Of these, how many are no mere information."""
    since_ms: int | None
    """When the oldest of them began."""
    waiting: int
    """Held decisions that wait now; of several incidents at most so many, as one decision may be held by two."""
    exact: bool
    deadline_ms: int | None

    @property
    def quiet(self) -> bool:
        """Whether nobody was needed, and nobody is."""
        loud = sum(self.began.get(one, 0) for one in LOUD)
        return not (loud or self.loud or self.waiting or self.ended.get(Resolution.EXPIRED.value))


@dataclass
class Remembered:
    """A model's incidents that spoke for themselves: those of late, and what stays of older ones."""

    live: list[Live] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)


Kept = Mapping[str | None, Remembered]
"""By model."""


def remembered(state: State) -> Kept:
    """All of them, in one pass."""
    found: defaultdict[str | None, Remembered] = defaultdict(Remembered)
    for live in state.live.values():
        if live.data.inhibited_by is None:
            found[live.data.model].live.append(live)
    for closed in state.closed.values():
        if closed.told:
            found[closed.model].closed.append(closed)
    return found


def figures(kept: Remembered, week: Week) -> Figures:
    """From the incidents that are remembered of a model."""
    start, end, mine, gone = week.start_ms, week.end_ms, kept.live, kept.closed
    lives = [one.data for one in mine if one.open]
    began = Counter(one.data.severity.value for one in mine if start <= one.data.opened_ms < end)
    began.update(one.severity for one in gone if start <= one.opened_ms < end)
    over = [one.data for one in mine if not one.open and start <= (one.data.resolved_ms or 0) < end]
    ended = Counter(one.resolution.value if one.resolution else None for one in over)
    ended.update(one.resolution for one in gone if start <= one.resolved_ms < end)
    held = [one for one in lives if one.held]
    return Figures(
        began,
        ended,
        len(lives),
        sum(one.severity is not Severity.INFO for one in lives),
        min((one.opened_ms for one in lives), default=None),
        sum(one.held for one in held),
        len(held) < 2,
        min((one.deadline_ms for one in held if one.deadline_ms is not None), default=None),
    )


def title(model: str, found: Figures) -> str:
    """`credit-limit: quiet week`, `credit-limit: 2 incidents open, 312 decisions wait`."""
    told = _state(found)
    room = TITLE - len(told) - 2
    return f"{model if len(model) <= room else f'{model[: room - 1]}…'}: {told}"


def _state(found: Figures) -> str:
    if found.quiet:
        return "quiet week"
    parts = [f"{counted(found.open, 'incident')} open"] if found.open else []
    if found.waiting:
        parts.append(_waiting(found))
    began = sum(found.began.values())
    if not parts:
        return f"{counted(began, 'incident')}, none open now" if began else "a deadline passed, nothing is open now"
    return ", ".join(parts)


def lines(model: str, week: Week, found: Figures, now_ms: int, linked: bool) -> tuple[str, ...]:
    """What the message says below its title; `linked`: it leads to the page of the week."""
    zone = week.zone
    said = [f"Week {week.monday.isocalendar().week}, {week.days}"]
    began = [f"{found.began[one.value]:,} {one.value}" for one in reversed(SEVERITIES) if found.began.get(one.value)]
    told = f"{counted(sum(found.began.values()), 'incident')} began: {', '.join(began)}"
    said.append(told if began else "No incident began")
    if found.ended:
        counts = [f"{found.ended[one]:,} {words}" for one, words in ENDED.items() if found.ended.get(one)]
        said.append(f"{counted(sum(found.ended.values()), 'incident')} ended: {', '.join(counts)}")
    if found.since_ms is not None:
        verb = "is open" if found.open == 1 else "are open, the oldest"
        said.append(f"{counted(found.open, 'incident')} {verb} since {moment(found.since_ms, zone, now_ms)}")
    if found.waiting:
        until = f", the first until {moment(found.deadline_ms, zone, now_ms)}" if found.deadline_ms is not None else ""
        told = _waiting(found)
        said.append(f"{told[0].upper()}{told[1:]} for an answer{until}")
    rest = "on the page" if linked else f"`govern digest --model {model} --week {week.name}`"
    said.append(f"Traffic, gaps, monitors and what changed: {rest}")
    return tuple(said)


def _waiting(found: Figures) -> str:
    verb = "waits" if found.waiting == 1 else "wait"
    return f"{'' if found.exact else 'up to '}{counted(found.waiting, 'decision')} {verb}"


def _tell(desk: Desk, kept: Kept, model: str, week: Week, due_ms: int) -> dict[str, list[str]]:
    """Send it by what works; by what failed lately where nothing else is there."""
    team, late_ms = owner(desk.desks, model, desk.now_ms), desk.now_ms - due_ms
    by = gently(desk.desks, team, desk.state.resting()) or gently(desk.desks, team, ())
    _send(desk, kept, model, week, by, (f"This message comes {lasting(late_ms)} late",) if late_ms >= WORTH_MS else ())
    return by


def _send(desk: Desk, kept: Kept, model: str, week: Week, by: Mapping[str, Sequence[str]], why: Sequence[str]) -> None:
    found, name = figures(kept.get(model, Remembered()), week), name_of(model, week)
    said = lines(model, week, found, desk.now_ms, linked=desk.desks.declared.console_url is not None)
    for channel, people in by.items():
        note = NotificationData(
            incident=name,
            kind="digest",
            channel=channel,
            to=tuple(people),
            team=owner(desk.desks, model, desk.now_ms),
            severity=Severity.INFO,
            title=title(model, found),
            lines=(*said, *why),
            path=f"/models/{model}/weeks/{week.name}",
            dedup=f"{desk.prefix}/{name}",
        )
        desk.notify(f"{name}/{channel}", note)


def name_of(model: str, week: Week) -> str:
    """What stands for an incident in a digest's messages: `digest/credit-limit/2026-W10`."""
    return f"{CAUSE}/{model}/{week.name}"
