"""Lanes on real Ray and real Kafka: adopted, spread, moved, and resumed after kill -9, with nothing lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from agents.configuration import Configuration
from orchestration.config_topic import apply
from orchestration.local_kafka import LocalKafka
from orchestration.local_ray import LocalRay
from orchestration.settings import Settings
from orchestration.supervisor import Status
from orchestration.worker import Worker
from tests.e2e.passthrough import PARTITIONS, lane_names
from tests.integration.kafka_fixtures import consume_all, create_topics

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
MAKE, NAMES = "tests.e2e.passthrough:make_lane", "tests.e2e.passthrough:lane_names"


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRay]:
    ray = LocalRay(tmp_path_factory.mktemp("ray"))
    before = dict(os.environ)
    os.environ.update(ray.environment())
    address = ray.start()
    from orchestration import actors  # ray reads its environment when it is imported

    actors.connect(address)
    yield ray
    actors.disconnect()
    ray.stop()
    os.environ.clear()
    os.environ.update(before)


class Deployment:
    """Copying lanes under a supervisor, with a producer that never rests."""

    def __init__(self, broker: LocalKafka, prefix: str, folder: Path) -> None:
        from orchestration import actors

        self.actors, self.broker = actors, broker
        self.settings = Settings(
            prefix=prefix, bootstrap_servers=broker.bootstrap_servers, data_dir=folder, partitions=PARTITIONS
        )
        topic = self.settings.topic
        asyncio.run(create_topics(broker, [topic("in"), topic("out")], partitions=PARTITIONS))
        asyncio.run(create_topics(broker, [topic(name) for name in ("snapshots", "config", "ticks", "flags", "extra")]))
        self.control = actors.start_supervisor(self.settings, 2, ENVIRONMENT, make_lane=MAKE, lane_names=NAMES)
        self.sent = [0] * PARTITIONS
        self._ending = threading.Event()
        self._load = threading.Thread(target=lambda: asyncio.run(self._produce()))

    def start_load(self) -> None:
        self._load.start()

    def stop_load(self) -> None:
        self._ending.set()
        if self._load.is_alive():
            self._load.join(20)

    async def _produce(self) -> None:
        producer = AIOKafkaProducer(**self.broker.client_settings(), acks="all", enable_idempotence=True)
        await producer.start()
        try:
            while not self._ending.is_set():
                for partition in range(PARTITIONS):
                    value = b"%d:%d" % (partition, self.sent[partition])
                    await producer.send(self.settings.topic("in"), value, partition=partition)
                    self.sent[partition] += 1
                await asyncio.sleep(0.01)
        finally:
            await producer.stop()

    def until(self, holds: Callable[[Status], bool], within_s: float) -> Status:
        """The first status that has what the test waits for."""
        deadline, status = time.monotonic() + within_s, None
        while time.monotonic() < deadline:
            try:
                status = self.control.status(2)
            except self.actors.Retryable:
                continue
            if holds(status):
                return status
            time.sleep(0.1)
        raise AssertionError(f"not within {within_s} s: {status}")

    def copied(self) -> dict[int, list[Any]]:
        """What has come out, by partition, in order."""
        found: dict[int, list[Any]] = defaultdict(list)
        for record in asyncio.run(consume_all(self.broker, self.settings.topic("out"))):
            found[record.partition].append(record)
        return found

    def check_all(self, within_s: float = 20) -> None:
        """Everything that was sent came out once, in order."""
        deadline = time.monotonic() + within_s
        while sum(map(len, (copied := self.copied()).values())) < sum(self.sent) and time.monotonic() < deadline:
            time.sleep(0.5)
        for partition in range(PARTITIONS):
            values = [record.value for record in copied[partition]]
            assert values == [b"%d:%d" % (partition, number) for number in range(self.sent[partition])]


@pytest.fixture(scope="module")
def deployment(
    ray_cluster: LocalRay, broker: LocalKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    found = Deployment(broker, f"e{os.getpid():x}", tmp_path_factory.mktemp("governance"))
    try:
        found.until(all_run, 60)
        found.start_load()
        yield found
    finally:
        found.stop_load()
        found.control.end()


def all_run(status: Status) -> bool:
    return len(status.lanes) >= PARTITIONS and all(row.report.state == "running" for row in status.lanes)


def evenly(status: Status) -> bool:
    counts = [sum(row.owner == worker.name for row in status.lanes) for worker in status.workers]
    return all_run(status) and max(counts) - min(counts) <= 1


def starts(status: Status) -> dict[str, float]:
    return {row.report.lane: row.report.started_at for row in status.lanes}


def test_lanes_are_spread_evenly_and_time_passes(deployment: Deployment) -> None:
    status = deployment.until(all_run, 5)

    assert evenly(status)
    assert {row.report.lane for row in status.lanes} == {str(name) for name in lane_names(deployment.settings, None)}
    assert status.problems == ()
    time.sleep(2.5)
    assert 2 <= deployment.control.status().ticks - status.ticks <= 4
    ticks = asyncio.run(consume_all(deployment.broker, deployment.settings.topic("ticks")))
    assert [record.offset for record in ticks] == list(range(len(ticks)))
    assert b'"type":"governance.tick.v1"' in ticks[0].value


def test_killing_the_supervisor_restarts_no_lane(deployment: Deployment) -> None:
    before = deployment.until(all_run, 5)

    os.kill(before.pid, signal.SIGKILL)
    after = deployment.until(lambda status: status.incarnation != before.incarnation and all_run(status), 30)

    assert starts(after) == starts(before)
    assert [worker.pid for worker in after.workers] == [worker.pid for worker in before.workers]


def test_lanes_of_a_killed_worker_go_on_within_5_seconds_and_return_when_it_does(deployment: Deployment) -> None:
    before = deployment.until(evenly, 60)
    victim = before.workers[0]
    lost = [int(row.report.lane.rpartition("/")[2]) for row in before.lanes if row.owner == victim.name]
    assert len(lost) == PARTITIONS // 2
    assert victim.pid is not None

    killed = time.time() * 1000
    os.kill(victim.pid, signal.SIGKILL)
    resumed = deployment.until(lambda status: all_run(status) and status.workers[0].pid != victim.pid, 30)
    kept = set(starts(before).items()) & set(starts(resumed).items())
    assert len(kept) == PARTITIONS // 2  # the other worker's lanes were not touched

    copied = deployment.copied()
    pauses = [
        min(record.timestamp for record in copied[partition] if record.timestamp > killed + 50) - killed
        for partition in lost
    ]
    print(f"killed worker: lanes went on after {sorted(pauses)} ms")
    assert max(pauses) <= 5_000
    deployment.until(evenly, 40)  # moved back one by one, once the new process has settled


@pytest.mark.long
def test_a_worker_that_hangs_is_killed_and_its_lanes_go_on(deployment: Deployment) -> None:
    before = deployment.until(evenly, 30)
    victim = before.workers[1]
    assert victim.pid is not None

    os.kill(victim.pid, signal.SIGSTOP)
    silent = deployment.until(lambda status: status.workers[1].condition == "silent", 10)
    assert {row.owner for row in silent.lanes} == {before.workers[0].name, victim.name}  # it may still write: not moved
    after = deployment.until(lambda status: all_run(status) and status.workers[1].pid != victim.pid, 40)

    kept = set(starts(before).items()) & set(starts(after).items())
    assert len(kept) == PARTITIONS // 2


@pytest.mark.long
def test_all_processes_killed_at_once_come_back(deployment: Deployment) -> None:
    before = deployment.until(lambda status: all_run(status) and all(worker.pid for worker in status.workers), 30)

    for pid in (before.pid, *(worker.pid for worker in before.workers)):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    after = deployment.until(lambda status: status.incarnation != before.incarnation and all_run(status), 60)
    assert not set(starts(before).items()) & set(starts(after).items())


def test_a_lane_that_two_owners_run_by_mistake_writes_once(deployment: Deployment, tmp_path: Path) -> None:
    before = deployment.until(all_run, 30)
    name = lane_names(deployment.settings, None)[0]
    stranger = Worker("stranger", deployment.settings.model_copy(update={"data_dir": tmp_path}), MAKE)

    assert stranger.start_lane(name) == "started"
    deployment.until(lambda status: starts(status)[str(name)] != starts(before)[str(name)] and all_run(status), 30)
    deadline = time.monotonic() + 20
    while (state := stranger.health().lanes[0].state) != "fenced" and time.monotonic() < deadline:
        time.sleep(0.1)

    assert state == "fenced"
    stranger.close()


def test_a_new_configuration_brings_its_lanes(deployment: Deployment) -> None:
    extra = deployment.settings.topic("extra")
    source = {"topic": extra, "model": "m", "source": "/x", "fields": {"id": "$.id"}}
    configuration = Configuration.model_validate({"models": {"m": {}}, "sources": [source]})

    asyncio.run(apply(deployment.settings, configuration))
    status = deployment.until(lambda status: all_run(status) and len(status.lanes) == PARTITIONS + 1, 20)
    assert f"copy/{extra}/0" in starts(status)
    assert status.digest == configuration.digest()

    asyncio.run(apply(deployment.settings, Configuration()))
    status = deployment.until(lambda status: all_run(status) and len(status.lanes) == PARTITIONS, 20)
    assert f"copy/{extra}/0" not in starts(status)


def test_a_worker_that_finds_no_place_is_reported_with_the_reason(
    deployment: Deployment, broker: LocalKafka, tmp_path: Path
) -> None:
    settings = deployment.settings.model_copy(update={"prefix": deployment.settings.prefix + "b", "data_dir": tmp_path})
    asyncio.run(create_topics(broker, [settings.topic(name) for name in ("config", "ticks")]))
    control = deployment.actors.start_supervisor(settings, 3, ENVIRONMENT, make_lane=MAKE, lane_names=NAMES)
    try:
        deadline, problems = time.monotonic() + 30, ()
        while not any("are free; add a node" in one for one in problems) and time.monotonic() < deadline:
            time.sleep(0.5)
            problems = control.status(20).problems
        assert any(f"-{settings.prefix}-" in one and "needs 0.4 CPU" in one for one in problems), problems
    finally:
        control.end()


def test_draining_ends_every_lane_after_its_batch_and_nothing_was_lost(deployment: Deployment) -> None:
    deployment.until(all_run, 30)
    deployment.stop_load()
    deployment.check_all()

    deadline = time.monotonic() + 40
    while (left := deployment.control.drain()) and time.monotonic() < deadline:
        time.sleep(0.2)

    assert left == 0
    assert all(row.owner is None for row in deployment.control.status().lanes)
    deployment.control.resume()
    deployment.until(all_run, 30)
