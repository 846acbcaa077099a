"""The duplicate window: which record of the last `size` records of a partition had the same identity, and the same bytes?

The window counts records, never time, so any reader of the topic can recompute it. Each record takes one place, with or
without an identity; an identity is compared with its nearest earlier occurrence inside the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Seen = Literal["new", "duplicate", "conflict"]


class Window:
    """Identities and fingerprints of the `size` records before the next one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._last: dict[str, tuple[int, int]] = {}  # identity -> (number of its last record, fingerprint)
        self._ring: list[str | None] = [None] * size  # the identity of record n stands at n % size
        self._count = 0

    def see(self, identities: Sequence[str | None], fingerprints: Sequence[int]) -> dict[int, Seen]:
        """Take a batch in; returns, by row, which records repeat an identity (the others are new).

        >>> window = Window(3)
        >>> window.see(["a", "b", "a", "a"], [1, 2, 1, 9])
        {2: 'duplicate', 3: 'conflict'}
        >>> window.see([None, None, None, "a"], [0, 0, 0, 9])
        {}
        """
        repeated: dict[int, Seen] = {}
        last, ring, size, count = self._last, self._ring, self.size, self._count
        for row, identity in enumerate(identities):
            if identity is not None:
                before = last.get(identity)
                if before is not None:
                    repeated[row] = "duplicate" if before[1] == fingerprints[row] else "conflict"
                last[identity] = (count, fingerprints[row])
            place = count % size
            leaving = ring[place]  # record count - size: the window's oldest until now
            if leaving is not None and last[leaving][0] == count - size:
                del last[leaving]
            ring[place] = identity
            count += 1
        self._count = count
        return repeated
