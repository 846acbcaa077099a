"""Connections that do not get on are closed, so that nobody keeps others out by asking slowly.

A request's line and headers have HEADERS_S from their first byte (on a new connection from its beginning), however slowly
bytes trickle in; so has the rest of a body that nobody reads any more. uvicorn itself only ends what sends nothing at all
after an answer. Where all places are taken, a new connection gets that of the oldest one that has no answer under way.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 10.0
"""Seconds for the line and headers of a request."""


class Prompt(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to waiting for a request."""

    deadline: asyncio.TimerHandle | None = None
    began_s: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection, which has to ask for something soon."""
        super().connection_made(transport)
        self.began_s = self.loop.time()
        self._wait()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """More of a request; what is answered may take its time, what is still to come may not."""
        super().data_received(data)
        if self.answering:
            self._done()
        elif self.deadline is None and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._done()
        super().connection_lost(exc)

    @property
    def answering(self) -> bool:
        """Whether a request is here and its answer is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self.deadline = self.loop.call_later(HEADERS_S, self.transport.abort)

    def _done(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def _make_room(self) -> None:
        waiting = [one for one in self.connections if isinstance(one, Prompt) and one is not self and not one.answering]
        if waiting:
            min(waiting, key=lambda one: one.began_s).transport.abort()
