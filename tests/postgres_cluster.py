"""A private PostgreSQL for tests: the system's package, loopback only, data in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    near = sorted(Path("/").glob("usr/lib/postgresql/*/bin/initdb"), key=lambda one: int(one.parts[4]))
    return near[-1].parent if near else None


@dataclass(frozen=True)
class Cluster:
    """A server of these tests: `url` is SQLAlchemy's, of an empty database at the beginning."""

    bin_folder: Path
    folder: Path
    user: str | None
    port: int
    options: str

    @property
    def url(self) -> str:
        return f"postgresql+pg8000://tester@127.0.0.1:{self.port}/postgres"

    def run(self, name: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, for this data."""
        done = subprocess.run(
            [self.bin_folder / name, "-D", self.folder / "data", *arguments],
            user=self.user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        listening = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} {self.options}"
        self.run("pg_ctl", "start", "-w", "-s", "-l", str(self.folder / "log"), "-o", listening)

    def kill(self) -> None:
        """kill -9 of the server and each of its processes, whatever they are at."""
        server = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        everything = [server, *server.children(recursive=True)]
        for one in everything:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(everything, 10)


@contextmanager
def postgres(options: str = FAST) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, empty database; the test is skipped (failed where CI=true) without PostgreSQL."""
    with cluster(options) as found:
        yield found.url


@contextmanager
def cluster(options: str = FAST) -> Iterator[Cluster]:
    """The same as a server that can be killed and started."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip(
            "PostgreSQL is not installed (Debian: apt-get install postgresql): the read model is tested on SQLite only"
        )
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user is not None:
        shutil.chown(folder, user)
    found = Cluster(bin_folder, folder, user, _free_port(), options)
    try:
        found.run("initdb", "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        found.start()
        try:
            yield found
        finally:
            found.run("pg_ctl", "stop", "-m", "immediate", "-s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
