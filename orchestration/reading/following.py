"""What changed in a read model that another process writes: for consoles that stand beside the one that projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from orchestration.reading.database import Database
from orchestration.reading.tables import (
    deliveries,
    incidents,
    notifications,
    offsets,
    refusals,
    reviews,
    rulings,
    triage,
)

SPEAK = {"reviews": (reviews,), "rulings": (rulings, refusals), "triage": (triage,), "notifications": (notifications,)}
"""Short names of one-partition topics whose rows name an incident and their offset."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the rows had come at some moment."""

    offsets: Mapping[tuple[str, int], int]
    newest_ms: int
    """Of the incidents' last changes."""

    def moved(self, before: Seen) -> frozenset[str]:
        """Full names of topics that rows were made from since then."""
        return frozenset(place[0] for place, end in self.offsets.items() if before.offsets.get(place) != end)

    def incidents_since(self, before: Seen, database: Database) -> frozenset[str]:
        """Incidents that were spoken of since then."""
        found: set[str] = set()
        with database.reading() as connection:
            changed = select(incidents.c.id).where(incidents.c.changed_ms >= before.newest_ms)
            if self.newest_ms != before.newest_ms:
                found |= set(connection.scalars(changed))
            for (topic, partition), end in self.offsets.items():
                start, short = before.offsets.get((topic, partition), 0), topic.rpartition(".")[2]
                if start == end:
                    continue
                for table in SPEAK.get(short, ()):
                    found |= set(connection.scalars(select(table.c.incident).where(table.c.offset >= start)))
                if short == "notifications":  # a delivery names the notification, whose id begins with the incident
                    said = select(deliveries.c.notification).where(deliveries.c.offset >= start)
                    found |= {name.partition("/")[0] for name in connection.scalars(said)}
        return frozenset(name for name in found if name)


def seen(database: Database) -> Seen:
    """How far the rows have come."""
    with database.reading() as connection:
        rows = connection.execute(select(offsets.c.topic, offsets.c.partition, offsets.c.next))
        ends = {(topic, partition): end for topic, partition, end in rows}
        newest = connection.scalar(select(incidents.c.changed_ms).order_by(incidents.c.changed_ms.desc()).limit(1))
        return Seen(ends, newest or 0)
