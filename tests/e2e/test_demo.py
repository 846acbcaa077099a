"""`govern demo` as a person types it: everything holds, what it suggests works, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agents.audit.proof import VerdictId
from orchestration import keys
from orchestration.archive import Archive
from orchestration.demo import story
from orchestration.demo.story import settings_of
from orchestration.local_ray import LocalRay
from orchestration.log_store import LogStore
from orchestration.profile_store import ProfileStore
from orchestration.reexecute import reexecute

COUNT = 600


class Ran:
    """A finished demo in a folder of its own."""

    def __init__(self, folder: Path, how: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOVERN_", "RAY_"))}
        self.environment = kept | {
            "GOVERN_KEYS_DIR": str(folder / "keys"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.done = self.shell(f"govern demo {how}")

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=240
        )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    found = Ran(tmp_path_factory.mktemp("demo"), f"--fast --count {COUNT}")
    yield found
    story._stop(settings_of(found.folder / "var" / "demo"))  # what a test that failed half-way has left running


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """As `make demo` runs it, at the rate that people watch."""
    return Ran(tmp_path_factory.mktemp("whole"), "")


def test_everything_holds_and_the_screen_says_so_without_noise(ran):
    assert ran.done.returncode == 0, (ran.done.stdout, ran.done.stderr)
    assert ran.done.stderr == ""
    said = " ".join(ran.done.stdout.split())
    assert said.count("✓") == 15
    assert re.search(r"Mei Chen: \d+ decisions of [0-9a-z]{4}-[0-9a-z]{4} let go out", said)
    assert "released, once and byte for byte" in said
    assert "✗" not in said
    assert f"each of {COUNT} records sent has exactly one verdict" in said
    assert "entries consistent, anchored and complete" in said
    assert "judged again, from evidence and archive, gives all" in said
    assert "Everything held" in said


@pytest.mark.long
def test_whatever_goes_wrong_is_caught_on_the_lanes_and_declines_are_held_from_then_on(whole):
    assert whole.done.returncode == 0, whole.done.stdout.partition("What was caught")[2] + whole.done.stderr
    assert whole.done.stderr == ""
    said = " ".join(whole.done.stdout.split())
    assert said.count("✓") == 21
    assert re.search(r"Ann Lee and Ben Ortiz: [\d,]+ decisions of \S+ withheld", said)
    assert re.search(r"10 released and [\d,]+ withheld, once and byte for byte", said)
    assert "✗" not in said
    assert "no alarm in the first week: 5,270 decisions" in said
    assert "all 7 causes were caught, each after it began" in said
    ratio, after = re.search(r"under 26 (0\.\d\d) times as often .*? came after ([\d,]+) decisions", said).groups()
    assert float(ratio) < 0.7
    assert int(after.replace(",", "")) <= 8_000
    held = re.search(r"once it alarmed, all ([\d,]+) declines of version 2.2.0 were held", said)
    assert int(held[1].replace(",", "")) > 500
    assert "held by the alarm, judged again, from evidence and archive, gives all" in said
    caught = whole.done.stdout.partition("What was caught")[2].partition("Checks")[0]
    assert "age_band=under 26" in caught
    assert "limit_bal" in caught
    assert "pay_amt" in caught
    assert "<svg" in (whole.folder / "var" / "demo" / "approval-gap.svg").read_text()


def left_of(folder: Path) -> list[list[str]]:
    """Command lines of processes that have to do with a folder."""
    return [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or ())
    ]


def test_nothing_runs_afterwards(ran):
    assert left_of(ran.folder) == []
    assert not LocalRay(ran.folder / "var" / "demo" / "ray").running()


@pytest.mark.long
def test_told_to_end_it_ends_what_it_started(ran, tmp_path):
    """Which it must even though Ray, once joined, takes SIGTERM for itself."""
    with subprocess.Popen(
        ["govern", "demo", "--count", "20000"], cwd=tmp_path, env=ran.environment, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if " sent, " in line:
                demo.terminate()
                break
        rest = demo.stdout.read()
        assert demo.wait(60) == 130
    assert "Everything held" not in rest
    assert left_of(tmp_path) == []
    assert not LocalRay(tmp_path / "var" / "demo" / "ray").running()


@pytest.mark.long
def test_what_it_suggests_can_be_typed_as_it_stands(ran):
    tail = ran.done.stdout.partition("What to try next")[2]
    lines = [line.strip() for line in tail.splitlines() if re.match(r"  (govern|export) ", line)]
    export, *commands = lines
    assert len(commands) == 5
    for line in commands[:-1]:
        done = ran.shell(f"{export} && {line}")
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    again = ran.shell(f"{export} && {commands[-1].replace(';', ' &&')}")  # up && status && signals explain && down
    assert again.returncode == 0, (again.stdout, again.stderr)
    assert re.search(r"(\d+) of \1 lanes run", again.stdout)
    assert "matches what was published" in " ".join(again.stdout.split())


@pytest.mark.long
def test_every_single_decision_comes_out_the_same_when_judged_again(ran):
    settings = settings_of(ran.folder / "var" / "demo").model_copy(update={"keys_dir": ran.folder / "demo-keys"})
    store, archive = LogStore(settings.store_url), Archive(settings.archive_url)
    salt, profiles = (
        keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt),
        ProfileStore(settings.profiles_url),
    )
    kinds: dict[str, int] = {}
    for topic, partition in archive.partitions():
        for record in archive.scan(topic, partition, 0, 1 << 62):
            wanted = VerdictId(topic, partition, record.offset, "gate")
            found = reexecute(wanted, settings.prefix, store, archive, salt, settings.max_record_bytes, profiles.get)
            assert (found.recorded, found.remarks) == (found.again, ())
            kind = found.verdict.data.kind.value
            kinds[kind] = kinds.get(kind, 0) + 1
    assert sum(kinds.values()) == COUNT
    assert set(kinds) == {"decision", "duplicate", "conflict", "malformed", "undeclared"}


def test_a_tampered_archive_does_not_come_out_the_same(ran):
    proof = json.loads((ran.folder / "var" / "demo" / "auditor" / "proof.json").read_text())
    assert proof["origin"].startswith("demo/verdicts/")
    (chunk, *_) = sorted((ran.folder / "var" / "demo" / "archive").rglob("*.parquet"))
    chunk.write_bytes(chunk.read_bytes()[:-100])
    first = chunk.name.partition("-")[0].lstrip("0") or "0"
    done = ran.shell(
        f"GOVERN_PREFIX=demo GOVERN_DATA_DIR=var/demo govern replay demo.decisions/{chunk.parent.name}/{first}"
    )
    assert done.returncode == 1
    assert "is damaged" in done.stderr
