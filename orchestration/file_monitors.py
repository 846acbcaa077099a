"""Monitors beside the rules while a file of events is replayed: what they say, and what rules may read of it.

The file is taken in blocks of BLOCK places (lines of NDJSON, offsets of an archive), however it is read: monitors see a block
when it is complete, and rules see their signals from the next block on. So the same file gives the same bytes in any batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.configuration import Configuration
from agents.events import SignalData, SignalStatus
from agents.monitor.compilation import Watched
from agents.monitor.contract import Monitor
from agents.monitor.profiles import Profile
from agents.monitor.watch import Watch
from agents.policy.standing import Standing
from agents.records import Plain
from orchestration.signal_records import Signals
from orchestration.watching import BLOCK, Turn, key_of

Attributes = Mapping[str, Mapping[str, str | None]]


class FileMonitors:
    """The monitors of one configuration on one file."""

    def __init__(
        self,
        configuration: Configuration,
        kinds: Mapping[str, type[Monitor]],
        profiles: Mapping[str, Profile] | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        self.watch = Watch(configuration, kinds=kinds)
        self.watch.compare_with(profiles or {})
        self._attributes = attributes
        self._signals = Signals("replay")
        self._pending: list[Plain] = []
        self._block = 0
        self._statuses: dict[object, SignalStatus] = {}
        self.lines: list[bytes] = []
        """Signal events, in order."""
        self.turns: list[Turn] = []
        """Alarms that came or ended, in order."""

    @property
    def watched(self) -> Mapping[str, Watched]:
        """By model."""
        return self.watch.watched

    def before(self, offset: int, standing: Standing, now_ms: int) -> Standing:
        """What stands for a record at this place: with the signals on all complete blocks before it."""
        block = offset // BLOCK
        if block == self._block:
            return standing
        self._block = block
        return self._look(standing, now_ms)

    def take(self, records: Sequence[Plain]) -> None:
        """Decisions that were judged, of the present block."""
        self._pending += records

    def end(self, standing: Standing, now_ms: int) -> list[SignalData]:
        """The last block too; every monitor's present judgement."""
        self._look(standing, now_ms)
        return self.watch.signals()

    def _look(self, standing: Standing, now_ms: int) -> Standing:
        if not self._pending:
            return standing
        said = self.watch.feed(self._pending, attributes=self._attributes)
        self._attributes, self._pending = None, []
        for one in said:
            before = self._statuses.get(key_of(one))
            self._statuses[key_of(one)] = one.status
            if one.status is not before and SignalStatus.ALARM in (one.status, before):
                self.turns.append(Turn(self.watch.decisions, one))
        records = self._signals.records(said, now_ms)
        self.lines += [record.value or b"" for record in records]
        marks = [self._signals.watermark(name, now_ms) for name, one in self.watched.items() if one.monitors]
        return standing.fold("signals", [*records, *marks])[0]
