"""A worker runs lanes, answers while they are busy, and ends each when told to, whatever the lane does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration import worker as module
from orchestration.settings import Settings
from orchestration.worker import LaneReport, Worker
from tests.unit.supervision.lanes import lane, running

MAKE = "tests.unit.supervision.lanes:make_lane"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(module, "GRACE_S", 0.3)
    found = Worker("w0", Settings(data_dir=tmp_path), MAKE)
    yield found
    found.close()


def report(worker: Worker, agent: str = "idle", partition: int = 0) -> LaneReport:
    return {one.lane: one for one in worker.health().lanes}[str(lane(agent, partition))]


def until(holds: Callable[[], bool], within_s: float = 5) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lane_runs_until_it_is_stopped_and_is_then_forgotten(worker: Worker) -> None:
    assert worker.start_lane(lane()) == "started"
    until(lambda: report(worker).records > 0)
    assert report(worker).state == "running"
    assert [one["state"] for one in worker.lanes()] == ["running"]

    assert worker.stop_lane(str(lane())) == "stopped"

    assert not running
    assert worker.health().lanes == ()
    assert worker.stop_lane(str(lane())) == "stopped"


def test_starting_a_running_lane_again_changes_nothing(worker: Worker) -> None:
    worker.start_lane(lane())
    until(lambda: report(worker).state == "running")
    before = report(worker).started_at

    assert worker.start_lane(lane()) == "running"

    assert report(worker).started_at == before
    assert len(running) == 1


@pytest.mark.parametrize(
    ("agent", "state", "detail"),
    [
        ("failing", "failed", "the offsets are gone"),
        ("overtaken", "fenced", ""),
        ("surprising", "failed", "a fault that nobody thought of"),
        ("keyless", "failed", "there is no key; make one: govern audit keygen"),
    ],
)
def test_a_lane_that_ends_is_reported_and_not_started_again(
    worker: Worker, agent: str, state: str, detail: str
) -> None:
    worker.start_lane(lane(agent))
    until(lambda: report(worker, agent).state == state)
    assert report(worker, agent).detail == detail
    assert not report(worker, agent).active
    time.sleep(0.2)
    assert report(worker, agent).state == state
    assert worker.start_lane(lane(agent)) == "started"  # that is for the supervisor to say


def test_health_answers_while_a_lane_holds_the_loop(worker: Worker) -> None:
    worker.start_lane(lane("blocking"))
    time.sleep(0.8)
    began = time.monotonic()
    health = worker.health()
    assert time.monotonic() - began < 0.2
    assert health.loop_silent_s > 0.3
    until(lambda: worker.health().loop_silent_s < 0.3)


def test_a_lane_whose_loop_does_not_turn_is_stuck(worker: Worker) -> None:
    worker.start_lane(lane("hanging"))
    until(lambda: report(worker, "hanging").state == "stuck")
    assert report(worker, "hanging").active
    assert "has not turned for" in report(worker, "hanging").detail


def test_a_lane_that_retries_ends_without_waiting_for_what_it_waits_for(worker: Worker) -> None:
    worker.start_lane(lane("deaf"))
    until(lambda: report(worker, "deaf").state == "retrying")
    began = time.monotonic()
    assert worker.stop_lane(str(lane("deaf"))) == "stopped"
    assert time.monotonic() - began < 2


def test_a_lane_that_hangs_is_cancelled_after_a_grace(worker: Worker) -> None:
    worker.start_lane(lane("hanging"))
    until(lambda: report(worker, "hanging").state == "stuck")
    assert worker.stop_lane(str(lane("hanging"))) == "stopped"


def test_the_rate_is_records_a_second(worker: Worker) -> None:
    worker.start_lane(lane())
    until(lambda: report(worker).rate > 0)
    assert 100 < report(worker).rate < 1_001


def test_the_health_names_the_process(worker: Worker) -> None:
    health = worker.health()
    assert health.incarnation == worker.health().incarnation
    assert health.memory_bytes > 1_000_000
    assert health.machine == module.machine()
