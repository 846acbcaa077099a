"""Proofs that one record is in the evidence, as one JSON document; checked by verify.py, which shares no code with this.

A proof holds the leaf's entry, its inclusion proof and the signed checkpoint; on purpose only, also the judged decision's
bytes and salt, which open the verdict's commitment. The format is in docs/formats.md.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from agents.audit.agent import blob_path, origin
from agents.audit.entry import Digest, Entry, decode
from agents.audit.merkle import inclusion_proof
from agents.audit.notes import Checkpoint, split_note
from agents.audit.tiles import WIDTH, Read, stored_bundle, stored_nodes
from agents.errors import Inconsistent, Misconfigured
from agents.records import Record

FORMAT = "governance-proof-v1"
STAGES = ("gate", "final")


@dataclass(frozen=True, slots=True)
class VerdictId:
    """`<topic>/<partition>/<offset>/<stage>` of the decision that a verdict is about."""

    topic: str
    partition: int
    offset: int
    stage: str

    @classmethod
    def parse(cls, text: str) -> VerdictId:
        """From a verdict's id.

        Raises:
            Misconfigured: not the id of a verdict.
        """
        parts = text.rsplit("/", 3)
        if len(parts) != 4 or not (parts[1].isdecimal() and parts[2].isdecimal()) or parts[3] not in STAGES:
            raise Misconfigured(f"{text!r} is not a verdict's id; write for example gim.decisions/0/17/gate")
        return cls(parts[0], int(parts[1]), int(parts[2]), parts[3])

    @property
    def position(self) -> str:
        """The decision's position: a verdict's key, and what its salt derives from."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def __str__(self) -> str:
        return f"{self.position}/{self.stage}"


def find_verdict(read: Read, prefix: str, verdict: VerdictId) -> tuple[str, int]:
    """The log and leaf index of a verdict; searches its log from the newest leaf back.

    Raises:
        Misconfigured: the evidence has no such verdict (yet).
    """
    log = origin(prefix, "verdicts", verdict.partition)
    try:
        size = Checkpoint.parse(split_note(read(f"{log}/checkpoint"))[0]).size
    except FileNotFoundError as error:
        raise Misconfigured(f"there is no log {log} in this store; which one holds it?") from error
    key, wanted = verdict.position.encode(), f'"{verdict}"'.encode()
    for index in range((size - 1) // WIDTH, -1, -1):
        for at, data in enumerate(stored_bundle(read, log, index, size)):
            if key in data and decode(data).key == key and wanted in value_of(read, log, decode(data)):
                return log, index * WIDTH + at
    raise Misconfigured(f"no verdict {verdict} among the {size} leaves of {log}; it may not be audited yet")


def prove(read: Read, log: str, index: int) -> dict[str, object]:
    """The proof document of a leaf under the log's stored checkpoint.

    Raises:
        Inconsistent: the store's files contradict each other.
    """
    note = read(f"{log}/checkpoint")
    checkpoint = Checkpoint.parse(split_note(note)[0])
    if not 0 <= index < checkpoint.size:
        raise Inconsistent(f"leaf {index} is not among the {checkpoint.size} leaves of {log}")
    data = stored_bundle(read, log, index // WIDTH, checkpoint.size)[index % WIDTH]
    found = decode(data)
    blobs = [field for field in (found.key, found.headers, found.value) if isinstance(field, Digest)]
    path = inclusion_proof(stored_nodes(read, log, checkpoint.size), index, checkpoint.size)
    return {
        "format": FORMAT,
        "origin": log,
        "index": index,
        "entry": _b64(data),
        "inclusion": [_b64(hash_) for hash_ in path],
        "checkpoint": note.decode(),
        "blobs": {blob.sha256: _b64(read(f"{log}/{blob_path(blob.sha256)}")) for blob in blobs},
        "disclosed": None,
    }


def disclose(proof: dict[str, object], decision: Record, salt: bytes) -> dict[str, object]:
    """The proof of a verdict with the decision that it judged: personal data, to be given on purpose only."""
    return proof | {
        "disclosed": {
            "key": _b64_or_null(decision.key),
            "headers": _headers(decision.headers),
            "value": _b64_or_null(decision.value),
            "salt": _b64(salt),
        }
    }


def value_of(read: Read, log: str, found: Entry) -> bytes:
    """An entry's value, from its blob where it was too large; empty for null."""
    if isinstance(found.value, Digest):
        return read(f"{log}/{blob_path(found.value.sha256)}")
    return found.value or b""


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> list[list[str | None]]:
    return [[name, _b64_or_null(value)] for name, value in headers]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _b64_or_null(data: bytes | None) -> str | None:
    return None if data is None else _b64(data)
