"""What a model's monitors would notice how soon, as tables: `govern monitors plan`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.configuration import Configuration, Model
from agents.errors import Misconfigured
from agents.monitor.anomaly import Anomaly
from agents.monitor.contract import Monitor
from agents.monitor.drift import JOINT, DataDrift
from agents.monitor.impact import Gap
from agents.monitor.intake import table_of
from agents.monitor.operations import Operations
from agents.monitor.opportunity import Opportunity
from agents.monitor.scoring import ScoringRate
from agents.monitor.shares import FlaggedShares
from orchestration.noticing import SHIFTS, Delay, Question, Rise, drift, inequality, rising
from orchestration.tables import Rows

RATIOS = (0.7, 0.6, 0.5)
DIFFERENCES = (0.15, 0.2, 0.3)
MULTIPLES = (2.0, 3.0, 10.0)
LONGEST = 300_000
DAY_MS, YEAR_MS = 86_400_000.0, 31_557_600_000.0
UNITS = (("years", YEAR_MS), ("days", DAY_MS), ("hours", 3_600_000.0), ("minutes", 60_000.0))
NO_PLAN = {
    "label_coverage": "it raises no alarm; a warning stands as soon as too few of the recently matured decisions are labelled",
    "volume": "how soon a silence shows depends on how many decisions the hour usually has: some minutes at four a minute",
    "call_rate": "it depends on what each caller does at each hour; `govern watch` shows it on decisions of yours",
    "behaviour": "it depends on which decisions a new version turns; `govern watch` shows it on decisions of both versions",
    "calibration": "it depends on which scores are wrong, and by how much; `govern watch --outcome` shows it on yours",
    "performance": "it depends on which scores are wrong, and by how much; `govern watch --outcome` shows it on yours",
}


@dataclass(frozen=True)
class Pace:
    """How fast what a monitor counts comes in."""

    per_day: float
    """Decisions of the model."""
    labelled: float = 1.0
    """For monitors of outcomes: the part of them whose outcome becomes known …"""
    positive: float = 0.5
    """… and the part of these whose outcome is positive."""

    def horizon(self) -> int:
        """How many decisions a plan looks ahead: at most LONGEST, and no more than three years."""
        return int(min(LONGEST, max(2_000, 3 * 365 * self.per_day)))


@dataclass(frozen=True)
class Group:
    """A group that could fare worse; shares are parts of all decisions."""

    name: str
    reference: str
    share: float
    reference_share: float
    rate: float
    """How often the reference gets the favourable answer."""


def plan_groups(console: Console, monitor: Gap, groups: list[Group], pace: Pace) -> None:
    """Print how soon unequal rates of each group would be noticed."""
    if not groups:
        console.print(f"{escape(monitor.name)}: nobody to compare; give --share and --rate, or --data", soft_wrap=True)
        return
    counted, among, wait_ms = _matured(monitor, pace)
    sizes = _sizes(monitor)
    needed = {
        name: monitor.limit / part
        for name, part in zip(monitor.start()["tables"], monitor.shares(monitor.start()["tables"]), strict=True)
    }
    weight = DAY_MS / counted if monitor.setting.budget.unit == "ms" else 1.0
    asked = {
        (one, size): Question(
            one.share * among, one.reference_share * among, one.rate, ratio, needed[_attribute(one.name)], weight,
            monitor.watch.bounds[0], monitor.watch.null, monitor.watch.adverse,
        )
        for one in groups
        for size in sizes
        if (ratio := _ratio(monitor, size, one.rate)) is not None
    }  # fmt: skip
    horizon = Pace(counted).horizon()
    delays = dict(zip(asked, inequality(list(asked.values()), horizon), strict=True))
    table = _table("group", "share", "against", *(_sized(monitor, size) for size in sizes))
    for one in groups:
        told = [
            _told(delays[one, size], counted, horizon, wait_ms) if (one, size) in delays else "cannot be"
            for size in sizes
        ]
        table.add_row(escape(one.name), f"{one.share:.1%}", escape(f"{one.rate:.0%} of {one.reference}"), *told)
    _headline(console, monitor)
    console.print(table)
    noticed = next((asked for asked, one in delays.items() if np.isfinite(one.median)), None)
    if noticed is not None:
        group, size = noticed
        delay = delays[noticed]
        late = f" (9 in 10 within {_days(delay.late, counted, wait_ms)})" if np.isfinite(delay.late) else ""
        console.print(
            escape(
                f"at {pace.per_day:,.0f} decisions a day {_sized(monitor, size)} of {group.name} is noticed after a median "
                f"{_days(delay.median, counted, wait_ms)}{late}"
            ),
            soft_wrap=True,
        )
    for line in _assumed(monitor, pace, wait_ms):
        console.print(f"[dim]{escape(line)}[/dim]", soft_wrap=True)


def _matured(monitor: Gap, pace: Pace) -> tuple[float, float, float]:
    """What a monitor counts a day, the part of it that is compared, and after how many ms each is counted."""
    if not isinstance(monitor, Opportunity):
        return pace.per_day, 1.0, 0.0
    among = pace.positive if monitor.among else 1 - pace.positive
    return pace.per_day * pace.labelled, among, monitor.setting.declaration.label_maturity * 1000


def _assumed(monitor: Gap, pace: Pace, wait_ms: float) -> Iterator[str]:
    if isinstance(monitor, Opportunity):
        wait = f" and {_days(wait_ms, DAY_MS)} after their decisions (label_maturity)" if wait_ms else ""
        yield (
            f"if outcomes of {pace.labelled:.0%} of the decisions are known (--labelled){wait}, {pace.positive:.0%} of them "
            "positive (--positive); from --data, the rates of all decisions stand in for those of the compared"
        )
    elif isinstance(monitor, ScoringRate):
        yield "half of the reference's scores lie above the median of the period before; the first period has no median"


def _sizes(monitor: Gap) -> list[float]:
    """How unequal rates may become: beyond the monitor's level."""
    level = monitor.watch.bounds[0]
    if monitor.watch.null == "difference":
        return [one for one in DIFFERENCES if one > level] or [(1 + level) / 2]
    ratios = [one for one in RATIOS if one < level] or [0.5 * level]
    return ratios if monitor.watch.adverse == "lower" else [1 / one for one in ratios]


def _ratio(monitor: Gap, size: float, rate: float) -> float | None:
    """A group's rate as a multiple of the reference's `rate`; None where no rate is so low or so high."""
    ratio = 1 - size / rate if monitor.watch.null == "difference" else size
    return ratio if ratio >= 0 and ratio * rate <= 1 else None


def _sized(monitor: Gap, size: float) -> str:
    return f"a {'difference' if monitor.watch.null == 'difference' else 'ratio'} of {size:.2f}"


def plan_shares(console: Console, monitor: Monitor, rises: Mapping[str, Rise], pace: Pace) -> None:
    """Print how soon larger shares than allowed would be noticed."""
    horizon = pace.horizon()
    table = _table("share of decisions", "may be", *(f"becomes {one:g} times that" for one in MULTIPLES))
    for name, rise in rises.items():
        multiples = [one for one in MULTIPLES if one * rise.allowed < 1]
        delays = rising(rise, multiples, horizon) if multiples else []
        told = [_told(one, pace.per_day, horizon) for one in delays] + ["cannot be"] * (len(MULTIPLES) - len(delays))
        table.add_row(escape(name), f"{rise.allowed:.3g}", *told)
    _headline(console, monitor)
    console.print(table)
    console.print(
        "[dim]all callers together; before it half of what may be, decisions independent of each other[/dim]",
        soft_wrap=True,
    )


def rises_of(monitor: Monitor, pace: Pace) -> dict[str, Rise]:
    """The shares that a monitor holds to a limit, as it holds all decisions to them; none for other kinds."""
    weight = DAY_MS / pace.per_day if monitor.setting.budget.unit == "ms" else 1.0
    limit, share = monitor.limit, monitor.setting.share
    if isinstance(monitor, FlaggedShares):
        whole = {flag: monitor.whole(flag) for flag in monitor.flags}
        return {flag: Rise(p0, limit, part, weight, spread) for flag, (p0, part, spread) in whole.items()}
    if isinstance(monitor, Operations):
        part = share / (1 + (monitor.shapes is not None)) / max(len(monitor.features), 1)
        missing = {
            f"{p0:.9f}": (name, float(p0)) for name, p0 in zip(monitor.features, monitor.missing.p0, strict=False)
        }
        found = {f"without {name}": Rise(p0, limit, part, weight) for name, p0 in missing.values()}
        return found if len(found) > 1 else dict(zip(["without a feature"], found.values(), strict=False))
    if isinstance(monitor, Anomaly):
        names = monitor.rates.names
        return {
            name: Rise(float(p0), limit, share / len(names), weight)
            for name, p0 in zip(names, monitor.rates.p0, strict=False)
        }
    return {}


def why_none(monitor: Monitor) -> str:
    """Why there is no plan for a monitor, in plain words."""
    if monitor.kind in NO_PLAN:
        return NO_PLAN[monitor.kind]
    if not (monitor.setting.share and monitor.alarms):
        return "it raises no alarm (share 0)"
    if monitor.ready is not None:
        return f"it cannot judge yet: {monitor.ready}"
    return f"nothing here simulates the kind {monitor.kind}; feed made-up decisions to agents.monitor.Watch"


def plan_drift(console: Console, monitor: DataDrift, pace: Pace) -> None:
    """Print how soon one drifting feature would be noticed."""
    horizon = pace.horizon()
    weight = DAY_MS / pace.per_day if monitor.setting.budget.unit == "ms" else 1.0
    part = (1 - JOINT) / max(len(monitor.setting.declaration.features), 1)
    needed = monitor.limit / (monitor.setting.share * part)
    table = _table("one numeric feature moves", "noticed after a median (9 in 10 within)")
    for shift in SHIFTS:
        table.add_row(str(shift), _told(drift(shift, needed, weight, horizon), pace.per_day, horizon))
    console.print(f"[bold]{escape(monitor.setting.model)}, {escape(monitor.name)}[/bold]", soft_wrap=True)
    console.print(table)


def _headline(console: Console, monitor: Monitor) -> None:
    told = f"[bold]{escape(monitor.setting.model)}, {escape(monitor.name)}[/bold]"
    console.print(f"{told}: median until it is noticed (9 in 10 within)", soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in ("share", "may be") else "left")
    return table


def _told(one: Delay, per_day: float, horizon: int, wait_ms: float = 0.0) -> str:
    if not np.isfinite(one.median):
        return f"mostly not within {_days(horizon, per_day, wait_ms)}"
    late = _days(one.late, per_day, wait_ms) if np.isfinite(one.late) else "others later"
    return f"{_days(one.median, per_day, wait_ms)} ({late})"


def _days(decisions: float, per_day: float, wait_ms: float = 0.0) -> str:
    """`35 days`, `4 hours`: decisions at a pace, as time, and how long each takes to be counted.

    >>> _days(7_350, 210), _days(500, 100_000), _days(7_350, 210, 10 * DAY_MS)
    ('35 days', '7 minutes', '45 days')
    """
    ms = decisions / per_day * DAY_MS + wait_ms
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
    monitor: Gap,
    configuration: Configuration,
    rows: Rows | None,
    share: float | None,
    rate: float | None,
) -> Iterator[Group]:
    """Who could fare worse than whom: as the data show, or as said."""
    declaration = monitor.setting.declaration
    attributes = monitor.setting.options.attributes or tuple(declaration.groups)
    rate = 0.5 if isinstance(monitor, ScoringRate) else rate
    if rows is None or share is not None:
        for name in attributes:
            part = 1 / len(declaration.groups[name]) if share is None else share
            yield Group(f"{name}=…", "the others", part, 1 - part, 0.5 if rate is None else rate)
        return
    for table in table_of(rows, configuration, {monitor.setting.model: {"output.label"}}):
        if table.model == monitor.setting.model:
            favoured = table.frame["output.label"].is_in(_favourable(declaration)).fill_null(False).to_numpy()
            for name in attributes:
                yield from _of_attribute(name, monitor, table.groups[name], favoured, rate)


def _of_attribute(name: str, monitor: Gap, codes: Any, favoured: Any, rate: float | None) -> Iterator[Group]:
    groups = monitor.setting.declaration.groups[name]
    counts = np.bincount(codes[codes >= 0], minlength=len(groups))
    hits = np.bincount(codes[(codes >= 0) & favoured], minlength=len(groups))
    enough, rates = counts >= 30, (hits + 0.5) / (counts + 1)
    if not enough.any():
        return
    named = monitor.setting.options.reference.get(name)
    fares = rates if monitor.watch.adverse == "lower" else -rates
    best = groups.index(named) if named in groups else int(np.where(enough, fares, -np.inf).argmax())
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
