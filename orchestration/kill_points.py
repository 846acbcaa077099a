"""Named places in a lane where a test can kill its process, and nothing else: unarmed, each costs one comparison.

`GOVERN_KILL="policy/*@written#3"` sends SIGKILL to the process the third time a lane whose name matches reaches `written`.
"""

from __future__ import annotations

import os
import signal
from fnmatch import fnmatchcase
from typing import Literal, get_args

from agents.errors import Misconfigured

Point = Literal[
    "opened",
    "fetched",
    "noted",
    "decided",
    "prepared",
    "begun",
    "half-written",
    "written",
    "offsets-sent",
    "committing",
    "committed",
    "settled",
]
POINTS: tuple[Point, ...] = get_args(Point)
IN_TRANSACTION: tuple[Point, ...] = ("half-written", "written", "offsets-sent")
"""Between the first write and the commit: a kill here leaves an open transaction that must be seen aborted."""


class KillPoints:
    """The kill points of one lane."""

    def __init__(self, lane: str, armed: str | None = None) -> None:
        self.at: str | None = None
        self._left = 0
        order = os.environ.get("GOVERN_KILL", "") if armed is None else armed
        if not order:
            return
        pattern, _, place = order.partition("@")
        point, _, count = place.partition("#")
        if point not in POINTS or not (count or "1").isdigit():
            raise Misconfigured(
                f"GOVERN_KILL={order!r} is not `<lane>@<point>#<n>` with a point of {', '.join(POINTS)}"
            )
        if fnmatchcase(lane, pattern):
            self.at, self._left = point, int(count or "1")

    def reach(self, point: Point) -> None:
        """Die here if it is this point's turn."""
        if point == self.at and self.due():
            die()

    def due(self) -> bool:
        """Count one visit to the armed point; true when it is the last."""
        self._left -= 1
        return self._left <= 0


def die() -> None:
    """Leave no time for anything: SIGKILL to the own process."""
    os.kill(os.getpid(), signal.SIGKILL)
