"""Cases in packed columns: a million that wait for their outcomes take some 300 MB, and are found by their identity at once.

Whoever joins (joining.py) decides what a row means; here rows are added, found, dropped together and kept as arrays. A
decision's identity is held as a keyed 128-bit hash, so that neither memory nor a stored copy tells whose cases they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from agents.monitor.contract import Bools

NONE = -1
"""No outcome yet."""
WAITING, UNLABELLED, EMITTED = 1, 2, 3
"""Before its maturity; matured without an outcome; given to the monitors, which it is once."""
NEVER_MS = 2**62
KEY_BYTES = 16
COLUMNS: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "offset": "<i8",  # of the case's record on its topic
        "case_ms": "<i8",  # running maximum of the topic's broker times at that record
        "decided_ms": "<i8",  # the model's clock at the decision
        "wake_ms": "<i8",  # the model's clock at which the row needs attention; NEVER_MS: no more
        "known_ms": "<i8",  # when the outcome that counts became known
        "revision": "<i8",  # the highest seen
        "score": "<f8",  # NaN: none
        "about": "<i4",  # model, version, label
        "groups": "<i4",
        "segments": "<i4",
        "value": "<i2",  # the outcome that counts
        "latest": "<i2",  # the outcome of the highest revision
        "stage": "u1",
        "once": "?",
    }.items()
}
_FIRST = 1_024
Name = TypeVar("Name", bound=Hashable)


class Names(Generic[Name]):
    """Values as small numbers, in the order of their first appearance."""

    def __init__(self, known: list[Name] | None = None) -> None:
        self.all: list[Name] = list(known or ())
        self._codes = {name: code for code, name in enumerate(self.all)}

    def find(self, name: Name) -> int | None:
        """The number of a value that was met before."""
        return self._codes.get(name)

    def add(self, name: Name) -> int:
        """The number of a value, new or not."""
        found = self._codes.setdefault(name, len(self.all))
        if found == len(self.all):
            self.all.append(name)
        return found


class CaseTable:
    """Rows by identity. Columns are arrays with room to spare: only the first `len(table)` places count."""

    def __init__(self, key: bytes = b"") -> None:
        self.columns: dict[str, np.ndarray[Any, Any]] = {
            name: np.zeros(_FIRST, dtype=dtype) for name, dtype in COLUMNS.items()
        }
        self._rows: dict[bytes, int] = {}  # in the order of the rows
        self._hash = hashlib.blake2b(digest_size=KEY_BYTES, key=key)

    def __len__(self) -> int:
        return len(self._rows)

    def identity(self, key: bytes) -> bytes:
        """The hash of a record's key."""
        state = self._hash.copy()
        state.update(key)
        return state.digest()

    def find(self, identity: bytes) -> int | None:
        """A row; None where there is none."""
        return self._rows.get(identity)

    def add(self, identity: bytes) -> int:
        """A new row, to be filled in; room must have been made."""
        row = self._rows[identity] = len(self._rows)
        return row

    @property
    def full(self) -> bool:
        """True where there is no room for another row."""
        return len(self._rows) == len(self.columns["stage"])

    def grow(self) -> None:
        """Half as much room again."""
        room = len(self.columns["stage"]) * 3 // 2
        for name, values in self.columns.items():
            larger = np.zeros(room, dtype=values.dtype)
            larger[: len(values)] = values
            self.columns[name] = larger

    def keep(self, rows: Bools) -> None:
        """Forget all other rows; the order stays."""
        self._rows = {
            identity: row
            for row, identity in enumerate(one for one, kept in zip(self._rows, rows, strict=True) if kept)
        }
        for name, values in self.columns.items():
            self.columns[name][: len(self._rows)] = values[: len(rows)][rows]

    def identities(self) -> bytes:
        """All identities in the order of the rows, joined."""
        return b"".join(self._rows)

    def fill(self, identities: bytes, columns: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Take rows that were kept, in place of all. Raises ValueError where they do not fit together."""
        count, rest = divmod(len(identities), KEY_BYTES)
        if rest or any(name not in columns or len(columns[name]) != count for name in COLUMNS):
            raise ValueError("the columns of the kept cases differ in length")
        self._rows = {identities[at * KEY_BYTES : (at + 1) * KEY_BYTES]: at for at in range(count)}
        if len(self._rows) != count:
            raise ValueError("a kept case stands twice")
        room = max(_FIRST, count + count // 8)
        for name, dtype in COLUMNS.items():
            self.columns[name] = np.zeros(room, dtype=dtype)
            self.columns[name][:count] = columns[name]
