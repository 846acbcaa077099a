"""Changes that need a second person: whether somebody else agreed to exactly this one, from what the topics hold.

Nobody's word is taken: the ruling must name reviews that stand on `reviews`, signed by people who may approve, and the
author's own signed proposal must be there too. For commands that put a change in force, and for auditors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from agents.errors import Malformed
from agents.escalation.declared import Escalation
from agents.escalation.rights import APPROVERS
from agents.escalation.signed import Doubt, read, signer_of
from agents.people_events import Incident, IncidentData, Resolution, Review, Ruling, RulingData, shown_digest
from agents.policy.flags import dedup_key
from agents.records import Record, position


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal as it stands."""

    incident: IncidentData
    ruling: RulingData | None = None
    shown: frozenset[str] = frozenset()
    """Digests of its states that pages and commands showed."""

    @property
    def approved(self) -> bool:
        """Whether it was agreed to."""
        return self.ruling is not None and self.ruling.resolution is Resolution.APPROVED


@dataclass(frozen=True, slots=True)
class Granted:
    """An agreement that was checked."""

    incident: str
    author: str
    approvers: tuple[str, ...]
    text: str
    """What changes, in the author's words."""


def change_key(kind: str, incident: str) -> str:
    """The dedup_key of a proposal's incident, and of one that tells that it was approved and could not be put in force.

    >>> change_key("configuration", "7f29-k1mq")
    '["change/configuration",null,null,"7f29-k1mq"]'
    """
    return dedup_key(f"change/{kind}", None, None, incident)


def proposals(incidents: Iterable[Record], rulings: Iterable[Record], kind: str) -> list[Proposed]:
    """The proposals of a kind (`configuration`, …), oldest first; records that break the contract are passed over."""
    known: dict[str, IncidentData] = {}
    shown: dict[str, set[str]] = {}
    for record in incidents:
        try:
            incident = Incident.model_validate_json(record.value or b"").data
        except ValidationError:
            continue
        if incident.proposal is not None and incident.proposal.kind == kind:
            known[incident.incident] = incident
            shown.setdefault(incident.incident, set()).add(shown_digest(incident))
    ruled: dict[str, RulingData] = {}
    for record in rulings:
        try:
            ruling = Ruling.model_validate_json(record.value or b"").data
        except ValidationError:
            continue
        if ruling.resolution is not Resolution.RESPONDED:
            ruled.setdefault(ruling.incident, ruling)
    return [Proposed(incident, ruled.get(name), frozenset(shown[name])) for name, incident in known.items()]


def granted(found: Proposed, reviews: Iterable[Record], escalation: Escalation, prefix: str) -> Granted | str:
    """Whether a proposal may be put in force; where not, why, in a sentence.

    Args:
        found: the proposal with its ruling.
        reviews: records of `reviews`, from the proposal's own on.
        escalation: of the configuration that is in force, whose keys and roles count.
        prefix: the deployment's.
    """
    incident, ruling = found.incident, found.ruling
    proposal = incident.proposal
    if proposal is None:
        return f"{incident.incident} proposes nothing"
    if ruling is None:
        return f"nobody has approved {incident.incident} yet"
    if not found.approved:
        return f"{incident.incident} was {ruling.resolution.value} by {', '.join(ruling.people) or 'nobody'}"
    signed = _signed(reviews, escalation, prefix)
    if not any(
        one.data.action == "propose" and one.data.person == proposal.author and one.data.proposal == proposal
        for one in signed.values()
    ):
        return f"{proposal.author}'s signed proposal of {proposal.digest[:19]} is not on `reviews`"
    role, approvers = APPROVERS[proposal.kind], []
    for place in ruling.reviews:
        review = signed.get(place)
        if review is None:
            return f"the ruling on {incident.incident} names the review {place}, which is not there or not signed as it must be"
        data = review.data
        member = escalation.people.get(data.person)
        if (data.action, data.incident) != ("approve", incident.incident) or member is None or role not in member.roles:
            return f"the review {place} is no approval of {incident.incident} by somebody with the role {role}"
        if data.shown not in found.shown:
            return f"{data.person} approved something else than {proposal.digest[:19]}"
        if data.person == proposal.author:
            return f"{data.person} approved a change of their own"
        approvers.append(data.person)
    if not approvers:
        return f"no review approves {incident.incident}"
    return Granted(incident.incident, proposal.author, tuple(approvers), proposal.text)


def _signed(reviews: Iterable[Record], escalation: Escalation, prefix: str) -> Mapping[str, Review]:
    """Reviews that really are by whom they name, by position; of a console, with a login."""
    found: dict[str, Review] = {}
    for record in reviews:
        try:
            review = read(record, prefix)
        except Malformed:
            continue
        signer = signer_of(review, escalation)
        if not isinstance(signer, Doubt) and (signer.console is None or review.data.login):
            found[position(record)] = review
    return found
