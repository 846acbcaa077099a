"""`govern policy …`: test rules, explain one decision, list what a condition can use. Needs neither Kafka nor Ray."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.frames import Reader
from agents.policy.columns import columns_of, told_columns
from agents.policy.conditions import writable
from agents.policy.reasons import shown
from agents.policy.testing import Explained, Seen, explain, run_tests
from agents.records import Plain
from agents.timestamps import milliseconds
from orchestration.anomaly_scores import standing_of
from orchestration.config_files import load
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Test and explain policies.")
Where = Annotated[Path, typer.Argument(help="A folder of YAML files, or one file.", show_default=False)]
_COLOURS = {"matched": "red", "unknown": "yellow", "no match": "green"}
_TYPES = {"String": "text", "Boolean": "true/false"}


@app.command()
def test(path: Where) -> None:
    """Run the tests that rules carry; exit status 1 where one fails or there is none."""
    results = list(run_tests(load(path)))
    failed = [one for one in results if not one.passed]
    for one in failed:
        typer.echo(f"FAILED {one.rule} test {one.number} ({one.model}): expected {one.expected}, got {one.got}")
        typer.echo(f"       it saw {one.detail}")
    typer.echo(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if not results:
        typer.echo("no rule has a test; add `tests:` to it: {given: {…}, expect: hold}")
    if failed or not results:
        raise SystemExit(1)


@app.command(name="explain")
def explain_command(
    path: Where,
    decision: Annotated[Path, typer.Option(help="A file with one decision: the record's value (JSON).")],
    broker_time: Annotated[
        str | None, typer.Option(help="When the broker took it, RFC 3339; the decision's own time if left out.")
    ] = None,
    topic: Annotated[
        str, typer.Option(help="The topic it came from (for caller_verified and mapped sources).")
    ] = "file",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show what each rule saw for one decision, and why it matched or did not."""
    configuration = load(path)
    row = _row(configuration, decision, broker_time, topic)
    told = explain(standing_of(configuration, ProfileStore(Settings().profiles_url).get), row)
    if as_json:
        typer.echo(json.dumps(_document(told), indent=1, ensure_ascii=False))
    else:
        _print(Console(highlight=False, soft_wrap=True), told)


@app.command()
def columns(
    path: Where,
    model: Annotated[str | None, typer.Argument(help="A declared model; all if left out.", show_default=False)] = None,
) -> None:
    """List what a condition can use, as it is written there."""
    configuration = load(path)
    if model is not None and model not in configuration.models:
        raise Misconfigured(f"model {model!r} is not declared; declared are: {', '.join(configuration.models)}")
    console = Console(highlight=False)
    for name in [model] if model else configuration.models:
        table = Table(title=f"columns of {name}", title_justify="left", box=None, pad_edge=False)
        for title in ("column", "type", "what it says"):
            table.add_column(title, overflow="fold", no_wrap=title == "column")
        for column in told_columns(columns_of(configuration, name)).values():
            kind = _TYPES.get(str(column.dtype), "number")
            table.add_row(escape(writable(column.name)), kind, escape(column.doc))
        console.print(table)


def _row(configuration: Configuration, decision: Path, broker_time: str | None, topic: str) -> dict[str, object]:
    try:
        value = decision.read_bytes().strip()
    except OSError as error:
        raise Misconfigured(f"{decision} cannot be read: {error.strerror}; check the path") from error
    at = milliseconds(broker_time) if broker_time is not None else None
    if broker_time is not None and at is None:
        raise Misconfigured(f"{broker_time!r} is no time; write for example 2026-03-02T09:30:00Z")
    reader = Reader(configuration)
    row = reader.row(Plain(topic, 0, 0, at or 0, None, value))
    own = row["event_time_ms"]
    if at is None and isinstance(own, int):
        row = reader.row(Plain(topic, 0, 0, own, None, value))
    return row


def _document(told: Explained) -> Mapping[str, object]:
    return {
        "model": told.model,
        "effect": told.effect.value,
        "reasons": list(told.reasons),
        "rules": [
            {
                "rule": one.rule,
                "when": one.when,
                "outcome": one.outcome,
                "effect": one.effect.value if one.effect else None,
                "applied": one.applied,
                "columns": dict(one.columns),
                "tests": [{"test": text, "answer": answer} for text, answer in one.tests],
                "left_out_by_match": one.outside,
                "waits": one.waits,
                "reason": one.reason,
            }
            for one in told.rules
        ],
    }


def _print(console: Console, told: Explained) -> None:
    console.print(f"[bold]{escape(told.model)}[/bold]: {told.effect.value}")
    for one in told.rules:
        colour = _COLOURS[one.outcome]
        effect = f" → {one.effect.value}" if one.effect else ""
        audit = "" if one.applied else " (audit: recorded, not applied)"
        console.print(f"\n[{colour}]{one.outcome:9}[/{colour}] [bold]{escape(one.rule)}[/bold]{effect}{audit}")
        console.print(f"  when    {escape(' '.join(one.when.split()))}", soft_wrap=True)
        for text, answer in one.tests:
            console.print(f"  {_answer(answer):7} {escape(text)}")
        for name, value in one.columns.items():
            console.print(f"          {escape(name)} = {escape(shown(value))}")
        for line in _remarks(one):
            console.print(f"  {escape(line)}")


def _remarks(one: Seen) -> list[str]:
    remarks = ["left out by the policy's `match:`"] if one.outside else []
    if one.waits:
        remarks.append(f"but     {one.waits}")
    if one.reason:
        remarks.append(f"reason  {one.reason}")
    return remarks


def _answer(answer: bool | None) -> str:
    return "unknown" if answer is None else "true" if answer else "false"
