"""Who is told of an incident by a step of its chain, by which channel, and who was passed over: pure choices, no messages.

Promise: whoever can be reached is; a person with too many open items is spared as long as somebody else can take it, and
what was done instead is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents.escalation.declared import Channel, Member, Step
from agents.escalation.duty import on_duty
from agents.escalation.incidents import rank
from agents.escalation.routing import Desks
from agents.events import Severity
from agents.people_events import OverrideData

ROOMS = ("slack", "teams", "pagerduty", "webhook")
"""Kinds of channels where one message reaches everybody who is there."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a choice depends on beside the configuration."""

    team: str | None
    severity: Severity
    now_ms: int
    load: Mapping[str, int] = field(default_factory=dict)
    """Person → open incidents that are with them, this one left out."""
    dead: Collection[str] = ()
    """Channels that do not deliver."""
    overrides: Mapping[str, Sequence[OverrideData]] = field(default_factory=dict)
    elsewhere: bool = False
    """Never by a dead channel, not even where no other reaches."""


@dataclass
class Told:
    """What a step comes to."""

    people: dict[str, None] = field(default_factory=dict)
    """Whom it is with now, in order."""
    messages: dict[str, dict[str, None]] = field(default_factory=dict)
    """Channel → the people told by it."""
    rooms: dict[str, None] = field(default_factory=dict)
    """Channels whose own address is told."""
    passed: dict[str, str] = field(default_factory=dict)
    """Person passed over → why, and who instead."""
    unreached: dict[str, None] = field(default_factory=dict)
    """People whom no channel reaches."""

    def add(self, more: Told) -> None:
        """What another step comes to, beside this."""
        self.people |= more.people
        for channel, people in more.messages.items():
            self.messages[channel] = {**self.messages.get(channel, {}), **people}
        self.rooms |= more.rooms
        self.passed |= more.passed
        self.unreached |= more.unreached

    def sent(self) -> list[tuple[str, tuple[str, ...]]]:
        """(channel, people) of each message; no people: to the channel's own address."""
        found = [(channel, tuple(people)) for channel, people in self.messages.items()]
        return [*found, *((channel, ()) for channel in self.rooms)]


def tell(desks: Desks, step: Step, case: Situation) -> Told:
    """Who is told by a step, and how."""
    told = Told()
    for target in step.tell:
        kind, _, name = target.partition(":")
        if target == "team":
            _room(desks, case, told)
        elif target == "on_call" or kind == "team":
            _on_call(desks, name or case.team, case, told)
        elif target == "members" or kind == "role":
            _several(_members(desks, case.team, name), desks, case, told)
        else:
            told.people[target] = None
    if "team" in step.tell and not told.rooms and not told.people:
        _on_call(desks, case.team, case, told)  # its rooms are dead, or not for this severity
        if not told.people:
            _room(desks, replace(case, dead=()), told)
    for person in told.people:
        _reach(desks, person, step.channels, case, told)
    return told


def again(desks: Desks, people: Iterable[str], rooms: bool, case: Situation) -> Told:
    """The same people by whatever reaches them now; a room that is dead is replaced by the team's others, or by its people."""
    told = Told(people=dict.fromkeys(people))
    if rooms:
        _room(desks, case, told)
        if not told.rooms:
            _on_call(desks, case.team, case, told)
    for person in told.people:
        _reach(desks, person, (), case, told)
    return told


def gently(
    desks: Desks, team: str | None, without: Collection[str], people: Collection[str] = ()
) -> dict[str, list[str]]:
    """Channel → people (none: its own place), for what wakes nobody: whoever hears of it does so once.

    The team's first channel that takes it, else each member by the first that reaches them; `people`: only these. Never a
    pager, a channel that is for what is worse (`least`), or one of `without`.
    """
    channels, declared = desks.declared.channels, desks.declared.teams.get(team or "")
    calm = [
        name
        for name, one in channels.items()
        if one.kind != "pagerduty" and one.least is Severity.INFO and name not in without
    ]
    rooms = declared.channels if declared is not None and not people else ()
    room = next((name for name in rooms if name in calm and _has_place(channels[name])), None)
    if room is not None:
        return {room: []}
    found: dict[str, list[str]] = {}
    for person in people or (declared.members if declared is not None else ()):
        way = next((name for name in calm if _reaches(desks, name, person)), None)
        if way is not None:
            found.setdefault(way, []).append(person)
    return found


def _has_place(channel: Channel) -> bool:
    """Whether it can tell a whole team: a mail needs a list, Slack's bot a channel."""
    hook = channel.kind in ("teams", "webhook") or (channel.kind == "slack" and channel.secret is None)
    return hook or channel.to is not None


def _on_call(desks: Desks, team: str | None, case: Situation, told: Told) -> None:
    """The person on duty, or whoever comes after where that one has too much; all members where nobody is on call."""
    declared = desks.declared.teams.get(team or "")
    if declared is None or team is None:
        return
    standing = [one for one in case.overrides.get(team, ()) if one.person in desks.declared.people]
    person = on_duty(declared, case.now_ms, standing)
    if person is None:
        return _several(declared.members, desks, case, told)
    if case.load.get(person, 0) < declared.open_items:
        told.people[person] = None
        return None
    rotation = declared.on_call.rotation if declared.on_call is not None else ()
    at = rotation.index(person) + 1 if person in rotation else 0
    others = dict.fromkeys((*rotation[at:], *rotation[:at], *_members(desks, team, "reviewer")))
    free = next((one for one in others if one != person and case.load.get(one, 0) < declared.open_items), None)
    count = case.load.get(person, 0)
    if free is None:
        told.people[person] = None
        told.passed[person] = f"{person} has {count} open items already, and so has everybody else of {team}"
    else:
        told.people[free] = None
        told.passed[person] = f"{person} has {count} open items, so it goes to {free}"
    return None


def _several(people: Iterable[str], desks: Desks, case: Situation, told: Told) -> None:
    """All of them but those who have too much; all of them where that is nobody."""
    wanted = tuple(people)
    team = desks.declared.teams.get(case.team or "")
    limit = team.open_items if team is not None else 0
    free = [one for one in wanted if not limit or case.load.get(one, 0) < limit]
    for person in free or wanted:
        told.people[person] = None
    if free:
        for person in wanted:
            if person not in free:
                told.passed[person] = f"{person} has {case.load[person]} open items and was passed over"


def _members(desks: Desks, team: str | None, role: str) -> list[str]:
    """Members of a team, with a role where one is named; without a team everybody."""
    people = desks.declared.people
    declared = desks.declared.teams.get(team or "")
    among: Iterable[str] = declared.members if declared is not None else people
    return [one for one in among if not role or role in people.get(one, Member(name=one)).roles]


def _reach(desks: Desks, person: str, wanted: Sequence[str], case: Situation, told: Told) -> None:
    """By every wanted channel that reaches the person; else by the first that does; else by the team's room.

    Where only a dead channel is left it is tried all the same: it may work again, and nobody knows better.
    """
    found, rooms = _ways(desks, person, wanted, case)
    if not found and not rooms and not case.elsewhere:
        found, rooms = _ways(desks, person, wanted, replace(case, dead=()))
    told.rooms |= dict.fromkeys(rooms)
    for name in found:
        told.messages.setdefault(name, {})[person] = None
    if not found and not rooms:
        told.unreached[person] = None
        _room(desks, case, told)


def _ways(desks: Desks, person: str, wanted: Sequence[str], case: Situation) -> tuple[list[str], list[str]]:
    """(channels that reach the person, rooms that stand for them)."""
    channels = desks.declared.channels
    usable = [name for name in channels if _usable(desks, name, case)]
    asked = [name for name in wanted if name in usable]
    found = [name for name in asked if _reaches(desks, name, person)]
    if found:
        return found, []
    rooms = [name for name in asked if channels[name].kind in ROOMS or channels[name].to]
    return ([], rooms) if rooms else ([name for name in usable if _reaches(desks, name, person)][:1], [])


def _room(desks: Desks, case: Situation, told: Told) -> None:
    """The team's own channels."""
    team = desks.declared.teams.get(case.team or "")
    for name in team.channels if team is not None else ():
        if _usable(desks, name, case):
            told.rooms[name] = None


def _usable(desks: Desks, name: str, case: Situation) -> bool:
    channel: Channel = desks.declared.channels[name]
    return (
        name not in case.dead
        and rank(case.severity) >= rank(channel.least)
        and (not channel.only_when_open or desks.is_open(case.team, case.now_ms))
    )


def _reaches(desks: Desks, name: str, person: str) -> bool:
    member = desks.declared.people.get(person)
    if member is None:
        return False
    return name in member.contacts or (desks.declared.channels[name].kind == "email" and bool(member.email))
