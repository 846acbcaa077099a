"""What each page shows, as plain frozen data: templates read these and nothing else, so a page is tested without a database.

Times are ms since 1970 UTC, null where there is none; texts are unescaped (templates escape all of them). Whether the viewer
may see something was decided before it got here: a view holds only what may be shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.console.charts import Chart

Pairs = tuple[tuple[str, str], ...]
"""Names and values in order."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One value that a filter can take."""

    value: str
    words: str
    chosen: bool = False
    url: str = ""
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a list: a select of the form."""

    name: str
    label: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Pager:
    """Where one is in a long list; an empty url: no such page."""

    words: str
    previous: str = ""
    next: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An incident in a list."""

    id: str
    title: str
    severity: str
    status: str
    opened_ms: int
    count: int
    waiting: int = 0
    """Held decisions that wait now."""
    resolution: str | None = None
    model: str | None = None
    version: str | None = None
    segment: str | None = None
    team: str | None = None
    people: tuple[str, ...] = ()
    """Names of those whom it is with."""
    mine: bool = False
    deadline_ms: int | None = None
    at_deadline: str = ""
    """What then happens, in words."""
    statutory: bool = False
    """The deadline is the law's."""
    silenced: bool = False
    inhibited_by: str | None = None
    reason: str = ""
    """What its rule says of the first decision, as far as this viewer may read it."""
    counted: str = ""
    """How much there was of it, in words."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """What waits."""

    said: str
    """One sentence: how much waits, and for whom."""
    tabs: tuple[Choice, ...]
    filters: tuple[Filter, ...]
    rows: tuple[Row, ...]
    pager: Pager
    filtered: bool = False
    """Something was filtered away, so that an empty list is no quiet."""
    text: str = ""
    """Words that were looked for."""
    quiet: tuple[str, ...] = ()
    """What quiet means now: sentences."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that triage knows."""

    id: str
    text: str
    kind: str = ""
    source: str = ""
    source_url: str = ""
    cited: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """Triage: what a reviewer is told, by whom, and on what grounds."""

    sentences: str
    """The first two, for the headline."""
    cause: str
    """In words."""
    advice: str
    by_model: str = ""
    """Name of the model that wrote it; empty: it was put together from the facts by rules."""
    cause_text: str = ""
    advice_text: str = ""
    questions: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    checks: tuple[tuple[str, bool, str], ...] = ()
    """(check, passed, detail)."""
    instead: str = ""
    """Why the rules' summary stands although a model was asked."""
    more: str = ""
    """What the summary says after its first two sentences."""
    at_ms: int | None = None
    then: str = ""
    """What has changed since it was written; empty: its figures are today's."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A decision that an incident holds, in its list."""

    position: str
    """`<topic>/<partition>/<offset>`."""
    url: str
    at_ms: int | None
    reason: str = ""
    opened: bool = False
    """This person opened it."""
    ended: str = ""
    """How it ended, in words; empty: it waits."""


@dataclass(frozen=True, slots=True)
class Held:
    """The decisions that an incident holds, a page of them."""

    waiting: int
    ended: int
    opened: int
    rows: tuple[HeldRow, ...]
    pager: Pager
    reason: str = ""
    """Why all of them are held, where that is the same; rows then say what else holds each."""


@dataclass(frozen=True, slots=True)
class Past:
    """An incident like this one."""

    id: str
    url: str
    title: str
    likeness: float
    outcome: str = ""
    reason: str = ""
    """Empty url: the read model does not know it."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the timeline."""

    at_ms: int
    said: str
    by: str = ""
    late_ms: int = 0
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Button:
    """One answer, and what it does."""

    action: str
    """As the API says it: approve, edit, reject, respond."""
    words: str
    """The consequence, in the model's own words."""
    effect: str
    """What happens to the decisions, in a short clause."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What one answer to many decisions needs."""

    limit: int
    sample: int
    opened: int
    """Of the sample, by this person."""
    links: tuple[tuple[str, str, bool], ...]
    """The random sample to open: (words, url, opened)."""
    said: str = ""
    """Where only several answers of this person together are so many: in a sentence."""


@dataclass(frozen=True, slots=True)
class Form:
    """The answer form. Everything hidden is what the page showed, so that the answer is bound to it."""

    action: str
    hidden: Pairs
    buttons: tuple[Button, ...]
    covers: str
    """`412 decisions held until now`."""
    labels: tuple[str, ...] = ()
    """Labels that the result can be changed to; empty with `edit` among the buttons: free text."""
    edit: Button | None = None
    ask: Button | None = None
    bulk: Bulk | None = None
    quorum: str = ""
    """Who else must agree, and who has; empty: one person's word is enough."""


@dataclass(frozen=True, slots=True)
class Act:
    """A single button with its form: take it, hand it back, resolve it."""

    action: str
    words: str
    hidden: Pairs = ()
    reason: bool = False
    """Whether it needs a reason."""
    hours: bool = False
    """Whether it lasts for some hours."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is true of a proposed change now."""

    words: str
    tone: str = ""
    """good, warn, bad, or nothing."""
    url: str = ""
    """Where more is said."""


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident on one page."""

    row: Row
    reason: str
    """The rule's or monitor's own words."""
    facts: Pairs
    told: Told | None
    charts: tuple[Chart, ...]
    held: Held | None
    similar: tuple[Past, ...]
    timeline: tuple[Event, ...]
    form: Form | None
    cannot: str = ""
    """Why this viewer cannot answer; empty with a form, or where nothing is to be answered."""
    acts: tuple[Act, ...] = ()
    previous: str | None = None
    statutory_ms: int | None = None
    proposal: str = ""
    standing: Standing | None = None
    """Of a proposed change."""
    ruling: str = ""
    """How it was ruled, in a sentence."""
    acknowledged: str = ""
    speaks_for: Pairs = ()
    """(title, url) of narrower incidents that this one speaks for."""
    later: str | None = None
    """The incident of the same group after this one."""
    cause: str = ""
    """The rule's, monitor's or fault's id."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule's word on a decision."""

    rule: str
    effect: str
    text: str
    applied: bool = True
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One decision on one page, to read and to print."""

    title: str
    position: str
    outcome: str
    """Where it stands, in a sentence."""
    effect: str
    """allow, log, hold or block: how it stands now."""
    about: Pairs
    inputs: Pairs
    output: Pairs
    texts: Pairs
    """Free text (prompt, generated text): shown as it is, set apart as text from outside."""
    hidden: str
    """What is not shown, and why; empty: everything is."""
    judged: tuple[Judged, ...]
    seen: tuple[Event, ...]
    out: tuple[Event, ...]
    proof: Pairs
    commands: Pairs
    """(what for, command)."""
    incidents: tuple[tuple[str, str], ...] = ()
    """(title, url) of those that hold it."""
    form: Form | None = None
    """To answer this decision alone."""
    following: str = ""
    """The page of the next decision that waits for the same incident; empty: there is none."""
    cannot: str = ""
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True, slots=True)
class BlindView:
    """One released decision, offered for a blind judgement; without a title there is none."""

    said: str
    title: str = ""
    about: Pairs = ()
    inputs: Pairs = ()
    output: Pairs = ()
    texts: Pairs = ()
    hidden: str = ""
    form: Pairs = ()
    """What the form carries; empty: no form."""
