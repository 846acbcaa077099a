"""What the pages beside the queue show, as plain frozen data (as views.py): models, flow, rules, evidence, people, figures."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from orchestration.console.pages.views import Act, Choice, Pairs


@dataclass(frozen=True, slots=True)
class SignalRow:
    """What a monitor says now."""

    monitor: str
    about: str
    """Group or segment; empty: all of the traffic."""
    metric: str
    status: str
    estimate: str
    """With its interval."""
    n: str
    strength: str
    since_ms: int | None = None
    text: str = ""
    trend: Markup | str = ""


@dataclass(frozen=True, slots=True)
class VersionHealth:
    """A model's version at a glance."""

    version: str
    worst: str
    said: str
    first_ms: int | None
    last_ms: int | None
    counts: tuple[tuple[str, str, int], ...]
    """(effect, words, decisions), since it was first seen."""
    signals: tuple[SignalRow, ...]
    fine: int = 0
    """Signals that are fine and left out of `signals`."""
    rest: tuple[SignalRow, ...] = ()
    declared: bool = True
    more: tuple[SignalRow, ...] = ()
    """Further alarms and warnings of monitors whose strongest one is among `signals`."""


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """A model with its versions, the newest first."""

    name: str
    mode: str
    said: str
    lag: str
    versions: tuple[VersionHealth, ...]
    orders: tuple[str, ...] = ()
    """Safeguards in force, in words."""
    week: str = ""
    """Where the page of its last week is."""


@dataclass(frozen=True, slots=True)
class ModelsView:
    """Health of everything that decides."""

    models: tuple[ModelHealth, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """Verdicts of one effect over time."""

    effect: str
    words: str
    per_second: float
    total: int
    line: Markup


@dataclass(frozen=True, slots=True)
class Flow:
    """One model's verdicts now."""

    model: str
    mode: str
    streams: tuple[Stream, ...]
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LiveView:
    """What goes through now."""

    window: str
    flows: tuple[Flow, ...]


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule and how often it was found."""

    id: str
    when: str
    effect: str
    severity: str
    team: str
    reason: str
    day: int
    week: int
    unknown: int = 0
    """Of the week's, those where it could not be evaluated."""
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A file of rules."""

    name: str
    description: str
    mode: str
    match: str
    rules: tuple[RuleRow, ...]
    changed_ms: int | None = None
    changed_by: str = ""


@dataclass(frozen=True, slots=True)
class PoliciesView:
    """The rules in force."""

    policies: tuple[PolicyRow, ...]
    digest: str = ""
    applied_ms: int | None = None
    applied_by: str = ""


@dataclass(frozen=True, slots=True)
class LogRow:
    """An evidence log's newest signed head."""

    origin: str
    size: int
    at_ms: int | None
    root: str
    published: str = ""


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """What an outsider can check."""

    logs: tuple[LogRow, ...]
    anchor: str
    """Where checkpoints are published, in a sentence."""
    verifier: str
    """The public key, or where it is found."""
    commands: Pairs


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """A silence."""

    id: str
    what: str
    by: str
    comment: str
    starts_ms: int
    ends_ms: int
    active: bool
    end: Act | None = None


@dataclass(frozen=True, slots=True)
class SilencesView:
    """What is muted."""

    rows: tuple[SilenceRow, ...]
    past: tuple[SilenceRow, ...]
    action: str = ""
    """Where the form posts; empty: the viewer may not add any."""
    hidden: Pairs = ()
    causes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    cannot: str = ""


@dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody of a team."""

    name: str
    roles: str
    open: int = 0
    """Open incidents that are with this person."""
    on_call: bool = False
    person: str = ""
    """As the configuration declares people."""


@dataclass(frozen=True, slots=True)
class TeamRow:
    """A team and who is on call."""

    name: str
    people: tuple[Colleague, ...]
    now: str = ""
    until_ms: int | None = None
    then: str = ""
    hours: str = ""
    """Whether its calendar is open, in words."""
    take: Act | None = None
    """To take over the duty; None: the viewer may not."""


@dataclass(frozen=True, slots=True)
class PeopleView:
    """Who answers."""

    teams: tuple[TeamRow, ...]


@dataclass(frozen=True, slots=True)
class StatRow:
    """Figures of one rule or monitor, ready to show."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatBlock:
    """A table of figures."""

    title: str
    said: str
    head: tuple[str, ...]
    rows: tuple[StatRow, ...]


@dataclass(frozen=True, slots=True)
class StatsView:
    """How the watching itself does."""

    window: str
    windows: tuple[Choice, ...]
    figures: tuple[tuple[str, str, str], ...]
    """(name, figure, note)."""
    blocks: tuple[StatBlock, ...] = field(default=())
    weeks: Pairs = ()
    """(model, address) of the pages of the last week."""


@dataclass(frozen=True, slots=True)
class WeekRow:
    """Something that was in a week."""

    text: str
    at_ms: int | None = None
    url: str = ""
    kind: str = ""
    """Of a signal alarm or warn, of an incident its severity."""
    state: str = ""
    """Of an incident, in words."""


@dataclass(frozen=True, slots=True)
class WeekView:
    """A model's week on one page."""

    model: str
    week: str
    """As ISO 8601 names it."""
    verdict: str
    """`a quiet week`, `not a quiet week`."""
    days: str
    quiet: bool
    figures: tuple[tuple[str, str, str], ...]
    """(name, figure, note)."""
    became: Pairs
    line: Markup | str = ""
    """Decisions by day."""
    gaps: tuple[str, ...] = ()
    gaps_more: str = ""
    incidents: tuple[WeekRow, ...] = ()
    incidents_more: str = ""
    monitors: tuple[WeekRow, ...] = ()
    monitors_more: str = ""
    changes: tuple[WeekRow, ...] = ()
    changes_more: str = ""
    earlier: str = ""
    later: str = ""
