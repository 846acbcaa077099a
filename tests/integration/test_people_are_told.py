"""From a held decision to somebody's telephone: escalation and notify lanes together, with a channel that is dead."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from agents.configuration import Configuration
from orchestration.local_kafka import LocalKafka
from tests.integration.monitored import deployment, event, lanes_of, running, send, tick, until
from tests.integration.notifying import lane, outcomes
from tests.receivers import Says, http_receiver


def configuration(chat: str, pager: str) -> Configuration:
    """Declines are held; ann is told by chat, and may be by pager; ops care for channels."""
    people: dict[str, Any] = {
        "ann": {"name": "Ann", "roles": ["reviewer"], "contacts": {"chat": "U1ANN", "pager": "secret:pager"}},
        "ops": {"name": "Ops", "roles": ["admin"], "contacts": {"chat": "U2OPS", "pager": "secret:ops"}},
    }
    return Configuration.model_validate(
        {
            "models": {
                "credit": {
                    "mode": "gate",
                    "features": {"income": "numeric"},
                    "labels": {"approve": {"favourable": True}, "decline": {}},
                }
            },
            "policies": [
                {
                    "policy": "lending",
                    "rules": [
                        {"id": "declines", "when": "output.label = 'decline'", "effect": "hold", "team": "credit"}
                    ],
                }
            ],
            "escalation": {
                "people": people,
                "teams": {"credit": {"members": ["ann"]}, "operators": {"members": ["ops"]}},
                "routes": [{"cause": "channel/*", "to": "operators"}, {"to": "credit"}],
                "chains": {"default": {"steps": [{"tell": ["members"]}], "deadline": "4h", "at_deadline": "withhold"}},
                "channels": {
                    "chat": {"kind": "slack", "url": chat, "secret": "bot", "allow_private": True},
                    "pager": {"kind": "pagerduty", "url": pager, "allow_private": True},
                },
                "console_url": "https://console.bank.example",
            },
        }
    )


async def test_a_dead_channel_raises_an_incident_on_another_and_its_messages_come_there_too(
    broker: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BOT", "PAGER", "OPS"):
        monkeypatch.setenv(f"GOVERN_SECRET_{name}", f"{name.lower()}-value")
    with http_receiver(then=Says(503)) as chat, http_receiver(then=Says(202)) as pager:
        declared = configuration(chat.url, pager.url)
        settings = await deployment(broker, prefix, tmp_path, declared)
        async with running(*lanes_of(settings, declared, ("policy", "escalation")), lane(settings)):
            began = time.time()
            await send(settings, broker, "decisions", [event(n, "1", "decline") for n in range(12)])

            async def both_told() -> bool:
                await tick(settings, broker)
                return len(pager.got) >= 2

            await until(both_told, 60)
            took = time.time() - began

            async def recorded() -> bool:
                return len(await outcomes(settings)) >= 3

            await until(recorded)
            await asyncio.sleep(0.5)
    events = {one.document["routing_key"]: one.document for one in pager.got}
    assert set(events) == {"pager-value", "ops-value"}, "ann hears of the decisions, ops of the channel"
    assert "held by lending/declines" in events["pager-value"]["payload"]["summary"]
    assert (
        "chat does not deliver, so this comes by another way"
        in events["pager-value"]["payload"]["custom_details"]["said"]
    )
    assert events["ops-value"]["payload"]["summary"] == "Error: Messages by chat do not arrive"
    assert len({one["dedup_key"] for one in events.values()}) == 2
    assert {outcome for name, outcome in await outcomes(settings) if "/chat/" in name} == {"failed"}
    assert len(chat.got) == 3, "it was tried as often as the lane's patience says"
    assert took < 60


async def test_the_person_on_duty_hears_of_held_decisions_by_the_channel_that_works(
    broker: LocalKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BOT", "PAGER", "OPS"):
        monkeypatch.setenv(f"GOVERN_SECRET_{name}", f"{name.lower()}-value")
    said = Says(body=b'{"ok": true, "ts": "17.1"}')
    with http_receiver(then=said) as chat, http_receiver(then=Says(202)) as pager:
        declared = configuration(chat.url, pager.url)
        settings = await deployment(broker, prefix, tmp_path, declared)
        async with running(*lanes_of(settings, declared, ("policy", "escalation")), lane(settings)):
            await send(settings, broker, "decisions", [event(n, "1", "decline") for n in range(12)])
            await until(lambda: _told(chat, 1), 60)
            assert pager.got == []
    (got,) = chat.got
    assert got.document["channel"] == "U1ANN"
    assert "held by lending/declines" in got.document["text"]
    assert "ann" not in got.body.decode().lower().replace("u1ann", "").replace("channel", ""), "nobody is named"


async def _told(receiver: Any, count: int) -> bool:
    return len(receiver.got) >= count
