"""Milliseconds since 1970 as RFC 3339 text in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)
def iso(ms: int) -> str:
    """A moment as the verdicts write it.

    >>> iso(1772442843120)
    '2026-03-02T09:14:03.120Z'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
