"""A week of one model on one page: quiet or not, gaps, what waits, what people found, what changed.

Promise to whoever gets it once a week: it is short, says first whether anything needs them, and says nothing that the
read model does not hold. Counts come from hours of verdicts; the week before stands beside them. A week that is over is
told as it ended, whenever it is asked for; only what waits now is of now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, or_, select

from agents.escalation.weeks import Week
from agents.people_events import IncidentData
from orchestration.reading.database import Database
from orchestration.reading.overview import Flowed, current, flowed, models
from orchestration.reading.tables import held, incidents, rulings, versions
from orchestration.reading.week_changes import Named, changes
from orchestration.reading.week_signals import Watched, watched

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
USUAL = 5
"""An hour without a decision is a gap where the same hour a week before had at least so many."""
MOST = 5
"""Incidents, alarms, gaps and changes that are named; the others are counted."""
LOUD = ("warning", "error", "critical")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gap:
    """Hours in which nothing came, though it usually does."""

    start_ms: int
    end_ms: int
    usual: int
    """Decisions in the same hours a week before."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A week of a model."""

    model: str
    start_ms: int
    end_ms: int
    over: bool
    """Whether it has ended; else it is told so far."""
    decisions: int
    before: int
    """In the week before; as far as this one has come."""
    by_day: tuple[int, ...]
    """Decisions of each 24 hours, from its start on."""
    effects: Mapping[str, int]
    """allow, log, hold, block at the gate; released and withheld by people or deadlines."""
    gaps: tuple[Gap, ...]
    opened: Mapping[str, int]
    """Severity → incidents opened in the week."""
    incidents: tuple[Named, ...]
    """Those that were open at its end, and this week's, the worst first."""
    left_out: int
    elsewhere: int
    """Further ones that belong to teams which the reader is not shown."""
    waiting: int
    """Held decisions that waited at its end."""
    oldest_ms: int | None
    waiting_now: int
    expired: int
    """Held decisions that a deadline ended in the week, because nobody answered."""
    rulings: Mapping[str, int]
    """Resolution → rulings that people made in the week."""
    alarms: tuple[Watched, ...]
    """What monitors said at some time of the week."""
    warnings: tuple[Watched, ...]
    short: int
    """Signals that have too few decisions to say anything now; of a week that is over none are counted."""
    changes: tuple[Named, ...]
    changes_left_out: int

    @property
    def quiet(self) -> bool:
        """Whether nobody was needed; a gap alone needs nobody."""
        loud = sum(self.opened.get(severity, 0) for severity in LOUD)
        return not (self.alarms or self.expired or loud or self.waiting or self.incidents or self.elsewhere)

    @property
    def verdict(self) -> str:
        """`a quiet week`, and what it lacked; one in which nothing came says that, and is not praised."""
        if not self.quiet:
            return "not a quiet week"
        if not self.decisions:
            return "a week without a decision"
        gaps = "with a gap" if len(self.gaps) == 1 else "with gaps"
        return f"a quiet week, but {gaps}" if self.gaps else "a quiet week"


def weekly(
    database: Database, model: str, now_ms: int, days: int = 7, sees: Callable[[IncidentData], bool] | None = None
) -> Digest:
    """The digest of the `days` before now, by the hour."""
    end = now_ms - now_ms % HOUR_MS + HOUR_MS
    return _digest(database, model, (end - days * DAY_MS, end), now_ms, lambda ms: ms - days * DAY_MS, sees)


def of_week(
    database: Database, model: str, week: Week, now_ms: int, sees: Callable[[IncidentData], bool] | None = None
) -> Digest:
    """The digest of a calendar week, by the hour; `sees`: whose incidents are named."""
    start, end = (ms - ms % HOUR_MS for ms in (week.start_ms, week.end_ms))
    zone = ZoneInfo(week.zone)

    def before(ms: int) -> int:  # the same hour on the wall, so that a change of clocks makes no gap
        wall = (EPOCH + timedelta(milliseconds=ms)).astimezone(zone) - timedelta(days=7)
        found = (wall.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)
        return found - found % HOUR_MS

    return _digest(database, model, (start, end), now_ms, before, sees)


def known_models(database: Database, now_ms: int) -> list[str]:
    """Models that were seen or are declared, by name."""
    return sorted({one.model for one in models(database, now_ms)})


def known(database: Database, model: str) -> bool:
    """Whether the model was seen or is declared."""
    with database.reading() as connection:
        configuration = current(connection)
        declared = configuration is not None and model in configuration.models
        return declared or _first(connection, model) is not None


def first_ms(database: Database, model: str) -> int | None:
    """When the model was seen first."""
    with database.reading() as connection:
        return _first(connection, model)


def zone_of(database: Database) -> str:
    """The zone that weeks are cut by: the declared digest's."""
    with database.reading() as connection:
        configuration = current(connection)
    digest = configuration.escalation.digest if configuration is not None else None
    return digest.zone if digest is not None else "UTC"


def _digest(
    database: Database,
    model: str,
    span: tuple[int, int],
    now_ms: int,
    before: Callable[[int], int],
    sees: Callable[[IncidentData], bool] | None,
) -> Digest:
    start, end = span
    now = [hour for hour in flowed(database, start, end, HOUR_MS, model) if hour.start_ms <= now_ms]
    then = _before(database, model, now, before)
    effects = Counter[str]()
    for hour in now:
        effects.update(hour.counts)
    said = watched(database, model, span, now_ms)
    changed = changes(database, model, span)
    with database.reading() as connection:
        named, left_out, elsewhere, opened = _incidents(connection, model, span, sees)
        waiting, oldest = _waiting(connection, model, end)
        return Digest(
            model=model,
            start_ms=start,
            end_ms=end,
            over=end <= now_ms,
            decisions=_came(now),
            before=_came(then),
            by_day=tuple(_came(now[hour : hour + 24]) for hour in range(0, len(now), 24)),
            effects=dict(effects),
            gaps=_gaps(now, then, now_ms, _first(connection, model)),
            opened=opened,
            incidents=named,
            left_out=left_out,
            elsewhere=elsewhere,
            waiting=waiting,
            oldest_ms=oldest,
            waiting_now=waiting if end > now_ms else _waiting(connection, model, now_ms + 1)[0],
            expired=_expired(connection, model, span),
            rulings=_rulings(connection, model, span),
            alarms=tuple(one for one in said if one.status == "alarm"),
            warnings=tuple(one for one in said if one.status == "warn"),
            short=sum(one.status == "insufficient" for one in said),
            changes=changed[-MOST:],
            changes_left_out=max(0, len(changed) - MOST),
        )


def _before(database: Database, model: str, now: Sequence[Flowed], before: Callable[[int], int]) -> list[Flowed]:
    """The hours a week before, one for each."""
    wanted = [before(hour.start_ms) for hour in now]
    if not wanted:
        return []
    found = {one.start_ms: one for one in flowed(database, min(wanted), max(wanted) + HOUR_MS, HOUR_MS, model)}
    return [found[moment] for moment in wanted]


def _came(hours: Sequence[Flowed]) -> int:
    return sum(hour.counts.get(effect, 0) for hour in hours for effect in ("allow", "log", "hold", "block"))


def _gaps(now: Sequence[Flowed], then: Sequence[Flowed], now_ms: int, first_ms: int | None) -> tuple[Gap, ...]:
    """Silent hours that were not silent a week before, neighbours as one."""
    found: list[Gap] = []
    for here, before in zip(now, then, strict=True):
        usual, end = _came([before]), here.start_ms + HOUR_MS
        if first_ms is None or end > now_ms or usual < USUAL or _came([here]):
            continue
        if found and found[-1].end_ms == here.start_ms:
            found[-1] = Gap(found[-1].start_ms, end, found[-1].usual + usual)
        else:
            found.append(Gap(here.start_ms, end, usual))
    return tuple(found)


def _first(connection: Connection, model: str) -> int | None:
    first: int | None = connection.scalar(select(func.min(versions.c.first_ms)).where(versions.c.model == model))
    return first


def _incidents(
    connection: Connection, model: str, span: tuple[int, int], sees: Callable[[IncidentData], bool] | None
) -> tuple[tuple[Named, ...], int, int, dict[str, int]]:
    """(named, how many further ones, how many of other teams, severity → opened in the week)."""
    column, (start, end) = incidents.c, span
    stood = or_(column.opened_ms >= start, column.resolved_ms.is_(None), column.resolved_ms >= end)
    query = select(incidents).where(column.model == model, column.opened_ms < end, column.inhibited_by.is_(None), stood)
    rows = list(connection.execute(query.order_by(column.rank.desc(), column.opened_ms)))
    opened = Counter(row.severity for row in rows if row.opened_ms >= start)
    loud = [row for row in rows if row.severity in LOUD]
    shown = [row for row in loud if sees is None or sees(IncidentData.model_validate_json(row.data))]
    named = [Named(row.opened_ms, row.title, row.id, row.severity, row.status, row.resolution) for row in shown]
    return tuple(named[:MOST]), max(0, len(named) - MOST), len(loud) - len(shown), dict(opened)


def _waiting(connection: Connection, model: str, at_ms: int) -> tuple[int, int | None]:
    column = held.c
    query = select(func.count(), func.min(column.held_ms)).where(
        column.model == model,
        or_(column.held_ms.is_(None), column.held_ms < at_ms),
        or_(column.resolution.is_(None), column.ended_ms >= at_ms),
    )
    count, oldest = connection.execute(query).one()
    return int(count), oldest


def _expired(connection: Connection, model: str, span: tuple[int, int]) -> int:
    column, (start, end) = held.c, span
    query = select(func.count()).where(
        column.model == model, column.resolution == "expired", column.ended_ms >= start, column.ended_ms < end
    )
    return int(connection.scalar(query) or 0)


def _rulings(connection: Connection, model: str, span: tuple[int, int]) -> dict[str, int]:
    column, (start, end) = rulings.c, span
    query = (
        select(column.resolution, func.count())
        .join(incidents, incidents.c.id == column.incident)
        .where(incidents.c.model == model, column.time_ms >= start, column.time_ms < end, column.kind.is_not(None))
        .group_by(column.resolution)
    )
    return {resolution: int(count) for resolution, count in connection.execute(query)}
