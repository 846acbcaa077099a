"""Answer links: an address in a message that leads to an incident's page, signed and expiring, and worth nothing by itself.

Whoever has the deployment's salt key can make and read them; the sender of messages makes them, the console reads them. They
name an incident and a time, and no person.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from orchestration import keys
from orchestration.settings import Settings

LASTS_MS = 7 * 86_400_000
"""How long a link in a message is good."""
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


def _mac(secret: bytes, said: str) -> bytes:
    return hmac.new(secret, b"answer-link:" + said.encode(), hashlib.sha256).digest()
