"""The contract's second part: incidents, reviews and rulings (design.md, section 9); told_events.py has the third.

The same rules hold as for agents/events.py: frozen models, `v1` only gains optional fields. Personal data stays out of all
of them: a decision is named by its position, a person who answers by the name that the configuration declares.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from agents.dsse import canonical
from agents.events import (
    CloudEvent,
    Digest,
    Effect,
    Frozen,
    Id,
    Milliseconds,
    Name,
    Offset,
    Position,
    Severity,
)

Text = Annotated[str, StringConstraints(max_length=4_000)]
Moment = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Milliseconds since 1970, UTC, before the year 10000: what has a date."""
Through = dict[str, Offset]
"""`<topic>/<partition>` of decisions → the offset before which decisions are meant."""
REVIEW_KIND = "application/vnd.governance.review.v1+json"
"""The payload type that reviews are signed under."""


class Status(StrEnum):
    """Where an incident stands; it only moves forward."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """How an incident, and each decision that it held, ended."""

    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    RESPONDED = "responded"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


Change = Literal[
    "triggered",
    "grew",
    "worsened",
    "calmed",
    "told",
    "acknowledged",
    "reviewed",
    "answered",
    "overdue",
    "escalated",
    "triaged",
    "inhibited",
    "silenced",
    "resolved",
]


class Source(Frozen):
    """The monitor whose signal an incident is about: the key of its record on `signals`."""

    model: Name
    version: str
    monitor: str
    segment: str | None = None
    group: str | None = None


class Agreement(Frozen):
    """Who has agreed so far, where one person's word is not enough."""

    needed: Annotated[int, Field(ge=1)]
    role: str
    action: str | None = None
    """What they agree to."""
    people: tuple[Id, ...] = ()


class Proposal(Frozen):
    """A change that needs a second person."""

    kind: Literal["configuration", "safeguard", "access"]
    digest: Digest
    """Of what is proposed; the document lies in the blob store, or on its topic."""
    author: Id
    text: Text = ""
    """What changes, in words."""


class IncidentData(Frozen):
    """An incident as it stands after a change: each record on `incidents` is the whole of it."""

    incident: Id
    """Eight letters and digits, from the flag that opened it: `7f29-k1mq`."""
    revision: Annotated[int, Field(ge=0)]
    """0 for the trigger, one more with each record."""
    change: Change
    changes: tuple[Change, ...] = ()
    """Everything that changed in this step, where it was more."""
    said: Text = ""
    """The change in a sentence, for the timeline."""
    by: Id | None = None
    """The person who changed it; null: the agent did."""
    status: Status
    resolution: Resolution | None = None
    severity: Severity
    title: Text
    """One line: what, which model; fit for a lock screen."""
    cause: str
    """The rule, monitor, safeguard or fault of the flag that opened it."""
    model: Name | None = None
    version: str | None = None
    """Null where flags of several versions are one incident."""
    segment: str | None = None
    group: str
    """What its flags have in common: JSON of the `group_by` fields."""
    keys: tuple[str, ...]
    """The dedup_keys of its flags, in order of arrival."""
    reason: Text = ""
    """The rendered reason of the flag that opened it. From decisions, therefore untrusted text."""
    effect: Effect | None = None
    """The strictest effect among its flags; hold: decisions wait."""
    labels: dict[str, str] = Field(default_factory=dict)
    signal: Source | None = None
    team: Name | None = None
    """The team that owns it; null where none is declared."""
    teams: tuple[Name, ...] = ()
    """Teams added since."""
    chain: Name = "default"
    step: int = -1
    """The last step of the chain that was taken; -1: none yet."""
    told: tuple[Id, ...] = ()
    """Who has been told so far."""
    with_: tuple[Id, ...] = Field(default=(), alias="with")
    """Whom it is with now."""
    count: Annotated[int, Field(ge=0)]
    """Decisions that its flags counted; a decision with two causes counts in both."""
    held: Annotated[int, Field(ge=0)] = 0
    """Of these, flagged with the effect hold in mode gate."""
    flags: Annotated[int, Field(ge=0)] = 0
    sample: tuple[Position, ...] = ()
    """At most 20 of the decisions, a uniform sample of those that its flags named (agents/escalation/samples.py)."""
    through: Through = Field(default_factory=dict)
    """The end of the flagged decisions, by partition."""
    opened_ms: int
    first_ms: int
    last_ms: int
    acknowledged_ms: int | None = None
    acknowledged_by: Id | None = None
    resolved_ms: int | None = None
    deadline_ms: int | None = None
    statutory_ms: int | None = None
    late_ms: Annotated[int, Field(ge=0)] = 0
    """How much later than due this change came, after a downtime; 0: in time."""
    previous: Id | None = None
    """The incident of the same group before this one."""
    inhibited_by: Id | None = None
    silenced_by: Id | None = None
    agreement: Agreement | None = None
    in_groups: dict[Id, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """How many of its decisions each person has ruled on by answers that were not individual; they count together."""
    proposal: Proposal | None = None
    triage: Digest | None = None
    """Digest of the triage record that counts."""


class Incident(CloudEvent):
    """An incident; key: its id. Id: `<incident>/<revision>`."""

    type: Literal["governance.incident.v1"] = "governance.incident.v1"
    data: IncidentData


MATERIAL = (
    "status",
    "severity",
    "title",
    "cause",
    "model",
    "version",
    "segment",
    "keys",
    "reason",
    "effect",
    "team",
    "proposal",
)
"""What an answer rests on. Counts and times are not among them: `through` says what an answer covers."""


def shown_digest(incident: IncidentData) -> str:
    """What an answer is bound to: `sha256:<hex>` over the material fields of the incident that was shown.

    Acknowledging is no change that an answer could be wrong about: triggered and acknowledged give the same digest.
    """
    fields = incident.model_dump(mode="json", include=set(MATERIAL))
    fields["status"] = "resolved" if incident.status is Status.RESOLVED else "open"
    return "sha256:" + hashlib.sha256(canonical({"incident": incident.incident, **fields})).hexdigest()


class Edit(Frozen):
    """What replaces parts of a decision's output."""

    label: str | None = None
    score: float | None = None
    text: str | None = None


class Matchers(Frozen):
    """Which incidents a silence is for: every given field must match; at least one must be given."""

    cause: str | None = None
    model: str | None = None
    version: str | None = None
    segment: str | None = None
    team: str | None = None
    severity: Severity | None = None
    incident: str | None = None


class SilenceData(Frozen):
    """Mutes notifications for a while, never evidence (as Alertmanager's silences)."""

    matchers: Matchers
    starts_ms: Moment
    ends_ms: Moment
    comment: Text = ""


Action = Literal[
    "approve",
    "edit",
    "reject",
    "respond",
    "acknowledge",
    "resolve",
    "silence",
    "unsilence",
    "override",
    "propose",
    "label",
]
"""approve … respond answer held decisions; label is a blind judgement of a released one."""
ANSWERS = ("approve", "edit", "reject", "respond")


class OverrideData(Frozen):
    """Somebody takes over another's duty for a while."""

    team: Name
    person: Id
    start_ms: Moment
    end_ms: Moment


ReviewKind = Literal["individual", "sample", "bulk"]
"""Every decision was opened; some of them were; none was. Bulk is never called human review."""


class ReviewData(Frozen):
    """A person's answer, before anybody has checked whether it counts."""

    action: Action
    person: Id
    """As the configuration declares people."""
    login: str | None = None
    """The console's session, as a digest; null where the person signed with a key of their own."""
    incident: Id | None = None
    shown: Digest | None = None
    """`shown_digest` of the incident that the person saw."""
    through: Through = Field(default_factory=dict)
    """Held decisions that the page covered: those before these offsets."""
    items: tuple[Position, ...] | None = None
    """Only these decisions; null: all of the incident up to `through`."""
    edit: Edit | None = None
    response: Text | None = None
    """The question that goes back, with `respond`."""
    reason: Text = ""
    """Why; answers need one."""
    kind: ReviewKind | None = None
    opened: tuple[Position, ...] = ()
    """Decisions that the person opened."""
    shown_ms: Milliseconds = 0
    """How long the page was open."""
    not_after_ms: int | None = None
    """The answer's own expiry: the link's or the form's."""
    silence: SilenceData | None = None
    silence_id: Id | None = None
    override: OverrideData | None = None
    proposal: Proposal | None = None
    decision: Position | None = None
    """The released decision that a blind label is about."""
    agrees: bool | None = None
    """The blind label: whether the person would have let it go out too."""


class Review(CloudEvent):
    """An answer. `dssematerial` is a DSSE envelope in base64 (CloudEvents' extension) over `statement`."""

    type: Literal["governance.review.v1"] = "governance.review.v1"
    dssematerial: str | None = None
    data: ReviewData

    def statement(self) -> dict[str, Any]:
        """What is signed: who says it, its id, and the whole data without what is not given."""
        return {
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "data": self.data.model_dump(mode="json", by_alias=True, exclude_none=True),
        }


class RulingData(Frozen):
    """The accepted result of enough reviews, or of a deadline."""

    incident: Id
    resolution: Resolution
    effect: Effect
    """allow: they go out, as far as this incident's causes are concerned; block: they are withheld; hold: they stay."""
    keys: tuple[str, ...]
    """The dedup_keys that it answers."""
    through: Through = Field(default_factory=dict)
    items: tuple[Position, ...] | None = None
    """Only these decisions; null: every held one before `through`."""
    edit: Edit | None = None
    response: Text | None = None
    reason: Text = ""
    people: tuple[Id, ...] = ()
    reviews: tuple[str, ...] = ()
    """Positions of the reviews on their topic."""
    kind: ReviewKind | None = None
    """Null where nobody reviewed: a deadline."""
    opened: Annotated[int, Field(ge=0)] = 0
    shown_ms: Milliseconds = 0
    late_ms: Annotated[int, Field(ge=0)] = 0


class Ruling(CloudEvent):
    """A ruling; its id is `<incident>/<number>`, its key the incident."""

    type: Literal["governance.ruling.v1"] = "governance.ruling.v1"
    data: RulingData


Refused = Literal[
    "malformed",
    "unsigned",
    "unknown-key",
    "bad-signature",
    "no-login",
    "unknown-person",
    "wrong-role",
    "other-team",
    "requester",
    "unknown-incident",
    "stale",
    "repeated",
    "already-ruled",
    "late",
    "expired",
    "no-reason",
    "not-opened",
    "out-of-scope",
]


class RefusalData(Frozen):
    """A review that takes no effect, and why."""

    review: Position
    """Where it stands on `reviews`."""
    id: str | None = None
    incident: Id | None = None
    person: str | None = None
    """As it claimed."""
    reason: Refused
    detail: Text
    """A sentence for the person."""


class Refusal(CloudEvent):
    """A refusal, on `rulings` beside the rulings; key: the incident, or the review's position."""

    type: Literal["governance.refusal.v1"] = "governance.refusal.v1"
    data: RefusalData
