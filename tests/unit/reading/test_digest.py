"""The weekly page: loud only where somebody is needed, gaps against the week before, everything on one page."""

from __future__ import annotations

import json

import pytest

from orchestration.cli.digest import lines
from orchestration.reading import tables
from orchestration.reading.database import Database
from orchestration.reading.digest import weekly
from tests.unit.reading.world import DAY, HOUR

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


@pytest.mark.parametrize("days", [1, 14])
def test_other_spans(database: Database, days: int) -> None:
    hours(database, week(10, 0) | week(10, 7))
    assert weekly(database, "credit", NOW, days).decisions == days * 240
