"""The triage lane's memory at its largest fits the records of the snapshot topic, and comes back whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agents.events import Snapshot, SnapshotData
from agents.triage.agent import LONGEST_REASON, MOST_OPEN, MOST_RULINGS, MOST_WAITING, MOST_WORDS, Told
from agents.triage.changes import MOST as MOST_CHANGES
from agents.triage.changes import MOST_MODELS, MOST_VERSIONS
from agents.triage.seen import Change
from agents.triage.similar import MOST, Past
from orchestration.settings import Settings
from orchestration.snapshots import PART_BYTES, Parts
from orchestration.triage_lane import TriageWork
from orchestration.work import LaneName
from tests.unit.triage.situations import NOW_MS, incident

NAME = LaneName("gim", "triage", "gim.incidents", 0)


class Topic:
    """What stands on the snapshot topic after compaction."""

    def __init__(self) -> None:
        self.parts, self.values = Parts(NAME), dict[str, bytes]()

    def snapshot(self, work: TriageWork) -> None:
        for key, value, _ in self.parts.messages(work.snapshot(), {}, 0):
            assert key is not None
            if value is None:
                del self.values[key.decode()]
            else:
                assert len(value) <= PART_BYTES
                self.values[key.decode()] = value

    def restored(self) -> TriageWork:
        """A lane that starts from it."""
        whole = {key: Snapshot.model_validate_json(value).data for key, value in self.values.items()}
        head: SnapshotData = whole.pop(NAME.transactional_id)
        parts: Mapping[str, Mapping[str, Any]] = {
            key.removeprefix(f"{NAME.transactional_id}/"): one.state for key, one in whole.items()
        }
        assert set(parts) == set(head.parts)
        work = TriageWork(Settings(prefix="gim"), NAME)
        work.restore(head, parts)
        return work


def largest() -> TriageWork:
    """Everything that may be remembered, each as long as it may be, in signs that take three bytes each."""
    work = TriageWork(Settings(prefix="gim"), NAME)
    agent = work.agent
    for number in range(MOST_WAITING):
        keys = [msgspec.json.encode([f"fairness/{at}", "信" * 60, "貸" * 60, None]).decode() for at in range(500)]
        one = incident(incident=f"wait-{number:04}", keys=keys, reason="貸" * 4_000)
        agent.waiting[one.incident] = (one, NOW_MS)
    agent.told = {f"told-{number:04}": Told("error", "hold", 10**9, 10**9) for number in range(MOST_OPEN)}
    agent.words = {f"told-{number:04}": "語" * 600 for number in range(MOST_WORDS)}
    for number in range(MOST):
        agent.memory.remember(
            f"past-{number:04}", Past("語" * 600, "題" * 200, "rejected", "由" * LONGEST_REASON, "team")
        )
    agent.rulings = {f"ruled-{number:04}": "由" * LONGEST_REASON for number in range(MOST_RULINGS)}
    for number in range(MOST_MODELS):
        agent.lately.versions[f"model-{number:0120}"] = {"版" * 60 + f"{at:04}": NOW_MS for at in range(MOST_VERSIONS)}
    agent.lately.changes = [Change(NOW_MS, "configuration", "変" * 1_000, "s" * 256, "m" * 128)] * MOST_CHANGES
    agent.now_ms = NOW_MS
    return work


def remembered(work: TriageWork) -> tuple[Any, Any, Any]:
    return work.agent.head(), work.agent.open_incidents(), work.agent.memory.plain()


def test_the_most_that_is_remembered_fits_and_comes_back() -> None:
    work, topic = largest(), Topic()
    topic.snapshot(work)
    assert remembered(topic.restored()) == remembered(work)


def test_what_got_shorter_since_leaves_nothing_behind_also_after_a_restart() -> None:
    topic = Topic()
    topic.snapshot(largest())
    many = len(topic.values)
    work = topic.restored()
    work.agent.waiting.clear()
    topic.snapshot(work)
    assert len(topic.values) < many / 2
    assert remembered(topic.restored()) == remembered(work)


def test_only_slices_that_changed_are_written_again() -> None:
    work = largest()
    first = work.snapshot()
    assert len(first.changed) > 10
    assert not work.snapshot().changed
    work.agent.memory.remember("new", Past("a", "b", None))
    assert {part.partition("/")[0] for part in work.snapshot().changed} == {"past"}
