"""What a configuration would ask of people: held decisions a day against what they rule, before anybody is flooded.

Promise to whoever checks a configuration: the holds are those that its rules gave on recorded decisions; what people
manage is what they did (or what is stated); the backlog follows from the two, hour by hour, and nothing else is assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_HOURS = 24


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
    """The first hour, from the history's start, in which a decision would pass its deadline unanswered; None: none does."""
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
            return f"{found}; the backlog passes the deadline on day {self.overdue_hour // DAY_HOURS + 1}"
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
    a_day = sum(working) / hours * DAY_HOURS
    rate = people * per_day / a_day
    waiting: list[list[int]] = []  # [hour, how many], oldest first
    credit, first, deadline_h = 0.0, 0, None if deadline_s is None else deadline_s / 3600
    overdue: int | None = None
    for hour, count in enumerate(arrivals):
        if count:
            waiting.append([hour, count])
        credit = credit + rate if working[hour] else credit
        while credit >= 1 and first < len(waiting):
            done = min(int(credit), waiting[first][1])
            waiting[first][1] -= done
            credit -= done
            first += waiting[first][1] == 0
        if first == len(waiting):
            credit = min(credit, 1.0)  # nobody works ahead
        elif overdue is None and deadline_h is not None and hour - waiting[first][0] >= deadline_h:
            overdue = hour
    left = sum(count for _, count in waiting[first:])
    return Asked(team, sum(arrivals), hours, people, per_day, deadline_h, overdue, left)


def merged(found: Mapping[str, Sequence[int]], shares: Mapping[str, str]) -> dict[str, list[int]]:
    """Times by team, from times by rule and which team each rule's incidents go to."""
    by_team: dict[str, list[int]] = {}
    for rule, times in found.items():
        by_team.setdefault(shares.get(rule, "nobody"), []).extend(times)
    return by_team
