"""A command's words reach whoever reads them: on a terminal without UTF-8, and after Ctrl-C."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest
import typer

from agents.dsse import Private
from orchestration import reviewing
from orchestration.cli import answering, main, reading
from orchestration.settings import Settings

SENT = reviewing.Sent("01JQ8Z6V3T5K9M2N4P6R8S0T1V", "approve", "ann", "7f29-k1mq", "gim.reviews", 7, 1_000)
ANSWER = {"action": "approve", "person": "ann", "incident": "7f29-k1mq", "reason": "looked at"}


@pytest.mark.parametrize("encoding", ["iso-8859-1", "cp1252"])
def test_what_an_encoding_lacks_is_escaped_as_in_json(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    main(["--version"])
    reading.tell({"said": "● ‹é› 😀"})
    assert json.loads(raw.getvalue().decode(encoding).splitlines()[-1]) == {"said": "● ‹é› 😀"}


@pytest.mark.parametrize("when", ["sending", "waiting"])
def test_ctrl_c_says_whether_the_answer_is_recorded(
    when: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def send(*_: object) -> reviewing.Sent:
        if when == "sending":
            raise KeyboardInterrupt
        return SENT

    async def outcome(*_: object) -> reviewing.Outcome:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(reviewing, "send", send)
    monkeypatch.setattr(reviewing, "outcome", outcome)
    with pytest.raises(typer.Exit) as ended:
        answering.answered(Settings(), ANSWER, Private(bytes(32)))
    assert ended.value.exit_code == 130
    told = capsys.readouterr().err
    assert (SENT.id in told) is (when == "waiting")
    assert "interrupted" in told
