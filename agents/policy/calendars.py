"""Calendars: is business open at these moments? Judged by what the clock on the wall reads in the calendar's zone.

Vectorised over a batch and exact on both nights of a clock change: an hour that is skipped never occurs, an hour that is
repeated is open both times or neither. Times are milliseconds since 1970, UTC; results have the same length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import numpy.typing as npt

from agents.configuration import WEEKDAYS, Calendar, Configuration
from agents.errors import Misconfigured

Times = npt.NDArray[np.int64]
HOUR = 3_600_000
DAY = 24 * HOUR
EPOCH = date(1970, 1, 1)
_EARLIEST, _LATEST = ((day - EPOCH).days for day in (date(1, 1, 3), date(9999, 12, 29)))  # a zone's date must exist


@dataclass(frozen=True)
class Moments:
    """What a calendar says of each time of a batch."""

    open: npt.NDArray[np.bool_]
    holiday: npt.NDArray[np.bool_]
    """A public holiday, or one of the calendar's own closed days."""
    weekday: npt.NDArray[np.int64]
    """0 is Monday."""
    hour: npt.NDArray[np.int64]
    """0..23 on the wall."""


class OpenHours:
    """A calendar made ready; raises Misconfigured for an unknown country of holidays."""

    def __init__(self, name: str, calendar: Calendar) -> None:
        self.name = name
        self._calendar = calendar
        self._public = public_holidays(calendar.holidays) if calendar.holidays else None
        self._closed, self._opened = frozenset(calendar.closed), frozenset(calendar.open)

    def at(self, times_ms: Times) -> Moments:
        """Judge a batch.

        >>> taipei = Calendar.model_validate({"zone": "Asia/Taipei", "hours": {"mon-fri": "09:00-18:00"}})
        >>> monday_nine = 1772413200000  # 2026-03-02T01:00:00Z
        >>> OpenHours("taipei", taipei).at(np.array([monday_nine - 1, monday_nine])).open.tolist()
        [False, True]
        """
        local = times_ms + offsets(self._calendar.zone, times_ms)
        days = local // DAY
        edges: list[int] = []
        festive: list[int] = []
        for day in np.unique(days).tolist():
            for start, end in self._spans(day):
                edges += (day * DAY + start, day * DAY + end)
            if self._is_holiday(day):
                festive.append(day)
        inside = np.searchsorted(np.array(edges, dtype=np.int64), local, side="right") % 2 == 1
        return Moments(inside, np.isin(days, festive), (days + 3) % 7, local % DAY // HOUR)

    def open(self, times_ms: Times) -> npt.NDArray[np.bool_]:
        """Only whether business is open."""
        return self.at(times_ms).open

    def shut(self, times_ms: Times) -> npt.NDArray[np.bool_]:
        """Whether business does not open at all on that day: a holiday, a closed day, or a weekday without hours.

        >>> taipei = Calendar.model_validate({"zone": "Asia/Taipei", "hours": {"mon-fri": "09:00-18:00"}})
        >>> monday_midnight = 1772380800000  # 2026-03-01T16:00:00Z
        >>> OpenHours("taipei", taipei).shut(np.array([monday_midnight - 1, monday_midnight])).tolist()
        [True, False]
        """
        days = (times_ms + offsets(self._calendar.zone, times_ms)) // DAY
        return np.isin(days, [day for day in np.unique(days).tolist() if not self._spans(day)])

    def _spans(self, day: int) -> list[tuple[int, int]]:
        """Open spans of a local day, in ms from its midnight, in order and apart."""
        if self._is_holiday(day) and _date(day) not in self._opened:
            return []
        hours = self._calendar.hours.get(WEEKDAYS[(day + 3) % 7], ())
        return merged((_ms(span.start), _ms(span.end) or DAY) for span in hours)

    def _is_holiday(self, day: int) -> bool:
        that = _date(day)
        return that in self._closed or (self._public is not None and that in self._public)


def hours_of(configuration: Configuration, model: str) -> OpenHours | None:
    """The calendar of a declared model, where it has one; raises Misconfigured for an unknown country of holidays."""
    name = configuration.models[model].calendar
    return None if name is None else OpenHours(name, configuration.calendars[name])


def offsets(zone: str, times_ms: Times) -> Times:
    """What to add to UTC to get the wall clock's time, in ms, for each time.

    >>> offsets("Europe/Berlin", np.array([1772413200000, 1782864000000])).tolist()
    [3600000, 7200000]
    """
    starts: list[int] = []
    values: list[int] = []
    for day in np.unique(times_ms // DAY).tolist():
        for start, offset in _changes(zone, min(max(day, _EARLIEST), _LATEST)):
            starts.append(start + (day - min(max(day, _EARLIEST), _LATEST)) * DAY)
            values.append(offset)
    if not starts:
        return np.zeros(0, dtype=np.int64)
    found = np.searchsorted(np.array(starts, dtype=np.int64), times_ms, side="right") - 1
    return np.array(values, dtype=np.int64)[found]


def public_holidays(code: str) -> holidays.HolidayBase:
    """The holidays of `TW`, `DE-BY` …; raises Misconfigured where there are none of that name."""
    country, _, subdivision = code.partition("-")
    try:
        return holidays.country_holidays(country, subdiv=subdivision or None)
    except NotImplementedError as error:
        raise Misconfigured(
            f"no public holidays are known for {code!r}; write an ISO code such as TW or DE-BY"
        ) from error


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping and touching spans made one.

    >>> merged([(5, 9), (1, 3), (3, 6)])
    [(1, 9)]
    """
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


@lru_cache(maxsize=16_384)
def _changes(zone: str, day: int) -> tuple[tuple[int, int], ...]:
    """(from when, offset) in ms for one UTC day: one entry, or two on the day of a clock change."""
    start = day * DAY
    found = [(start, _offset(zone, start))]
    for hour in range(1, 25):
        after = start + hour * HOUR
        offset = _offset(zone, after)
        if offset != found[-1][1]:
            found.append((_change(zone, after - HOUR, after), offset))
    return tuple(one for one in found if one[0] < start + DAY)


def _change(zone: str, low: int, high: int) -> int:
    """The first millisecond after `low` (up to `high`) that has the offset of `high`."""
    new = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(zone, middle) == new else (middle, high)
    return high


def _offset(zone: str, ms: int) -> int:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None, "a zone always has an offset"
    return round(offset.total_seconds() * 1000)


def _date(day: int) -> date:
    return EPOCH + timedelta(days=min(max(day, _EARLIEST), _LATEST))


def _ms(clock: time) -> int:
    return ((clock.hour * 60 + clock.minute) * 60 + clock.second) * 1000 + clock.microsecond // 1000
