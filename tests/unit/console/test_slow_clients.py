"""Clients that ask slowly, on real sockets: they are closed in time, and keep nobody else out."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from orchestration.console import protocol, serving
from tests.unit.console.serve import free_port
from tests.unit.console.served import serve

HEADERS_S = 1.0
LONG_S = 2.5
PLACES = 6


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", HEADERS_S)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once; at /long it takes longer than a request may."""
    if scope["path"] == "/long":
        await asyncio.sleep(LONG_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """A server with few places, and its port."""
    port = free_port()
    config = uvicorn.Config(
        app, port=port, http=protocol.Prompt, lifespan="off", log_level="critical", limit_concurrency=PLACES, ws="none"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await task


async def trickle(port: int, begin: bytes, drop: bytes = b"x") -> tuple[float, bytes]:
    """Send a beginning, then a byte now and then, until the other side closes: after how long, and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)
    began, said, reading = time.monotonic(), b"", asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(20 * HEADERS_S):
            while not reading.done():
                await asyncio.wait({reading}, timeout=HEADERS_S / 10)
                if drop:
                    writer.write(drop)
        said = reading.result()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
        reading.cancel()
    return time.monotonic() - began, said


BEGUN = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: "


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        pytest.param(b"", b"", id="silent"),
        pytest.param(b"G", b"", id="begun, then silent"),
        pytest.param(BEGUN, b"x", id="trickling"),
    ],
)
async def test_who_asks_too_slowly_is_closed_while_others_are_answered(begin: bytes, drop: bytes) -> None:
    async with listening() as port:
        slow = asyncio.create_task(trickle(port, begin, drop))
        async with httpx.AsyncClient() as browser:
            assert (await browser.get(f"http://127.0.0.1:{port}/")).text == "ok"
        took, said = await slow
    assert took >= HEADERS_S * 0.9
    assert said == b"", "it was closed without an answer"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(BEGUN, id="a second request on the same connection"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999\r\n\r\n", id="a body nobody reads"),
    ],
)
async def test_an_answered_connection_may_not_trickle_either(more: bytes) -> None:
    async with listening() as port:
        took, said = await trickle(port, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" + more)
    assert took >= HEADERS_S * 0.9
    assert said.startswith(b"HTTP/1.1 200 OK")


async def test_an_answer_may_take_longer_than_a_question() -> None:
    async with listening() as port, httpx.AsyncClient() as browser:
        assert (await browser.get(f"http://127.0.0.1:{port}/long", timeout=30)).text == "ok"
        assert (await browser.get(f"http://127.0.0.1:{port}/")).text == "ok"


async def test_slow_connections_in_every_place_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", 60.0)
    async with listening() as port, httpx.AsyncClient() as browser:
        long = asyncio.create_task(browser.get(f"http://127.0.0.1:{port}/long", timeout=30))
        await asyncio.sleep(0.2)
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * PLACES)]
        for _, writer in slow:
            writer.write(BEGUN)
        for _ in range(PLACES):
            async with httpx.AsyncClient() as another:
                answer = await another.get(f"http://127.0.0.1:{port}/")
                assert (answer.status_code, answer.text) == (200, "ok")
        assert (await long).text == "ok", "an answer that is under way keeps its place"
        for _, writer in slow:
            writer.transport.abort()


async def test_the_console_itself_closes_who_asks_too_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "GRACE_S", 1)
    before, port, lines = signal.getsignal(signal.SIGTERM), free_port(), list[str]()
    parts = serve(tmp_path, settings={"console_port": port}).parts
    idle = asyncio.create_task(asyncio.Event().wait())
    console = asyncio.create_task(serving.served(parts, idle, lines.append))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(20), httpx.AsyncClient() as browser:
            while True:
                try:
                    assert (await browser.get(f"http://localhost:{port}/health")).text == "ok"
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
        took, said = await trickle(port, BEGUN)
        assert took >= HEADERS_S * 0.9
        assert said == b""
    finally:
        for task in (console, idle):
            task.cancel()
        await asyncio.gather(console, idle, return_exceptions=True)
        signal.signal(signal.SIGTERM, before)
