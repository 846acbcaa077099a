"""The jars of Apache Kafka, fetched once and checked each time, so that a local broker runs exactly what was locked.

`kafka_jars.lock` beside this file names every jar (the whole closure of Kafka's server) with its SHA-256 and size; a jar
that differs, or that the lock does not name, never reaches a class path. jgo's Python resolver fetches what is missing,
without Maven or a Java on the machine; afterwards no network is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

from agents.errors import Misconfigured

ROOTS = (
    "org.apache.kafka:kafka_2.13:4.3.1",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",  # Kafka's own distribution adds it; without it nothing is logged
)
LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")
MIB = 1024 * 1024

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Jar:
    """One locked jar: Maven coordinate `group:artifact:version`, SHA-256 in hex, size in bytes."""

    coordinate: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's name.

        >>> Jar("org.yaml:snakeyaml:2.5", "", 0).name
        'snakeyaml-2.5.jar'
        """
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def ensure_jars(progress: Progress | None = None) -> list[Path]:
    """Return the jars of the lock, in its order, each with the bytes that the lock demands.

    Missing jars are fetched (from `GOVERN_MAVEN_MIRROR`, else the mirror of Maven's own settings, else jgo's default);
    `progress` gets a line now and then while that lasts. Safe to call from several processes at once. Raises
    Misconfigured, naming the file and the mend, for a jar that is altered, not in the lock, or not to be had.
    """
    lock = read_lock()
    folder = cache_dir() / "kafka" / f"jars-{lock_digest()[:16]}"
    with _locked(folder):
        _refuse_strangers(folder, lock)
        missing = [jar for jar in lock if not (folder / jar.name).exists()]
        if missing:
            _fetch(missing, folder, progress or (lambda line: None))
        for jar in lock:
            _check(folder / jar.name, jar)
    return [folder / jar.name for jar in lock]


def cache_dir() -> Path:
    """Where fetched and derived files are kept: `GOVERN_CACHE_DIR`, else `~/.cache/governance-in-motion`."""
    return Path(os.environ.get("GOVERN_CACHE_DIR") or "~/.cache/governance-in-motion").expanduser().absolute()


def lock_digest() -> str:
    """SHA-256 of the lock: it names the cache's folders, so that two releases never share one."""
    return hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()


def read_lock() -> list[Jar]:
    """Return the locked jars; raises Misconfigured with file and line where the lock cannot be read."""
    jars = []
    for number, line in enumerate(LOCK_FILE.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 3 or len(parts[0]) != 64 or not parts[1].isdigit() or parts[2].count(":") != 2:
            raise Misconfigured(
                f"{LOCK_FILE.name}:{number}: expected `sha256 size group:artifact:version`; restore it from the repository"
            )
        jars.append(Jar(parts[2], parts[0], int(parts[1])))
    return jars


def _refuse_strangers(folder: Path, lock: Sequence[Jar]) -> None:
    locked = {jar.name for jar in lock}
    for path in sorted(folder.iterdir()):
        if path.name not in locked and path.suffix == ".jar":
            raise Misconfigured(
                f"{path} is not in {LOCK_FILE.name}: delete it, or the whole folder {folder}, and try again"
            )


def _check(path: Path, jar: Jar) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise Misconfigured(
            f"{path} was altered: its SHA-256 is {found}, {LOCK_FILE.name} demands {jar.sha256}; delete it and try again"
        )


def _fetch(missing: Sequence[Jar], folder: Path, progress: Progress) -> None:
    """Fetch with four connections; each jar is checked before it gets its place, so an interrupted fetch goes on later."""
    source, why = mirror()
    total = sum(jar.size for jar in missing)
    progress(f"fetching Apache Kafka: {len(missing)} jars, {total / MIB:.0f} MB")
    stop = threading.Event()
    done = 0
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary, ThreadPoolExecutor(4) as pool:
        context = MavenContext(
            resolver=PythonResolver(), repo_cache=Path(temporary), remote_repos={"mirror": source}, timeout=30
        )
        work = {pool.submit(_fetch_one, jar, context, folder, stop): jar for jar in missing}
        try:
            for count, future in enumerate(as_completed(work), start=1):
                future.result()
                done += work[future].size
                progress(f"fetched {count} of {len(missing)} jars, {done / MIB:.0f} of {total / MIB:.0f} MB")
        except (OSError, RuntimeError) as error:
            raise Misconfigured(_not_to_be_had(source, why, folder, error)) from error
        finally:
            stop.set()


def _fetch_one(jar: Jar, context: MavenContext, folder: Path, stop: threading.Event) -> None:
    if stop.is_set():
        return
    group, artifact, version = jar.coordinate.split(":")
    path = Path(context.project(group, artifact).at_version(version).artifact().resolve())
    _check_fetched(path, jar)
    path.replace(folder / jar.name)


def _check_fetched(path: Path, jar: Jar) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != jar.sha256:
        raise Misconfigured(
            f"the mirror served another {jar.name} than {LOCK_FILE.name} demands (SHA-256 {found} instead of {jar.sha256}); "
            "set GOVERN_MAVEN_MIRROR to one that serves the original"
        )


def _not_to_be_had(source: str, why: str, folder: Path, error: Exception) -> str:
    return (
        f"cannot fetch Apache Kafka from {source} ({why}): {error}. Connect this machine to it, or set GOVERN_MAVEN_MIRROR "
        f"to a Maven repository it reaches, or copy {folder} from a machine that has it, "
        "or set GOVERN_BOOTSTRAP_SERVERS to use an existing cluster"
    )


def mirror() -> tuple[str, str]:
    """Return the Maven repository to ask, and where that choice comes from."""
    if chosen := os.environ.get("GOVERN_MAVEN_MIRROR"):
        return chosen.rstrip("/"), "GOVERN_MAVEN_MIRROR"
    settings = Path("~/.m2/settings.xml").expanduser()
    if settings.is_file():
        for element in ET.parse(settings).iter():
            if element.tag.endswith("}mirror") or element.tag == "mirror":
                fields = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
                if {"central", "*", "external:*"} & set(fields.get("mirrorOf", "").split(",")) and fields.get("url"):
                    return fields["url"].rstrip("/"), str(settings)
    return str(MAVEN_CENTRAL_URL), "jgo's default"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder.parent / f"{folder.name}.lock").open("w")
    except OSError as error:
        raise Misconfigured(
            f"cannot write the cache {folder}: {error}; set GOVERN_CACHE_DIR to a writable folder"
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def resolve_closure() -> list[Jar]:
    """Resolve ROOTS anew, by jgo's Python resolver: what the lock must hold (`python -m orchestration.kafka_jars`).

    Each root by itself: jgo takes every root's dependency management for all, and log4j's would bring an older Kafka.
    Raises Misconfigured when two roots then disagree on a version.
    """
    source, _ = mirror()
    jars: dict[str, Jar] = {}
    with tempfile.TemporaryDirectory() as temporary:
        context = MavenContext(resolver=PythonResolver(), repo_cache=Path(temporary), remote_repos={"mirror": source})
        for root in ROOTS:
            roots, others = context.resolver.resolve([context.create_dependency(root)])
            for one in [*roots, *others]:
                data = Path(one.artifact.resolve()).read_bytes()
                jar = Jar(f"{one.groupId}:{one.artifactId}:{one.version}", hashlib.sha256(data).hexdigest(), len(data))
                name = f"{one.groupId}:{one.artifactId}"
                if jars.setdefault(name, jar) != jar:
                    raise Misconfigured(
                        f"{jars[name].coordinate} and {jar.coordinate}: let the ROOTS agree on one version"
                    )
    return sorted(jars.values(), key=lambda jar: jar.coordinate)


if __name__ == "__main__":
    lines = [
        "# sha256, bytes, Maven coordinate of every jar the local broker runs; made by python -m orchestration.kafka_jars"
    ]
    lines += [f"{jar.sha256} {jar.size} {jar.coordinate}" for jar in resolve_closure()]
    LOCK_FILE.write_text("\n".join(lines) + "\n")
