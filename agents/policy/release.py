"""What rulings make of held decisions: which are due, by which ruling, and which wait; for the release lane.

Promise: a held decision is decided by the first rulings, in the order of `rulings`, that answer it, whatever the order in
which held records and rulings are seen: released once each reason that holds it has an allowing ruling, withheld by the first
that blocks or edits one. Positions and causes are kept, no bytes: 24 bytes a decision and some for each distinct cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from agents.policy import held
from agents.policy.held import Causes
from agents.policy.ruled import Ruled
from agents.records import Record

Ints = npt.NDArray[np.int64]
GONE = -1
"""The state of a decision that has ended."""
COMPACT = 4_096
"""Ended decisions that may lie around before they are cleared away."""


@dataclass(frozen=True, slots=True)
class Due:
    """Decisions that one ruling decides, in the order of `held`."""

    ruled: Ruled
    offsets: Sequence[int]
    """Of their records on `held`, ascending."""


@dataclass(frozen=True, slots=True)
class _State:
    """What a held decision still waits for."""

    keys: frozenset[str]
    """Of all that holds it."""
    left: frozenset[str]
    """Of what nobody has allowed yet."""
    more: bool


@dataclass
class _Rows:
    """The held decisions of one topic, by their offset on it: a row each, in parallel arrays."""

    size: int = 0
    at: Ints = field(default_factory=lambda: np.empty(256, dtype=np.int64))
    """Offset of the decision, ascending."""
    held: Ints = field(default_factory=lambda: np.empty(256, dtype=np.int64))
    """Offset of its record on `held`."""
    state: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(256, dtype=np.int32))
    ruled: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(256, dtype=np.int32))
    """Number of the ruling that decides it; -1: none yet."""
    ended: int = 0

    def extend(self, at: Ints, held_: Ints, state: npt.NDArray[np.int32]) -> bool:
        """Add rows; False where they did not all come behind those that were there, as policy lanes write them."""
        if len(at) and ((self.size and at[0] <= self.at[self.size - 1]) or np.any(at[1:] <= at[:-1])):
            both, rows = np.concatenate([self.at[: self.size], at]), self.size + len(at)
            newest = np.lexsort((np.arange(rows), both))
            keep = newest[np.append(both[newest][1:] != both[newest][:-1], True)]
            whole = (
                np.concatenate([mine[: self.size], theirs])
                for mine, theirs in ((self.held, held_), (self.state, state))
            )
            fresh = np.concatenate([self.ruled[: self.size], np.full(len(at), -1, dtype=np.int32)])
            self.at, (self.held, self.state), self.ruled = both[keep], (one[keep] for one in whole), fresh[keep]
            self.size = len(keep)
            return False
        end = self.size + len(at)
        if end > len(self.at):
            room = max(end, len(self.at) + len(self.at) // 2)
            for name in ("at", "held", "state", "ruled"):
                old = getattr(self, name)
                new = np.empty(room, dtype=old.dtype)
                new[: self.size] = old[: self.size]
                setattr(self, name, new)
        self.at[self.size : end], self.held[self.size : end], self.state[self.size : end] = at, held_, state
        self.ruled[self.size : end] = -1
        self.size = end
        return True

    def places(self, at: Ints) -> Ints:
        """Rows of these decisions; those that are not there are left out."""
        found = np.searchsorted(self.at[: self.size], at)
        known = found < self.size
        found, at = found[known], at[known]
        there: Ints = found[self.at[found] == at].astype(np.int64)
        return there

    def end(self, rows: Ints) -> None:
        """These are over."""
        self.ended += int(np.count_nonzero(self.state[rows] != GONE))
        self.state[rows] = GONE
        if self.ended > max(COMPACT, self.size // 2):
            keep = np.flatnonzero(self.state[: self.size] != GONE)
            self.at, self.held, self.state, self.ruled = (
                self.at[keep],
                self.held[keep],
                self.state[keep],
                self.ruled[keep],
            )
            self.size, self.ended = len(keep), 0


class Release:
    """The pending decisions of one partition of `held`, and the rulings that are not over with them."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self._rows: dict[str, _Rows] = {}  # by topic of decisions
        self._states: list[_State] = []
        self._numbers: dict[_State, int] = {}
        self._causes: dict[tuple[object, ...], int] = {}
        self._room = COMPACT  # states that there may be before those that nothing waits in are forgotten
        self._rulings: dict[int, Ruled] = {}  # by number, in order of `rulings`
        self._due: dict[int, int] = {}  # number of a ruling → decisions that it decides and that have not ended
        self._next = 0
        self.bad = 0
        """Records that no policy lane wrote so; they stay where they are."""

    @property
    def pending(self) -> int:
        """Held decisions that have not ended, due ones among them."""
        return sum(rows.size - rows.ended for rows in self._rows.values())

    @property
    def due(self) -> int:
        """Decisions that are decided and have not ended."""
        return sum(self._due.values())

    def left(self, ruled: Ruled) -> int:
        """Decisions that this ruling decides and that have not ended."""
        return sum(count for number, count in self._due.items() if self._rulings[number].offset == ruled.offset)

    def see(self, records: Sequence[Record]) -> None:
        """Take records of `held` in the order of the topic: held decisions, and the tombstones that ended some."""
        adding: dict[str, list[tuple[int, int, int]]] = {}
        ending: dict[str, set[int]] = {}
        for record in records:
            try:
                topic, _, offset = held.place_of(record.key)
            except held.BadHeld:
                self.bad += 1
                continue
            if record.value is None:
                ending.setdefault(topic, set()).add(offset)
                continue
            if offset in ending.get(topic, ()):  # held again after its end, which no lane of ours does: keep the order
                self._take(adding, ending)
                adding, ending = {}, {}
            adding.setdefault(topic, []).append((offset, record.offset, self._state_of(held.causes(record))))
        self._take(adding, ending)

    def rule(self, ruled: Ruled) -> int:
        """Take a ruling, in the order of `rulings`; returns how many decisions it decides of those seen so far."""
        number = self._next
        self._next += 1
        self._rulings[number] = ruled
        for topic, rows in self._rows.items():
            self._apply(number, topic, rows, 0)
        return self._due.get(number, 0)

    def take(self, limit: int) -> Due | None:
        """At most `limit` decisions that are due, all by the same ruling; None: none are due.

        The ruling with the fewest left goes first: an answer about one decision does not wait behind fifty thousand others.
        """
        number = min(self._due, key=lambda one: (self._due[one], one), default=None)
        if number is None:
            return None
        found = [
            rows.held[np.flatnonzero((rows.ruled[: rows.size] == number) & (rows.state[: rows.size] != GONE))]
            for rows in self._rows.values()
        ]
        offsets = np.sort(np.concatenate(found))[:limit]
        return Due(self._rulings[number], offsets.tolist())

    def end(self, topic: str, offsets: Iterable[int]) -> None:
        """Decisions (by their offsets on a topic) that have ended."""
        rows = self._rows.get(topic)
        if rows is None:
            return
        places = rows.places(np.unique(np.fromiter(offsets, dtype=np.int64)))
        open_ = places[rows.state[places] != GONE]
        for number, count in zip(*np.unique(rows.ruled[open_], return_counts=True), strict=True):
            if number >= 0:
                left = self._due[int(number)] - int(count)
                self._due[int(number)] = left
                if not left:
                    del self._due[int(number)]
        rows.end(open_)
        if len(self._states) > self._room:
            self._renumber()

    def settle(self, before: int) -> None:
        """All that was held when the rulings before this offset were made has been seen: forget those with nothing left.

        One is kept as long as a decision waits for more than it allowed.
        """
        for number, ruled in list(self._rulings.items()):
            if ruled.offset < before and number not in self._due and not self._matters(ruled):
                del self._rulings[number]

    def progress(self, seen: int, settled: int) -> int:
        """The offset of `rulings` from which on something is left to do; `seen` is where the next is read from.

        Rulings before `settled` whose decisions have ended are done, though they may be kept (`kept`).
        """
        busy = [self._rulings[number].offset for number in self._due]
        return min([seen, settled, *busy])

    def kept(self, before: int) -> list[Ruled]:
        """Rulings before an offset that a start must be shown before those from there on."""
        return [ruled for ruled in self._rulings.values() if ruled.offset < before]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _take(self, adding: dict[str, list[tuple[int, int, int]]], ending: dict[str, set[int]]) -> None:
        for topic, found in adding.items():
            rows = self._rows.setdefault(topic, _Rows())
            at, held_, state = np.array(found, dtype=np.int64).T if found else np.empty((3, 0), dtype=np.int64)
            start = rows.size
            if not rows.extend(at, held_, state.astype(np.int32)):
                start = 0
                self._recount()
            for number in self._rulings:
                self._apply(number, topic, rows, start)
        for topic, offsets in ending.items():
            self.end(topic, offsets)

    def _recount(self) -> None:
        """Rows were replaced: count anew what is due."""
        self._due.clear()
        for rows in self._rows.values():
            open_ = rows.ruled[: rows.size][rows.state[: rows.size] != GONE]
            for number, count in zip(*np.unique(open_[open_ >= 0], return_counts=True), strict=True):
                self._due[int(number)] = self._due.get(int(number), 0) + int(count)
            rows.ended = int(np.count_nonzero(rows.state[: rows.size] == GONE))

    def _apply(self, number: int, topic: str, rows: _Rows, start: int) -> None:
        """Let a ruling change the rows from `start` on. Doing it again changes nothing."""
        ruled = self._rulings[number]
        within = self._within(ruled, topic, rows, start)
        within = within[(rows.state[within] != GONE) & (rows.ruled[within] < 0)]
        states = rows.state[within]
        for state in np.unique(states).tolist():
            then = self._after(state, ruled)
            if then == state:
                continue
            changed = within[states == state]
            if then is None:
                rows.ruled[changed] = number
                self._due[number] = self._due.get(number, 0) + len(changed)
            else:
                rows.state[changed] = then

    def _within(self, ruled: Ruled, topic: str, rows: _Rows, start: int) -> Ints:
        """The rows from `start` on that a ruling covers."""
        if ruled.items is not None:
            found = rows.places(np.unique(np.array(ruled.items.get(topic, ()), dtype=np.int64)))
            return found[found >= start]
        end = int(np.searchsorted(rows.at[: rows.size], ruled.through.get(topic, 0)))
        return np.arange(start, max(start, end), dtype=np.int64)

    def _after(self, state: int, ruled: Ruled) -> int | None:
        """The state after a ruling; None where the decision is decided by it."""
        now = self._states[state]
        if not now.keys & ruled.keys:
            return state
        if ruled.action != "release":
            return None
        left = now.left - ruled.keys
        if not left and not now.more:
            return None
        return self._number(_State(now.keys, left, now.more))

    def _matters(self, ruled: Ruled) -> bool:
        """Whether some pending decision was allowed by it in part."""
        for topic, rows in self._rows.items():
            within = self._within(ruled, topic, rows, 0)
            states = rows.state[within][(rows.state[within] != GONE) & (rows.ruled[within] < 0)]
            for state in np.unique(states).tolist():
                now = self._states[state]
                if now.keys & ruled.keys and not now.more:
                    return True
        return False

    def _state_of(self, causes: Causes) -> int:
        named = (causes.model, causes.version, causes.rules, causes.more)
        found = self._causes.get(named)
        if found is None:
            keys = frozenset(causes.keys)
            found = self._causes[named] = self._number(_State(keys, keys, causes.more or not keys))
        return found

    def _number(self, state: _State) -> int:
        found = self._numbers.get(state)
        if found is None:
            found = self._numbers[state] = len(self._states)
            self._states.append(state)
        return found

    def _renumber(self) -> None:
        """Forget states and causes of decisions that have ended: callers name versions, so new ones may come for ever."""
        used = np.zeros(len(self._states), dtype=bool)
        for rows in self._rows.values():
            state = rows.state[: rows.size]
            used[state[state != GONE]] = True
        numbers = np.where(used, np.cumsum(used) - 1, GONE).astype(np.int32)
        for rows in self._rows.values():
            state = rows.state[: rows.size]
            rows.state[: rows.size] = np.where(state == GONE, GONE, numbers[state])
        self._states = [one for one, there in zip(self._states, used.tolist(), strict=True) if there]
        self._numbers = {one: number for number, one in enumerate(self._states)}
        self._causes = {named: int(numbers[old]) for named, old in self._causes.items() if used[old]}
        self._room = max(COMPACT, 2 * len(self._states))
