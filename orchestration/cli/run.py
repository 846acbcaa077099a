"""`govern up`, `status` and `down`: the running system on the command line; each may be repeated without harm."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.configuration import Configuration
from agents.errors import GovernanceError, Retryable
from orchestration import checkpoints, deployment
from orchestration.console import process as console
from orchestration.settings import Settings
from orchestration.supervisor import LaneRow, Status

RAY = Annotated[
    str | None,
    typer.Option("--ray-address", help="host:port of a Ray cluster that this machine belongs to; else a local one."),
]
KAFKA = Annotated[
    str | None, typer.Option("--bootstrap-servers", help="host:port,… of a Kafka cluster; else a local one is started.")
]
CONFIG = Annotated[
    Path | None, typer.Argument(metavar="CONFIG_DIR", help="Folder or file of the configuration to apply.")
]
COLOURS = {"running": "green", "waiting": "yellow", "starting": "yellow", "retrying": "yellow", "stopping": "yellow"}

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def up(
    config_dir: CONFIG = None,
    ray_address: RAY = None,
    bootstrap_servers: KAFKA = None,
    workers: Annotated[
        int, typer.Option(min=1, max=1000, help="Worker processes that share the lanes.")
    ] = deployment.WORKERS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final status as one JSON object.")] = False,
) -> None:
    """Start governing: Kafka and Ray (local ones unless named), topics, keys, supervisor and lanes.

    Returns when every lane runs; everything goes on in the background until `govern down`.

    Example: govern up config/demo

    Example: govern up --bootstrap-servers kafka:9092 --ray-address 10.0.0.5:6379
    """
    settings = _settings(ray_address, bootstrap_servers)
    configuration = _load(config_dir, settings) if config_dir is not None else None
    try:
        with err.status("starting") as line:
            report = _reporter(line.update)
            started = deployment.bring_up(settings, configuration, workers=workers, report=report)
            status = deployment.wait_for_lanes(started.control, lambda now: report(_count(now)))
            page = (
                console.wait(started.settings) if console.kept(started.settings) else console.running(started.settings)
            )
    except KeyboardInterrupt:
        err.print(
            "interrupted; `govern up` goes on where it stopped, `govern down` stops what runs. " + _what_runs(settings)
        )
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(_document(status, None, started.settings)))
        return
    _tell(started, status, page)


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
    ray_address: RAY = None,
    bootstrap_servers: KAFKA = None,
) -> None:
    """Show lanes, lag, rates, configuration and checkpoints. Exit status 1 when something does not run.

    Example: govern status --watch

    Example: govern status --json | jq '.lanes[] | select(.state != "running")'
    """
    settings = deployment.located(_settings(ray_address, bootstrap_servers))
    control = _control(settings)
    if control is None:
        typer.echo(
            json.dumps({"prefix": settings.prefix, "running": False})
            if as_json
            else f"nothing runs for the prefix {settings.prefix}; start it with: govern up"
        )
        raise typer.Exit(1)
    if watch and not as_json:
        _watch(control, settings)
        return
    now = control.status()
    newest = _checkpoint(settings)
    if as_json:
        typer.echo(json.dumps(_document(now, newest, settings)))
    else:
        out.print(_screen(now, newest, settings))
    if not healthy(now):
        raise typer.Exit(1)


def down(ray_address: RAY = None, bootstrap_servers: KAFKA = None) -> None:
    """Drain the lanes and stop: each ends after the batch in hand, then what `govern up` started is stopped.

    Nothing is lost: decisions that arrive meanwhile wait in Kafka. Succeeds when nothing runs.

    Example: govern down
    """
    try:
        with err.status("stopping") as line:
            stopped = deployment.take_down(_settings(ray_address, bootstrap_servers), _reporter(line.update))
    except KeyboardInterrupt:
        err.print("interrupted: lanes may be draining still; run `govern down` again")
        raise typer.Exit(130) from None
    typer.echo(f"stopped: {'; '.join(stopped)}" if stopped else "nothing ran")


def healthy(status: Status) -> bool:
    """Everything runs: every lane, every worker, and nothing is reported."""
    lanes = bool(status.lanes) and all(row.report.state == "running" for row in status.lanes)
    return lanes and not status.problems and all(worker.condition == "alive" for worker in status.workers)


def _load(config_dir: Path, settings: Settings) -> Configuration:
    from orchestration import config_files  # compiles policies, which `status` and `down` need not wait for

    return config_files.load(config_dir, settings)


def _settings(ray_address: str | None, bootstrap_servers: str | None) -> Settings:
    given = {"ray_address": ray_address, "bootstrap_servers": bootstrap_servers}
    return Settings().model_copy(update={name: value for name, value in given.items() if value})


def _reporter(update: deployment.Report) -> deployment.Report:
    """A line that changes on a terminal; elsewhere each new line once."""
    last = ""

    def report(line: str) -> None:
        nonlocal last
        if err.is_terminal:
            update(line)
        elif line != last:
            err.print(line)
        last = line

    return report


def _control(settings: Settings) -> deployment.Control | None:
    if not deployment.ray_runs(settings):
        return None
    return deployment.find(settings)


def _what_runs(settings: Settings) -> str:
    settings = deployment.located(settings)
    kafka = deployment.local_kafka(settings)
    running = [
        name
        for name, runs in (
            ("the local Kafka", kafka is not None and kafka.running()),
            ("the local Ray", not settings.ray_address and deployment.ray_runs(settings)),
        )
        if runs
    ]
    return f"Running now: {' and '.join(running)}." if running else "Nothing local runs."


def _tell(started: deployment.Up, status: Status, page: console.Running | None) -> None:
    """What runs, and what to do next."""
    settings, prefix = started.settings, started.settings.prefix
    out.print(f"[green]{_count(status)}[/green] for the prefix {prefix}; Kafka is {settings.bootstrap_servers}")
    if started.made_keys is not None:
        out.print(f"made keys: auditors check with {started.made_keys.verifier}; keep a copy of the folder")
    for remark in started.remarks:
        out.print(f"[yellow]note:[/yellow] {remark}")
    if page is not None:
        out.print(
            f"the console is at [bold]{page.url}[/bold]; who may sign in: govern user list, govern user add PERSON"
        )
    elif settings.console and console.kept(settings):
        words = console.last_words(settings) or "govern status shows when it does"
        out.print(f"[yellow]note:[/yellow] the console does not answer yet; {words}")
    if started.applied is not None and started.applied.changed:
        out.print(f"applied the configuration {started.applied.digest[:19]}")
    if status.digest is None:
        out.print(
            "next: govern config init governance; govern up governance    (nothing is decided without a configuration)"
        )
    else:
        out.print(
            f"next: publish decisions to the topic {settings.topic('decisions')}; govern status --watch; govern down"
        )


def _count(status: Status) -> str:
    states = Counter(row.report.state for row in status.lanes)
    told = f"{states.pop('running', 0)} of {len(status.lanes)} lanes run"
    rest = ", ".join(f"{count} {state}" for state, count in states.items())
    return told + (f" ({rest})" if rest else "")


def _checkpoint(settings: Settings) -> checkpoints.Newest | None:
    """The newest checkpoint of the root log, else of any; None where Kafka does not answer or has none."""
    kafka = None if settings.bootstrap_servers else deployment.local_kafka(settings)
    if kafka is not None and kafka.running():
        settings = settings.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})
    try:
        return asyncio.run(checkpoints.newest(settings))
    except GovernanceError:
        return None


def _document(status: Status, newest: checkpoints.Newest | None, settings: Settings) -> dict[str, object]:
    found, page = asdict(status), console.running(settings)
    found["console"] = asdict(page) if page is not None else None
    found["running"] = healthy(status)
    found["configuration"] = {"digest": found.pop("digest"), "offset": found.pop("config_offset")}
    found["checkpoint"] = asdict(newest) if newest is not None else None
    found["lanes"] = [
        {**row["report"], "owner": row["owner"], "retry_in_s": row["retry_in_s"]} for row in found.pop("lanes")
    ]
    found.pop("settings")
    return found


def _watch(control: deployment.Control, settings: Settings) -> None:
    newest, read_at = _checkpoint(settings), time.monotonic()
    with Live(console=out, refresh_per_second=4, screen=out.is_terminal) as live:
        try:
            while True:
                try:
                    live.update(_screen(control.status(), newest, settings))
                except Retryable as error:
                    live.update(Text(str(error), "yellow"))
                if time.monotonic() - read_at > 5:
                    newest, read_at = _checkpoint(settings), time.monotonic()
                time.sleep(1)
        except KeyboardInterrupt:
            return


def _screen(status: Status, newest: checkpoints.Newest | None, settings: Settings) -> RenderableType:
    head = Text()
    head.append(_count(status), "green" if healthy(status) else "yellow")
    head.append(
        f"   prefix {status.prefix}   configuration {_digest(status.digest)}   last checkpoint {_newest(newest)}"
    )
    parts: list[RenderableType] = [head]
    parts += [Text(f"! {problem}", "red") for problem in status.problems]
    if status.draining:
        parts.append(Text("draining: lanes end after the batch in hand", "yellow"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("lane", no_wrap=True)
    for name in ("state", "worker", "behind", "per second", "commit"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for row in status.lanes:
        table.add_row(*_cells(row, status))
    return Group(*parts, table, _workers(status), _page(settings))


def _cells(row: LaneRow, status: Status) -> tuple[RenderableType, ...]:
    report, details = row.report, [row.report.detail] if row.report.detail else []
    if row.retry_in_s is not None:
        details.append(f"again in {row.retry_in_s:.0f} s")
    if report.configuration not in (None, status.digest):
        details.append(f"still on the configuration {_digest(report.configuration)}")
    return (
        report.lane,
        Text(report.state, COLOURS.get(report.state, "red")),
        (row.owner or "").rpartition("-")[2],
        f"{report.lag:,}",
        f"{report.rate:,.0f}",
        _ago(report.committed_at) if report.committed_at else "",
        Text("; ".join(details)),
    )


def _workers(status: Status) -> RenderableType:
    lines = [
        f"worker {one.name.rpartition('-')[2]}: {one.condition}, {one.lanes} lanes, {one.memory_bytes / 2**20:.0f} MB, "
        f"pid {one.pid or '-'}"
        for one in status.workers
    ]
    return Text("\n".join(lines), "dim")


def _page(settings: Settings) -> RenderableType:
    page = console.running(settings)
    if page is not None:
        return Text(f"console: {page.url}, pid {page.pid}", "dim")
    if console.kept(settings):
        return Text(f"! the console ended and is started again; {console.last_words(settings)}".rstrip("; "), "red")
    return Text("console: not running (govern console)", "dim")


def _digest(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "none"


def _newest(newest: checkpoints.Newest | None) -> str:
    if newest is None:
        return "none"
    return f"{newest.origin}, {newest.size:,} entries, {_ago(newest.time_ms / 1000)}"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
