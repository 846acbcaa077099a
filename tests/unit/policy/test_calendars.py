"""Calendars: open by the wall clock, on ordinary days, holidays and both nights of a clock change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.configuration import WEEKDAYS, Calendar
from agents.errors import Misconfigured
from agents.policy.calendars import OpenHours, offsets


def ms(text):
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def open_at(calendar, *texts):
    made = OpenHours("c", Calendar.model_validate(calendar))
    return made.open(np.array([ms(text) for text in texts], dtype=np.int64)).tolist()


BERLIN = {"zone": "Europe/Berlin", "hours": {"mon-sun": "01:00-03:00"}}


def test_business_is_open_from_its_first_millisecond_until_before_its_end():
    taipei = OpenHours("c", Calendar.model_validate({"zone": "Asia/Taipei", "hours": {"mon-fri": "09:00-18:00"}}))
    start, end = ms("2026-03-02T09:00:00+08:00"), ms("2026-03-02T18:00:00+08:00")
    assert taipei.open(np.array([start - 1, start, end - 1, end])).tolist() == [False, True, True, False]


def test_the_night_on_which_an_hour_is_skipped():
    # 2026-03-29: Berlin's clocks go from 02:00 to 03:00, so an opening until 03:00 ends with 01:59:59.999
    before, change = "2026-03-29T00:59:59.999+00:00", "2026-03-29T01:00:00+00:00"
    assert open_at(BERLIN, "2026-03-29T00:00:00+00:00", before, change) == [True, True, False]


def test_the_night_on_which_an_hour_is_repeated():
    # 2026-10-25: 02:00–03:00 is read twice; open both times, so two hours longer than the sun says
    times = [f"2026-10-24T{hour}:59:59+00:00" for hour in (22, 23)] + [f"2026-10-25T0{n}:30:00+00:00" for n in range(3)]
    assert open_at(BERLIN, *times) == [False, True, True, True, False]


def test_an_opening_that_begins_inside_the_skipped_hour_begins_with_the_next_one():
    calendar = {"zone": "Europe/Berlin", "hours": {"sun": "02:30-04:00"}}
    assert open_at(calendar, "2026-03-29T00:59:00+00:00", "2026-03-29T01:00:00+00:00") == [False, True]


def test_holidays_close_and_exceptions_open():
    calendar = {
        "zone": "Europe/Berlin",
        "hours": {"mon-fri": "09:00-17:00"},
        "holidays": "DE-BY",
        "closed": ["2026-03-03"],
        "open": ["2026-01-06"],
    }
    noon = ["2026-01-01", "2026-01-06", "2026-03-02", "2026-03-03", "2026-06-04", "2026-03-07"]
    # New Year; Epiphany (Bavaria), opened; a Monday; closed by hand; Corpus Christi (Bavaria); a Saturday
    assert open_at(calendar, *(f"{day}T12:00:00+01:00" for day in noon)) == [False, True, True, False, False, False]
    found = OpenHours("c", Calendar.model_validate(calendar)).at(np.array([ms(f"{d}T12:00:00+01:00") for d in noon]))
    assert found.holiday.tolist() == [True, True, False, True, True, False]
    assert [WEEKDAYS[day] for day in found.weekday] == ["thu", "tue", "mon", "tue", "thu", "sat"]
    assert found.hour.tolist() == [12, 12, 12, 12, 13, 12]


def test_spans_of_a_day_may_overlap_and_reach_midnight():
    calendar = {"zone": "UTC", "hours": {"mon": ["08:00-12:00", "11:00-13:00", "20:00-24:00"], "tue": "00:00-01:00"}}
    hours = [7, 8, 12, 13, 20, 23]
    assert open_at(calendar, *(f"2026-03-02T{h:02}:30:00+00:00" for h in hours)) == [
        False,
        True,
        True,
        False,
        True,
        True,
    ]
    assert open_at(calendar, "2026-03-03T00:30:00+00:00", "2026-03-03T01:00:00+00:00") == [True, False]


def test_a_calendar_without_hours_is_closed_and_an_empty_batch_is_empty():
    assert open_at({"zone": "UTC", "hours": {}}, "2026-03-02T12:00:00+00:00") == [False]
    assert open_at({"zone": "UTC", "hours": {}}) == []


def test_times_at_the_ends_of_the_calendar_do_not_raise():
    made = OpenHours("c", Calendar.model_validate({"zone": "Asia/Taipei", "hours": {"mon-sun": "00:00-24:00"}}))
    assert made.open(np.array([-62_135_596_800_000, 253_402_300_799_999, 0])).tolist() == [True, True, True]


def test_an_unknown_country_of_holidays_is_named():
    with pytest.raises(Misconfigured, match="'XX'"):
        OpenHours("c", Calendar.model_validate({"zone": "UTC", "hours": {}, "holidays": "XX"}))


def test_a_span_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValidationError, match="ends before it starts"):
        Calendar.model_validate({"zone": "UTC", "hours": {"mon": "18:00-08:00"}})


ZONES = [
    "Europe/Berlin",
    "Asia/Taipei",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
]
moments = st.integers(0, 2_200_000_000_000)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ZONES), st.lists(moments, min_size=1, max_size=20))
def test_offsets_are_those_of_the_zone(zone, times):
    expected = [
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=t)).astimezone(ZoneInfo(zone)).utcoffset()
        for t in times
    ]
    assert offsets(zone, np.array(times)).tolist() == [int(one.total_seconds() * 1000) for one in expected]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ZONES), st.lists(moments, min_size=1, max_size=20))
def test_a_moment_is_judged_alike_alone_and_in_a_batch(zone, times):
    made = OpenHours(
        "c", Calendar.model_validate({"zone": zone, "hours": {"mon-fri": "08:00-18:00"}, "holidays": "DE"})
    )
    together = made.open(np.array(times)).tolist()
    assert together == [made.open(np.array([one])).tolist()[0] for one in times]
