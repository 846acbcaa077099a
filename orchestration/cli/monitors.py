"""`govern monitors …`: which kinds there are, how a model's budget is shared, and what would be noticed when."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.configuration import Configuration, Model
from agents.errors import Misconfigured
from agents.monitor.compilation import Watched, find_monitors
from agents.monitor.contract import Budget, Monitor
from agents.monitor.drift import PAIRS, DataDrift
from agents.monitor.impact import DisparateImpact
from agents.monitor.intake import table_of
from orchestration import tables
from orchestration.cli.progress import progress
from orchestration.config_files import load
from orchestration.extensions import kinds as all_kinds
from orchestration.noticing import SHIFTS, Delay, Question, drift, inequality
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, budget and plan monitors.")
Where = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A folder of YAML files, or one file.", show_default=False)
]
RATIOS = (0.7, 0.6, 0.5)
DAY_MS, YEAR_MS = 86_400_000.0, 31_557_600_000.0
LONGEST = 300_000
"""Decisions that a plan looks ahead, at most; and no more than three years."""
UNITS = (("years", YEAR_MS), ("days", DAY_MS), ("hours", 3_600_000.0), ("minutes", 60_000.0))


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
) -> None:
    """Tell how soon your monitors would notice what, at your pace: simulated with the engines that judge.

    Example: govern monitors plan governance --data decisions.csv

    Example: govern monitors plan governance --per-day 210 --share 0.2 --rate 0.5
    """
    configuration = load(path)
    rows = tables.decisions(data, configuration) if data is not None else None
    console = _console()
    for model, watched in watched_of(configuration).items():
        pace = _pace(rows, configuration, model, per_day)
        horizon = int(min(LONGEST, max(2_000, 3 * 365 * pace)))
        with progress(f"simulating {model}") as report:
            for done, one in enumerate(watched.monitors, 1):
                if isinstance(one, DisparateImpact):
                    groups = list(_groups(one, configuration, rows, share, rate))
                    _plan_groups(console, one, groups, pace, horizon)
                elif isinstance(one, DataDrift):
                    _plan_drift(console, one, pace, horizon)
                report(done / len(watched.monitors))
        others = [one.name for one in watched.monitors if not isinstance(one, DisparateImpact | DataDrift)]
        if others:
            console.print(f"[dim]{escape(model)}: no plan for {escape(', '.join(others))}[/dim]", soft_wrap=True)


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


@dataclass(frozen=True)
class _Group:
    name: str
    reference: str
    share: float
    reference_share: float
    rate: float


def _plan_groups(console: Console, monitor: DisparateImpact, groups: list[_Group], pace: float, horizon: int) -> None:
    if not groups:
        console.print(f"{escape(monitor.name)}: nobody to compare; give --share and --rate, or --data", soft_wrap=True)
        return
    ratios = [one for one in RATIOS if one < monitor.setting.options.level] or [0.5 * monitor.setting.options.level]
    weight = DAY_MS / pace if monitor.setting.budget.unit == "ms" else 1.0
    shares = dict(zip(monitor.start()["tables"], monitor.shares(monitor.start()["tables"]), strict=True))
    questions = [
        Question(
            one.share, one.reference_share, one.rate, ratio, monitor.limit / shares[_attribute(one.name)], weight,
            monitor.setting.options.level,
        )
        for one in groups
        for ratio in ratios
    ]  # fmt: skip
    delays = iter(inequality(questions, horizon))
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("group")
    table.add_column("share", justify="right")
    table.add_column("against")
    for ratio in ratios:
        table.add_column(f"a ratio of {ratio:.2f}")
    first: str | None = None
    for one in groups:
        told = [next(delays) for _ in ratios]
        reference = f"{one.rate:.0%} of {one.reference}"
        table.add_row(
            escape(one.name), f"{one.share:.1%}", escape(reference), *(_told(each, pace, horizon) for each in told)
        )
        if first is None and np.isfinite(told[0].median):
            first = (
                f"at {pace:,.0f} decisions a day a ratio of {ratios[0]:.2f} of {one.name} is noticed after a median "
                f"{_days(told[0].median, pace)}"
                + (f" (9 in 10 within {_days(told[0].late, pace)})" if np.isfinite(told[0].late) else "")
            )
    name, model = monitor.name, monitor.setting.model
    console.print(
        f"[bold]{escape(model)}, {escape(name)}[/bold]: median until it is noticed (9 in 10 within)", soft_wrap=True
    )
    console.print(table)
    if first is not None:
        console.print(escape(first), soft_wrap=True)


def _plan_drift(console: Console, monitor: DataDrift, pace: float, horizon: int) -> None:
    if not monitor.setting.share:
        return
    weight = DAY_MS / pace if monitor.setting.budget.unit == "ms" else 1.0
    part = (1 - PAIRS) / max(len(monitor.setting.declaration.features), 1)
    needed = monitor.limit / (monitor.setting.share * part)
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("one numeric feature moves")
    table.add_column("noticed after a median (9 in 10 within)")
    for shift in SHIFTS:
        table.add_row(str(shift), _told(drift(shift, needed, weight, horizon), pace, horizon))
    console.print(f"[bold]{escape(monitor.setting.model)}, {escape(monitor.name)}[/bold]", soft_wrap=True)
    console.print(table)


def _told(one: Delay, pace: float, horizon: int) -> str:
    if not np.isfinite(one.median):
        return f"mostly not within {_days(horizon, pace)}"
    late = _days(one.late, pace) if np.isfinite(one.late) else "others later"
    return f"{_days(one.median, pace)} ({late})"


def _days(decisions: float, pace: float) -> str:
    """`35 days`, `4 hours`: decisions at a pace, as time.

    >>> _days(7_350, 210), _days(500, 100_000)
    ('35 days', '7 minutes')
    """
    ms = decisions / pace * DAY_MS
    for name, unit in UNITS:
        if ms >= 2 * unit:
            return f"{ms / unit:,.0f} {name}"
    return f"{ms / 1000:,.0f} seconds"


def _pace(rows: tables.Rows | None, configuration: Configuration, model: str, given: float) -> float:
    """Decisions a day: given, or as the data show."""
    if given > 0:
        return given
    if rows is None:
        return 1_000.0
    for table in table_of(rows, configuration, {}):
        span = float(table.times_ms.max() - table.times_ms.min()) if table.height else 0.0
        if table.model == model and span > 0:
            return float(table.height / span * DAY_MS)
    raise Misconfigured("the decisions have no times that tell their pace; give --per-day")


def _groups(
    monitor: DisparateImpact,
    configuration: Configuration,
    rows: tables.Rows | None,
    share: float | None,
    rate: float | None,
) -> Iterator[_Group]:
    """Who could fare worse than whom: as the data show, or as said."""
    declaration = monitor.setting.declaration
    attributes = monitor.setting.options.attributes or tuple(declaration.groups)
    if rows is None or share is not None:
        for name in attributes:
            part = 1 / len(declaration.groups[name]) if share is None else share
            yield _Group(f"{name}=…", "the others", part, 1 - part, 0.5 if rate is None else rate)
        return
    for table in table_of(rows, configuration, {monitor.setting.model: {"output.label"}}):
        if table.model == monitor.setting.model:
            favoured = table.frame["output.label"].is_in(_favourable(declaration)).fill_null(False).to_numpy()
            for name in attributes:
                yield from _of_attribute(name, declaration, table.groups[name], favoured, monitor.setting.options, rate)


def _of_attribute(
    name: str, declaration: Model, codes: Any, favoured: Any, options: Any, rate: float | None
) -> Iterator[_Group]:
    groups = declaration.groups[name]
    counts = np.bincount(codes[codes >= 0], minlength=len(groups))
    hits = np.bincount(codes[(codes >= 0) & favoured], minlength=len(groups))
    rates = np.where(counts >= 30, (hits + 0.5) / (counts + 1), -1.0)
    if rates.max() < 0:
        return
    named = options.reference.get(name)
    best = groups.index(named) if named in groups else int(rates.argmax())
    for place, group in enumerate(groups):
        if place != best and counts[place]:
            yield _Group(
                f"{name}={group}",
                f"{name}={groups[best]}",
                float(counts[place] / len(codes)),
                float(counts[best] / len(codes)),
                float(rates[best]) if rate is None else rate,
            )


def _favourable(declaration: Model) -> list[str]:
    return [name for name, one in declaration.labels.items() if one.favourable]


def _attribute(group: str) -> str:
    return group.partition("=")[0]


def _options(kind: type[Monitor]) -> Iterator[tuple[str, str]]:
    for name, info in kind.options_type.model_fields.items():
        default = info.get_default(call_default_factory=True)
        told = "" if default in (None, (), {}, "") else f" (default {_shown(default)})"
        yield name, (info.description or "").replace("\n", " ") + told


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)
