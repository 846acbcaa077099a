"""`govern stats`: how incidents and people do, for whoever tunes rules and staffs rotations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents.tuning.estimates import Estimate
from orchestration.cli import reading
from orchestration.cli.reading import ago, lasting, safe, several
from orchestration.reading.stats import Precision, Stats, Waits
from orchestration.reading.stats import stats as figures

DAY_MS = 86_400_000


def stats(
    days: Annotated[float, typer.Option(min=0.01, max=36_500, help="Of the last so many days.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show precision by rule and monitor, times to acknowledge and to rule, agreement, bulk share and backlog.

    Example: govern stats --days 7

    Example: govern stats --json | jq '.rules[] | select(.n > 20)'
    """
    now = reading.now_ms()
    found = figures(reading.opened(reading.connected()), now, now - round(days * DAY_MS))
    if as_json:
        reading.tell(document(found))
    else:
        _print(reading.screen(), found, now, days)


def document(found: Stats) -> dict[str, Any]:
    """The figures for scripts: shares with their interval, null where nothing stands behind them."""
    plain = asdict(found)
    plain["rules"] = [{"name": one.name, **_plain(one.right)} for one in found.rules]
    plain["monitors"] = [{"name": one.name, **_plain(one.right)} for one in found.monitors]
    plain["agreement"], plain["blind"] = _plain(found.agreement), _plain(found.blind)
    plain["by_team"] = {
        team: {"acknowledge": asdict(acknowledge), "rule": asdict(rule)}
        for team, (acknowledge, rule) in found.by_team.items()
    }
    return plain


def _plain(one: Estimate) -> dict[str, float | int | None]:
    known = not math.isnan(one.value)
    return {
        "share": one.value if known else None,
        "lower": one.lower if known else None,
        "upper": one.upper if known else None,
        "n": one.n,
    }


def _print(out: Console, found: Stats, now: int, days: float) -> None:
    severities = ", ".join(f"{count:,} {name}" for name, count in sorted(found.by_severity.items()))
    out.print(f"[bold]The last {days:g} days[/bold]: {several(found.incidents, 'incident')}", end="")
    out.print(f" ({severities})" if severities else "")
    rows = [
        ("taken after", _waits(found.acknowledge)),
        ("ruled after", _waits(found.rule)),
        ("rulings", _counts(found.rulings) + (f"; {found.expired:,} by a deadline" if found.expired else "")),
        ("in bulk", _bulk(found)),
        ("refused", _counts(found.refusals)),
        ("two people agree", _share(found.agreement)),
        ("blind review agrees", _share(found.blind)),
        ("backlog", _backlog(found, now)),
    ]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for what, told in rows:
        table.add_row(what, told or "nothing yet")
    out.print(table)
    if len(found.by_team) > 1:
        out.print()
        out.print(_teams(found))
    for title, right, some in (("rule", "rightly held", found.rules), ("monitor", "real problem", found.monitors)):
        if some:
            out.print()
            out.print(_precision(title, right, some))
    if found.left_out:
        out.print(f"\nprecision leaves out: {_counts(found.left_out)}", style="dim")


def _precision(title: str, right: str, some: tuple[Precision, ...]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(title, overflow="fold")
    table.add_column(right, justify="right", no_wrap=True)
    table.add_column("95 %", no_wrap=True)
    table.add_column("judged", justify="right", no_wrap=True)
    for one in some:
        low = one.right.upper < 0.5
        value = Text(f"{one.right.value:.0%}", style="red" if low else "")
        table.add_row(safe(one.name), value, f"{one.right.lower:.0%} to {one.right.upper:.0%}", f"{one.right.n:,}")
    return table


def _teams(found: Stats) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("team", "taken after", "ruled after"):
        table.add_column(name, overflow="fold")
    for team, (acknowledge, rule) in found.by_team.items():
        table.add_row(safe(team), _waits(acknowledge), _waits(rule))
    return table


def _waits(one: Waits) -> str:
    if one.median_ms is None or one.p90_ms is None:
        return ""
    return f"{lasting(one.median_ms)} in the median, 90 % within {lasting(one.p90_ms)} (n {one.n:,})"


def _share(one: Estimate) -> str:
    return "" if math.isnan(one.value) else str(one)


def _counts(some: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(some.items(), key=lambda item: -item[1]))


def _bulk(found: Stats) -> str:
    if found.bulk_rulings is None:
        return ""
    decisions = "" if found.bulk_decisions is None else f", {found.bulk_decisions:.0%} of the decisions"
    return f"{found.bulk_rulings:.0%} of the rulings{decisions}"


def _backlog(found: Stats, now: int) -> str:
    one = found.backlog
    told = f"{one.triggered:,} that nobody has taken, {one.acknowledged:,} taken"
    if one.overdue:
        told += f", {one.overdue:,} overdue"
    if one.waiting:
        told += f"; {several(one.waiting, 'held decision')} wait, the oldest since {ago(one.oldest_ms, now)}"
    return told
