"""Columns that do not come with a decision: signals of its model, watermark, safeguards, calendar.

They depend on the decision's model, version, caller and times and on what stands, never on another decision.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from agents.configuration import WEEKDAYS
from agents.events import SafeguardData, SignalData, SignalStatus
from agents.policy import safeguards
from agents.policy.calendars import OpenHours, Times
from agents.policy.columns import CALENDAR, SAFEGUARD, SIGNAL, WATERMARK, signal_of
from agents.policy.past import (
    History,
    Place,
    State,
    Told,
    by_place,
    place_of,
    places_for,
    states,
    strongest,
    value_of,
)
from agents.policy.safeguards import Who

__all__ = [
    "Circumstances",
    "Told",
    "needs_broker_time",
    "needs_who",
    "signal_key",
    "surroundings",
    "type_of",
]


@dataclass(frozen=True)
class Circumstances:
    """What stands, apart from the configuration."""

    signals: Mapping[str, Told] = field(default_factory=dict)
    """By key: JSON array [model, version, monitor, segment, group]."""
    watermarks: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """By model: lag in ms, and the broker time it was told at."""
    safeguards: Mapping[str, SafeguardData] = field(default_factory=dict)
    """By id."""

    past: Mapping[str, History] = field(default_factory=dict)
    """By key of `signals`: what stood before, of the monitors that lasting rules read."""

    @cached_property
    def strongest(self) -> Mapping[Place, Told]:
        """The signal that speaks for each place: the worst status over segments and groups."""
        there: dict[Place, list[Told]] = {}
        for key in sorted(self.signals):
            there.setdefault(place_of(self.signals[key].data), []).append(self.signals[key])
        return {place: told for place, some in there.items() if (told := strongest(some)) is not None}

    def stood(self, columns: Sequence[str], names: frozenset[str], version: str | None) -> Sequence[State]:
        """What signal columns of a model (by its names) and version said, and from when on, in the order of time."""
        asked = (tuple(columns), names, version)
        if asked not in self._stood:
            places = {
                monitor: [
                    history
                    for place in places_for(names, version, monitor)
                    for history in self._histories.get(place, ())
                ]
                for monitor, _ in map(signal_of, columns)
            }
            self._stood[asked] = states(columns, places)
        return self._stood[asked]

    @cached_property
    def _stood(self) -> dict[tuple[tuple[str, ...], frozenset[str], str | None], list[State]]:
        return {}

    @cached_property
    def _histories(self) -> Mapping[Place, Sequence[History]]:
        return by_place(self.past, self.signals)


def surroundings(
    wanted: Collection[str],
    who: Who,
    broker_ms: Sequence[int],
    times_ms: Times,
    calendar: OpenHours | None,
    circumstances: Circumstances,
) -> dict[str, Sequence[object]]:
    """Values of the wanted columns, a row each; `broker_ms` is read where `needs_broker_time` says so."""
    found: dict[str, Sequence[object]] = {}
    if any(name in CALENDAR for name in wanted):
        assert calendar is not None, "calendar columns exist for models with a calendar only"
        found |= _calendar([name for name in wanted if name in CALENDAR], calendar, times_ms)
    for name in wanted:
        if name in SAFEGUARD:
            found[name] = safeguards.column(name, circumstances.safeguards, who).tolist()
        elif name == WATERMARK:
            found[name] = _lags(who, broker_ms, circumstances)
        elif name.startswith("signals."):
            found[name] = _signal(name, who, broker_ms, times_ms, circumstances)
    return found


def type_of(name: str) -> pl.DataType:
    """The type of a column that does not come with the decision."""
    if name in CALENDAR:
        return CALENDAR[name][0]
    if name.startswith("signals."):
        return SIGNAL[name.rpartition(".")[2]][0]
    return pl.Boolean() if name in SAFEGUARD else pl.Float64()


def needs_broker_time(name: str) -> bool:
    """True for columns that compare with the decision's broker time."""
    return name == WATERMARK or (name.startswith("signals.") and name.endswith(".age_ms"))


def needs_who(name: str) -> bool:
    """True for columns that differ between models, versions or callers."""
    return name.startswith(("signals.", "safeguard.", "monitor."))


def signal_key(data: SignalData) -> str:
    """The key that a signal has on its topic.

    >>> signal_key(SignalData(model="m", version="1", monitor="drift", status="ok"))
    '["m","1","drift",null,null]'
    """
    return key_of(data.model, data.version, data.monitor, data.segment, data.group)


def key_of(model: str, version: str, monitor: str, segment: str | None, group: str | None) -> str:
    """The key of the signal that speaks of all this."""
    return json.dumps([model, version, monitor, segment, group], separators=(",", ":"), ensure_ascii=False)


def _calendar(names: Collection[str], calendar: OpenHours, times_ms: Times) -> dict[str, Sequence[object]]:
    if list(names) == ["calendar.name"]:
        return {"calendar.name": [calendar.name] * len(times_ms)}
    moments = calendar.at(times_ms)
    values: dict[str, Sequence[object]] = {
        "calendar.open": moments.open.tolist(),
        "calendar.name": [calendar.name] * len(times_ms),
        "calendar.holiday": moments.holiday.tolist(),
        "calendar.weekday": [WEEKDAYS[day] for day in moments.weekday.tolist()],
        "calendar.hour": moments.hour.astype(np.float64).tolist(),
    }
    return {name: values[name] for name in names}


def _lags(who: Who, broker_ms: Sequence[int], circumstances: Circumstances) -> Sequence[object]:
    """A watermark grows older while nobody renews it: a dead monitor lane shows as lag."""
    told = [circumstances.watermarks[name] for name in sorted(who.names) if name in circumstances.watermarks]
    if not told:
        return [None] * len(who.versions)
    lag, at = max(told)
    return [lag + max(now - at, 0) for now in broker_ms]


def _signal(
    name: str, who: Who, broker_ms: Sequence[int], times_ms: Times, circumstances: Circumstances
) -> Sequence[object]:
    monitor, field_name = signal_of(name)
    told = {version: _speaks(who, version, monitor, circumstances) for version in set(who.versions)}
    if field_name == "age_ms":
        return [
            None if (one := told[version]) is None else float(max(now - one.at_ms, 0))
            for version, now in zip(who.versions, broker_ms, strict=True)
        ]
    if field_name == "held_ms":
        return [
            None
            if (one := told[version]) is None or one.data.since_ms is None
            else float(max(now - one.data.since_ms, 0))
            for version, now in zip(who.versions, times_ms.tolist(), strict=True)
        ]
    values = {version: _value(one, field_name) for version, one in told.items()}
    return [values[version] for version in who.versions]


def _speaks(who: Who, version: str | None, monitor: str, circumstances: Circumstances) -> Told | None:
    """What a monitor says of the version or of all versions, the strongest; under any of the model's names."""
    found = [circumstances.strongest.get(place) for place in places_for(who.names, version, monitor)]
    return strongest(one for one in found if one is not None)


def _value(told: Told | None, field_name: str) -> float | str | None:
    if told is None:
        return SignalStatus.NONE.value if field_name == "status" else None
    return value_of(told, field_name)
