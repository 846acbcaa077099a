"""Weeks as people count them: from Monday's midnight to the next, by the clock on the wall of one zone; pure arithmetic.

Promise: each moment lies in one week; a week with a change of clocks is an hour longer or shorter, and none is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from agents.escalation.declared import DAYS, Digest

LAST_YEAR = 9998
_NAME = re.compile(r"(\d{4})-W(\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True)
class Week:
    """A calendar week (ISO 8601) in a zone: [start_ms, end_ms)."""

    monday: date
    zone: str = "UTC"

    @property
    def name(self) -> str:
        """As ISO 8601 writes it.

        >>> Week(date(2026, 3, 2)).name, Week(date(2025, 12, 29)).name
        ('2026-W10', '2026-W01')
        """
        year, number, _ = self.monday.isocalendar()
        return f"{year}-W{number:02}"

    @property
    def days(self) -> str:
        """Its first and last day.

        >>> Week(date(2026, 3, 2)).days, Week(date(2026, 3, 30)).days, Week(date(2025, 12, 29)).days
        ('2 to 8 March 2026', '30 March to 5 April 2026', '29 December 2025 to 4 January 2026')
        """
        sunday = self.monday + timedelta(days=6)
        first = f"{self.monday.day}"
        if self.monday.month != sunday.month:
            first += self.monday.strftime(" %B")
        if self.monday.year != sunday.year:
            first += self.monday.strftime(" %Y")
        return f"{first} to {sunday.day}{sunday.strftime(' %B %Y')}"

    @property
    def start_ms(self) -> int:
        """Monday's midnight, milliseconds since 1970, UTC."""
        return _ms(self.monday, time(), self.zone)

    @property
    def end_ms(self) -> int:
        """The next Monday's."""
        return self.next.start_ms

    @property
    def next(self) -> Week:
        return Week(self.monday + _WEEK, self.zone)

    @property
    def before(self) -> Week:
        return Week(self.monday - _WEEK, self.zone)


def week_at(ms: int, zone: str = "UTC") -> Week:
    """The week that a moment lies in.

    >>> week_at(1772442843120).name, week_at(1772442843120 - 86_400_000, "UTC").name
    ('2026-W10', '2026-W09')
    """
    here = (_EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo(zone)).date()
    return Week(here - timedelta(days=here.weekday()), zone)


def week_named(name: str, zone: str = "UTC") -> Week:
    """The week of a name such as `2026-W10`. Raises ValueError where there is none.

    >>> week_named("2026-W10").monday.isoformat()
    '2026-03-02'
    """
    try:
        found = _NAME.fullmatch(name)
        if found is None or not 1970 <= int(found[1]) <= LAST_YEAR:
            raise ValueError("no name of a week")
        return Week(date.fromisocalendar(int(found[1]), int(found[2]), 1), zone)
    except ValueError as error:
        raise ValueError(f"{name!r} is no week; write for example 2026-W10") from error


def told_ms(week: Week, declared: Digest) -> int:
    """When a week is told of: the first of the declared weekday and hour after its end."""
    day = week.next.monday + timedelta(days=DAYS.index(declared.day))
    hour, minute = declared.at.split(":")
    return _ms(day, time(int(hour), int(minute)), declared.zone)


def last_told(declared: Digest, now_ms: int) -> Week:
    """The newest week that is to be told of by now."""
    week = week_at(now_ms, declared.zone).before
    return week if told_ms(week, declared) <= now_ms else week.before


def _ms(day: date, at: time, zone: str) -> int:
    """A time that a change of clocks skips is the moment that would have had it; of one that it repeats the first counts."""
    moment = datetime.combine(day, at, ZoneInfo(zone))
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
