"""Secrets: found in the environment or a private file, refused where others could read them, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.errors import Misconfigured
from orchestration.secrets import resolve_url, secret


def test_a_secret_comes_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERN_SECRET_SLACK_BOT_2", " xoxb-1\n")
    assert secret("slack-bot.2") == "xoxb-1"


def test_a_secret_comes_from_a_private_file_and_follows_its_rotation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "pager"
    file.write_text("first\n")
    file.chmod(0o600)
    monkeypatch.setenv("GOVERN_SECRET_PAGER_FILE", str(file))
    assert secret("pager") == "first"
    file.write_text("second\n")
    assert secret("pager") == "second"


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"s3cr3t", 0o640, "chmod 600"),
        (b"s3cr3t", 0o604, "chmod 600"),
        (b"  \n", 0o600, "is empty"),
        (b"s3cr3t\xff", 0o600, "no UTF-8 text"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, mode: int, told: str
) -> None:
    file = tmp_path / "pager"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    monkeypatch.setenv("GOVERN_SECRET_PAGER_FILE", str(file))
    with pytest.raises(Misconfigured, match=told) as refused:
        secret("pager")
    assert "s3cr3t" not in str(refused.value)
    assert refused.value.__cause__ is None or "s3cr3t" not in repr(refused.value.__cause__)


def test_a_secret_that_is_nowhere_is_told_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOVERN_SECRET_NOWHERE", raising=False)
    with pytest.raises(Misconfigured, match="set GOVERN_SECRET_NOWHERE, or GOVERN_SECRET_NOWHERE_FILE"):
        secret("nowhere")


def test_a_url_may_be_a_secret_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "https://hooks.example.org/T/B/x")
    assert resolve_url("secret:hook") == "https://hooks.example.org/T/B/x"
    assert resolve_url("https://example.org/y") == "https://example.org/y"
