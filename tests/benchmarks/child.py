"""A timed run in a process of its own: reads what to do as JSON from the command line, prints what it cost as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict

from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.benchmarks.lanes import lanes, pass_through


def main() -> None:
    """Run one order."""
    order = json.loads(sys.argv[1])
    settings = Settings(**order["settings"])
    if order["run"] == "pass-through":
        work = pass_through(settings, order["topic"], settings.topic("released"), order["records"])
    else:
        names = [LaneName(settings.prefix, agent, topic, 0) for agent, topic in order["lanes"]]
        work = lanes(settings, names, order["records"])
    print(json.dumps(asdict(asyncio.run(work))))


if __name__ == "__main__":
    main()
