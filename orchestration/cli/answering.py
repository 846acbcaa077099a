"""An answer given on the command line: signed with the person's own key, sent, and what became of it told.

Exit status 0: it takes effect; 1: refused, with the sentence; 3: recorded, and no lane has taken it up yet; 130: Ctrl-C.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from agents.dsse import Private
from agents.errors import Misconfigured
from agents.events import Position
from agents.people_events import ReviewData
from orchestration import reviewing, signing_keys
from orchestration.cli import reading
from orchestration.settings import Settings

REFUSED, PENDING, INTERRUPTED = 1, 3, 130

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, in a sentence: it is kept with the evidence.")]
Who = Annotated[
    str | None, typer.Option("--person", help="Who answers; else the one whose key lies in the keys folder.")
]
Key = Annotated[Path | None, typer.Option("--key", help="The file of the person's key.", show_default="keys_dir")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for what becomes of it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")]
WAIT_S = 10.0


def signer(settings: Settings, person: str | None, key: Path | None) -> tuple[str, Private]:
    """Who answers, and with which key. Raises Misconfigured with the mend."""
    return signing_keys.own(settings, person, key)


def answered(
    settings: Settings, data: dict[str, Any], key: Private, *, wait: float = WAIT_S, as_json: bool = False
) -> None:
    """Sign, send, wait, tell; ends the command with its exit status."""
    review = ReviewData.model_validate(data)
    source = reviewing.person_source(settings, review.person)

    recorded: list[str] = []

    async def both() -> tuple[reviewing.Sent, reviewing.Outcome]:
        sent = await reviewing.send(settings, review, key, source)
        recorded.append(f"your answer is recorded ({sent.id}), and what became of it is not known yet")
        return sent, await reviewing.outcome(settings, sent, wait)

    try:
        sent, found = reading.run(both())
    except KeyboardInterrupt:
        told = recorded[0] if recorded else "it is not known whether your answer left"
        typer.echo(f"interrupted: {told}; look before you answer again", err=True)
        raise typer.Exit(INTERRUPTED) from None
    status = {reviewing.Refused: REFUSED, reviewing.Pending: PENDING}.get(type(found), 0)
    if as_json:
        reading.tell(_document(sent, found))
    else:
        out = Console(highlight=False, soft_wrap=True, stderr=status != 0)
        colour = {0: "green", REFUSED: "red"}.get(status, "yellow")
        out.print(Text("● ", style=colour), reading.safe(found.text), sep="")
    raise typer.Exit(status)


def confirmed(question: str, yes: bool) -> None:
    """Ask on a terminal; raises Misconfigured where nobody can be asked, and ends the command on a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misconfigured(f"{question} Nobody can be asked here: say --yes")
    if not typer.confirm(question, default=False, err=True):
        typer.echo("nothing was sent", err=True)
        raise typer.Exit(INTERRUPTED)


def needed(reason: str, what: str) -> str:
    """The reason, which must be there. Raises Misconfigured."""
    if not reason.strip():
        raise Misconfigured(f'say why: {what} --reason "…"')
    return reason


def place(text: str) -> Position:
    """A decision from `<topic>/<partition>/<offset>`; raises Misconfigured.

    >>> place("gim.decisions/1/17").offset
    17
    """
    found = re.fullmatch(r"(.+)/(\d{1,9})/(\d{1,18})", text)
    if found is None:
        raise Misconfigured(
            f"{text!r} is no decision; write <topic>/<partition>/<offset>, as `govern review held` does"
        )
    return Position(topic=found[1], partition=int(found[2]), offset=int(found[3]))


def ends(texts: Sequence[str]) -> dict[str, int]:
    """`through` from `<topic>/<partition>=<offset>`; raises Misconfigured.

    >>> ends(["gim.decisions/0=12"])
    {'gim.decisions/0': 12}
    """
    found = {}
    for text in texts:
        one = re.fullmatch(r"(.+/\d{1,9})=(\d{1,18})", text)
        if one is None:
            raise Misconfigured(f"{text!r} is no end; write --through <topic>/<partition>=<offset>")
        found[one[1]] = int(one[2])
    return found


def _document(sent: reviewing.Sent, found: reviewing.Outcome) -> dict[str, Any]:
    document: dict[str, Any] = {
        "review": sent.id,
        "position": sent.position,
        "action": sent.action,
        "person": sent.person,
        "incident": sent.incident,
        "outcome": {reviewing.Refused: "refused", reviewing.Pending: "pending"}.get(type(found), "effective"),
        "text": found.text,
    }
    if isinstance(found, reviewing.Refused):
        document["refusal"] = found.refusal.reason
    if isinstance(found, reviewing.Effective):
        ruling, agreement = found.ruling, found.agreement
        document["ruling"] = None if ruling is None else ruling.model_dump(mode="json", exclude_none=True)
        document["agreement"] = None if agreement is None else agreement.model_dump(mode="json", exclude_none=True)
    return document
