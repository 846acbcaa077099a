"""The triage lane on a real Kafka: incidents are told once, with what stands around them, and can be decided again."""

from __future__ import annotations

import json
from typing import Any

from agents.events import Signal
from agents.people_events import Incident, IncidentData
from agents.policy.surroundings import signal_key
from orchestration.kafka import Broker
from orchestration.manifest_lane import ManifestLane
from orchestration.reexecute_manifests import reexecute_manifests
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import produce
from tests.integration.monitored import deployment, lanes_of, running, until
from tests.unit.triage.situations import CONFIGURATION, incident, signal


def record(one: IncidentData) -> tuple[bytes, bytes]:
    event = Incident(id=f"{one.incident}/{one.revision}", source="/test", data=one)
    return one.incident.encode(), event.model_dump_json(exclude_none=True, by_alias=True).encode()


def signalled(**more: Any) -> tuple[bytes, bytes]:
    data = signal(**more)
    event = Signal(id=signal_key(data), source="/test", data=data)
    return signal_key(data).encode(), event.model_dump_json(exclude_none=True).encode()


async def told(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(one.value) for one in await Broker(settings).read_all(settings.topic("triage"))]


async def test_each_incident_is_told_once_and_again_when_it_is_worse(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION)
    incidents = settings.topic("incidents")
    await produce(broker, settings.topic("signals"), [signalled()], partition=0)
    for count, lanes in enumerate((lanes_of(settings, CONFIGURATION, ["triage"]) for _ in range(3)), 1):
        async with running(*lanes):  # each life starts from the snapshot and the manifests of the one before
            worse = incident(revision=2 * count, count=412 * 10**count, held=412 * 10**count)
            grown = incident(revision=2 * count + 1, count=413 * 10**count, held=413 * 10**count, change="grew")
            new = incident(incident=f"aaaa-{count:04}", cause="record/malformed", version=None, held=0, effect="block")
            await produce(broker, incidents, [record(worse), record(grown), record(new)], partition=0)
            await until(lambda count=count: _are(settings, 2 * count))
    found = await told(settings)
    revisions = [one["data"]["revision"] for one in found if one["data"]["incident"] == "7f29-k1mq"]
    assert [one // 2 for one in revisions] == [1, 2, 3], "once for each growth, whichever revision of it came first"
    assert {one["data"]["cause"] for one in found} == {"bias", "data_quality"}
    assert "approval-rate ratio is 0.62 (interval 0.55 to 0.70, n = 4,210)" in found[0]["data"]["summary"]
    lane = lanes_of(settings, CONFIGURATION, ["triage"])[0]
    assert isinstance(lane, ManifestLane)
    again = await reexecute_manifests(settings, lane.name, lane.inputs, lane.make)
    assert again.differences == ()
    assert again.records == len(found) == 6


async def test_records_that_cannot_be_read_are_flagged_and_stop_nothing(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path, CONFIGURATION)
    async with running(*lanes_of(settings, CONFIGURATION, ["triage"])):
        rows = [(b"x", b"no incident"), record(incident(cause="record/malformed", held=0))]
        await produce(broker, settings.topic("incidents"), rows, partition=0)
        await until(lambda: _are(settings, 1))
    flags = [json.loads(one.value)["data"] for one in await Broker(settings).read_all(settings.topic("flags"))]
    assert [json.loads(one["dedup_key"])[0] for one in flags] == ["triage/bad-incident"]


async def _are(settings: Settings, wanted: int) -> bool:
    return len(await told(settings)) >= wanted
