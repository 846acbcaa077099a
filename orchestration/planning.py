"""Which lane belongs on which worker, and what to do next: pure functions for the supervisor.

The rule that matters: a lane is started only where no other worker may still run it, that is, after its old owner
answered that it stopped, or is dead. (If all of this failed, Kafka's fencing would still let only one of two write.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestration.work import LaneName
from orchestration.worker import LaneReport

Condition = Literal["alive", "silent", "unheard", "pending", "dead"]
"""alive: answers. silent: answered before and may still run its lanes. unheard: it exists, but what it runs is not known
yet. pending: never began to run. dead: its process has ended, and with it its lanes."""

FIRST_PATIENCE_S = 20.0
"""At the very start, how long lanes wait for all workers, so that they need not be moved at once."""
SETTLED_S = 10.0
"""How long every worker must have been up before running lanes are moved for the sake of balance."""
RETRY_S: Mapping[str, tuple[float, float]] = {"failed": (30.0, 1800.0), "fenced": (1.0, 60.0)}
"""First and longest wait before an ended lane is started again, doubling in between: an operator may have mended what
made it fail; a fenced lane without another owner lost its transaction to a time-out."""
HEALED_S = 120.0
"""A lane that has run for so long starts its waits from the beginning."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the supervisor sees it now."""

    name: str
    condition: Condition
    since_s: float
    """How long it has been in this condition."""
    lanes: Mapping[str, LaneReport] = field(default_factory=dict)
    """What it last said; empty where it is dead or never spoke."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: (lane, worker) to start and to stop."""

    starts: tuple[tuple[LaneName, str], ...] = ()
    stops: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Why and until when an ended lane is not started again."""

    ended: float
    """When the start that ended was made; tells one failure from the next."""
    seconds: float
    until: float


def plan(
    wanted: Sequence[LaneName],
    workers: Sequence[WorkerView],
    *,
    busy: Collection[str] = (),
    waits: Mapping[str, Wait] | None = None,
    now: float = 0.0,
) -> Plan:
    """The next starts and stops. `busy` lanes have a start or stop under way and are left alone."""
    alive = [worker for worker in workers if worker.condition == "alive"]
    owners = _owners(workers)
    if not alive or any(worker.condition == "unheard" for worker in workers):
        return Plan()  # somebody may run anything: wait until it says so, or is dead
    if not owners and any(worker.condition == "pending" and worker.since_s < FIRST_PATIENCE_S for worker in workers):
        return Plan()
    targets = assign([str(name) for name in wanted], [worker.name for worker in alive], owners)
    settled = all(worker.condition == "alive" and worker.since_s >= SETTLED_S for worker in workers)
    starts = [
        (name, targets[str(name)])
        for name in wanted
        if str(name) not in owners and str(name) not in busy and now >= _until(waits, str(name))
    ]
    stops = _stops(targets, alive, owners, settled=settled and not starts and not busy)
    return Plan(tuple(starts), tuple((lane, worker) for lane, worker in stops if lane not in busy))


def assign(lanes: Sequence[str], workers: Sequence[str], owners: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A worker for each lane: of each agent's lanes no two workers have numbers that differ by more than one.

    Lanes stay where they run unless that would be uneven; the answer depends on the arguments alone.
    """
    found: dict[str, str] = {}
    load: Counter[str] = Counter()
    for agent in dict.fromkeys(lane.partition("/")[0] for lane in lanes):
        mine = [lane for lane in lanes if lane.partition("/")[0] == agent]
        home = {lane: next((name for name in owners.get(lane, ()) if name in workers), "") for lane in mine}
        held = Counter(home.values())
        order = sorted(workers, key=lambda name: (-held[name], load[name], name))
        share, extra = divmod(len(mine), len(workers))
        room = {name: share + (rank < extra) for rank, name in enumerate(order)}
        for lane in mine:
            if home[lane] and room[home[lane]]:
                found[lane] = home[lane]
                room[home[lane]] -= 1
        free = [name for name in order for _ in range(room[name])]
        rest = [lane for lane in mine if lane not in found]
        found.update(zip(rest, free, strict=True))
        load.update(found[lane] for lane in mine)
    return found


def wait_after(previous: Wait | None, report: LaneReport, now: float) -> Wait:
    """When to start a lane that ended: longer after each end, until a start has run well for a while."""
    if previous is not None and previous.ended == report.started_at:
        return previous
    first, longest = RETRY_S.get(report.state, RETRY_S["failed"])
    seconds = min(longest, previous.seconds * 2) if previous is not None and previous.seconds else first
    return Wait(report.started_at, seconds, now + seconds)


def _owners(workers: Sequence[WorkerView]) -> dict[str, list[str]]:
    """Who runs, or may still run, each lane."""
    owners: dict[str, list[str]] = {}
    for worker in sorted(workers, key=lambda view: view.name):
        for lane, report in worker.lanes.items():
            if report.active:
                owners.setdefault(lane, []).append(worker.name)
    return owners


def _stops(
    targets: Mapping[str, str], alive: Sequence[WorkerView], owners: Mapping[str, Sequence[str]], *, settled: bool
) -> list[tuple[str, str]]:
    """Lanes to end: not wanted, run twice, or (one at a time, when all is quiet) to be moved."""
    stops: list[tuple[str, str]] = []
    moving = False
    for worker in alive:
        for lane, report in worker.lanes.items():
            others = [name for name in owners.get(lane, ()) if name != worker.name]
            target = targets.get(lane)
            if target is None or (others and (not report.active or worker.name != _keeper(target, owners[lane]))):
                stops.append((lane, worker.name))  # for one that has ended this only clears it away
            elif settled and not moving and report.state == "running" and target != worker.name:
                stops.append((lane, worker.name))
                moving = True
    return stops


def _keeper(target: str, owners: Sequence[str]) -> str:
    return target if target in owners else owners[0]


def _until(waits: Mapping[str, Wait] | None, lane: str) -> float:
    wait = (waits or {}).get(lane)
    return wait.until if wait is not None else 0.0
