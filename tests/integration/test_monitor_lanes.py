"""Policy, observe and assess lanes together on a real Kafka: an unfair model is noticed, and its declines are held."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

from agents.configuration import Configuration
from orchestration import manifests, signals_topic
from orchestration.kafka import Broker
from orchestration.monitor_lanes import observe_inputs
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.integration.kafka_fixtures import produce
from tests.integration.monitored import (
    Traffic,
    counted,
    deployment,
    event,
    lanes_of,
    observed,
    reexecuted,
    running,
    until,
    verdicts,
)

CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "credit": {
                "domain": "credit",
                "mode": "gate",
                "features": {"income": "numeric"},
                "labels": {"approve": {"favourable": True}, "decline": {}},
                "groups": {"sex": ["female", "male"]},
                "arl": 100_000,
            }
        },
        "monitors": {"gap": {"kind": "disparate_impact"}},
        "policies": [
            {
                "policy": "fairness",
                "rules": [
                    {
                        "id": "hold-declines",
                        "when": "signals.gap.status = 'alarm' AND output.label = 'decline'",
                        "effect": "hold",
                    },
                    {"id": "lagging", "when": "monitor.lag_ms > 60000", "effect": "log", "on_unknown": "allow"},
                ],
            }
        ],
    }
)


async def signal(settings: Settings, version: str) -> Any:
    """The gap's newest signal for a version."""
    found = [one.data for one in await signals_topic.history(settings) if one.data.version == version]
    return found[-1] if found else None


async def test_an_unfair_version_is_noticed_and_all_its_declines_are_held(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION)
    traffic = Traffic(settings, broker)
    lanes = lanes_of(settings, CONFIGURATION)
    async with running(*lanes):
        await traffic.send(2_000, "1", 0.6)
        await until(lambda: _is(counted(settings), 2_000))
        await until(lambda: _status(settings, "1", "ok"))
        fair = await signal(settings, "1")
        assert fair.status == "ok"
        assert fair.coverage == 1.0
        assert {lane.status.detail for lane in lanes} == {""}, "every subject is found on its decisions' partition"
    async with running(*lanes_of(settings, CONFIGURATION)):  # every lane starts again, from snapshots and manifests
        for _ in range(6):
            await traffic.send(500, "2", 0.15)
            await asyncio.sleep(0.3)
        await until(lambda: _status(settings, "2", "alarm"))
        await until(lambda: _is(counted(settings), 5_000))
        await asyncio.sleep(1)
        await traffic.send(400, "2", 0.15)
        await traffic.send(100, "1", 0.6)
        await until(lambda: _is(counted(settings), 5_500))
    found = await verdicts(settings)
    held = [one for one in found if one["effect"] == "hold"]
    assert {one["version"] for one in held} == {"2"}, "version 1 is fair and goes on"
    last = [one for one in found if one["version"] == "2"][-20:]
    assert {one["effect"] for one in last} == {"hold", "allow"}
    reason = held[-1]["reasons"][0]
    assert (reason["rule"], reason["outcome"]) == ("fairness/hold-declines", "matched")
    assert held[-1]["as_of"]["signals"] > 0
    flags = [json.loads(one.value)["data"] for one in await Broker(settings).read_all(settings.topic("flags"))]
    alarm = next(one for one in flags if one["labels"].get("status") == "alarm")
    assert alarm["dedup_key"] == '["gap","credit","2","sex=female"]'
    explained = await signals_topic.explained(settings, await signals_topic.find(settings, "gap"))
    assert explained.matches, explained.differences
    assert explained.signal.version == "2"
    assert await reexecuted(settings, CONFIGURATION) > 10


async def test_a_subject_counts_once_whatever_lane_life_it_is_seen_in(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION)
    made = [event(number % 50, "1", "approve") for number in range(200)]
    made = [(key, value.replace(b'"id": "d', b'"id": "e%d-' % n)) for n, (key, value) in enumerate(made)]
    for start in (0, 100):
        async with running(*lanes_of(settings, CONFIGURATION)):
            await produce(broker, settings.topic("decisions"), made[start : start + 100])
            await until(lambda start=start: _is(counted(settings), start + 100))
    found = await observed(settings)
    assert sum(one["n"] for one in found) == 200
    assert sum(one["once"] for one in found) == 50
    assert await manifests.all_of(
        Broker(settings),
        LaneName(prefix, "observe", settings.topic("decisions"), 0),
        observe_inputs(settings, settings.topic("decisions"), 0),
    )


async def _is(found: Awaitable[int], wanted: int) -> bool:
    return await found >= wanted


async def _status(settings: Settings, version: str, wanted: str) -> bool:
    found = await signal(settings, version)
    return found is not None and found.status == wanted
