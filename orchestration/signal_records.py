"""Signals of a run without Kafka as the records that the topic `signals` would have, so that rules can read them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agents.events import Signal, SignalData, Watermark, WatermarkData
from agents.policy.surroundings import signal_key
from agents.policy.times import iso
from agents.records import Plain


class Signals:
    """Numbers signals as they are published; `source` names the run."""

    def __init__(self, source: str) -> None:
        self.source, self.next = source, 0

    def records(self, said: Sequence[SignalData], now_ms: int) -> list[Plain]:
        """A record for each, in order; `now_ms` is when they were published."""
        return [self._record(signal_key(one), Signal, one, now_ms) for one in said]

    def watermark(self, model: str, now_ms: int) -> Plain:
        """That a model's monitors are not behind: what runs on a file never is."""
        key = json.dumps(["watermark", model], separators=(",", ":"), ensure_ascii=False)
        return self._record(key, Watermark, WatermarkData(model=model, lag_ms=0.0), now_ms)

    def _record(
        self, key: str, kind: type[Signal] | type[Watermark], data: SignalData | WatermarkData, now_ms: int
    ) -> Plain:
        number = self.next
        self.next += 1
        event = kind.model_validate(
            {
                "id": f"{key}@{number}"[-256:],
                "source": f"/{self.source}/monitor",
                "time": iso(max(now_ms, 0)),
                "data": data,
            }
        )
        text = json.dumps(event.model_dump(mode="json", exclude_none=True), separators=(",", ":"), ensure_ascii=False)
        return Plain("signals", 0, number, max(now_ms, 0), key.encode(), text.encode())
