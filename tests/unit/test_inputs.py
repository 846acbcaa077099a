"""A lane that opens takes what it must know before the rest, whichever partition the brokers give first."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from orchestration.escalation_lane import escalation_inputs
from orchestration.inputs import Intake, place_of
from orchestration.settings import Settings
from orchestration.work import Input, Pace

INPUTS = escalation_inputs(Settings(prefix="gim"))


class Brokers:
    """Gives records of a topic only from a fetch on: its broker is slow."""

    def __init__(self, held: dict[str, int], slow: dict[str, int]) -> None:
        self.held, self.slow, self.fetches = held, slow, 0
        self.at: dict[TopicPartition, int] = {}

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.at[place] = offset

    async def position(self, place: TopicPartition) -> int:
        return self.at[place]

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, Any]:
        self.fetches += bool(timeout_ms)
        found: dict[TopicPartition, Any] = {}
        for place in places:
            start, end = self.at[place], self.held.get(place.topic.removeprefix("gim."), 0)
            if start < end and self.fetches >= self.slow.get(place.topic.removeprefix("gim."), 0):
                self.at[place] = min(end, start + max_records)
                found[place] = [SimpleNamespace(offset=offset) for offset in range(start, self.at[place])]
        return found


async def order(slow: dict[str, int], inputs: Sequence[Input] = INPUTS) -> list[str]:
    """The topics of each step with records, joined."""
    held = {"config": 1, "signals": 3, "triage": 2, "reviews": 3, "flags": 4, "ticks": 5}
    brokers = Brokers(held, slow)
    ends = {one: held[one.topic.removeprefix("gim.")] for one in inputs}
    intake = Intake(brokers, inputs, dict.fromkeys(inputs, 0), ends)  # type: ignore[arg-type]
    steps = []
    for _ in range(12):
        step = await intake.take(Pace(2, 1, 1), lambda: False)
        steps += ["+".join(one.input.topic.removeprefix("gim.") for one in step if one.records)] if step else []
    assert all(brokers.at[place_of(one)] == ends[one] for one in inputs)
    return steps


@pytest.mark.parametrize("slow", [{}, {"reviews": 5}, {"config": 4, "reviews": 6}])
async def test_answers_that_stood_there_are_taken_before_anything_that_tells_the_time(slow: dict[str, int]) -> None:
    steps = await order(slow)
    last = max(at for at, step in enumerate(steps) if "reviews" in step)
    assert not any("ticks" in step or "flags" in step for step in steps[: last + 1])
    assert steps[0] in ("config+signals", "signals")


async def test_without_early_streams_whatever_comes_first_is_taken_first() -> None:
    inputs = [Input(one.topic, one.partition, one.kind) for one in INPUTS]
    steps = await order({"reviews": 6}, inputs)
    assert min(at for at, step in enumerate(steps) if "ticks" in step) < steps.index("reviews")
