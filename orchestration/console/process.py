"""The console in the background, as `govern up` starts it: it survives its parent, and comes back when it crashes.

A keeper process starts the console, waits for it, and starts it again after a growing pause. Both are found again by their pid
files, whose start times are checked, and ended by their process ids alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agents.errors import Misconfigured
from orchestration.console.listening import free, listening_file
from orchestration.settings import Settings

COMMAND = (sys.executable, "-c", "from orchestration.cli import main; main()", "console")
KEEPER = (sys.executable, "-m", "orchestration.console.process")
FIRST_S, LONGEST_S = 1.0, 60.0
"""Pauses before a console that ended is started again; they double, and start anew after it ran for a while."""
STOP_S = 8.0

Report = Callable[[str], None]
_started: list[subprocess.Popen[bytes]] = []  # kept, so that one which ends is collected and no warning is given


@dataclass(frozen=True, slots=True)
class Running:
    """A console that listens."""

    pid: int
    url: str


def running(settings: Settings) -> Running | None:
    """The console of this data folder, however it was started; None where none listens."""
    known = _read(listening_file(settings))
    process = _process(known)
    return None if known is None or process is None else Running(process.pid, str(known["url"]))


def kept(settings: Settings) -> bool:
    """Whether a keeper runs, so that a console that is not there comes back."""
    return _process(_read(_keeper_file(settings))) is not None


def start(settings: Settings, report: Report = lambda line: None) -> None:
    """Start it in the background unless it runs; `settings` say where Kafka is. Waits for nothing.

    Raises Misconfigured where its port is taken.
    """
    if running(settings) is not None or kept(settings):
        return
    if not free(settings.console_host, settings.console_port):
        raise Misconfigured(
            f"port {settings.console_port} is taken, so the console does not run: set GOVERN_CONSOLE_PORT, then govern up"
        )
    report("starting the console")
    folder = _keeper_file(settings).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "console.log").open("wb") as log:
        keeper = subprocess.Popen(
            KEEPER,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment(settings)},
            start_new_session=True,
        )
    _started.append(keeper)
    _write(_keeper_file(settings), {"pid": keeper.pid, "created": psutil.Process(keeper.pid).create_time()})


def wait(settings: Settings, within_s: float = 15.0) -> Running | None:
    """Return once a console listens; None where that takes longer."""
    deadline = time.monotonic() + within_s
    while (found := running(settings)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def stop(settings: Settings) -> bool:
    """End what `start` started; False where nothing of it ran. A console that somebody started by hand goes on."""
    keeper = _process(_read(_keeper_file(settings)))
    if keeper is None:
        _keeper_file(settings).unlink(missing_ok=True)
        return False
    everything = [keeper, *keeper.children()]
    _signal([keeper], signal.SIGTERM)
    _, left = psutil.wait_procs(everything, STOP_S)
    _signal(left, signal.SIGKILL)
    psutil.wait_procs(left, 2)
    _keeper_file(settings).unlink(missing_ok=True)
    return True


def last_words(settings: Settings) -> str:
    """The last complaint in what the console printed, for a message; empty where it had none."""
    try:
        lines = (_keeper_file(settings).parent / "console.log").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    complaints = [line for line in lines if line.startswith("govern:") or "ERROR" in line or "Error:" in line]
    return complaints[-1][-300:].strip() if complaints else ""


def keep() -> None:
    """The keeper's life: start the console, wait, start it again; SIGTERM ends both."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pause = FIRST_S
    while not ending.is_set():
        began = time.monotonic()
        child = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL)
        while child.poll() is None and not ending.wait(0.1):
            pass
        if child.poll() is None:
            child.terminate()
            child.wait()
        pause = FIRST_S if time.monotonic() - began > LONGEST_S else min(LONGEST_S, pause * 2)
        ending.wait(pause)


def _keeper_file(settings: Settings) -> Path:
    return settings.data_dir.absolute() / "console" / "keeper.json"


def environment(settings: Settings) -> Mapping[str, str]:
    """The settings as they are here, so that the console means the same by them wherever it starts."""
    here = {name: getattr(settings, name) for name in type(settings).model_fields}
    plain = {name: getattr(value, "get_secret_value", lambda value=value: value)() for name, value in here.items()}
    return {f"GOVERN_{name.upper()}": str(value) for name, value in plain.items() if value is not None}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, value: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def _process(known: Mapping[str, Any] | None) -> psutil.Process | None:
    try:
        process = psutil.Process(int((known or {})["pid"]))
        same = abs(process.create_time() - float((known or {})["created"])) < 2.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, ValueError, TypeError, psutil.Error):
        return None


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    keep()
