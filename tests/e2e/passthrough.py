"""The smallest real lanes: each copies one partition of `<prefix>.in` to the same partition of `<prefix>.out`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import SnapshotData
from agents.records import Record, Stretch
from orchestration.kafka import Broker
from orchestration.lane import Lane
from orchestration.settings import Settings
from orchestration.work import LaneName, Pace

PARTITIONS = 6


class Copy:
    reach = 0
    durable = False
    snapshot_due = False

    def __init__(self, target: str, partition: int) -> None:
        self.place = (target, partition)

    def restore(self, snapshot: SnapshotData | None) -> None: ...

    def recall(self, records: Sequence[Record]) -> None: ...

    def fold(self, records: Sequence[Record]) -> None: ...

    def decide(self, records: Sequence[Record], standing: Any) -> Iterable[Stretch]:
        return [(self.place, [(record.key, record.value, record.headers) for record in records])]

    def prepare(self) -> None: ...

    def settle(self) -> None: ...

    def snapshot(self) -> SnapshotData:
        return SnapshotData(lane="", offsets={}, sequence={}, now_ms=0)


def make_lane(settings: Settings, name: LaneName) -> Lane:
    if name.agent == "broken":
        raise Misconfigured("this lane has no key; make one")
    out = settings.topic("out")
    return Lane(name, Broker(settings), lambda standing: Copy(out, name.partition), Pace(1_000, 0, 1_000))


def lane_names(settings: Settings, configuration: Configuration | None) -> list[LaneName]:
    """A lane for each partition, and one for each topic that a configuration maps."""
    names = [LaneName(settings.prefix, "copy", settings.topic("in"), number) for number in range(PARTITIONS)]
    for source in configuration.sources if configuration is not None else ():
        names.append(LaneName(settings.prefix, "copy", source.topic, 0))
    return names
