"""What an answer is about: that it rests on what the incident is now, and reaches no further than what was flagged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agents.escalation.case import Case, Context, Vote, place_of
from agents.escalation.declared import BulkLimit, Escalation
from agents.escalation.rights import RULES, labels_of, may_rule
from agents.escalation.samples import lies_before, sample_of
from agents.events import Position
from agents.people_events import ANSWERS, Edit, ReviewData, ReviewKind, Through, shown_digest

MOST_WAITING = 50
"""Answers of one person to single decisions of an incident that wait for others to agree."""
_WORDS = {
    "severity": "its severity is {now} (it was {then})",
    "effect": "its decisions are now: {now} (before: {then})",
    "team": "it is with {now} (before: {then})",
    "version": "it is about version {now} (before: {then})",
    "segment": "it is about segment {now} (before: {then})",
    "status": "it is {now}",
    "keys": "it has {now} causes (it had {then})",
    "title": "its title changed",
}


def decisions(case: Case, data: ReviewData | Vote) -> int:
    """How many held decisions an answer is about; never fewer than there are."""
    return len(set(data.items)) if data.items is not None else case.waiting(data.through)


def in_groups(case: Case, data: ReviewData | Vote) -> int:
    """How many the same person has ruled on in groups, which count together with an answer that is to a group, too.

    So several small answers are no way around the bulk limit. One to decisions that were each opened is none of them.
    """
    opened = reviewed(case, data.items, data.through, data.opened)
    if kind_of(decisions(case, data), len(opened), [data.kind]) == "individual":
        return 0
    return case.incident.in_groups.get(data.person, 0)


def kind_of(count: int, opened: int, claimed: Iterable[ReviewKind | None]) -> ReviewKind:
    """How an answer to so many was made, by how many were opened: all, some, or none.

    One that its incident's page shows needs no opening.

    >>> kind_of(3, 3, []), kind_of(3, 1, []), kind_of(3, 0, []), kind_of(1, 0, [None]), kind_of(1, 0, ["bulk"])
    ('individual', 'sample', 'bulk', 'individual', 'bulk')
    """
    if opened and opened >= count:
        return "individual"
    if opened:
        return "sample"
    return "individual" if count <= 1 and "bulk" not in claimed else "bulk"


def grouped(count: int, before: int, limit: int) -> str:
    """In a sentence that several answers to groups are above the limit together.

    >>> grouped(15, 40, 50)
    "you have ruled 40 of this incident's decisions in groups; with these 15 that is above 50"
    """
    return f"you have ruled {before:,} of this incident's decisions in groups; with these {count:,} that is above {limit:,}"


def covers_all(case: Case, through: Through) -> bool:
    """Whether nothing that was flagged until now lies beyond `through`."""
    return case.incident.held == 0 or all(through.get(place, 0) >= end for place, end in case.incident.through.items())


def stale(case: Case, data: ReviewData) -> str | None:
    """What changed since the page showed the incident; None where the answer rests on the present state."""
    if data.action not in ANSWERS and not (data.action == "resolve" and data.shown is not None):
        return None
    if data.shown is None:
        return "the answer does not say what you saw (`shown`); open the incident and answer there"
    if data.shown == shown_digest(case.incident):
        return None
    then = next((state.fields for state in case.shown if state.digest == data.shown), None)
    if then is None:
        return "you answered something that this incident did not show lately; look at it again"
    told = "; ".join(_changed(then, case.shown[-1].fields))
    return f"the incident changed since you looked: {told or 'what was said of it'}. Look at it again, then answer"


def already(case: Case, data: ReviewData) -> str | None:
    """Which of these decisions somebody has ruled on; or that this person's word is known."""
    if data.action not in ANSWERS:
        return None
    if data.items is not None:
        done = [one for one in data.items if _ruled(case, one)]
        return f"{_named(done)} of these decisions had an answer before yours" if done else None
    if data.through and all(case.covered.get(place, 0) >= end for place, end in data.through.items()):
        return "these decisions had an answer before yours; what came after them is not part of it"
    for vote in case.votes:
        same = (vote.person, vote.action, vote.shown, vote.edit) == (data.person, data.action, data.shown, data.edit)
        if same and vote.items is None and vote.through == data.through:
            return f"you have said so already ({vote.action}); it waits for somebody else to agree"
    return None


def rejected(case: Case, data: ReviewData, escalation: Escalation) -> str | None:
    """Who has rejected some of what an answer would let go out, and waits for a second person; one rejection rejects."""
    if data.action not in ("approve", "edit"):
        return None
    for vote in case.votes:
        against = vote.action == "reject" and vote.person != data.person and may_rule(vote.person, case, escalation)
        if against and _in_common(case, vote, data):
            return (
                f"{vote.person} has rejected these decisions, and waits for somebody else to agree: "
                f"reject them as well, or let {vote.person} answer otherwise"
            )
    return None


def _in_common(case: Case, vote: Vote, data: ReviewData) -> bool:
    """Whether two answers are about some decision that nobody has ruled on."""
    if vote.items is None and data.items is None:
        places = set(vote.through) & set(data.through)
        return case.waiting({place: min(vote.through[place], data.through[place]) for place in sorted(places)}) > 0
    if vote.items is None or data.items is None:
        items, through = (vote.items, data.through) if vote.items is not None else (data.items, vote.through)
        both = [one for one in items or () if lies_before(one, through)]
    else:
        both = sorted(set(vote.items) & set(data.items), key=lambda one: (place_of(one), one.offset))
    return any(not _ruled(case, one) for one in both)


def out_of_scope(data: ReviewData, case: Case | None, context: Context, at_ms: int) -> str | None:
    """What is missing from an answer, or reaches beyond what it may be about."""
    if data.action in ANSWERS and case is not None:
        return _answer(data, case, context)
    if data.action == "resolve" and case is not None:
        return _resolve(data, case)
    if data.action == "silence":
        return _silence(data, at_ms)
    if data.action == "unsilence" and data.silence_id not in context.silences:
        return "there is no such silence, or it has ended; `govern silence list` shows those that stand"
    if data.action == "override":
        return _override(data, context, at_ms)
    if data.action == "propose":
        if data.proposal is None:
            return "propose without `proposal`"
        if data.proposal.author != data.person:
            return f"the author of a proposal is who signs it: {data.person}, not {data.proposal.author}"
    if data.action == "label" and (data.decision is None or data.agrees is None):
        return "label needs `decision`, and `agrees`: true or false"
    return None


def not_opened(case: Case, data: ReviewData, bulk: BulkLimit) -> str | None:
    """Which decisions of the random sample are still to be opened, where an answer is about more than the bulk limit."""
    count, before = decisions(case, data), in_groups(case, data)
    if data.action not in RULES or count + before <= bulk.items:
        return None
    wanted = sample_of(case.incident, data.through, bulk.sample, data.items)
    left = [one for one in wanted if one not in set(data.opened)]
    if not left:
        return None
    named = ", ".join(f"{place_of(one)}/{one.offset}" for one in left)
    if before:
        told = grouped(count, before, bulk.items)
        return f"{told}: somebody else must agree, and you open these of a random sample first: {named}"
    return f"this answers {count:,} decisions at once; open these of a random sample first: {named}"


def reviewed(
    case: Case, items: Iterable[Position] | None, through: Through, opened: Iterable[Position]
) -> set[Position]:
    """Which opened decisions belong to what an answer is about, and had no answer before."""
    among = None if items is None else set(items)
    mine = (one for one in opened if (lies_before(one, through) if among is None else one in among))
    return {one for one in mine if not _ruled(case, one)}


def _answer(data: ReviewData, case: Case, context: Context) -> str | None:
    incident = case.incident
    if data.action == "respond" and not (data.response or "").strip():
        return "respond without a question (`response`)"
    if data.action == "edit":
        problem = _edit(data.edit, labels_of(context.configuration, incident.model))
        if problem or incident.held == 0:
            return problem or "there is no held decision to edit"
    elif data.edit is not None:
        return f"{data.action} with an edit; the action for it is edit"
    known = incident.through
    beyond = [place for place, end in data.through.items() if place not in known or end > known[place]]
    if beyond:
        return f"`through` reaches beyond what was flagged on {', '.join(sorted(beyond)[:3])[:300]}"
    more = _too_many(data, case, context.configuration.escalation.bulk)
    if more:
        return more
    if data.items is not None:
        held = case.holds if incident.held else lambda _: True
        outside = [one for one in data.items if not (lies_before(one, incident.through) and held(one))]
        if outside or not data.items:
            return (
                f"{_named(outside)} of `items` were not flagged, or not held"
                if outside
                else "`items` is empty: name decisions, or leave it out"
            )
    elif case.waiting(incident.through) > 0 and case.waiting(data.through) == 0:
        return "the answer does not say which held decisions it is for: `through`, or `items`"
    return None


def _too_many(data: ReviewData, case: Case, bulk: BulkLimit) -> str | None:
    """Answers to single decisions wait for others in an incident's memory, which has an end."""
    if data.items is None or (data.action == "reject" and decisions(case, data) + in_groups(case, data) <= bulk.items):
        return None
    mine = [one for one in case.votes if one.person == data.person and one.items is not None]
    if (
        data.action == "respond"
        or len(mine) < MOST_WAITING
        or any(set(one.items or ()) == set(data.items) for one in mine)
    ):
        return None
    return f"{len(mine)} of your answers here wait for others to agree; let them, or answer for all at once"


def _edit(edit: Edit | None, labels: tuple[str, ...]) -> str | None:
    if edit is None or (edit.label is None and edit.score is None and edit.text is None):
        return "edit without a new label, score or text"
    if edit.label is not None and labels and edit.label not in labels:
        return f"the model has no such label; it has {', '.join(labels)[:300]}"
    return None


def _resolve(data: ReviewData, case: Case) -> str | None:
    proposal = case.incident.proposal
    if proposal is not None and proposal.author != data.person:
        return f"only {proposal.author} can take this proposal back; approve or reject it"
    waiting = case.waiting(case.incident.through)
    return f"{waiting:,} held decisions wait for an answer: approve or reject them" if waiting else None


def _silence(data: ReviewData, at_ms: int) -> str | None:
    if data.silence is None or not data.silence.matchers.model_dump(exclude_none=True):
        return "a silence needs at least one matcher: cause, model, version, segment, team, severity or incident"
    return _ends(data.silence.starts_ms, data.silence.ends_ms, at_ms)


def _override(data: ReviewData, context: Context, at_ms: int) -> str | None:
    if data.override is None:
        return "override without `override`: team, person, start_ms, end_ms"
    escalation = context.configuration.escalation
    if data.override.team not in escalation.teams:
        return f"there is no team {data.override.team}; there are {', '.join(escalation.teams)[:300]}"
    if data.override.person not in escalation.people:
        return f"the configuration declares no person {data.override.person}"
    return _ends(data.override.start_ms, data.override.end_ms, at_ms)


def _ends(start_ms: int, end_ms: int, at_ms: int) -> str | None:
    if end_ms <= start_ms:
        return "it ends before it starts"
    return "it has ended already" if end_ms <= at_ms else None


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        _WORDS[name].format(now=_shown(now.get(name)), then=_shown(then.get(name)))
        for name in _WORDS
        if then.get(name) != now.get(name)
    ]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _ruled(case: Case, one: Position) -> bool:
    return lies_before(one, dict(case.covered)) or one.offset in case.answered.get(place_of(one), ())


def _named(some: list[Position]) -> str:
    first = f"{place_of(some[0])}/{some[0].offset}" if some else ""
    return first[:300] if len(some) == 1 else f"{len(some)} (first: {first[:300]})"
