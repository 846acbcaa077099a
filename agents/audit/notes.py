"""Signed notes and checkpoints (C2SP signed-note and tlog-checkpoint), Ed25519; for the audit lane, which signs them.

A key has a name (the topic prefix, for every log of a tenant) and stands in the forms `name+hash+base64` (verifier) and
`PRIVATE+KEY+name+hash+base64` (signer). Parsing is strict; signatures of unknown keys (cosignatures of witnesses) are
tolerated and ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agents.audit.merkle import HASH_SIZE
from agents.errors import Inconsistent, Misconfigured

ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to: the root over its first `size` leaves."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text to be signed: three lines, the root in base64."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `text`; further lines (extensions) are tolerated.

        Raises:
            Inconsistent: the text is not a checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
            raise Inconsistent(f"not a checkpoint: {text!r}")
        root = _unb64(lines[2])
        if root is None or len(root) != HASH_SIZE:
            raise Inconsistent(f"the checkpoint of {lines[0]} has no root of {HASH_SIZE} bytes")
        return cls(lines[0], int(lines[1]), root)


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with its name."""

    name: str
    public: bytes

    @property
    def hash(self) -> bytes:
        """The key's id: the first four bytes of SHA-256(name ‖ newline ‖ 0x01 ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.hash.hex()}+{_b64(ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `name+hash+base64`.

        Raises:
            Misconfigured: the text is not a verifier key, or its hash is not the key's.
        """
        name, stated, public = _key_parts(text.strip(), "verifier")
        found = cls(name, public)
        if found.hash != stated:
            raise Misconfigured(f"the verifier key of {name} is damaged: its hash is {found.hash.hex()}")
        return found

    def open(self, note: bytes) -> str:
        """The text of a note that this key signed.

        Raises:
            Inconsistent: not a signed note, or not signed by this key, or the signature is wrong.
        """
        text, signatures = split_note(note)
        mine = [signature for name, signature in signatures if name == self.name and signature[:4] == self.hash]
        if not mine:
            raise Inconsistent(f"the note is not signed by the key {self.name}+{self.hash.hex()}")
        try:
            for signature in mine:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature[4:], text.encode())
        except InvalidSignature as error:
            raise Inconsistent(f"the signature of {self.name}+{self.hash.hex()} does not match the note") from error
        return text


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key with its name; its `repr` does not show the key."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def encoded(self) -> str:
        """`PRIVATE+KEY+name+hash+base64`: a secret."""
        return f"{_PRIVATE}{self.name}+{self.verifier.hash.hex()}+{_b64(ED25519 + self.seed)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `PRIVATE+KEY+name+hash+base64`; messages never show the key.

        Raises:
            Misconfigured: the text is not a signer key, or its hash is not the key's.
        """
        if not text.startswith(_PRIVATE):
            raise Misconfigured("not a signing key: it should start with PRIVATE+KEY+; make one: govern audit keygen")
        name, stated, seed = _key_parts(text.strip().removeprefix(_PRIVATE), "signing")
        found = cls(name, seed)
        if found.verifier.hash != stated:
            raise Misconfigured(f"the signing key of {name} is damaged: its hash is {found.verifier.hash.hex()}")
        return found

    def sign(self, text: str) -> bytes:
        """The signed note of a text that ends in a newline; Ed25519 is deterministic, so equal texts give equal notes."""
        if not text.endswith("\n"):
            raise ValueError("the text of a note ends in a newline")
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return f"{text}\n— {self.name} {_b64(self.verifier.hash + signature)}\n".encode()


def split_note(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text and its signatures: (key name, key hash ‖ signature).

    Raises:
        Inconsistent: not a signed note.
    """
    try:
        whole = note.decode()
    except UnicodeDecodeError as error:
        raise Inconsistent("a note is UTF-8 text; this is not") from error
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n") or any(ord(sign) < 32 and sign != "\n" for sign in whole):
        raise Inconsistent("not a signed note: it needs a text, an empty line and signatures")
    signatures: list[tuple[str, bytes]] = []
    for line in tail[:-1].split("\n"):
        matched = _SIGNATURE.fullmatch(line)
        decoded = _unb64(matched[2]) if matched else None
        if matched is None or decoded is None or len(decoded) < 5:
            raise Inconsistent(f"not a signature line: {line!r}")
        signatures.append((matched[1], decoded))
    return text + "\n", signatures


def _key_parts(text: str, what: str) -> tuple[str, bytes, bytes]:
    matched = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})", text)
    decoded = _unb64(matched[3]) if matched else None
    if matched is None or decoded is None or len(decoded) != 33 or decoded[:1] != ED25519:
        raise Misconfigured(f"not an Ed25519 {what} key of the form name+hash+base64")
    return matched[1], bytes.fromhex(matched[2]), decoded[1:]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes | None:
    """Base64 that encodes back to the same text: no spare bits, no missing padding."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _b64(data) == text else None
