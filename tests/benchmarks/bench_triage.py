"""CPU time to tell one incident, and to check one answer: `python -m tests.benchmarks.bench_triage`.

With 2,000 signals that stand, 300 past incidents and 40 changes; process time, so that a busy machine changes little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from agents.events import Signal
from agents.people_events import Incident
from agents.policy.surroundings import signal_key
from agents.records import Plain, collect
from agents.triage.agent import TriageAgent
from agents.triage.checks import check
from agents.triage.similar import Past
from tests.unit.triage.situations import CONFIGURATION, NOW_MS, incident, seen, signal
from tests.unit.triage.test_checks import GOOD
from tests.unit.triage.test_telling import configured, tell

SIGNALS, PAST, TOLD = 2_000, 300, 200
LIMIT_MS = 50.0
"""CPU milliseconds an incident, at most."""


def agent() -> TriageAgent:
    """A lane's agent that has seen much."""
    found = TriageAgent("gim", "gim.incidents")
    _, key, value = configured(CONFIGURATION)
    rows = [Plain("gim.config", 0, 0, NOW_MS, key, value)]
    signals = []
    for number in range(SIGNALS):
        data = signal(segment=f"product={number}", status="alarm" if number % 7 == 0 else "ok")
        event = Signal(id="s", source="/gim/monitor", data=data)
        body = event.model_dump_json(exclude_none=True).encode()
        signals.append(Plain("gim.signals", 0, number, NOW_MS, signal_key(data).encode(), body))
    for number in range(PAST):
        words = f"cause:rule-{number % 40} model:credit-limit kind:disparate_impact segment:product={number}"
        found.memory.remember(f"p{number:07}", Past(words, "t", "rejected", "why", "model-risk"))
    list(found.take({"config": rows, "signals": signals}, [], [], []))
    return found


def cost(what: Callable[[int], object], count: int) -> list[float]:
    """CPU milliseconds of each of so many."""
    found = []
    for number in range(count):
        start = time.process_time()
        what(number)
        found.append(1000 * (time.process_time() - start))
    return sorted(found)


def main() -> None:
    """Print both; exit status 1 above the limit."""
    one = agent()

    def telling(number: int) -> object:
        data = incident(incident=f"n{number:07}")
        event = Incident(id=f"{data.incident}/0", source="/gim/escalation", data=data)
        body = event.model_dump_json(exclude_none=True, by_alias=True).encode()
        record = Plain("gim.incidents", 0, number, NOW_MS + number, b"k", body)
        return collect(one.take({}, [], [record], []))

    before = tell(seen())
    for name, found in (
        ("tell one incident", cost(telling, TOLD)),
        ("check one answer", cost(lambda number: check(GOOD, before), TOLD)),
    ):
        middle, high = statistics.median(found), found[int(0.95 * len(found))]
        print(f"{name}: {middle:.1f} ms of CPU, p95 {high:.1f} ms")
        if high > LIMIT_MS:
            raise SystemExit(f"slower than {LIMIT_MS:.0f} ms")


if __name__ == "__main__":
    main()
