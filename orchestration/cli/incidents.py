"""`govern incidents …`: what is open, what one incident is about, taking it, and closing it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agents.errors import Misconfigured
from agents.events import Severity
from agents.triage.fields import spoken
from orchestration.cli import answering, reading
from orchestration.cli.reading import ago, due, lasting, safe, several, severity_text
from orchestration.reading.incident import Incident, incident
from orchestration.reading.queries import Filters, Listed, Queue, queue

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, show, take and close incidents.")
Name = Annotated[str, typer.Argument(metavar="ID", help="The incident, or how its id begins.", show_default=False)]
STATUSES = ("triggered", "acknowledged", "resolved")
LATEST = 12
"""Lines of the timeline that are shown unless all are asked for."""


@app.command("list")
def list_incidents(
    status: Annotated[
        list[str] | None, typer.Option(help="triggered, acknowledged or resolved; may be repeated.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Resolved ones too, and those a wider one speaks for.")
    ] = False,
    team: Annotated[str | None, typer.Option(help="Of this team.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="This severe or worse.")] = None,
    mine: Annotated[str | None, typer.Option(metavar="PERSON", help="Those that are with this person.")] = None,
    text: Annotated[str | None, typer.Option(help="Words of title, reason, cause or id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List open incidents, the nearest deadline first.

    Example: govern incidents list --team risk --severity error

    Example: govern incidents list --all --json | jq .title
    """
    wrong = [one for one in status or () if one not in STATUSES]
    if wrong:
        raise Misconfigured(f"no incident is {wrong[0]!r}; they are {', '.join(STATUSES)}")
    chosen = tuple(status) if status else () if everything else Filters().status
    filters = Filters(
        status=chosen,
        team=team,
        model=model,
        severity=None if severity is None else severity.value,
        person=mine,
        text=text,
        inhibited=everything,
        limit=limit,
    )
    found = queue(reading.opened(reading.connected()), filters)
    if as_json:
        for one in found.items:
            reading.tell(asdict(one))
        return
    _print(found, everything or bool(status))


@app.command()
def show(
    name: Name,
    timeline: Annotated[bool, typer.Option("--timeline", help="Every line of the timeline.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show one incident: what happened, the summary with its facts, what waits, answers, and how to answer.

    Example: govern incidents show 7f29-k1mq
    """
    found = incident(reading.opened(reading.connected()), name)
    if as_json:
        reading.tell(document(found))
    else:
        print_incident(reading.screen(), found, whole=timeline)


@app.command()
def ack(
    name: Name,
    reason: answering.Reason = "",
    person: answering.Who = None,
    key: answering.Key = None,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """Take an incident: others are no longer told again and again. Taking it twice changes nothing.

    Example: govern incidents ack 7f29-k1mq
    """
    settings = reading.connected()
    who, private = answering.signer(settings, person, key)
    found = incident(reading.opened(settings), name)
    if (found.line.status, found.line.acknowledged_by) == ("acknowledged", who):
        text = f"you have it already: taken {ago(found.line.acknowledged_ms, reading.now_ms())}"
        told = {"action": "acknowledge", "person": who, "incident": found.line.id, "outcome": "effective", "text": text}
        if as_json:
            reading.tell(told)
        else:
            typer.echo(text)
        return
    data = {"action": "acknowledge", "person": who, "incident": found.line.id, "shown": found.shown, "reason": reason}
    answering.answered(settings, data, private, wait=wait, as_json=as_json)


@app.command()
def resolve(
    name: Name,
    reason: answering.Reason = "",
    real: Annotated[
        bool | None, typer.Option("--real/--false-alarm", help="Whether there was a problem; precision counts it.")
    ] = None,
    person: answering.Who = None,
    key: answering.Key = None,
    yes: answering.Yes = False,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """Close an incident that no held decision waits for; held ones are answered with `govern review`.

    Example: govern incidents resolve 7f29-k1mq --real --reason "the feed was repaired, ticket 812"
    """
    answering.needed(reason, "govern incidents resolve ID")
    settings = reading.connected()
    who, private = answering.signer(settings, person, key)
    found = incident(reading.opened(settings), name)
    if not as_json:
        reading.screen().print(headline(found.line, reading.now_ms()))
    answering.confirmed("Close it?", yes)
    data: dict[str, Any] = {"action": "resolve", "person": who, "incident": found.line.id, "shown": found.shown}
    answering.answered(settings, data | {"reason": reason, "agrees": real}, private, wait=wait, as_json=as_json)


# -- as JSON -----------------------------------------------------------------------------------------------------------


def document(found: Incident) -> dict[str, Any]:
    """An incident for scripts: the line of the list, the whole of the event's data, and what belongs to it."""

    def plain(value: Any) -> Any:
        return None if value is None else value.model_dump(mode="json", by_alias=True, exclude_none=True)

    return {
        **asdict(found.line),
        "data": plain(found.data),
        "triage": plain(found.triage),
        "deterministic": plain(found.deterministic),
        "held_by_resolution": dict(found.held.ended),
        "timeline": [asdict(one) for one in found.timeline],
        "answers": [asdict(one) for one in found.answers],
        "rulings": [{**asdict(one), "data": plain(one.data)} for one in found.rulings],
        "messages": [asdict(one) for one in found.messages],
        "signal": None if found.signal is None else plain(found.signal.data),
        "similar": [{**plain(one), "status": line.status if line else None} for one, line in found.similar],
        "later": [one.id for one in found.later],
        "inhibits": [one.id for one in found.inhibits],
    }


# -- on a screen -------------------------------------------------------------------------------------------------------


def _print(found: Queue, resolved: bool) -> None:
    out, now = reading.screen(), reading.now_ms()
    if not found.items:
        out.print("no incident is open" if not resolved else "no incident matches")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True)
    table.add_column("due", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("waiting", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold", ratio=1)
    for one in found.items:
        when = Text(one.resolution or "resolved", style="green") if one.status == "resolved" else due(one.due_ms, now)
        what = safe(one.title, 200, "" if one.status == "triggered" else "dim")
        if one.people:
            what.append("  ").append(safe(", ".join(one.people), 80, "cyan"))
        table.add_row(one.id, when, severity_text(one.severity), f"{one.waiting:,}" if one.waiting else "", what)
    out.print(table)
    more = f"{len(found.items)} of {found.total:,}; " if len(found.items) < found.total else ""
    out.print(f"\n{more}look: govern incidents show {found.items[0].id}", style="dim")


def headline(line: Listed, now: int) -> Text:
    """Severity, title, and where it stands, in a line or two."""
    told = Text().append(severity_text(line.severity)).append("  ").append(safe(line.title, 300, "bold"))
    stands = line.status if line.resolution is None else f"{line.status}: {line.resolution}"
    told.append(f"\n{line.id}  {stands}  ", style="dim").append(
        due(line.due_ms if line.status != "resolved" else None, now)
    )
    return told


def print_incident(out: Console, found: Incident, *, whole: bool = False) -> None:
    """The whole incident, for a terminal of any width."""
    now, line = reading.now_ms(), found.line
    out.print(headline(line, now), end="\n\n")
    if line.reason:
        out.print(Padding(safe(line.reason, 600, "italic"), (0, 0, 0, 2)))
    out.print(_facts(found, now))
    _print_triage(out, found)
    _print_answers(out, found, now)
    _print_timeline(out, found, now, whole)
    _print_next(out, line)


def _facts(found: Incident, now: int) -> Table:
    line = found.line
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    model = " ".join(part for part in (line.model, line.version, line.segment) if part)
    seen = f"{several(line.count, 'decision')}, first {ago(line.first_ms, now)}, last {ago(line.last_ms, now)}"
    going = line.status == "resolved" and found.held.waiting
    held = f"{going:,} on their way" if going else f"{line.waiting:,} wait for an answer"
    ended = ", ".join(f"{count:,} {how}" for how, count in sorted(found.held.ended.items()))
    rows = [
        ("about", model),
        ("cause", line.cause),
        ("seen", seen),
        ("held", f"{held}; {ended}" if ended else held if line.held or going else ""),
        ("team", ", ".join(line.teams)),
        ("with", ", ".join(line.people)),
        ("taken", f"by {line.acknowledged_by}, {ago(line.acknowledged_ms, now)}" if line.acknowledged_by else ""),
        ("by law", due(line.statutory_ms, now).plain if line.status != "resolved" else ""),
        ("muted", f"by silence {line.silenced_by}" if line.silenced_by else ""),
        ("part of", line.inhibited_by or ""),
        ("before it", line.previous or ""),
        ("after it", ", ".join(one.id for one in found.later)),
        ("speaks for", ", ".join(one.id for one in found.inhibits)),
        ("agreement", _agreement(found)),
        ("told", _told(found)),
    ]
    for what, told in rows:
        if told:
            table.add_row(what, safe(told, 400))
    return table


def _agreement(found: Incident) -> str:
    one = found.data.agreement
    if one is None:
        return ""
    agreed = ", ".join(one.people) or "nobody yet"
    return f"{len(one.people)} of {one.needed} with the role {one.role} ({agreed}) {one.action or ''}".strip()


def _told(found: Incident) -> str:
    outcomes = [one.outcome or "not sent yet" for one in found.messages]
    return ", ".join(f"{outcomes.count(one)} {one}" for one in dict.fromkeys(outcomes))


def _print_triage(out: Console, found: Incident) -> None:
    one = found.triage
    if one is None:
        return
    said_by = "a model's words, checked" if one.by == "model" else "from the facts alone"
    out.print(Text("\nSummary ", style="bold").append(f"({said_by})", style="dim"))
    out.print(Padding(safe(spoken(one.summary)), (0, 0, 0, 2)))
    if one.cause_text or one.action_text:
        out.print(Padding(safe(spoken(" ".join(filter(None, (one.cause_text, one.action_text))))), (0, 0, 0, 2)))
    facts = one.facts or (found.deterministic.facts if found.deterministic else ())
    listed = Table.grid(padding=(0, 1, 0, 0))  # so that a long fact stays right of its id
    for fact in facts:
        listed.add_row(Text(f"{fact.id:>4}", style="dim"), safe(spoken(fact.text), 600))
    out.print(listed)
    for question in one.questions:
        out.print(Padding(Text("? ", style="yellow").append(safe(question, 300)), (0, 0, 0, 2)))
    if one.instead:
        out.print(Padding(safe(one.instead, 300, "dim"), (0, 0, 0, 2)))
    for similar, line in found.similar:
        ended = similar.resolution.value if similar.resolution else (line.status if line else "open")
        told = f"like {similar.incident} ({similar.likeness:.0%}): {similar.title}; {ended} {similar.reason}"
        out.print(Padding(safe(told, 300, "dim"), (0, 0, 0, 2)))


def _print_answers(out: Console, found: Incident, now: int) -> None:
    if not found.answers and not found.rulings:
        return
    out.print(Text("\nAnswers", style="bold"))
    for one in found.answers:
        end = f"refused ({one.refused}): {one.detail}" if one.refused else "ruled" if one.ruling else ""
        told = f"{one.person} {one.action}, {ago(one.time_ms, now)}: {one.reason}"
        line = safe(told, 300)
        if end:
            line.append("  ").append(safe(end, 300, "red" if one.refused else "green"))
        out.print(Padding(line, (0, 0, 0, 2)))
    for ruling in found.rulings:
        if ruling.kind is None:
            told = f"deadline: {ruling.resolution}, {ago(ruling.time_ms, now)}"
            out.print(Padding(safe(told, 300, "yellow"), (0, 0, 0, 2)))


def _print_timeline(out: Console, found: Incident, now: int, whole: bool) -> None:
    lines = found.timeline if whole else found.timeline[-LATEST:]
    out.print(Text("\nTimeline", style="bold"))
    if len(lines) < len(found.timeline):
        out.print(f"  … {len(found.timeline) - len(lines)} earlier (--timeline shows them)", style="dim")
    for one in lines:
        when = datetime.fromtimestamp(one.time_ms / 1000, UTC).strftime("%m-%d %H:%M:%S")
        late = f" ({lasting(one.late_ms)} late)" if one.late_ms else ""
        by = f"{one.by}: " if one.by else ""
        line = Text(f"{when}  ", style="dim").append(safe(f"{by}{one.said or one.change}{late}", 300))
        out.print(Padding(line, (0, 0, 0, 2)))


def _print_next(out: Console, line: Listed) -> None:
    if line.status == "resolved":
        return
    told = [] if line.status == "acknowledged" else [f"govern incidents ack {line.id}"]
    if line.waiting:
        told.append(f"govern review held {line.id}")
        told.append(f'govern review approve|reject|edit|respond {line.id} --reason "…"')
    else:
        told.append(f'govern incidents resolve {line.id} --reason "…"')
    out.print(Text("\nnext: " + "\n      ".join(told), style="dim"))
