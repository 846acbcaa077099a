"""What an accepted answer makes of an incident: a ruling, or a word that waits until enough people agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.escalation.case import Accepted, Case, Vote, place_of
from agents.escalation.declared import Escalation
from agents.escalation.rights import may_rule, quorum_of
from agents.escalation.scope import covers_all, decisions, in_groups, kind_of, reviewed
from agents.events import Effect, Position
from agents.people_events import Agreement, Resolution, RulingData, Through

__all__ = ["Ruled", "Vote", "rule"]

OUTCOMES: dict[str, tuple[Resolution, Effect]] = {
    "approve": (Resolution.APPROVED, Effect.ALLOW),
    "edit": (Resolution.EDITED, Effect.BLOCK),
    "reject": (Resolution.REJECTED, Effect.BLOCK),
    "respond": (Resolution.RESPONDED, Effect.HOLD),
}
"""How decisions end by each answer, and what becomes of the original: an edited one is withheld, its successor goes out."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """What came of an answer."""

    ruling: RulingData | None
    """None: more people must agree."""
    agreement: Agreement | None
    """Who has agreed so far, where that is not enough yet; beside a ruling: on what it leaves open."""
    votes: tuple[Vote, ...]
    """What waits from now on; the next Case takes them."""
    resolves: bool = False
    """Whether nothing of the incident is left to be answered."""
    in_groups: Mapping[str, int] | None = None
    """What IncidentData.in_groups becomes; None: it stays."""


def rule(case: Case, accepted: Accepted, escalation: Escalation) -> Ruled:
    """What an accepted approve, edit, reject or respond makes of its incident.

    Approvals gather until the chain's quorum of different people agree on the same; one rejection rejects; respond
    rules at once and leaves the decisions held. An answer to more than the bulk limit needs one more person, a
    rejection too. Words count together only where they rest on the same state of the incident, and for what all
    of them cover; what somebody said of more than that waits for others. A rejection stands whatever changes: it
    lets nothing out. Who has lost the role since, or has changed their mind, is not counted.
    """
    data = accepted.data
    if data.action == "respond":
        votes = case.votes
        return Ruled(_ruling(case, [_vote(accepted)]), case.incident.agreement, votes)
    vote = _vote(accepted)
    kept = [one for one in case.votes if _stands(one, vote, case, escalation)]
    needed = _needed(case, vote, escalation)
    agreeing = _together(case, [one for one in kept if _same(one, vote)], vote, needed)
    if len(agreeing) < needed:
        return Ruled(None, _agreement(case, agreeing, needed), (*kept, vote))
    ruling = _ruling(case, agreeing)
    whole = vote.items is None and (case.incident.proposal is not None or covers_all(case, ruling.through))
    left = () if whole else tuple(one for one in (*kept, vote) if _open(one, vote, ruling.through))
    last = [one for one in left if _same(one, left[-1])]
    if len(last) >= needed and last[-1] is vote:  # a further word rules on those: may it be of whoever spoke last
        left, last = left[:-1], last[:-1]
    agreement = _agreement(case, last, _needed(case, last[-1], escalation)) if last else None
    return Ruled(ruling, agreement, left, whole, _in_groups(case, ruling))


def _needed(case: Case, vote: Vote, escalation: Escalation) -> int:
    """How many people must say the same."""
    needed = quorum_of(case).people if vote.action in ("approve", "edit") else 1
    return max(needed, 2) if decisions(case, vote) + in_groups(case, vote) > escalation.bulk.items else needed


def _agreement(case: Case, agreeing: Sequence[Vote], needed: int) -> Agreement:
    people = tuple(one.person for one in agreeing)
    return Agreement(needed=needed, role=quorum_of(case).role, action=agreeing[-1].action, people=people)


def _vote(accepted: Accepted) -> Vote:
    data = accepted.data
    items = None if data.items is None else tuple(sorted(set(data.items), key=lambda one: (place_of(one), one.offset)))
    return Vote(
        person=data.person,
        review=f"{place_of(accepted.position)}/{accepted.position.offset}",
        at_ms=accepted.at_ms,
        action=data.action,
        shown=data.shown,
        through=data.through,
        items=items,
        edit=data.edit,
        reason=data.reason,
        response=data.response,
        kind=data.kind,
        opened=data.opened,
        shown_ms=data.shown_ms,
    )


def _stands(one: Vote, vote: Vote, case: Case, escalation: Escalation) -> bool:
    """Whether an earlier word still counts: not taken back, on the present state, by somebody who may still rule."""
    taken_back = one.person == vote.person and one.items == vote.items
    present = one.shown == vote.shown or one.action == "reject"
    return not taken_back and present and may_rule(one.person, case, escalation)


def _same(one: Vote, other: Vote) -> bool:
    return (one.action, one.edit, one.items) == (other.action, other.edit, other.items)


def _together(case: Case, same: Sequence[Vote], vote: Vote, needed: int) -> list[Vote]:
    """Words that agree with a new one, which comes last: as many as cover some held decision in common, the earliest first."""
    if vote.items is not None or case.waiting(vote.through) == 0:
        return [*same, vote]
    best = [vote]
    for start in range(len(same)):
        found, common = list[Vote](), vote.through
        for one in (*same[start:], *same[:start]):
            both = _common([common, one.through])
            if case.waiting(both):
                found, common = [*found, one], both
        if len(found) + 1 > len(best):
            best = [*(one for one in same if one in found), vote]
        if len(best) >= needed:
            break
    return best


def _open(one: Vote, vote: Vote, through: Through) -> bool:
    """Whether a word still says something when `vote` has ruled as far as `through`."""
    if vote.items is not None or one.items is not None:
        return one.items != vote.items
    return any(end > through.get(place, 0) for place, end in one.through.items())


def _ruling(case: Case, agreeing: Sequence[Vote]) -> RulingData:
    last = agreeing[-1]
    resolution, effect = OUTCOMES[last.action]
    through = _common([one.through for one in agreeing])
    opened = reviewed(case, last.items, through, (place for one in agreeing for place in one.opened))
    return RulingData(
        incident=case.incident.incident,
        resolution=resolution,
        effect=effect,
        keys=case.incident.keys,
        through=through,
        items=last.items,
        edit=last.edit,
        response=last.response,
        reason=_reasons(agreeing),
        people=tuple(one.person for one in agreeing),
        reviews=tuple(one.review for one in agreeing),
        kind=kind_of(_count(case, last.items, through), len(opened), [one.kind for one in agreeing]),
        opened=len(opened),
        shown_ms=min(one.shown_ms for one in agreeing),
    )


def _common(throughs: Sequence[Through]) -> Through:
    """What all of them cover."""
    places = set(throughs[0]).intersection(*throughs[1:])
    return {place: min(one[place] for one in throughs) for place in sorted(places)}


def _count(case: Case, items: Sequence[Position] | None, through: Through) -> int:
    """How many held decisions are ruled on."""
    return len(items) if items is not None else case.waiting(through)


def _in_groups(case: Case, ruling: RulingData) -> dict[str, int] | None:
    """By person, how many of the incident's decisions they have ruled on in groups, this time included."""
    count = _count(case, ruling.items, ruling.through)
    if ruling.kind == "individual" or not count:
        return None
    before = case.incident.in_groups
    return {**before, **{one: before.get(one, 0) + count for one in ruling.people}}


def _reasons(agreeing: Sequence[Vote]) -> str:
    if len(agreeing) == 1:
        return agreeing[0].reason
    return " | ".join(f"{one.person}: {one.reason}" for one in agreeing)[:4000]
