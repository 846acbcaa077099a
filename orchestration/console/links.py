"""Answer links: an address in a message that leads to the page, signed and expiring, and worth nothing by itself.

Opening one, following it with a scanner or running the page's scripts uses nothing up: only the submitted form of a person
who has signed in answers, with that person's own rights. The link only bounds how long an answer given through it counts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from orchestration import keys
from orchestration.console.parts import parts_of
from orchestration.settings import Settings

LASTS_MS = 7 * 86_400_000
"""How long a link is good, where nothing ends earlier."""
LONGEST = 300
_FORM = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,15})")


class BadLink(ValueError):
    """No link of ours, or one that expired."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says."""

    incident: str
    expires_ms: int


def secret_of(settings: Settings) -> bytes:
    """The secret that links of this deployment are signed with; from the salt key, so every process that has it agrees.

    Raises Misconfigured where the key is missing.
    """
    return keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt).salt("answer-links")


def make(secret: bytes, incident: str, expires_ms: int) -> str:
    """The path of a link to an incident's page, good until then (ms since 1970 UTC): `/l/<token>`."""
    said = f"{incident}.{expires_ms}"
    token = base64.urlsafe_b64encode(said.encode() + _mac(secret, said)).decode().rstrip("=")
    return f"/l/{token}"


def read(secret: bytes, token: str, now_ms: int) -> Link:
    """What a token says. Raises BadLink, in words for the page, where it is forged, altered or expired."""
    if len(token) > LONGEST or not token.isascii():
        raise BadLink("This link was not made here.")
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        said = raw[:-32].decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise BadLink("This link was not made here.") from error
    found = _FORM.fullmatch(said)
    if found is None or not hmac.compare_digest(raw[-32:], _mac(secret, said)):
        raise BadLink("This link was not made here, or was cut on its way.")
    link = Link(found[1], int(found[2]))
    if now_ms > link.expires_ms:
        raise BadLink("This link has expired. What waits now is in the queue.")
    return link


def expiry(request: Request, incident: str) -> int | None:
    """Until when an answer counts on a page that a link led to; None: no link did. A bad link counts as expired."""
    token, secret = request.query_params.get("link"), parts_of(request).links
    if not token:
        return None
    try:
        link = read(secret or b"", token, 0) if secret else None
    except BadLink:
        return 0
    return link.expires_ms if link is not None and link.incident == incident else 0


async def follow(request: Request) -> Response:
    """To the incident's page; changes nothing, however often it is opened."""
    parts, token = parts_of(request), request.path_params["token"]
    if parts.links is None:
        raise HTTPException(410, "This console knows no answer links; what waits is in the queue.")
    try:
        link = read(parts.links, token, parts.clock())
    except BadLink as error:
        raise HTTPException(410, str(error)) from error
    return RedirectResponse(f"/incidents/{link.incident}?link={token}", 303)


def _mac(secret: bytes, said: str) -> bytes:
    return hmac.new(secret, b"answer-link:" + said.encode(), hashlib.sha256).digest()


ROUTES = (Route("/l/{token}", follow, methods=["GET"]),)
