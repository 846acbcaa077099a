"""`govern monitors …`: which kinds there are, how a model's budget is shared, and what would be noticed when."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.monitor.compilation import Watched, find_monitors
from agents.monitor.contract import Budget, Monitor
from agents.monitor.drift import DataDrift
from agents.monitor.impact import Gap
from orchestration import tables
from orchestration.cli.monitor_plan import (
    UNITS,
    Pace,
    groups_of,
    pace_of,
    plan_drift,
    plan_groups,
    plan_shares,
    rises_of,
    why_none,
)
from orchestration.cli.progress import progress
from orchestration.config_files import load
from orchestration.extensions import kinds as all_kinds
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, budget and plan monitors.")
Where = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A folder of YAML files, or one file.", show_default=False)
]


@app.command()
def kinds(
    name: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Only this one.", show_default=False)] = None,
) -> None:
    """List the kinds of monitors: what each watches, how its alarms are justified, and what it can be told.

    Example: govern monitors kinds disparate_impact
    """
    found = all_kinds()
    if name is not None and name not in found:
        raise Misconfigured(f"there is no kind {name!r}; there are {', '.join(sorted(found))}")
    console = _console()
    for kind in sorted(found) if name is None else [name]:
        one = found[kind]
        console.print(f"[bold]{escape(kind)}[/bold]  {escape(one.summary)}", soft_wrap=True)
        stage = ", on decisions whose outcome is known" if one.stage == "outcomes" else ""
        console.print(f"    {one.guarantee}{stage}: {escape(one.formula)}", soft_wrap=True, style="dim")
        for option, what in _options(one):
            console.print(f"    [cyan]{escape(option)}[/cyan]  {escape(what)}", soft_wrap=True)


@app.command()
def budget(path: Where) -> None:
    """Show how each model's budget of false alarms is shared by its monitors.

    Example: govern monitors budget governance
    """
    configuration = load(path)
    console = _console()
    for model, watched in watched_of(configuration).items():
        if not watched.monitors:
            console.print(f"{escape(model)}: no monitor watches it", soft_wrap=True)
            continue
        console.print(
            f"[bold]{escape(model)}[/bold]: all its monitors together may cry wolf once in {human(watched.budget)}",
            soft_wrap=True,
        )
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for name in ("monitor", "kind", "share", "alone it may cry wolf once in", ""):
            table.add_column(name, justify="right" if name == "share" else "left")
        for one in watched.monitors:
            share = one.setting.share
            alone = human(watched.budget, share) if share else "never: it raises no alarm"
            table.add_row(escape(one.name), one.kind, f"{share:.1%}", alone, escape(one.ready or ""))
        console.print(table)


@app.command()
def plan(
    path: Where,
    data: Annotated[Path | None, typer.Option(help="Decisions to take pace, groups and rates from.")] = None,
    per_day: Annotated[float, typer.Option(min=0, help="Decisions a day; 0: as in --data, else 1,000.")] = 0,
    share: Annotated[float | None, typer.Option(min=0.001, max=0.999, help="A group's share of the decisions.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, max=0.99, help="How often the reference is favoured.")] = None,
    labelled: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of decisions whose outcome gets known.")
    ] = 1.0,
    positive: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Share of known outcomes that are positive.")
    ] = 0.5,
) -> None:
    """Tell how soon your monitors would notice what, at your pace: simulated with the engines that judge.

    Example: govern monitors plan governance --data decisions.csv

    Example: govern monitors plan governance --per-day 210 --share 0.2 --rate 0.5
    """
    configuration = load(path)
    rows = tables.decisions(data, configuration) if data is not None else None
    console = _console()
    for model, watched in watched_of(configuration).items():
        pace = Pace(pace_of(rows, configuration, model, per_day), labelled, positive)
        with progress(f"simulating {model}") as report:
            for done, one in enumerate(watched.monitors, 1):
                if not (one.setting.share and one.alarms) or (one.ready is not None and not isinstance(one, DataDrift)):
                    _no_plan(console, one)
                elif isinstance(one, Gap):
                    plan_groups(console, one, list(groups_of(one, configuration, rows, share, rate)), pace)
                elif isinstance(one, DataDrift):
                    plan_drift(console, one, pace)
                elif rises := rises_of(one, pace):
                    plan_shares(console, one, rises, pace)
                else:
                    _no_plan(console, one)
                report(done / len(watched.monitors))


def _no_plan(console: Console, monitor: Monitor) -> None:
    told = f"{monitor.setting.model}, {monitor.name}: no plan: {why_none(monitor)}"
    console.print(f"[dim]{escape(told)}[/dim]", soft_wrap=True)


def watched_of(configuration: Configuration) -> dict[str, Watched]:
    """Every model's monitors, with the profiles that are there."""
    store = ProfileStore(Settings().profiles_url)
    named = {model.profile for model in configuration.models.values() if model.profile}
    there = {digest: store.get(digest) for digest in named & set(store.digests())}
    return find_monitors(configuration, [], there, all_kinds())


def waiting_of(configuration: Configuration) -> Iterator[str]:
    """A line for each monitor that cannot judge yet."""
    for model, watched in watched_of(configuration).items():
        for one in watched.monitors:
            if one.ready is not None:
                yield f"{model}: {one.name} waits: {one.ready}"


def human(budget: Budget, share: float = 1.0) -> str:
    """What a monitor with such a share may do by chance, in units that people live in.

    >>> human(Budget(31_557_600_000.0, "ms"), 0.25), human(Budget(1e6), 0.5)
    ('4 years', '2,000,000 decisions')
    """
    alone = budget.limit / share
    if budget.unit == "decisions":
        return f"{alone:,.0f} decisions"
    for name, ms in UNITS:
        if alone >= ms:
            number = f"{alone / ms:.1f}".removesuffix(".0")
            return f"{number} {name if number != '1' else name.removesuffix('s')}"
    return f"{alone / 1000:.0f} seconds"


def _options(kind: type[Monitor]) -> Iterator[tuple[str, str]]:
    for name, info in kind.options_type.model_fields.items():
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        told = "" if default in (None, (), {}, "") else f" (default {_shown(default)})"
        told = " (must be given)" if info.is_required() else told
        yield name, (info.description or "").replace("\n", " ") + told


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)
