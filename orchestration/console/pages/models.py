"""Health of each model version at a glance: what its monitors say, what became of its decisions, which orders stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.events import ALL_VERSIONS
from orchestration.console.charts import spark
from orchestration.console.pages.asking import database
from orchestration.console.pages.overviews import ModelHealth, ModelsView, SignalRow, VersionHealth
from orchestration.console.pages.weeks import last_weeks
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render
from orchestration.console.words import (
    MINUTE,
    count,
    duration,
    group_words,
    interval,
    metric_words,
    plain_text,
    several,
    stamp,
    strength,
)
from orchestration.reading import overview
from orchestration.reading.database import Database
from orchestration.reading.incident import points

TROUBLE = ("alarm", "warn")
MOST_QUIET = 60
"""So many signals that are fine are listed for a version."""
LATE_MS = MINUTE
BECAME = (
    ("allow", "Went out"),
    ("log", "Went out, flagged"),
    ("hold", "Held"),
    ("block", "Withheld"),
    ("", "Repeated"),
)
ORDERS = {
    "quarantine": "Every decision of {what} is held (quarantine)",
    "fallback": "Decisions of {what} are withheld, and the business falls back",
    "hold_all": "Every decision of {what} is held",
    "pause_caller": "Calls by {caller} to {what} are withheld",
    "limit_rate": "Calls by {caller} to {what} beyond a rate are held",
}


async def page(request: Request) -> Response:
    """All models: they belong to no team."""
    view = await run_in_threadpool(made, database(request), parts_of(request).clock())
    return render(request, "models.html", view=view)


def made(base: Database, now_ms: int) -> ModelsView:
    """The page's view."""
    said = overview.signals_of(base)
    by_name = groupby(overview.models(base, now_ms), key=lambda one: one.model)
    found = {name: _model(base, name, tuple(rows), said, now_ms) for name, rows in by_name}
    return ModelsView(tuple(replace(found[name], week=url) for name, url in last_weeks(base, found, now_ms)))


def _model(
    base: Database,
    name: str,
    rows: tuple[overview.ModelHealth, ...],
    said: tuple[overview.Signalled, ...],
    now_ms: int,
) -> ModelHealth:
    alarming = [one for one in rows if one.worst == "alarm"]
    if alarming:
        text = f"{several(len(alarming), 'version alarms', 'versions alarm')}."
    elif any(one.signals for one in rows):
        text = "No alarm."
    else:
        text = "No monitor has said anything yet."
    orders = {order.id: order for one in rows for order in one.safeguards}
    return ModelHealth(
        name,
        next((one.mode for one in rows if one.mode), "") or "not declared",
        text,
        _lag(rows, now_ms),
        tuple(_version(base, one, said, now_ms) for one in rows if one.version != ALL_VERSIONS or one.signals),
        tuple(_order(one) for one in sorted(orders.values(), key=lambda one: one.time_ms)),
    )


def _lag(rows: tuple[overview.ModelHealth, ...], now_ms: int) -> str:
    lag = next((one for one in rows if one.lag_ms is not None and one.lag_said_ms is not None), None)
    if lag is None or lag.lag_ms is None or lag.lag_said_ms is None:
        return ""
    behind = lag.lag_ms + max(now_ms - lag.lag_said_ms, 0)
    late = ": they may not know of the newest decisions" if behind > LATE_MS else ""
    return f"Monitors are {duration(behind)} behind{late}."


def _version(
    base: Database, one: overview.ModelHealth, said: tuple[overview.Signalled, ...], now_ms: int
) -> VersionHealth:
    mine = [row for row in said if (row.data.model, row.data.version) == (one.model, one.version)]
    trouble = [row for row in mine if row.data.status in TROUBLE]
    rest = [row for row in mine if row.data.status not in TROUBLE]
    first = strongest(trouble)
    counts = [("", "Decisions in all", one.decisions)] if one.version != ALL_VERSIONS else []
    counts += [
        (effect or "duplicate", f"{words}, 24 h", one.last_day[effect])
        for effect, words in BECAME
        if one.last_day.get(effect)
    ]
    counts += [("hold", "Waiting now", one.waiting)] if one.waiting else []
    return VersionHealth(
        "all versions together" if one.version == ALL_VERSIONS else f"Version {one.version}",
        one.worst,
        _worst(one),
        one.first_ms,
        one.last_ms,
        tuple(counts),
        tuple(_signal(base, row, trend=True) for row in trouble if row in first),
        len(rest),
        tuple(_signal(base, row) for row in rest[:MOST_QUIET]),
        one.declared,
        tuple(_signal(base, row) for row in trouble if row not in first),
    )


def strongest(trouble: Sequence[overview.Signalled]) -> list[overview.Signalled]:
    """Of each monitor the one that says most, alarms before warnings."""
    found: dict[str, overview.Signalled] = {}
    for row in sorted(trouble, key=lambda row: (row.data.status != "alarm", -(row.data.e_value or 0.0))):
        found.setdefault(row.data.monitor, row)
    return list(found.values())


def _worst(one: overview.ModelHealth) -> str:
    parts = [
        several(one.signals.get(status, 0), single, many)
        for status, single, many in (("alarm", "alarm", "alarms"), ("warn", "warning", "warnings"))
        if one.signals.get(status)
    ]
    if parts:
        return ", ".join(parts)
    return {"ok": "fine", "insufficient": "too few decisions yet"}.get(one.worst, "nothing said yet")


def _signal(base: Database, row: overview.Signalled, trend: bool = False) -> SignalRow:
    data = row.data
    about = " · ".join(part for part in (group_words(data.group), data.segment) if part)
    line = ""
    if trend:
        with base.reading() as connection:
            course = [one.e_value for one in points(connection, row.key) if one.e_value is not None]
        line = spark(f"Strength, {data.monitor} {about}".strip(), course[-60:]) if len(course) > 1 else ""
    return SignalRow(
        data.monitor.replace("_", " "),
        about,
        metric_words(data.metric),
        data.status,
        interval(data),
        count(data.n),
        strength(data.e_value, data.budget_unit),
        row.since_ms,
        plain_text(data.text or ""),
        line,
    )


def _order(one: overview.Order) -> str:
    what = f"version {one.version}" if one.version else "this model"
    text = ORDERS.get(one.kind, one.kind).format(what=what, caller=one.caller or "anyone")
    return f"{text}, since {stamp(one.time_ms)}" + (f": “{one.reason}”" if one.reason else ".")
