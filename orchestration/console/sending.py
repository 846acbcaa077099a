"""How an answer leaves the console, and what is told of it: the seam between pages and orchestration/reviewing.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from agents.people_events import ReviewData


@dataclass(frozen=True, slots=True)
class Told:
    """What became of an answer, for the person who gave it."""

    kind: Literal["effect", "refused", "pending", "failed", "draft"]
    """draft: the form was not complete, and nothing was sent."""
    text: str
    review: str = ""
    """The review's id."""
    action: str = ""
    incident: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    """With draft: what had been typed."""

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in ("kind", "text", "review", "action", "incident", "fields")}

    @classmethod
    def restored(cls, plain: dict[str, Any]) -> Self:
        """From `plain`."""
        return cls(**plain)


class Sender(Protocol):
    """Sends a person's answer, signed by the console, and says what became of it."""

    async def send(self, review: str, data: ReviewData) -> None:
        """Return once it is on `reviews` under this id. Raises Retryable where it may not be there."""
        ...

    async def outcome(self, review: str, data: ReviewData, within_s: float) -> Told | None:
        """What became of it; None where nothing did within so many seconds."""
        ...
