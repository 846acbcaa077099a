"""Flags of one batch: one for each dedup_key, with a count, the offsets and a bounded sample.

A flag's id is its dedup_key and the position it starts at. How decisions fall into batches changes how many flags there
are, never what they sum to: tests add them up by dedup_key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.events import Effect, Mode, Severity
from agents.records import Header

SAMPLE = 20
HELD = 500
"""So many held decisions of a batch a flag names one by one, so that each can be answered for itself and the last one ends
the incident."""


@dataclass(slots=True)
class Counted:
    """What one flag will say."""

    severity: Severity
    team: str | None
    effect: Effect | None
    labels: Mapping[str, str]
    first: int
    last: int
    count: int = 1
    sample: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    reason: str = ""
    mode: Mode | None = None


@dataclass
class FlagBook:
    """Collects the flags of one batch of one partition."""

    prefix: str
    topic: str
    partition: int
    speaker: str = "policy"
    """The agent that raises them."""
    counted: dict[str, Counted] = field(default_factory=dict)
    _keys: dict[tuple[str, str | None, str | None], str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counted)

    def add(
        self,
        cause: str,
        model: str | None,
        version: str | None,
        offset: int,
        *,
        severity: Severity,
        effect: Effect | None,
        reason: Callable[[], str],
        team: str | None = None,
        labels: Mapping[str, str] | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Count one decision; `reason` is rendered for the first one only."""
        named = (cause, model, version)
        key = self._keys.get(named)
        if key is None:
            key = self._keys[named] = dedup_key(cause, model, version)
        found = self.counted.get(key)
        holds = effect is Effect.HOLD and mode is Mode.GATE
        if found is None:
            told, held = labels or {}, [offset] if holds else []
            self.counted[key] = Counted(severity, team, effect, told, offset, offset, 1, [offset], held, reason(), mode)
            return
        if offset < found.first:  # groups of one batch are judged one after the other
            found.first, found.reason = offset, reason()
        found.last = max(found.last, offset)
        found.count += 1
        if len(found.sample) < SAMPLE:
            found.sample.append(offset)
        if holds and len(found.held) < HELD:
            found.held.append(offset)

    def messages(self, time: str) -> list[tuple[bytes, bytes, Sequence[Header]]]:
        """Records for the topic `flags`, in the order of their first decisions."""
        ordered = sorted(self.counted.items(), key=lambda item: (item[1].first, item[0]))
        return [(key.encode(), self._event(key, flag, time), ()) for key, flag in ordered]

    def _event(self, key: str, flag: Counted, time: str) -> bytes:
        event = {
            "specversion": "1.0",
            "type": "governance.flag.v1",
            "id": f"{key}@{self.topic}/{self.partition}/{flag.first}",
            "source": f"/{self.prefix}/{self.speaker}",
            "time": time,
            "data": {
                "dedup_key": key,
                "severity": flag.severity.value,
                "team": flag.team,
                "effect": flag.effect.value if flag.effect else None,
                **({"mode": flag.mode.value} if flag.mode else {}),
                "reason": flag.reason,
                "labels": dict(flag.labels),
                "count": flag.count,
                "topic": self.topic,
                "partition": self.partition,
                "first_offset": flag.first,
                "last_offset": flag.last,
                "sample": flag.sample,
                **({"held": flag.held} if len(flag.held) == flag.count > SAMPLE else {}),
            },
        }
        return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def dedup_key(cause: str, model: str | None, version: str | None, segment: str | None = None) -> str:
    """What makes flags one incident.

    >>> dedup_key("hours/after-hours", "credit-limit", "2.1.0")
    '["hours/after-hours","credit-limit","2.1.0",null]'
    """
    return json.dumps([cause, model, version, segment], separators=(",", ":"), ensure_ascii=False)
