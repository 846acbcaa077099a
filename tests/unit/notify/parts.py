"""What tests of messages are made of: notifications, channels, errands."""

from __future__ import annotations

from typing import Any

from agents.escalation.declared import Channel
from agents.records import Plain
from agents.told_events import Delivery, Notification, NotificationData
from orchestration.notify.errand import Errand
from orchestration.notify.message import Message

NOW = 1_772_442_843_120  # 2026-03-02 09:14:03 UTC
HOSTILE = (
    '<!channel> <script>alert(1)</script> [x](https://evil.example) *b* `c` "q" & <at>all</at> '
    "\u202e\u200bwww.evil.example\r\nBcc: all@bank.example"
)
"""One text with what each format would take for markup."""


def data(**more: Any) -> NotificationData:
    """A notification's data."""
    return NotificationData.model_validate(
        {
            "incident": "7f29-k1mq",
            "kind": "trigger",
            "channel": "chat",
            "severity": "critical",
            "title": "credit-limit 2.1.0: 312 decisions held by lending/odd-case, answer by 14:05 UTC",
            "lines": ["312 decisions wait for an answer by 14:05 UTC; then they are withheld"],
            "path": "/incidents/7f29-k1mq",
            "dedup": "bank/7f29-k1mq",
            **more,
        }
    )


def message(console: str | None = "https://console.bank.example/", late_ms: int = 0, **more: Any) -> Message:
    """A message that goes out so long after it was written."""
    return Message("7f29-k1mq/0/chat/0", "bank", data(**more), NOW - late_ms, NOW, console)


def errand(
    channel: dict[str, Any], *addresses: str, console: str | None = "https://console.bank.example", **more: Any
) -> Errand:
    """A message for one channel on loopback."""
    declared = Channel.model_validate({"allow_private": True, **channel})
    return Errand("chat", declared, message(console, **more), addresses)


def record(offset: int, incident: str, kind: str = "trigger", channel: str = "chat", **more: Any) -> Plain:
    """A notification on its topic."""
    said = data(incident=incident, kind=kind, channel=channel, dedup=incident, **more)
    event = Notification(id=f"{incident}/{offset}/{channel}", source="/bank/escalation", data=said)
    return _plain(offset, event)


def delivered(offset: int, of: Plain, outcome: str = "sent", **more: Any) -> Plain:
    """What became of a notification, on the same topic."""
    event = Notification.model_validate_json(of.value or b"")
    found = {"notification": event.id, "channel": event.data.channel, "outcome": outcome, "attempts": 1, **more}
    return _plain(offset, Delivery.model_validate({"id": f"d{offset}", "source": "/bank/notify", "data": found}))


def _plain(offset: int, event: Notification | Delivery) -> Plain:
    value = event.model_dump_json(exclude_none=True).encode()
    return Plain("bank.notifications", 0, offset, NOW, event.id.encode(), value)
