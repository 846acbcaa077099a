"""`govern replay`: a file of decisions judged by a configuration, or one recorded decision judged again. No Kafka, no Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.audit.proof import VerdictId
from agents.errors import Misconfigured
from orchestration import keys
from orchestration.archive import Archive, Expired
from orchestration.attribute_file import attributes_of
from orchestration.cli.progress import progress
from orchestration.config_files import load
from orchestration.log_store import LogStore
from orchestration.profile_store import ProfileStore
from orchestration.reexecute import NotReproducible, Reexecuted, reexecute
from orchestration.replay import Changes, Replayed, Tally
from orchestration.replay import replay as replay_file
from orchestration.settings import Settings

COLOURS = {"allow": "green", "log": "cyan", "hold": "yellow", "block": "red"}


def replay(
    verdict: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="A recorded decision: <topic>/<partition>/<offset>.", show_default=False),
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="A file of decisions: NDJSON, or a Parquet file of the archive.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Folder or file of the configuration to judge by.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for what comes of it.")] = None,
    diff: Annotated[
        Path | None, typer.Option(help="Another configuration: show what it decides otherwise (from it to --config).")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="NDJSON of attributes events, for monitors: protected attributes by subject.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="With ID: the evidence store; else GOVERN_STORE.")] = None,
    archive: Annotated[str | None, typer.Option(help="With ID: the archive; else GOVERN_ARCHIVE.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="With ID: the topic prefix; else GOVERN_PREFIX.")] = None,
    key_dir: Annotated[
        Path | None, typer.Option("--dir", help="With ID: where the keys lie; else GOVERN_KEYS_DIR.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge decisions again: a file of them by any configuration, or a recorded one exactly as it was judged.

    A file: every line gets a verdict, written into --out with flags, dead letters and a summary; where monitors are
    configured, also their signals and last figures; with --diff also what changes.

    Example: govern replay --decisions decisions.ndjson --config governance.new --out replay --diff governance

    A recorded decision is judged from evidence and archive, and its verdict compared byte for byte. Exit status 0: the
    same; 1: not the same; 2: cannot be judged again. Example: govern replay gim.decisions/0/17
    """
    if verdict is not None and decisions is None:
        settings = _settings(store, archive, name, key_dir)
        raise typer.Exit(_again(verdict, settings, as_json))
    if verdict is not None or decisions is None or config is None or out is None:
        raise Misconfigured("give either an ID, or --decisions, --config and --out; see govern replay --help")
    with progress(f"judging {decisions.name}") as report:
        before = load(diff) if diff is not None else None
        known = attributes_of(attributes) if attributes is not None else None
        kept = ProfileStore(Settings().profiles_url)
        result = replay_file(decisions, load(config), out, before, report, profiles=kept.of, attributes=known)
    if as_json:
        typer.echo(json.dumps(result.document(), ensure_ascii=False))
    else:
        _show(Console(highlight=False), result, out)


def _again(text: str, settings: Settings, as_json: bool) -> int:
    wanted = VerdictId.parse(text if text.rsplit("/", 1)[-1] in ("gate", "final") else f"{text}/gate")
    salt = keys.paths(settings.prefix, settings.keys_dir).salt
    committer = keys.load_salt(salt) if salt.expanduser().exists() else None
    try:
        found = reexecute(
            wanted,
            settings.prefix,
            LogStore(settings.store_url),
            Archive(settings.archive_url),
            committer,
            settings.max_record_bytes,
            ProfileStore(settings.profiles_url).get,
        )
    except (Expired, NotReproducible) as error:
        typer.echo(str(error), err=True)
        return 2
    if as_json:
        typer.echo(json.dumps(_document(found), ensure_ascii=False))
    else:
        _tell(Console(highlight=False, soft_wrap=True), found)
    return 0 if found.identical else 1


def _settings(store: str | None, archive: str | None, name: str | None, key_dir: Path | None) -> Settings:
    given = {"store": store, "archive": archive, "prefix": name, "keys_dir": key_dir}
    return Settings().model_copy(update={key: value for key, value in given.items() if value is not None})


def _show(console: Console, result: Replayed, out: Path) -> None:
    tally = result.tally
    console.print(f"{tally.records:,} records by {tally.configuration[:19]}: {_counted(tally)}", soft_wrap=True)
    if tally.rules:
        console.print(_rules(tally))
    for alarm in result.alarms[:20]:
        console.print(f"[red]monitor[/red] {escape(alarm)}", soft_wrap=True)
    if result.changes is not None:
        _show_changes(console, result.changes, tally.records)
    console.print(f"written to {escape(str(out))}", soft_wrap=True)


def _counted(tally: Tally) -> str:
    told = [f"[{COLOURS[name]}]{name} {count:,}[/{COLOURS[name]}]" for name, count in tally.effects.items()]
    odd = [f"{count:,} {kind}" for kind, count in tally.kinds.most_common() if kind != "decision"]
    return ", ".join(told) + (f" (among them {', '.join(odd)})" if odd else "")


def _rules(tally: Tally) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("rule", no_wrap=True)
    table.add_column("effect")
    table.add_column("records", justify="right")
    table.add_column("first", justify="right")
    table.add_column("what it says of the first", overflow="fold")
    for name, one in tally.frequent():
        effects = "/".join(one.effects)
        said = [f"{one.unknown:,} could not be evaluated"] if one.unknown else []
        said = [*said, f"{one.not_applied:,} recorded only"] if one.not_applied else said
        words = "; ".join([*([one.reason] if one.reason else []), *said])
        colour = COLOURS.get(effects, "default")
        table.add_row(escape(name), f"[{colour}]{effects}[/{colour}]", f"{one.count:,}", str(one.first), escape(words))
    return table


def _show_changes(console: Console, changes: Changes, records: int) -> None:
    console.print(
        f"{changes.changed:,} of {records:,} come out otherwise than by {changes.before[:19]}", soft_wrap=True
    )
    for transition, count in changes.transitions.most_common():
        console.print(f"  {count:>8,}  {transition}")
    if changes.other_reasons:
        console.print(f"  {changes.other_reasons:>8,}  the same effect for other reasons")


def _document(found: Reexecuted) -> dict[str, object]:
    return {
        "id": found.verdict.id,
        "identical": found.identical,
        "log": found.log,
        "leaf": found.index,
        "recorded": json.loads(found.recorded),
        "again": json.loads(found.again),
        "differences": [
            {"field": one.field, "recorded": one.recorded, "again": one.again} for one in found.differences
        ],
        "remarks": list(found.remarks),
    }


def _tell(console: Console, found: Reexecuted) -> None:
    data = found.verdict.data
    colour, word = ("green", "identical") if found.identical else ("red", "NOT the same")
    how = f"all {len(found.recorded)} bytes" if found.recorded == found.again else "what could be compared"
    console.print(
        f"[{colour}]{word}[/{colour}]  {escape(found.verdict.id)}" + (f"  ({how})" if found.identical else "")
    )
    effect = data.effect.value if data.effect is not None else "no effect of its own"
    why = ", ".join(one.rule for one in data.reasons) or "no rule matched"
    console.print(f"  verdict        {data.kind.value}, {effect}: {escape(why)}")
    console.print(f"  evidence       leaf {found.index} of {escape(found.log)}")
    console.print(f"  configuration  {data.config}")
    as_of = data.as_of
    console.print(f"  as of          config {as_of.config}, signals {as_of.signals}, safeguards {as_of.safeguards}")
    for one in found.differences:
        console.print(f"  [red]{escape(one.field)}[/red]: recorded {escape(one.recorded)}, again {escape(one.again)}")
    for remark in found.remarks:
        console.print(f"  [yellow]note[/yellow] {escape(remark)}")
