"""What a lane with several inputs takes: a step is one contiguous range of each input, in the lane's fixed order.

Promise: the ranges of consecutive steps follow each other without a gap, so a manifest of them says all there is to say.
Tables come first: what stood on them when the lane opened is taken before anything of a stream; then early streams.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.events import InputRange
from orchestration.work import Input, Pace, Taken

IDLE_MS = 200  # how long a fetch waits when nothing is there
SLICE_S = 0.05
"""While a batch gathers, how often what came is taken over: the client fetches no more of a partition before."""


def place_of(one: Input) -> TopicPartition:
    """The input as the client names it."""
    return TopicPartition(one.topic, one.partition)


class Intake:
    """Takes steps from a consumer that is assigned to every input; `positions` is where the next step begins."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        inputs: Sequence[Input],
        positions: Mapping[Input, int],
        ends: Mapping[Input, int],
    ) -> None:
        """Seeks to the positions. `ends`: where inputs end as far as can be seen at the opening."""
        self._consumer, self._inputs, self.positions = consumer, inputs, dict(positions)
        self._places = [place_of(one) for one in inputs]
        stages = ([one for one in inputs if one.kind == "table"], [one for one in inputs if one.early])
        self._behind = [{place_of(one): ends[one] for one in stage} for stage in stages]
        for one in inputs:
            consumer.seek(place_of(one), positions[one])

    async def take(self, pace: Pace, stopping: Callable[[], bool]) -> list[Taken]:
        """The next step, empty where nothing came within IDLE_MS: up to `pace.records` of each input.

        Once it has a record it waits `pace.age_ms` for more, unless an input has brought all that fits.
        """
        places, limit = await self._wanted(), pace.records
        found: dict[TopicPartition, list[Any]] = {}
        for place, records in (await self._consumer.getmany(*places, timeout_ms=IDLE_MS, max_records=limit)).items():
            found[place] = list(records)
        if not found:
            return []
        until = time.monotonic() + pace.age_ms / 1000
        await self._gather(found, places, limit)
        while not stopping() and (left := until - time.monotonic()) > 0:
            if any(len(records) >= limit for records in found.values()):
                break
            await asyncio.sleep(min(left, SLICE_S))
            await self._gather(found, places, limit)
        return self._step(found)

    async def lag(self) -> int:
        """Committed records of streams and tables that no step has taken, markers left out where they are known."""
        lag = 0
        for one, place in zip(self._inputs, self._places, strict=True):
            stable = self._consumer.last_stable_offset(place)
            if one.kind != "clock" and stable is not None and stable >= 0:
                lag += max(0, stable - max(self.positions[one], await self._consumer.position(place)))
        return lag

    async def _wanted(self) -> list[TopicPartition]:
        """Only tables, then only early streams, while any of them has not come to the end that was seen at the opening."""
        while self._behind:
            stage = self._behind[0]
            for place in [one for one, end in stage.items() if await self._consumer.position(one) >= end]:
                del stage[place]
            if stage:
                return list(stage)
            self._behind.pop(0)
        return self._places

    async def _gather(
        self, found: dict[TopicPartition, list[Any]], places: Sequence[TopicPartition], limit: int
    ) -> None:
        """What is there already, input by input, so that a busy one leaves room for the others."""
        for place in places:
            room = limit - len(found.get(place, ()))
            if room:
                more = await self._consumer.getmany(place, timeout_ms=0, max_records=room)
                if place in more:
                    found.setdefault(place, []).extend(more[place])

    def _step(self, found: Mapping[TopicPartition, list[Any]]) -> list[Taken]:
        step = []
        for one, place in zip(self._inputs, self._places, strict=True):
            records, start = found.get(place, []), self.positions[one]
            end = records[-1].offset + 1 if records else start
            self.positions[one] = end
            step.append(Taken(one, start, end, records))
        return step


class Ranges:
    """Reads given ranges of several inputs again, each input from front to back, without ever seeking back."""

    def __init__(self, consumer: AIOKafkaConsumer, starts: Mapping[Input, int]) -> None:
        """Seeks to the starts, which must not have been deleted."""
        self._consumer = consumer
        self._held: dict[Input, list[Any]] = {one: [] for one in starts}
        for one, start in starts.items():
            consumer.seek(place_of(one), start)

    async def read(self, one: Input, start: int, end: int) -> list[Any]:
        """Committed records with start <= offset < end; waits for those that an open transaction hides."""
        if start >= end:
            return []
        place, held = place_of(one), self._held[one]
        while await self._consumer.position(place) < end:
            held += (await self._consumer.getmany(place, timeout_ms=200, max_records=5_000)).get(place, ())
        cut = next((at for at, record in enumerate(held) if record.offset >= end), len(held))
        found, self._held[one] = held[:cut], held[cut:]
        return [record for record in found if record.offset >= start]

    async def step(self, inputs: Sequence[Input], ranges: Sequence[InputRange]) -> list[Taken]:
        """A step as its manifest names it; an input that the manifest leaves out gave nothing."""
        named = {(one.topic, one.partition): one for one in ranges}
        step = []
        for one in inputs:
            taken = named.get((one.topic, one.partition))
            start, end = (taken.start, taken.end) if taken is not None else (0, 0)
            step.append(Taken(one, start, end, await self.read(one, start, end)))
        return step
