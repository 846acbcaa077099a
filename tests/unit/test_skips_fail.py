"""Where CI=true no test is skipped unseen: the run fails and names the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPING = """
import pytest

def test_runs() -> None:
    assert True

def test_is_skipped() -> None:
    pytest.skip("the moon is full")
"""


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_one.py").write_text(SKIPPING)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "--rootdir", str(folder)]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_skipped_test_fails_the_run_in_ci_only(tmp_path: Path, ci: str, status: int) -> None:
    done = run(tmp_path, ci)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("the moon is full" in done.stdout) == (ci == "true")
