"""Forms that come from our own pages: the origin is ours, the token is this session's, and there is exactly one of each.

Every unsafe request is checked here before any page sees it, so no page can forget it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

FIELDS = 400
"""Fields of the largest form."""
KIND = "application/x-www-form-urlencoded"


def ours(request: Request, origins: Collection[str]) -> str | None:
    """Why a request did not come from a page of ours; None where it did.

    A browser says where a request comes from in `Origin`, `Sec-Fetch-Site` or both; what says neither is refused.
    """
    origin, site = request.headers.getlist("origin"), request.headers.getlist("sec-fetch-site")
    if not origin and not site:
        return "it does not say where it comes from (Origin, Sec-Fetch-Site)"
    if any(one != "same-origin" for one in site):
        return "it comes from another site"
    host = request.headers.get("host", "").lower()
    if any(one.lower() not in origins or urlsplit(one.lower()).netloc != host for one in origin):
        return "it comes from another origin"
    return None


async def read_form(request: Request) -> tuple[FormData, bytes]:
    """The fields of a form and its bytes. Raises HTTPException where it is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != KIND:
        raise HTTPException(415, f"forms are {KIND}")
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError as error:
        raise HTTPException(400, "this is no form") from error
    return FormData([(name, value) for name, value in pairs]), body


def token_fits(form: FormData, expected: str) -> bool:
    """Whether the form carries this session's token, once."""
    given = form.getlist("csrf")
    if len(given) != 1 or not expected:
        return False
    return hmac.compare_digest(str(given[0]).encode(), expected.encode())


def token_before(secret: bytes, browser: str) -> str:
    """The token of a browser that is not signed in yet, from the value of its cookie."""
    return hmac.new(secret, b"before sign-in:" + browser.encode(), hashlib.sha256).hexdigest()


def one(form: FormData, name: str, longest: int = 4000) -> str:
    """A field's text, without spaces at its ends; empty where it is missing. Raises HTTPException(400) where it is given
    twice, is too long, or holds control characters.
    """
    given = form.getlist(name)
    if len(given) > 1:
        raise HTTPException(400, f"the field {name} is given twice")
    text = str(given[0]).replace("\r\n", "\n").strip() if given else ""
    if len(text) > longest:
        raise HTTPException(400, f"the field {name} has more than {longest:,} characters")
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in text):
        raise HTTPException(400, f"the field {name} holds control characters")
    return text


def safe_next(text: str) -> str:
    """Where to go after signing in: a path of ours, else the front page.

    >>> safe_next("/incidents/7f29-k1mq?x=1")
    '/incidents/7f29-k1mq?x=1'
    >>> safe_next("//evil.example"), safe_next("https://evil.example"), safe_next("/\\\\evil.example")
    ('/', '/', '/')
    """
    if not text.startswith("/") or len(text) > 1000 or text.startswith(("//", "/sign-")):
        return "/"
    if any(ord(letter) <= 32 or ord(letter) == 127 or letter == "\\" for letter in text):
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else text
