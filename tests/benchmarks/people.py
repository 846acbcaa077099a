"""How soon people know, and how soon their answer takes effect, at 1,000 decisions a second on a running system.

    python -m tests.benchmarks.people --seconds 30

Lanes run in processes of their own: policy, release, escalation, triage. Each second another version of the model begins to
decline, so another incident opens; a scripted person approves each of them, signed, some seconds later. Times are the
broker's, from record to record: flag → incident, flag → deterministic summary, answer → ruling, answer → released. What a
console adds is measured by tests/benchmarks/bench_reading.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from agents.people_events import IncidentData
from orchestration.bootstrap import lane_names
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.chaos import lives
from tests.integration.monitored import deployment, event
from tests.integration.test_escalation_lane import configuration, signed

DECLINED = 20
"""One decision in so many is held."""


async def measure(kafka: LocalKafka, folder: Path, seconds: int, rate: int) -> dict[str, list[float]]:
    """Latencies in seconds, by what they are of."""
    declared = configuration(bulk={"items": 1_000_000, "sample": 0})
    settings = await deployment(kafka, "people", folder, declared, snapshot_interval_ms=5_000)
    names = lane_names(settings, declared)
    groups = [[one for one in names if one.agent == agent] for agent in ("policy", "release", "escalation", "triage")]
    running = [lives.start(settings, group) for group in groups]
    try:
        await asyncio.sleep(5)
        await asyncio.gather(
            _decide(settings, seconds, rate), _answer(settings, seconds + 5), _tick(settings, seconds + 8)
        )
        await asyncio.sleep(3)
        return await _latencies(settings)
    finally:
        for one in running:
            one.kill()
            one.join()


async def _decide(settings: Settings, seconds: int, rate: int) -> None:
    number, began = 0, time.monotonic()
    async with AIOKafkaProducer(**settings.client(), linger_ms=5) as producer:
        while (spent := time.monotonic() - began) < seconds:
            while number < spent * rate:
                label = "approve" if number % DECLINED else "decline"
                key, value = event(number, f"v{int(spent)}", label)
                await producer.send(settings.topic("decisions"), value, key=key)
                number += 1
            await asyncio.sleep(0.01)


async def _tick(settings: Settings, seconds: int) -> None:
    async with AIOKafkaProducer(**settings.client()) as producer:
        for _ in range(seconds):
            await producer.send_and_wait(settings.topic("ticks"), b"{}")
            await asyncio.sleep(1)


async def _answer(settings: Settings, seconds: int) -> None:
    """Twice a second, approve what opened more than three seconds ago and was not answered yet."""
    given: set[str] = set()
    until = time.monotonic() + seconds
    async with AIOKafkaProducer(**settings.client()) as producer:
        while time.monotonic() < until:
            newest: dict[str, Any] = {}
            for event_ in await _events(settings, "incidents"):
                newest[event_["data"]["incident"]] = event_["data"]
            for name, data in newest.items():
                old = time.time() * 1000 - data["opened_ms"] > 3_000
                if old and name not in given and data["status"] != "resolved":
                    incident = IncidentData.model_validate(data)
                    value = signed(settings, "bob", "approve", incident, len(given))
                    await producer.send_and_wait(settings.topic("reviews"), value)
                    given.add(name)
            await asyncio.sleep(0.5)


async def _events(settings: Settings, short: str) -> list[dict[str, Any]]:
    records = await Broker(settings).read_all(settings.topic(short))
    return [{**json.loads(one.value), "at": one.timestamp, "offset": one.offset} for one in records]


async def _latencies(settings: Settings) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ("incident", "summary", "ruling", "released")}
    flagged: dict[str, int] = {}
    for one in await _events(settings, "flags"):
        flagged.setdefault(one["data"]["dedup_key"], one["at"])
    began: dict[str, int] = {}
    for one in await _events(settings, "incidents"):
        if one["data"]["revision"] == 0 and one["data"]["keys"][0] in flagged:
            began[one["data"]["incident"]] = flagged[one["data"]["keys"][0]]
            found["incident"].append((one["at"] - began[one["data"]["incident"]]) / 1000)
    told: set[str] = set()
    for one in await _events(settings, "triage"):
        name = one["data"]["incident"]
        if name in began and name not in told:
            told.add(name)
            found["summary"].append((one["at"] - began[name]) / 1000)
    answered = {one["offset"]: one["at"] for one in await _events(settings, "reviews")}
    through: list[tuple[int, dict[str, int], dict[str, int]]] = []
    for one in await _events(settings, "rulings"):
        for place in one["data"].get("reviews", ()):
            given = answered[int(place.rpartition("/")[2])]
            found["ruling"].append((one["at"] - given) / 1000)
            through.append((given, one["data"]["through"], {}))
    released = await _released(settings)
    for at, place in released:
        given = max(
            (when for when, ends, _ in through if place[1] < ends.get(place[0], 0) and when <= at), default=None
        )
        if given is not None:
            found["released"].append((at - given) / 1000)
    return found


async def _released(settings: Settings) -> list[tuple[int, tuple[str, int]]]:
    """(broker's time, the decision's place) of what went out by a final verdict."""
    found = []
    for number in range(settings.partitions):
        for one in await Broker(settings).read_all(settings.topic("released"), number):
            verdict = (dict(one.headers).get("govern-verdict") or b"").decode()
            place, _, stage = verdict.rpartition("/")
            if stage == "final":
                where, _, offset = place.rpartition("/")
                found.append((one.timestamp, (where, int(offset))))
    return found


def told(found: dict[str, list[float]]) -> Iterable[str]:
    """A line for each kind."""
    lines = {"incident": "flag → incident", "summary": "flag → summary", "ruling": "answer → ruling"}
    for name, values in found.items():
        if values:
            p50, p95 = np.percentile(values, [50, 95])
            yield f"{lines.get(name, 'answer → released'):<20} p50 {p50:6.2f} s   p95 {p95:6.2f} s   ({len(values):,})"
        else:
            yield f"{lines.get(name, 'answer → released'):<20} none seen"


def main() -> None:
    """Run it on a broker of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=1_000, help="decisions a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        kafka = LocalKafka(Path(name) / "kafka")
        kafka.start(print)
        try:
            found = asyncio.run(measure(kafka, Path(name) / "data", options.seconds, options.rate))
        finally:
            kafka.stop()
    print("\n".join(told(found)))


if __name__ == "__main__":
    main()
