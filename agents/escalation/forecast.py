"""What a configuration would ask of people: held decisions a day against what they rule, before anybody is flooded.

Promise to whoever checks a configuration: the holds are those that its rules gave on recorded decisions; what people
manage is what they did (or what is stated); the backlog follows from the two, hour by hour. Where nothing passes its deadline
within the history, that is repeated for up to HORIZON_DAYS: a deadline of a month passes in no history of a day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

HOUR_MS = 3_600_000
DAY_HOURS = 24
HORIZON_DAYS = 90


@dataclass(frozen=True, slots=True)
class Asked:
    """What one team would be asked."""

    team: str
    held: int
    """Held decisions in the history."""
    hours: int
    """Length of the history."""
    people: int
    """Members who may rule."""
    per_day: float
    """Decisions that one of them rules a day."""
    deadline_h: float | None
    overdue_hour: int | None
    """The first hour, from the history's start, in which a decision would pass its deadline unanswered; None: none does.
    Beyond `hours` it is what comes if things go on like that."""
    left: int
    """Unanswered at the end."""

    @property
    def a_day(self) -> float:
        """Held decisions a day."""
        return self.held / self.hours * DAY_HOURS if self.hours else 0.0

    def told(self) -> str:
        """In a sentence.

        >>> Asked("model-risk", 1236, 72, 3, 20.0, 24.0, 30, 1056).told()
        'model-risk: would hold 412 a day; your 3 reviewers rule about 60; the backlog passes the deadline on day 2'
        """
        who = "1 reviewer rules" if self.people == 1 else f"{self.people} reviewers rule"
        found = f"{self.team}: would hold {self.a_day:,.0f} a day; "
        found += f"your {who} about {self.people * self.per_day:,.0f}" if self.people else "nobody may rule"
        if self.overdue_hour is not None:
            goes_on = "at that rate " if self.overdue_hour >= self.hours else ""
            return f"{found}; {goes_on}the backlog passes the deadline on day {self.overdue_hour // DAY_HOURS + 1}"
        if self.left and self.deadline_h is None:
            return f"{found}; {self.left:,} wait at the end, and no deadline ends that"
        return f"{found}; nothing passes its deadline"

    @property
    def bad(self) -> bool:
        """Whether somebody should think again."""
        return self.overdue_hour is not None or (self.left > 0 and self.deadline_h is None)


def forecast(
    team: str,
    held_ms: Iterable[int],
    span_ms: tuple[int, int],
    people: int,
    per_day: float,
    deadline_s: float | None,
    open_hours: Sequence[bool] | None = None,
) -> Asked:
    """Work off held decisions first come, first served, an hour at a time.

    `held_ms`: when each was held, ms UTC; `span_ms`: start and end of the history; `per_day`: rulings of one person in a
    day; `open_hours`: for each hour of the span whether people work (they then do a day's work in a day's open hours);
    None: spread over all hours.
    """
    start, end = span_ms
    hours = max(1, -(-(end - start) // HOUR_MS))
    arrivals = [0] * hours
    for at in held_ms:
        if start <= at <= end:
            arrivals[min((at - start) // HOUR_MS, hours - 1)] += 1
    working = open_hours if open_hours is not None and any(open_hours) else [True] * hours
    rate = people * per_day / (sum(working) / hours * DAY_HOURS)
    backlog = _Backlog(rate, None if deadline_s is None else deadline_s / 3600)
    overdue = _first(backlog.hour(hour, count, working[hour]) for hour, count in enumerate(arrivals))
    left = backlog.left
    if overdue is None and left and deadline_s is not None:  # it goes on as it was
        beyond = range(hours, HORIZON_DAYS * DAY_HOURS)
        overdue = _first(backlog.hour(hour, arrivals[hour % hours], working[hour % hours]) for hour in beyond)
    return Asked(team, sum(arrivals), hours, people, per_day, backlog.deadline_h, overdue, left)


@dataclass(slots=True)
class _Backlog:
    """What waits, worked off first come, first served."""

    rate: float
    """Rulings of all people in an hour in which they work."""
    deadline_h: float | None
    waiting: deque[list[int]] = field(default_factory=deque)
    """[hour, how many], oldest first."""
    credit: float = 0.0

    @property
    def left(self) -> int:
        return sum(count for _, count in self.waiting)

    def hour(self, hour: int, came: int, works: bool) -> int | None:
        """One hour; the hour itself where a decision has passed its deadline."""
        if came:
            self.waiting.append([hour, came])
        self.credit += self.rate if works else 0.0
        while self.credit >= 1 and self.waiting:
            done = min(int(self.credit), self.waiting[0][1])
            self.waiting[0][1] -= done
            self.credit -= done
            if not self.waiting[0][1]:
                self.waiting.popleft()
        if not self.waiting:
            self.credit = min(self.credit, 1.0)  # nobody works ahead
        elif self.deadline_h is not None and hour - self.waiting[0][0] >= self.deadline_h:
            return hour
        return None


def _first(found: Iterable[int | None]) -> int | None:
    """The first that is there; all are taken, so that what waits at the end is right."""
    return next(iter([one for one in found if one is not None]), None)


def merged(found: Mapping[str, Sequence[int]], shares: Mapping[str, str]) -> dict[str, list[int]]:
    """Times by team, from times by rule and which team each rule's incidents go to."""
    by_team: dict[str, list[int]] = {}
    for rule, times in found.items():
        by_team.setdefault(shares.get(rule, "nobody"), []).extend(times)
    return by_team
