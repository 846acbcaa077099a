"""What stood before: a short history of each signal that a lasting rule (`for`, `keep_firing_for`) reads.

Promise to whoever replays: what is remembered depends on the records of `signals` up to an offset and on the
configuration alone, not on when a lane started or in which batches it read them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from agents.events import SignalData, SignalStatus
from agents.policy.columns import signal_of

DAY_MS = 86_400_000
LATE_MS = 3_600_000
"""Remembered beyond what rules ask for: decisions may be so much behind the signals, in a lane that catches up."""
BEFORE = -(2**62)
"""Stood for longer than is remembered."""
Place = tuple[str, str | None, str]
"""Model, version (None: all of them), monitor."""
Value = float | str | None
Values = tuple[Value, ...]
_Said = tuple[tuple[float, ...], Values]  # its rank among signals of one place, and what it says
STRENGTH = {status: rank for rank, status in enumerate(SignalStatus)}  # none … alarm, as the enumeration is written


@dataclass(frozen=True)
class Told:
    """Something published, with its broker time in ms."""

    data: SignalData
    at_ms: int


@dataclass(frozen=True, slots=True)
class Stood:
    """What one key of `signals` said from a moment on, until its next record."""

    from_ms: int
    """The model's clock; BEFORE for the oldest where earlier ones were let go."""
    at_ms: int
    """Broker time of the record."""
    told: Told | None
    """None: the signal was removed."""


History = tuple[Stood, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What the signals that a condition reads said for a while."""

    from_ms: int
    """The model's clock; the first state's is BEFORE."""
    values: Values
    """Of the columns; null where the signal was not there."""
    whole: bool
    """False where one was not there."""


def remembered(history: History, told: Told | None, at_ms: int, reach_ms: int) -> History:
    """The history with one more record, as far back as `reach_ms` before it.

    A record stands from its `clock_ms` on. One without (a removal) is placed by the broker time since the record before it; the
    first one by its broker time. Records never go back in time: offsets say what came later.
    """
    last = history[-1] if history else None
    clock = None if told is None else told.data.clock_ms
    if clock is None:
        clock = at_ms if last is None else last.from_ms + max(at_ms - last.at_ms, 0)
    from_ms = clock if last is None else max(clock, last.from_ms)
    return trimmed((*history, Stood(from_ms, at_ms, told)), reach_ms)


def trimmed(history: History, reach_ms: int) -> History:
    """Only what stood within `reach_ms` before the newest record, by the model's clock."""
    oldest = history[-1].from_ms - reach_ms
    gone = 0
    while gone + 1 < len(history) and history[gone + 1].from_ms <= oldest:
        gone += 1
    if not gone:
        return history
    first = history[gone]
    return (Stood(BEFORE, first.at_ms, first.told), *history[gone + 1 :])


def strongest(signals: Iterable[Told]) -> Told | None:
    """The one that speaks for them all: the worst status; among equals the overall one, then the largest e_value.

    `signals` come in the order of their keys; what is still equal is settled by it.
    """
    return max(signals, key=_rank, default=None)


def value_of(told: Told, field_name: str) -> Value:
    """What a signal says in one of its columns that do not change by themselves."""
    value = getattr(told.data, field_name)
    if value is None:
        return None
    return str(value.value) if isinstance(value, SignalStatus) else float(value)


def place_of(data: SignalData) -> Place:
    """Whom a signal speaks of."""
    return data.model, None if data.scope == "model" else data.version, data.monitor


def places_for(names: Iterable[str], version: str | None, monitor: str) -> list[Place]:
    """Where a monitor speaks of decisions of a version: of the version itself, and of all versions of the model.

    `names` are the model's (its own and, for a catch-all, the declaration's); the order is settled.

    >>> places_for({"m"}, "2", "volume")
    [('m', '2', 'volume'), ('m', None, 'volume')]
    """
    return [(name, one, monitor) for name in sorted(names) for one in dict.fromkeys((version, None))]


def by_place(past: Mapping[str, History], signals: Mapping[str, Told]) -> dict[Place, list[History]]:
    """Histories of the keys of each model version (or of all) and monitor, in the order of the keys."""
    found: dict[Place, list[History]] = {}
    for key in sorted({*past, *signals}):
        history = past.get(key) or remembered((), signals[key], signals[key].at_ms, LATE_MS)
        data = next((one.told.data for one in history if one.told is not None), None)
        if data is not None:
            found.setdefault(place_of(data), []).append(history)
    return found


def states(columns: Sequence[str], places: Mapping[str, Sequence[History]]) -> list[State]:
    """What `columns` of signals said, in the order of time; `places`: the histories of each monitor's keys."""
    fields: dict[str, list[str]] = {}
    for name in columns:
        monitor, field_name = signal_of(name)
        fields.setdefault(monitor, []).append(field_name)
    told = {monitor: _spoken(places[monitor], wanted) for monitor, wanted in fields.items()}
    starts = {monitor: [from_ms for from_ms, _ in one] for monitor, one in told.items()}
    found: list[State] = []
    for moment in sorted({from_ms for one in starts.values() for from_ms in one}):
        values: dict[str, Value] = {}
        for monitor, one in told.items():
            _, said = one[bisect_right(starts[monitor], moment) - 1]
            if said is not None:
                values |= {
                    f"signals.{monitor}.{name}": value for name, value in zip(fields[monitor], said, strict=True)
                }
        state = State(moment, tuple(map(values.get, columns)), len(values) == len(columns))
        if not found or (found[-1].values, found[-1].whole) != (state.values, state.whole):
            found.append(state)
    return found


def _spoken(histories: Sequence[History], fields: Sequence[str]) -> list[tuple[int, Values | None]]:
    """From when on the strongest of some keys said what, in the order of time: values of `fields`, None: none was there.

    The first entry stands from BEFORE on; neighbours differ.
    """
    short = [_short(history, fields) for history in histories]
    places, found = [0] * len(short), list[tuple[int, Values | None]]()
    for moment in sorted({BEFORE, *(from_ms for one in short for from_ms, _ in one)}):
        there: list[_Said] = []
        for number, one in enumerate(short):
            while places[number] < len(one) and one[places[number]][0] <= moment:
                places[number] += 1
            said = one[places[number] - 1][1] if places[number] else None
            if said is not None:
                there.append(said)
        values = max(there, key=itemgetter(0))[1] if there else None
        if not found or found[-1][1] != values:
            found.append((moment, values))
    return found


def _short(history: History, fields: Sequence[str]) -> list[tuple[int, _Said | None]]:
    """A history with neighbours made one that say the same: with the status alone, few are left."""
    found: list[tuple[int, _Said | None]] = []
    status_alone = set(fields) == {"status"}
    for one in history:
        said = None
        if one.told is not None:
            rank = (STRENGTH[one.told.data.status],) if status_alone else _rank(one.told)
            said = rank, tuple(value_of(one.told, name) for name in fields)
        if not found or found[-1][1] != said:
            found.append((one.from_ms, said))
    return found


def _rank(told: Told) -> tuple[float, ...]:
    data = told.data
    overall = data.segment is None and data.group is None
    return STRENGTH[data.status], overall, data.e_value if data.e_value is not None else -1.0
