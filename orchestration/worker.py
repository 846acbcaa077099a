"""A worker runs lanes, for the supervisor, and always answers how they are.

The lanes share one event loop in a thread of its own, so that `health` answers while they are busy; whatever the loop
does, the supervisor can tell a lane that works from one that hangs. A worker starts and stops lanes when told to and
never on its own: a lane that ended stays ended, with its reason, until the supervisor decides.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import psutil

from agents.errors import GovernanceError, Retryable
from orchestration import logs
from orchestration.lane_life import LaneLife
from orchestration.settings import Settings
from orchestration.work import LaneName, LaneStatus

log = logging.getLogger("governance.worker")

STUCK_S = 30.0
"""A running lane whose loop has not turned for so long is stuck: longer than any time-out of its own."""
GRACE_S = 25.0
"""How long a lane may take to end by itself before it is cancelled: a batch and its commit."""
CANCEL_S = 10.0
RATE_S = 5.0
COLLECT_IDLE_S, COLLECT_BUSY_S = 10.0, 60.0

ACTIVE = frozenset({"starting", "waiting", "running", "retrying", "stopping", "stuck"})
"""States in which a lane may still write; in the others (failed, fenced, stopped) it has ended."""

MakeLane = Callable[[Settings, LaneName], LaneLife]


@dataclass(frozen=True, slots=True)
class LaneReport:
    """How one lane is. `state` adds stopping and stuck to those of LaneStatus."""

    lane: str
    state: str
    detail: str = ""
    next_offset: int = 0
    lag: int = 0
    """Committed records not yet judged."""
    rate: float = 0.0
    """Records a second over the last seconds."""
    records: int = 0
    transactions: int = 0
    restarts: int = 0
    """How often it began again by itself after a passing fault."""
    configuration: str | None = None
    committed_at: float = 0.0
    """Seconds since 1970, UTC, of the last commit; 0 before the first."""
    started_at: float = 0.0
    """Seconds since 1970, UTC, when this worker started it."""

    @property
    def active(self) -> bool:
        """True while it may still write."""
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True)
class Health:
    """How a worker is, and each of its lanes."""

    worker: str
    incarnation: str
    """Another one after each start of the process: hearing from a new one proves that the old is dead."""
    machine: str
    """Equal for processes that see each other's process ids."""
    pid: int
    created: float
    """When the process began, as the machine counts it; with the pid it names the process."""
    loop_silent_s: float
    """How long the lanes' event loop has not turned."""
    memory_bytes: int
    lanes: tuple[LaneReport, ...]


class Worker:
    """Runs lanes; every method may be called from any thread, at any time, and repeated without harm."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        factory: str = "orchestration.bootstrap:make_lane",
        *,
        own_process: bool = False,
    ) -> None:
        """Ready for lanes when it returns. `factory` is `module:function`, called with settings and a LaneName.

        `own_process`: nothing else runs in this process, so its logs and its garbage collector are the worker's to set.
        """
        if own_process:
            logs.configure(name, settings.data_dir / "logs")
        self.name, self.settings = name, settings
        self.incarnation = uuid.uuid4().hex
        self._make = find_factory(factory)
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._beat = time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lanes", daemon=True)
        self._thread.start()
        self._tending = asyncio.run_coroutine_threadsafe(self._tend(collect=own_process), self._loop)
        if own_process:
            gc.collect()  # what is imported stays: the collector need not look at it again, nor in the middle of a batch
            gc.freeze()
            gc.disable()
        log.info("worker started", extra={"worker": name})

    def start_lane(self, name: LaneName) -> Literal["started", "running"]:
        """Start a lane unless it runs here; a lane that cannot even be made is reported as failed."""
        key = str(name)
        with self._lock:
            known = self._runs.get(key)
            if known is not None and not known.ended.is_set():
                return "running"
            run = self._runs[key] = _Run(LaneStatus(key))
        try:
            run.lane = self._make(self.settings, name)
        except GovernanceError as error:
            run.status.state, run.status.detail = "failed", str(error)
            run.ended.set()
            log.exception("lane cannot be made", extra={"lane": key})
            return "started"
        run.status = run.lane.status
        self._loop.call_soon_threadsafe(self._launch, run)
        log.info("lane started", extra={"lane": key, "worker": self.name})
        return "started"

    def stop_lane(self, name: str) -> Literal["stopped"]:
        """End a lane after the batch in hand; answers when it has ended, and forgets it.

        Raises Retryable where it does not end even when cancelled; it then must count as running.
        """
        run = self._runs.get(name)
        if run is not None:
            self._end(run, name)
            with self._lock:
                if self._runs.get(name) is run:
                    del self._runs[name]
            log.info("lane stopped", extra={"lane": name, "worker": self.name})
        return "stopped"

    def lanes(self) -> list[dict[str, Any]]:
        """Every lane that runs or has ended here, as `LaneStatus.plain()`."""
        return [run.status.plain() for run in list(self._runs.values())]

    def health(self) -> Health:
        """How this worker and its lanes are; never waits for a lane."""
        now = time.monotonic()
        return Health(
            self.name,
            self.incarnation,
            machine(),
            os.getpid(),
            _PROCESS.create_time(),
            now - self._beat,
            _PROCESS.memory_info().rss,
            tuple(_report(run, now) for run in list(self._runs.values())),
        )

    def close(self) -> None:
        """End every lane, then the event loop."""
        for name in list(self._runs):
            self.stop_lane(name)
        self._tending.cancel()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(
            CANCEL_S
        )  # the cancelling has come through
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CANCEL_S)
        self._loop.close()

    def _end(self, run: _Run, name: str) -> None:
        run.stopping = True
        if run.lane is not None:
            run.lane.stop()
        deadline = time.monotonic() + GRACE_S
        while not run.ended.wait(0.05):
            # A lane that retries or waits holds no batch: nothing is lost by not waiting for what it waits for.
            if run.status.state in ("retrying", "waiting") or time.monotonic() > deadline:
                break
        else:
            return
        if run.task is not None:
            self._loop.call_soon_threadsafe(run.task.cancel)
        if not run.ended.wait(CANCEL_S):
            raise Retryable(f"lane {name} does not end; it counts as running on {self.name}")

    # -- in the lanes' thread ----------------------------------------------------------------------------------------

    def _launch(self, run: _Run) -> None:
        run.started_at = time.time()
        if run.stopping and run.lane is not None:
            run.lane.stop()
        run.task = self._loop.create_task(self._live(run))

    async def _live(self, run: _Run) -> None:
        assert run.lane is not None
        try:
            await run.lane.run()
        except GovernanceError as error:
            if run.status.state not in ("failed", "fenced"):
                run.status.state, run.status.detail = "failed", str(error)
        except asyncio.CancelledError:
            run.status.state = "stopped"
        finally:
            run.ended.set()

    async def _tend(self, *, collect: bool) -> None:
        """The loop's heartbeat, the lanes' rates, and the garbage that nobody else collects."""
        collected = sampled = time.monotonic()
        while True:
            self._beat = now = time.monotonic()
            if now - sampled >= 1:
                busy = sum(run.sample(now) for run in list(self._runs.values()))
                sampled = now
                if collect and now - collected > (COLLECT_BUSY_S if busy else COLLECT_IDLE_S):
                    gc.collect()
                    collected = now
            await asyncio.sleep(0.1)


@dataclass(eq=False)
class _Run:
    """One start of one lane."""

    status: LaneStatus
    lane: LaneLife | None = None
    task: asyncio.Task[None] | None = None
    started_at: float = field(default_factory=time.time)
    stopping: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=int(RATE_S) + 1))

    def sample(self, now: float) -> int:
        """Note how many records were done by now; returns how many since the last time."""
        before = self.samples[-1][1] if self.samples else self.status.records
        self.samples.append((now, self.status.records))
        return self.status.records - before

    def rate(self) -> float:
        samples = list(self.samples)
        if len(samples) < 2:
            return 0.0
        (began, first), (ended, last) = samples[0], samples[-1]
        return (last - first) / (ended - began)


def _report(run: _Run, now: float) -> LaneReport:
    status, state, detail = run.status, run.status.state, run.status.detail
    ended = run.ended.is_set()
    silent = now - status.turned_at
    if not ended and run.stopping:
        state = "stopping"
    elif not ended and state == "running" and status.turned_at and silent > STUCK_S:
        state, detail = "stuck", f"its loop has not turned for {silent:.0f} s"
    elif ended and state in ACTIVE:
        state = "failed"
    return LaneReport(
        status.lane,
        state,
        detail,
        status.next_offset,
        status.lag,
        0.0 if ended else run.rate(),
        status.records,
        status.transactions,
        status.restarts,
        status.configuration,
        status.committed_at,
        run.started_at,
    )


def find_factory(path: str) -> Any:
    """The function at `module:name`."""
    module, _, name = path.partition(":")
    return cast(Any, getattr(importlib.import_module(module), name))


def machine() -> str:
    """A name that two processes share exactly when they see each other's process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


_PROCESS = psutil.Process()
