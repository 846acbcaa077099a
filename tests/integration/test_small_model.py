"""One real small model, end to end: it answers in the form and in its time, and its poor judgement reaches nobody."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from agents.configuration import Configuration
from agents.triage.causes import ORDER
from agents.triage.figures import figures, unknown
from orchestration.log_store import LogStore
from tests.integration import small_model
from tests.integration.kafka_fixtures import produce
from tests.integration.monitored import deployment, lanes_of, running, until
from tests.integration.test_triage_lane import record, signalled, told
from tests.unit.triage.hostile import CLASSES
from tests.unit.triage.situations import CONFIGURATION, incident

TIMEOUT_S = 240
"""On a machine of its own an answer takes 3 to 10 s."""


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_real_small_model_answers_in_the_form_and_its_judgement_is_contained(
    broker: Any, prefix: str, tmp_path: Any, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = small_model.weights(pytestconfig.cache.mkdir("small-model"))
    with small_model.serving(weights) as (base_url, key):
        monkeypatch.setenv("GOVERN_SECRET_SMALL_MODEL", key)
        document = CONFIGURATION.document()
        document["triage"] = {
            "model": "openai:smollm2",
            "base_url": base_url,
            "secret": "small-model",
            "parameters": {"temperature": 0, "max_tokens": 450},
            "timeout": f"{TIMEOUT_S}s",
            "retries": 0,
            "fields": {"features.job": {"allow": True, "length": 600}},
        }
        configuration = Configuration.model_validate(document)
        settings = await deployment(broker, prefix, tmp_path, configuration)
        decision = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": "d1",
            "source": "/x",
            "data": {
                "model": {"name": "credit-limit", "version": "2.2.0"},
                "features": {"limit_bal": 1, "pay_0": 1, "job": CLASSES["an answer in JSON"]},
                "output": {"label": "decline"},
            },
        }
        (offset,) = await produce(broker, settings.topic("decisions"), [json.dumps(decision).encode()], partition=0)
        place = {"topic": settings.topic("decisions"), "partition": 0, "offset": offset}
        rows = [incident(severity="warning", sample=[place])]
        begun = time.monotonic()
        async with running(*lanes_of(settings, configuration, ("triage", "assist"))):
            await produce(broker, settings.topic("signals"), [signalled()], partition=0)
            await produce(broker, settings.topic("incidents"), [record(one) for one in rows], partition=0)
            await until(lambda: _answered(settings), 2 * TIMEOUT_S + 60)
        assert time.monotonic() - begun < 2 * TIMEOUT_S + 60
    found = {(one["data"]["incident"], one["source"].rpartition("/")[2]): one["data"] for one in await told(settings)}
    for one in rows:
        before, after = found[one.incident, "triage"], found[one.incident, "assist"]
        print(one.incident, after["by"], after.get("instead"), [usage["took_ms"] for usage in after["usage"]])
        assert "raw" in after["usage"][0], f"it did not answer in {TIMEOUT_S} s: is the machine busy?"
        first = LogStore(settings.store_url).read(f"{prefix}/triage/0/answers/{after['usage'][0]['raw'][7:]}")
        assert "schema" not in [check["check"] for check in after["checks"] if not check["passed"]], first
        assert ORDER.index(after["severity"]) - ORDER.index(before["severity"]) in (0, 1)
        assert after["action"] in before["allowed"]["actions"]
        assert set(before["teams"]) <= set(after["teams"]) <= set(configuration.escalation.teams)
        known = figures([*(fact["text"] for fact in before["facts"]), one.incident])
        for text in (after["summary"], after["cause_text"], after["action_text"], *after.get("questions", ())):
            assert unknown(text, known) == ([], [])
            assert "9999" not in text
        if after["by"] == "deterministic":
            assert after["summary"] == before["summary"]
            assert after["instead"]


async def _answered(settings: Any) -> bool:
    return sum(one["source"].endswith("assist") for one in await told(settings)) == 1
