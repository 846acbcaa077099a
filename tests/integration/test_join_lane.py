"""Join lanes on a real Kafka: late labels meet their decisions once, whatever becomes of the lane and of its store."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest

from agents.configuration import Configuration
from agents.monitor.case_records import key_of
from agents.partitions import partition_of
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.manifest_lane import ManifestLane
from orchestration.monitor_join import JoinWork, join_inputs
from orchestration.settings import Settings
from orchestration.work import LaneName, Pace
from tests.integration.kafka_fixtures import flags_of, produce
from tests.integration.monitored import deployment, lanes_of, observed, reexecuted, running, send, tick, until

CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "credit": {
                "features": {"income": "numeric"},
                "labels": {"approve": {"favourable": True}, "decline": {}},
                "groups": {"sex": ["female", "male"]},
                "outcomes": {"repaid": {"positive": True}, "default": {}},
                "label_maturity": "1s",
                "false_alarms": "1 per hour",
            }
        },
        "monitors": {"chances": {"kind": "opportunity", "segment_by": ["purpose"]}},
    }
)
SECRET = b"s" * 32


def name_of(settings: Settings, partition: int = 0) -> LaneName:
    return LaneName(settings.prefix, "join", settings.topic("cases"), partition)


def lane(settings: Settings, partition: int = 0) -> ManifestLane:
    """A join lane that writes its store after every snapshot."""
    name = name_of(settings, partition)
    pace = Pace(500, 20, 200, lazy_ms=100)
    inputs = join_inputs(settings, partition)
    return ManifestLane(name, Broker(settings), inputs, lambda: JoinWork(settings, name, SECRET, every_s=0.0), pace)


def case(number: int) -> tuple[bytes, bytes]:
    """A case as an observe lane writes it."""
    name, woman = f"d{number}", number % 3 == 0
    data = {
        "decision": {"source": "/s", "id": name},
        "model": "credit",
        "version": "1",
        "label": "decline" if woman and number % 2 else "approve",
        "score": 0.5,
        "groups": {"sex": "female" if woman else "male"},
        "segments": {"purpose": "loan"},
        "once": True,
        "decided_ms": int(time.time() * 1000),
    }
    event = {"specversion": "1.0", "type": "governance.case.v1", "id": name, "source": "/s", "data": data}
    return key_of("/s", name), json.dumps(event).encode()


def outcome(number: int, what: str = "repaid", revision: int = 0) -> tuple[bytes, bytes]:
    """A late label."""
    data = {"decision": {"source": "/s", "id": f"d{number}"}, "outcome": what, "revision": revision}
    event = {"specversion": "1.0", "type": "governance.outcome.v1", "id": f"o{number}", "source": "/l", "data": data}
    return key_of("/s", f"d{number}"), json.dumps(event).encode()


async def publish(settings: Settings, kafka: LocalKafka, short: str, records: list[tuple[bytes, bytes]]) -> None:
    await send(settings, kafka, short, records, partition=0)  # where the lane under test is


def tally(found: list[dict[str, Any]]) -> dict[str, int]:
    """What was joined, over all observations."""
    total: dict[str, int] = {}
    for one in found:
        for kind, counts in one["counts"].get("~joining", {}).items():
            total[kind] = total.get(kind, 0) + sum(counts)
    return total


async def joined(settings: Settings, kafka: LocalKafka, count: int) -> bool:
    await tick(settings, kafka)
    return sum(one["n"] for one in await observed(settings, "outcomes")) >= count


@pytest.mark.parametrize("store", ["kept", "deleted", "damaged"])
async def test_a_lane_goes_on_with_the_same_observations_whatever_becomes_of_its_store(broker, prefix, tmp_path, store):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION, monitor_interval_ms=20)
    path = JoinWork(settings, name_of(settings), SECRET).store.path
    sent = 0
    for life in range(4):
        async with running(lane(settings)):
            await publish(settings, broker, "cases", [case(number) for number in range(life * 100, life * 100 + 100)])
            labels = [outcome(number) for number in range(max(0, life * 100 - 50), life * 100 + 50)]
            labels += [outcome(life * 100, "default", 1), outcome(life * 100 + 1), outcome(10_000 + life)]
            await publish(settings, broker, "outcomes", labels)
            sent = life * 100 + 50
            await until(lambda sent=sent: joined(settings, broker, sent))
        assert path.exists()
        if store == "deleted":
            path.unlink()
        elif store == "damaged":
            path.write_bytes(path.read_bytes()[:-1])
    found = await observed(settings, "outcomes")
    assert sum(one["n"] for one in found) == sent == 350
    told = tally(found)
    assert told["joined"] == 350
    assert told["duplicate"] == 4
    assert await reexecuted(settings, CONFIGURATION) >= len(found)


async def test_a_store_newer_than_the_snapshot_or_of_another_key_is_left_alone(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION, monitor_interval_ms=20)
    store = JoinWork(settings, name_of(settings), SECRET).store
    async with running(lane(settings)):
        await publish(settings, broker, "cases", [case(number) for number in range(20)])
        await publish(settings, broker, "outcomes", [outcome(number) for number in range(10)])
        await until(lambda: joined(settings, broker, 10))
    stored = store.load()
    assert stored is not None
    ahead = {place: offset + 1 for place, offset in stored.offsets.items()}
    store.save(stored.kept, ahead)
    async with running(lane(settings)):
        await publish(settings, broker, "outcomes", [outcome(number) for number in range(5, 15)])
        await until(lambda: joined(settings, broker, 15))
    stored = store.load()
    assert stored is not None
    stored.kept.meta["key"] = "00"
    store.save(stored.kept, stored.offsets)
    other = lane(settings)
    async with running(other):
        await publish(settings, broker, "outcomes", [outcome(number) for number in range(12, 20)])
        await until(lambda: joined(settings, broker, 20))
    assert other.status.restarts == 1, "once with the store, once without"
    assert tally(await observed(settings, "outcomes"))["joined"] == 20
    await reexecuted(settings, CONFIGURATION)


async def test_a_lane_cut_off_at_any_moment_neither_loses_nor_repeats_a_case(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION, monitor_interval_ms=20)
    random = np.random.default_rng(4)
    for life in range(8):
        task = asyncio.create_task(lane(settings).run())
        await publish(settings, broker, "cases", [case(number) for number in range(life * 40, life * 40 + 40)])
        await publish(settings, broker, "outcomes", [outcome(number) for number in range(life * 40, life * 40 + 40)])
        await tick(settings, broker)
        await asyncio.sleep(0.3 + 1.5 * random.random())
        task.cancel()  # as if killed: no step in hand is finished, no transaction closed
        await asyncio.gather(task, return_exceptions=True)
    async with running(lane(settings)):
        await until(lambda: joined(settings, broker, 320))
    assert tally(await observed(settings, "outcomes"))["joined"] == 320
    await reexecuted(settings, CONFIGURATION)


async def test_outcomes_that_break_the_contract_are_flagged_and_nothing_else_is_lost(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION, monitor_interval_ms=20)
    async with running(lane(settings)):
        await publish(settings, broker, "cases", [case(0)])
        bad = [outcome(0, "eaten"), (b"key", b"{}"), (key_of("/s", "d0"), b"nothing")]
        await publish(settings, broker, "outcomes", [*bad, outcome(0)])
        await until(lambda: joined(settings, broker, 1))
    flags = await flags_of(settings)
    mine = [one for one in flags if "join/bad-outcome" in one["dedup_key"]]
    assert sum(one["count"] for one in mine) == 3
    assert "no model declares the outcome 'eaten'" in mine[0]["reason"]


async def test_from_a_decision_to_a_signal_by_way_of_its_outcome(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION, monitor_interval_ms=20)
    decisions, people, labels = [], [], []
    for number in range(600):
        woman = number % 2 == 0
        document = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": f"d{number}",
            "source": "/s",
            "subject": f"s{number}",
            "data": {
                "model": {"name": "credit", "version": "1"},
                "purpose": "loan",
                "features": {"income": 1.0},
                "output": {"label": "decline" if woman and number % 6 else "approve"},
            },
        }
        known = {"groups": {"sex": "female" if woman else "male"}}
        about = {"specversion": "1.0", "type": "governance.attributes.v1", "id": f"a{number}", "source": "/crm"}
        decisions.append((f"s{number}".encode(), json.dumps(document).encode()))
        people.append((f"s{number}".encode(), json.dumps({**about, "subject": f"s{number}", "data": known}).encode()))
        labels.append(outcome(number))
    await produce(broker, settings.topic("attributes"), people)
    await produce(broker, settings.topic("decisions"), decisions)
    lanes = lanes_of(settings, CONFIGURATION, ("observe", "join", "assess"))
    assert [one.name.agent for one in lanes] == ["observe", "observe", "join", "join", "assess"]

    async def alarmed() -> bool:
        await tick(settings, broker)
        signals = [json.loads(one.value)["data"] for one in await Broker(settings).read_all(settings.topic("signals"))]
        return any(one.get("monitor") == "chances" and one["status"] == "alarm" for one in signals)

    async with running(*lanes):
        for start in range(0, 600, 100):  # evidence needs time to pass, as the budget is one of time
            for number in range(2):
                mine = [one for one in labels[start : start + 100] if partition_of(one[0], 2) == number]
                await produce(broker, settings.topic("outcomes"), mine, partition=number)
            await until(lambda start=start: joined(settings, broker, start + 100))
        await until(alarmed)
    assert {one["version"] for one in await observed(settings, "outcomes")} == {"1"}
