"""How incidents and people do: precision by rule and monitor, times to acknowledge and to rule, agreement, bulk, backlog.

Precision counts what people decided on after looking: an approval says that the hold was a false alarm, an edit or a
rejection that it was right. Bulk answers, deadlines and answers about fairness are left out and counted. Shares come with
their 95 % intervals (agents/tuning/estimates.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import Connection, RowMapping, func, select

from agents.configuration import Configuration
from agents.people_events import ANSWERS
from agents.tuning.estimates import Estimate, share
from orchestration.judgements import Gathered, held_judgements, judged_alarms
from orchestration.reading.database import Database
from orchestration.reading.overview import current
from orchestration.reading.queries import OPEN
from orchestration.reading.tables import held, incidents, refusals, reviews, rulings

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Precision:
    """How often what somebody was asked about was worth asking."""

    name: str
    """A rule's `<policy>/<rule id>`, or a monitor."""
    right: Estimate
    """The share that people found right to hold, or a real problem."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long something took, in ms."""

    n: int
    median_ms: float | None
    p90_ms: float | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is open now."""

    triggered: int
    acknowledged: int
    overdue: int
    waiting: int
    """Held decisions without an answer."""
    oldest_ms: int | None
    """Since when the oldest of them waits."""


@dataclass(frozen=True, slots=True)
class Stats:
    """All of it, of incidents opened and rulings made since `since_ms`; precision is of all that is remembered."""

    since_ms: int
    incidents: int
    by_severity: Mapping[str, int]
    rules: tuple[Precision, ...]
    monitors: tuple[Precision, ...]
    left_out: Mapping[str, int]
    """Held decisions that precision does not count, and why: bulk, expired, asked back, fairness."""
    acknowledge: Waits
    rule: Waits
    """From the trigger to the first ruling that a person made."""
    by_team: Mapping[str, tuple[Waits, Waits]]
    """Team → (to acknowledge, to rule)."""
    agreement: Estimate
    """Of two people who answered the same of an incident, how often both would let it go out, or both not."""
    blind: Estimate
    """Of released decisions that people judged blind, the share that they would have let go out too."""
    rulings: Mapping[str, int]
    """Resolution → rulings."""
    expired: int
    """Rulings that a deadline made."""
    bulk_rulings: float | None
    """Share of people's rulings that were bulk; null without any."""
    bulk_decisions: float | None
    """Share of the decisions that people ruled on which went in bulk."""
    refusals: Mapping[str, int]
    """Reason → answers that took no effect."""
    backlog: Backlog


def stats(database: Database, now_ms: int, since_ms: int = 0) -> Stats:
    """The figures as they are now; `now_ms` is the caller's clock."""
    with database.reading() as connection:
        configuration, left_out = current(connection) or Configuration(), Gathered()
        judged = list(held_judgements(connection, configuration, left_out))
        alarms = list(judged_alarms(connection))
        opened = _opened(connection, since_ms)
        first = _first_rulings(connection)
        to_ack = {row["id"]: row["acknowledged_ms"] - row["opened_ms"] for row in opened if row["acknowledged_ms"]}
        to_rule = {row["id"]: first[row["id"]] - row["opened_ms"] for row in opened if row["id"] in first}
        teams = {row["id"]: row["team"] for row in opened if row["team"]}
        ruled = connection.execute(select(rulings).where(rulings.c.time_ms >= since_ms)).mappings().all()
        kinds = Counter(row["kind"] for row in ruled)
        people = sum(count for kind, count in kinds.items() if kind is not None)
        decisions = _decisions(connection, since_ms)
        by_people = sum(count for kind, count in decisions.items() if kind is not None)
        refused = select(refusals.c.reason, func.count()).where(refusals.c.time_ms >= since_ms)
        return Stats(
            since_ms=since_ms,
            incidents=len(opened),
            by_severity=dict(Counter(row["severity"] for row in opened)),
            rules=_precision((rule, one.warranted, one.weight) for one in judged for rule in one.rules),
            monitors=_precision((one.monitor, one.real, 1.0) for one in alarms),
            left_out=dict(left_out.left_out),
            acknowledge=_waits(to_ack.values()),
            rule=_waits(to_rule.values()),
            by_team={
                team: (_waits(_of(team, teams, to_ack)), _waits(_of(team, teams, to_rule)))
                for team in sorted(set(teams.values()))
            },
            agreement=_agreement(connection, since_ms),
            blind=_blind(connection, since_ms),
            rulings=dict(Counter(row["resolution"] for row in ruled)),
            expired=kinds[None],
            bulk_rulings=kinds["bulk"] / people if people else None,
            bulk_decisions=decisions["bulk"] / by_people if by_people else None,
            refusals={str(why): int(count) for why, count in connection.execute(refused.group_by(refusals.c.reason))},
            backlog=_backlog(connection, now_ms),
        )


def _precision(said: Iterable[tuple[str, bool, float]]) -> tuple[Precision, ...]:
    by_name: dict[str, tuple[list[bool], list[float]]] = {}
    for name, right, weight in said:
        hits, weights = by_name.setdefault(name, ([], []))
        hits.append(right)
        weights.append(weight)
    return tuple(Precision(name, share(*both)) for name, both in sorted(by_name.items()))


def _of(team: str, teams: Mapping[str, str], waits: Mapping[str, int]) -> list[int]:
    return [wait for name, wait in waits.items() if teams.get(name) == team]


def _waits(found: Iterable[int]) -> Waits:
    ordered = sorted(found)
    return Waits(len(ordered), _quantile(ordered, 0.5), _quantile(ordered, 0.9))


def _quantile(ordered: Sequence[int], share: float) -> float | None:
    """By linear interpolation; None of nothing.

    >>> _quantile([1, 2, 4], 0.5), _quantile([10, 20], 0.9)
    (2.0, 19.0)
    """
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _opened(connection: Connection, since_ms: int) -> Sequence[RowMapping]:
    """Without the incidents' whole records, which are large."""
    column = incidents.c
    query = select(column.id, column.severity, column.team, column.opened_ms, column.acknowledged_ms)
    return connection.execute(query.where(column.opened_ms >= since_ms)).mappings().all()


def _first_rulings(connection: Connection) -> dict[str, int]:
    column = rulings.c
    query = select(column.incident, func.min(column.time_ms)).where(column.kind.is_not(None)).group_by(column.incident)
    return {incident: int(time_ms) for incident, time_ms in connection.execute(query)}


def _decisions(connection: Connection, since_ms: int) -> Counter[str | None]:
    """Kind of ruling → held decisions that it ended."""
    query = (
        select(rulings.c.kind, func.count())
        .select_from(held)
        .join(rulings, held.c.causationid == rulings.c.id)
        .where(held.c.ended_ms >= since_ms)
        .group_by(rulings.c.kind)
    )
    return Counter({kind: int(count) for kind, count in connection.execute(query)})


def _agreement(connection: Connection, since_ms: int) -> Estimate:
    """Pairs of people who answered the same incident: an answer that came second counts as an opinion all the same."""
    column, against = reviews.c, refusals.c
    query = (
        select(column.incident, column.person, column.action, against.reason)
        .outerjoin(refusals, (against.review_partition == column.partition) & (against.review_offset == column.offset))
        .where(column.action.in_(ANSWERS), column.time_ms >= since_ms, column.incident.is_not(None))
        .order_by(column.partition, column.offset)
    )
    said: dict[str, dict[str, bool]] = {}
    for incident, person, action, refused in connection.execute(query):
        if action != "respond" and refused in (None, "already-ruled"):
            said.setdefault(incident, {})[person] = action == "approve"
    pairs = [one == other for people in said.values() for one, other in combinations(people.values(), 2)]
    return share(pairs, [1.0] * len(pairs))


def _blind(connection: Connection, since_ms: int) -> Estimate:
    column, against = reviews.c, refusals.c
    query = (
        select(column.agrees)
        .outerjoin(refusals, (against.review_partition == column.partition) & (against.review_offset == column.offset))
        .where(column.action == "label", column.time_ms >= since_ms)
        .where(against.offset.is_(None), column.agrees.is_not(None))
    )
    found = [bool(agrees) for agrees in connection.scalars(query)]
    return share(found, [1.0] * len(found))


def _backlog(connection: Connection, now_ms: int) -> Backlog:
    column = incidents.c
    by_status = select(column.status, func.count()).where(column.status.in_(OPEN)).group_by(column.status)
    open_ones = {status: int(count) for status, count in connection.execute(by_status)}
    late = select(func.count()).select_from(incidents).where(column.status.in_(OPEN), column.due_ms < now_ms)
    waits = select(func.count(), func.min(held.c.held_ms)).where(held.c.resolution.is_(None))
    count, oldest = connection.execute(waits).one()
    return Backlog(
        open_ones.get("triggered", 0),
        open_ones.get("acknowledged", 0),
        connection.scalar(late) or 0,
        count,
        oldest,
    )
