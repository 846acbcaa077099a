"""Seasons of a week: strata in which decisions are compared with a reference of their own, so that a night is no drift.

A profile keeps counts for each of 28 strata, 6-hour buckets of each weekday, in UTC by the model's clock; a monitor adds
them up to the seasons that it was told of.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from agents.monitor.contract import Ints

Seasons = Literal["none", "hours", "weekdays", "both"]
BUCKETS = 4
BUCKET_MS = 21_600_000
STRATA = 7 * BUCKETS
"""Of a profile: weekday × BUCKETS + bucket, Monday's first one being 0."""
_COUNT = {"none": 1, "hours": BUCKETS, "weekdays": 7, "both": STRATA}


def strata_of(times_ms: Ints, seasons: Seasons = "both") -> Ints:
    """Each moment's stratum; ms since 1970 UTC.

    >>> strata_of(np.array([0, 86_400_000 + BUCKET_MS])).tolist()  # a Thursday, a Friday from 06:00
    [12, 17]
    """
    bucket = times_ms // BUCKET_MS
    fine = (bucket // BUCKETS + 3) % 7 * BUCKETS + bucket % BUCKETS
    return np.asarray(joined(seasons)[fine])


def joined(seasons: Seasons) -> Ints:
    """Which stratum of `seasons` each one of a profile belongs to, (STRATA,)."""
    fine = np.arange(STRATA)
    return {"none": fine * 0, "hours": fine % BUCKETS, "weekdays": fine // BUCKETS, "both": fine}[seasons]


def added_up(counts: Ints, seasons: Seasons) -> Ints:
    """Counts (STRATA, …) of a profile by the strata of `seasons`."""
    found = np.zeros((_COUNT[seasons], *counts.shape[1:]), dtype=np.int64)
    np.add.at(found, joined(seasons), counts)
    return found
