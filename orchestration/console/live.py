"""Open pages hear that something changed for them, and then read themselves again: server-sent events without content.

An event says `changed`, `material` (an answer to what is shown would be refused) or `time` (countdowns moved on), and
nothing else, so a stream can tell nobody more than the page that it belongs to. What a viewer may see is asked again
before each event. Streams end by themselves after some minutes, and the browser opens another, with whatever rights are left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import select
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agents.people_events import IncidentData
from orchestration.console.parts import Parts, parts_of
from orchestration.console.rendering import viewer_at
from orchestration.console.viewer import Viewer, viewer_of
from orchestration.reading.database import Database
from orchestration.reading.tables import incidents

TICK_S = 20.0
"""Countdowns are refreshed so often."""
PING_S = 15
"""A comment so often keeps proxies from closing a quiet stream."""
LASTS_S = 240.0
"""How long a stream lasts: less than access.py allows, so that it ends whole."""
SLOWEST = {"queue": 0.5, "incident": 0.5, "models": 3.0, "flow": 2.0}
"""Kinds of pages that can follow, and the least time between two events of each, in seconds."""
HELD_S = 2.0
"""The same for an incident's page where nothing but some held decision changed: in a storm that is all the time."""
FOLLOWED = {
    "models": frozenset({"signals", "verdicts", "safeguards", "config"}),
    "flow": frozenset({"verdicts"}),
}
"""What else than incidents a page is made of, by short names of topics."""
STREAMS = 24
"""Open streams of one sign-in; a browser opens one for each page."""


@dataclass(eq=False, slots=True)
class Listener:
    """What one stream has not told yet; it only ever grows until it is taken, so a slow reader costs no memory."""

    owner: str
    event: asyncio.Event = field(default_factory=asyncio.Event)
    topics: set[str] = field(default_factory=set)
    incidents: set[str] = field(default_factory=set)

    def take(self) -> tuple[set[str], set[str]]:
        """What has come since the last call."""
        taken = self.topics, self.incidents
        self.topics, self.incidents = set(), set()
        self.event.clear()
        return taken


class Feed:
    """Tells streams what the projection brought; lives in the event loop of the console."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def changed(self, topics: frozenset[str], about: frozenset[str]) -> None:
        """Rows of these topics (short names), and of these incidents, are new."""
        for one in self._listeners:
            one.topics |= topics
            one.incidents |= about
            one.event.set()

    @contextmanager
    def listening(self, owner: str) -> Iterator[Listener]:
        """A listener, as long as it is open. Raises HTTPException(429) where this sign-in has too many."""
        if sum(one.owner == owner for one in self._listeners) >= STREAMS:
            raise HTTPException(429, "too many open pages follow with this sign-in")
        one = Listener(owner)
        self._listeners.add(one)
        try:
            yield one
        finally:
            self._listeners.discard(one)


async def events(request: Request) -> Response:
    """The stream of one page: `?follow=queue`, `models`, `flow`, or `incident:<id>`."""
    kind, _, name = request.query_params.get("follow", "").partition(":")
    parts, viewer = parts_of(request), viewer_at(request)
    if kind not in SLOWEST:
        raise HTTPException(404)
    base = parts.reading
    if parts.feed is None or not isinstance(base, Database):
        return Response(status_code=204)  # a browser takes this as: do not ask again
    if kind == "incident" and not await run_in_threadpool(_visible, base, viewer, {name}):
        raise HTTPException(404)
    stream = _stream(parts, parts.feed, base, viewer, kind, name)
    return EventSourceResponse(stream, ping=PING_S, headers={"cache-control": "no-store"})


async def _stream(
    parts: Parts, feed: Feed, base: Database, viewer: Viewer, kind: str, name: str
) -> AsyncIterator[ServerSentEvent]:
    shown = await run_in_threadpool(_shown, base, name) if kind == "incident" else None
    until = time.monotonic() + LASTS_S
    with feed.listening(viewer.login or "visitor") as listener:
        yield ServerSentEvent(comment="following", retry=2_000)
        while time.monotonic() < until:
            try:
                await asyncio.wait_for(listener.event.wait(), TICK_S)
            except TimeoutError:
                yield ServerSentEvent("now", event="time")
                continue
            topics, about = listener.take()
            viewer = _again(parts, viewer)
            if kind == "incident":
                if name not in about and not topics & {"held", "config"}:
                    continue
                if not await run_in_threadpool(_visible, base, viewer, {name}):
                    return
                now = await run_in_threadpool(_shown, base, name)
                yield ServerSentEvent("material" if now != shown else "more", event="changed")
            else:
                theirs = topics & FOLLOWED.get(kind, frozenset())
                if not theirs and not (kind == "queue" and await run_in_threadpool(_visible, base, viewer, about)):
                    continue
                yield ServerSentEvent("more", event="changed")
            await asyncio.sleep(HELD_S if kind == "incident" and name not in about else SLOWEST[kind])


def _again(parts: Parts, viewer: Viewer) -> Viewer:
    """The same person with the rights that the configuration gives now."""
    if viewer.person is None:
        return viewer
    return viewer_of(parts.configuration(), viewer.person, viewer.login or "", viewer.csrf, viewer.read_only)


def _visible(base: Database, viewer: Viewer, names: set[str]) -> bool:
    """Whether this viewer may see one of these incidents."""
    with base.reading() as connection:
        rows = connection.scalars(select(incidents.c.data).where(incidents.c.id.in_(sorted(names)[:500])))
        return any(viewer.sees_incident(IncidentData.model_validate_json(data)) for data in rows)


def _shown(base: Database, name: str) -> str | None:
    with base.reading() as connection:
        return connection.scalar(select(incidents.c.shown).where(incidents.c.id == name))


ROUTES = (Route("/events", events, methods=["GET"]),)
