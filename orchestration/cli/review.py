"""`govern review …`: answer held decisions, signed with your own key: let them go out, change, withhold, or ask back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.escalation.samples import sample_of
from agents.escalation.scope import grouped
from agents.events import Position
from agents.people_events import Edit
from orchestration.cli import answering, reading
from orchestration.cli.incidents import Name, headline
from orchestration.cli.opening import Opened, opened_decisions, print_opened
from orchestration.cli.reading import ago, safe, several
from orchestration.reading.database import Database
from orchestration.reading.held import HeldItem, held_item, held_items
from orchestration.reading.incident import Incident, incident
from orchestration.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Answer held decisions: approve, edit, reject, respond."
)
Action = Literal["approve", "edit", "reject", "respond"]
MOST_SHOWN = 20
MEANS = {
    "approve": ("let it go out", "let them go out"),
    "edit": ("change the result; the original is withheld", "change their results; the originals are withheld"),
    "reject": ("withhold it", "withhold them"),
    "respond": ("ask back; it stays held", "ask back; they stay held"),
}

Item = Annotated[
    list[str] | None,
    typer.Option(
        "--item", metavar="TOPIC/PARTITION/OFFSET", help="Only this decision; may be repeated.", show_default="all"
    ),
]
Through = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TOPIC/PARTITION=OFFSET",
        help="Only those before this offset; may be repeated.",
        show_default="what the command shows",
    ),
]
Open = Annotated[
    int | None,
    typer.Option(
        "--open",
        min=0,
        max=MOST_SHOWN,
        help="Show so many of the decisions first: of the incident's random sample, or those named.",
        show_default="on a terminal what has to be opened, at least one; else 0",
    ),
]


@app.command("held")
def held_of(
    name: Name,
    ended: Annotated[bool, typer.Option("--ended", help="Those that ended, with how.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the decisions that an incident holds, without their content.

    Example: govern review held 7f29-k1mq --json
    """
    database = reading.opened(reading.connected())
    found = incident(database, name)
    page = held_items(database, found.data, waits=not ended, limit=limit)
    if as_json:
        for one in page.items:
            reading.tell(item_document(one))
        return
    out, now = reading.screen(), reading.now_ms()
    if not page.items:
        out.print("nothing of it has ended" if ended else "nothing waits for an answer")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("decision", no_wrap=True)
    table.add_column("since", no_wrap=True)
    table.add_column("why" if not ended else "ended", overflow="fold", ratio=1)
    for one in page.items:
        why = "; ".join(reason.text or reason.rule for reason in one.reasons) or ", ".join(one.rules)
        table.add_row(safe(one.id), ago(one.held_ms, now), safe(one.resolution if ended else why, 200))
    out.print(table)
    total = sum(page.counts.ended.values()) if ended else page.counts.waiting
    out.print(f"\n{len(page.items):,} of {total:,}; look into one: govern review open {found.line.id}", style="dim")


@app.command("open")
def open_decisions(
    name: Name,
    decisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TOPIC/PARTITION/OFFSET]...", help="Which; else of the random sample."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="How many of the sample.")] = 3,
    person: answering.Who = None,
    key: answering.Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show held decisions as they came in; protected attributes are left out.

    Example: govern review open 7f29-k1mq
    """
    settings = reading.connected()
    who, _ = answering.signer(settings, person, key)
    database = reading.opened(settings)
    found = incident(database, name)
    wanted = [answering.place(text) for text in decisions or ()]
    shown = _fetched(settings, database, found, who, wanted or _sample(database, found, count))
    for one in shown:
        if as_json:
            reading.tell(one.document)
        else:
            print_opened(reading.screen(), one)


@app.command()
def approve(
    name: Name,
    reason: answering.Reason = "",
    item: Item = None,
    through: Through = None,
    open_first: Open = None,
    person: answering.Who = None,
    key: answering.Key = None,
    yes: answering.Yes = False,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """Let the held decisions of an incident go out, exactly as they came.

    Example: govern review approve 7f29-k1mq --reason "checked five of them: the limit is new, the scores are right"
    """
    chosen = Chosen("approve", name, reason, item, through, open_first)
    _answer(chosen, Said(person, key, yes, wait, as_json), {})


@app.command()
def reject(
    name: Name,
    reason: answering.Reason = "",
    item: Item = None,
    through: Through = None,
    open_first: Open = None,
    person: answering.Who = None,
    key: answering.Key = None,
    yes: answering.Yes = False,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """Withhold the held decisions of an incident: the business gets them with your reason.

    Example: govern review reject 7f29-k1mq --item gim.decisions/0/412 --reason "the income is a typing error"
    """
    chosen = Chosen("reject", name, reason, item, through, open_first)
    _answer(chosen, Said(person, key, yes, wait, as_json), {})


@app.command()
def edit(
    name: Name,
    label: Annotated[str | None, typer.Option(help="The label that they get.")] = None,
    score: Annotated[float | None, typer.Option(help="The score that they get.")] = None,
    text: Annotated[str | None, typer.Option(help="The text that they get.")] = None,
    reason: answering.Reason = "",
    item: Item = None,
    through: Through = None,
    open_first: Open = None,
    person: answering.Who = None,
    key: answering.Key = None,
    yes: answering.Yes = False,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """Change the result of held decisions; the originals are withheld, the changed ones are judged and go out.

    Example: govern review edit 7f29-k1mq --item gim.decisions/0/412 --label approve --reason "income confirmed by phone"
    """
    if label is None and score is None and text is None:
        raise Misconfigured("say what the result becomes: --label, --score or --text")
    chosen = Chosen("edit", name, reason, item, through, open_first)
    made = Edit(label=label, score=score, text=text).model_dump(mode="json", exclude_none=True)
    _answer(chosen, Said(person, key, yes, wait, as_json), {"edit": made})


@app.command()
def respond(
    name: Name,
    question: Annotated[str, typer.Option("--question", "-q", help="What goes back to the business.")],
    reason: answering.Reason = "",
    item: Item = None,
    through: Through = None,
    open_first: Open = None,
    person: answering.Who = None,
    key: answering.Key = None,
    yes: answering.Yes = False,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """Ask back; the decisions stay held.

    Example: govern review respond 7f29-k1mq --question "Which payslip is this from?" --reason "two differ"
    """
    chosen = Chosen("respond", name, reason, item, through, open_first)
    _answer(chosen, Said(person, key, yes, wait, as_json), {"response": question})


# -- one answer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is answered."""

    action: Action
    name: str
    reason: str
    item: Sequence[str] | None
    through: Sequence[str] | None
    open_first: int | None


@dataclass(frozen=True, slots=True)
class Said:
    """By whom, and how the command behaves."""

    person: str | None
    key: Any
    yes: bool
    wait: float
    as_json: bool


def _answer(chosen: Chosen, said: Said, more: dict[str, Any]) -> None:
    answering.needed(chosen.reason, f"govern review {chosen.action} ID")
    settings = reading.connected()
    who, private = answering.signer(settings, said.person, said.key)
    database = reading.opened(settings)
    found, configuration = incident(database, chosen.name), reading.in_force(database)
    items = [answering.place(text) for text in chosen.item or ()]
    covered = _covered(database, found, items)
    before = found.data.in_groups.get(who, 0)
    began, out = time.monotonic(), reading.screen() if not said.as_json else Console(stderr=True, highlight=False)
    out.print(headline(found.line, reading.now_ms()))
    limit = configuration.escalation.bulk.items
    if before and covered <= limit < covered + before:
        told = grouped(covered, before, limit)
        out.print(f"{told}: unless you open each of them, a second person must agree and a random sample be opened")
    wanted = _to_open(database, found, configuration, covered + before, items, _how_many(chosen, said))
    opened = _fetched(settings, database, found, who, wanted) if wanted else []
    for one in opened:
        print_opened(out, one)
    answering.confirmed(f"{_consequence(found, configuration, chosen.action, covered)}?", said.yes)
    read = [one.item.decision for one in opened if one.readable]
    data: dict[str, Any] = {
        "action": chosen.action,
        "person": who,
        "incident": found.line.id,
        "shown": found.shown,
        "through": {} if items else answering.ends(chosen.through or ()) or dict(found.data.through),
        "items": [one.model_dump() for one in items] or None,
        "reason": chosen.reason,
        "opened": [one.model_dump() for one in read],
        "kind": "bulk" if not read else "individual" if len(read) >= covered else "sample",
        "shown_ms": (time.monotonic() - began) * 1000,
        **more,
    }
    if found.data.proposal is not None:
        data |= {"through": {}, "kind": None, "proposal": found.data.proposal.model_dump(mode="json")}
    answering.answered(settings, data, private, wait=said.wait, as_json=said.as_json)


def _covered(database: Database, found: Incident, items: Sequence[Position]) -> int:
    """How many held decisions the answer is about. Raises Misconfigured where none, or one of those named, waits."""
    line = found.line
    if not items:
        if not line.waiting and found.data.proposal is None:
            ended = f"it was {line.resolution or 'resolved'}" if line.status == "resolved" else "nothing of it is held"
            raise Misconfigured(
                f"no decision of {line.id} waits for an answer: {ended}; `govern incidents show {line.id}` says more"
            )
        return line.waiting
    for one in items:
        known = held_item(database, one)
        if known is None or known.resolution is not None:
            why = "was never held" if known is None else f"has ended already ({known.resolution})"
            raise Misconfigured(
                f"{one.topic}/{one.partition}/{one.offset} {why}; `govern review held {found.line.id}` lists what waits"
            )
    return len(set(items))


def _how_many(chosen: Chosen, said: Said) -> int | None:
    """How many to open: as asked; None on a terminal, where what is needed is shown; nothing elsewhere."""
    if chosen.open_first is not None or not (said.yes or said.as_json):
        return chosen.open_first
    return 0


def _to_open(
    database: Database,
    found: Incident,
    configuration: Configuration,
    together: int,
    items: Sequence[Position],
    count: int | None,
) -> list[Position]:
    """`together`: how many the answer is about, with those that the person has ruled on in groups before."""
    bulk = configuration.escalation.bulk
    if count is None:
        count = bulk.sample if together > bulk.items else 1
    if found.data.proposal is not None or not count:
        return []
    if items:
        return list(sample_of(found.data, found.data.through, count, items))
    return _sample(database, found, count)


def _sample(database: Database, found: Incident, count: int) -> list[Position]:
    """The incident's random sample, which everybody is asked to open; as long as it waits."""
    chosen = sample_of(found.data, found.data.through, count)
    if chosen:
        return list(chosen)
    return [one.decision for one in held_items(database, found.data, limit=count).items]


def _fetched(
    settings: Settings, database: Database, found: Incident, who: str, wanted: Sequence[Position]
) -> list[Opened]:
    items = [one for one in (held_item(database, place) for place in wanted) if one is not None]
    if not items:
        raise Misconfigured(f"none of these is held; `govern review held {found.line.id}` lists those that are")
    return asyncio.run(opened_decisions(settings, reading.in_force(database), who, items))


def _consequence(found: Incident, configuration: Configuration, action: Action, covered: int) -> str:
    """What happens, in the model's own words where it has some."""
    if found.data.proposal is not None:
        does = "put the change in force" if action == "approve" else f"{action} the change"
        return f"Will you {does} that {found.data.proposal.author} proposed"
    model = configuration.models.get(found.line.model or "")
    words = model.answers.get(action) if model is not None else None
    return f"{several(covered, 'held decision')}: {words or MEANS[action][covered != 1]}"


def item_document(one: HeldItem) -> dict[str, Any]:
    """A held decision for scripts."""
    plain = asdict(one) | {"decision": one.id, "rules": list(one.rules)}
    return plain | {"reasons": [asdict(reason) for reason in one.reasons]}
