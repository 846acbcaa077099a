"""Every step of a lane with several inputs decided again from its manifests, and compared with what the lane wrote.

For auditors and tests: the same manifests on the same inputs give the same bytes, or this says where they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.records import Message, Place, collect
from orchestration import manifests
from orchestration.archive import Expired
from orchestration.inputs import Ranges, place_of
from orchestration.kafka import Broker, close
from orchestration.settings import Settings
from orchestration.work import Input, LaneName, ManifestWork


@dataclass(frozen=True, slots=True)
class StepsAgain:
    """What came of deciding a lane's steps again."""

    steps: int
    records: int
    """How many outputs were compared."""
    differences: tuple[str, ...]
    """In plain words, the first of each place; none where every byte is the same."""


async def reexecute_manifests(
    settings: Settings, name: LaneName, inputs: Sequence[Input], make: Callable[[], ManifestWork]
) -> StepsAgain:
    """Decide every step again from the lane's very first, in memory, with `inputs` and `make` as the lane has them.

    Where a lane numbers its records of a topic (`govern-seq`), all of them are compared; of other topics, which several
    writers share, that what was decided is there in its order. A compacted table gives the same bytes only as long as
    compaction has left it alone.

    Raises:
        Expired: records that a step took are deleted.
        OffsetsLost: a manifest is missing.
    """
    broker = Broker(settings)
    steps = await manifests.all_of(broker, name, inputs)
    starts = {one: _start(one, steps) for one in inputs}
    written: dict[Place, list[Message]] = {}
    consumer = await broker.consumer(*((one.topic, one.partition) for one in inputs))
    try:
        begins = await consumer.beginning_offsets([place_of(one) for one in inputs])
        for one, start in starts.items():
            if start < begins[place_of(one)] and any(
                (step.topic == one.topic) for all_ in steps for step in all_.inputs
            ):
                raise Expired(f"{one} begins at {begins[place_of(one)]}; the lane {name} began at {start}")
        ranges, work = Ranges(consumer, starts), make()
        work.restore(None, {})
        for step in steps:
            for place, messages in collect(work.decide(await ranges.step(inputs, step.inputs))).items():
                written.setdefault(place, []).extend(messages)
    finally:
        await close(consumer)
    found = {place: await broker.read_all(*place) for place in written}
    went_on = len(await manifests.all_of(broker, name, inputs)) > len(steps)
    differences = [
        told
        for place, messages in written.items()
        if (told := _difference(name, place, messages, found[place], went_on=went_on)) is not None
    ]
    return StepsAgain(len(steps), sum(map(len, written.values())), tuple(differences))


def _start(one: Input, steps: Iterable[Any]) -> int:
    places = (place for step in steps for place in step.inputs)
    return next((place.start for place in places if (place.topic, place.partition) == (one.topic, one.partition)), 0)


def _difference(
    name: LaneName, place: Place, again: Sequence[Message], there: Sequence[Any], *, went_on: bool
) -> str | None:
    """The first difference between what was decided again and what the topic holds."""
    writer = ("govern-writer", name.transactional_id.encode())
    where = f"{place[0]}/{place[1]}"
    wanted = [(key, value, tuple(headers)) for key, value, headers in again]
    found = [(one.key, one.value, tuple(one.headers)) for one in there]
    if not any(writer in headers for _, _, headers in wanted):
        rest = iter(found)  # `in` consumes it: each is looked for after the one before
        missing = next((at for at, one in enumerate(wanted) if one not in rest), None)
        return None if missing is None else f"{where} lacks record {missing} of the lane: {wanted[missing][1]!r:.200}"
    found = [one for one in found if writer in one[2]]
    for at, (old, new) in enumerate(zip(found, wanted, strict=False)):
        if old != new:
            return f"{where} has {old!r:.300} as record {at} of the lane, decided again: {new!r:.300}"
    if len(found) < len(wanted) or (len(found) > len(wanted) and not went_on):
        return f"{where} has {len(found)} records of the lane, decided again: {len(wanted)}"
    return None
