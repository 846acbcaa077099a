"""`govern signals …`: what monitors say, and why."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agents.events import SignalData
from agents.monitor.agent import strength
from agents.monitor.contract import Judgement
from agents.monitor.explaining import Explanation
from agents.triage.words import dated
from orchestration import deployment, signals_topic
from orchestration.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List what monitors say; explain a signal.")
COLOURS = {"alarm": "bold red", "warn": "yellow", "ok": "green", "insufficient": "dim", "none": "dim"}


@app.command("list")
def list_signals(
    everything: Annotated[bool, typer.Option("--all", help="Also what is well, or has too few decisions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the signals that stand, alarms first.

    Example: govern signals list --all
    """
    found = asyncio.run(signals_topic.signals(_connected()))
    shown = [one for one in found if everything or one.data.status.value in ("alarm", "warn")]
    if as_json:
        for one in shown:
            typer.echo(json.dumps({"id": one.id, **one.data.model_dump(mode="json", exclude_none=True)}))
        return
    if not shown:
        typer.echo(f"no alarm and no warning; {len(found)} signals in all (--all lists them)")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("signal", "status", "monitor", "version", "what it says"):
        table.add_column(name, overflow="fold")
    for one in shown:
        status = one.data.status.value
        table.add_row(
            str(one.offset),
            f"[{COLOURS[status]}]{status}[/]",
            one.data.monitor,
            one.data.versions,
            one.data.text or "",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print("\nwhy: govern signals explain NUMBER", style="dim")


@app.command("explain")
def explain_signal(
    name: Annotated[str, typer.Argument(help="A number of `govern signals list`, or a part of the signal's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say why a signal says what it says, recomputed from the logged observations.

    Exit status 1 where the recomputed figures differ from the published ones.

    Example: govern signals explain approval_gap
    """
    settings = _connected()

    async def both() -> tuple[signals_topic.Standing, Explanation]:
        standing = await signals_topic.find(settings, name)
        return standing, await signals_topic.explained(settings, standing)

    standing, found = asyncio.run(both())
    if as_json:
        typer.echo(json.dumps(_document(standing.id, found)))
    else:
        _print(standing.id, found)
    raise typer.Exit(0 if found.matches else 1)


def _connected() -> Settings:
    return deployment.with_kafka(deployment.located(Settings()), lambda line: None)


def _print(name: str, found: Explanation) -> None:
    console = Console(highlight=False)
    data = found.signal
    console.print(f"[{COLOURS[data.status.value]}]{data.status.value}[/] {found.sentence}\n")
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for what, told in _facts(name, found):
        facts.add_row(what, told)
    console.print(facts)
    if found.groups:
        console.print("\n[bold]Of the whole traffic[/bold]")
        console.print(_judged(found.groups))
    if found.segments:
        console.print("\n[bold]Within each segment[/bold]")
        console.print(_judged(found.segments))
    if found.segment_note:
        console.print(found.segment_note)
    console.print("\n[bold]Other settings on the same observations[/bold]")
    for one in found.otherwise:
        console.print(f"  {one.setting}: {one.said}")


def _facts(name: str, found: Explanation) -> list[tuple[str, str]]:
    data = found.signal
    told = [("signal", name), ("guarantee", data.guarantee or "none")]
    if data.e_value is not None and data.limit is not None:
        unit = data.budget_unit or "decisions"
        told.append(("strength", f"{strength(data.e_value, unit)}; an alarm from {strength(data.limit, unit)} on"))
    if data.onset_ms:
        told.append(("since about", f"{_moment(data.onset_ms)} ({data.onset_n or 0:,} decisions)"))
    if data.coverage is not None:
        told.append(("coverage", f"{data.coverage:.1%} of the decisions could be counted"))
    told.append(("rests on", f"{found.observations:,} observations of {found.decisions:,} decisions"))
    if found.tipped is not None:
        told.append(("tipped by", f"{found.tipped.position}: {found.tipped.n} decisions, {found.tipped.inputs}"))
        counts = found.tipped.counts.get(data.monitor, {})
        told += [("", f"{key}: {values.tolist()}") for key, values in list(counts.items())[:3] if values.size <= 40]
    again = (
        "matches what was published" if found.matches else "DIFFERS: " + ("; ".join(found.differences) or "not there")
    )
    told.append(("recomputed", again))
    return told


def _judged(judgements: tuple[Judgement, ...]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 2))
    for name in ("where", "status", "figure", "95 % from", "to", "decisions", "rate", "reference"):
        table.add_column(name, justify="left" if name in ("where", "status") else "right")
    for one in judgements[:30]:
        rates = [one.detail.get(name) for name in ("rate", "reference_rate")]
        table.add_row(
            " ".join(part for part in (one.segment, one.group) if part) or "all",
            f"[{COLOURS[one.status.value]}]{one.status.value}[/]",
            *("" if value is None else f"{value:.3f}" for value in (one.estimate, one.lower, one.upper)),
            "" if one.n is None else f"{one.n:,}",
            *("" if value is None else f"{value:.1%}" for value in rates),
        )
    return table


def _moment(ms: int) -> str:
    return dated(ms).strftime("%Y-%m-%d %H:%M:%S UTC")


def _document(name: str, found: Explanation) -> dict[str, object]:
    def plain(data: SignalData | None) -> object:
        return None if data is None else data.model_dump(mode="json", exclude_none=True)

    return {
        "id": name,
        "signal": plain(found.signal),
        "recomputed": plain(found.recomputed),
        "matches": found.matches,
        "differences": list(found.differences),
        "observations": found.observations,
        "decisions": found.decisions,
        "tipped": None if found.tipped is None else {"position": found.tipped.position, "inputs": found.tipped.inputs},
        "segments": found.segment_note,
        "otherwise": {one.setting: one.said for one in found.otherwise},
    }
