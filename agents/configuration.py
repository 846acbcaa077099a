"""The configuration: models, sources, calendars, policies, monitors, escalation; one document, one digest, applied whole.

This module says what may stand in it. Reading it from YAML with line numbers is configuration_yaml.py; what a condition
means is policy/conditions.py. The canonical document leaves out what equals its default, so that a later version of the
software with new optional settings does not change the digest of an old configuration.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import date, time
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from agents.escalation.declared import Escalation, Triage
from agents.events import Digest, Effect, Mode, ModelVersion, Name, Severity
from agents.strict import DAY_S, Seconds, Strict, Zone

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PER = {"hour": 1.0, "day": 24.0, "week": 168.0, "month": 730.5, "year": 8766.0}  # hours


class ReferenceFaults(ValueError):
    """Names in a configuration that lead nowhere, or are taken twice: (path, what is wrong), all of them."""

    def __init__(self, faults: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{'.'.join(map(str, path))}: {problem}" for path, problem in faults))


class Feature(Strict):
    """One input of a model. Short form: `limit_bal: numeric`, or `numeric?` where it may be missing."""

    type: Literal["numeric", "categorical"]
    missing: bool = False
    """True where the feature may be absent or null."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"type": value.removesuffix("?"), "missing": value.endswith("?")}
        return value


class Label(Strict):
    """One thing a model can say, and what it means to a person."""

    favourable: bool = False
    meaning: str = ""
    """In plain words, for buttons and messages: `the client gets the limit`."""


class Caller(Strict):
    """Who may call a model."""

    topic: str | None = None
    """A topic that only this caller may write (by ACL): records from there have `caller_verified`."""


class Outcome(Strict):
    """One thing that may really happen after a decision."""

    positive: bool = False
    """True where it is what a right favourable decision leads to: repaid, hired and stayed."""


def alarm_every_ms(text: str) -> float:
    """`1 per year` as milliseconds between two; raises ValueError with the mend.

    >>> alarm_every_ms("2 per day")
    43200000.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s+per\s+(hour|day|week|month|year)\s*", text)
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is no rate of false alarms; write for example `1 per year` or `2 per month`")
    return _PER[found[2]] * 3_600_000.0 / float(found[1])


def _rate(text: str) -> str:
    alarm_every_ms(text)
    return text


class Model(Strict):
    """A declared model: what its decisions look like, and how they are governed."""

    kind: Literal["prediction", "generation", "action"] = "prediction"
    """What its decisions carry: an output label or score, a generated text, or a proposed action."""
    domain: Literal["credit", "employment", "insurance", "housing", "other"] = "other"
    mode: Mode = Mode.OBSERVE
    clock: Literal["broker", "event"] = "broker"
    """Whose clock calendars and windows follow. `event` is for replays and demos."""
    max_skew: Seconds = 300.0
    """Under `clock: broker`, a producer's time further off than this marks the decision. Seconds, or `5m`."""
    versions: tuple[ModelVersion, ...] = ()
    """Known versions; a decision of another one has `model.version_declared` false."""
    features: dict[str, Feature] = Field(default_factory=dict)
    labels: dict[str, Label] = Field(default_factory=dict)
    """Empty: any label. Otherwise another label makes the decision malformed."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Protected attributes and their groups; monitors use them, policies never see them."""
    callers: dict[str, Caller] = Field(default_factory=dict)
    """Allowed callers; a decision of another one has `caller_declared` false."""
    calendar: Name | None = None
    false_alarms: Annotated[str, AfterValidator(_rate)] = "1 per year"
    """The budget: how often all its monitors together may be wrong to raise an alarm, in time that people live in."""
    arl: Annotated[float, Field(ge=1)] | None = None
    """The budget in decisions between two false alarms instead; for studies and tests."""
    subject_period: Literal["day", "week", "month", "year", "none"] = "month"
    """A subject's decisions count once in such a calendar period (UTC, in the model's clock); `none`: each counts."""
    groups_in_events: bool = False
    """True: protected attributes may also come as `data.groups` of a decision; the topic `attributes` goes first."""
    outcomes: dict[str, Outcome] = Field(default_factory=dict)
    """What may really happen later, by name; empty: no outcomes are joined."""
    label_maturity: Seconds = 0.0
    """How long after its decision an outcome may take to be known; only decisions older than that are compared."""
    profile: Digest | None = None
    """Digest of the profile that its decisions are compared with (`govern profile fit`)."""
    answers: dict[Literal["approve", "reject", "edit", "respond"], str] = Field(default_factory=dict)
    """What an answer to a held decision means for the business, for buttons: `reject: withhold, a loan officer decides`."""

    @field_validator("outcomes", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {name: {} for name in value} if isinstance(value, list | tuple) else value

    @property
    def alarm_every_ms(self) -> float:
        """`false_alarms` as milliseconds between two of them."""
        return alarm_every_ms(self.false_alarms)

    @field_validator("callers", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return {name: {} for name in value} if isinstance(value, list | tuple) else value


class Hours(Strict):
    """Open from `start` until before `end` (local wall-clock time; 24:00 as end is midnight)."""

    start: time
    end: time
    """00:00 as an end means midnight at the end of the day."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            found = re.fullmatch(r"\s*(\d\d?:\d\d)\s*-\s*(\d\d?:\d\d)\s*", value)
            if not found:
                raise ValueError(f"{value!r} is not a span of hours; write for example 08:00-18:00")
            start, end = (part.zfill(5) for part in found.groups())
            return {"start": start, "end": "00:00" if end == "24:00" else end}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end != time(0) and self.end <= self.start:
            raise ValueError("ends before it starts; split a span that crosses midnight into two days")
        return self


class Calendar(Strict):
    """When business is open."""

    zone: Zone
    """IANA name, for example Asia/Taipei."""
    hours: dict[str, tuple[Hours, ...]]
    """By weekday (`mon` … `sun`, or a range such as `mon-fri`); a day not named is closed."""
    holidays: str | None = None
    """Country, or country and subdivision, of public holidays: `TW`, `DE-BY`."""
    closed: tuple[date, ...] = ()
    open: tuple[date, ...] = ()
    """Holidays or closed days on which business is open all the same, by that weekday's hours."""

    @field_validator("hours", mode="before")
    @classmethod
    def _spread(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        days: dict[str, Any] = {}
        for name, spans in value.items():
            first, dash, last = str(name).partition("-")
            if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
                raise ValueError(f"{name!r} is no weekday; use {', '.join(WEEKDAYS)} or a range such as mon-fri")
            start, stop = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
            for index in range(start, stop + 1 if stop >= start else stop + 8):
                days[WEEKDAYS[index % 7]] = spans if isinstance(spans, list | tuple) else [spans]
        return {day: days[day] for day in WEEKDAYS if day in days}


class Source(Strict):
    """An existing topic read as decisions: field paths into its JSON; the original bytes are kept."""

    topic: str
    """Full name of the topic, as it is in Kafka."""
    format: Literal["json", "kserve"] = "json"
    model: str
    """A declared model's name, or `$.path` to it."""
    version: str = "$.model.version"
    """A literal version, or `$.path`."""
    source: str
    """A literal CloudEvents source, or `$.path`."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Contract field (`id`, `time`, `subject`, `caller`, `features.x`, `output.score` …) → `$.path`."""


class RuleTest(Strict):
    """An inline test of a rule: given columns, which effect the rule has (`allow`: it does not match)."""

    given: dict[str, Any]
    """Columns by name; `time` sets the decision's time; what is not given is null."""
    expect: Effect | Literal["unknown"]


def _within_a_day(value: float) -> float:
    if value > DAY_S:
        raise ValueError("longer than a day; a monitor with slower counts says what lasts longer")
    return value


Lasting = Annotated[Seconds, AfterValidator(_within_a_day)]
"""For how long signals have to be remembered: the topic `signals` is compacted after days only."""


class Rule(Strict):
    """A named condition with an effect."""

    id: Name
    when: str
    """A SQL boolean expression over `govern policy columns`."""
    effect: Effect
    on_unknown: Effect | None = None
    """The effect where the condition cannot be evaluated (null); by default the rule's own: fail closed."""
    severity: Severity = Severity.WARNING
    team: str | None = None
    reason: str = ""
    """A template with column names in braces; data, never evaluated."""
    for_: Lasting = Field(default=0.0, alias="for")
    """How long the condition must have been true under the signals that stood; seconds, or `5m`. At most a day."""
    keep_firing_for: Lasting = 0.0
    """How long the rule goes on matching after the condition was last true (for as long as `for` says). At most a day."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Free key/value labels, copied to flags."""
    tests: tuple[RuleTest, ...] = ()


class Match(Strict):
    """Which decisions a policy is for; every given field must match. Empty: all."""

    model: Name | tuple[Name, ...] | None = None
    version: ModelVersion | tuple[ModelVersion, ...] | None = None
    caller: str | tuple[str, ...] | None = None
    purpose: str | tuple[str, ...] | None = None
    domain: str | tuple[str, ...] | None = None


class Policy(Strict):
    """A file of rules."""

    policy: Name
    description: str = ""
    mode: Literal["enforce", "audit", "disabled"] = "enforce"
    """`audit`: evaluated and recorded, not applied. `disabled`: not evaluated."""
    match: Match = Match()
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        seen: set[str] = set()
        for rule in self.rules:
            if rule.id in seen:
                raise ValueError(f"rule id {rule.id!r} stands twice in policy {self.policy!r}")
            seen.add(rule.id)
        return self


class Configuration(Strict):
    """All that an operator decides, as one document."""

    models: dict[Name, Model] = Field(default_factory=dict)
    undeclared: Name | None = None
    """The declared model that stands in for undeclared ones (a catch-all); null: they are dead-lettered."""
    duplicate_window: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Records of a partition within which the same (source, id) is a duplicate or a conflict."""
    sources: tuple[Source, ...] = ()
    calendars: dict[Name, Calendar] = Field(default_factory=dict)
    policies: tuple[Policy, ...] = ()
    monitors: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    escalation: Escalation = Escalation()
    triage: Triage = Triage()

    @model_validator(mode="after")
    def _referenced(self) -> Self:
        faults: list[tuple[tuple[str | int, ...], str]] = []
        for name, model in self.models.items():
            if model.calendar is not None and model.calendar not in self.calendars:
                faults.append((("models", name, "calendar"), f"calendar {model.calendar!r} is not declared"))
        if self.undeclared is not None and self.undeclared not in self.models:
            faults.append((("undeclared",), f"{self.undeclared!r} is not a declared model"))
        names = [policy.policy for policy in self.policies]
        for index, name in enumerate(names):
            if name in names[:index]:
                faults.append((("policies", index, "policy"), f"policy {name!r} stands twice; rename one"))
        faults += [(("escalation", *path), problem) for path, problem in self.escalation.loose_ends(self.calendars)]
        features = {name for model in self.models.values() for name in model.features}
        faults += [(("triage", *path), problem) for path, problem in self.triage.loose_ends(features)]
        if faults:
            raise ReferenceFaults(faults)
        return self

    def document(self) -> dict[str, Any]:
        """The canonical document: JSON values only, defaults left out."""
        return self.model_dump(mode="json", exclude_defaults=True, by_alias=True)

    def digest(self) -> str:
        """`sha256:<hex>` of the canonical document's canonical bytes."""
        return "sha256:" + hashlib.sha256(canonical(self.document())).hexdigest()


def canonical(value: Any) -> bytes:
    """Canonical JSON bytes: keys sorted, no spaces, UTF-8, no NaN.

    >>> canonical({"b": 1, "a": "ü"})
    b'{"a":"\\xc3\\xbc","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
