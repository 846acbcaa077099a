"""Triage and assist lanes killed at every point: each incident is told once, answered once, and no number is missing."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agents.audit.agent import CHECKPOINTS
from agents.audit.verify import Key, verify
from agents.configuration import Configuration
from orchestration import keys
from orchestration.bootstrap import lane_names
from orchestration.kafka import Broker
from orchestration.kill_points import IN_TRANSACTION, POINTS, Point
from orchestration.local_kafka import LocalKafka
from orchestration.manifest_lane import ManifestLane
from orchestration.reexecute_manifests import reexecute_manifests
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.chaos import campaign, lives
from tests.integration.kafka_fixtures import produce
from tests.integration.model_server import dull, serving
from tests.integration.monitored import deployment, lanes_of, until
from tests.integration.test_assist_lane import asking
from tests.integration.test_triage_lane import record, signalled
from tests.unit.triage.situations import incident

AROUND: tuple[Point, ...] = ("committing",)
"""A commit in doubt, of either lane."""


async def _killed_everywhere(broker: LocalKafka, prefix: str, folder: Path, points: tuple[Point, ...]) -> None:
    with serving(dull) as server:
        configuration = asking(server)
        settings = await deployment(broker, prefix, folder, configuration, audit_interval_ms=1_000)
        names = {one.agent: one for one in lane_names(settings, configuration) if one.agent in ("triage", "assist")}
        await produce(broker, settings.topic("signals"), [signalled()], partition=0)
        sent = 0
        for agent, point in [(agent, point) for point in points for agent in names]:
            life = lives.start(settings, list(names.values()), f"{agent}/*@{point}#1")
            deadline = time.monotonic() + 60
            while life.is_alive():
                assert time.monotonic() < deadline, f"{agent} did not reach {point}"
                one = incident(incident=f"aaaa-{sent:04}")
                await produce(broker, settings.topic("incidents"), [record(one)], partition=0)
                sent += 1
                await asyncio.sleep(1)
            life.join()
            assert life.exitcode == -9, (agent, point)
        life = lives.start(settings, list(names.values()))
        try:
            await until(lambda: _answered(settings, sent), 300)
        finally:
            life.kill()
            life.join()
    found = await Broker(settings).read_all(settings.topic("triage"))
    told = Counter((json.loads(one.value)["source"], json.loads(one.value)["data"]["incident"]) for one in found)
    assert set(told.values()) == {1}
    assert len(told) == 2 * sent
    for name in names.values():
        writer = name.transactional_id.encode()
        numbers = [
            int(dict(one.headers)["govern-seq"]) for one in found if dict(one.headers)["govern-writer"] == writer
        ]
        assert numbers == list(range(sent))
    await _again_and_audited(settings, configuration, 2 * sent)
    if set(points) & set(IN_TRANSACTION):
        written = await Broker(settings).written(settings.topic("triage"), 0)
        assert written > len(found), "markers, and records of transactions that were aborted"


async def _again_and_audited(settings: Settings, configuration: Configuration, records: int) -> None:
    """Every step of the triage lane decided again gives the same bytes; an auditor finds nothing missing, and no strays."""
    (lane,) = lanes_of(settings, configuration, ["triage"])
    assert isinstance(lane, ManifestLane)
    again = await reexecute_manifests(settings, lane.name, lane.inputs, lane.make)
    assert again.differences == ()
    assert again.records == records // 2
    audit = [LaneName(settings.prefix, "audit", settings.topic(one), 0) for one in ("triage", CHECKPOINTS)]
    await campaign.drain(settings, audit)
    public = keys.paths(settings.prefix, settings.keys_dir).verifier.read_text().strip()
    report = verify(Path(settings.store_url), Key(public))
    assert report.findings == []
    (log,) = [one for one in report.logs if one.origin == f"{settings.prefix}/triage/0"]
    assert log.tree.size == records
    assert log.notes == []


async def _answered(settings: Settings, wanted: int) -> bool:
    found: list[Any] = await Broker(settings).read_all(settings.topic("triage"))
    return sum(json.loads(one.value)["source"].endswith("assist") for one in found) >= wanted


@pytest.mark.long
@pytest.mark.timeout(1500)
async def test_each_incident_is_told_and_answered_once_whatever_dies_when(broker, prefix, tmp_path):
    await _killed_everywhere(broker, prefix, tmp_path, POINTS)


@pytest.mark.timeout(300)
@pytest.mark.long
async def test_each_incident_is_told_and_answered_once_whatever_dies_around_a_commit(broker, prefix, tmp_path):
    await _killed_everywhere(broker, prefix, tmp_path, AROUND)
