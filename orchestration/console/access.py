"""Who may pass: every request gets its viewer here, and every unsafe one is checked to come from a page of ours.

Pure ASGI, inside the guard and outside the pages. What it decides holds for every page, whoever wrote it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.errors import Retryable
from orchestration.console.answering import what_became_of
from orchestration.console.forms import ours, read_form, token_before, token_fits
from orchestration.console.hosts import Hosts, listed
from orchestration.console.parts import Parts, parts_of
from orchestration.console.rendering import render
from orchestration.console.sessions import COOKIE, LONGEST_MS, Disabled, Session
from orchestration.console.standing import no_way_in, read_only
from orchestration.console.viewer import Viewer, viewer_of
from orchestration.settings import Settings

BEFORE_COOKIE = "__Host-govern-before"
"""What ties forms and sign-in flows to a browser that is not signed in."""
BEFORE = frozenset({"/sign-in", "/sign-in/oidc", "/sign-in/oidc/back"})
ALWAYS = frozenset({"/sign-out", "/sign-out/everywhere", "/account"})
"""What somebody may reach whom the configuration does not declare (any more)."""
MACHINES = frozenset({"/health", "/slack/interactive"})
"""Addresses that prove themselves in another way, or tell nothing."""
PASSED_ON = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "x-original-host"})
"""What a proxy says of itself or of whom it speaks for; beside `x-forwarded-…`."""
PAGE_S, STREAM_S = 30.0, 300.0
"""A page takes so long at most; a live stream ends after so long, and its reader asks again with whatever rights are left."""


class Access:
    """Wraps the pages."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path.startswith("/static/") or path in MACHINES:
            return await self.app(scope, receive, send)
        request = Request(scope, receive)
        try:
            cookies = await self._admit(request)
        except HTTPException as refused:
            response: Response = render(
                request, "error.html", status=refused.status_code, title="Not done", text=refused.detail
            )
            return await response(scope, receive, send)
        except Retryable as error:
            response = render(request, "error.html", status=503, title="Not now", text=str(error))
            return await response(scope, receive, send)
        except Turned as turned:
            return await turned.response(scope, receive, send)
        if scope["method"] == "POST":
            receive = _again(await request.body())
        await _within(self.app, scope, receive, _setting(send, cookies))
        return None

    async def _admit(self, request: Request) -> list[str]:
        """Say who looks, and refuse what may not pass; returns Set-Cookie headers for the response."""
        parts, path = parts_of(request), request.url.path
        request.state.viewer = Viewer()
        request.state.session = None
        try:
            session, cookies = await run_in_threadpool(_session, parts, request)
        except Disabled as kept_out:
            raise HTTPException(403, kept_out.said) from kept_out
        request.state.session = session
        if session is not None:
            configuration, why = parts.configuration(), read_only(parts)
            viewer = viewer_of(configuration, session.person, session.digest, session.csrf, why)
            request.state.viewer = viewer
            if not viewer.roles and path not in (*BEFORE, *ALWAYS):
                raise HTTPException(403, viewer.read_only or "the configuration gives you no role")
            token = session.csrf
        elif path in BEFORE:
            browser, cookies = _browser(request)
            request.state.browser = browser
            token = token_before(parts.secret, browser)
            request.state.viewer = Viewer(csrf=token)
        else:
            missing = await run_in_threadpool(no_way_in, parts)
            if missing is None:
                raise Turned(_to_sign_in(request))
            if not _beside(request):
                raise HTTPException(403, "this console has no account yet, so it answers to its own machine only")
            browser, cookies = _browser(request)
            token = token_before(parts.secret, browser)
            request.state.viewer = Viewer(
                None, "visitor", frozenset({"viewer"}), csrf=token, read_only=missing, everywhere=True
            )
        if request.method == "POST":
            await self._check_form(request, token)
        if request.query_params.get("sent") and session is not None:
            request.state.told = await what_became_of(parts, session, request.query_params["sent"])
        return cookies

    async def _check_form(self, request: Request, token: str) -> None:
        foreign = ours(request, self._hosts.origins())
        if foreign is not None:
            raise HTTPException(403, f"this form was refused: {foreign}")
        form, _body = await read_form(request)
        if not token_fits(form, token):
            raise HTTPException(
                403, "this form was refused: it is not of this sign-in. Open the page again and send it from there"
            )
        request.state.form = form


class Turned(Exception):
    """The request goes another way."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def client_address(request: Request, settings: Settings) -> str:
    """Where a request came from: the peer, or what a trusted proxy says of it."""
    peer = request.client.host if request.client else ""
    proxies = listed(settings.console_proxies)
    if peer not in proxies:
        return peer
    for said in reversed(",".join(request.headers.getlist("x-forwarded-for")).split(",")):
        if said.strip() and said.strip() not in proxies:
            return said.strip()[:64]
    return peer


def _beside(request: Request) -> bool:
    """Whether the request comes from this machine, by one of its own names and through no proxy.

    A proxy that says nothing of itself and asks by our own name cannot be told apart: whoever puts one there publishes the
    console on purpose.
    """
    peer = request.client.host if request.client else ""
    try:
        near = ipaddress.ip_address(peer).is_loopback
    except ValueError:
        near = False
    named = urlsplit(f"//{request.headers.get('host', '')}").hostname in ("localhost", "127.0.0.1", "::1")
    passed_on = any(name in PASSED_ON or name.startswith("x-forwarded-") for name in request.headers)
    return near and named and not passed_on


def _session(parts: Parts, request: Request) -> tuple[Session | None, list[str]]:
    given = [value for name, value in _cookies(request) if name == COOKIE]
    # a page's stream and its refreshes come by themselves: no reason to keep somebody signed in who is not there
    attended = request.url.path != "/events" and "x-live" not in request.headers
    found = parts.sessions.find(given[0], attended=attended) if len(given) == 1 else None
    header = parts.settings.console_proxy_header.strip().lower()
    if not header:
        return (found if found is None or found.method != "proxy" else None), []
    peer = request.client.host if request.client else ""
    if peer not in listed(parts.settings.console_proxies):
        return (found if found is None or found.method != "proxy" else None), []
    said = request.headers.getlist(header)
    if len(said) != 1 or not said[0].strip():
        return None, []
    person = said[0].strip()[:64]
    if found is not None and found.person == person and found.method == "proxy":
        return found, []
    value, made = parts.sessions.start(person, "proxy")
    return made, [cookie(COOKIE, value, LONGEST_MS // 1000)]


def _cookies(request: Request) -> list[tuple[str, str]]:
    """Every cookie of the request; a name that comes twice is there twice, so that it can be refused."""
    pairs = [part.strip().partition("=") for part in ";".join(request.headers.getlist("cookie")).split(";")]
    return [(name, value) for name, _, value in pairs]


def _browser(request: Request) -> tuple[str, list[str]]:
    found = [value for name, value in _cookies(request) if name == BEFORE_COOKIE]
    if len(found) == 1 and 40 <= len(found[0]) <= 50:
        return found[0], []
    value = secrets.token_urlsafe(32)
    return value, [cookie(BEFORE_COOKIE, value, 3600)]


def cookie(name: str, value: str, seconds: int) -> str:
    """A Set-Cookie header as all of ours are; 0 seconds deletes it."""
    return f"{name}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax"


def _to_sign_in(request: Request) -> Response:
    if request.method == "POST":
        raise HTTPException(401, "you are not signed in (any more); nothing was sent")
    if "text/event-stream" in request.headers.get("accept", ""):
        return PlainTextResponse("not signed in", 401)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/sign-in" if path == "/" else f"/sign-in?next={quote(path, safe='/')}", 303)


def _again(body: bytes) -> Receive:
    """The body that was read, once more; then whatever comes (a disconnect)."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def _setting(send: Send, cookies: list[str]) -> Send:
    async def setting(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for one in cookies:
                if not any(one.partition("=")[0] == had.partition("=")[0] for had in headers.getlist("set-cookie")):
                    headers.append("set-cookie", one)
        await send(message)

    return setting


async def _within(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run a page within its time, a stream within its own longer one."""
    started = ""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def noting(message: Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            started = MutableHeaders(scope=message).get("content-type", "none")
            if started.startswith("text/event-stream"):
                within.reschedule(began + STREAM_S)
        await send(message)

    try:
        async with asyncio.timeout(PAGE_S) as within:
            await app(scope, receive, noting)
    except TimeoutError:
        if not within.expired():
            raise
        if not started:
            await PlainTextResponse("this took too long; try again", 503)(scope, receive, send)
        elif started.startswith("text/event-stream"):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
