"""Who owns an incident and by which chain it goes: routes as declared, the first that matches; and when a team is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from agents.configuration import Configuration
from agents.escalation.declared import Chain, Escalation, Route
from agents.events import Severity
from agents.policy.calendars import OpenHours

MINUTE_MS = 60_000
DAY_MINUTES = 1_440
FURTHEST_DAYS = 30
"""A calendar that does not open for so long keeps nobody waiting."""

MOST_OPENINGS = 10_000


@dataclass(frozen=True, slots=True)
class Routed:
    """Where an incident goes; no team where none is declared."""

    team: str | None
    chain: str = "default"


@dataclass(frozen=True)
class Desks:
    """The teams' business hours under one configuration."""

    configuration: Configuration
    _hours: dict[str, OpenHours] = field(default_factory=dict, compare=False)
    _openings: dict[tuple[str | None, int], int] = field(default_factory=dict, compare=False)

    @property
    def declared(self) -> Escalation:
        """What is declared of people."""
        return self.configuration.escalation

    @cached_property
    def staffed(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.declared.people or self.declared.channels)

    def chain(self, name: str) -> Chain:
        """A chain by its name; where it is not declared (any more) the default one."""
        chains = self.declared.chains
        return chains.get(name) or chains.get("default") or Chain()

    def zone(self, team: str | None) -> str:
        """The zone that a team reads the clock in."""
        name = self._calendar(team)
        return self.configuration.calendars[name].zone if name else "UTC"

    def is_open(self, team: str | None, ms: int) -> bool:
        """Whether the team's business is open; a team without a calendar always is."""
        hours = self._of(team)
        return hours is None or bool(hours.at(np.array([ms], dtype=np.int64)).open[0])

    def opens(self, team: str | None, ms: int) -> int:
        """The first moment from `ms` on at which it is open; `ms` itself where that is a month away."""
        asked = (self._calendar(team), ms)
        if asked[0] is None:
            return ms
        if asked not in self._openings:
            if len(self._openings) > MOST_OPENINGS:
                self._openings.clear()
            self._openings[asked] = self._opens(team, ms)
        return self._openings[asked]

    def _opens(self, team: str | None, ms: int) -> int:
        if self.is_open(team, ms):
            return ms
        hours, start = self._of(team), ms // MINUTE_MS * MINUTE_MS + MINUTE_MS
        assert hours is not None, "what is closed has hours"
        for day in range(FURTHEST_DAYS):
            minutes = start + (day * DAY_MINUTES + np.arange(DAY_MINUTES, dtype=np.int64)) * MINUTE_MS
            found = np.flatnonzero(hours.at(minutes).open)
            if len(found):
                return int(minutes[found[0]])
        return ms

    def _calendar(self, team: str | None) -> str | None:
        found = self.declared.teams.get(team or "")
        return found.calendar if found is not None else None

    def _of(self, team: str | None) -> OpenHours | None:
        name = self._calendar(team)
        if name is None:
            return None
        if name not in self._hours:
            self._hours[name] = OpenHours(name, self.configuration.calendars[name])
        return self._hours[name]


def route(
    desks: Desks,
    cause: str,
    model: str | None,
    team: str | None,
    severity: Severity,
    labels: Mapping[str, str],
    now_ms: int,
) -> Routed:
    """The first route whose every field matches; else the team that the rule named, else the default one."""
    for one in desks.declared.routes:
        if _matches(one, cause, model, team, severity, labels) and one.open in (None, desks.is_open(one.to, now_ms)):
            return Routed(one.to, one.chain)
    return _unrouted(desks.declared, team)


def alternatives(
    declared: Escalation,
    cause: str,
    model: str | None,
    team: str | None,
    severity: Severity,
    labels: Mapping[str, str],
) -> list[Routed]:
    """Everywhere that an incident may go, whatever the hour."""
    found: dict[Routed, None] = {}
    for one in declared.routes:
        if _matches(one, cause, model, team, severity, labels):
            found[Routed(one.to, one.chain)] = None
            if one.open is None:
                return list(found)
    return list({**found, _unrouted(declared, team): None})


def _unrouted(declared: Escalation, team: str | None) -> Routed:
    if team in declared.teams:
        return Routed(team)
    return Routed(declared.default_team or next(iter(declared.teams), None))


def _matches(
    one: Route, cause: str, model: str | None, team: str | None, severity: Severity, labels: Mapping[str, str]
) -> bool:
    return (
        (one.cause is None or any(_is_cause(wanted, cause) for wanted in _all(one.cause)))
        and (one.model is None or model in _all(one.model))
        and (one.team is None or team in _all(one.team))
        and (one.severity is None or severity in _all(one.severity))
        and all(labels.get(name) == value for name, value in one.labels.items())
    )


def _is_cause(wanted: str, cause: str) -> bool:
    return cause.startswith(wanted[:-1]) if wanted.endswith("/*") else wanted == cause


def _all(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)
