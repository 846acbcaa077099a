"""What a lane with several inputs reads before it starts, and what its steps leave: `python -m tests.benchmarks.bench_tables`.

A million subjects of `attributes`, folded as an observe lane does at its start, without the fetch; and the bytes of the
manifests that docs/decisions/0019 speaks of, headers and keys included. CPU of one thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import psutil

from agents.monitor.attributes import AttributeTable
from agents.records import Plain
from orchestration import manifests
from orchestration.work import Input, LaneName, Taken

SUBJECTS, BATCH = 1_000_000, 5_000
START = 1_772_000_000_000


def facts(count: int) -> Iterator[list[Plain]]:
    """Records of `attributes`, batch by batch: two attributes each."""
    for first in range(0, count, BATCH):
        found = []
        for number in range(first, min(first + BATCH, count)):
            subject = f"client-{number:07d}"
            event = {
                "specversion": "1.0",
                "type": "governance.attributes.v1",
                "id": subject,
                "source": "/crm",
                "subject": subject,
                "data": {
                    "groups": {
                        "age_band": ("under 26", "26 to 40", "over 40")[number % 3],
                        "sex": ("f", "m")[number % 2],
                    }
                },
            }
            value = json.dumps(event, separators=(",", ":")).encode()
            found.append(Plain("gim.attributes", 0, number, START + number, subject.encode(), value))
        yield found


def manifest(topic: str, inputs: int, number: int) -> int:
    """Bytes of a manifest of a monitor lane that took from so many of its inputs, in the middle of a long life."""
    agent = "observe" if topic.endswith("decisions") else "assess"
    names = (topic, "gim.ticks", "gim.attributes", "gim.config")[:inputs]
    taken = [Taken(Input(name, 0), number * 500, number * 500 + 500, ()) for name in names]
    key, value, headers = manifests.message(LaneName("gim", agent, topic, 0), number, taken)
    return len(key) + len(value or b"") + sum(len(name) + len(content or b"") for name, content in headers)


def main() -> None:
    """Print the figures."""
    before = psutil.Process().memory_info().rss
    table, spent = AttributeTable(), 0.0
    for batch in facts(SUBJECTS):
        began = time.process_time()
        refused = table.fold(batch)
        spent += time.process_time() - began
        assert not refused
    assert len(table) == SUBJECTS
    grown = psutil.Process().memory_info().rss - before
    print(f"{SUBJECTS:,} subjects of attributes taken in {spent:.1f} s without the fetch; {grown / 2**20:,.0f} MiB")
    for topic, inputs in (("gim.decisions", 1), ("gim.decisions", 2), ("gim.decisions", 4), ("gim.observations", 2)):
        size = manifest(topic, inputs, 10_000_000)
        print(f"a manifest of the lane of {topic}, {inputs} of its inputs taken from: {size} bytes")


if __name__ == "__main__":
    main()
