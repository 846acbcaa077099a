"""The supervisor's turns over real workers in this process: spread, adopted, drained, retried."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from agents.configuration import Configuration
from orchestration.planning import WorkerView
from orchestration.settings import Settings
from orchestration.supervisor import Status, Supervisor, WorkerRow, fingerprint
from orchestration.ticks import InForce
from orchestration.work import LaneName
from orchestration.worker import Worker
from tests.unit.supervision.lanes import running

MAKE, NAMES = "tests.unit.supervision.lanes:make_lane", "tests.unit.supervision.lanes:lane_names"
KNOWN = InForce(known=True)


class Here:
    """A fleet of workers in this process; a killed one loses its lanes as a process would."""

    def __init__(self, settings: Settings, count: int) -> None:
        self.settings = settings
        self.workers = {f"w{number}": Worker(f"w{number}", settings, MAKE) for number in range(count)}
        self.dead: set[str] = set()

    def kill(self, name: str) -> None:
        self.dead.add(name)
        self.workers.pop(name).close()

    def look(self) -> Sequence[WorkerView]:
        alive = [
            WorkerView(name, "alive", 60.0, {one.lane: one for one in worker.health().lanes})
            for name, worker in self.workers.items()
        ]
        return alive + [WorkerView(name, "dead", 1.0) for name in self.dead]

    def start(self, worker: str, lane: LaneName) -> None:
        self.workers[worker].start_lane(lane)

    def stop(self, worker: str, lane: str) -> None:
        self.workers[worker].stop_lane(lane)

    def busy(self) -> Collection[str]:
        return ()

    def problems(self) -> Sequence[str]:
        return [f"{name} is dead" for name in self.dead]

    def about(self) -> Sequence[WorkerRow]:
        return [WorkerRow(name, "alive") for name in self.workers]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Here]:
    found = Here(Settings(data_dir=tmp_path, bootstrap_servers="nowhere:1"), 2)
    yield found
    for worker in found.workers.values():
        worker.close()


def supervise(fleet: Here) -> Supervisor:
    return Supervisor(fleet.settings, fleet, NAMES, turning=False)


def turn_until(
    supervisor: Supervisor, holds: Callable[[Status], bool], in_force: InForce = KNOWN, now: float = 0.0
) -> Status:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        supervisor.turn(in_force, now)
        if holds(supervisor.status()):
            return supervisor.status()
        time.sleep(0.02)
    raise AssertionError(supervisor.status())


def all_run(status: Status) -> bool:
    return len(status.lanes) == 4 and all(row.report.state == "running" for row in status.lanes)


def test_every_lane_runs_once_and_evenly(fleet: Here) -> None:
    status = turn_until(supervise(fleet), all_run)
    assert sorted(row.owner or "" for row in status.lanes) == ["w0", "w0", "w1", "w1"]
    assert len(running) == 4


def test_before_the_configuration_is_known_no_lane_is_touched(fleet: Here) -> None:
    turn_until(supervise(fleet), all_run)
    new = supervise(fleet)
    new.turn(InForce(), 0.0)
    assert len(running) == 4
    assert len(new.status().lanes) == 4  # seen, though not yet planned for


def test_a_new_supervisor_adopts_what_runs(fleet: Here) -> None:
    before = turn_until(supervise(fleet), all_run)
    after = turn_until(supervise(fleet), all_run)
    assert [row.report.started_at for row in after.lanes] == [row.report.started_at for row in before.lanes]
    assert after.incarnation != before.incarnation


def test_lanes_of_a_dead_worker_go_on_elsewhere(fleet: Here) -> None:
    supervisor = supervise(fleet)
    turn_until(supervisor, all_run)
    fleet.kill("w1")
    status = turn_until(supervisor, all_run)
    assert {row.owner for row in status.lanes} == {"w0"}
    assert status.problems == ("w1 is dead",)


def test_a_configuration_adds_lanes_and_takes_them_away(fleet: Here) -> None:
    supervisor = supervise(fleet)
    source = {"topic": "theirs", "model": "m", "source": "/x", "fields": {"id": "$.id"}}
    configuration = Configuration.model_validate({"models": {"m": {}}, "sources": [source]})
    turn_until(supervisor, all_run)
    more = InForce(True, configuration.digest(), configuration, 3)
    status = turn_until(supervisor, lambda now: len(now.lanes) == 5 and len(running) == 5, more)
    assert status.lanes[-1].report.lane == "idle/theirs/0"
    assert (status.digest, status.config_offset) == (configuration.digest(), 3)
    turn_until(supervisor, lambda now: all_run(now) and len(running) == 4)


def test_draining_ends_all_and_says_how_many_are_left(fleet: Here) -> None:
    supervisor = supervise(fleet)
    turn_until(supervisor, all_run)
    assert supervisor.drain() == 4
    supervisor.turn(KNOWN, 0.0)
    supervisor.turn(KNOWN, 0.0)
    assert supervisor.drain() == 0
    assert not running
    assert supervisor.status().draining
    supervisor.resume()
    turn_until(supervisor, all_run)


def test_a_failed_lane_is_shown_and_tried_again_later_or_under_a_new_configuration(
    fleet: Here,
) -> None:
    supervisor = Supervisor(fleet.settings, fleet, f"{__name__}:one_failing", turning=False)
    shown = turn_until(supervisor, lambda status: status.lanes[0].report.state == "failed", now=100.0)
    row = shown.lanes[0]
    assert (row.owner, row.report.detail, row.retry_in_s) == (None, "the offsets are gone", 30.0)

    supervisor.turn(KNOWN, 129.0)
    assert supervisor.status().lanes[0].report.started_at == row.report.started_at
    tried = turn_until(supervisor, lambda now: now.lanes[0].report.started_at > row.report.started_at, now=130.0)
    supervisor.turn(KNOWN, 130.0)
    assert supervisor.status().lanes[0].retry_in_s == 60.0

    new = InForce(True, "sha256:" + "0" * 64)
    turn_until(
        supervisor, lambda now: now.lanes[0].report.started_at > tried.lanes[0].report.started_at, new, now=131.0
    )


def one_failing(settings: Settings, configuration: Configuration | None) -> list[LaneName]:
    return [LaneName("gim", "failing", "gim.in", 0)]


def test_a_fault_of_the_program_ends_the_process_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Here):
        def look(self) -> Sequence[WorkerView]:
            raise RuntimeError("nobody thought of this")

    ended: list[int] = []
    settings = Settings(data_dir=tmp_path, bootstrap_servers="127.0.0.1:1")
    supervisor = Supervisor(settings, Broken(settings, 0), NAMES, turning=False, end=ended.append)
    with pytest.raises(RuntimeError):
        supervisor._run()
    assert ended == [1]
    assert "the supervisor's loop ended" in caplog.text


def test_the_fingerprint_shows_settings_and_no_secret() -> None:
    one = Settings(sasl_password="hunter2", partitions=3)  # type: ignore[arg-type]
    assert "hunter2" not in fingerprint(one)
    assert fingerprint(one) != fingerprint(one.model_copy(update={"partitions": 4}))
