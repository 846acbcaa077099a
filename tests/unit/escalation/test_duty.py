"""Who is on call: rotations by wall-clock time, across changes of clocks, and whoever stands in."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.escalation.declared import OnCall, Team
from agents.escalation.duty import Shift, on_duty, shifts
from agents.people_events import OverrideData

HOUR = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def team(**on_call) -> Team:
    return Team.model_validate(
        {"members": ["ann", "ben", "cid"], "on_call": {"rotation": ["ann", "ben", "cid"], **on_call}}
    )


def test_a_week_hands_over_at_the_time_that_the_clock_on_the_wall_reads():
    berlin = team(start="2026-03-23T09:00:00+01:00", turn="week", zone="Europe/Berlin")
    # the clocks go forward on 29 March: the second handover is an hour earlier in UTC, and still at nine
    assert on_duty(berlin, ms("2026-03-30T08:59:59+02:00")) == "ann"
    assert on_duty(berlin, ms("2026-03-30T09:00:00+02:00")) == "ben"
    assert on_duty(berlin, ms("2026-04-06T09:00:00+02:00")) == "cid"
    assert on_duty(berlin, ms("2026-04-13T09:00:00+02:00")) == "ann"


@pytest.mark.parametrize(
    ("start", "before", "after"),
    [
        # 02:30 does not exist in Berlin on 29 March 2026: the turn changes at 03:30, when 02:30 would have been
        ("2026-03-28T02:30:00+01:00", "2026-03-29T03:29:59+02:00", "2026-03-29T03:30:00+02:00"),
        # 02:30 comes twice on 25 October 2026: the first one counts
        ("2026-10-24T02:30:00+02:00", "2026-10-25T02:29:59+02:00", "2026-10-25T02:30:00+02:00"),
    ],
)
def test_a_time_that_a_change_of_clocks_skips_or_repeats_hands_over_once(start, before, after):
    daily = team(start=start, turn="day", zone="Europe/Berlin")
    assert (on_duty(daily, ms(before)), on_duty(daily, ms(after))) == ("ann", "ben")
    assert on_duty(daily, ms(after) + HOUR) == "ben"
    assert on_duty(daily, ms(after) + 23 * HOUR) in ("ben", "cid")


def test_nobody_is_on_call_before_the_rotation_starts_or_without_one():
    daily = team(start="2026-03-23T09:00:00Z", turn="day")
    assert on_duty(daily, ms("2026-03-23T08:59:59Z")) is None
    assert on_duty(Team(members=("ann",)), 0) is None


def test_the_override_declared_later_wins_and_those_set_by_people_are_later():
    declared = [
        {"person": "ben", "start": "2026-03-24T00:00:00Z", "end": "2026-03-26T00:00:00Z"},
        {"person": "cid", "start": "2026-03-25T00:00:00Z", "end": "2026-03-26T00:00:00Z"},
    ]
    weekly = team(start="2026-03-23T00:00:00Z", overrides=declared)
    asked = [
        OverrideData(team="risk", person="dora", start_ms=ms("2026-03-25T06:00:00Z"), end_ms=ms("2026-03-25T07:00:00Z"))
    ]
    moments = ["2026-03-23T23:00:00Z", "2026-03-24T00:00:00Z", "2026-03-25T00:00:00Z", "2026-03-25T06:30:00Z"]
    assert [on_duty(weekly, ms(one), asked) for one in moments] == ["ann", "ben", "cid", "dora"]
    assert on_duty(weekly, ms("2026-03-25T07:00:00Z"), asked) == "cid"  # the end is not part of it
    assert on_duty(weekly, ms("2026-03-26T00:00:00Z"), asked) == "ann"
    assert on_duty(Team(), asked[0].start_ms, asked) == "dora"  # a team without a rotation can have a stand-in


def test_a_plan_of_the_coming_days_has_each_stretch_once():
    daily = team(
        start="2026-03-23T09:00:00Z",
        turn="day",
        overrides=[{"person": "cid", "start": "2026-03-24T12:00:00Z", "end": "2026-03-25T10:00:00Z"}],
    )
    assert shifts(daily, ms("2026-03-23T00:00:00Z"), ms("2026-03-26T00:00:00Z")) == [
        Shift("ann", ms("2026-03-23T09:00:00Z"), ms("2026-03-24T09:00:00Z")),
        Shift("ben", ms("2026-03-24T09:00:00Z"), ms("2026-03-24T12:00:00Z")),
        Shift("cid", ms("2026-03-24T12:00:00Z"), ms("2026-03-25T10:00:00Z"), stands_in=True),
        Shift("cid", ms("2026-03-25T10:00:00Z"), ms("2026-03-26T00:00:00Z")),
    ]


def test_a_zone_that_nobody_knows_is_refused_with_the_mend():
    with pytest.raises(ValueError, match="'Europe/Atlantis' is no IANA time zone; write for example Europe/Berlin"):
        OnCall.model_validate({"rotation": ["ann"], "start": "2026-03-23T09:00:00Z", "zone": "Europe/Atlantis"})


@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    later_s=st.integers(0, 10**8),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    turn=st.sampled_from(["day", "week"]),
)
def test_somebody_is_on_call_at_any_moment_and_the_plan_agrees(start, later_s, zone, turn):
    rotating = team(start=start.isoformat(), zone=zone, turn=turn)
    now = int(start.timestamp() * 1000) + later_s * 1000
    plan = shifts(rotating, now, now + 20 * 24 * HOUR)
    assert on_duty(rotating, now) == plan[0].person
    assert plan[0].start_ms == now
    assert all(one.end_ms == after.start_ms for one, after in pairwise(plan))
    assert {one.person for one in plan} <= {"ann", "ben", "cid"}
