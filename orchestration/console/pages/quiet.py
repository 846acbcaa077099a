"""What quiet rests on: that something was judged, and that monitors keep up. A dead pipe is quiet too, and must not look so."""

from __future__ import annotations

from sqlalchemy import func, select

from orchestration.console.words import MINUTE, duration, relative, several
from orchestration.reading.database import Database
from orchestration.reading.tables import flow, held, versions, watermarks

STALE = 2 * MINUTE
"""Monitors that are further behind, or that said nothing for so long, are spoken of."""


def quiet(base: Database, now_ms: int) -> tuple[str, ...]:
    """Sentences for an empty queue."""
    with base.reading() as connection:
        last = connection.scalar(select(func.max(versions.c.last_ms)))
        minute = flow.c.width_ms == 5_000
        recent = connection.scalar(
            select(func.coalesce(func.sum(flow.c.count), 0)).where(
                minute, flow.c.start_ms >= now_ms - MINUTE, flow.c.stage == "gate"
            )
        )
        waiting = connection.scalar(select(func.count()).select_from(held).where(held.c.resolution.is_(None))) or 0
        lags = connection.execute(select(watermarks.c.model, watermarks.c.lag_ms, watermarks.c.time_ms)).all()
    said = ["Nothing is open in what you can see: no rule asks for a person, and no monitor alarms."]
    if waiting:
        said.append(
            f"{several(waiting, 'decision waits', 'decisions wait')} all the same, held for incidents of other teams."
        )
    if last is None:
        said.append("No decision was judged yet, so this quiet says nothing: send decisions, or try `govern demo`.")
    elif recent:
        said.append(f"{several(int(recent), 'decision was', 'decisions were')} judged in the last minute.")
    else:
        said.append(
            f"The last decision was judged {relative(last, now_ms)}. If more should have come, look at the live flow."
        )
    late = [model for model, lag, at in lags if lag + max(now_ms - at, 0) > STALE]
    if late:
        said.append(f"Monitors of {', '.join(sorted(late)[:5])} are behind, so they may not know yet.")
    elif lags:
        slowest = max(lag + max(now_ms - at, 0) for _, lag, at in lags)
        said.append(f"Monitors have seen everything up to {duration(slowest)} ago.")
    return tuple(said)
