"""How far the observe lanes have come, so that a lane that stands still is told from a model that is silent.

Under `clock: broker`, what judges all versions of a model together goes by the time up to which every lane has counted; a
lane that lags holds that time back, and shows as lag (docs/design.md, section 8).
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.configuration import Model


class LaneProgress:
    """The broker time up to which each lane has counted everything; by its transactional id."""

    def __init__(self, through_ms: Mapping[str, int] | None = None) -> None:
        self.through_ms = dict(through_ms or {})

    def __bool__(self) -> bool:
        return bool(self.through_ms)

    def take(self, lane: str, through_ms: int) -> None:
        """A lane's word; it never goes back."""
        self.through_ms[lane] = max(self.through_ms.get(lane, -1), through_ms)

    @property
    def counted_ms(self) -> int:
        """Up to when all lanes that were heard of have counted; -1 before any was.

        >>> LaneProgress({"a": 7, "b": 5}).counted_ms
        5
        """
        return min(self.through_ms.values(), default=-1)

    def clock(self, clock_ms: int, declaration: Model, stage: str, scope: str) -> int:
        """The clock that an observation is judged by, out of its own."""
        held_back = declaration.clock == "broker" and stage == "decisions" and scope == "model"
        return min(clock_ms, self.counted_ms) if held_back else clock_ms
