"""What an answer meets: an incident with what was shown and said of it, and the deployment it belongs to.

The escalation agent makes these from what it remembers, for answers.py (does it count?) and quorum.py (does it rule?).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from agents.configuration import Configuration
from agents.escalation.declared import Chain
from agents.events import Digest, Frozen, Id, Milliseconds, Position
from agents.people_events import (
    Action,
    Edit,
    IncidentData,
    Resolution,
    Review,
    ReviewData,
    ReviewKind,
    SilenceData,
    Text,
    Through,
)


class Shown(Protocol):
    """A state of an incident that pages showed."""

    @property
    def digest(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]:
        """What is material, as values that may be told; without text from decisions."""
        ...


class Vote(Frozen):
    """An accepted answer that waits for others to agree."""

    person: Id
    review: str
    """Position of the review on its topic."""
    at_ms: int
    action: Action
    shown: Digest | None = None
    through: Through = {}  # noqa: RUF012 (pydantic copies it)
    items: tuple[Position, ...] | None = None
    edit: Edit | None = None
    reason: Text = ""
    response: Text | None = None
    kind: ReviewKind | None = None
    opened: tuple[Position, ...] = ()
    shown_ms: Milliseconds = 0

    def plain(self) -> dict[str, Any]:
        """JSON values, for a snapshot."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> Self:
        """From `plain`."""
        return cls.model_validate(plain)


@dataclass(frozen=True, slots=True)
class Case:
    """An incident, open or resolved a short while ago, when an answer to it arrives."""

    incident: IncidentData
    chain: Chain
    shown: Sequence[Shown] = ()
    """States that pages showed, as far as they are remembered; the last one is the present."""
    votes: tuple[Vote, ...] = ()
    """Answers that wait for others to agree: what quorum.rule gave back last."""
    covered: Mapping[str, int] = field(default_factory=dict)
    """By partition of decisions: those before this offset were ruled on."""
    answered: Mapping[str, Collection[int]] = field(default_factory=dict)
    """By partition: offsets of single decisions that were ruled on."""
    waiting: Callable[[Through], int] = lambda through: 0
    """How many held decisions before `through` nobody has ruled on; never fewer than there are."""
    holds: Callable[[Position], bool] = lambda position: True
    """Whether a decision is one of the held ones; True also where not all of them are known."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What is left to say of an incident that was resolved long ago."""

    at_ms: int
    resolution: Resolution | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a review is checked against; the clock is the broker's time of the review itself."""

    configuration: Configuration
    """The one in force in the lane."""
    prefix: str
    """The deployment: a review's `source` starts with `/<prefix>/`, so that none counts elsewhere too."""
    find: Callable[[str], Case | Ended | None]
    """Incidents by id."""
    seen: Container[str] = frozenset()
    """The `mark` of every review before this one that got past the check `repeated` (see answers.check)."""
    silences: Mapping[str, SilenceData] = field(default_factory=dict)
    """Silences that stand, by id, for `unsilence`."""
    taken: Container[str] = frozenset()
    """Ids of silences that are remembered: nobody replaces another's."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A review that counts: signed, allowed, in time, and about what it says it is about."""

    review: Review
    position: Position
    at_ms: int
    """The broker's time of the review."""
    keyid: str
    console: str | None = None
    """The console that signed; null: the person's own key."""

    @property
    def data(self) -> ReviewData:
        """What was answered."""
        return self.review.data

    @property
    def mark(self) -> str:
        """What `Context.seen` remembers it by."""
        return mark_of(self.review.data.person, self.review.id)


def mark_of(person: str, review_id: str) -> str:
    """24 hex digits for a person's review id: nobody can use up another's ids.

    >>> mark_of("ann", "01J") == mark_of("ben", "01J")
    False
    """
    return hashlib.sha256(f"{person}\0{review_id}".encode()).hexdigest()[:24]


def place_of(position: Position) -> str:
    """`<topic>/<partition>`, as `through` names partitions."""
    return f"{position.topic}/{position.partition}"
