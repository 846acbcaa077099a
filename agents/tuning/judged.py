"""What people judged, as tuning may use it: each decision with whether holding it was warranted, and how much it stands for.

Left out, because they would teach the wrong thing: bulk answers (nobody looked), deadlines (nobody answered), answers about
fairness (a threshold for groups of people is no matter of how often reviewers agreed), questions that went back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from agents.people_events import Resolution


@dataclass(frozen=True, slots=True)
class Judged:
    """One decision that a person looked at."""

    position: str
    """`<topic>/<partition>/<offset>`."""
    time_ms: int
    """When it was decided on by the person, UTC."""
    model: str
    rules: tuple[str, ...]
    """The rules (`<policy>/<rule id>`) that held it; none: it was released, and sampled for blind review."""
    warranted: bool
    """True where a person withheld or changed it (or, blind, would have)."""
    weight: float
    """Decisions that it stands for: one over the probability with which it was chosen for review."""
    row: Mapping[str, object] = field(default_factory=dict)
    """Columns of the decision by name; empty where its bytes have expired."""

    @property
    def blind(self) -> bool:
        """True where it was released and judged without the reviewer knowing what the rules said."""
        return not self.rules

    @property
    def alone(self) -> bool:
        """True where one rule held it: without that rule it would have gone out."""
        return len(self.rules) == 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One ruling about held decisions, as far as tuning asks."""

    resolution: Resolution
    kind: str | None
    """individual, sample or bulk; None: a deadline."""
    covered: int
    """Held decisions that it covered."""
    opened: int
    """Of these, how many a person opened."""
    fairness: bool
    """True where it answered a rule about groups of people."""


WARRANTED = {Resolution.REJECTED: True, Resolution.EDITED: True, Resolution.APPROVED: False}


def usable(answer: Answer) -> str | None:
    """Why an answer teaches nothing; None where it does.

    >>> usable(Answer(Resolution.APPROVED, "bulk", 500, 5, False))
    'bulk'
    """
    if answer.kind is None or answer.resolution is Resolution.EXPIRED:
        return "expired"
    if answer.resolution not in WARRANTED:
        return "asked back"
    if answer.kind == "bulk":
        return "bulk"
    return "fairness" if answer.fairness else None


def weight_of(answer: Answer) -> float:
    """How many decisions each opened one stands for (inverse probability): covered ÷ opened under `sample`, else 1."""
    if answer.kind != "sample" or answer.opened <= 0:
        return 1.0
    return max(1.0, answer.covered / answer.opened)


def halves(judged: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Earlier and later judgements, split at the median time: a proposal is fitted on the one and judged on the other.

    Judgements of the same moment stay together, so that one answer never stands on both sides.
    """
    ordered = sorted(judged, key=lambda one: (one.time_ms, one.position))
    if len(ordered) < 2:
        return ordered, []
    middle = ordered[len(ordered) // 2].time_ms
    earlier = [one for one in ordered if one.time_ms < middle]
    return earlier, [one for one in ordered if one.time_ms >= middle]


def about(judged: Sequence[Judged], rule: str, models: Collection[str]) -> list[Judged]:
    """Those that a rule held, and the blind ones of the models that it is for."""
    return [one for one in judged if one.model in models and (one.blind or rule in one.rules)]
