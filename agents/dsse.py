"""Signed statements: DSSE envelopes (Dead Simple Signing Envelope v1.0.2) over JSON payloads, Ed25519.

An answer counts only with a signature, and a signature only for what it covers: the payload is the canonical JSON of the
statement, so any reader rebuilds it from the event and compares.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX = "ed25519:"
LIMIT = 262_144
"""Bytes of the largest envelope that is looked at."""


class BadEnvelope(ValueError):
    """Not an envelope, not of that type, or not signed by that key."""


@dataclass(frozen=True, slots=True)
class Public:
    """A public key."""

    raw: bytes

    @property
    def text(self) -> str:
        """`ed25519:<base64>`, as configurations hold it."""
        return PREFIX + base64.b64encode(self.raw).decode()

    @property
    def keyid(self) -> str:
        """The first 16 hex digits of SHA-256 of the key."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


def parse_public(text: str) -> Public:
    """From `ed25519:<base64>`; raises ValueError with the mend."""
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX).strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(PREFIX) or len(raw) != 32:
        raise ValueError(f"{text[:60]!r} is no public key; `govern key new` prints one: ed25519:<base64 of 32 bytes>")
    return Public(raw)


@dataclass(frozen=True, slots=True)
class Private:
    """A private key; its `repr` does not show it."""

    seed: bytes = field(repr=False)

    @property
    def public(self) -> Public:
        """The public half."""
        return Public(Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, kind: str, statement: Mapping[str, Any]) -> str:
        """The envelope of a statement, as JSON; `kind` is the payload's media type. Ed25519 is deterministic."""
        payload = canonical(statement)
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(pae(kind, payload))
        envelope = {
            "payloadType": kind,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": self.public.keyid, "sig": base64.b64encode(signature).decode()}],
        }
        return canonical(envelope).decode()


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope that was taken apart; nothing of it is believed before `verify`."""

    kind: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """(keyid, signature)."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BadEnvelope where the text is none."""
        if len(text) > LIMIT:
            raise BadEnvelope(f"the envelope has more than {LIMIT:,} characters")
        try:
            found = json.loads(text)
            payload = base64.b64decode(found["payload"], validate=True)
            signed = tuple(
                (str(one.get("keyid", "")), base64.b64decode(one["sig"], validate=True)) for one in found["signatures"]
            )
            return cls(str(found["payloadType"]), payload, signed)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadEnvelope("not a DSSE envelope with payload, payloadType and signatures") from error

    def signed(self, kind: str, key: Public) -> None:
        """Raises BadEnvelope unless the payload, whatever it says, is of this kind and signed by this key."""
        if self.kind != kind:
            raise BadEnvelope(f"the payload is {self.kind!r}, not {kind!r}")
        public = Ed25519PublicKey.from_public_bytes(key.raw)
        for _, signature in self.signatures:
            try:
                return public.verify(signature, pae(kind, self.payload))
            except InvalidSignature:
                continue
        raise BadEnvelope(f"not signed by the key {key.keyid}")

    def verify(self, kind: str, statement: Mapping[str, Any], key: Public) -> None:
        """Raises BadEnvelope unless the payload is exactly this statement, of this kind, signed by this key."""
        self.signed(kind, key)
        if self.payload != canonical(statement):
            raise BadEnvelope("what was signed is not what the event says")


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def canonical(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON bytes: keys sorted, no spaces, UTF-8, no NaN (as agents/configuration.py writes documents)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
