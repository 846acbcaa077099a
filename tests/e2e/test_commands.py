"""`govern up`, `status` and `down` as a person types them: local Kafka, local Ray, the real lanes, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestration.console import process as console
from orchestration.local_kafka import LocalKafka, open_kafka
from orchestration.local_ray import LocalRay
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import consume_all, produce
from tests.unit.console.serve import free_port

ROOT = Path(__file__).resolve().parents[2]
GOVERN = [sys.executable, "-c", "from orchestration.cli import main; main()"]


class Shell:
    """Runs `govern` in an environment of its own: its own data, keys and prefix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOVERN_", "RAY_"))}
        self.environment = kept | {
            "GOVERN_PREFIX": "shell",
            "GOVERN_DATA_DIR": str(folder / "var"),
            "GOVERN_KEYS_DIR": str(folder / "keys"),
            "GOVERN_CONSOLE_PORT": str(free_port()),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [*GOVERN, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*GOVERN, *words], cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True
        )

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json")))

    @property
    def kafka(self) -> LocalKafka:
        return open_kafka(self.folder / "var" / "kafka")

    @property
    def ray(self) -> LocalRay:
        return LocalRay(self.folder / "var" / "ray")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    found = Shell(tmp_path_factory.mktemp("shell"))
    yield found
    console.stop(Settings(_env_file=None, data_dir=found.folder / "var"))
    found.ray.stop()
    if (found.folder / "var" / "kafka" / "cluster.json").exists():
        found.kafka.stop()


def judged(shell: Shell) -> list[str]:
    """Ids of the verdicts so far."""
    return [json.loads(record.value)["id"] for record in asyncio.run(consume_all(shell.kafka, "shell.verdicts"))]


def judge(shell: Shell, count: int, in_all: int) -> None:
    """Send so many records and wait for a verdict on each."""
    asyncio.run(produce(shell.kafka, "shell.decisions", [b"no decision"] * count, partition=0))
    deadline = time.monotonic() + 30
    while len(judged(shell)) < in_all and time.monotonic() < deadline:
        time.sleep(0.3)
    assert sorted(judged(shell)) == sorted(f"shell.decisions/0/{offset}/gate" for offset in range(in_all))


def test_where_nothing_runs_status_and_down_say_so(shell: Shell) -> None:
    assert shell.run("status", code=1).strip() == "nothing runs for the prefix shell; start it with: govern up"
    assert json.loads(shell.run("status", "--json", code=1)) == {"prefix": "shell", "running": False}
    assert shell.run("down").strip() == "nothing ran"


@pytest.mark.long
def test_an_interrupted_start_says_what_runs(shell: Shell) -> None:
    said = ""
    with shell.start("up", str(ROOT / "config" / "demo")) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if "starting Ray" in line:
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130

    assert "interrupted; `govern up` goes on where it stopped, `govern down` stops what runs" in said
    assert "Running now: the local Kafka." in said
    assert not shell.ray.running()
    assert shell.kafka.running()


def test_up_judges_decisions_and_may_be_repeated(shell: Shell) -> None:
    told = shell.run("up", str(ROOT / "config" / "demo"))
    assert "24 of 24 lanes run for the prefix shell" in told
    judge(shell, 40, in_all=40)

    first = shell.status()
    assert first["running"] is True
    assert first["configuration"]["digest"].startswith("sha256:")
    assert {lane["state"] for lane in first["lanes"]} == {"running"}
    assert sum(lane["records"] for lane in first["lanes"] if lane["lane"].startswith("policy/")) == 40

    assert "24 of 24 lanes run" in shell.run("up")
    again = shell.status()
    assert [lane["started_at"] for lane in again["lanes"]] == [lane["started_at"] for lane in first["lanes"]]


def test_a_killed_worker_costs_a_policy_lane_less_than_5_seconds(shell: Shell) -> None:
    before = shell.status()
    owner = next(lane["owner"] for lane in before["lanes"] if lane["lane"] == "policy/shell.decisions/0")
    pid = next(worker["pid"] for worker in before["workers"] if worker["name"] == owner)

    killed = time.time() * 1000
    os.kill(pid, signal.SIGKILL)
    judge(shell, 20, in_all=60)

    verdicts = asyncio.run(consume_all(shell.kafka, "shell.verdicts"))
    pause = min(record.timestamp for record in verdicts[40:]) - killed
    print(f"killed worker: the policy lane's next verdict came after {pause:.0f} ms")
    assert pause <= 5_000


@pytest.mark.long
def test_ray_listens_on_this_machine_only_and_asks_for_a_token(shell: Shell) -> None:
    shell.run("up", str(ROOT / "config" / "demo"))  # by itself, too: the long tests leave the others out
    head = psutil.Process(json.loads((shell.folder / "var" / "ray" / "ray.json").read_text())["pid"])
    family = [head, *head.children(recursive=True)]
    listening = {
        place.laddr.ip.removeprefix("::ffff:")
        for process in family
        for place in process.net_connections("inet")
        if place.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}

    script = f"import ray; ray.init(address={shell.ray.address!r}, log_to_driver=False)"
    environment = shell.environment | shell.ray.environment() | {"RAY_AUTH_TOKEN": "wrong" * 8}
    refused = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "InvalidAuthToken" in refused.stderr
    assert (shell.folder / "var" / "ray" / "token").stat().st_mode & 0o777 == 0o600


def test_after_a_crash_of_ray_up_goes_on_where_it_was(shell: Shell) -> None:
    head = psutil.Process(json.loads((shell.folder / "var" / "ray" / "ray.json").read_text())["pid"])
    for process in [head, *head.children(recursive=True)]:
        process.kill()
    assert "nothing runs" in shell.run("status", code=1)

    assert "24 of 24 lanes run" in shell.run("up")
    judge(shell, 40, in_all=100)


def test_down_drains_and_leaves_no_process_behind(shell: Shell) -> None:
    pids = [*shell.kafka.pids, json.loads((shell.folder / "var" / "ray" / "ray.json").read_text())["pid"]]
    pids += [worker["pid"] for worker in shell.status()["workers"]]
    pids.append(shell.status()["console"]["pid"])
    judge(shell, 40, in_all=140)

    told = shell.run("down")

    assert told.strip() == (
        "stopped: the console; supervisor, workers and lanes; the local Ray; the local Kafka (its data stays)"
    )
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    assert not shell.ray.session_dir.exists()
    assert shell.run("down").strip() == "nothing ran"
