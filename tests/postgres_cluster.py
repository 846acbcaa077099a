"""A private PostgreSQL for tests: the system's package, loopback only, data in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    near = sorted(Path("/").glob("usr/lib/postgresql/*/bin/initdb"), key=lambda one: int(one.parts[4]))
    return near[-1].parent if near else None


@contextmanager
def postgres() -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, empty database; the test is skipped (failed where CI=true) without PostgreSQL."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip(
            "PostgreSQL is not installed (Debian: apt-get install postgresql): the read model is tested on SQLite only"
        )
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user is not None:
        shutil.chown(folder, user)
    data, port = folder / "data", _free_port()

    def run(name: str, *arguments: str) -> None:
        done = subprocess.run(
            [bin_folder / name, "-D", data, *arguments],
            user=user,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run("initdb", "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        listening = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} {FAST}"
        run("pg_ctl", "start", "-w", "-s", "-l", str(folder / "log"), "-o", listening)
        try:
            yield f"postgresql+pg8000://tester@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-m", "immediate", "-s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
