"""What joining brings, batch by batch: cases that are mature, and counts of what happened to cases and outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.monitor.matured import Matured

TALLIES = (
    "joined",  # given out
    "unlabelled",  # had no outcome at their maturity
    "late",  # of these, got one since: (joined) ÷ (joined + unlabelled - late) is the coverage
    "early",  # outcomes that came before their case
    "duplicate",  # outcomes with a revision that is no higher than one seen before
    "revised",  # outcomes that changed after what was counted
    "to_positive",  # of these, from negative to positive
    "to_negative",
    "repeated",  # cases of a decision that had one
)
"""What is counted for each model and version; "orphaned" outcomes have no case, and so no model: `Joined.orphaned`."""
Version = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Joined:
    """What a batch brought."""

    matured: tuple[Matured, ...]
    """By model and version, in the order of their names; rows in the order of the topic of cases."""
    tallies: Mapping[Version, Mapping[str, int]]
    """By model and version, in the order of their names: what of TALLIES happened."""
    orphaned: int
    """Outcomes given up, because no case came within the retention."""


class Tally:
    """Counts since they were last taken."""

    def __init__(self) -> None:
        self._counts: dict[Version, dict[str, int]] = {}

    def add(self, version: Version, kind: str, count: int = 1) -> None:
        """Count one of TALLIES."""
        tally = self._counts.setdefault(version, {})
        tally[kind] = tally.get(kind, 0) + count

    def taken(self) -> dict[Version, dict[str, int]]:
        """All counts in the order of their names; what is counted next starts anew."""
        found = {version: dict(sorted(self._counts[version].items())) for version in sorted(self._counts)}
        self._counts = {}
        return found
