"""Which released decisions are offered for blind review, so that misses are seen and not only holds.

A decision is in a sample of a share where its rank is below the share. The rank follows from its position alone: nobody can
pick, an auditor can recompute it, and a larger share only adds to a smaller one.
"""

from __future__ import annotations

import hashlib

_SALT = b"governance-in-motion/blind-sample/1\n"
RANKS = 1 << 64


def rank(position: str) -> float:
    """Where a decision stands between 0 and 1, uniformly: SHA-256 of its position, `<topic>/<partition>/<offset>`.

    >>> round(rank("gim.decisions/3/17"), 4)
    0.2806
    """
    digest = hashlib.sha256(_SALT + position.encode()).digest()
    return int.from_bytes(digest[:8], "big") / RANKS
