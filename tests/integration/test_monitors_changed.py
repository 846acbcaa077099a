"""A configuration changed under running monitor lanes, and while they are down: kept or begun anew just as was said."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents.configuration import Configuration
from agents.monitor.changes import changes
from orchestration import config_topic, signals_topic
from orchestration.kafka import Broker
from orchestration.settings import Settings
from tests.integration.monitored import (
    Traffic,
    counted,
    deployment,
    lanes_of,
    reexecuted,
    running,
    until,
    verdicts,
)

GAP = {"kind": "disparate_impact"}


def configuration(monitors: dict[str, Any], **model: Any) -> Configuration:
    declared = {
        "mode": "gate",
        "features": {"income": "numeric"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "groups": {"sex": ["female", "male"]},
        "arl": 50_000,
    }
    rule = {"id": "hold", "when": "signals.gap.status = 'alarm' AND output.label = 'decline'", "effect": "hold"}
    return Configuration.model_validate(
        {
            "models": {"credit": declared | model},
            "monitors": monitors,
            "policies": [{"policy": "fairness", "rules": [rule]}],
        }
    )


FIRST = configuration({"gap": GAP})
CHANGES = {
    "a team and a version": configuration({"gap": GAP | {"team": "risk"}}, versions=["1", "2"]),
    "one monitor more": configuration({"gap": GAP | {"team": "risk"}, "inputs": {"kind": "operations"}}),
    "another budget": configuration({"gap": GAP, "inputs": {"kind": "operations"}}, arl=40_000),
    "one monitor less": configuration({"gap": GAP}, arl=40_000),
}


@pytest.mark.timeout(180)
async def test_each_change_does_what_was_said_whether_lanes_run_or_are_down(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, FIRST)
    traffic, before = Traffic(settings, broker), FIRST
    async with running(*lanes_of(settings, FIRST)):
        await traffic.send(1_500, "2", 0.1)
        await until(lambda: _is(settings, "gap", "alarm"))
        said = await _change(settings, traffic, before, before := CHANGES["a team and a version"])
        assert said == {"gap": "kept"}
        await until(lambda: _held_of_last(settings, 20))
        said = await _change(settings, traffic, before, before := CHANGES["one monitor more"])
        assert said == {"gap": "restarted", "inputs": "new"}
        await until(lambda: _is(settings, "gap", "alarm"))
        await asyncio.sleep(1)  # idle lanes write a last snapshot: the next start has no step of the old configuration
    said = await _change(settings, traffic, before, before := CHANGES["another budget"], down=True)
    assert said == {"gap": "restarted", "inputs": "restarted"}
    async with running(*lanes_of(settings, before)):
        said = await _change(settings, traffic, before, before := CHANGES["one monitor less"])
        assert said == {"gap": "restarted", "inputs": "ended"}
        assert {one.data.monitor for one in await signals_topic.signals(settings)} == {"gap"}
        await until(lambda: _is(settings, "gap", "alarm"))
    assert await reexecuted(settings, before) > 20
    observed = [
        json.loads(one.value)["data"] for one in await Broker(settings).read_all(settings.topic("observations"))
    ]
    digests = list(dict.fromkeys(one["config"] for one in observed if "counts" in one))
    assert digests == [one.digest() for one in (FIRST, *CHANGES.values())]


async def _change(
    settings: Settings, traffic: Traffic, before: Configuration, after: Configuration, *, down: bool = False
) -> dict[str, str]:
    """Apply it, let decisions pass, and compare each monitor's fate with what was said; returns that."""
    said = {one.monitor: one.fate for one in changes(before, after)}
    told, since = await _records(settings), len(traffic_seen := await _observations(settings))
    assert traffic_seen
    await config_topic.apply(settings, after)
    if down:
        async with running(*lanes_of(settings, after)):
            return await _compare(settings, traffic, said, len(told), since)
    return await _compare(settings, traffic, said, len(told), since)


async def _compare(settings: Settings, traffic: Traffic, said: dict[str, str], told: int, since: int) -> dict[str, str]:
    expected = {name for name, fate in said.items() if fate != "ended"}
    await traffic.send(400, "2", 0.1)
    number = traffic.number
    await until(lambda: _counted(settings, number))

    async def spoken() -> bool:
        await traffic.send(40, "2", 0.1)  # a monitor speaks when it has seen more, and not too often
        now = (await _records(settings))[told:]
        return {data["monitor"] for _, data in now if data is not None} >= expected

    await until(spoken)
    now = (await _records(settings))[told:]
    withdrawn = {json.loads(key)[2] for key, data in now if data is None}
    assert withdrawn == {name for name, fate in said.items() if fate in ("restarted", "ended")}
    for name in expected:
        starts = {data["observations"]["start"] for _, data in now if data is not None and data["monitor"] == name}
        if said[name] == "kept":
            assert max(starts) < since, f"{name} forgot what it had gathered"
        else:
            assert min(starts) >= since, f"{name} still judges by what it had gathered before"
    return said


async def _records(settings: Settings) -> list[tuple[bytes, dict[str, Any] | None]]:
    """Key and data of every signal, None where it was withdrawn."""
    records = [
        one
        for one in await Broker(settings).read_all(settings.topic("signals"))
        if not one.key.startswith(b'["watermark"')
    ]
    return [(one.key, None if one.value is None else json.loads(one.value)["data"]) for one in records]


async def _observations(settings: Settings) -> list[Any]:
    return await Broker(settings).read_all(settings.topic("observations"))


async def _counted(settings: Settings, number: int) -> bool:
    return await counted(settings) >= number


async def _is(settings: Settings, monitor: str, status: str) -> bool:
    return any(
        one.data.monitor == monitor and one.data.status == status for one in await signals_topic.signals(settings)
    )


async def _held_of_last(settings: Settings, count: int) -> bool:
    found = (await verdicts(settings))[-count:]
    return any(one["effect"] == "hold" for one in found)
