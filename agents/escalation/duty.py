"""Who is on call: a team's rotation by the clock on the wall, and whoever stands in; for chains, messages and pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from agents.escalation.declared import OnCall, Person, Team
from agents.people_events import OverrideData

TURN = {"day": timedelta(days=1), "week": timedelta(weeks=1)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shift:
    """One person's stretch of duty: [start_ms, end_ms), cut to what was asked for."""

    person: Person
    start_ms: int
    end_ms: int
    stands_in: bool = False
    """True where an override made it so."""


def on_duty(team: Team, now_ms: int, overrides: Sequence[OverrideData] = ()) -> Person | None:
    """Who is on call for a team at a moment; None where nobody is.

    Args:
        team: as declared.
        now_ms: milliseconds since 1970, UTC.
        overrides: those of this team that people set by a review, in the order in which they were accepted.

    An override counts from its start up to, not including, its end. Where several do, the one declared later wins, and
    what people set by a review was declared after what the configuration says. Before a rotation's `start` nobody is
    on call by it.
    """
    stand_in = _stand_in(team, now_ms, overrides)
    if stand_in is not None or team.on_call is None:
        return stand_in
    turn = _turn(team.on_call, now_ms)
    return None if turn < 0 else team.on_call.rotation[turn % len(team.on_call.rotation)]


def shifts(team: Team, start_ms: int, end_ms: int, overrides: Sequence[OverrideData] = ()) -> list[Shift]:
    """Who is on call when in [start_ms, end_ms), in order and without overlap; where nobody is, there is a gap."""
    edges = {start_ms}
    for _, start, end in _spans(team, overrides):
        edges.update((start, end))
    if team.on_call is not None:
        number = max(_turn(team.on_call, start_ms), -1) + 1
        while (handover := _begins(team.on_call, number)) < end_ms:
            edges.add(handover)
            number += 1
    inside = sorted(edge for edge in edges if start_ms <= edge < end_ms)
    found: list[Shift] = []
    for start, end in zip(inside, [*inside[1:], end_ms], strict=True):
        person, stands_in = on_duty(team, start, overrides), _stand_in(team, start, overrides) is not None
        if person is None:
            continue
        last = found[-1] if found else None
        if last is not None and (last.person, last.stands_in, last.end_ms) == (person, stands_in, start):
            found[-1] = Shift(person, last.start_ms, end, stands_in)
        else:
            found.append(Shift(person, start, end, stands_in))
    return found


def _stand_in(team: Team, now_ms: int, overrides: Sequence[OverrideData]) -> Person | None:
    standing = [person for person, start, end in _spans(team, overrides) if start <= now_ms < end]
    return standing[-1] if standing else None


def _spans(team: Team, overrides: Sequence[OverrideData]) -> list[tuple[Person, int, int]]:
    """Every override, the later declared ones last."""
    declared = team.on_call.overrides if team.on_call is not None else ()
    spans = [(one.person, _ms(one.start), _ms(one.end)) for one in declared]
    return spans + [(one.person, one.start_ms, one.end_ms) for one in overrides]


def _turn(on_call: OnCall, now_ms: int) -> int:
    """The number of the turn at a moment, from 0; negative before the first one."""
    length = TURN[on_call.turn]
    guess = (now_ms - _ms(on_call.start)) // (length // timedelta(milliseconds=1))
    while _begins(on_call, guess) > now_ms:  # clocks move by hours, so the guess is off by one turn at most
        guess -= 1
    while _begins(on_call, guess + 1) <= now_ms:
        guess += 1
    return guess


def _begins(on_call: OnCall, turn: int) -> int:
    """When a turn begins: at the wall-clock time of `start`, however long the days in between were.

    A time that a change of clocks skips is the moment that would have had it without the change; of one that it repeats
    the first counts.
    """
    zone = ZoneInfo(on_call.zone)
    wall = on_call.start.astimezone(zone).replace(tzinfo=None) + turn * TURN[on_call.turn]
    return _ms(wall.replace(tzinfo=zone, fold=0))


def _ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
