"""`govern init` at a real terminal: its questions are answered by typing, and Ctrl-C in the middle leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration.config_files import load
from tests.unit.commands.world import alone, decisions

CTRL_C = b"\x03"
QUESTIONS = ("model's answer?", "people hope for", "its score?", "protected attributes", "time of the decision?")


class Terminal:
    """A command that runs at a pseudo-terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
            code = "from orchestration.cli.main import main; main()"
            os.execv(sys.executable, [sys.executable, "-c", code, *words])
        self.said = ""

    def await_(self, text: str, seconds: float = 60) -> None:
        """Read until the text stands on the screen."""
        start, until = len(self.said), time.monotonic() + seconds
        while text not in self.said[start:]:
            assert self._read(until), f"{text!r} never came: {self.said}"

    def type(self, keys: bytes) -> None:
        """As a person would."""
        os.write(self._screen, keys)

    def interrupt(self, tries: int = 10) -> None:
        """Ctrl-C, again while nothing is said to it: the instant between a question and its read loses one in Python."""
        before = len(self.said)
        for _ in range(tries):
            self.type(CTRL_C)
            until = time.monotonic() + 2
            while select.select([self._screen], [], [], max(0.0, until - time.monotonic()))[0]:
                if not self._read(until) or "Abort" in self.said[before:]:
                    return

    def end(self, seconds: float = 60) -> int:
        """Read to the end; the exit status, negative where a signal ended it."""
        until = time.monotonic() + seconds
        while self._read(until):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def _read(self, until: float) -> bool:
        ready, _, _ = select.select([self._screen], [], [], max(0.0, until - time.monotonic()))
        assert ready, f"nothing came any more: {self.said}"
        try:
            data = os.read(self._screen, 65_536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.said += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        return bool(data)

    def close(self) -> None:
        """End the command if it still runs."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._screen)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    one = Terminal(*words)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(one for one in sys.path if one))
    decisions(300).write_csv(tmp_path / "credit.csv")
    return alone(tmp_path, monkeypatch)


def test_five_questions_are_answered_by_typing_and_enter_takes_the_guess(here: Path) -> None:
    answers = (b"\r", b"decline\r", b"\r", b"sex, channel\r", b"\r")
    with terminal("init", "credit.csv") as screen:
        for question, answer in zip(QUESTIONS, answers, strict=True):
            screen.await_(question)
            screen.type(answer)
        assert screen.end() == 0, screen.said
    assert screen.said.count("?") == 5
    assert "[decision]" in screen.said
    assert "Traceback" not in screen.said
    model = load(here / "governance.yaml").models["credit"]
    assert list(model.groups) == ["sex", "channel"]
    assert [name for name, one in model.labels.items() if one.favourable] == ["decline"]
    assert sorted(one.name for one in here.iterdir()) == ["credit.csv", "governance.yaml", "keys"]


@pytest.mark.parametrize("after", [0, 3])
def test_ctrl_c_in_the_middle_leaves_nothing_behind(here: Path, after: int) -> None:
    with terminal("init", "credit.csv") as screen:
        for question in QUESTIONS[:after]:
            screen.await_(question)
            screen.type(b"\r")
        screen.await_(QUESTIONS[after])
        screen.interrupt()
        assert screen.end() != 0, screen.said
    assert "Abort" in screen.said
    assert "Traceback" not in screen.said
    assert [one.name for one in here.iterdir()] == ["credit.csv"]


def test_a_wrong_answer_is_named_and_nothing_is_written(here: Path) -> None:
    with terminal("init", "credit.csv", "--favourable", "approve", "--score", "score", "--time", "at") as screen:
        screen.await_(QUESTIONS[0])
        screen.type(b"verdict\r")
        screen.await_("protected attributes")
        screen.type(b"\r")
        assert screen.end() == 1, screen.said
    assert "there is no column 'verdict'" in screen.said
    assert "Traceback" not in screen.said
    assert [one.name for one in here.iterdir()] == ["credit.csv"]
