"""What the read model holds of the evidence, and how it is itself: how far it has come, and what it kept out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from orchestration.reading.database import Database
from orchestration.reading.tables import checkpoints, offsets, unreadable


@dataclass(frozen=True, slots=True)
class SignedHead:
    """The newest checkpoint of a log."""

    origin: str
    size: int
    time_ms: int
    root: str
    """Base64."""


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Records of one place that no row could be made of."""

    topic: str
    partition: int
    count: int
    last_offset: int
    last_why: str


@dataclass(frozen=True, slots=True)
class Health:
    """How the read model itself is."""

    name: str
    cluster: str
    caught_up_ms: int | None
    """When it first held everything; null: it is being made."""
    kept_out: tuple[KeptOut, ...]
    offsets: Mapping[str, int]
    """`<topic>/<partition>` → the next offset to read."""


def heads(database: Database) -> tuple[SignedHead, ...]:
    """The newest signed head of each evidence log, by name."""
    names = list(SignedHead.__dataclass_fields__)
    with database.reading() as connection:
        query = select(*(checkpoints.c[name] for name in names)).order_by(checkpoints.c.origin)
        return tuple(SignedHead(**row) for row in connection.execute(query).mappings())


def health(database: Database) -> Health:
    """What the read model holds, and what it kept out."""
    facts = database.facts()
    with database.reading() as connection:
        names = list(KeptOut.__dataclass_fields__)
        rows = connection.execute(select(*(unreadable.c[name] for name in names)).order_by(*unreadable.primary_key))
        places = connection.execute(select(offsets).order_by(*offsets.primary_key))
        return Health(
            database.name,
            facts.get("cluster", ""),
            int(facts["caught_up"]) if "caught_up" in facts else None,
            tuple(KeptOut(**row) for row in rows.mappings()),
            {f"{row.topic}/{row.partition}": int(row.next) for row in places},
        )
