"""Counts a minute and their reference: how many calls an hour usually brings, and how much they vary, for each name.

Observations may split a minute: counts of (minute, name) add up, and a minute closes when the model's clock has passed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.stats import chi2

from agents.monitor.contract import Bools, Counts, Floats, Ints, State, Step, View
from agents.monitor.poisson import MINUTE_MS, WEEK, hour_of

BLOCK = 15
"""Minutes under one key of an observation."""
GRACE_MS = 60_000
"""How long after its end a minute stays open for counts of lanes that lag."""
DAY = 24 * 60
LEAST_WEEKS = 4
"""From so many weeks of reference on, hours of the week are told apart, before only hours of the day."""
OFTEN = 0.05
"""Share of reference minutes, at most, that lie above an hour's high mark."""


def count_minutes(view: View, columns: Sequence[Ints], names: int) -> Counts:
    """Calls by quarter of an hour: key → (stretches, BLOCK × names).

    Each of `columns` has a name's place for every row, -1 where it counts for none.
    """
    minutes = view.times_ms // MINUTE_MS
    codes = np.concatenate([(minutes % BLOCK) * names + np.where(code < 0, -(BLOCK * names), code) for code in columns])
    known = codes >= 0
    codes = codes[known]
    blocks = np.tile(minutes // BLOCK, len(columns))[known]
    stretch = np.tile(view.stretch, len(columns))[known]
    order = np.argsort(blocks, kind="stable")
    found: dict[str, Ints] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1) if len(order) else ():
        inside = View(view.frame, stretch[rows], view.stretches)
        found[str(int(blocks[rows[0]]))] = inside.tally(codes[rows], BLOCK * names)
    return found


class Minutes:
    """Minutes still open, and those that a step closes; holds no state of the stream."""

    def __init__(self, names: int) -> None:
        self.names = names

    def start(self) -> State:
        """Before the first call. `next` is the first minute that has not closed, -1 where none has begun."""
        return {"first": -1, "next": -1, "open": {}, "late": 0}

    def begin(self, state: State, now_ms: int) -> None:
        """Before the first call: count from now on, because no call may ever come."""
        state["first"] = now_ms // MINUTE_MS
        state["next"] = state["first"] + 1

    def take(self, state: State, counts: Counts, step: Step) -> Iterator[tuple[int, Ints, bool]]:
        """Closed minutes, at most a day at a time: (first, calls (minutes, names), whether over a week was left out).

        The first minute of all is not used: it may have begun before the stream. Counts of closed minutes come too late
        and are only added up in `late`.
        """
        blocks = {int(key): values.reshape(BLOCK, self.names) for key, values in counts.items()}
        if state["next"] < 0 and blocks:
            first = min(blocks)
            state["first"] = first * BLOCK + int(np.flatnonzero(blocks[first].any(axis=1))[0])
            state["next"] = state["first"] + 1
        for block, table in blocks.items():
            for place in np.flatnonzero(table.any(axis=1)):
                self._add(state, block * BLOCK + int(place), table[place])
        end = (step.now_ms - GRACE_MS) // MINUTE_MS
        if 0 <= state["next"] < end:
            yield from self._close(state, end)

    def _add(self, state: State, minute: int, calls: Ints) -> None:
        if minute < state["next"]:
            state["late"] += 0 if minute == state["first"] else int(calls.max())
            return
        key = str(minute)
        before = state["open"].get(key)
        state["open"][key] = calls.copy() if before is None else before + calls

    def _close(self, state: State, end: int) -> Iterator[tuple[int, Ints, bool]]:
        due = sorted(minute for minute in map(int, state["open"]) if minute < end)
        spans, begin, at = [], state["next"], state["next"]
        state["next"] = end
        for minute in [*due, end]:
            if minute - at > WEEK:
                spans.append((begin, at))
                begin = minute - WEEK
            at = minute + 1
        spans.append((begin, end))
        for place, (begin, stop) in enumerate(spans):
            for low in range(begin, stop, DAY):
                high = min(low + DAY, stop)
                rows = np.zeros((high - low, self.names), dtype=np.int64)
                while due and due[0] < high:
                    minute = due.pop(0)
                    rows[minute - low] = state["open"].pop(str(minute))
                yield low, rows, place > 0 and low == begin


def fitted(minutes: Ints, codes: Ints, names: int, left_out: Callable[[Ints], Bools] | None = None) -> State:
    """The reference of `names` from rows (minute, name's place): by hour, and over all minutes from the first to the last.

    `left_out` says which minutes are no part of it, whatever happened in them; some row must be left.

    `calls` (names, hours) and `minutes` (hours); `phi` (names): variance ÷ mean about the hour's rate, at least 1;
    `high` (names, hours): what at most OFTEN of the hour's minutes exceed, and `above` (names): how many did.
    """
    first, last = int(minutes.min()), int(minutes.max())
    hours = 168 if last - first >= LEAST_WEEKS * WEEK else 24
    span = np.arange(first, last + 1)
    if left_out is not None:
        kept = ~left_out(minutes)
        minutes, codes, span = minutes[kept], codes[kept], span[~left_out(span)]
    length = np.bincount(hour_of(span, hours), minlength=hours)
    cells, x = np.unique((minutes - first) * names + codes, return_counts=True)
    name, hour = cells % names, hour_of(cells // names + first, hours)
    calls = np.zeros((names, hours), dtype=np.int64)
    np.add.at(calls, (name, hour), x)
    rate = calls / np.maximum(length, 1)
    squares = np.bincount(name, weights=x * x / rate[name, hour], minlength=names)
    phi = np.maximum((squares - calls.sum(axis=1)) / max(int(length.sum()) - hours, 1), 1.0)
    high, above = np.zeros((names, hours), dtype=np.int64), np.zeros(names, dtype=np.int64)
    place = name * hours + hour
    order = np.lexsort((-x, place))
    for rows in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        row, column = name[rows[0]], hour[rows[0]]
        spare = int(OFTEN * length[column])
        high[row, column] = x[rows[spare]] if spare < len(rows) else 0
        above[row] += int((x[rows] > high[row, column]).sum())
    return {"calls": calls, "minutes": length, "phi": phi, "high": high, "above": above}


def most(reference: State, tolerance: float) -> Floats:
    """Calls a minute that are still usual, (names, hours): the 99 % upper bound of the hour's rate × tolerance."""
    scaled = reference["calls"] / reference["phi"][:, None]
    bound = chi2.ppf(0.99, 2 * scaled + 2) / 2 * reference["phi"][:, None]
    return np.asarray(bound / np.maximum(reference["minutes"], 1) * tolerance)


def least(reference: State, tolerance: float) -> Floats:
    """The fewest calls a minute that are still usual: the 99 % lower bound ÷ tolerance; 0 where hardly any are."""
    scaled = reference["calls"] / reference["phi"][:, None]
    bound = np.where(scaled > 0, chi2.ppf(0.01, np.maximum(2 * scaled, 1e-9)), 0.0) / 2 * reference["phi"][:, None]
    return np.asarray(bound / np.maximum(reference["minutes"], 1) / tolerance)
