"""`govern config …`: start, check and compare configurations on disk. What is in force is orchestration/config_topic.py's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from agents.configuration import Configuration
from agents.policy.differences import Difference, differences
from orchestration.config_files import files_of, load, schema_text, start

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check and compare configurations.")
Where = Annotated[Path, typer.Argument(help="A folder of YAML files, or one file.", show_default=False)]
_MARKS = {"added": "+", "removed": "-", "changed": "~"}


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write it; made if missing.")]) -> None:
    """Write a commented first configuration, and the schema that editors complete from."""
    for file in start(folder):
        typer.echo(f"wrote {file}")
    typer.echo(f"next: govern config check {folder}   and   govern policy test {folder}")


@app.command()
def check(path: Where) -> None:
    """Read a configuration and compile its rules; every mistake with file, line and mend."""
    configuration = load(path)
    typer.echo(f"ok: {summary(configuration)} in {len(files_of(path))} file(s)")
    typer.echo(configuration.digest())


@app.command()
def diff(before: Where, after: Where) -> None:
    """Show what differs between two configurations, rule by rule; exit status 1 where they differ."""
    found = differences(load(before), load(after))
    if not found:
        typer.echo("no difference")
        return
    for line in lines_of(found):
        typer.echo(line)
    raise SystemExit(1)


@app.command()
def schema(out: Annotated[Path | None, typer.Option(help="A file; standard output if left out.")] = None) -> None:
    """Print the JSON Schema of configuration files, for editors."""
    if out is None:
        typer.echo(schema_text(), nl=False)
    else:
        out.write_text(schema_text(), encoding="utf-8")
        typer.echo(f"wrote {out}")


def summary(configuration: Configuration) -> str:
    """A configuration in a few words."""
    rules = sum(len(policy.rules) for policy in configuration.policies)
    tests = sum(len(rule.tests) for policy in configuration.policies for rule in policy.rules)
    return (
        f"{len(configuration.models)} model(s), {len(configuration.policies)} policy(ies) with {rules} rule(s) "
        f"and {tests} test(s), {len(configuration.calendars)} calendar(s)"
    )


def lines_of(found: Sequence[Difference]) -> Iterator[str]:
    """Differences as lines: what was added, removed or changed; a change with before and after."""
    for one in found:
        detail = one.before or one.after
        if one.kind == "changed" or "\n" in detail:
            yield f"{_MARKS[one.kind]} {one.name}"
            yield from (f"    - {line}" for line in one.before.splitlines())
            yield from (f"    + {line}" for line in one.after.splitlines())
        else:
            yield f"{_MARKS[one.kind]} {one.name}" + (f" ({detail})" if detail else "")
