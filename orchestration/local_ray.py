"""A Ray of our own on this machine, for whoever has no cluster: start it, find it again, stop it.

It listens on 127.0.0.1 only, asks for a token that only this user can read, has no dashboard, reports to nobody, and
outlives the process that started it. Other Rays on the machine are never touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from agents.errors import Misconfigured, Retryable

START_S = 60.0
STOP_S = 15.0
OBJECT_STORE_BYTES = 100_000_000  # events never travel through Ray
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}


class LocalRay:
    """The Ray whose state lies in `folder`. Opening it starts nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        # Ray puts sockets below it, and the path of a socket may have 107 bytes: the data folder can be too deep.
        self.session_dir = Path(tempfile.gettempdir()) / f"governance-ray-{name}"
        self._started: subprocess.Popen[bytes] | None = None  # kept: Python complains of a child that nobody holds

    def start(self, progress: Callable[[str], None] | None = None) -> str:
        """Start it unless it runs; returns its address once it takes actors. Interrupted or failed, it leaves nothing.

        Raises Retryable with the end of its log where it does not come up.
        """
        with self._locked():
            if self.running():
                return self.address
            (progress or (lambda line: None))("starting Ray")
            self._clear()
            process, up = self._spawn(), False
            self._started = process
            try:
                address = self._wait(process)
                self._remember(process, address)
                up = True
            finally:
                if not up and process.poll() is None:  # Ctrl-C too leaves nothing half-started
                    _end([psutil.Process(process.pid)])
            return address

    def stop(self) -> bool:
        """End it and everything that it started; False where it did not run."""
        if not self.folder.is_dir():
            return False
        with self._locked():
            left = self._processes()
            _end(left)
            if self._started is not None:
                self._started.poll()
            self._file.unlink(missing_ok=True)
            shutil.rmtree(self.session_dir, ignore_errors=True)
        return bool(left)

    def running(self) -> bool:
        """True while the process that keeps it up lives."""
        known = self._known()
        return known is not None and _process(known["pid"], known["created"]) is not None

    @property
    def address(self) -> str:
        """`host:port` for `ray.init`; raises Misconfigured where it was never started."""
        known = self._known()
        if known is None:
            raise Misconfigured(f"no Ray was started in {self.folder}: run `govern up`")
        return str(known["address"])

    def environment(self) -> dict[str, str]:
        """What a process must have in its environment, before it imports ray, to talk to this Ray."""
        return QUIET | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            # Ray means by this that a machine stays alone: then it takes 127.0.0.1 for its own address and binds to it
            # alone, on Linux too; without it Ray listens on every interface, whatever --node-ip-address says.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }

    @property
    def _file(self) -> Path:
        return self.folder / "ray.json"

    def _clear(self) -> None:
        """Remove what an earlier run left, and make the folders and the token."""
        _end(self._processes())
        shutil.rmtree(self.session_dir, ignore_errors=True)
        self.session_dir.mkdir(mode=0o700)  # fails where somebody else has put something there
        token = self.folder / "token"
        token.unlink(missing_ok=True)
        handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))

    def _spawn(self) -> subprocess.Popen[bytes]:
        arguments = [
            "--head",
            "--block",  # its children end with it
            "--node-ip-address=127.0.0.1",
            "--port=0",
            f"--num-cpus={max(2, os.cpu_count() or 2)}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={self.session_dir}",
            "--include-dashboard=false",
            "--include-log-monitor=false",
            "--disable-usage-stats",
            "--log-style=record",
        ]
        with (self.folder / "ray.log").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments],
                env=os.environ | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait(self, process: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + START_S
        written = self.session_dir / "ray_current_cluster"  # the last thing that `ray start` does
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise Retryable(f"Ray ended while starting: {self._last_words()}")
            if written.is_file() and (address := written.read_text().strip()):
                return address
            time.sleep(0.05)
        raise Retryable(f"Ray does not come up within {START_S:.0f} s: {self._last_words()}")

    def _remember(self, process: subprocess.Popen[bytes], address: str) -> None:
        head = psutil.Process(process.pid)
        below = [(child.pid, child.create_time()) for child in head.children(recursive=True)]
        known = {"address": address, "pid": head.pid, "created": head.create_time(), "below": below}
        self._file.with_suffix(".new").write_text(json.dumps(known))
        self._file.with_suffix(".new").replace(self._file)

    def _known(self) -> dict[str, object] | None:
        try:
            found: dict[str, object] = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found

    def _processes(self) -> list[psutil.Process]:
        """The Ray that was remembered, as far as it runs: its head first, then all below."""
        known = self._known()
        if known is None:
            return []
        below = known["below"]
        assert isinstance(below, list)
        named = [(known["pid"], known["created"]), *below]
        found = [process for pid, created in named if (process := _process(pid, created))]
        for process in list(found):
            try:
                found += [child for child in process.children(recursive=True) if child not in found]
            except psutil.NoSuchProcess:
                continue
        return found

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "ray.log").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return " / ".join(lines[-3:]) + f" (see {self.folder / 'ray.log'})"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = (self.folder / "lock").open("w")
        except OSError as error:
            raise Misconfigured(
                f"cannot write {self.folder}: {error}; set GOVERN_DATA_DIR to another folder"
            ) from error
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _process(pid: object, created: object) -> psutil.Process | None:
    """The process of that id, if it is still the one that was created then."""
    try:
        found = psutil.Process(int(str(pid)))
        alive = abs(found.create_time() - float(str(created))) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return found if alive else None


def _end(processes: list[psutil.Process]) -> None:
    """Ask the first one to end everything; what is left after a while is killed."""
    if not processes:
        return
    everything = list(processes)
    try:
        everything += [child for child in processes[0].children(recursive=True) if child not in everything]
        processes[0].terminate()
    except psutil.NoSuchProcess:
        pass
    _, left = psutil.wait_procs(everything, timeout=STOP_S)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=STOP_S)
