"""Ray's edge: the plain classes Worker and Supervisor become actors here, and only here.

Both are named, detached and restarted for ever: Ray re-runs their constructors, which go on by themselves. Names carry
the prefix, so that tenants can share a cluster.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError, RayTaskError

from agents.errors import Misconfigured, Retryable
from orchestration.planning import Condition, WorkerView
from orchestration.settings import Settings
from orchestration.supervisor import Status, Supervisor, WorkerRow
from orchestration.work import LaneName
from orchestration.worker import Health, Worker, machine

log = logging.getLogger("governance.actors")

Handle = Any  # what Ray makes of a class has its methods with `.remote`, which no type checker knows of plain classes

NAMESPACE = "governance"
SUPERVISOR_CPUS, WORKER_CPUS = 0.1, 0.4  # shares for placement, not limits: all of it fits two cores
SILENT_S, AGAIN_S = 2.0, 5.0
HUNG_S = 15.0
"""How long a worker may be silent, or its lanes' loop stand still, before its process is killed."""
LOOP_HUNG_S = 45.0
PENDING_S = 5.0
"""How long a worker may wait for its place before it is reported, with the reason."""


def supervisor_name(prefix: str) -> str:
    """Name of the supervisor's actor."""
    return f"governance-supervisor-{prefix}"


def worker_name(prefix: str, number: int) -> str:
    """Name of a worker's actor."""
    return f"governance-worker-{prefix}-{number}"


def connect(address: str) -> None:
    """Join a Ray cluster as a client of its actors; raises Misconfigured where that fails. Does nothing if joined."""
    if ray.is_initialized():
        return
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for ever
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, RayError, OSError) as error:
        mode = os.environ.get("RAY_AUTH_MODE", "disabled")
        raise Misconfigured(
            f"cannot join the Ray cluster at {address}: {error}; is it up, does this machine belong to it, and is "
            f"RAY_AUTH_MODE={mode} what it asks for (with its token in RAY_AUTH_TOKEN_PATH)?"
        ) from error


def disconnect() -> None:
    """Leave the cluster; actors go on."""
    ray.shutdown()


def start_supervisor(
    settings: Settings,
    workers: int,
    environment: Mapping[str, str],
    *,
    make_lane: str = "orchestration.bootstrap:make_lane",
    lane_names: str = "orchestration.bootstrap:lane_names",
    name: str | None = None,
) -> Control:
    """The supervisor of this prefix: the one that runs, or a new one with so many workers. Waits for no lane."""
    name = name or supervisor_name(settings.prefix)
    fleet = RayFleet(settings, workers, make_lane, dict(environment))
    actor: Any = ray.remote(Supervisor)
    handle = actor.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=SUPERVISOR_CPUS,
        max_concurrency=4,
        runtime_env={"env_vars": dict(environment)},
    ).remote(settings, fleet, lane_names, name=name, own_process=True)
    return Control(settings, workers, handle)


def find_supervisor(settings: Settings, workers: int = 0) -> Control | None:
    """The supervisor of this prefix, or None where none runs."""
    try:
        handle = ray.get_actor(supervisor_name(settings.prefix), NAMESPACE)
    except ValueError:
        return None
    return Control(settings, workers, handle)


class Control:
    """The supervisor as a command sees it; calls that it does not answer in time raise Retryable with the reason."""

    def __init__(self, settings: Settings, workers: int, handle: Handle) -> None:
        self.settings, self.workers, self._handle = settings, workers, handle

    def status(self, within_s: float = 10.0) -> Status:
        """How everything is."""
        found: Status = self._ask(self._handle.status.remote(), within_s)
        return found

    def drain(self, within_s: float = 10.0) -> int:
        """Have lanes end; returns how many still run."""
        found: int = self._ask(self._handle.drain.remote(), within_s)
        return found

    def resume(self, within_s: float = 10.0) -> None:
        """Start lanes again after `drain`."""
        self._ask(self._handle.resume.remote(), within_s)

    def end(self) -> None:
        """End the supervisor and every worker of the prefix at once, and for good."""
        ray.kill(self._handle)
        end_workers(self.settings.prefix)

    def _ask(self, answer: Any, within_s: float) -> Any:
        try:
            return ray.get(answer, timeout=within_s)
        except GetTimeoutError as error:
            raise Retryable(
                f"the supervisor does not answer within {within_s:.0f} s; {_room(SUPERVISOR_CPUS)}"
            ) from error
        except RayActorError as error:
            raise Retryable("the supervisor's process ended; Ray starts it again") from error


def others_run(prefix: str) -> bool:
    """True while another prefix's supervisor runs on this cluster."""
    return any(name.startswith(supervisor_name("")) and name != supervisor_name(prefix) for name in _names())


def end_workers(prefix: str) -> int:
    """End every worker of a prefix at once and for good; returns how many there were."""
    start = worker_name(prefix, 0)[:-1]
    mine = [name for name in _names() if name.startswith(start) and name[len(start) :].isdigit()]
    for name in mine:
        try:
            ray.kill(ray.get_actor(name, NAMESPACE))
        except ValueError:
            continue  # it ended meanwhile
    return len(mine)


def _names() -> list[str]:
    named: list[dict[str, str]] = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in named if one["namespace"] == NAMESPACE]


@dataclass
class _Seat:
    """One worker's place in the fleet, whatever process sits there."""

    name: str
    handle: Handle | None = None
    question: Any = None
    asked: float = 0.0
    health: Health | None = None
    """The last answer of the process that runs; None where none is known to."""
    heard: float = 0.0
    """When the question was put to which `health` is the answer."""
    condition: Condition = "pending"
    since: float = 0.0
    starts: int = 0

    def become(self, condition: Condition, now: float) -> None:
        if condition != self.condition:
            self.condition, self.since = condition, now


@dataclass
class _Told:
    """A start or stop under way."""

    worker: str
    answer: Any
    done: float | None = None


class RayFleet:
    """Workers as named Ray actors. Handles are opened at the first look, so that a fleet can be sent to an actor."""

    def __init__(self, settings: Settings, workers: int, make_lane: str, environment: dict[str, str]) -> None:
        self.settings, self.make_lane, self.environment = settings, make_lane, environment
        self._seats = [_Seat(worker_name(settings.prefix, number)) for number in range(workers)]
        self._told: dict[str, _Told] = {}

    def look(self) -> Sequence[WorkerView]:
        """Hear what workers have answered, ask again, find out who is dead, kill who hangs."""
        now = time.monotonic()
        for seat in self._seats:
            self._open(seat, now)
            self._hear(seat, now)
            self._watch(seat, now)
            self._ask(seat, now)
        self._settle(now)
        return [self._view(seat, now) for seat in self._seats]

    def start(self, worker: str, lane: LaneName) -> None:
        """Tell a worker to start a lane."""
        self._told[str(lane)] = _Told(worker, self._handle(worker).start_lane.remote(lane))

    def stop(self, worker: str, lane: str) -> None:
        """Tell a worker to end a lane."""
        self._told[lane] = _Told(worker, self._handle(worker).stop_lane.remote(lane))

    def busy(self) -> Collection[str]:
        """Lanes told to start or stop, until a later answer of their worker shows the effect."""
        return self._told.keys()

    def problems(self) -> Sequence[str]:
        """Workers that wait for a place, or do not answer."""
        now, found = time.monotonic(), []
        for seat in self._seats:
            waited = now - seat.since
            if seat.condition in ("pending", "dead") and waited > PENDING_S:
                found.append(f"{seat.name} has been waiting for a process for {waited:.0f} s: {_room(WORKER_CPUS)}")
            elif seat.condition in ("silent", "unheard") and waited > PENDING_S:
                found.append(f"{seat.name} has not answered for {waited:.0f} s")
        return found

    def about(self) -> Sequence[WorkerRow]:
        """The workers for `govern status`."""
        return [
            WorkerRow(
                seat.name,
                seat.condition,
                seat.health.pid if seat.health else None,
                seat.health.memory_bytes if seat.health else 0,
                sum(report.active for report in seat.health.lanes) if seat.health else 0,
                seat.starts,
            )
            for seat in self._seats
        ]

    def _handle(self, worker: str) -> Handle:
        seat = next(seat for seat in self._seats if seat.name == worker)
        assert seat.handle is not None, f"{worker} was planned for, but never opened"
        return seat.handle

    def _view(self, seat: _Seat, now: float) -> WorkerView:
        lanes = {report.lane: report for report in seat.health.lanes} if seat.health else {}
        return WorkerView(seat.name, seat.condition, now - seat.since, lanes)

    def _open(self, seat: _Seat, now: float) -> None:
        """Find the actor, or create it: one that exists may run lanes that we have not heard of yet."""
        if seat.handle is not None:
            return
        try:
            seat.handle = ray.get_actor(seat.name, NAMESPACE)
            seat.condition, seat.since = "unheard", now
        except ValueError:
            seat.handle = self._create(seat.name)
            seat.condition, seat.since = "pending", now
        seat.question = None

    def _create(self, name: str) -> Handle:
        decorator: Any = ray.remote
        made: Handle = (
            decorator(concurrency_groups={"health": 1})(Worker)
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                num_cpus=WORKER_CPUS,
                max_concurrency=8,
                runtime_env={"env_vars": {**self.environment, "POLARS_MAX_THREADS": "1"}},
            )
            .remote(name, self.settings, self.make_lane, own_process=True)
        )
        return made

    def _ask(self, seat: _Seat, now: float) -> None:
        if seat.handle is not None and seat.question is None:
            seat.question = seat.handle.health.options(concurrency_group="health").remote()
            seat.asked = now

    def _hear(self, seat: _Seat, now: float) -> None:
        """Take the answer, if it is there; who answers lives, and a new incarnation says that the old one is dead."""
        if seat.question is None or not ray.wait([seat.question], timeout=0)[0]:
            return
        question, seat.question = seat.question, None
        try:
            health: Health = ray.get(question)
        except ActorDiedError:  # for good: somebody ended it; a new one takes the seat
            log.warning("worker ended for good", extra={"worker": seat.name})
            seat.handle, seat.health = None, None
            seat.become("dead", now)
        except RayTaskError:
            log.exception("worker cannot say how it is", extra={"worker": seat.name})
        except RayActorError:  # unreachable, which is not yet dead
            if seat.condition == "alive":
                seat.become("silent", now)
        else:
            if seat.health is None or seat.health.incarnation != health.incarnation:
                seat.starts += 1
                seat.condition, seat.since = "alive", now
                log.info("worker answers", extra={"worker": seat.name})
            seat.become("alive", now)
            seat.health, seat.heard = health, seat.asked

    def _watch(self, seat: _Seat, now: float) -> None:
        """Notice at once that a process of this machine has ended, and do not wait for ever for one that hangs."""
        if seat.health is not None and seat.health.machine == machine() and not _lives(seat.health):
            log.warning("worker died", extra={"worker": seat.name})
            seat.health = None
            seat.become("dead", now)
        waited = now - seat.asked
        if seat.condition == "alive" and seat.question is not None and waited > SILENT_S:
            seat.become("silent", now)
        if seat.condition in ("silent", "unheard") and now - seat.since > HUNG_S:
            self._kill(seat, "it does not answer", now)
        elif seat.health is not None and seat.health.loop_silent_s > LOOP_HUNG_S:
            self._kill(seat, "its lanes' loop stands still", now)
        elif seat.condition in ("dead", "pending") and seat.question is not None and waited > AGAIN_S:
            seat.question = None  # a question put to a process that died may never be answered

    def _kill(self, seat: _Seat, why: str, now: float) -> None:
        """End the process; its lanes count as its own until its death is seen, or the actor is gone for good."""
        log.error("worker is killed: %s", why, extra={"worker": seat.name})
        if seat.health is not None and seat.health.machine == machine():
            if _lives(seat.health):
                os.kill(seat.health.pid, signal.SIGKILL)  # Ray's own way asks the process, which may be stopped
            seat.since = now
        elif seat.handle is not None:
            ray.kill(seat.handle, no_restart=True)
            seat.handle, seat.health = None, None
            seat.become("dead", now)

    def _settle(self, now: float) -> None:
        """Forget what was told once its effect shows: in an answer to a question put later, or in the worker's death."""
        seats = {seat.name: seat for seat in self._seats}
        for lane, told in list(self._told.items()):
            if told.done is None and ray.wait([told.answer], timeout=0)[0]:
                told.done = now
                try:
                    ray.get(told.answer)
                except RayError as error:
                    log.warning("told in vain: %s", type(error).__name__, extra={"lane": lane, "worker": told.worker})
            seat = seats[told.worker]
            if (told.done is not None and seat.heard > told.done) or seat.condition == "dead":
                del self._told[lane]


def _lives(health: Health) -> bool:
    try:
        process = psutil.Process(health.pid)
        return abs(process.create_time() - health.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _room(needed: float) -> str:
    """Whether the cluster has room for so many CPUs, as a sentence."""
    try:
        everything: Any = ray
        total = everything.cluster_resources().get("CPU", 0.0)
        free = everything.available_resources().get("CPU", 0.0)
    except RayError as error:
        return f"Ray does not say what is free ({type(error).__name__})"
    if free < needed:
        return (
            f"it needs {needed:g} CPU, and of the cluster's {total:g} only {free:g} are free; add a node or free some"
        )
    return f"it needs {needed:g} CPU, and {free:g} of {total:g} are free: it starts, or fails to (see Ray's logs)"
