"""From decisions to observations: what monitors count in each stretch of a model version's decisions.

A stretch is at most STRETCH decisions of one version that lie in one batch. However a stream is cut into batches and
partitions, the sums of its observations are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agents.monitor.compilation import Watched
from agents.monitor.contract import STRETCH, Bools, Counts, Ints, Stage, View, of_stretch


@dataclass(frozen=True, slots=True)
class Counted:
    """One observation, before it becomes an event."""

    version: str
    first: int
    """Row of its first decision in the batch."""
    last: int
    n: int
    once: int
    clock_ms: int
    counts: Mapping[str, Counts]
    """By monitor."""


class Counter:
    """Counts for one model; holds nothing between batches."""

    def __init__(self, watched: Watched, stage: Stage = "decisions") -> None:
        self.watched = watched
        self.monitors = [one for one in watched.monitors if one.stage == stage and one.ready is None]
        self.columns: Collection[str] = frozenset().union(*(one.columns() for one in self.monitors))

    def count(
        self,
        frame: pl.DataFrame,
        versions: Sequence[str],
        clock_ms: Ints,
        groups: Mapping[str, Ints],
        once: Bools | None = None,
    ) -> list[Counted]:
        """Observations of a batch, by version in the order of first appearance; all arguments a row each."""
        height = len(versions)
        if not height:
            return []
        if versions[0] == versions[-1] and versions.count(versions[0]) == height:
            return self._of_version(versions[0], np.arange(height), frame, clock_ms, groups, once)
        places: dict[str, list[int]] = {}
        for row, version in enumerate(versions):
            places.setdefault(version, []).append(row)
        found: list[Counted] = []
        for version, rows in places.items():
            at = np.array(rows)
            part = {name: codes[at] for name, codes in groups.items()}
            found += self._of_version(version, at, frame[rows], clock_ms[at], part, None if once is None else once[at])
        return found

    def _of_version(
        self,
        version: str,
        rows: Ints,
        frame: pl.DataFrame,
        clock_ms: Ints,
        groups: Mapping[str, Ints],
        once: Bools | None,
    ) -> list[Counted]:
        stretch = np.arange(len(rows)) // STRETCH
        count = int(stretch[-1]) + 1
        view = View(frame, stretch, count, groups, clock_ms, once)
        taken = {one.name: one.observe(view) for one in self.monitors}
        found = []
        for place in range(count):
            first, end = place * STRETCH, min((place + 1) * STRETCH, len(rows))
            counted = end - first if once is None else int(once[first:end].sum())
            counts = {name: of_stretch(one, place) for name, one in taken.items()}
            one = Counted(
                version, int(rows[first]), int(rows[end - 1]), end - first, counted, int(clock_ms[end - 1]), counts
            )
            found.append(one)
        return found


def nested(counts: Mapping[str, Counts]) -> dict[str, dict[str, object]]:
    """Counts as JSON values."""
    return {name: {key: values.tolist() for key, values in one.items()} for name, one in counts.items() if one}


def arrays(counts: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, Ints]]:
    """What `nested` made, as arrays again."""
    return {
        name: {key: np.array(values, dtype=np.int64) for key, values in one.items()} for name, one in counts.items()
    }
