"""What a configuration would ask of people: the sentence, and the hour in which a backlog passes its deadline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.escalation.forecast import HOUR_MS, forecast, merged

DAY = 24 * HOUR_MS


def evenly(a_day: int, days: int) -> list[int]:
    return [number * DAY // a_day for number in range(a_day * days)]


def test_three_reviewers_drown_on_the_second_day() -> None:
    found = forecast("model-risk", evenly(412, 3), (0, 3 * DAY), people=3, per_day=20, deadline_s=24 * 3600)
    assert found.told() == (
        "model-risk: would hold 412 a day; your 3 reviewers rule about 60; the backlog passes the deadline on day 2"
    )
    assert found.bad
    assert found.left == pytest.approx(3 * (412 - 60), abs=3)


def test_enough_people_leave_nothing() -> None:
    found = forecast("model-risk", evenly(48, 3), (0, 3 * DAY), people=3, per_day=20, deadline_s=4 * 3600)
    assert found.told().endswith("nothing passes its deadline")
    assert (found.bad, found.overdue_hour) == (False, None)
    assert found.left <= 2


def test_nobody_works_at_night() -> None:
    """Ten decisions at 20:00; people work 09:00 to 17:00: a deadline of four hours passes, one of a day does not."""
    at = [20 * HOUR_MS + number for number in range(10)]
    open_hours = [9 <= hour % 24 < 17 for hour in range(48)]
    short, long = (forecast("t", at, (0, 2 * DAY), 1, 20, hours * 3600, open_hours) for hours in (4, 24))
    assert short.overdue_hour == 24
    assert long.overdue_hour is None
    assert long.left == 0


def test_work_is_not_saved_up() -> None:
    """A quiet day does not let people rule on a hundred decisions in the next hour."""
    found = forecast("t", [DAY + number for number in range(100)], (0, 2 * DAY), 2, 24, 3600 * 4)
    assert found.overdue_hour == 28


def test_without_a_deadline_a_backlog_is_told() -> None:
    found = forecast("t", evenly(100, 2), (0, 2 * DAY), 1, 10, None)
    assert "no deadline ends that" in found.told()
    assert found.bad


def test_without_reviewers_that_is_what_is_said() -> None:
    assert "nobody may rule" in forecast("t", [0], (0, DAY), 0, 20, 3600).told()


def test_a_history_that_is_shorter_than_the_deadline_goes_on_as_it_was() -> None:
    """412 a day against 60: by hour 197 some 492 are done, and the next one came in hour 28, a week before."""
    half_a_day = [number * DAY // 412 for number in range(206)]
    found = forecast("risk", half_a_day, (0, DAY // 2), people=3, per_day=20, deadline_s=7 * 24 * 3600)
    assert found.told() == (
        "risk: would hold 412 a day; your 3 reviewers rule about 60; at that rate the backlog passes the deadline on day 9"
    )
    assert (found.bad, found.left) == (True, 206 - 30)
    assert not forecast("risk", half_a_day, (0, DAY // 2), people=3, per_day=150, deadline_s=7 * 24 * 3600).bad


@given(st.lists(st.integers(0, 5 * DAY), max_size=300), st.integers(0, 5), st.floats(0.1, 200))
def test_nothing_is_lost_or_made(times: list[int], people: int, per_day: float) -> None:
    found = forecast("t", times, (0, 5 * DAY), people, per_day, 3600)
    assert found.held == len(times)
    assert 0 <= found.left <= found.held
    assert found.held - found.left <= people * per_day * 5 + people * per_day / 24 + 2


def test_rules_go_to_their_teams() -> None:
    assert merged({"p/a": [1], "p/b": [2], "p/c": [3]}, {"p/a": "risk", "p/b": "risk"}) == {
        "risk": [1, 2],
        "nobody": [3],
    }
