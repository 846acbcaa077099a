"""What a model's monitors would notice how soon, as tables: `govern monitors plan`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.configuration import Configuration, Model
from agents.errors import Misconfigured
from agents.monitor.drift import JOINT, DataDrift
from agents.monitor.impact import DisparateImpact
from agents.monitor.intake import table_of
from orchestration.noticing import SHIFTS, Delay, Question, drift, inequality
from orchestration.tables import Rows

RATIOS = (0.7, 0.6, 0.5)
DAY_MS, YEAR_MS = 86_400_000.0, 31_557_600_000.0
UNITS = (("years", YEAR_MS), ("days", DAY_MS), ("hours", 3_600_000.0), ("minutes", 60_000.0))


@dataclass(frozen=True)
class Group:
    """A group that could fare worse; shares are parts of all decisions."""

    name: str
    reference: str
    share: float
    reference_share: float
    rate: float
    """How often the reference gets the favourable answer."""


def plan_groups(console: Console, monitor: DisparateImpact, groups: list[Group], pace: float, horizon: int) -> None:
    """Print how soon unequal rates of each group would be noticed, at `pace` decisions a day."""
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


def plan_drift(console: Console, monitor: DataDrift, pace: float, horizon: int) -> None:
    """Print how soon one drifting feature would be noticed."""
    if not monitor.setting.share:
        return
    weight = DAY_MS / pace if monitor.setting.budget.unit == "ms" else 1.0
    part = (1 - JOINT) / max(len(monitor.setting.declaration.features), 1)
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


def pace_of(rows: Rows | None, configuration: Configuration, model: str, given: float) -> float:
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


def groups_of(
    monitor: DisparateImpact,
    configuration: Configuration,
    rows: Rows | None,
    share: float | None,
    rate: float | None,
) -> Iterator[Group]:
    """Who could fare worse than whom: as the data show, or as said."""
    declaration = monitor.setting.declaration
    attributes = monitor.setting.options.attributes or tuple(declaration.groups)
    if rows is None or share is not None:
        for name in attributes:
            part = 1 / len(declaration.groups[name]) if share is None else share
            yield Group(f"{name}=…", "the others", part, 1 - part, 0.5 if rate is None else rate)
        return
    for table in table_of(rows, configuration, {monitor.setting.model: {"output.label"}}):
        if table.model == monitor.setting.model:
            favoured = table.frame["output.label"].is_in(_favourable(declaration)).fill_null(False).to_numpy()
            for name in attributes:
                yield from _of_attribute(name, declaration, table.groups[name], favoured, monitor.setting.options, rate)


def _of_attribute(
    name: str, declaration: Model, codes: Any, favoured: Any, options: Any, rate: float | None
) -> Iterator[Group]:
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
            yield Group(
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
