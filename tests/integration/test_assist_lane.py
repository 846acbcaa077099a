"""The assist lane on a real Kafka, asking over a real wire: one checked record for each telling, whatever the model does."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from agents.configuration import Configuration
from agents.triage.checks import LONGEST_SUMMARY
from orchestration.bootstrap import lane_names
from orchestration.kafka import Broker
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import produce
from tests.integration.model_server import ModelServer, dull, serving
from tests.integration.monitored import deployment, lanes_of, running, until
from tests.integration.test_triage_lane import record, signalled, told
from tests.unit.triage.situations import CONFIGURATION, incident

AGENTS = ("triage", "assist")


def asking(server: ModelServer, **more: Any) -> Configuration:
    document = CONFIGURATION.document()
    document["triage"] = {"model": "openai:test", "base_url": server.base_url, "retries": 0, **more}
    document["triage"].setdefault("requests_per_minute", 6000)
    return Configuration.model_validate(document)


async def by(settings: Settings, lane: str) -> list[dict[str, Any]]:
    return [one for one in await told(settings) if one["source"].endswith(lane)]


async def _are(settings: Settings, wanted: int) -> bool:
    return len(await by(settings, "assist")) >= wanted


async def test_there_is_an_assist_lane_only_where_a_model_is_configured(tmp_path: Path) -> None:
    settings = Settings(prefix="x", data_dir=tmp_path)
    with serving(dull) as server:
        agents = {one.agent for one in lane_names(settings, asking(server))}
    assert "assist" in agents
    assert "assist" not in {one.agent for one in lane_names(settings, CONFIGURATION)}
    assert "triage" in {one.agent for one in lane_names(settings, None)}


async def test_each_telling_is_asked_once_and_its_answer_recorded_with_its_evidence(broker, prefix, tmp_path):
    with serving(dull) as server:
        configuration = asking(server, fields={"features.job": {"allow": True}})
        settings = await deployment(broker, prefix, tmp_path, configuration)
        decision = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": "d1",
            "source": "/x",
            "subject": "client-8231",
            "data": {
                "model": {"name": "credit-limit", "version": "2.2.0"},
                "features": {"limit_bal": 20000, "pay_0": 2, "job": "teacher of <b>"},
                "output": {"label": "decline"},
            },
        }
        (offset,) = await produce(
            broker, settings.topic("decisions"), [(b"k", json.dumps(decision).encode())], partition=1
        )
        place = {"topic": settings.topic("decisions"), "partition": 1, "offset": offset}
        await produce(broker, settings.topic("signals"), [signalled()], partition=0)
        for life in range(2):
            async with running(*lanes_of(settings, configuration, AGENTS)):
                one = incident(incident=f"aaaa-{life:04}", sample=[place])
                await produce(broker, settings.topic("incidents"), [record(one)], partition=0)
                await until(lambda life=life: _are(settings, life + 1))
                await asyncio.sleep(0.5)
    found = await by(settings, "assist")
    assert [one["id"] for one in found] == ["aaaa-0000/0/model", "aaaa-0001/0/model"]
    assert len(server.asked) == 2
    asked = server.asked[0]["messages"][1]["content"]
    assert 'features.job: "teacher of \\u003cb\\u003e"' in asked
    assert "client-8231" not in asked
    assert "20000" not in asked
    data = found[0]["data"]
    assert data["summary"].startswith("The declines are held")
    assert all(one["passed"] for one in data["checks"])
    (usage,) = data["usage"]
    assert (usage["model"], usage["input_tokens"], usage["output_tokens"]) == ("openai:test", 900, 100)
    raw = (
        tmp_path / "evidence" / prefix / "triage" / "0" / "answers" / usage["raw"].removeprefix("sha256:")
    ).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == usage["raw"].removeprefix("sha256:")
    assert json.loads(raw)["summary"] == data["summary"]
    records = await Broker(settings).read_all(settings.topic("triage"))
    for writer in ("triage.incidents", "assist.triage"):
        agent, topic = writer.split(".")
        name = f"{prefix}.{agent}.{prefix}.{topic}.0".encode()
        numbers = [dict(one.headers)["govern-seq"] for one in records if dict(one.headers)["govern-writer"] == name]
        assert numbers == [b"0", b"1"]


async def test_a_bad_answer_is_mended_or_gives_way_and_says_why(broker, prefix, tmp_path):
    def bad(body: dict[str, Any]) -> tuple[int, Any]:
        status, given = dull(body)
        mended = len(body["messages"]) > 2 and "aaaa-0001" in body["messages"][1]["content"]
        return status, given if mended else {**given, "cause_text": "It fell by 73 %."}

    with serving(bad) as server:
        settings = await deployment(broker, prefix, tmp_path, asking(server))
        async with running(*lanes_of(settings, asking(server), AGENTS)):
            for number in range(2):
                one = incident(incident=f"aaaa-{number:04}")
                await produce(broker, settings.topic("incidents"), [record(one)], partition=0)
            await until(lambda: _are(settings, 2))
    first, second = await by(settings, "assist")
    plain = (await by(settings, "triage"))[0]
    assert (first["data"]["by"], first["data"]["summary"]) == ("deterministic", plain["data"]["summary"])
    assert "failed its checks, also when asked again: figures" in first["data"]["instead"]
    assert len(first["data"]["summary"]) <= LONGEST_SUMMARY + 200
    assert (second["data"]["by"], len(second["data"]["usage"])) == ("model", 2)


async def test_a_model_that_cannot_be_asked_holds_up_nothing(broker, prefix, tmp_path):
    with serving(lambda body: (500, "sk-SECRET broke")) as server:
        settings = await deployment(broker, prefix, tmp_path, asking(server))
        async with running(*lanes_of(settings, asking(server), AGENTS)):
            one, another = incident(), incident(incident="bbbb-0000")
            await produce(broker, settings.topic("incidents"), [record(one), record(another)], partition=0)
            await until(lambda: _are(settings, 2))
    found = await by(settings, "assist")
    assert {one["data"]["by"] for one in found} == {"deterministic"}
    told = found[0]["data"]["instead"]
    assert told.startswith("openai:test could not be asked: ")
    assert told.endswith("Error (500)")


async def test_the_days_budget_is_kept_across_restarts(broker, prefix, tmp_path):
    with serving(dull) as server:
        configuration = asking(server, tokens_per_day=1_500)
        settings = await deployment(broker, prefix, tmp_path, configuration)
        for life in range(3):
            async with running(*lanes_of(settings, configuration, AGENTS)):
                one = incident(incident=f"aaaa-{life:04}")
                await produce(broker, settings.topic("incidents"), [record(one)], partition=0)
                await until(lambda life=life: _are(settings, life + 1))
    assert [one["data"]["by"] for one in await by(settings, "assist")] == ["model", "model", "deterministic"]
    assert len(server.asked) == 2
    assert "budget of 1,500 tokens is used up" in (await by(settings, "assist"))[-1]["data"]["instead"]


async def test_of_a_backlog_only_the_newest_telling_of_an_incident_is_asked(broker, prefix, tmp_path):
    with serving(dull) as server:
        configuration = asking(server)
        settings = await deployment(broker, prefix, tmp_path, configuration)
        async with running(*lanes_of(settings, configuration, ["triage"])):
            for revision in range(4):
                one = incident(revision=revision, count=412 * 10**revision)
                await produce(broker, settings.topic("incidents"), [record(one)], partition=0)
                await until(lambda revision=revision: _told(settings, revision + 1))
        async with running(*lanes_of(settings, configuration, ["assist"])):
            await until(lambda: _are(settings, 1))
            await asyncio.sleep(0.5)
    assert [one["id"] for one in await by(settings, "assist")] == ["7f29-k1mq/3/model"]


async def _told(settings: Settings, wanted: int) -> bool:
    return len(await told(settings)) >= wanted


async def test_a_models_raise_goes_into_the_incident_once_and_sets_nothing_going(broker, prefix, tmp_path):
    def graver(body: dict[str, Any]) -> tuple[int, Any]:
        status, given = dull(body)
        schema = body["response_format"]["json_schema"]["schema"]["properties"]
        return status, {**given, "severity": schema["severity"]["enum"][-1], "teams": ["security"]}

    flag = {
        "specversion": "1.0",
        "type": "governance.flag.v1",
        "id": "f1",
        "source": "/x",
        "data": {
            "dedup_key": '["limits/large","credit-limit","2.1.0",null]',
            "severity": "warning",
            "team": "model-risk",
            "effect": "hold",
            "reason": "asked for 900000",
            "count": 3,
            "topic": f"{prefix}.decisions",
            "partition": 0,
            "first_offset": 0,
            "last_offset": 2,
            "sample": [0, 1, 2],
        },
    }
    with serving(graver) as server:
        configuration = asking(server)
        settings = await deployment(broker, prefix, tmp_path, configuration)
        async with running(*lanes_of(settings, configuration, ("escalation", *AGENTS))):
            await produce(broker, settings.topic("flags"), [(b"k", json.dumps(flag).encode())], partition=0)
            await until(lambda: _are(settings, 1))
            await until(lambda: _severity(settings, "error"))
            await asyncio.sleep(2)
    assert len(server.asked) == 1
    assert [one["data"]["by"] for one in await told(settings)] == ["deterministic", "model"]
    newest = (await incidents(settings))[-1]
    assert (newest["severity"], newest["teams"], newest["team"]) == ("error", ["security"], "model-risk")


async def incidents(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(one.value)["data"] for one in await Broker(settings).read_all(settings.topic("incidents"))]


async def _severity(settings: Settings, wanted: str) -> bool:
    found = await incidents(settings)
    return bool(found) and found[-1]["severity"] == wanted
