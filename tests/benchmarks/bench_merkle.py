"""Merkle leaves per CPU second, from encoded entries to bundle and tile bytes: `python -m tests.benchmarks.bench_merkle`.

Entries of real verdicts (about 900 bytes), batches of 5,000, one thread; the median of the rounds.
"""

from __future__ import annotations

import statistics
import time

from agents.audit.commitment import Committer
from agents.audit.entry import encode
from agents.audit.tiles import LogState, extend
from agents.policy.agent import PolicyAgent
from agents.policy.standing import Standing
from agents.records import Plain, collect
from tests.benchmarks import workload

BATCH, ROUNDS = 5_000, 9
LIMIT = 700_000
"""Leaves per CPU second that must be reached."""


def entries() -> list[bytes]:
    """The log entries of a batch of verdicts."""
    configuration = workload.configuration(20)
    agent = PolicyAgent("gim", "gim.decisions", 0, Committer("bench", bytes(32)), configuration)
    agent.restore(None)
    decisions = [
        Plain("gim.decisions", 0, offset, 1_772_442_843_120, key, value)
        for offset, (key, value) in enumerate(workload.decisions(BATCH))
    ]
    verdicts = collect(agent.decide(decisions, Standing.of(configuration)))["gim.verdicts", 0]
    return [
        encode(Plain("gim.verdicts", 0, offset, 1_772_442_843_120, key, value, headers))[0]
        for offset, (key, value, headers) in enumerate(verdicts)
    ]


def rate() -> float:
    """Leaves per CPU second."""
    batch, found = entries(), []
    for _ in range(ROUNDS + 1):
        state = LogState("gim/verdicts/0", 0, b"", (b"",))
        start = time.process_time()
        for _ in range(20):
            state, _files, _root = extend(state, batch)
        found.append(20 * BATCH / (time.process_time() - start))
    return statistics.median(found[1:])


def main() -> None:
    """Print the rate; exit status 1 below the limit."""
    found, size = rate(), statistics.mean(map(len, entries()))
    print(f"{found:,.0f} leaves per CPU second, entries of {size:.0f} bytes (at least {LIMIT:,})")
    if found < LIMIT:
        raise SystemExit("too slow")


if __name__ == "__main__":
    main()
