"""What became of every message, as the topic `notifications` tells it: for people who ask, not for the lane."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from agents.records import Record
from agents.told_events import DeliveryData, Notification, NotificationData
from orchestration.notify.outbox import EVENTS


@dataclass(slots=True)
class Told:
    """One notification and its newest delivery."""

    id: str
    data: NotificationData
    recorded_ms: int
    """The broker's time of its record, ms since 1970 UTC."""
    delivery: DeliveryData | None = None
    delivered_ms: int | None = None
    """The broker's time of the delivery."""

    @property
    def state(self) -> Literal["waiting", "retrying", "sent", "failed", "skipped"]:
        """waiting: nothing was recorded of it yet."""
        return "waiting" if self.delivery is None else self.delivery.outcome

    @property
    def open(self) -> bool:
        """Whether it is still to be sent."""
        return self.state in ("waiting", "retrying")


def told(records: Iterable[Record]) -> list[Told]:
    """Every notification in the order of the topic; records that are neither are left out (the lane flags them)."""
    found: dict[str, Told] = {}
    for record in records:
        try:
            event = EVENTS.validate_json(record.value or b"")
        except ValidationError:
            continue
        if isinstance(event, Notification):
            found.setdefault(event.id, Told(event.id, event.data, record.timestamp))
        elif event.data.notification in found:
            one = found[event.data.notification]
            one.delivery, one.delivered_ms = event.data, record.timestamp
    return list(found.values())
