"""The weekly page: loud only where somebody is needed, gaps against the week before, everything on one page."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agents.escalation.weeks import week_named
from orchestration.cli.digest import lines
from orchestration.reading import tables
from orchestration.reading.database import Database
from orchestration.reading.digest import of_week, weekly
from orchestration.settings import Settings
from tests.unit.reading.world import DAY, HOUR, World, folded

NOW = 1_772_442_843_000 - 1_772_442_843_000 % HOUR + HOUR // 2  # half past an hour
END = NOW - NOW % HOUR + HOUR


def hours(database: Database, counts: dict[int, int], effect: str = "allow") -> None:
    """Decisions by the hour, counted back from the end of the present one."""
    rows = [
        {
            "width_ms": HOUR,
            "start_ms": END - ago * HOUR,
            "model": "credit",
            "version": "1",
            "stage": "gate",
            "mode": "gate",
            "kind": "decision",
            "effect": effect,
            "count": count,
        }
        for ago, count in counts.items()
    ]
    with database.engine.begin() as connection:
        connection.execute(tables.flow.insert(), rows)
        connection.execute(
            tables.versions.insert(),
            {"model": "credit", "version": "1", "first_ms": END - 20 * DAY, "last_ms": NOW, "count": 1},
        )


def week(count: int, start_day: int) -> dict[int, int]:
    return {start_day * 24 + hour + 1: count for hour in range(7 * 24)}


def test_a_quiet_week_is_short_and_says_so(database: Database) -> None:
    hours(database, week(10, 0) | week(10, 7))
    found = weekly(database, "credit", NOW)
    assert found.quiet
    assert (found.decisions, found.before) == (1680, 1680)
    page = list(lines(found, NOW))
    assert page[0] == "credit: a quiet week"
    assert "Decisions   1,680, as the week before" in page
    assert [line for line in page if line.endswith((": none", ": all well", ": nothing"))] == [
        "Incidents: none",
        "Monitors: all well",
        "What changed: nothing",
    ]


def test_a_week_in_which_nothing_came_is_not_called_a_quiet_one(database: Database) -> None:
    hours(database, week(10, 14))
    found = weekly(database, "credit", NOW)
    assert (found.decisions, found.quiet, found.verdict) == (0, True, "a week without a decision")


def test_silent_hours_are_a_gap_only_where_something_usually_comes(database: Database) -> None:
    this = week(10, 0)
    before = week(10, 7)
    for ago in (5, 6, 40):
        del this[ago]
    before[7 * 24 + 40] = 2  # usually too few to tell
    hours(database, this | before)
    (gap,) = weekly(database, "credit", NOW).gaps
    assert (gap.start_ms, gap.end_ms, gap.usual) == (END - 6 * HOUR, END - 4 * HOUR, 20)


def test_the_present_hour_is_no_gap_yet(database: Database) -> None:
    this = week(10, 0)
    del this[1]
    hours(database, this | week(10, 7))
    assert weekly(database, "credit", NOW).gaps == ()


def test_what_waits_and_what_nobody_answered_make_a_week_loud(database: Database) -> None:
    hours(database, week(10, 0) | week(20, 7))
    base = {"topic": "t.decisions", "partition": 0, "model": "credit", "version": "1", "rules": ["p/r"]}
    rows = [
        base | {"offset": 1, "held_ms": NOW - 2 * DAY, "resolution": None, "ended_ms": None},
        base | {"offset": 2, "held_ms": NOW - 3 * DAY, "resolution": "expired", "ended_ms": NOW - DAY},
        base | {"offset": 3, "held_ms": NOW - 30 * DAY, "resolution": "expired", "ended_ms": NOW - 20 * DAY},
    ]
    with database.engine.begin() as connection:
        connection.execute(tables.held.insert(), rows)
    found = weekly(database, "credit", NOW)
    assert (found.quiet, found.waiting, found.expired) == (False, 1, 1)
    page = list(lines(found, NOW))
    assert "Waiting     1 held decision; the oldest was held 2 d ago" in page
    assert "Unanswered  1 held decision ended by a deadline" in page
    assert "Decisions   1,680, 50% fewer than the week before" in page


def test_alarms_come_before_warnings_and_versions_are_changes(database: Database) -> None:
    hours(database, week(10, 0))
    said = {"model": "credit", "version": "2", "monitor": "drift", "status": "alarm", "text": "inputs\x1b[31m moved"}
    with database.engine.begin() as connection:
        connection.execute(
            tables.signals.insert(),
            {
                "key": "k",
                "offset": 1,
                "time_ms": NOW,
                "since_ms": NOW,
                "model": "credit",
                "version": "2",
                "monitor": "drift",
                "status": "alarm",
                "data": json.dumps(said),
                "width_ms": 1000,
                "points": 0,
            },
        )
        connection.execute(
            tables.versions.insert(),
            {"model": "credit", "version": "2", "first_ms": NOW - HOUR, "last_ms": NOW, "count": 1},
        )
    found = weekly(database, "credit", NOW)
    page = list(lines(found, NOW))
    assert not found.quiet
    (alarm,) = [line for line in page if "ALARM" in line]
    assert "\x1b" not in alarm
    assert page[-1].endswith("version 2 was seen for the first time")
    assert len(page) < 35


# -- calendar weeks ----------------------------------------------------------------------------------------------------


def counted(database: Database, counts: dict[int, int]) -> None:
    """Decisions of hours, by when they begin."""
    rows = [
        {"width_ms": HOUR, "start_ms": at, "model": "credit", "version": "1", "stage": "gate", "mode": "gate",
         "kind": "decision", "effect": "allow", "count": count} for at, count in counts.items()
    ]  # fmt: skip
    with database.engine.begin() as connection:
        connection.execute(tables.flow.insert(), rows)
        first = {"model": "credit", "version": "1", "first_ms": min(counts), "last_ms": max(counts), "count": 1}
        connection.execute(tables.versions.insert(), first)


def busy(zone: str, *names: str) -> dict[int, int]:
    """Ten decisions in each hour from 8 to 18 by the clock on the wall, in these weeks."""
    found: dict[int, int] = {}
    for name in names:
        one = week_named(name, zone)
        for at in range(one.start_ms, one.end_ms, HOUR):
            if 8 <= datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).hour < 18:
                found[at] = 10
    return found


@pytest.mark.parametrize(
    ("before", "name"), [("2026-W12", "2026-W13"), ("2026-W13", "2026-W14"), ("2026-W42", "2026-W43")]
)
def test_a_change_of_clocks_is_no_gap(database: Database, before: str, name: str) -> None:
    zone = "Europe/Berlin"
    counted(database, busy(zone, before, name))
    one = week_named(name, zone)
    found = of_week(database, "credit", one, one.end_ms + DAY)
    assert (found.gaps, found.decisions, found.before, found.over) == ((), 700, 700, True)


def test_a_week_is_told_the_same_whenever_it_is_asked_for_but_for_what_waits_now(database: Database) -> None:
    one = week_named("2026-W10")
    counted(database, busy("UTC", "2026-W09", "2026-W10", "2026-W11"))
    base = {"topic": "t.decisions", "partition": 0, "model": "credit", "version": "1", "rules": ["p/r"]}
    monday = one.end_ms
    rows = [
        base | {"offset": 1, "held_ms": monday - DAY, "resolution": "approved", "ended_ms": monday + HOUR},
        base | {"offset": 2, "held_ms": monday - DAY, "resolution": "expired", "ended_ms": monday + HOUR},
        base | {"offset": 3, "held_ms": monday + HOUR, "resolution": None, "ended_ms": None},
        base | {"offset": 4, "held_ms": monday - 9 * DAY, "resolution": "expired", "ended_ms": monday - 1},
    ]
    with database.engine.begin() as connection:
        connection.execute(tables.held.insert(), rows)
    soon, later = (of_week(database, "credit", one, monday + after) for after in (1, 5 * DAY))
    assert (soon.waiting, soon.oldest_ms, soon.expired) == (2, monday - DAY, 1)
    assert (soon.waiting_now, later.waiting_now) == (2, 1)
    assert later == replace(soon, waiting_now=1)
    after = of_week(database, "credit", one.next, monday + 5 * DAY)
    assert (after.waiting, after.expired, after.over) == (1, 1, False)
    assert after.before == 500, "as far as this week has come"


def test_an_incident_counts_in_the_week_in_which_it_began_and_is_named_while_it_is_open(
    database: Database, settings: Settings
) -> None:
    world, one = World(settings.prefix), week_named("2026-W10")
    world.incident("open-0001", one.start_ms - DAY, opened_ms=one.start_ms - DAY, model="credit", severity="error")
    world.incident(
        "over-0002", one.end_ms - HOUR, opened_ms=one.start_ms + HOUR, model="credit", severity="warning",
        status="resolved", resolution="approved", resolved_ms=one.end_ms - HOUR,
    )  # fmt: skip
    world.incident("next-0003", one.end_ms + HOUR, opened_ms=one.end_ms, model="credit", severity="critical")
    folded(database, world)
    now = one.end_ms + DAY
    found = of_week(database, "credit", one, now)
    assert [row.incident for row in found.incidents] == ["open-0001", "over-0002"]
    assert found.opened == {"warning": 1}
    hidden = of_week(database, "credit", one, now, lambda data: data.incident == "open-0001")
    assert ([row.incident for row in hidden.incidents], hidden.elsewhere) == (["open-0001"], 1)
    after = of_week(database, "credit", one.next, now)
    assert [row.incident for row in after.incidents] == ["next-0003", "open-0001"]
    assert of_week(database, "credit", one.before.before, now).quiet


def test_what_monitors_said_in_a_week_stays_said_after_it_is_over(database: Database, settings: Settings) -> None:
    world, one = World(settings.prefix), week_named("2026-W10")
    world.signal("ok", one.start_ms + HOUR, model="credit", monitor="drift", group="feature=a")
    world.signal("alarm", one.start_ms + 9 * HOUR, model="credit", monitor="drift", group="feature=a", text="it moved")
    world.signal("warn", one.start_ms + 9 * HOUR, model="credit", monitor="psi", group="feature=b", text="it may move")
    world.signal("alarm", one.start_ms + 9 * HOUR, model="credit_2", monitor="drift", text="another model's")
    world.signal("ok", one.end_ms + HOUR, model="credit", monitor="drift", group="feature=a", text="all well")
    folded(database, world)
    found = of_week(database, "credit", one, one.end_ms + DAY)
    assert [(row.monitor, row.about, row.text, row.over) for row in found.alarms] == [("drift", "feature=a", "", True)]
    assert [(row.monitor, row.text, row.over) for row in found.warnings] == [("psi", "it may move", False)]
    assert not found.quiet
    after = of_week(database, "credit", one.next, one.end_ms + DAY)
    assert (after.alarms, [row.monitor for row in after.warnings]) == ((), ["psi"])


def test_what_changed_is_of_the_week_and_not_of_other_models(database: Database, settings: Settings) -> None:
    world, one = World(settings.prefix), week_named("2026-W10")
    document: dict[str, Any] = {"models": {"credit": {}, "credit-2": {}, "cred": {}}}
    world.configuration(document, one.start_ms - DAY)
    document = {**document, "models": {**document["models"], "credit-2": {"mode": "gate"}, "cred": {"mode": "gate"}}}
    world.configuration(document, one.start_ms + HOUR)
    document = {**document, "models": {**document["models"], "credit": {"mode": "gate"}}}
    world.configuration(document, one.start_ms + 2 * HOUR)
    world.safeguard("q", one.end_ms, model="credit")
    folded(database, world)
    (change,) = of_week(database, "credit", one, one.end_ms + DAY).changes
    assert change.text == "configuration changed by ada: model credit: mode"
    (order,) = of_week(database, "credit", one.next, one.end_ms + DAY).changes
    assert order.text == "safeguard quarantine set"


def test_a_gap_alone_leaves_a_week_quiet_and_is_said(database: Database) -> None:
    counts = busy("UTC", "2026-W09", "2026-W10")
    one = week_named("2026-W10")
    del counts[one.start_ms + 9 * HOUR]
    counted(database, counts)
    found = of_week(database, "credit", one, one.end_ms)
    assert found.quiet
    assert next(lines(found, one.end_ms)) == "credit: a quiet week, but with a gap"


@pytest.mark.parametrize("days", [1, 14])
def test_other_spans(database: Database, days: int) -> None:
    hours(database, week(10, 0) | week(10, 7))
    assert weekly(database, "credit", NOW, days).decisions == days * 240
