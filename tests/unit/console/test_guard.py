"""What the console does when something takes too long, breaks or is away: it says so, and never less safely."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from agents.errors import Misconfigured, Retryable
from orchestration.console import access, guard
from orchestration.console.accounts import Attempt
from orchestration.console.app import make_app
from orchestration.console.hosts import Hosts
from orchestration.settings import Settings
from tests.unit.console.served import HOST, Served, configuration, serve, sign_in, token_of


def with_pages(served: Served, *routes: Route) -> Served:
    """The same console with other pages."""
    served.app = make_app(served.parts.settings, served.parts, routes)
    return served


async def slow(request: Request) -> Response:
    await asyncio.sleep(60)
    return PlainTextResponse("done")


async def broken(request: Request) -> Response:
    raise ValueError("a secret of the program")


async def away(request: Request) -> Response:
    raise Retryable("the read model does not answer")


async def mended(request: Request) -> Response:
    raise Misconfigured("set GOVERN_THIS")


async def stream(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        while True:
            yield "data: x\n\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(lines(), media_type="text/event-stream")


@pytest.fixture
def served(tmp_path: Path) -> Served:
    routes = [Route(f"/{page.__name__}", page) for page in (slow, broken, away, mended, stream)]
    return with_pages(serve(tmp_path), *routes)


async def opened(served: Served, path: str, before: Callable[[], None] = lambda: None) -> httpx.Response:
    """Sign in, then open a page; `before`: what happens between the two."""
    transport = httpx.ASGITransport(app=served.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=f"https://{HOST}", headers={"sec-fetch-site": "same-origin"}
    ) as browser:
        assert (await sign_in(browser, "dana")).status_code == 303
        before()
        return await browser.get(path)


async def test_a_page_that_takes_too_long_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    response = await opened(served, "/slow", lambda: monkeypatch.setattr(access, "PAGE_S", 0.1))
    assert (response.status_code, response.text) == (503, "this took too long; try again")


async def test_a_stream_may_take_longer_but_ends(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick() -> None:
        monkeypatch.setattr(access, "PAGE_S", 0.5)
        monkeypatch.setattr(access, "STREAM_S", 1.0)

    response = await opened(served, "/stream", quick)
    assert response.elapsed.total_seconds() > 0.9
    assert response.text.count("data: x") > 5


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/broken", 500, "This page is broken"),
        ("/away", 503, "the read model does not answer"),
        ("/mended", 500, "set GOVERN_THIS"),
    ],
)
async def test_a_fault_is_told_without_its_insides_and_with_every_header(
    served: Served, path: str, status: int, said: str
) -> None:
    response = await opened(served, path)
    assert response.status_code == status
    assert said in response.text
    assert "a secret of the program" not in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"


async def test_a_body_that_does_not_come_to_its_end_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_S", 0.1)

    async def drip() -> AsyncIterator[bytes]:
        yield b"csrf="
        await asyncio.sleep(5)
        yield b"x"

    async with served.browser() as browser:
        form = {"content-type": "application/x-www-form-urlencoded"}
        response = await browser.post("/sign-in", content=drip(), headers=form)
    assert response.status_code == 408


async def test_a_flood_of_sign_ins_keeps_nobody_from_the_pages(served: Served) -> None:
    accounts, check, going = served.parts.accounts, served.parts.accounts.check, threading.Event()

    def slowly(*given: str | None) -> Attempt:
        going.wait(20)
        return check(*given)  # type: ignore[arg-type]

    async with served.browser() as dana, served.browser() as flood:
        await sign_in(dana, "dana")
        token = token_of(await flood.get("/sign-in"))
        accounts.check = slowly  # type: ignore[method-assign,assignment]
        fields = {"csrf": token, "person": "raj", "password": "guess", "next": "/"}
        tries = [asyncio.create_task(flood.post("/sign-in", data=fields)) for _ in range(80)]
        await asyncio.sleep(1.5)  # all of them have arrived
        async with asyncio.timeout(15):
            assert (await dana.get("/account")).status_code == 200
        going.set()
        assert {done.status_code for done in await asyncio.gather(*tries)} <= {401, 429}


async def test_where_the_accounts_are_away_nobody_passes(served: Served) -> None:
    async with served.browser() as browser:
        await sign_in(browser, "dana")
        served.parts.database.engine.dispose()
        path = Path(str(served.parts.database.engine.url.database))
        for one in path.parent.glob("accounts.db*"):
            one.unlink()
        path.mkdir()
        response = await browser.get("/")
    assert response.status_code == 503
    assert "the database of accounts does not answer" in response.text


@pytest.mark.parametrize(
    ("declared", "settings", "known", "secure"),
    [
        (None, {}, "localhost:8088", False),
        ("https://Console.Bank.example/", {}, "console.bank.example", True),
        ("https://console.bank.example:443", {}, "console.bank.example", True),
        ("http://console.bank.example:8080", {}, "console.bank.example:8080", False),
        (None, {"console_hosts": " a.example, B.example:8443"}, "b.example:8443", True),
        (None, {"console_port": 9000, "console_tls_cert": "here.pem"}, "127.0.0.1:9000", False),
    ],
)
def test_the_console_knows_its_names(
    declared: str | None, settings: dict[str, object], known: str, secure: bool
) -> None:
    found = configuration(console_url=declared)
    hosts = Hosts(Settings(_env_file=None, **settings), lambda: found)
    assert known in hosts.names()
    assert (known in hosts.secure()) == secure


@pytest.mark.parametrize("path", ["/incidents/a%00b", "/?text=%00", "/?sent=a%00"])
async def test_no_null_character_gets_as_far_as_a_database(served: Served, path: str) -> None:
    assert (await opened(served, path)).status_code == 400
