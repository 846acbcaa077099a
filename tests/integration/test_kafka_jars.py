"""The broker's jars: only the locked bytes are run, and a machine without a network is told what to do."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.errors import Misconfigured
from orchestration.kafka_jars import ensure_jars, mirror, read_lock

FETCH = "from orchestration.kafka_jars import ensure_jars; print(len(ensure_jars(print)))"


@pytest.fixture(scope="module")
def originals() -> dict[str, Path]:
    """The real jars by Maven path, such as `org/yaml/snakeyaml/2.5/snakeyaml-2.5.jar`."""
    paths = {}
    for jar, path in zip(read_lock(), ensure_jars(), strict=True):
        group, artifact, version = jar.coordinate.split(":")
        paths[f"{group.replace('.', '/')}/{artifact}/{version}/{jar.name}"] = path
    return paths


@pytest.fixture
def cache(tmp_path: Path, originals: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own that holds every jar; returns the jars' folder."""
    folder = tmp_path / "kafka" / next(iter(originals.values())).parent.name
    folder.mkdir(parents=True)
    for path in originals.values():
        os.link(path, folder / path.name) if path.stat().st_dev == tmp_path.stat().st_dev else (
            folder / path.name
        ).write_bytes(path.read_bytes())
    monkeypatch.setenv("GOVERN_CACHE_DIR", str(tmp_path))
    return folder


class Mirror:
    """A Maven repository on loopback that serves the real jars, or what `instead` says, and counts what was asked."""

    def __init__(self, originals: dict[str, Path]) -> None:
        self.asked: Counter[str] = Counter()
        self.instead: dict[str, bytes] = {}
        asked, instead = self.asked, self.instead

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/maven/")
                asked[path] += 1
                data = instead.get(path) or (originals[path].read_bytes() if path in originals else None)
                self.send_response(200 if data is not None else 404)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/maven/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def maven(originals: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    one = Mirror(originals)
    monkeypatch.setenv("GOVERN_MAVEN_MIRROR", one.url)
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> str:
    """A mirror that refuses every connection."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("GOVERN_MAVEN_MIRROR", url)
    return url


def test_with_all_jars_cached_no_network_is_needed(cache: Path, no_network: str) -> None:
    lines: list[str] = []
    assert [path.name for path in ensure_jars(lines.append)] == [jar.name for jar in read_lock()]
    assert lines == []


def test_an_altered_jar_is_refused_by_name(cache: Path, no_network: str) -> None:
    victim = cache / read_lock()[7].name
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.unlink()
    victim.write_bytes(data)
    with pytest.raises(
        Misconfigured, match=r"was altered: its SHA-256 is [0-9a-f]{64}.*delete it and try again"
    ) as error:
        ensure_jars()
    assert str(victim) in str(error.value)


def test_a_jar_that_nobody_locked_is_refused_by_name(cache: Path, no_network: str) -> None:
    stranger = cache / "log4shell-1.0.jar"
    stranger.write_bytes(b"PK")
    with pytest.raises(Misconfigured, match=r"is not in kafka_jars\.lock: delete it") as error:
        ensure_jars()
    assert str(stranger) in str(error.value)


def test_without_jars_and_network_the_message_says_what_to_do(cache: Path, no_network: str) -> None:
    (cache / read_lock()[0].name).unlink()
    with pytest.raises(Misconfigured, match="cannot fetch Apache Kafka") as error:
        ensure_jars()
    for mend in (no_network, "GOVERN_MAVEN_MIRROR", "copy", "GOVERN_BOOTSTRAP_SERVERS"):
        assert mend in str(error.value)


def test_a_missing_jar_alone_is_fetched_again(cache: Path, maven: Mirror, originals: dict[str, Path]) -> None:
    name = read_lock()[3].name
    (cache / name).unlink()
    lines: list[str] = []
    ensure_jars(lines.append)
    assert (cache / name).stat().st_size == read_lock()[3].size
    assert {Path(path).name for path in maven.asked if path.endswith(".jar")} == {name}
    assert lines[0].startswith("fetching Apache Kafka: 1 jars")
    assert lines[-1].startswith("fetched 1 of 1 jars")


def test_a_mirror_that_serves_other_bytes_is_refused_and_nothing_of_it_stays(
    cache: Path, maven: Mirror, originals: dict[str, Path]
) -> None:
    path, original = next(iter(originals.items()))
    (cache / original.name).unlink()
    maven.instead[path] = b"PK not what was locked"
    with pytest.raises(Misconfigured, match=r"the mirror served another .*\.jar than kafka_jars.lock demands"):
        ensure_jars()
    assert not (cache / original.name).exists()
    assert [one.name for one in cache.iterdir() if one.suffix != ".jar"] == []


def test_a_mirror_without_the_jar_is_named(cache: Path, maven: Mirror, originals: dict[str, Path]) -> None:
    path, original = originals.popitem()
    try:
        (cache / original.name).unlink()
        with pytest.raises(Misconfigured, match="not found in remote repositories"):
            ensure_jars()
    finally:
        originals[path] = original


def test_two_processes_fetch_each_jar_once_with_nothing_on_the_path(
    tmp_path: Path, maven: Mirror, originals: dict[str, Path]
) -> None:
    environment = {**os.environ, "GOVERN_CACHE_DIR": str(tmp_path), "PATH": "", "JAVA_HOME": ""}
    pair = [
        subprocess.Popen([sys.executable, "-c", FETCH], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [one.communicate(timeout=120)[0].splitlines()[-1] for one in pair] == [str(len(read_lock()))] * 2
    assert {path: count for path, count in maven.asked.items() if path.endswith(".jar")} == dict.fromkeys(originals, 1)


def test_mavens_own_settings_choose_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOVERN_MAVEN_MIRROR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mirror()[1] == "jgo's default"
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(
        '<settings xmlns="urn:x"><mirrors>'
        "<mirror><mirrorOf>other</mirrorOf><url>http://127.0.0.1:1/other</url></mirror>"
        "<mirror><mirrorOf>central</mirrorOf><url>http://127.0.0.1:1/ours/</url></mirror>"
        "</mirrors></settings>"
    )
    assert mirror() == ("http://127.0.0.1:1/ours", str(tmp_path / ".m2" / "settings.xml"))
    monkeypatch.setenv("GOVERN_MAVEN_MIRROR", "http://127.0.0.1:2/mine/")
    assert mirror() == ("http://127.0.0.1:2/mine", "GOVERN_MAVEN_MIRROR")


def test_a_broken_lock_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "kafka_jars.lock"
    lock.write_text("# comment\nabc 12 org.yaml:snakeyaml:2.5\n")
    monkeypatch.setattr("orchestration.kafka_jars.LOCK_FILE", lock)
    with pytest.raises(Misconfigured, match=r"kafka_jars\.lock:2: expected"):
        read_lock()
