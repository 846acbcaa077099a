"""What an operator declares of people: who they are, who is asked when, by which channel, and what happens at deadlines.

It is part of the configuration, so who may rule on what is evidence. Secrets never stand here: a channel names one, and
the process that sends reads it from its environment (`GOVERN_SECRET_<NAME>`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from agents.dsse import parse_public
from agents.events import Name, Severity
from agents.strict import Seconds, Strict, Zone

Role = Literal["viewer", "reviewer", "author", "auditor", "admin"]
Person = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._@-]*$")]
PublicKey = Annotated[str, AfterValidator(lambda text: parse_public(text).text)]
"""`ed25519:<base64 of the 32 bytes>`."""
Path = tuple[str | int, ...]
Times = tuple[datetime, datetime]


class Member(Strict):
    """A person; what may be done is by role, what is seen by team."""

    name: str
    """As shown to others."""
    roles: tuple[Role, ...] = ("viewer",)
    """viewer sees; reviewer answers; author proposes changes; auditor sees evidence; admin manages accounts."""
    email: str | None = None
    contacts: dict[Name, str] = Field(default_factory=dict)
    """By channel: a Slack user id, a PagerDuty key, … where it is not the e-mail address."""
    keys: tuple[PublicKey, ...] = ()
    """Public keys that this person signs answers with outside the console (`govern key new`)."""


class Override(Strict):
    """Somebody else is on call for a while."""

    person: Person
    start: datetime
    end: datetime

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("times need a zone, for example 2026-03-02T08:00:00+08:00")
        if self.end <= self.start:
            raise ValueError("ends before it starts")
        return self


class OnCall(Strict):
    """A rotation: one after the other, handing over every `turn` from `start` on."""

    rotation: Annotated[tuple[Person, ...], Field(min_length=1)]
    start: datetime
    """When the first one's first turn began, with its zone."""
    turn: Literal["day", "week"] = "week"
    """Turns change at the wall-clock time of `start` in `zone`, also where clocks change."""
    zone: Zone = "UTC"
    overrides: tuple[Override, ...] = ()

    @field_validator("start")
    @classmethod
    def _zoned(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("needs a zone, for example 2026-03-02T08:00:00+08:00")
        return value


class Team(Strict):
    """People who answer together."""

    members: tuple[Person, ...] = ()
    calendar: Name | None = None
    """One of the configuration's calendars: outside its hours what `only_when_open` says waits."""
    on_call: OnCall | None = None
    channels: tuple[Name, ...] = ()
    """Where the team as a whole is told: a Slack channel, a mailing list."""
    open_items: Annotated[int, Field(ge=1)] = 25
    """The fatigue guard: a person with so many open incidents is passed over, and the message says so."""


class Step(Strict):
    """Who is told when, counted from the incident's trigger."""

    after: Seconds = 0.0
    tell: tuple[str, ...] = ("on_call",)
    """`on_call`, `members`, `team` (the team's channels), `role:<role>` (members with it), `team:<name>` (another
    team's on-call person), or a person."""
    channels: tuple[Name, ...] = ()
    """By which channels people are told; empty: the first one that reaches them."""
    only_when_open: bool = False
    """Wait for the team's business hours."""


class Quorum(Strict):
    """How many people must agree that a held decision goes out."""

    people: Annotated[int, Field(ge=1, le=9)] = 1
    role: Role = "reviewer"


AtDeadline = Literal["release", "withhold", "escalate"]


class Chain(Strict):
    """What happens from trigger to answer."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1)] = (Step(),)
    group_wait: Seconds = 0.0
    """The first message waits so long, so that it can say how many."""
    repeat_interval: Seconds = 4 * 3600.0
    """While it is triggered and nobody has acknowledged, the last step is repeated so often; 0: never."""
    quorum: Quorum = Quorum()
    deadline: Seconds | None = None
    """By when held decisions need an answer, from the trigger on."""
    at_deadline: AtDeadline | None = None
    """What then happens to them. There is no default: it must be said where there is a deadline."""
    statutory_deadline: Seconds | None = None
    """What the law allows, for example 30d; the page counts it down."""
    warn_before: Seconds = 86_400.0
    """So long before the statutory deadline the chain starts again at its first step, whoever has acknowledged."""

    @model_validator(mode="after")
    def _said(self) -> Self:
        if (self.deadline is None) != (self.at_deadline is None):
            raise ValueError(
                "`deadline` and `at_deadline` go together: say when, and whether held decisions are then "
                "released, withheld or escalated (at_deadline: release, withhold or escalate)"
            )
        if list(self.steps) != sorted(self.steps, key=lambda step: step.after):
            raise ValueError("steps must stand in the order of `after`")
        return self


class Route(Strict):
    """Which team and chain an incident gets: the first route whose every field matches. Empty match: all."""

    cause: str | tuple[str, ...] | None = None
    """The id of a rule, monitor, safeguard or fault; `policy/*` matches all of a policy."""
    model: Name | tuple[Name, ...] | None = None
    team: str | tuple[str, ...] | None = None
    """What the rule named."""
    severity: Severity | tuple[Severity, ...] | None = None
    open: bool | None = None
    """Whether the team's calendar is open at the trigger."""
    labels: dict[str, str] = Field(default_factory=dict)
    to: Name
    """A team."""
    chain: Name = "default"


Grouping = Literal["cause", "model", "version", "segment"]


class Channel(Strict):
    """One way to reach people. `secret` names what the sender reads from GOVERN_SECRET_<NAME>."""

    kind: Literal["email", "slack", "teams", "pagerduty", "webhook"]
    url: str | None = None
    """slack, teams, webhook: where to post; pagerduty: the events API where it is not PagerDuty's own; email: smtp://host:port
    (smtps://, or smtp+starttls://). `secret:<name>`: the URL itself is a secret, as incoming webhooks' are."""
    secret: Name | None = None
    """email: `user:password`; slack: the bot token or nothing; pagerduty: the routing key; webhook: the HMAC key."""
    signing: Name | None = None
    """slack: the secret that signs interactive answers."""
    sender: str | None = None
    """email: the From address."""
    to: str | None = None
    """A mailing list or a Slack channel, for messages to a whole team."""
    least: Severity = Severity.INFO
    """Incidents below this severity do not go here."""
    only_when_open: bool = False
    allow_private: bool = False
    """True: may post to a loopback or private address. Without it such a URL is refused (SSRF)."""


class BulkLimit(Strict):
    """When one answer to many decisions needs more than one person's word."""

    items: Annotated[int, Field(ge=1)] = 100
    """More held decisions than this in one answer: a second person must agree, and a random sample be opened."""
    sample: Annotated[int, Field(ge=0)] = 5
    """How many of a random sample must have been opened."""


DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Digest(Strict):
    """When each model's week is told on one page to the team that a route with the cause `digest`, or its model, names."""

    day: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "monday"
    """The week told of is the one from Monday to Sunday that ended before."""
    at: str = "08:00"
    """Wall-clock time in `zone`."""
    zone: Zone = "UTC"
    """Also where weeks begin and end."""

    @field_validator("at")
    @classmethod
    def _time_of_day(cls, value: str) -> str:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value, re.ASCII):
            raise ValueError(f"{value!r} is no time of day; write for example 08:00")
        return value


class Escalation(Strict):
    """All that is declared of people. Empty: incidents are made and shown, nobody is told, nobody can answer."""

    people: dict[Person, Member] = Field(default_factory=dict)
    teams: dict[Name, Team] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    default_team: Name | None = None
    """Where no route matches and the rule names no team; by default the only or first one."""
    chains: dict[Name, Chain] = Field(default_factory=dict)
    group_by: tuple[Grouping, ...] = ("cause", "model", "version", "segment")
    """Flags that agree in these are one incident; all four: each dedup_key is its own."""
    channels: dict[Name, Channel] = Field(default_factory=dict)
    console_keys: dict[Name, PublicKey] = Field(default_factory=dict)
    """Public keys of consoles, which sign what signed-in people answer there."""
    console_url: str | None = None
    """Where the console is reached, for links in messages."""
    bulk: BulkLimit = BulkLimit()
    blind_sample: Annotated[float, Field(ge=0, le=1)] = 0.005
    """Share of released decisions that are offered for blind review; they are never delayed."""
    resolve_after: Seconds = 3600.0
    """An alarm or warning that a monitor took back this long ago resolves its incident by itself; 0: never."""
    second_person: tuple[Literal["configuration", "safeguard", "access"], ...] = ()
    """Changes that need a second person's approval: so far the configuration's."""
    digest: Digest | None = None
    """A message a model and week. Not declared: none is sent, and the pages are there all the same."""

    def loose_ends(self, calendars: Collection[str]) -> list[tuple[Path, str]]:
        """Names that lead nowhere: (path, what is wrong)."""
        found: list[tuple[Path, str]] = []

        def check(path: Path, name: str | None, among: Collection[str], what: str) -> None:
            if name is not None and name not in among:
                known = f"; there are {', '.join(sorted(among))}" if among else ""
                found.append((path, f"{what} {name!r} is not declared{known}"))

        for name, team in self.teams.items():
            here: Path = ("teams", name)
            check((*here, "calendar"), team.calendar, calendars, "calendar")
            for index, person in enumerate(team.members):
                check((*here, "members", index), person, self.people, "person")
            for index, channel in enumerate(team.channels):
                check((*here, "channels", index), channel, self.channels, "channel")
            if team.on_call is not None:
                turns = (*team.on_call.rotation, *(one.person for one in team.on_call.overrides))
                for person in turns:
                    check((*here, "on_call"), person, self.people, "person")
        for index, route in enumerate(self.routes):
            check(("routes", index, "to"), route.to, self.teams, "team")
            check(("routes", index, "chain"), route.chain, {*self.chains, "default"}, "chain")
        check(("default_team",), self.default_team, self.teams, "team")
        for name, chain in self.chains.items():
            for number, step in enumerate(chain.steps):
                here = ("chains", name, "steps", number)
                for channel in step.channels:
                    check((*here, "channels"), channel, self.channels, "channel")
                for told in step.tell:
                    problem = self._untold(told)
                    if problem:
                        found.append(((*here, "tell"), problem))
        for person, member in self.people.items():
            for contact in member.contacts:
                check(("people", person, "contacts", contact), contact, self.channels, "channel")
        return [*found, *self._shared_keys(), *self._too_few()]

    def _shared_keys(self) -> list[tuple[Path, str]]:
        """Public keys that stand for two: nobody could tell one person's word from another's."""
        owners: dict[str, str] = {}
        found: list[tuple[Path, str]] = []
        named: list[tuple[Path, str, str]] = [
            (("people", person, "keys"), person, key) for person, member in self.people.items() for key in member.keys
        ]
        named += [(("console_keys", name), f"the console {name}", key) for name, key in self.console_keys.items()]
        for path, owner, key in named:
            if owners.setdefault(key, owner) != owner:
                found.append((path, f"this key is {owners[key]}'s too; each has one of its own (`govern key new`)"))
        return found

    def _too_few(self) -> list[tuple[Path, str]]:
        """Agreements that nobody could ever reach."""

        def having(role: Role) -> int:
            return sum(role in member.roles for member in self.people.values())

        found: list[tuple[Path, str]] = []
        for name, chain in self.chains.items():
            wanted, there = chain.quorum, having(chain.quorum.role)
            if wanted.people > max(there, 1):
                problem = f"{wanted.people} people with the role {wanted.role} must agree, and there are {there}"
                found.append((("chains", name, "quorum"), problem))
        for kind in self.second_person:
            if kind != "configuration":
                problem = (
                    f"nothing asks for a second person where {kind} changes, so far; only configuration can be declared"
                )
                found.append((("second_person",), problem))
            elif having("author") < 2:
                problem = "a change needs two people with the role author: nobody could ever change it again"
                found.append((("second_person",), problem))
            elif (why := self._unsigned()) is not None:
                found.append((("second_person",), why))
        return found

    def _unsigned(self) -> str | None:
        """Why two authors could not sign a change; proposing takes a key of one's own, agreeing that or a console."""
        signing = [name for name, member in self.people.items() if "author" in member.roles and member.keys]
        if len(signing) > 1 or (signing and self.console_keys):
            return None
        never = "nobody could ever change it again: declare"
        if not signing:
            return f"no author has `keys`, so nobody can propose a change, and {never} those of `govern key new --person NAME`"
        return (
            f"only {signing[0]} can sign a change, and {never} `keys` of another author (`govern key new --person NAME`), "
            "or `console_keys` (`govern key new --console`)"
        )

    def _untold(self, told: str) -> str:
        kind, _, name = told.partition(":")
        if told in ("on_call", "members", "team") or told in self.people:
            return ""
        if kind == "role" and name in ("viewer", "reviewer", "author", "auditor", "admin"):
            return ""
        if kind == "team" and name in self.teams:
            return ""
        return f"{told!r} is nobody; use on_call, members, team, role:<role>, team:<name> or a person"


class FieldPolicy(Strict):
    """Whether text of a feature or a prompt may reach an LLM."""

    allow: bool = False
    length: Annotated[int, Field(ge=1, le=2000)] = 200
    """Characters of it at most."""


class Triage(Strict):
    """Summaries for reviewers. Without `model` the deterministic summary stands alone."""

    model: str | None = None
    """As LangChain's init_chat_model takes it: `openai:gpt-…`, `anthropic:claude-…`, `ollama:…`."""
    base_url: str | None = None
    """An OpenAI-compatible server (vLLM, a gateway, a local one)."""
    secret: Name | None = None
    """The API key: read from GOVERN_SECRET_<NAME>."""
    fallbacks: tuple[str, ...] = ()
    """Other models, tried in this order where the first fails."""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0, "max_tokens": 700})
    timeout: Seconds = 20.0
    retries: Annotated[int, Field(ge=0, le=5)] = 2
    requests_per_minute: Annotated[float, Field(gt=0)] = 30.0
    tokens_per_day: Annotated[int, Field(ge=0)] = 500_000
    """Beyond this the deterministic summary stands until midnight, UTC."""
    method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema"
    fields: dict[str, FieldPolicy] = Field(default_factory=dict)
    """By column (`features.<name>`, `prompt`, `output.text`): text that may go along. Others go as category, length, digest."""
    similar: Annotated[int, Field(ge=0, le=10)] = 3
    """So many similar past incidents are shown with their rulings."""

    def loose_ends(self, features: Collection[str]) -> list[tuple[Path, str]]:
        """Field policies for columns that no model has: (path, what is wrong)."""
        texts = ("prompt", "output.text", "output.label", "caller", "purpose", "action.tool", "model.version")
        known = {*texts, "output.score", "output.confidence", *(f"features.{name}" for name in features)}
        told = f"; use features.<name>, {', '.join(texts)}, output.score or output.confidence"
        return [
            (("fields", name), f"no model has a column {name!r}{told}") for name in self.fields if name not in known
        ]
