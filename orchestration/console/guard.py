"""The door: what a request must be before anything looks at it, and what every response says to the browser.

Pure ASGI, so that streams pass through unbuffered. Refuses foreign host names (DNS rebinding), bodies and headers that are
too large, bodies that take too long, and methods that no page has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY = 64 * 1024
"""Bytes of the largest form."""
HEADERS = 16 * 1024
"""Bytes of all headers of a request together."""
TARGET = 4096
"""Bytes of the path and query of a request."""
BODY_S = 10.0
"""Seconds that a body may take to arrive."""
METHODS = frozenset({"GET", "HEAD", "POST"})

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
SAID = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer browsers would not say the origin of our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-robots-tag": "noindex, nofollow",
}
HSTS = "max-age=31536000"


class Guard:
    """Wraps the application; `hosts` are the Host headers it answers to, `secure` the ones that are reached by https."""

    def __init__(
        self, app: ASGIApp, hosts: Callable[[], Collection[str]], secure: Callable[[], Collection[str]]
    ) -> None:
        self.app, self._hosts, self._secure = app, hosts, secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "").lower()
        https = scope["scheme"] == "https" or host in self._secure()
        if https:
            scope["scheme"] = "https"

        async def saying(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAID.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if https:
                    headers["strict-transport-security"] = HSTS
            await send(message)

        refused = self._refused(scope, host)
        if refused is None:
            return await self.app(scope, _bounded(receive), saying)
        refused.headers["connection"] = "close"
        await refused(scope, receive, saying)
        return None

    def _refused(self, scope: Scope, host: str) -> PlainTextResponse | None:
        headers = scope["headers"]
        if scope["method"] not in METHODS:
            return PlainTextResponse("method not allowed", 405, {"allow": ", ".join(sorted(METHODS))})
        if sum(len(name) + len(value) for name, value in headers) > HEADERS:
            return PlainTextResponse("the headers are too large", 431)
        if len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"]) > TARGET:
            return PlainTextResponse("the address is too long", 414)
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:  # PostgreSQL refuses to look for it
            return PlainTextResponse("the address holds a null character", 400)
        if sum(name == b"host" for name, _ in headers) != 1 or host not in self._hosts():
            return PlainTextResponse(
                "this console does not answer to that name; set GOVERN_CONSOLE_HOSTS or escalation.console_url", 421
            )
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isascii() or not length.isdecimal():
            return PlainTextResponse("content-length is no number", 400)
        if len(length) > 10 or int(length) > BODY:
            return PlainTextResponse(f"more than {BODY:,} bytes", 413)
        return None


def _bounded(receive: Receive) -> Receive:
    """The same messages, with the body's size and time counted; afterwards (a stream's disconnect) it waits as it likes.

    Raises HTTPException where whoever reads the body meets more than is allowed.
    """
    taken, ended = 0, False
    loop = asyncio.get_running_loop()
    by = loop.time() + BODY_S

    async def bounded() -> Message:
        nonlocal taken, ended
        if ended:
            return await receive()
        try:
            async with asyncio.timeout_at(by):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the request took more than {BODY_S:.0f} s") from error
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > BODY:
                raise HTTPException(413, f"more than {BODY:,} bytes")
            ended = not message.get("more_body", False)
        return message

    return bounded
