"""`govern profile …`: fit what decisions are compared with, and show how good it is. Needs neither Kafka nor Ray."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from agents.errors import Misconfigured
from agents.monitor.compilation import compile_monitors
from agents.monitor.profiles import Profile
from orchestration import tables
from orchestration.cli.progress import progress
from orchestration.config_files import FIRST_FILE, load
from orchestration.extensions import kinds
from orchestration.profile_store import ProfileStore
from orchestration.profiling import fitted
from orchestration.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Fit and show profiles.")
Store = Annotated[str | None, typer.Option(help="Where profiles are kept; else GOVERN_PROFILES.", show_default=False)]


@app.command()
def fit(
    data: Annotated[Path, typer.Option(help="Decisions of a time when all was well: CSV, TSV, Parquet or NDJSON.")],
    model: Annotated[str | None, typer.Option(help="Whose; not needed where one model is declared.")] = None,
    config: Annotated[Path, typer.Option(help="Folder or file of the configuration.")] = Path(FIRST_FILE),
    version: Annotated[str | None, typer.Option(help="Only decisions of this version.")] = None,
    outcome: Annotated[str | None, typer.Option(help="The column that says what really happened.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What the profile says it was fitted on; by default the file.")
    ] = None,
    store: Store = None,
) -> None:
    """Fit a model's profile from decisions, keep it by its digest, and say how good it is.

    Example: govern profile fit --data train.parquet --model credit-limit --version 2.1.0

    Example: govern profile fit --data last-year.csv --outcome repaid
    """
    configuration = load(config)
    if model is None:
        if len(configuration.models) != 1:
            raise Misconfigured(f"give --model with one of {', '.join(configuration.models) or 'none declared'}")
        model = next(iter(configuration.models))
    with progress(f"fitting {data.name}") as report:
        rows = tables.decisions(data, configuration, lambda share: report(share * 0.3))
        found = fitted(rows, configuration, model, kinds(), version=version, outcome=outcome, source=name or data.name)
        report(0.9)
        digest = ProfileStore(_url(store)).put(found.to_bytes())
    _show(found)
    used = {one.kind for one in compile_monitors(configuration, {}, kinds())[model].monitors}
    idle = ", ".join(sorted(set(found.sections) - used))
    if idle:
        typer.echo(f"not declared under `monitors:` for this model, though it serves them: {idle}")
    typer.echo(f"write into the model's declaration:\n    profile: {digest}")


@app.command()
def show(
    digest: Annotated[str, typer.Argument(help="Its digest, or the beginning of it.")],
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole profile as JSON.")] = False,
) -> None:
    """Show a profile: whose it is, what it rests on, how good it is, which kinds of monitors it serves.

    Example: govern profile show sha256:73ff6af4
    """
    found = ProfileStore(_url(store)).get(digest)
    if as_json:
        typer.echo(json.dumps(json.loads(found.to_bytes()), ensure_ascii=False))
        return
    _show(found)
    typer.echo(found.digest)


def _show(found: Profile) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    version = f", version {found.version}" if found.version else ""
    console.print(
        f"profile of {escape(found.model)}{escape(version)}: {found.rows:,} decisions of {escape(found.source)}"
    )
    console.print(f"serves: {escape(', '.join(sorted(found.sections)) or 'no kind of monitor')}", soft_wrap=True)
    for remark in found.remarks:
        console.print(f"  - {escape(remark)}", soft_wrap=True)
    if not found.remarks:
        console.print("nothing to remark: enough decisions, no constant columns, all groups seen")


def _url(store: str | None) -> str:
    return store if store is not None else Settings().profiles_url
