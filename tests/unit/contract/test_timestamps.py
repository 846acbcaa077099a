"""RFC 3339, read strictly: one by one and in batches alike."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.timestamps import UNREADABLE, milliseconds, milliseconds_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.datetimes(
    timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))) | st.just(UTC),
    min_value=datetime(1, 1, 3),
    max_value=datetime(9999, 12, 29),
)


@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]))
def test_every_time_of_the_calendar_is_read_to_its_millisecond(times, precision):
    expected = [(moment - EPOCH) // timedelta(milliseconds=1) for moment in times]
    for texts in (
        [moment.isoformat(timespec=precision) for moment in times],
        [moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z") for moment in times],
    ):
        wanted = [e - e % 1000 for e in expected] if precision == "seconds" else expected
        assert [milliseconds(text) for text in texts] == wanted
        assert milliseconds_of(texts).tolist() == wanted


shapes = st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,4})?[Zz]?\Z")


@given(st.lists(shapes | st.text(max_size=25), max_size=4))
def test_a_batch_says_of_each_text_what_reading_it_alone_says(texts):
    alone = [milliseconds(text) for text in texts]
    assert [None if time == UNREADABLE else time for time in milliseconds_of(texts).tolist()] == alone


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-03-02", "2026-03-02T09:14:03", "2026-03-02 09:14:03Z", "2026-03-02T09:14:60Z"),
        *("2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2026-03-02T24:00:00Z"),
        *("2026-03-02T09:14:03.Z", "2026-03-02T09:14:03,1Z", "2026-03-02T09:14:03+24:00", "2026-03-02T09:14:03+0100"),
        *(
            "٢٠٢٦-03-02T09:14:03Z",
            " 2026-03-02T09:14:03Z",
            "2026-03-02T09:14:03Z\n",
            "2026-03-02T09:14:03." + "0" * 60 + "Z",
        ),
    ],
)
def test_what_is_no_rfc_3339_time_is_refused(text):
    assert milliseconds(text) is None
    assert milliseconds_of([text, text]).tolist() == [UNREADABLE] * 2


def test_rows_cannot_borrow_characters_from_each_other():
    shifted = ["2026-03-02T09:14:03.120", "Z2026-03-02T09:14:03.120Z"]
    assert milliseconds_of(shifted).tolist() == [UNREADABLE] * 2


def test_leap_days_and_days_before_1970():
    assert milliseconds_of(["2000-02-29T00:00:00Z", "1969-12-31T23:59:59Z"]).tolist() == [951_782_400_000, -1000]
    assert milliseconds("1969-12-31T23:59:59.9999Z") == -1
