"""The assist lane shows a model some decisions of an incident; one that cannot be read is left out, and stops nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from agents.events import Position
from agents.frames import Reader
from agents.records import Plain, Record
from orchestration.assist_lane import AssistLane
from orchestration.kafka import Broker
from orchestration.log_store import LogStore
from orchestration.settings import Settings
from orchestration.work import LaneName, Pace
from tests.unit.triage.situations import CONFIGURATION

TOPIC = "gim.decisions"
DECISION = {
    "specversion": "1.0",
    "type": "governance.decision.v1",
    "id": "d1",
    "source": "/x",
    "subject": "client-8231",
    "data": {
        "model": {"name": "credit-limit", "version": "2.2.0"},
        "features": {"limit_bal": 20000, "pay_0": 2, "job": "teacher"},
        "output": {"label": "decline"},
    },
}
GOOD = json.dumps(DECISION).encode()
MALFORMED = (b"", b"{", b"\xff", b"[" * 5_000, GOOD.replace(b"20000", b"9" * 40), GOOD.replace(b'"d1"', b'"\\ud800"'))


class Offline(AssistLane):
    """An assist lane whose decisions lie in a list, not on Kafka."""

    def __init__(self, values: Sequence[bytes], store: Path) -> None:
        broker = cast(Broker, SimpleNamespace(settings=Settings(prefix="gim")))
        super().__init__(LaneName("gim", "assist", "gim.triage", 0), broker, LogStore(str(store)), Pace(1, 1, 1))
        self._values = values

    async def _look_up(self, one: Position) -> Sequence[Record]:
        return [Plain(one.topic, one.partition, one.offset, 1_772_442_843_120, b"k", self._values[one.offset])]

    async def shown(self) -> list[str]:
        """What a prompt would show of each decision that can be read."""
        places = [Position(topic=TOPIC, partition=0, offset=offset) for offset in range(len(self._values))]
        return ["\n".join(one.lines) for one in await self._sample(CONFIGURATION, places)]


async def test_malformed_decisions_of_a_sample_are_left_out_and_the_others_are_shown(tmp_path: Path) -> None:
    shown = await Offline([*MALFORMED, GOOD], tmp_path).shown()
    assert len(shown) == 1
    assert "features.job" in shown[0]


@pytest.mark.parametrize(
    "failure",
    [
        msgspec.DecodeError("Object missing required field"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        RecursionError("too deep"),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_bytes_on_which_a_decoder_itself_fails_do_not_stop_the_lane(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader.row

    def row(reader: Reader, record: Record) -> dict[str, object]:
        if record.offset == 0:
            raise failure
        return read(reader, record)

    monkeypatch.setattr(Reader, "row", row)
    shown = await Offline([GOOD, GOOD], tmp_path).shown()
    assert len(shown) == 1
