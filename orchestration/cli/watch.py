"""`govern watch`: a file of decisions as rules and monitors would have seen it, on this machine alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from orchestration import tables
from orchestration.attribute_file import attributes_of
from orchestration.cli.progress import progress
from orchestration.config_files import FIRST_FILE, load
from orchestration.extensions import kinds
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings
from orchestration.watch_report import metrics, show, write
from orchestration.watching import Watching


def watch(
    decisions: Annotated[Path, typer.Argument(metavar="FILE", help="Decisions: CSV, TSV, Parquet or NDJSON.")],
    config: Annotated[Path, typer.Option(help="Folder or file of the configuration.")] = Path(FIRST_FILE),
    profile: Annotated[
        str | None, typer.Option(help="Compare with this profile (its digest); else with the file's beginning.")
    ] = None,
    reference: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="The part at the beginning to compare the rest with; 0: none.")
    ] = 0.3,
    attributes: Annotated[
        Path | None, typer.Option(help="NDJSON of attributes events: protected attributes by subject.")
    ] = None,
    outcome: Annotated[str | None, typer.Option(help="The column that says what really happened.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures, signals and metrics.")] = Path("watch"),
    pictures: Annotated[bool, typer.Option(help="Draw pictures.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as one JSON object.")] = False,
) -> None:
    """Show what rules would have held, which alarms would have come and when, and who fares how, without Kafka or Ray.

    The first part of the file, in the order of its times, is what monitors of drift and behaviour compare the rest with.

    Example: govern watch decisions.csv

    Example: govern watch decisions.parquet --config governance --reference 0.5 --out watch
    """
    configuration = load(config)
    known = attributes_of(attributes) if attributes is not None else None
    with progress(f"watching {decisions.name}") as report:
        rows = tables.decisions(decisions, configuration, lambda share: report(share * 0.1))
        store = ProfileStore(Settings().profiles_url)
        if profile is not None:
            found = store.get(profile)
            others = {name: one.profile for name, one in configuration.models.items() if name != found.model}
            profiles = {name: store.get(one) for name, one in others.items() if one} | {found.model: found}
        else:
            profiles = dict(store.of(configuration))
        watching = Watching(
            rows, configuration, kinds(),
            profiles=profiles, reference=reference, attributes=known, outcome=outcome, source=decisions.name,
        )  # fmt: skip
        findings = watching.run(lambda share: report(0.1 + share * 0.8))
        written = write(out, findings)
        if pictures:
            from orchestration.watch_pictures import draw  # matplotlib takes its time

            written += draw(out, findings, watching.watch.watched)
    if as_json:
        typer.echo(json.dumps(metrics(findings.final, findings.waiting, findings.decisions), ensure_ascii=False))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    show(console, findings, watching.watch.watched)
    names = ", ".join(one.name for one in written)
    console.print(f"written to {escape(str(out))}: {escape(names)}", soft_wrap=True)
