"""The supervisor keeps every lane running on some worker, and no lane on two.

Four times a second it looks at the workers, plans (planning.py) and tells them. It remembers nothing that it cannot ask
for: when it restarts it adopts the workers and the lanes they run, and restarts none. How workers are reached is the
fleet's business (actors.py: Ray), so that this class can be tested without.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.configuration import Configuration
from orchestration import logs
from orchestration.enacting import Enacting
from orchestration.planning import HEALED_S, Wait, WorkerView, plan, wait_after
from orchestration.settings import Settings
from orchestration.ticks import InForce, Pulse
from orchestration.work import LaneName
from orchestration.worker import LaneReport, find_factory

log = logging.getLogger("governance.supervisor")

TURN_S = 0.25

LaneNames = Callable[[Settings, Configuration | None], list[LaneName]]


class Fleet(Protocol):
    """The workers, as the supervisor reaches them. No call waits for a worker, except `close`."""

    def look(self) -> Sequence[WorkerView]:
        """Every worker as it is now; workers that are missing are created, those that hang are killed."""

    def start(self, worker: str, lane: LaneName) -> None:
        """Tell a worker to start a lane."""

    def stop(self, worker: str, lane: str) -> None:
        """Tell a worker to end a lane after the batch in hand."""

    def busy(self) -> Collection[str]:
        """Lanes that were told something whose effect is not yet seen in what the workers say."""

    def problems(self) -> Sequence[str]:
        """What keeps workers from running, in sentences for an operator."""

    def about(self) -> Sequence[WorkerRow]:
        """The workers for `govern status`."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker in `govern status`."""

    name: str
    condition: str
    pid: int | None = None
    memory_bytes: int = 0
    lanes: int = 0
    starts: int = 0
    """How many processes this supervisor has seen it have."""


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane in `govern status`."""

    report: LaneReport
    owner: str | None
    """The worker that runs it; None where nobody does."""
    retry_in_s: float | None = None
    """When it is started again after it ended."""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `govern status` shows of the running system; a copy, as of the supervisor's last turn."""

    prefix: str
    incarnation: str
    pid: int
    started_at: float
    draining: bool
    settings: str
    """Fingerprint of the settings it runs with."""
    ticks: int
    digest: str | None
    config_offset: int | None
    workers: tuple[WorkerRow, ...] = ()
    lanes: tuple[LaneRow, ...] = ()
    problems: tuple[str, ...] = ()


class Supervisor:
    """Looks after lanes from its construction on: a restart re-runs the constructor, and so everything goes on."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        lane_names: str = "orchestration.bootstrap:lane_names",
        *,
        name: str = "supervisor",
        own_process: bool = False,
        turning: bool = True,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`own_process`: its logs are the supervisor's to set. `turning=False` leaves the calls of `turn` to a test.

        `end` ends the process after a fault of the program.
        """
        if own_process:
            logs.configure(name, settings.data_dir / "logs")
        self.settings, self.fleet = settings, fleet
        self.incarnation, self.started_at = uuid.uuid4().hex, time.time()
        self._lane_names: LaneNames = find_factory(lane_names)
        self._pulse = Pulse(settings)
        self._enacting = Enacting(settings)
        self._in_force = InForce()
        self._waits: dict[str, Wait] = {}
        self._draining = False
        self._closed = threading.Event()
        self._end = end
        self._status = self._describe([], [])
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)
        if turning:
            self._pulse.start()
            self._enacting.start()
            self._thread.start()
        log.info("supervisor started")

    def status(self) -> Status:
        """How everything is, as of the last turn."""
        return self._status

    def drain(self) -> int:
        """Have every lane end after its batch and start none; returns how many still run. Call it until it says 0."""
        self._draining = True
        return len({row.report.lane for row in self._status.lanes if row.report.active} | set(self.fleet.busy()))

    def resume(self) -> None:
        """Start lanes again after `drain`."""
        self._draining = False

    def close(self) -> None:
        """End the supervisor's threads; lanes go on."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(10)
            self._pulse.close()
            self._enacting.close()

    def _run(self) -> None:
        try:
            while not self._closed.wait(TURN_S):
                self.turn(self._pulse.in_force, time.monotonic())
        finally:
            if not self._closed.is_set():  # better a new supervisor than one that answers and does nothing
                log.critical("the supervisor's loop ended; the process ends, and Ray starts it again", exc_info=True)
                logging.shutdown()
                self._end(1)

    def turn(self, in_force: InForce, now: float) -> None:
        """One look at everything and what follows from it; `now` is a monotonic clock in seconds."""
        workers = self.fleet.look()
        if in_force.digest != self._in_force.digest:
            # What failed under the old configuration may run under the new one: try it now, and from the first wait.
            self._waits = {lane: Wait(wait.ended, 0.0, now) for lane, wait in self._waits.items()}
        self._in_force = in_force
        self._note_ends(workers, now)
        wanted = self._lane_names(self.settings, in_force.configuration) if in_force.known else []
        if in_force.known or self._draining:
            lanes = [] if self._draining else wanted
            todo = plan(lanes, workers, busy=self.fleet.busy(), waits=self._waits, now=now)
            for name, worker in todo.starts:
                log.info("start", extra={"lane": str(name), "worker": worker})
                self.fleet.start(worker, name)
            for lane, worker in todo.stops:
                log.info("stop", extra={"lane": lane, "worker": worker})
                self.fleet.stop(worker, lane)
        self._status = self._describe(workers, wanted, now)

    def _note_ends(self, workers: Sequence[WorkerView], now: float) -> None:
        """Remember which lanes ended by themselves and when to try again; forget it for those that run well."""
        for worker in workers:
            for lane, report in worker.lanes.items():
                if report.state in ("failed", "fenced"):
                    wait = wait_after(self._waits.get(lane), report, now)
                    if wait is not self._waits.get(lane):
                        log.error("lane ended (%s): %s", report.state, report.detail, extra={"lane": lane})
                    self._waits[lane] = wait
                elif report.state == "running" and time.time() - report.started_at > HEALED_S:
                    self._waits.pop(lane, None)

    def _describe(self, workers: Sequence[WorkerView], wanted: Sequence[LaneName], now: float = 0.0) -> Status:
        pulse = self._pulse
        problems = [
            *self.fleet.problems(),
            *(one for one in (pulse.problem, self._in_force.problem, self._enacting.problem) if one),
        ]
        return Status(
            self.settings.prefix,
            self.incarnation,
            os.getpid(),
            self.started_at,
            self._draining,
            fingerprint(self.settings),
            pulse.ticks,
            self._in_force.digest,
            self._in_force.offset,
            tuple(self.fleet.about()),
            tuple(self._rows(workers, wanted, now)),
            tuple(problems),
        )

    def _rows(self, workers: Sequence[WorkerView], wanted: Sequence[LaneName], now: float) -> list[LaneRow]:
        """One row a lane: the report of who runs it, else of its last end; lanes nobody has heard of are waiting."""
        best: dict[str, LaneRow] = {}
        for worker in workers:
            for lane, report in worker.lanes.items():
                known = best.get(lane)
                rank = (report.active, report.started_at)
                if known is None or rank > (known.report.active, known.report.started_at):
                    best[lane] = LaneRow(report, worker.name if report.active else None, self._retry(lane, report, now))
        for name in wanted:
            best.setdefault(str(name), LaneRow(LaneReport(str(name), "unassigned", "waits for a worker"), None))
        order = {str(name): number for number, name in enumerate(wanted)}
        return [best[lane] for lane in sorted(best, key=lambda lane: (order.get(lane, len(order)), lane))]

    def _retry(self, lane: str, report: LaneReport, now: float) -> float | None:
        wait = self._waits.get(lane)
        return None if report.active or wait is None else max(0.0, wait.until - now)


def fingerprint(settings: Settings) -> str:
    """Changes when a setting does; secrets are not in it."""
    return settings.model_dump_json(exclude={"sasl_password"})
