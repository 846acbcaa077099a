"""A model's `label_maturity` changes while cases wait: what was counted once is not counted again, whatever is lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.configuration import Configuration
from agents.events import ConfigurationData, ConfigurationEvent
from agents.records import Plain, collect
from orchestration.monitor_join import JoinWork, join_inputs
from orchestration.settings import Settings
from orchestration.work import LaneName, Taken
from tests.unit.monitor.test_join_agent import CONFIGURATION
from tests.unit.monitor.test_joining import case, outcome

HOUR_MS = 3_600_000


def applied(maturity: str, offset: int) -> Plain:
    """A record of `config`: the same, but for the maturity."""
    document = CONFIGURATION.document()
    document["models"]["credit"]["label_maturity"] = maturity
    changed = Configuration.model_validate(document)
    data = ConfigurationData(digest=changed.digest(), document=changed.document())
    event = ConfigurationEvent(id=str(offset), source="/t", data=data)
    return Plain("t.config", 0, offset, 0, b"current", event.model_dump_json().encode())


class Lane:
    """A join lane's work, taken through steps and started again."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(prefix="t", data_dir=folder, label_retention_days=30)
        self.inputs = join_inputs(self.settings, 0)
        self.topics: list[list[Plain]] = [[], [], [], []]
        self.work = self._made()

    def _made(self) -> JoinWork:
        return JoinWork(self.settings, LaneName("t", "join", "t.cases", 0), b"k", every_s=0.0)

    def step(self, *records: Sequence[Plain]) -> int:
        """Config, cases, outcomes and ticks of a step; how many cases it counted."""
        taken = []
        for one, known, given in zip(self.inputs, self.topics, records, strict=True):
            taken.append(Taken(one, len(known), len(known) + len(given), given))
            known.extend(given)
        messages = collect(self.work.decide(taken)).get(("t.observations", 0), [])
        return sum(json.loads(value or b"")["data"]["n"] for _, value, _ in messages)

    def commit(self) -> None:
        """What a transaction with a snapshot does beside Kafka: the store is written."""
        self.kept = self.work.snapshot().head
        self.work.settle()

    def again(self) -> None:
        """A start from the last snapshot, and from the store where there is one."""
        ends = {str(one): len(known) for one, known in zip(self.inputs, self.topics, strict=True)}
        self.work = self._made()
        self.work.restore(self.kept.model_copy(update={"offsets": ends}), {})
        for one, known in list(zip(self.inputs, self.topics, strict=True))[:3]:
            self.work.load(one, known[self.work.seen(one) :])


def tick(at_ms: int) -> list[Plain]:
    return [Plain("t.ticks", 0, 0, at_ms, None, b"{}")]


@pytest.mark.parametrize("store", ["of this moment", "from before", "lost"])
def test_what_was_mature_before_is_not_counted_again_when_labels_take_longer(tmp_path: Path, store: str) -> None:
    lane = Lane(tmp_path)
    cases = [case(number, number, f"d{number}") for number in range(10)]
    labels = [outcome(number, 100 + number, f"d{number}") for number in range(6)]
    assert lane.step([applied("10s", 0)], cases, labels, tick(5_000)) == 0
    lane.commit()
    before = lane.work.store.path.read_bytes()
    assert lane.step([], [], [], tick(20_000)) == 6
    assert lane.step([applied("1h", 1)], [case(10, 21_000, "d10")], [], tick(22_000)) == 0
    lane.commit()
    if store == "lost":
        lane.work.store.delete()
    elif store == "from before":
        lane.work.store.path.write_bytes(before)
    lane.again()
    late = [outcome(6, 30_000, "d6"), outcome(7, 30_001, "d10")]
    assert lane.step([], [], late, tick(31_000)) == 1, "d6 was mature: its label is merely late"
    assert lane.step([], [], [], tick(21_000 + HOUR_MS + 1)) == 1, "d10 takes an hour"
    assert lane.step([], [], [], tick(9 * HOUR_MS)) == 0
