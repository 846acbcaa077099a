"""Why protected attributes are not known: from a sample of one lane's decisions, in one sentence with the mend.

Promise to operators: where a fairness monitor's coverage is low because of how topics are filled, keyed or partitioned, the
lane's status says so. It names no subject and no subject's group, and leaves no trace in what the lane writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from agents.configuration import Model
from agents.monitor.attributes import AttributeTable
from agents.monitor.contract import Ints
from agents.partitions import partition_of

WINDOW = 64
"""A model's first decisions that are all looked at; with twice as many, the older ones count half."""
EVERY = 100
"""Later one decision in so many is looked at, which takes some 4 µs …"""
TOGETHER = 8
"""… but so many of a batch, and then none for as long as they stand for: a look at a batch takes some 20 µs."""
LEAST = 20
"""Decisions looked at before anything is said."""
FAULT = 0.2
"""Of the decisions: from here on said of what is never right (of two partitions, a wrong one is met by half)."""
LACK = 0.5
"""From here on said of what may be so: not everybody's attributes need be known."""
_NO_SUBJECT, _ELSEWHERE, _ABSENT, _UNTOLD, _UNDECLARED = "no subject", "elsewhere", "absent", "untold", "undeclared"


@dataclass
class _Sample:
    declaration: Model
    wait: int = 0
    """Decisions that pass before the next look."""
    looked: int = 0
    why: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Decisions by cause, and by attribute where it concerns one."""

    def share(self, cause: str, attribute: str = "") -> float:
        return self.why[cause, attribute] / self.looked if self.looked else 0.0

    def rows(self, height: int) -> Ints | None:
        """Which of the next decisions to look at; None: none of them."""
        self.wait -= height
        if self.looked < WINDOW:
            return np.arange(min(height, WINDOW - self.looked))
        if self.wait > 0:
            return None
        count = min(max(TOGETHER, height // EVERY), height)
        self.wait = EVERY * count
        return np.arange(count) * (height // count)

    def fade(self) -> None:
        if self.looked >= 2 * WINDOW:
            self.looked //= 2
            self.why = Counter({cause: count // 2 for cause, count in self.why.items()})


class Unknown:
    """The sample of one lane, by model."""

    def __init__(self, table: AttributeTable, topic: str, decisions: str, partition: int, partitions: int) -> None:
        """`table` is what the lane knows of partition `partition` of the topic `topic`, which has `partitions` of them;
        `decisions` is the topic whose partition of the same number it counts."""
        self._table, self._topic, self._decisions = table, topic, decisions
        self._partition, self._partitions = partition, partitions
        self._samples: dict[str, _Sample] = {}
        self._told: str | None = ""

    def look(
        self,
        model: str,
        declaration: Model,
        subjects: Sequence[str | None],
        groups: Mapping[str, Ints],
        events: Mapping[str, Sequence[str | None]] | None = None,
    ) -> None:
        """Sample a batch: who each decision is about, the groups found (-1: unknown), and what the decisions themselves say."""
        if not groups or not len(subjects):
            return
        sample = self._samples.setdefault(model, _Sample(declaration))
        rows = sample.rows(len(subjects))
        if rows is None:
            return
        sample.looked += len(rows)
        lacking = {name: codes[rows] < 0 for name, codes in groups.items()}
        why: list[tuple[str, str]] = []
        for at in np.flatnonzero(np.logical_or.reduce(list(lacking.values()))).tolist():
            row = int(rows[at])
            names = [name for name, unknown in lacking.items() if unknown[at]]
            why += self._why(subjects[row], names, row, events or {})
        sample.why.update(why)
        sample.fade()
        self._told = None

    def told(self) -> str:
        """What is wrong, a sentence a model; empty where nothing is."""
        if self._told is None:
            self._told = "; ".join(filter(None, map(self._sentence, self._samples)))
        return self._told

    def _why(
        self, subject: str | None, names: Sequence[str], row: int, events: Mapping[str, Sequence[str | None]]
    ) -> list[tuple[str, str]]:
        known = self._table.known(subject) if subject is not None else None
        said = [name for name in names if (known or {}).get(name) or (name in events and events[name][row])]
        if said:
            return [(_UNDECLARED, name) for name in said]
        if subject is None:
            return [(_NO_SUBJECT, "")]
        if known is not None:
            return [(_UNTOLD, name) for name in names]
        return [(_ABSENT if self._belongs(subject) else _ELSEWHERE, "")]

    def _belongs(self, subject: str) -> bool:
        return partition_of(subject.encode(), self._partitions) == self._partition

    def _sentence(self, model: str) -> str:
        """The first that applies, faults before lacks."""
        sample = self._samples[model]
        if sample.looked < LEAST:
            return ""
        here = f"{self._topic}/{self._partition}"
        keyed = "murmur2 (with librdkafka: partitioner=murmur2_random)"
        if (share := sample.share(_ELSEWHERE)) >= FAULT:
            return (
                f"{_so(model, share)}: they lie on another partition than their subject's attributes; key {self._decisions} "
                f"by subject, partitioned by {keyed}, over {self._partitions} partitions as {self._topic} has"
            )
        if (share := sample.share(_NO_SUBJECT)) >= FAULT:
            return f"{_so(model, share)}: they name no subject; let producers set `subject`, or map it under `sources:`"
        for name, groups in sample.declaration.groups.items():
            if (share := sample.share(_UNDECLARED, name)) >= FAULT:
                return (
                    f"{_so(model, share, name)}: what is said of them is none of the declared groups "
                    f"{', '.join(groups)}; declare the others under the model's `groups`, or correct them at the source"
                )
        share = sample.share(_ABSENT)
        if share >= FAULT and self._astray() >= FAULT:
            return (
                f"{_so(model, share)}: {here} holds subjects that belong on other partitions; key {self._topic} by subject, "
                f"partitioned by {keyed}"
            )
        if share >= LACK and not len(self._table):
            return f"{_so(model, share)}: {here} is empty; publish attributes events there, keyed by subject"
        if share >= LACK:
            return f"{_so(model, share)}: {here} has no record of their subjects; publish it where something is known"
        for name in sample.declaration.groups:
            if (share := sample.share(_UNTOLD, name)) >= LACK:
                return f"{_so(model, share, name)}: {here} leaves it out; publish it where it is known"
        return ""

    def _astray(self) -> float:
        """The share of the table's subjects that should not be on this partition, of some of them."""
        some = list(islice(self._table.subjects, LEAST))
        return sum(not self._belongs(one) for one in some) / len(some) if some else 0.0


def _so(model: str, share: float, attribute: str = "protected attributes") -> str:
    return f"{attribute} unknown for {share:.0%} of the decisions of {model}"
