"""How an answer leaves the console, and what is told of it: the seam between pages and orchestration/reviewing.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from agents.dsse import Private
from agents.people_events import ReviewData
from orchestration import reviewing
from orchestration.reviewing import Desk, Effective, Pending, Refused, Sent, console_source
from orchestration.settings import Settings


@dataclass(frozen=True, slots=True)
class Told:
    """What became of an answer, for the person who gave it."""

    kind: Literal["effect", "refused", "pending", "failed", "draft"]
    """draft: the form was not complete, and nothing was sent."""
    text: str
    action: str = ""
    reason: str = ""
    """With refused: the word for machines."""
    receipt: dict[str, Any] = field(default_factory=dict)
    """What `Sender.outcome` asks by."""
    fields: dict[str, str] = field(default_factory=dict)
    """With draft and failed: what had been typed."""

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in ("kind", "text", "action", "reason", "receipt", "fields")}

    @classmethod
    def restored(cls, plain: dict[str, Any]) -> Self:
        """From `plain`."""
        return cls(**plain)


class Sender(Protocol):
    """Sends a person's answer, signed by the console, and says what became of it."""

    async def send(self, review: str, data: ReviewData) -> dict[str, Any]:
        """Return a receipt once it is on `reviews` under this id. Raises Retryable where it may not be there."""
        ...

    async def outcome(self, receipt: dict[str, Any], within_s: float) -> Told:
        """What became of it; pending where nothing did within so many seconds. Raises Retryable without Kafka."""
        ...


class KafkaSender:
    """Sends to the topic `reviews`, with one connection for all answers."""

    def __init__(self, settings: Settings, key: Private) -> None:
        self._settings = settings
        self._desk = Desk(settings, key, console_source(settings))

    async def send(self, review: str, data: ReviewData) -> dict[str, Any]:
        """See Sender."""
        return (await self._desk.send(data, review)).plain()

    async def outcome(self, receipt: dict[str, Any], within_s: float) -> Told:
        """See Sender. Where a send was repeated because the first one was in doubt, the first one's outcome."""
        sent = Sent(**receipt)
        found = await self._desk.outcome(sent, within_s)
        if isinstance(found, Refused) and found.refusal.reason == "repeated":
            first = await reviewing.find(self._settings, sent.id)
            if first is not None and first.offset != sent.offset:
                sent, found = first, await self._desk.outcome(first, within_s)
        text = found.text[:1].upper() + found.text[1:]
        match found:
            case Effective():
                return Told("effect", f"{text}.", sent.action, receipt=sent.plain())
            case Refused():
                detail = found.refusal.detail
                text = f"Your answer does not count: {detail}."
                return Told("refused", text, sent.action, found.refusal.reason, sent.plain())
            case Pending():
                return Told(
                    "pending", f"{text}. Open this page again to see what became of it.", sent.action, "", receipt
                )

    async def close(self) -> None:
        """End the connection."""
        await self._desk.close()
