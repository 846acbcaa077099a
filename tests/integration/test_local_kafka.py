"""The local Kafka: what a user gets from starting, losing, finding and stopping it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from agents.errors import Misconfigured, Retryable
from orchestration.kafka_jars import ensure_jars
from orchestration.local_kafka import HOST, LocalKafka, open_kafka
from tests.integration.kafka_fixtures import consume_all, create_topics, produce

STARTER = """
import os, signal, sys
from pathlib import Path
from orchestration.kafka_jars import ensure_jars
from orchestration.local_kafka import LocalKafka
LocalKafka(Path(sys.argv[1]), heap_mb=256).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
CLI = [sys.executable, "-c", "from orchestration.cli.kafka import app; app()"]


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """A cluster of the test's own that is not started yet, and killed afterwards."""
    one = LocalKafka(tmp_path / "kafka", heap_mb=256)
    yield one
    one.kill()


def cli(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments, "--data-dir", str(data_dir)], capture_output=True, text=True, timeout=120, check=False
    )


def processes_of(kafka: LocalKafka) -> list[int]:
    """Every process on this machine whose command line names the cluster's folder as a broker's would."""
    wanted = {str(node.properties) for node in kafka.nodes}
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if (process.info["cmdline"] or [""])[-1] in wanted and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


async def test_committed_transactions_are_read_and_aborted_ones_are_not(broker: LocalKafka, prefix: str) -> None:
    topic = f"{prefix}.decisions"
    await create_topics(broker, [topic], partitions=2)
    await produce(broker, topic, [(b"k", b"kept", [("h", b"1")])], partition=1, transactional_id=f"{prefix}-a")
    producer = AIOKafkaProducer(**broker.client_settings(), transactional_id=f"{prefix}-b")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"dropped", partition=1)
    await producer.abort_transaction()
    await producer.stop()
    await produce(broker, topic, [b"plain"], partition=0)
    records = await consume_all(broker, topic)
    assert [(one.partition, one.key, one.value, one.headers) for one in records] == [
        (0, None, b"plain", ()),
        (1, b"k", b"kept", (("h", b"1"),)),
    ]
    assert {one.timestamp_type for one in records} == {1}, "stamped by the broker"
    assert len(await consume_all(broker, topic, isolation_level="read_uncommitted")) == 3


async def test_data_and_port_survive_a_stop_and_the_second_start_takes_at_most_three_seconds(kafka: LocalKafka) -> None:
    lines: list[str] = []
    servers = kafka.start(lines.append)
    assert lines[-1] == "starting Apache Kafka"
    assert kafka.running()
    await create_topics(kafka, ["t"])
    await produce(kafka, "t", [b"1", b"2"], transactional_id="x")
    kafka.stop()
    assert not kafka.running()
    assert processes_of(kafka) == []
    seconds = []
    for _ in range(3):  # the best of three: other work on the machine is not the broker's
        began = time.monotonic()
        assert kafka.start() == servers
        seconds.append(time.monotonic() - began)
        if seconds[-1] <= 3.0:
            break
        kafka.stop()
    assert min(seconds) <= 3.0, seconds
    assert [one.value for one in await consume_all(kafka, "t")] == [b"1", b"2"]


async def test_what_was_committed_survives_kill_9(kafka: LocalKafka) -> None:
    servers = kafka.start()
    await create_topics(kafka, ["t"])
    await produce(kafka, "t", [b"kept"], transactional_id="x")
    assert [one.value for one in await consume_all(kafka, "t", isolation_level="read_uncommitted")] == [b"kept"]
    kafka.kill()
    assert not kafka.running()
    assert kafka.start() == servers
    # Where the kill came before the commit's marker, the broker may leave that out: then it comes with the next commit.
    await produce(kafka, "t", [b"more"], transactional_id="x")
    for _ in range(100):  # a broker that was killed shows its newest records only some moments after it is back
        if len(found := [one.value for one in await consume_all(kafka, "t")]) == 2:
            break
        await asyncio.sleep(0.1)
    assert found == [b"kept", b"more"]


def test_a_broker_whose_parent_was_killed_is_found_again_and_stopped_by_another_process(kafka: LocalKafka) -> None:
    starter = subprocess.run([sys.executable, "-c", STARTER, str(kafka.data_dir)], timeout=120, check=False)
    assert starter.returncode == -signal.SIGKILL
    assert kafka.running()
    pids = kafka.pids
    assert processes_of(kafka) == pids
    kafka.start()
    assert kafka.pids == pids, "found, not started again"
    stopped = cli("stop", "--json", data_dir=kafka.data_dir)
    assert json.loads(stopped.stdout)["stopped"] == 1, stopped.stderr
    assert not kafka.running()
    assert processes_of(kafka) == []


def test_a_broker_whose_pid_file_was_never_written_is_found(kafka: LocalKafka) -> None:
    kafka.start()
    pids = kafka.pids
    (kafka.nodes[0].folder / "node.pid").unlink()
    assert not kafka.running()
    kafka.start()
    assert kafka.pids == pids
    assert processes_of(kafka) == pids


def test_a_pid_file_that_names_another_process_harms_nobody(kafka: LocalKafka) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        kafka.start()
        kafka.kill()
        created = psutil.Process(bystander.pid).create_time()
        (kafka.nodes[0].folder / "node.pid").write_text(json.dumps({"pid": bystander.pid, "created": created}))
        assert not kafka.running()
        kafka.stop()
        kafka.start()
        assert kafka.pids != [bystander.pid]
        kafka.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_port_taken_meanwhile_is_replaced(kafka: LocalKafka) -> None:
    servers = kafka.start()
    kafka.stop()
    with socket.socket() as other:
        other.bind((HOST, int(servers.rpartition(":")[2])))
        other.listen()
        assert kafka.start() != servers
        assert kafka.running()


def test_the_command_line_says_what_it_did_and_may_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    before = cli("status", data_dir=folder)
    assert before.returncode == 3
    assert before.stdout == f"no Kafka runs in {folder}; start it with: govern kafka start\n"
    try:
        first = cli("start", "--heap-mb", "256", data_dir=folder)
        assert first.returncode == 0, first.stderr
        servers = open_kafka(folder).bootstrap_servers
        assert first.stdout.startswith(f"Kafka runs on {servers} (data in {folder}, started in ")
        assert cli("start", data_dir=folder).stdout == f"Kafka was running already on {servers} (data in {folder})\n"
        facts = json.loads(cli("status", "--json", data_dir=folder).stdout)
        assert facts == {
            "running": True,
            "bootstrap_servers": servers,
            "brokers": 1,
            "security": "plaintext",
            "pids": open_kafka(folder).pids,
            "data_dir": str(folder),
        }
        assert psutil.Process(facts["pids"][0]).name() == "java"
    finally:
        ended = cli("stop", data_dir=folder)
    assert ended.stdout == f"Kafka stopped; its data stays in {folder}\n"
    again = cli("stop", data_dir=folder)
    assert (again.returncode, again.stdout) == (0, f"no Kafka runs in {folder}\n")
    assert cli("status", data_dir=folder).returncode == 3


@pytest.mark.parametrize("moment", ["server.properties", "node.pid"], ids=["preparing", "starting"])
def test_ctrl_c_during_the_start_leaves_nothing_running(kafka: LocalKafka, moment: str) -> None:
    starter = subprocess.Popen([*CLI, "start", "--data-dir", str(kafka.data_dir)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (kafka.nodes[0].folder / moment).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    starter.send_signal(signal.SIGINT)
    _, said = starter.communicate(timeout=60)
    assert starter.returncode == 130
    assert "interrupted: nothing was left running" in said
    assert processes_of(kafka) == []
    kafka.start()
    assert kafka.running()


def test_two_processes_that_start_the_same_folder_get_one_broker(kafka: LocalKafka) -> None:
    command = [*CLI, "start", "--json", "--heap-mb", "256", "--data-dir", str(kafka.data_dir)]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (json.loads(one.communicate(timeout=120)[0]) for one in pair)
    assert first == second
    assert processes_of(kafka) == first["pids"]


def test_the_first_graceful_stop_leaves_a_class_archive_and_a_killed_broker_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = ensure_jars()
    own = tmp_path / "cache" / "kafka" / jars[0].parent.name
    own.parent.mkdir(parents=True)
    own.symlink_to(jars[0].parent)
    monkeypatch.setenv("GOVERN_CACHE_DIR", str(tmp_path / "cache"))
    kafka = LocalKafka(tmp_path / "kafka", heap_mb=256)

    def archives() -> list[str]:
        return sorted(path.name for path in own.parent.glob("classes-*/*.jsa"))

    try:
        kafka.start()
        kafka.kill()
        assert archives() == ["base.jsa"]
        kafka.start()
        kafka.stop()
        assert archives() == ["base.jsa", "kafka.jsa"]
        kafka.start()
        archive = next(own.parent.glob("classes-*/kafka.jsa"))
        assert str(archive) in Path(f"/proc/{kafka.pids[0]}/maps").read_text(), "the JVM took it"
    finally:
        kafka.kill()


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    one = LocalKafka(tmp_path / "k", heap_mb=256, settings={"num.io.threads": "0"})
    with pytest.raises(Retryable, match=r"num\.io\.threads"):
        one.start()
    assert processes_of(one) == []


def test_a_folder_is_not_opened_as_another_kind_of_cluster(kafka: LocalKafka) -> None:
    kafka.start()
    with pytest.raises(Misconfigured, match=r"holds a cluster of 1 broker\(s\) with security plaintext, not 3"):
        LocalKafka(kafka.data_dir, brokers=3).start()
    with pytest.raises(Misconfigured, match=r"no Kafka was started in .*govern kafka start"):
        open_kafka(kafka.data_dir / "elsewhere")


def test_files_that_hold_secrets_are_readable_by_their_owner_alone(kafka: LocalKafka) -> None:
    kafka.start()
    assert os.stat(kafka.nodes[0].properties).st_mode & 0o077 == 0


@pytest.mark.long
async def test_three_brokers_lose_one_and_go_on(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "kafka", brokers=3, heap_mb=256)
    try:
        assert len(kafka.start().split(",")) == 3
        await create_topics(kafka, ["t"], partitions=3)
        await produce(kafka, "t", [b"before"], partition=0, transactional_id="x")
        kafka.kill_broker(1)
        assert len(kafka.pids) == 2
        assert not kafka.running()
        for number in range(3):
            await produce(
                kafka, "t", [b"while one is gone"], partition=number, transactional_id="x", retry_backoff_ms=200
            )
        kafka.restart_broker(1)
        assert kafka.running()
        values = [one.value for one in await consume_all(kafka, "t")]
        assert sorted(values) == [b"before", *[b"while one is gone"] * 3]
        began = time.monotonic()
        kafka.stop()
        assert time.monotonic() - began < 25, "stopped gracefully, not by the deadline"
        kafka.start()
        assert sorted(one.value for one in await consume_all(kafka, "t")) == sorted(values)
        assert len(json.loads(cli("start", "--json", data_dir=kafka.data_dir).stdout)["pids"]) == 3
    finally:
        kafka.kill()
