"""From decisions to observations: what monitors count in each stretch of a model's decisions, by version or of all.

A stretch is at most STRETCH decisions of one version that lie in one batch; for monitors of scope `model`, of all versions
in the order in which they came. However a stream is cut into batches and partitions, the sums of its observations are the
same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agents.events import ALL_VERSIONS
from agents.monitor.compilation import Watched
from agents.monitor.contract import STRETCH, Bools, Counts, Ints, Scope, Stage, View, of_stretch


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
    scope: Scope = "version"


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
        """Observations of a batch, by version in the order of first appearance, then of all versions where a monitor
        judges them together; all arguments a row each."""
        if not len(versions):
            return []
        found = self._by_version(frame, versions, clock_ms, groups, once)
        if any(one.scope == "model" for one in self.monitors):
            rows = np.arange(len(versions))
            found += self._stretches("model", ALL_VERSIONS, rows, frame, clock_ms, groups, once)
        return found

    def _by_version(
        self,
        frame: pl.DataFrame,
        versions: Sequence[str],
        clock_ms: Ints,
        groups: Mapping[str, Ints],
        once: Bools | None,
    ) -> list[Counted]:
        height = len(versions)
        if versions[0] == versions[-1] and versions.count(versions[0]) == height:
            return self._stretches("version", versions[0], np.arange(height), frame, clock_ms, groups, once)
        places: dict[str, list[int]] = {}
        for row, version in enumerate(versions):
            places.setdefault(version, []).append(row)
        found: list[Counted] = []
        for version, rows in places.items():
            at = np.array(rows)
            part = {name: codes[at] for name, codes in groups.items()}
            first = None if once is None else once[at]
            found += self._stretches("version", version, at, frame[rows], clock_ms[at], part, first)
        return found

    def _stretches(
        self,
        scope: Scope,
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
        taken = {one.name: one.observe(view) for one in self.monitors if one.scope == scope}
        found = []
        for place in range(count):
            first, end = place * STRETCH, min((place + 1) * STRETCH, len(rows))
            counted = end - first if once is None else int(once[first:end].sum())
            counts = {name: of_stretch(one, place) for name, one in taken.items()}
            at, through = int(rows[first]), int(rows[end - 1])
            clock = int(clock_ms[end - 1])
            found.append(Counted(version, at, through, end - first, counted, clock, counts, scope))
        return found


def nested(counts: Mapping[str, Counts]) -> dict[str, dict[str, object]]:
    """Counts as JSON values."""
    return {name: {key: values.tolist() for key, values in one.items()} for name, one in counts.items() if one}


def arrays(counts: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, Ints]]:
    """What `nested` made, as arrays again."""
    return {
        name: {key: np.array(values, dtype=np.int64) for key, values in one.items()} for name, one in counts.items()
    }
