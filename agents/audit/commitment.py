"""Salted commitments: a verdict binds its decision's exact bytes without disclosing them; for policy lanes and proofs.

    salt  = HMAC-SHA-256(salt key, "<topic>/<partition>/<offset>")
    value = SHA-256(salt ‖ canonical encoding of the producer's key, headers in order, and value)

Without the salt a commitment says nothing about the decision, not even to somebody who can guess its bytes; with the salt
of one decision (handed out in a proof made on purpose) that one can be checked, and no other.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence

from agents.audit.entry import BYTES, NULL, encode_field, encode_headers
from agents.records import Header, Record

KEY_BYTES = 32
_sha256 = hashlib.sha256
_length = struct.Struct(">BI").pack
_NULL = bytes([NULL])
_NO_HEADERS = _length(BYTES, 0)


class Committer:
    """Commits to decisions with one salt key."""

    def __init__(self, key_id: str, salt_key: bytes) -> None:
        """`key_id` names the salt key in verdicts; `salt_key` has 32 random bytes.

        Raises:
            ValueError: the salt key has another length.
        """
        if len(salt_key) != KEY_BYTES:
            raise ValueError(f"a salt key has {KEY_BYTES} bytes, not {len(salt_key)}")
        self.key_id = key_id
        block = salt_key.ljust(64, b"\0")
        # HMAC (RFC 2104) by hand, from two hash objects that have read their pads: this runs once a decision.
        self._inner = _sha256(bytes(byte ^ 0x36 for byte in block)).copy
        self._outer = _sha256(bytes(byte ^ 0x5C for byte in block)).copy

    def salt(self, position: str) -> bytes:
        """The salt of the decision at `<topic>/<partition>/<offset>`; who has it can test guesses of that decision."""
        inner, outer = self._inner(), self._outer()
        inner.update(position.encode())
        outer.update(inner.digest())
        return outer.digest()

    def values(self, positions: Sequence[bytes], records: Sequence[Record]) -> list[str]:
        """The commitments of a batch, one a record, as `value` gives them; a third of its overhead."""
        inner_copy, outer_copy, sha256, length = self._inner, self._outer, _sha256, _length
        found: list[str] = []
        push = found.append
        for position, record in zip(positions, records, strict=True):
            inner, outer = inner_copy(), outer_copy()
            inner.update(position)
            outer.update(inner.digest())
            key, headers, value = record.key, record.headers, record.value
            push(
                sha256(
                    outer.digest()
                    + (_NULL if key is None else length(BYTES, len(key)) + key)
                    + (length(BYTES, len(headers)) + encode_headers(headers) if headers else _NO_HEADERS)
                    + (_NULL if value is None else length(BYTES, len(value)) + value)
                ).hexdigest()
            )
        return found

    def value(self, position: str, key: bytes | None, headers: Sequence[Header], value: bytes | None) -> str:
        """The commitment in hex."""
        return _sha256(self.salt(position) + canonical(key, headers, value)).hexdigest()


def canonical(key: bytes | None, headers: Sequence[Header], value: bytes | None) -> bytes:
    """Key, headers and value as a leaf entry holds them (docs/formats.md), however long."""
    return encode_field(key) + _length(BYTES, len(headers)) + encode_headers(headers) + encode_field(value)


def check(salt: bytes, commitment: str, key: bytes | None, headers: Sequence[Header], value: bytes | None) -> bool:
    """Do these bytes and this salt give the commitment?"""
    return hmac.compare_digest(_sha256(salt + canonical(key, headers, value)).hexdigest(), commitment)
