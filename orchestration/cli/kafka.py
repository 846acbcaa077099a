"""`govern kafka`: start, stop and inspect the local Apache Kafka; every command may be repeated without harm."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agents.errors import Misconfigured
from orchestration.local_kafka import LocalKafka, open_kafka
from orchestration.settings import Settings

app = typer.Typer(
    help="Start, stop and inspect the local Apache Kafka.\n\n"
    "It runs on 127.0.0.1 from a Java runtime and jars that are fetched once; it keeps running until `govern kafka stop`.",
    no_args_is_help=True,
    add_completion=False,
)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the broker's data.", show_default="GOVERN_DATA_DIR/kafka, or var/kafka"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


@app.command(epilog="Examples:  govern kafka start   |   govern kafka start --brokers 3 --data-dir /tmp/k --json")
def start(
    data_dir: DataDir = None,
    brokers: Annotated[int | None, typer.Option(min=1, max=9, help="Nodes, fixed by the first start.")] = None,
    heap_mb: Annotated[int, typer.Option(min=128, help="Java heap of each node, MB.")] = 512,
    as_json: AsJson = False,
) -> None:
    """Start it, or find it running; returns once it answers."""
    kafka = _existing(data_dir, heap_mb)
    if kafka is None or brokers not in (None, len(kafka.nodes)):
        kafka = LocalKafka(_folder(data_dir), brokers=brokers or 1, heap_mb=heap_mb)
    already, began = kafka.running(), time.monotonic()
    console = Console(stderr=True, highlight=False)
    with console.status("looking for a running Kafka") as status:
        try:
            kafka.start(lambda line: status.update(line) if console.is_terminal else console.print(line))
        except KeyboardInterrupt:
            console.print("interrupted: nothing was left running")
            raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(_facts(kafka)))
    elif already:
        typer.echo(f"Kafka was running already on {kafka.bootstrap_servers} (data in {kafka.data_dir})")
    else:
        seconds = time.monotonic() - began
        typer.echo(f"Kafka runs on {kafka.bootstrap_servers} (data in {kafka.data_dir}, started in {seconds:.1f} s)")
        typer.echo("stop it with: govern kafka stop" + (f" --data-dir {data_dir}" if data_dir else ""))


@app.command(epilog="Example:  govern kafka stop --data-dir var/kafka")
def stop(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Stop it gracefully; its data stays. Succeeds when nothing runs."""
    kafka = _existing(data_dir)
    pids = kafka.pids if kafka else []
    if kafka and pids:
        with Console(stderr=True).status("stopping Apache Kafka"):
            kafka.stop()
    if as_json:
        typer.echo(json.dumps({"stopped": len(pids), "data_dir": str(_folder(data_dir))}))
    elif pids:
        typer.echo(f"Kafka stopped; its data stays in {_folder(data_dir)}")
    else:
        typer.echo(f"no Kafka runs in {_folder(data_dir)}")


@app.command(epilog="Example:  govern kafka status --json")
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say whether it runs and where; exit status 0 when it does, 3 when not."""
    kafka = _existing(data_dir)
    running = kafka is not None and kafka.running()
    if as_json:
        typer.echo(json.dumps(_facts(kafka) if kafka else {"running": False, "data_dir": str(_folder(data_dir))}))
    elif kafka is None or not kafka.pids:
        typer.echo(f"no Kafka runs in {_folder(data_dir)}; start it with: govern kafka start")
    elif running:
        typer.echo(f"Kafka runs on {kafka.bootstrap_servers} (pid {_list(kafka.pids)}, data in {kafka.data_dir})")
    else:
        typer.echo(
            f"only {len(kafka.pids)} of {len(kafka.nodes)} brokers run (pid {_list(kafka.pids)}); govern kafka start"
        )
    if not running:
        raise typer.Exit(3)


def _folder(data_dir: Path | None) -> Path:
    return (data_dir or Settings().data_dir / "kafka").expanduser().absolute()


def _existing(data_dir: Path | None, heap_mb: int = 512) -> LocalKafka | None:
    """The cluster as it was first started, or None where there is none."""
    try:
        return open_kafka(_folder(data_dir), heap_mb=heap_mb)
    except Misconfigured:
        return None


def _facts(kafka: LocalKafka) -> dict[str, object]:
    return {
        "running": kafka.running(),
        "bootstrap_servers": kafka.bootstrap_servers,
        "brokers": len(kafka.nodes),
        "security": kafka.security,
        "pids": kafka.pids,
        "data_dir": str(kafka.data_dir),
    }


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
