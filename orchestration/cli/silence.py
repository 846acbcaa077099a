"""`govern silence …`: mute the messages of incidents for a while; incidents and evidence go on as ever."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from rich.text import Text

from agents.errors import Misconfigured
from agents.events import Severity
from agents.people_events import Matchers
from agents.strict import Seconds
from orchestration.cli import answering, reading
from orchestration.cli.reading import lasting, safe
from orchestration.reading.silences import Silenced, silences

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Mute messages of incidents for a while.")
LONGEST_S = 30 * 86_400


@app.command()
def add(
    lasts: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long, for example 2h or 3d; at most 30d.")
    ],
    reason: answering.Reason = "",
    cause: Annotated[str | None, typer.Option(help="A rule, monitor, safeguard or fault.")] = None,
    model: Annotated[str | None, typer.Option(help="A model.")] = None,
    version: Annotated[str | None, typer.Option(help="A version.")] = None,
    segment: Annotated[str | None, typer.Option(help="A segment.")] = None,
    team: Annotated[str | None, typer.Option(help="A team.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Exactly this severity.")] = None,
    incident: Annotated[str | None, typer.Option(help="One incident, by its whole id.")] = None,
    person: answering.Who = None,
    key: answering.Key = None,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """Mute what matches all that is given.

    Example: govern silence add --team credit --cause lending/large-limit --for 2h --reason "known; fixed at noon"
    """
    answering.needed(reason, "govern silence add")
    matchers = Matchers(
        cause=cause, model=model, version=version, segment=segment, team=team, severity=severity, incident=incident
    )
    if matchers == Matchers():
        raise Misconfigured(
            "say what is muted: --cause, --model, --version, --segment, --team, --severity or --incident"
        )
    settings = reading.connected()
    who, private = answering.signer(settings, person, key)
    now = reading.now_ms()
    span = {"starts_ms": now, "ends_ms": now + _ms(lasts), "matchers": matchers, "comment": reason}
    data: dict[str, Any] = {"action": "silence", "person": who, "incident": incident, "reason": reason, "silence": span}
    answering.answered(settings, data, private, wait=wait, as_json=as_json)


@app.command("list")
def list_silences(
    everything: Annotated[bool, typer.Option("--all", help="Those that ended or were refused, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the silences that stand, and who set them.

    Example: govern silence list
    """
    now = reading.now_ms()
    found = [one for one in silences(reading.opened(reading.connected())) if everything or one.stands(now)]
    if as_json:
        for one in found:
            reading.tell(Row.of(one, now).document)
        return
    out = reading.screen()
    if not found:
        out.print("nothing is muted")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("id", overflow="fold", ratio=2)
    table.add_column("ends", no_wrap=True)
    table.add_column("mutes", overflow="fold", ratio=2)
    table.add_column("by", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=2)
    for one in found:
        row = Row.of(one, now)
        table.add_row(safe(one.id), _state(one, now), safe(row.mutes), safe(one.by), safe(one.comment, 200))
    out.print(table)
    out.print("\nend one: govern silence end ID", style="dim")


@app.command()
def end(
    silence: Annotated[
        str, typer.Argument(metavar="ID", help="As `govern silence list` shows it.", show_default=False)
    ],
    reason: answering.Reason = "ended on the command line",
    person: answering.Who = None,
    key: answering.Key = None,
    wait: answering.Wait = answering.WAIT_S,
    as_json: answering.Json = False,
) -> None:
    """End a silence before its time.

    Example: govern silence end 01JQ8Z6V3T5K9M2N4P6R8S0T1V
    """
    settings = reading.connected()
    who, private = answering.signer(settings, person, key)
    now = reading.now_ms()
    standing = [one for one in silences(reading.opened(settings)) if one.stands(now)]
    named = [one for one in standing if one.id == silence] or [one for one in standing if one.id.startswith(silence)]
    if len(named) != 1:
        raise Misconfigured(f"{len(named) or 'no'} silences begin with {silence!r}; `govern silence list` shows them")
    data = {"action": "unsilence", "person": who, "silence_id": named[0].id, "reason": reason}
    answering.answered(settings, data, private, wait=wait, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Row:
    """A silence as it is shown."""

    silence: Silenced
    mutes: str
    state: str

    @classmethod
    def of(cls, one: Silenced, now: int) -> Row:
        given = one.matchers.model_dump(mode="json", exclude_none=True)
        return cls(one, ", ".join(f"{name} {value}" for name, value in given.items()), one.state(now))

    @property
    def document(self) -> dict[str, Any]:
        """For scripts."""
        matchers = self.silence.matchers.model_dump(mode="json", exclude_none=True)
        return asdict(self.silence) | {"matchers": matchers, "state": self.state}


def _state(one: Silenced, now: int) -> Text:
    if one.stands(now):
        return Text(f"in {lasting(one.ends_ms - now)}")
    return Text(one.state(now), style="dim")


def _ms(text: str) -> int:
    try:
        seconds = float(TypeAdapter(Seconds).validate_python(text))
    except ValidationError as error:
        raise Misconfigured(f"{text!r} is no duration; write for example --for 2h or --for 3d") from error
    if not 0 < seconds <= LONGEST_S:
        raise Misconfigured(f"a silence lasts at most 30 days, not {text}")
    return int(seconds * 1000)
