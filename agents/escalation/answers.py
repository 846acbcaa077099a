"""Whether a review counts: every check in the design's order, the first that speaks against it named, with a sentence.

    case.py     what an answer meets: Case, Context; and what it becomes: Accepted
    answers.py  check(record, context) -> Accepted | RefusalData; mark(…) for what must not come twice
    quorum.py   rule(case, accepted, escalation) -> Ruled: does it rule, or wait for somebody to agree?
    samples.py  gather(…) keeps an incident's sample; sample_of(…) says what must be opened

Promise to the escalation agent: whatever the bytes are, `check` raises nothing, and the same inputs give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from agents.errors import Malformed
from agents.escalation.case import Accepted, Case, Context, Ended, mark_of
from agents.escalation.rights import RULES, foreign, requesters, roles_for
from agents.escalation.scope import already, not_opened, out_of_scope, rejected, stale
from agents.escalation.signed import Doubt, claims, read, signer_of
from agents.events import Position
from agents.people_events import ANSWERS, RefusalData, Refused, Resolution, Review, ReviewData, Status
from agents.records import Record

__all__ = ["ORDER", "Accepted", "Case", "Context", "Ended", "check", "mark"]

ON_INCIDENTS = (*ANSWERS, "acknowledge", "resolve")
"""Actions that are about an incident."""
_BY_PEOPLE = (Resolution.APPROVED, Resolution.EDITED, Resolution.REJECTED)


@dataclass(frozen=True, slots=True)
class Asked:
    """A review that was signed by whom it names, and what it meets."""

    review: Review
    console: str | None
    at_ms: int
    found: Case | Ended | None
    context: Context

    @property
    def data(self) -> ReviewData:
        return self.review.data

    @property
    def case(self) -> Case | None:
        """The incident, as long as its answers can count."""
        return self.found if isinstance(self.found, Case) else None


def check(record: Record, context: Context) -> Accepted | RefusalData:
    """Whether a record of `reviews` counts; where it does not, the first reason in the order of the design."""
    position = Position(topic=record.topic, partition=record.partition, offset=record.offset)
    try:
        review = read(record, context.prefix)
    except Malformed as error:
        return RefusalData(review=position, reason="malformed", detail=str(error)[:4000], **claims(record))
    signer = signer_of(review, context.configuration.escalation)
    if isinstance(signer, Doubt):
        return _refused(position, review, signer.reason, signer.detail)
    found = context.find(review.data.incident) if review.data.incident is not None else None
    asked = Asked(review, signer.console, record.timestamp, found, context)
    for reason, speaks_against in CHECKS:
        detail = speaks_against(asked)
        if detail is not None:
            return _refused(position, review, reason, detail)
    return Accepted(review, position, record.timestamp, signer.keyid, signer.console)


def mark(found: Accepted | RefusalData) -> str | None:
    """What to add to `Context.seen` after a review; None where it was not shown to be the word of whom it names.

    So nobody can use up another's ids, and what was refused once (stale, say) stays refused when it is sent again.
    """
    if isinstance(found, Accepted):
        return found.mark
    if ORDER.index(found.reason) <= ORDER.index("repeated") or found.id is None or found.person is None:
        return None
    return mark_of(found.person, found.id)


def _login(asked: Asked) -> str | None:
    if asked.console is None or (asked.data.login or "").strip():
        return None
    return f"the console {asked.console} signed without a login: sign in, then answer"


def _person(asked: Asked) -> str | None:
    if asked.data.person in asked.context.configuration.escalation.people:
        return None
    return f"the configuration declares no person {asked.data.person}; it belongs under escalation.people"


def _repeated(asked: Asked) -> str | None:
    if mark_of(asked.data.person, asked.review.id) in asked.context.seen:
        return "this answer was given before: each has an id of its own"
    return None


def _expired(asked: Asked) -> str | None:
    end = asked.data.not_after_ms
    return (
        None
        if end is None or asked.at_ms <= end
        else f"the link or form expired at {_when(end)}; open the incident again"
    )


def _unknown_incident(asked: Asked) -> str | None:
    if asked.data.incident is None:
        return f"{asked.data.action} names no incident" if asked.data.action in ON_INCIDENTS else None
    return f"there is no incident {asked.data.incident}" if asked.found is None else None


def _role(asked: Asked) -> str | None:
    roles = roles_for(asked.data, asked.case)
    if isinstance(asked.found, Ended) and asked.data.action in ON_INCIDENTS:
        return None  # whose it was is not remembered; that it is over comes next
    member = asked.context.configuration.escalation.people[asked.data.person]
    if any(role in member.roles for role in roles):
        return None
    return f"{asked.data.action} needs the role {' or '.join(roles)}; you are {', '.join(member.roles) or 'without a role'}"


def _team(asked: Asked) -> str | None:
    return foreign(asked.data, asked.case, asked.context)


def _requester(asked: Asked) -> str | None:
    if asked.case is None or asked.data.action not in RULES or asked.data.person not in requesters(asked.case.incident):
        return None
    return "you asked for this yourself: somebody else has to answer it"


def _already_ruled(asked: Asked) -> str | None:
    if asked.data.action not in ON_INCIDENTS:
        return None
    if isinstance(asked.found, Ended):
        return _over(asked.found, people=True)
    if asked.case is None:
        return None
    incident = asked.case.incident
    if incident.status is Status.RESOLVED:
        return _over(_end_of(asked.case), people=True)
    if asked.data.action == "acknowledge" and incident.acknowledged_by is not None:
        return f"{incident.acknowledged_by} acknowledged it before you, at {_when(incident.acknowledged_ms)}"
    escalation = asked.context.configuration.escalation
    return already(asked.case, asked.data) or rejected(asked.case, asked.data, escalation)


def _late(asked: Asked) -> str | None:
    if asked.data.action not in ON_INCIDENTS:
        return None
    if isinstance(asked.found, Ended):
        return _over(asked.found, people=False)
    if asked.case is None:
        return None
    incident, chain = asked.case.incident, asked.case.chain
    if incident.status is Status.RESOLVED:
        return _over(_end_of(asked.case), people=False)
    ends = incident.deadline_ms if chain.at_deadline in ("release", "withhold") else None
    if ends is not None and asked.at_ms > ends and asked.data.action in ANSWERS:
        done = "released" if chain.at_deadline == "release" else "withheld"
        return f"the deadline was {_when(ends)}: what waited is {done} as the chain says"
    return None


def _stale(asked: Asked) -> str | None:
    return stale(asked.case, asked.data) if asked.case is not None else None


def _scope(asked: Asked) -> str | None:
    if asked.data.action == "silence" and asked.review.id in asked.context.taken:
        return "there is a silence with this id; give yours another"
    return out_of_scope(asked.data, asked.case, asked.context, asked.at_ms)


def _reason(asked: Asked) -> str | None:
    data = asked.data
    if data.action in ANSWERS and not data.reason.strip():
        return f"{data.action} needs a reason: it goes with the ruling"
    if data.action == "silence" and not (data.reason.strip() or (data.silence and data.silence.comment.strip())):
        return "a silence needs a comment that says why"
    return None


def _opened(asked: Asked) -> str | None:
    if asked.case is None:
        return None
    return not_opened(asked.case, asked.data, asked.context.configuration.escalation.bulk)


CHECKS: tuple[tuple[Refused, Callable[[Asked], str | None]], ...] = (
    ("no-login", _login),
    ("unknown-person", _person),
    ("repeated", _repeated),
    ("expired", _expired),
    ("unknown-incident", _unknown_incident),
    ("wrong-role", _role),
    ("other-team", _team),
    ("requester", _requester),
    ("already-ruled", _already_ruled),
    ("late", _late),
    ("stale", _stale),
    ("out-of-scope", _scope),
    ("no-reason", _reason),
    ("not-opened", _opened),
)
"""What is asked of a review once it is known whose word it is; each returns a sentence where it speaks against it."""
ORDER: tuple[Refused, ...] = (
    "malformed",
    "unsigned",
    "unknown-key",
    "bad-signature",
    *(reason for reason, _ in CHECKS),
)
"""Every reason, in the order of the checks."""


def _end_of(case: Case) -> Ended:
    incident = case.incident
    return Ended(incident.resolved_ms or incident.last_ms, incident.resolution, incident.by)


def _over(ended: Ended, *, people: bool) -> str | None:
    """What to tell where an incident is over; `people`: where somebody's answer ended it, else where nobody's did."""
    answered = ended.resolution in _BY_PEOPLE
    if answered is not people:
        return None
    who = f" by {ended.by}" if ended.by else ""
    if answered and ended.resolution is not None:
        return f"it was {ended.resolution.value}{who} at {_when(ended.at_ms)}, before your answer came"
    how = {Resolution.EXPIRED: "its deadline passed", Resolution.CANCELLED: f"it was called off{who}"}
    told = how.get(ended.resolution, f"it was resolved{who}") if ended.resolution else f"it was resolved{who}"
    return f"{told} at {_when(ended.at_ms)}, before your answer came"


def _refused(position: Position, review: Review, reason: Refused, detail: str) -> RefusalData:
    return RefusalData(
        review=position,
        id=review.id,
        incident=review.data.incident,
        person=review.data.person,
        reason=reason,
        detail=detail[:4000],
    )


def _when(ms: int | None) -> str:
    if ms is None or not 0 <= ms < 253_402_300_800_000:
        return "an unknown time"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
