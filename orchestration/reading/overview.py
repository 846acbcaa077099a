"""What pages ask beyond incidents: models at a glance, the flow of verdicts, policies with their hits, what stands.

Every function reads one moment's rows and returns frozen values; times are ms UTC, and `now_ms` is the caller's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, func, select

from agents.configuration import Configuration
from agents.events import ALL_VERSIONS, SignalData
from orchestration.reading.database import Database
from orchestration.reading.held import waiting_by_model
from orchestration.reading.queries import OPEN, RANKS
from orchestration.reading.tables import (
    WIDTHS,
    configurations,
    flow,
    incidents,
    rule_hits,
    safeguards,
    signals,
    versions,
    watermarks,
)

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
STATUSES = ("alarm", "warn", "ok", "insufficient", "none")
"""Of signals, the worst first."""


# -- models ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal that stands."""

    key: str
    time_ms: int
    since_ms: int
    """Since when it has this status, by the broker's clock."""
    data: SignalData


@dataclass(frozen=True, slots=True)
class Order:
    """A safeguard."""

    id: str
    time_ms: int
    kind: str
    model: str
    version: str | None
    caller: str | None
    active: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """One model version at a glance; `version` is `*` for what speaks of all versions together."""

    model: str
    version: str
    declared: bool
    mode: str | None
    """gate or observe, as the configuration in force says; null where it does not declare the model."""
    first_ms: int | None
    last_ms: int | None
    decisions: int
    """Ever."""
    last_hour: Mapping[str, int]
    """Effect at the gate → decisions of the last hour; a duplicate's is empty."""
    last_day: Mapping[str, int]
    waiting: int
    """Held decisions that wait."""
    signals: Mapping[str, int]
    """Status → how many signals have it."""
    worst: str
    """The worst status of a signal; `none` without any."""
    open_incidents: int
    severity: str | None
    """The worst of its open incidents."""
    lag_ms: float | None
    """How far its monitors were behind when they last said so …"""
    lag_said_ms: int | None
    """… and when that was."""
    safeguards: tuple[Order, ...]
    """That are active and concern it."""


def models(database: Database, now_ms: int) -> tuple[ModelHealth, ...]:
    """Every model version that was seen or is declared, by name, the newest version first."""
    with database.reading() as connection:
        configuration = current(connection)
        declared = configuration.models if configuration is not None else {}
        rows = connection.execute(select(versions)).mappings()
        seen = {(row["model"], row["version"]): row for row in rows}
        hour = _effects(connection, now_ms - HOUR_MS, 60_000)
        day = _effects(connection, now_ms - DAY_MS, 60_000)
        waits, said = waiting_by_model(connection), _signals(connection)
        orders = [one for one in _orders(connection) if one.active]
        lags = {row.model: row for row in connection.execute(select(watermarks))}
        troubles = _troubles(connection)
        names = set(seen) | {(one.data.model, one.data.version) for one in said}
        names |= {(name, version) for name, model in declared.items() for version in model.versions}
        found = []
        for model, version in names:
            mine = [one for one in said if (one.data.model, one.data.version) == (model, version)]
            statuses = {status: sum(one.data.status.value == status for one in mine) for status in STATUSES}
            row, lag = seen.get((model, version)), lags.get(model)
            count, rank = troubles.get((model, version), (0, -1))
            found.append(
                ModelHealth(
                    model,
                    version,
                    declared=model in declared and (version in (*declared[model].versions, ALL_VERSIONS)),
                    mode=declared[model].mode.value if model in declared else None,
                    first_ms=row["first_ms"] if row else None,
                    last_ms=row["last_ms"] if row else None,
                    decisions=row["count"] if row else 0,
                    last_hour=hour.get((model, version), {}),
                    last_day=day.get((model, version), {}),
                    waiting=waits.get((model, version), 0),
                    signals={status: count for status, count in statuses.items() if count},
                    worst=next((status for status in STATUSES if statuses[status]), "none"),
                    open_incidents=count,
                    severity=next((name for name, value in RANKS.items() if value == rank), None),
                    lag_ms=lag.lag_ms if lag else None,
                    lag_said_ms=lag.time_ms if lag else None,
                    safeguards=tuple(one for one in orders if one.model == model and one.version in (None, version)),
                )
            )
        return tuple(sorted(found, key=lambda one: (one.model, one.version != ALL_VERSIONS, -(one.first_ms or 0))))


def signals_of(database: Database, model: str | None = None, version: str | None = None) -> tuple[Signalled, ...]:
    """The signals that stand, the worst first."""
    with database.reading() as connection:
        return tuple(
            one
            for one in _signals(connection)
            if model in (None, one.data.model) and version in (None, one.data.version)
        )


# -- flow --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flowed:
    """What went through in one stretch of time."""

    start_ms: int
    counts: Mapping[str, int]
    """allow, log, hold, block at the gate; duplicate; released and withheld by people or deadlines."""


def flowed(
    database: Database, since_ms: int, until_ms: int, width_ms: int, model: str | None = None
) -> tuple[Flowed, ...]:
    """Counts of stretches from `since_ms` on, oldest first, empty ones included; `width_ms` is one of tables.WIDTHS."""
    if width_ms not in WIDTHS:
        raise ValueError(f"there are buckets of {', '.join(map(str, WIDTHS))} ms, not of {width_ms}")
    column = flow.c
    start = since_ms - since_ms % width_ms
    query = select(column.start_ms, column.stage, column.kind, column.effect, func.sum(column.count)).where(
        column.width_ms == width_ms, column.start_ms >= start, column.start_ms < until_ms
    )
    if model is not None:
        query = query.where(column.model == model)
    found: dict[int, dict[str, int]] = {moment: {} for moment in range(start, until_ms, width_ms)}
    with database.reading() as connection:
        rows = connection.execute(query.group_by(column.start_ms, column.stage, column.kind, column.effect))
        for moment, stage, kind, effect, count in rows:
            name = _went(stage, kind, effect)
            found[moment][name] = found[moment].get(name, 0) + int(count)
    return tuple(Flowed(moment, counts) for moment, counts in sorted(found.items()))


def _went(stage: str, kind: str, effect: str) -> str:
    if stage == "final":
        return "released" if effect == "allow" else "withheld"
    return "duplicate" if kind == "duplicate" else effect


# -- policies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleHits:
    """A rule as it stands, with how often it matched."""

    rule: str
    """`<policy>/<rule id>`."""
    when: str
    effect: str
    severity: str
    team: str | None
    reason: str
    hits: int
    """Since the time asked for."""
    unknown: int
    """Of these, how often it could not be evaluated."""
    last_ms: int | None
    """When it matched last, ever."""
    by_day: tuple[tuple[int, int], ...]
    """(start of the day in UTC, hits), since the time asked for."""
    changed_ms: int | None
    """When a configuration changed it last, as far as the read model remembers."""
    changed_by: str | None
    changed_note: str | None


@dataclass(frozen=True, slots=True)
class PolicyHits:
    """A policy as it stands."""

    policy: str
    description: str
    mode: str
    rules: tuple[RuleHits, ...]
    changed_ms: int | None
    """When the policy or one of its rules changed last."""


def policies(database: Database, since_ms: int) -> tuple[PolicyHits, ...]:
    """Policies of the configuration in force, with hits since a time (by hours)."""
    with database.reading() as connection:
        configuration = current(connection)
        if configuration is None:
            return ()
        hits, changes = _hits(connection, since_ms), _changes(connection)
        found = []
        for policy in configuration.policies:
            rules = []
            for rule in policy.rules:
                name = f"{policy.policy}/{rule.id}"
                mine, changed = hits.get(name, _Hits()), changes.get(f"rule {name}")
                rules.append(
                    RuleHits(
                        name,
                        rule.when,
                        rule.effect.value,
                        rule.severity.value,
                        rule.team,
                        rule.reason,
                        mine.count,
                        mine.unknown,
                        mine.last_ms,
                        tuple(sorted(mine.days.items())),
                        *(changed or (None, None, None)),
                    )
                )
            last = [one.changed_ms for one in rules if one.changed_ms is not None]
            own = changes.get(f"policy {policy.policy}")
            last += [own[0]] if own else []
            found.append(
                PolicyHits(policy.policy, policy.description, policy.mode, tuple(rules), max(last, default=None))
            )
        return tuple(found)


@dataclass(slots=True)
class _Hits:
    count: int = 0
    unknown: int = 0
    last_ms: int | None = None
    days: dict[int, int] = field(default_factory=dict)


def _hits(connection: Connection, since_ms: int) -> dict[str, _Hits]:
    column, found = rule_hits.c, dict[str, _Hits]()
    last = select(column.rule, func.max(column.last_ms)).group_by(column.rule)
    for rule, last_ms in connection.execute(last):
        found[rule] = _Hits(last_ms=last_ms)
    query = select(column.rule, column.start_ms, column.outcome, func.sum(column.count)).where(
        column.start_ms >= since_ms - since_ms % HOUR_MS
    )
    for rule, start, outcome, count in connection.execute(query.group_by(column.rule, column.start_ms, column.outcome)):
        one, day = found[rule], start - start % DAY_MS
        one.count += int(count)
        one.unknown += int(count) if outcome == "unknown" else 0
        one.days[day] = one.days.get(day, 0) + int(count)
    return found


def _changes(connection: Connection) -> dict[str, tuple[int, str | None, str | None]]:
    """Part of a configuration (`rule …`, `policy …`) → its last change: when, by whom, note."""
    found: dict[str, tuple[int, str | None, str | None]] = {}
    for row in connection.execute(select(configurations).order_by(configurations.c.offset)):
        for one in row.changed:
            found[one["name"].partition(": ")[0]] = (row.time_ms, row.applied_by, row.note)
    return found


# -- what stands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a configuration changed."""

    kind: str
    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class AppliedConfiguration:
    """A configuration of the history."""

    offset: int
    time_ms: int
    digest: str
    applied_by: str | None
    note: str | None
    changed: tuple[Difference, ...]


def history(database: Database, limit: int = 50) -> tuple[AppliedConfiguration, ...]:
    """Configurations, newest first."""
    column = configurations.c
    with database.reading() as connection:
        rows = connection.execute(select(configurations).order_by(column.offset.desc()).limit(limit)).mappings()
        return tuple(
            AppliedConfiguration(
                **{name: row[name] for name in ("offset", "time_ms", "digest", "applied_by", "note")},
                changed=tuple(Difference(**one) for one in row["changed"]),
            )
            for row in rows
        )


def configuration(database: Database) -> Configuration | None:
    """The configuration in force; None where nothing was ever applied."""
    with database.reading() as connection:
        return current(connection)


def orders(database: Database) -> tuple[Order, ...]:
    """Safeguards, active ones first."""
    with database.reading() as connection:
        return tuple(sorted(_orders(connection), key=lambda one: (not one.active, -one.time_ms)))


def current(connection: Connection) -> Configuration | None:
    """The configuration in force, in a transaction that is open."""
    column = configurations.c
    found = connection.scalar(select(column.document).order_by(column.offset.desc()).limit(1))
    return None if found is None else Configuration.model_validate_json(found)


def _orders(connection: Connection) -> list[Order]:
    names = list(Order.__dataclass_fields__)
    rows = connection.execute(select(*(safeguards.c[name] for name in names)).order_by(safeguards.c.id))
    return [Order(**row) for row in rows.mappings()]


def _signals(connection: Connection) -> list[Signalled]:
    column = signals.c
    rows = connection.execute(select(column.key, column.time_ms, column.since_ms, column.data))
    found = [Signalled(key, at, since, SignalData.model_validate_json(data)) for key, at, since, data in rows]
    return sorted(found, key=lambda one: (STATUSES.index(one.data.status.value), one.data.monitor, one.key))


def _effects(connection: Connection, since_ms: int, width_ms: int) -> dict[tuple[str, str], dict[str, int]]:
    """(model, version) → effect at the gate → decisions since a time."""
    column = flow.c
    query = (
        select(column.model, column.version, column.effect, func.sum(column.count))
        .where(column.width_ms == width_ms, column.stage == "gate", column.start_ms >= since_ms - since_ms % width_ms)
        .group_by(column.model, column.version, column.effect)
    )
    found: dict[tuple[str, str], dict[str, int]] = {}
    for model, version, effect, count in connection.execute(query):
        found.setdefault((model, version), {})[effect] = int(count)
    return found


def _troubles(connection: Connection) -> dict[tuple[str | None, str | None], tuple[int, int]]:
    """(model, version) → open incidents and the rank of the worst; a null version is all of them together."""
    column = incidents.c
    query = (
        select(column.model, column.version, func.count(), func.max(column.rank))
        .where(and_(column.status.in_(OPEN)))
        .group_by(column.model, column.version)
    )
    found: dict[tuple[str | None, str | None], tuple[int, int]] = {}
    for model, version, count, rank in connection.execute(query):
        key = (model, version or ALL_VERSIONS)
        before, worst = found.get(key, (0, -1))
        found[key] = (before + count, max(worst, rank))
    return found
