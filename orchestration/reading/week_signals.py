"""What a model's monitors said in a stretch of time: each signal by its worst word of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import select

from orchestration.reading.database import Database
from orchestration.reading.overview import STATUSES, signals_of
from orchestration.reading.tables import signal_points

WIDTHS_MS = (3_600_000, 86_400_000)
"""Of points: hours for the last two weeks, days for ever."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A signal."""

    monitor: str
    version: str
    about: str
    """Segment and group; empty: all of the traffic."""
    status: str
    text: str
    """The monitor's sentence, where it says the same now."""
    over: bool
    """Whether it says something better now."""


def watched(database: Database, model: str, span: tuple[int, int], now_ms: int) -> tuple[Watched, ...]:
    """Signals by the worst status that they had in [start, end), the worst first."""
    start, end = span
    standing = {one.key: one for one in signals_of(database, model)}
    worst = {key: one.data.status.value for key, one in standing.items()} if end > now_ms else {}
    column = signal_points.c
    query = select(column.key, column.status).where(
        column.width_ms.in_(WIDTHS_MS),
        column.time_ms >= start,
        column.time_ms < end,
        column.status.in_(("alarm", "warn")),
        column.key.startswith(json.dumps([model], ensure_ascii=False)[:-1] + ",", autoescape=True),
    )
    with database.reading() as connection:
        for key, status in connection.execute(query.distinct()):
            worst[key] = min(worst.get(key, status), status, key=STATUSES.index)
    found = []
    for key, status in worst.items():
        now = standing.get(key)
        said = now.data if now is not None else None
        if said is not None:
            version, monitor, segment, group = said.version, said.monitor, said.segment, said.group
        else:
            _, version, monitor, segment, group = json.loads(key)
        same = said is not None and said.status.value == status
        text = said.text or "" if said is not None and same else ""
        about = " · ".join(part for part in (group, segment) if part)
        found.append(Watched(monitor, version, about, status, text, not same))
    return tuple(sorted(found, key=lambda one: (STATUSES.index(one.status), one.over, one.monitor, one.about)))
