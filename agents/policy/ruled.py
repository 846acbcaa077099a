"""A ruling as one partition of `held` sees it: what it decides there, for which causes, and for which decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from agents.errors import Poison
from agents.events import Effect
from agents.people_events import Edit, Resolution, Ruling, RulingData
from agents.records import Record, position


class BadRuling(Poison):
    """A record of `rulings` that breaks the contract; it has no effect."""

    reason = "bad-ruling"


@dataclass(frozen=True, slots=True)
class Ruled:
    """What one ruling means here."""

    offset: int
    """On `rulings`."""
    id: str
    time_ms: int
    """The broker's time of the ruling: final verdicts repeat it."""
    action: Literal["release", "withhold", "edit"]
    resolution: Resolution
    reason: str
    keys: frozenset[str]
    """The dedup_keys that it answers."""
    through: Mapping[str, int]
    """Topic of decisions → the offset before which decisions of this partition are meant."""
    items: Mapping[str, tuple[int, ...]] | None = None
    """Topic of decisions → only these offsets; None: `through` says it."""
    edit: Edit | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON values, for a snapshot."""
        return {
            "offset": self.offset,
            "id": self.id,
            "time_ms": self.time_ms,
            "action": self.action,
            "resolution": self.resolution.value,
            "reason": self.reason,
            "keys": sorted(self.keys),
            "through": dict(self.through),
            "items": None if self.items is None else {topic: list(offsets) for topic, offsets in self.items.items()},
            "edit": None if self.edit is None else self.edit.model_dump(exclude_none=True),
        }

    @classmethod
    def of_plain(cls, told: Mapping[str, Any]) -> Ruled:
        """What `plain` gave."""
        items = told["items"]
        return cls(
            told["offset"],
            told["id"],
            told["time_ms"],
            told["action"],
            Resolution(told["resolution"]),
            told["reason"],
            frozenset(told["keys"]),
            told["through"],
            None if items is None else {topic: tuple(offsets) for topic, offsets in items.items()},
            None if told["edit"] is None else Edit.model_validate(told["edit"]),
        )


def ruled_of(record: Record, partition: int) -> Ruled | None:
    """What a record of `rulings` decides among the held decisions of a partition; None where that is nothing.

    Raises BadRuling.
    """
    try:
        kind = json.loads(record.value or b"")["type"]
        if kind == "governance.refusal.v1":
            return None
        ruling = Ruling.model_validate_json(record.value or b"")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "value"
        raise BadRuling(f"{position(record)} has no effect: {where}: {first['msg']}") from None
    except (ValueError, KeyError, TypeError):
        raise BadRuling(f"{position(record)} has no effect: it is no CloudEvent") from None
    data = ruling.data
    action = _action(data, record)
    through, items = _through(data, partition), _items(data, partition)
    if action is None or not (through if items is None else items):
        return None
    keys, moment = frozenset(data.keys), record.timestamp
    edit = data.edit if action == "edit" else None
    return Ruled(record.offset, ruling.id, moment, action, data.resolution, data.reason, keys, through, items, edit)


def _action(data: RulingData, record: Record) -> Literal["release", "withhold", "edit"] | None:
    if data.resolution is Resolution.EDITED:
        if data.edit is None:
            raise BadRuling(f"{position(record)} has no effect: it says edited, but not what")
        return "edit"
    if data.effect is Effect.ALLOW and data.resolution is not Resolution.REJECTED:
        return "release"
    return "withhold" if data.effect is Effect.BLOCK else None


def _through(data: RulingData, partition: int) -> dict[str, int]:
    found = {}
    for place, end in data.through.items():
        topic, _, number = place.rpartition("/")
        if number == str(partition):
            found[topic] = end
    return found


def _items(data: RulingData, partition: int) -> dict[str, tuple[int, ...]] | None:
    if data.items is None:
        return None
    found: dict[str, list[int]] = {}
    for one in data.items:
        if one.partition == partition:
            found.setdefault(one.topic, []).append(one.offset)
    return {topic: tuple(sorted(offsets)) for topic, offsets in found.items()}
