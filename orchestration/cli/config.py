"""`govern config …`: start, check and compare configurations on disk. What is in force is orchestration/config_topic.py's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agents.configuration import Configuration
from agents.errors import NotReady, Retryable
from agents.monitor.changes import changes
from agents.policy.differences import Difference, differences
from orchestration import anomaly_scores, config_topic, deployment, topics
from orchestration.config_files import files_of, load, schema_text, start
from orchestration.extensions import kinds
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings

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
    """Read a configuration, compile its rules and its monitors; every mistake with file, line and mend."""
    configuration = load(path, Settings())
    typer.echo(f"ok: {summary(configuration)} in {len(files_of(path))} file(s)")
    typer.echo(configuration.digest())
    for line in _unscored(configuration):
        typer.echo(line)
    if configuration.monitors:
        from orchestration.cli.monitors import waiting_of  # the kinds of monitors take a second to import

        for line in waiting_of(configuration):
            typer.echo(line)


@app.command()
def diff(before: Where, after: Where) -> None:
    """Show what differs between two configurations, rule by rule; exit status 1 where they differ."""
    old, new = load(before), load(after)
    found = differences(old, new)
    if not found:
        typer.echo("no difference")
        return
    for line in (*lines_of(found), *fates(old, new)):
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


@app.command()
def apply(
    path: Where,
    note: Annotated[str, typer.Option(help="Why; kept in the history and the evidence.")] = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait until every lane reports it; 0: do not wait.")] = 30,
) -> None:
    """Put a configuration in force, whole; returns when every running lane has reported its digest.

    Example: govern config apply config/ --note "raise the hold threshold, ticket 812"
    """
    configuration = load(path, Settings())
    settings = _connected()
    asyncio.run(topics.ensure(settings))
    before = asyncio.run(config_topic.current(settings))
    applied = asyncio.run(config_topic.apply(settings, configuration, note))
    typer.echo(f"{'applied' if applied.changed else 'in force already'}: {summary(configuration)}\n{applied.digest}")
    if before is not None and applied.changed:
        for line in fates(before.configuration(), configuration):
            typer.echo(line)
    _reported(settings, applied.digest, wait)


@app.command()
def history() -> None:
    """List what was applied, newest last: when, by whom, digest and note."""
    table = Table("offset", "applied (UTC)", "by", "digest", "note", box=None)
    for one in asyncio.run(config_topic.history(_connected())):
        when = datetime.fromtimestamp(one.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(str(one.offset), when, one.by or "", one.digest[:19], one.note or "")
    if not table.row_count:
        typer.echo("nothing was ever applied; start with: govern config apply DIR")
        return
    Console(highlight=False).print(table)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Argument(help="Beginning of a digest; the one before, if left out.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait until every lane reports it; 0: do not wait.")] = 30,
) -> None:
    """Put an earlier configuration in force again, as a new record of the history.

    Example: govern config rollback sha256:73ff6af4
    """
    settings = _connected()
    applied = asyncio.run(config_topic.rollback(settings, to))
    typer.echo(f"{'back to' if applied.changed else 'in force already:'} {applied.digest}")
    _reported(settings, applied.digest, wait)


def _connected() -> Settings:
    """The deployment that the environment names; its local Kafka is started if it does not run."""
    return deployment.with_kafka(deployment.located(Settings()), typer.echo)


def _reported(settings: Settings, digest: str, wait: float) -> None:
    """Wait until every policy lane that runs has reported the digest."""
    control = deployment.find(settings) if wait > 0 and deployment.ray_runs(settings) else None
    if control is None:
        if wait > 0:
            typer.echo("no lanes run here; they start with it: govern up")
        return
    until = time.monotonic() + wait
    while True:
        lanes = [row.report for row in control.status().lanes if row.report.lane.startswith("policy/")]
        late = [one.lane for one in lanes if one.configuration != digest]
        if lanes and not late:
            typer.echo(f"all {len(lanes)} policy lanes report it")
            return
        if time.monotonic() > until:
            raise Retryable(f"not reported by {', '.join(late)} after {wait:.0f} s; `govern status` says why")
        time.sleep(0.2)


def _unscored(configuration: Configuration) -> list[str]:
    """What rules that ask for anomaly scores would wait for, or never get."""
    try:
        return anomaly_scores.check(configuration, ProfileStore(Settings().profiles_url))
    except NotReady as error:
        return [f"lanes would wait and decide nothing: {error}"]


def summary(configuration: Configuration) -> str:
    """A configuration in a few words."""
    rules = sum(len(policy.rules) for policy in configuration.policies)
    tests = sum(len(rule.tests) for policy in configuration.policies for rule in policy.rules)
    return (
        f"{len(configuration.models)} model(s), {len(configuration.policies)} policy(ies) with {rules} rule(s) "
        f"and {tests} test(s), {len(configuration.calendars)} calendar(s), {len(configuration.monitors)} monitor(s)"
    )


def fates(before: Configuration, after: Configuration) -> list[str]:
    """What becomes of what monitors have gathered; nothing to say where nobody starts anew, is new or ends."""
    found = changes(before, after, kinds())
    told = [f"monitor {one}" for one in found if one.fate != "kept"]
    kept = len(found) - len(told)
    return [*told, f"{kept} monitor(s) keep what they have gathered"] if told and kept else told


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
