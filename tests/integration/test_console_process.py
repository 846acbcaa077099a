"""The console as a process: found, kept alive, ended; and what it says where it cannot run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from agents.errors import Misconfigured
from orchestration.console import process
from orchestration.console.listening import listen
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.integration.monitored import deployment
from tests.integration.test_escalation_lane import configuration

GOVERN = [sys.executable, "-c", "from orchestration.cli import main; main()"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def settings(broker: LocalKafka, prefix: str, tmp_path: Path) -> Settings:
    return await deployment(broker, prefix, tmp_path, configuration(), console_port=free_port())


@pytest.fixture
def kept(settings: Settings) -> Iterator[Settings]:
    """A console in the background, as `govern up` starts it; ended afterwards."""
    process.start(settings)
    try:
        yield settings
    finally:
        process.stop(settings)


def govern(settings: Settings, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | dict(process.environment(settings))
    return subprocess.run([*GOVERN, *words], env=environment, input=stdin, capture_output=True, text=True, timeout=120)


def test_it_comes_back_when_it_crashes_and_ends_when_told_to(kept: Settings) -> None:
    first = process.wait(kept, 60)
    assert first is not None, process.last_words(kept)
    assert httpx.get(f"http://127.0.0.1:{kept.console_port}/health").text == "ok"
    process.start(kept)  # repeated without harm
    assert process.running(kept) == first

    psutil.Process(first.pid).kill()
    deadline = time.monotonic() + 60
    while (again := process.running(kept)) is None or again.pid == first.pid:
        assert time.monotonic() < deadline, process.last_words(kept)
        time.sleep(0.2)
    assert httpx.get(f"http://127.0.0.1:{kept.console_port}/health").text == "ok"

    told = govern(kept, "console")
    assert told.returncode == 1
    assert f"runs already: http://localhost:{kept.console_port} (pid {again.pid})" in told.stderr

    assert process.stop(kept)
    assert process.running(kept) is None
    assert not psutil.pid_exists(again.pid) or psutil.Process(again.pid).status() == psutil.STATUS_ZOMBIE
    assert not process.stop(kept)


def test_a_port_that_is_taken_is_a_clear_error(settings: Settings) -> None:
    with listen("127.0.0.1", settings.console_port):
        with pytest.raises(Misconfigured, match=f"port {settings.console_port} is taken, so the console does not run"):
            process.start(settings)
        told = govern(settings, "console")
    assert told.returncode == 1
    assert f"port {settings.console_port} on 127.0.0.1 is taken" in told.stderr


def test_without_an_account_it_listens_on_loopback_whatever_was_asked_for(settings: Settings) -> None:
    environment = os.environ | dict(process.environment(settings))
    console = subprocess.Popen(
        [*GOVERN, "console", "--host", "0.0.0.0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.wait(settings, 60) is not None
        addresses = {one.laddr.ip for one in psutil.Process(console.pid).net_connections() if one.status == "LISTEN"}
        assert addresses == {"127.0.0.1"}
        page = httpx.get(f"http://127.0.0.1:{settings.console_port}/")
        assert "govern user add PERSON" in page.text
        assert "server" not in page.headers
    finally:
        console.send_signal(signal.SIGINT)
        said, _ = console.communicate(timeout=30)
    assert "Nobody has an account yet" in said
    assert "console: ed25519:" in said
    assert process.running(settings) is None


def test_elsewhere_than_on_loopback_it_wants_https(settings: Settings) -> None:
    made = govern(settings, "user", "add", "ann", "--password-stdin", stdin="four unrelated quiet words\n")
    assert made.stdout == "ann (ann) can sign in now; roles: reviewer, author\n", made.stderr
    told = govern(settings, "console", "--host", "0.0.0.0")
    assert told.returncode == 1
    assert "on 0.0.0.0 the console would be reached by plain http" in told.stderr


def test_only_declared_people_get_accounts_and_the_command_says_what_to_add(settings: Settings) -> None:
    told = govern(settings, "user", "add", "zoe", "--password-stdin", stdin="four unrelated quiet words\n")
    assert told.returncode == 1
    assert "the configuration declares no person zoe (it declares ann, bob, cy, dee)" in told.stderr
    assert "zoe: {name: FIRST LAST, roles: [reviewer]}" in told.stderr
    weak = govern(settings, "user", "add", "ann", "--password-stdin", stdin="password1234\n")
    assert "this password will not do" in weak.stderr
    assert govern(settings, "user", "list").stdout == "nobody has an account; make one: govern user add PERSON\n"
    govern(settings, "user", "add", "ann", "--password-stdin", stdin="four unrelated quiet words\n")
    assert '"person": "ann", "disabled": false' in govern(settings, "user", "list", "--json").stdout
    assert govern(settings, "user", "disable", "ann").stdout == "ann cannot sign in any more; 0 sessions ended\n"
    assert "disabled" in govern(settings, "user", "list").stdout
    assert govern(settings, "user", "enable", "ann").stdout == "ann can sign in again\n"
    assert (
        "bob has no account"
        in govern(settings, "user", "passwd", "bob", "--password-stdin", stdin="four other grey words\n").stderr
    )
