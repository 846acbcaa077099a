"""Why a message did not go out: now, so that it is tried again, or never, so that another channel takes over.

Both texts may be recorded and shown: whoever raises them leaves out addresses, secrets and whole URLs.
"""

from __future__ import annotations

from agents.errors import Retryable


class NotSent(Retryable):
    """This attempt failed; another one may succeed."""

    def __init__(self, message: str, *, after_s: float | None = None, doubtful: bool = False) -> None:
        """`after_s`: the channel asked to wait so long. `doubtful`: it may have arrived although no answer came."""
        super().__init__(message)
        self.after_s, self.doubtful = after_s, doubtful


class Undeliverable(NotSent):
    """No further attempt would succeed until somebody changes something; the message says what."""


class Unreachable(Undeliverable):
    """These people or places cannot be reached by the channel, which works for others."""
