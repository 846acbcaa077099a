"""What incidents cost: flags a second in a storm, memory, and how soon a lane with many open incidents is back.

    python -m tests.benchmarks.bench_escalation

A storm of 50,000 flags, one decision each, of 20 causes; then 10,000 open incidents, snapshot, restart; then 1,000 signed
answers. No Kafka: the agent alone, on one core.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from tests.unit.escalation.lane import Lane, declared, flag


def main() -> None:
    """Print the figures."""
    lane = Lane(declared(bulk={"items": 1_000_000}))
    values = [flag(f"lending/r{n % 20}", first=n) for n in range(50_000)]
    spent = timed(lambda: [lane.flags(*values[start : start + 2_000]) for start in range(0, 50_000, 2_000)])
    lane.wait(10)
    print(f"storm: {50_000 / spent:,.0f} flags a second; {len(lane.incidents)} incidents, {len(lane.history)} records,")
    print(f"       {len(lane.told)} messages, {sum(one.held for one in lane.incidents.values()):,} held")

    many = Lane(declared())
    made = [flag(f"lending/m{n}", first=n) for n in range(10_000)]
    spent = timed(lambda: [many.flags(*made[start : start + 1_000]) for start in range(0, 10_000, 1_000)])
    print(f"open: {10_000 / spent:,.0f} incidents a second")
    spent = timed(many.restart)
    sizes = [len(part["text"]) for part in many.parts.values()]
    print(f"snapshot and restart of 10,000: {spent:.2f} s, {len(sizes)} parts, the largest {max(sizes):,} characters")
    spent = timed(lambda: many.wait(1))
    print(f"a tick that nothing is due at: {spent * 1000:.2f} ms")

    some = list(many.incidents.values())[:1_000]
    spent = timed(lambda: [many.answer("bob", "approve", one) for one in some])
    print(f"answers, signed and checked: {1_000 / spent:,.0f} a second; {len(many.rulings)} rulings")
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, the test's own records included"
    )


def timed(what: Callable[[], object]) -> float:
    """Seconds of processor time."""
    start = time.process_time()
    what()
    return time.process_time() - start


if __name__ == "__main__":
    main()
