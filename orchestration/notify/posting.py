"""One HTTP POST to a channel: guarded, never redirected, bounded in time and size, and its answer sorted.

Promise: it returns an answer that says yes, or raises NotSent (try again) or Undeliverable (do not). No error names more of
the URL than its host.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore

from orchestration.notify.faults import NotSent, Undeliverable
from orchestration.notify.guard import Guarded, Resolve, resolve, target_of, trusted
from orchestration.notify.message import plain

CONNECT_S, READ_S, TOTAL_S = 5.0, 10.0, 15.0
ANSWER_BYTES = 64 * 1024
DETAIL = 200
"""Characters of an answer that are recorded."""
LONGEST_WAIT_S = 300.0
"""What a channel may ask for with Retry-After; longer counts as so long."""
_AGAIN = (408, 425, 429)
_LINK = re.compile(r"(?:\\?/|%2F)l(?:\\?/|%2F)[A-Za-z0-9_=%-]{20,}", re.IGNORECASE)
_PATH = 8
"""A URL's path that is so long may be what makes the URL a secret."""


@dataclass(frozen=True, slots=True)
class Post:
    """What is posted; `secrets` are values that must not show in any text."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    allow_private: bool = False
    secrets: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back with a status of 200 to 299."""

    status: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object of the body; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


async def post(what: Post, *, look_up: Resolve = resolve, total_s: float = TOTAL_S) -> Answer:
    """Post it once.

    Raises NotSent for faults that pass (no connection, time-out, 408, 425, 429, 5xx), Undeliverable for others.
    """
    target = target_of(what.url, {"https": 443, "http": 80}, insecure=("http",), allow_private=what.allow_private)
    given = {"content-type": what.content_type, "user-agent": "governance-in-motion", **what.headers}
    headers: list[tuple[bytes | str, bytes | str]] = list(given.items())
    wait = {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": CONNECT_S}
    backend = Guarded(allow_private=what.allow_private, look_up=look_up)
    sending = False
    try:
        async with (
            asyncio.timeout(total_s),
            httpcore.AsyncConnectionPool(
                ssl_context=trusted(), network_backend=backend, max_keepalive_connections=0
            ) as pool,
        ):
            sending = True
            async with pool.stream(
                "POST", what.url, headers=headers, content=what.body, extensions={"timeout": wait}
            ) as response:
                body = await _bounded(response)
                return _sorted(response.status, dict(_words(response.headers)), body, target.host, what.secrets)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise NotSent(f"{target.host} cannot be reached: {_why(error)}") from error
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise NotSent(f"{target.host} did not answer in time", doubtful=sending) from error
    except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        raise NotSent(f"{target.host} broke off before it answered", doubtful=sending) from error
    except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol, ValueError):
        raise Undeliverable("the channel's URL or secret holds signs that no request may have") from None


def scrubbed(text: str, secrets: Sequence[str] = ()) -> str:
    """A text from outside as it may be recorded: short, one line, no address of a person, no answer link, none of the secrets.

    >>> scrubbed("550 no such user ann@bank.example\\r\\nkey k-1", ["k-1"])
    '550 no such user <address> key <secret>'
    >>> scrubbed("no route for /hooks/T0/x1y2z3", ["https://hooks.example/hooks/T0/x1y2z3"])
    'no route for <secret>'
    >>> scrubbed('bad block: "https:\\\\/\\\\/console.example\\\\/l\\\\/N2YyOS1rMW1xLjE3OTYxNjg4MTgxNTU2"')
    'bad block: "https:\\\\/\\\\/console.example/l/<link>"'
    """
    paths = [one.partition("://")[2].partition("/")[2] for one in secrets]
    known = {*secrets, *(f"/{path}" for path in paths if len(path) >= _PATH)}
    for one in sorted(filter(None, known), key=len, reverse=True):
        text = text.replace(one, "<secret>")
    text = _LINK.sub("/l/<link>", text)
    return plain(re.sub(r"[^\s<>\"'(:]+@[^\s<>\"'),;]+", "<address>", text), DETAIL)


async def _bounded(response: httpcore.Response) -> bytes:
    """The body's beginning; more than ANSWER_BYTES is not read."""
    found = bytearray()
    async for chunk in response.aiter_stream():
        found += chunk
        if len(found) >= ANSWER_BYTES:
            break
    return bytes(found[:ANSWER_BYTES])


def _sorted(status: int, headers: Mapping[str, str], body: bytes, host: str, secrets: Sequence[str]) -> Answer:
    if 200 <= status < 300:
        return Answer(status, body)
    if 300 <= status < 400:
        raise Undeliverable(
            f"{host} answered {status}, which points elsewhere: redirects are not followed, declare the final URL"
        )
    said = scrubbed(body.decode("utf-8", "replace"), secrets)
    told = f"{host} answered {status}" + (f": {said}" if said else "")
    if status in _AGAIN or status >= 500:
        raise NotSent(told, after_s=_retry_after(headers.get("retry-after", "")))
    raise Undeliverable(told)


def _retry_after(value: str) -> float | None:
    """Seconds that Retry-After asks for, as a number or a date; None where it says nothing usable."""
    try:
        if value.strip().isdecimal():
            return min(float(value), LONGEST_WAIT_S)
        left = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(left, 0.0), LONGEST_WAIT_S)


def _words(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]


def _why(error: BaseException) -> str:
    """The innermost cause in a word or two: `certificate verify failed`, `time-out`."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({seen.verify_message})"
        if isinstance(seen, ssl.SSLError):
            return "TLS failed"
        if isinstance(seen, TimeoutError | httpcore.TimeoutException):
            return "time-out"
        if isinstance(seen, ConnectionRefusedError):
            return "connection refused"
        seen = seen.__cause__ or seen.__context__
    return "no connection"
