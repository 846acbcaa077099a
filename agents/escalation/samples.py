"""Which decisions of many are to be opened: the same for everyone who asks, and nobody's choice.

Each decision has a place in a fixed random order: SHA-256 of the incident's id and the position. `gather` keeps the first
ones of that order, whichever way decisions arrive, so that `sample_of` gives the console and the escalation agent the
same positions, also when the one has seen more of a growing incident than the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from agents.escalation.case import place_of
from agents.events import Position
from agents.people_events import IncidentData, Through

KEPT = 20


def gather(
    incident: str, sample: Iterable[Position], more: Iterable[Position], kept: int = KEPT
) -> tuple[Position, ...]:
    """An incident's sample after more decisions: the first `kept` of all in the incident's order; a uniform sample."""
    return tuple(sorted({*sample, *more}, key=lambda one: _place(incident, one))[:kept])


def sample_of(
    incident: IncidentData, through: Through, n: int, items: Iterable[Position] | None = None
) -> tuple[Position, ...]:
    """The at most n decisions that somebody who answers all before `through` (or all of `items`) must have opened.

    They are the first in the incident's order of those that it keeps as its sample. As an incident grows, its sample
    keeps a part of the earlier ones, and always the first of them: what is asked for later was asked for before.
    """
    among = [one for one in incident.sample if lies_before(one, through)] if items is None else list(items)
    return gather(incident.incident, (), among, n)


def lies_before(position: Position, through: Through) -> bool:
    """Whether a decision lies before the end of its partition.

    >>> lies_before(Position(topic="t", partition=0, offset=4), {"t/0": 4})
    False
    """
    return position.offset < through.get(place_of(position), 0)


def _place(incident: str, position: Position) -> bytes:
    text = f"{incident}\0{place_of(position)}/{position.offset}"
    return hashlib.sha256(text.encode()).digest()
