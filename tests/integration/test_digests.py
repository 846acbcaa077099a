"""The weekly message on a real Kafka: one mail a model and week at a real server, whatever restarts, byte for byte again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agents.configuration import Configuration
from agents.told_events import NotificationData
from orchestration import config_topic
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.integration.monitored import deployment, lanes_of, running, send, tick, until
from tests.integration.notifying import lane, outcomes, run_until_killed
from tests.integration.test_escalation_lane import events, newest, reexecuted
from tests.receivers import smtp_receiver
from tests.unit.escalation.lane import declared, flag


def zone() -> str:
    """Where this week does not end within the next hours."""
    return "UTC" if datetime.now(UTC).isoweekday() < 7 else "Pacific/Kiritimati"


def configuration(url: str, day: str, at: str) -> Configuration:
    """Digests of two models to the team's mailing list, which takes nothing else here."""
    document = declared(
        channels={
            "list": {
                "kind": "email",
                "url": url,
                "sender": "governance@bank.example",
                "to": "risk@bank.example",
                "allow_private": True,
            }
        },
        teams={"credit": {"members": ["ann"], "channels": ["list"]}},
        chains={"default": {"steps": [{"after": "30d", "tell": ["team"]}]}},
        console_url="https://console.bank.example",
        digest={"day": day, "at": at, "zone": zone()},
    )
    return Configuration.model_validate(document.document())


async def digests(settings: Settings) -> list[NotificationData]:
    """Those that were written."""
    found = await events(settings, "notifications")
    return [NotificationData.model_validate(one["data"]) for one in found if one["data"].get("kind") == "digest"]


async def test_each_model_s_week_is_one_mail_also_where_the_lanes_restart_and_it_is_late(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    with smtp_receiver() as mailbox:
        later = configuration(f"smtp://127.0.0.1:{mailbox.port}", "sunday", "23:59")
        settings = await deployment(broker, prefix, tmp_path, later)
        async with running(*lanes_of(settings, later, ("escalation",)), lane(settings)):
            await send(settings, broker, "flags", [flag(count=3, severity="error")])

            async def opened() -> bool:
                await tick(settings, broker)
                return bool(await newest(settings))

            await until(opened)
            assert await digests(settings) == [], "it is not due yet"
        sooner = configuration(f"smtp://127.0.0.1:{mailbox.port}", "monday", "00:00")  # has passed: it is late
        await config_topic.apply(settings, sooner)
        for _ in range(2):  # the second life goes on from the snapshot of the first
            async with running(*lanes_of(settings, sooner, ("escalation",)), lane(settings)):

                async def delivered() -> bool:
                    await tick(settings, broker)
                    return len(await outcomes(settings)) >= 2

                await until(delivered)
                for _ in range(5):
                    await tick(settings, broker)
                    await asyncio.sleep(0.3)
        await config_topic.apply(settings, later)
        await config_topic.apply(settings, sooner)
        async with running(*lanes_of(settings, sooner, ("escalation",)), lane(settings)):
            for _ in range(10):
                await tick(settings, broker)
                await asyncio.sleep(0.3)
        mails = mailbox.mails
    assert sorted(one["Subject"] for one in mails) == ["chat: quiet week", "credit: 1 incident open, 3 decisions wait"]
    assert {one["To"] for one in mails} == {"risk@bank.example"}
    week = datetime.now(ZoneInfo(zone())).date() - timedelta(weeks=1)
    year, number, _ = week.isocalendar()
    (credit,) = [one for one in mails if one["Subject"].startswith("credit")]
    body = credit.get_body(("plain",))
    assert body is not None
    plain = body.get_content()
    assert f"https://console.bank.example/models/credit/weeks/{year}-W{number:02}" in plain
    assert "No incident began" in plain, "it began this week"
    assert "This message comes" in plain
    assert len(await digests(settings)) == 2
    assert sorted(await outcomes(settings)) == [
        (f"digest/{model}/{year}-W{number:02}/list", "sent") for model in ("chat", "credit")
    ]
    assert await reexecuted(settings, sooner) > 0


@pytest.mark.parametrize(("kill", "written"), [("half-written", 0), ("offsets-sent", 0), ("committed", 2)])
async def test_killed_around_the_transaction_that_tells_it_the_lane_tells_it_once(
    broker: LocalKafka, prefix: str, tmp_path: Path, kill: str, written: int
) -> None:
    with smtp_receiver() as mailbox:
        url = f"smtp://127.0.0.1:{mailbox.port}"
        later, sooner = configuration(url, "sunday", "23:59"), configuration(url, "monday", "00:00")
        settings = await deployment(broker, prefix, tmp_path, later)
        async with running(*lanes_of(settings, later, ("escalation",))):
            await send(settings, broker, "flags", [flag(count=3, severity="error")])

            async def opened() -> bool:
                await tick(settings, broker)
                return bool(await newest(settings))

            await until(opened)
        await config_topic.apply(settings, sooner)
        await tick(settings, broker)
        died = await asyncio.to_thread(
            run_until_killed, settings, f"escalation/*@{kill}#1", lane=("escalation", "flags")
        )
        assert died == -9
        assert len(await digests(settings)) == written
        async with running(*lanes_of(settings, sooner, ("escalation",)), lane(settings)):

            async def delivered() -> bool:
                await tick(settings, broker)
                return len(await outcomes(settings)) >= 2

            await until(delivered)
            for _ in range(5):
                await tick(settings, broker)
                await asyncio.sleep(0.3)
        subjects = sorted(one["Subject"] for one in mailbox.mails)
    assert subjects == ["chat: quiet week", "credit: 1 incident open, 3 decisions wait"]
    assert len(await digests(settings)) == 2
    assert await reexecuted(settings, sooner) > 0
