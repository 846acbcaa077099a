"""Open pages hear of what concerns them and this viewer, and of nothing else; events carry no content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sse_starlette import ServerSentEvent
from starlette.exceptions import HTTPException

from orchestration.console import live
from orchestration.console.live import STREAMS, Feed
from orchestration.console.parts import Parts
from orchestration.console.viewer import viewer_of
from orchestration.settings import Settings
from tests.unit.console.example import DRIFT, GAP, LATE, NOW, OTHER, Night, night
from tests.unit.console.served import serve, signed_in

TOPICS = frozenset({"incidents"})


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    found = night(tmp_path_factory.mktemp("night"))
    yield found
    found.base.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SLOWEST", dict.fromkeys(live.SLOWEST, 0.0))
    monkeypatch.setattr(live, "HELD_S", 0.0)


class Stream:
    """One open page: what it was told, and how to change the world before the next word."""

    def __init__(self, told: Night, person: str, kind: str, name: str = "") -> None:
        self.told, self.feed = told, Feed()
        self.configuration = told.configuration
        settings = Settings(_env_file=None)  # type: ignore[call-arg]
        self.parts = Parts(settings, lambda: self.configuration, reading=told.base, feed=self.feed)
        viewer = viewer_of(told.configuration, person, "sha256:x", "token")
        self.events = live._stream(self.parts, self.feed, told.base, viewer, kind, name)

    async def next(self) -> tuple[str | None, str | None]:
        event: ServerSentEvent = await asyncio.wait_for(anext(self.events), 5)
        return event.event, event.data

    async def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing is said; ends the stream."""
        try:
            await asyncio.wait_for(anext(self.events), seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def following(told: Night, person: str, kind: str, name: str = "") -> AsyncIterator[Stream]:
    stream = Stream(told, person, kind, name)
    async with aclosing(stream.events):  # type: ignore[type-var]
        assert await stream.next() == (None, None), "the first word says that it follows"
        yield stream


async def test_a_queue_hears_of_its_teams_incidents(told: Night) -> None:
    async with following(told, "ines", "queue") as stream:
        stream.feed.changed(TOPICS, frozenset({OTHER}))
        stream.feed.changed(TOPICS, frozenset({LATE}))
        assert await stream.next() == ("changed", "more")


async def test_a_queue_does_not_hear_of_other_teams_incidents(told: Night) -> None:
    async with following(told, "ines", "queue") as stream:
        stream.feed.changed(TOPICS, frozenset({OTHER}))
        assert await stream.silent()


async def test_who_lost_the_team_hears_nothing_more(told: Night) -> None:
    async with following(told, "vic", "queue") as stream:
        stream.feed.changed(TOPICS, frozenset({DRIFT}))
        assert await stream.next() == ("changed", "more")
        document = told.configuration.document()
        document["escalation"]["teams"]["model-risk"]["members"] = ["ana"]
        stream.configuration = type(told.configuration).model_validate(document)
        stream.feed.changed(TOPICS, frozenset({DRIFT}))
        assert await stream.silent()


async def test_an_incident_says_whether_an_answer_would_be_refused(told: Night) -> None:
    async with following(told, "ana", "incident", GAP) as stream:
        stream.feed.changed(TOPICS, frozenset({LATE}))
        stream.feed.changed(TOPICS, frozenset({GAP}))
        assert await stream.next() == ("changed", "more")
        data: dict[str, Any] = told.incidents[GAP].model_dump(mode="json", by_alias=True)
        data |= {"severity": "critical", "revision": 9}
        told.world.say("incidents", "incident", f"{GAP}/9", data, NOW, key=GAP)
        told.fold()
        stream.feed.changed(TOPICS, frozenset({GAP}))
        assert await stream.next() == ("changed", "material")


async def test_flow_and_models_hear_of_verdicts(told: Night) -> None:
    for kind in ("flow", "models"):
        async with following(told, "vic", kind) as stream:
            stream.feed.changed(frozenset({"verdicts"}), frozenset())
            assert await stream.next() == ("changed", "more")


async def test_countdowns_are_refreshed_while_nothing_happens(told: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.01)
    async with following(told, "ana", "queue") as stream:
        assert await stream.next() == ("time", "now")


async def test_a_stream_ends_by_itself_so_that_rights_are_asked_again(
    told: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LASTS_S", 0.02)
    monkeypatch.setattr(live, "TICK_S", 0.03)
    async with following(told, "ana", "queue") as stream:
        assert await stream.next() == ("time", "now")
        with pytest.raises(StopAsyncIteration):
            await stream.next()


async def test_many_changes_are_one_word_to_a_slow_reader(told: Night) -> None:
    async with following(told, "ana", "queue") as stream:
        for _ in range(10_000):
            stream.feed.changed(TOPICS, frozenset({GAP}))
        assert await stream.next() == ("changed", "more")
        assert await stream.silent()


def test_one_sign_in_cannot_open_streams_without_end() -> None:
    feed = Feed()
    open_ones = [feed.listening("me") for _ in range(STREAMS)]
    for one in open_ones:
        one.__enter__()
    with pytest.raises(HTTPException) as refused, feed.listening("me"):
        pass
    assert refused.value.status_code == 429
    with feed.listening("another"):
        pass
    open_ones[0].__exit__(None, None, None)
    with feed.listening("me"):
        pass


async def test_a_stream_alone_keeps_nobody_signed_in(tmp_path: Path) -> None:
    console = serve(tmp_path)
    async with signed_in(console, "dana") as browser:
        for _ in range(4):
            console.later(10 * 60)
            await browser.get("/events?follow=queue", headers={"accept": "text/event-stream"})
        assert (await browser.get("/")).headers.get("location") == "/sign-in"
    async with signed_in(console, "dana") as browser:
        for _ in range(4):
            console.later(10 * 60)
            assert (await browser.get("/")).status_code == 200
