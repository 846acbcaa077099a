"""Lanes without Kafka, for tests of those who run them: what a lane does is told by its agent's name."""

from __future__ import annotations

import asyncio
import time

from agents.configuration import Configuration
from agents.errors import Fatal, Fenced, Misconfigured
from orchestration.settings import Settings
from orchestration.work import LaneName, LaneStatus

running: set[tuple[str, int]] = set()
"""(lane, id of its object) of what runs now in this process."""


class Idle:
    """Runs until stopped; `records` grow with time."""

    def __init__(self, name: LaneName) -> None:
        self.name, self.status, self._stopping = name, LaneStatus(str(name)), False

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        running.add((str(self.name), id(self)))
        try:
            self.status.state = "running"
            while not self._stopping:
                self.status.turned_at = time.monotonic()
                self.status.records += 10
                await asyncio.sleep(0.01)
            self.status.state = "stopped"
        finally:
            running.discard((str(self.name), id(self)))


class Failing(Idle):
    async def run(self) -> None:
        self.status.state, self.status.detail = "failed", "the offsets are gone"
        raise Fatal("the offsets are gone")


class Overtaken(Idle):
    async def run(self) -> None:
        self.status.state = "fenced"
        raise Fenced("another process owns this lane now")


class Surprising(Idle):
    async def run(self) -> None:
        self.status.state = "running"
        raise Fatal("a fault that nobody thought of")


class Deaf(Idle):
    """Retries for ever and does not look at `stop`, as a lane whose broker is away."""

    async def run(self) -> None:
        self.status.state = "retrying"
        await asyncio.sleep(3600)


class Hanging(Idle):
    """Says that it runs, and does not turn."""

    async def run(self) -> None:
        self.status.state, self.status.turned_at = "running", time.monotonic() - 3600
        await asyncio.sleep(3600)


class Blocking(Idle):
    """Holds the event loop, as a long computation does."""

    async def run(self) -> None:
        self.status.state = "running"
        time.sleep(1.5)
        await super().run()


KINDS = {
    "idle": Idle,
    "failing": Failing,
    "overtaken": Overtaken,
    "surprising": Surprising,
    "deaf": Deaf,
    "hanging": Hanging,
    "blocking": Blocking,
}


def make_lane(settings: Settings, name: LaneName) -> Idle:
    if name.agent == "keyless":
        raise Misconfigured("there is no key; make one: govern audit keygen")
    return KINDS[name.agent](name)


def lane(agent: str = "idle", partition: int = 0) -> LaneName:
    return LaneName("gim", agent, "gim.in", partition)


def lane_names(settings: Settings, configuration: Configuration | None) -> list[LaneName]:
    """Four idle lanes, and one for each topic that a configuration maps."""
    more = configuration.sources if configuration is not None else ()
    return [lane(partition=number) for number in range(4)] + [LaneName("gim", "idle", one.topic, 0) for one in more]
