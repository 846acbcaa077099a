"""The contract's third part: what people are told, triage and notifications (design.md, section 9).

The same rules hold as for agents/events.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from agents.events import CloudEvent, Digest, Frozen, Id, Milliseconds, Name, Position, Severity, Share
from agents.people_events import Resolution, Text


class FactData(Frozen):
    """One thing that triage knows, as it is displayed; summaries cite it by its id."""

    id: Annotated[str, StringConstraints(pattern=r"^f[0-9]{1,3}$")]
    kind: Literal[
        "count",
        "rule",
        "signal",
        "before_after",
        "feature",
        "segment",
        "sample",
        "change",
        "similar",
        "deadline",
        "held",
    ]
    text: Text
    """A sentence with its figures, n and intervals."""
    values: dict[str, float | str | None] = Field(default_factory=dict)
    """The same for machines."""
    source: str = ""
    """Where it comes from: a signal's id, an incident, a rule, a configuration's digest."""


class Similar(Frozen):
    """A past incident like this one."""

    incident: Id
    likeness: Share
    """Cosine of TF-IDF vectors."""
    title: Text
    resolution: Resolution | None = None
    reason: Text = ""


CauseKind = Literal[
    "bias",
    "data_drift",
    "model_change",
    "misuse",
    "data_quality",
    "operations",
    "attack",
    "policy_too_strict",
    "single_case",
    "unknown",
]
Advice = Literal[
    "review_held",
    "approve_held",
    "reject_held",
    "quarantine_version",
    "fall_back",
    "pause_caller",
    "fix_data",
    "tune_rule",
    "investigate",
    "watch",
]


class Check(Frozen):
    """One check of a model's answer."""

    check: str
    passed: bool
    detail: Text = ""


class Usage(Frozen):
    """What an LLM was asked with, and what it cost."""

    model: str
    prompt: Digest
    """Of the prompt file."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    raw: Digest | None = None
    """The raw answer, in the blob store."""
    input_tokens: int = 0
    output_tokens: int = 0
    took_ms: Milliseconds = 0
    attempts: int = 1


class Allowed(Frozen):
    """What an LLM may say of this incident instead; its answer is refused where it says anything else."""

    causes: tuple[CauseKind, ...]
    actions: tuple[Advice, ...]
    severities: tuple[Severity, ...]
    """As it is, and at most one step more."""
    teams: tuple[Name, ...] = ()
    """That it may add."""


class TriageData(Frozen):
    """What a reviewer is told of one incident."""

    incident: Id
    revision: Annotated[int, Field(ge=0)]
    """Of the incident that it speaks of."""
    by: Literal["deterministic", "model"]
    summary: Text
    """Two or three sentences."""
    cause: CauseKind
    cause_text: Text = ""
    severity: Severity
    action: Advice
    action_text: Text = ""
    teams: tuple[Name, ...] = ()
    """To add."""
    questions: tuple[Text, ...] = ()
    cites: tuple[str, ...] = ()
    """Facts that the summary rests on."""
    facts: tuple[FactData, ...] = ()
    similar: tuple[Similar, ...] = ()
    usage: tuple[Usage, ...] = ()
    checks: tuple[Check, ...] = ()
    instead: Text | None = None
    """Why the deterministic summary stands where a model was asked."""
    allowed: Allowed | None = None
    """Of a deterministic record: what it leaves open."""
    sample: tuple[Position, ...] = ()
    """Decisions to open first."""


class TriageEvent(CloudEvent):
    """A triage record; key: the incident. Id: `<incident>/<revision>/<by>`."""

    type: Literal["governance.triage.v1"] = "governance.triage.v1"
    data: TriageData


class NotificationData(Frozen):
    """A message to be sent: recorded first, sent at least once with its dedup key."""

    incident: Id
    """Of a weekly digest `digest/<model>/<week>`: it stands for no incident."""
    kind: Literal["trigger", "acknowledge", "resolve", "escalate", "remind", "overdue", "digest", "question"]
    channel: Name
    to: tuple[Id, ...] = ()
    """People; empty: the channel's own `to`."""
    team: Name | None = None
    severity: Severity
    title: Text
    lines: tuple[Text, ...] = ()
    """What, how bad, how many wait, by when, what to do. No personal data."""
    deadline_ms: int | None = None
    path: str = "/"
    """The page on the console."""
    dedup: str
    """The same for all messages of an incident: what PagerDuty calls dedup_key."""


class Notification(CloudEvent):
    """A notification; key and id: `<incident>/<revision>/<channel>/<number>`."""

    type: Literal["governance.notification.v1"] = "governance.notification.v1"
    data: NotificationData


class DeliveryData(Frozen):
    """What became of a notification."""

    notification: str
    channel: Name
    outcome: Literal["sent", "retrying", "failed", "skipped"]
    """failed: given up; a dead channel is flagged, and the incident goes to another channel. skipped: never sent, because
    it no longer mattered (the incident was resolved before it could go out)."""
    attempts: Annotated[int, Field(ge=0)]
    """0 for what was skipped."""
    detail: Text = ""
    """What came back, without addresses and secrets."""
    took_ms: Milliseconds = 0
    reference: str | None = None
    """What the channel calls the message, where later ones of the incident answer it (Slack's `ts`)."""


class Delivery(CloudEvent):
    """A delivery, on `notifications` beside what it is about; key: the notification's id."""

    type: Literal["governance.delivery.v1"] = "governance.delivery.v1"
    data: DeliveryData
