"""The outcomes of a case: those that came before it wait for it, and of several the right one counts.

Which one counts follows from revisions and times alone, whatever the order in which outcomes were read (joining.py says the
rule). An outcome whose case does not come is given up, so that memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from agents.monitor.case_table import EMITTED, NONE

EARLY_LIMIT = 1_000_000
"""Outcomes that may wait for their case; beyond that the oldest counts as orphaned."""


class Outcome(NamedTuple):
    """One record of the topic of outcomes, its case not yet found."""

    offset: int
    known_ms: int
    """The running maximum of the topic's broker times at the record."""
    time_ms: int
    """The event's own time; negative: it has none."""
    outcome: int
    revision: int


class EarlyOutcomes:
    """Outcomes that wait, by their case's identity."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[Outcome]] = {}
        self._arrived: deque[tuple[int, int, bytes]] = deque()  # known_ms, offset and identity, the oldest first

    def add(self, identity: bytes, one: Outcome) -> None:
        """Let an outcome wait; it is no older than those before it."""
        self._waiting.setdefault(identity, []).append(one)
        self._arrived.append((one.known_ms, one.offset, identity))

    def take(self, identity: bytes) -> Sequence[Outcome]:
        """A case has come: its outcomes, which wait no more."""
        return self._waiting.pop(identity, ())

    def give_up(self, overdue: Callable[[int], bool]) -> int:
        """Forget outcomes that have waited too long, told from their `known_ms`, or are too many; how many."""
        arrived, orphaned = self._arrived, 0
        while arrived and (overdue(arrived[0][0]) or len(arrived) > EARLY_LIMIT):
            _, offset, identity = arrived.popleft()
            waiting = self._waiting.get(identity)
            if waiting is not None and waiting[0].offset == offset:
                orphaned += 1
                del waiting[0]
                if not waiting:
                    del self._waiting[identity]
        return orphaned

    def dump(self) -> list[Any]:
        """All of them as plain values, by the offset of each case's first one."""
        order = sorted(self._waiting, key=lambda identity: self._waiting[identity][0].offset)
        return [[identity.hex(), [list(one) for one in self._waiting[identity]]] for identity in order]

    @classmethod
    def load(cls, kept: Sequence[Any]) -> Self:
        """What `dump` gave. Raises ValueError or TypeError where it is damaged."""
        found = cls()
        found._waiting = {bytes.fromhex(identity): [Outcome(*one) for one in many] for identity, many in kept}
        waiting = [(one.known_ms, one.offset, identity) for identity, many in found._waiting.items() for one in many]
        found._arrived = deque(sorted(waiting))
        return found


def counted(
    columns: Mapping[str, np.ndarray[Any, Any]],
    row: int,
    one: Outcome,
    known_ms: int,
    maturity_ms: int,
    positive: Mapping[int, bool],
) -> Sequence[str]:
    """Let an outcome count in its case's row, in place, as far as its revision and time allow; what of TALLIES happened.

    `known_ms`: when it became known, by the clock that the case matures by; `positive`: the model's outcomes by code.
    """
    before = int(columns["latest"][row])
    if before == NONE:
        columns["value"][row] = columns["latest"][row] = one.outcome
        columns["known_ms"][row], columns["revision"][row] = known_ms, one.revision
        return ()
    if one.revision <= columns["revision"][row]:
        return ("duplicate",)
    columns["latest"][row], columns["revision"][row] = one.outcome, one.revision
    in_time = known_ms <= columns["decided_ms"][row] + maturity_ms
    if in_time:
        columns["value"][row], columns["known_ms"][row] = one.outcome, known_ms
    if in_time and columns["stage"][row] != EMITTED:
        return ()
    if positive[one.outcome] == positive.get(before, False):
        return ("revised",)
    return ("revised", "to_positive" if positive[one.outcome] else "to_negative")
