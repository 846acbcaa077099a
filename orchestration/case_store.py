"""What a join lane remembers, as one local file: packed columns, the offsets they stand for, and a checksum. No pickle.

It only saves time. It is written after commits, whole, beside its place and renamed; whoever opens a lane replays from its
offsets to the committed ones, output suppressed. Deleted or damaged it is as if there were none: everything is replayed.

    "GOVCASES" | length of the header, 8 bytes little-endian | header, JSON | identities | columns in its order | SHA-256
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agents.monitor.case_table import COLUMNS, KEY_BYTES
from agents.monitor.joining import Kept

log = logging.getLogger("governance.case-store")

FORMAT = 1
_MAGIC = b"GOVCASES"
_DIGEST = hashlib.sha256().digest_size


class _Header(msgspec.Struct):
    format: int
    columns: dict[str, str]
    count: int
    offsets: dict[str, int]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds."""

    kept: Kept
    offsets: Mapping[str, int]
    """`<topic>/<partition>` → the next offset to read."""


class CaseStore:
    """One lane's file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, kept: Kept, offsets: Mapping[str, int]) -> None:
        """Put it in place of what was there; a reader sees the old or the new file, never a part."""
        columns = {name: values.dtype.str for name, values in kept.columns.items()}
        count = len(kept.identities) // KEY_BYTES
        header = msgspec.json.encode(_Header(FORMAT, columns, count, dict(offsets), kept.meta))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        digest = hashlib.sha256()
        with partial.open("wb") as file:
            for part in (_MAGIC, len(header).to_bytes(8, "little"), header, kept.identities):
                file.write(part)
                digest.update(part)
            for values in kept.columns.values():
                part = values.tobytes()
                file.write(part)
                digest.update(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def load(self) -> Stored | None:
        """What was saved last; None, and a line in the log, where nothing usable is there."""
        try:
            return _parsed(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s cannot be used and is built anew from the topics: %s", self.path, error)
            return None

    def delete(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)


def _parsed(data: bytes) -> Stored:
    """Raises ValueError where anything is amiss."""
    start = len(_MAGIC) + 8
    if len(data) < start + _DIGEST or not data.startswith(_MAGIC):
        raise ValueError("it is no store of cases")
    body = memoryview(data)[:-_DIGEST]
    if hashlib.sha256(body).digest() != data[-_DIGEST:]:
        raise ValueError("its checksum does not fit")
    at = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    header = msgspec.json.decode(data[start:at], type=_Header)
    if header.format != FORMAT or header.columns != {name: dtype.str for name, dtype in COLUMNS.items()}:
        raise ValueError("another version of the software wrote it")
    identities = bytes(body[at : at + header.count * KEY_BYTES])
    at += len(identities)
    columns = {}
    for name, dtype in COLUMNS.items():
        columns[name] = np.frombuffer(body, dtype=dtype, count=header.count, offset=at)
        at += header.count * dtype.itemsize
    if at != len(body):
        raise ValueError("its length does not fit")
    return Stored(Kept(header.meta, identities, columns), header.offsets)
