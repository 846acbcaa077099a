"""Processes that run lanes and may be killed: forked from a warm server, so that a life costs little to start."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess

from orchestration.settings import Settings
from orchestration.work import LaneName

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["orchestration.bootstrap"])


def start(
    settings: Settings, names: Sequence[LaneName], kill: str = "", faults: Mapping[str, str] | None = None
) -> BaseProcess:
    """A process that runs these lanes until it dies; `kill` is what GOVERN_KILL says."""
    values = settings.model_dump(mode="json", exclude_none=True)
    life = _context.Process(target=_live, args=(values, list(names), kill, dict(faults or {})), daemon=True)
    life.start()
    return life


def _live(values: dict[str, object], names: list[LaneName], kill: str, faults: dict[str, str]) -> None:
    os.environ |= {"GOVERN_KILL": kill, "POLARS_MAX_THREADS": "1"} | faults
    from orchestration.bootstrap import make_lane

    settings = Settings(**values)  # type: ignore[arg-type]

    async def run() -> None:
        await asyncio.gather(*(make_lane(settings, name).run() for name in names))

    asyncio.run(run())
