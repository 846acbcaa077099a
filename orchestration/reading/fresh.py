"""The read model for commands: as fresh as the topics are now, whoever keeps it.

Promise: what a command shows holds everything that was committed when it started. Where nobody projects, it catches up
itself; where a console does, it waits until that one is as far.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agents.errors import Retryable
from orchestration.reading.database import Database
from orchestration.reading.projection import Projection
from orchestration.settings import Settings

WAIT_S = 60.0
"""How long a projection of another process may bring nothing before the command gives up."""
LOOK_S = 0.05


async def fresh(settings: Settings, report: Callable[[str], None] = lambda line: None) -> Database:
    """The read model with all that the topics hold now.

    Raises Retryable with the mend where Kafka or the database does not answer, or another process holds it and hangs.
    """
    projection = Projection(settings)
    ends = await projection.ends()
    moved, left = time.monotonic(), -1
    while True:
        if await projection.catch_up(lambda behind: report(f"reading {behind:,} records") if behind else None):
            return projection.database
        missing = await asyncio.to_thread(projection.missing, ends)
        if not missing:
            return projection.database
        if missing != left:
            moved, left = time.monotonic(), missing
        elif time.monotonic() - moved > WAIT_S:
            raise Retryable(
                f"another process keeps the read model, and {missing:,} records have waited for {WAIT_S:.0f} s; is a console "
                "of this deployment hanging? `govern status` and its log say more"
            )
        report(f"another process is reading {missing:,} records")
        await asyncio.sleep(LOOK_S)
