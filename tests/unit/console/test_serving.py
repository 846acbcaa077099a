"""Where the console listens: on this machine alone until somebody can sign in, then where it shall, without a restart."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestration.console import serving
from tests.unit.console.serve import free_port
from tests.unit.console.served import PASSWORD, configuration, serve


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(serving, "LOOK_S", 0.05)
    monkeypatch.setattr(serving, "GRACE_S", 1)
    yield
    signal.signal(signal.SIGTERM, before)


async def _said(lines: list[str], words: str) -> None:
    async with asyncio.timeout(10):
        while not any(words in line for line in lines):
            await asyncio.sleep(0.02)


async def test_the_first_account_opens_the_console_to_the_address_that_was_asked_for(tmp_path: Path) -> None:
    port, lines = free_port(), list[str]()
    settings = {"console_host": "0.0.0.0", "console_port": port, "console_hosts": "console.bank.example"}
    parts = serve(tmp_path, accounts=False, settings=settings).parts
    idle = asyncio.create_task(asyncio.Event().wait())
    console = asyncio.create_task(serving.served(parts, idle, lines.append))  # type: ignore[arg-type]
    await _said(lines, "Nobody has an account yet")
    await asyncio.sleep(0.3)
    async with httpx.AsyncClient() as browser:
        with pytest.raises(httpx.ConnectError):
            await browser.get(f"http://127.0.0.2:{port}/health")
        parts.accounts.add("dana", PASSWORD)
        assert await asyncio.wait_for(console, 10), "it asks to be started again"
        assert "the console moves to 0.0.0.0" in lines[-1]
        console = asyncio.create_task(serving.served(parts, idle, lines.append))  # type: ignore[arg-type]
        await asyncio.sleep(0.5)
        reached = await browser.get(f"http://127.0.0.2:{port}/health", headers={"host": "console.bank.example"})
        assert (reached.status_code, reached.text) == (200, "ok")
    for task in (console, idle):
        task.cancel()
    await asyncio.gather(console, idle, return_exceptions=True)


async def test_without_encryption_it_stays_where_it_is_and_says_why_once(tmp_path: Path) -> None:
    port, lines = free_port(), list[str]()
    settings = {"console_host": "0.0.0.0", "console_port": port}
    parts = serve(tmp_path, settings=settings, accounts=False, configuration=configuration(console_url=None)).parts
    idle = asyncio.create_task(asyncio.Event().wait())
    console = asyncio.create_task(serving.served(parts, idle, lines.append))  # type: ignore[arg-type]
    await _said(lines, "Nobody has an account yet")
    parts.accounts.add("dana", PASSWORD)
    await _said(lines, "goes on answering to this machine alone: on 0.0.0.0 the console would be reached by plain http")
    await asyncio.sleep(0.3)
    assert sum("goes on answering" in line for line in lines) == 1
    assert not console.done()
    for task in (console, idle):
        task.cancel()
    await asyncio.gather(console, idle, return_exceptions=True)
