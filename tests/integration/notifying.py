"""The notify lane on a real Kafka, for tests: channels on loopback, messages for them, and what became of those."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from agents.configuration import Configuration
from agents.told_events import Notification
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.notify.delivering import Patience
from orchestration.notify_lane import NotifyLane
from orchestration.settings import Settings
from orchestration.work import LaneName, Pace
from tests.integration.kafka_fixtures import produce

QUICK = Patience(attempts=3, within_s=20, first_s=0.05, longest_s=0.1)
RUN = """
import asyncio
import sys
from orchestration.bootstrap import make_lane
from orchestration.settings import Settings
from orchestration.work import LaneName
settings = Settings()
asyncio.run(make_lane(settings, LaneName(settings.prefix, sys.argv[1], settings.topic(sys.argv[2]), 0)).run())
"""


def configured(**channels: dict[str, Any]) -> Configuration:
    """A configuration with these channels, console and one person."""
    return Configuration.model_validate(
        {
            "models": {"credit": {}},
            "escalation": {
                "people": {"ann": {"name": "Ann", "contacts": dict.fromkeys(channels, "U0ANN")}},
                "channels": channels,
                "console_url": "https://console.bank.example",
            },
        }
    )


def hook(url: str, **more: Any) -> dict[str, Any]:
    """A webhook channel on loopback."""
    return {"kind": "webhook", "url": url, "secret": "hook", "allow_private": True, **more}


def told(incident: str, number: int, channel: str, kind: str = "trigger", **more: Any) -> tuple[bytes, bytes]:
    """A notification's key and value."""
    data = {
        "incident": incident,
        "kind": kind,
        "channel": channel,
        "severity": "error",
        "title": f"credit 2: decisions held ({incident})",
        "lines": ["3 decisions wait for an answer"],
        "path": f"/incidents/{incident}",
        "dedup": incident,
        **more,
    }
    event = Notification.model_validate(
        {"id": f"{incident}/{number}/{channel}/0", "source": "/t/escalation", "data": data}
    )
    return event.id.encode(), event.model_dump_json(exclude_none=True).encode()


async def post(settings: Settings, kafka: LocalKafka, *records: tuple[bytes, bytes]) -> None:
    """Put notifications on their topic."""
    await produce(kafka, settings.topic("notifications"), records)


async def deliveries(settings: Settings) -> list[dict[str, Any]]:
    """The data of all deliveries, in the order of the topic."""
    found = await Broker(settings).read_all(settings.topic("notifications"))
    events = [json.loads(one.value) for one in found if one.value]
    return [one["data"] for one in events if one["type"] == "governance.delivery.v1"]


async def outcomes(settings: Settings) -> list[tuple[str, str]]:
    """Notification and outcome of what is final."""
    return [(one["notification"], one["outcome"]) for one in await deliveries(settings) if one["outcome"] != "retrying"]


def lane(settings: Settings, patience: Patience = QUICK) -> NotifyLane:
    """The deployment's lane, which gives up soon."""
    name = LaneName(settings.prefix, "notify", settings.topic("notifications"), 0)
    return NotifyLane(name, Broker(settings), Pace(1, 0, 300), lambda down: patience)


def run_until_killed(
    settings: Settings, kill: str, within_s: float = 60, lane: tuple[str, str] = ("notify", "notifications")
) -> int:
    """A lane, by agent and main topic, in a process of its own until it is killed: its exit status.

    Raises TimeoutError where it lives too long.
    """
    environment = {
        **os.environ,
        "GOVERN_KILL": kill,
        "GOVERN_PREFIX": settings.prefix,
        "GOVERN_BOOTSTRAP_SERVERS": settings.bootstrap_servers or "",
        "GOVERN_DATA_DIR": str(settings.data_dir),
        "GOVERN_KEYS_DIR": str(settings.keys_dir),
        "GOVERN_SNAPSHOT_INTERVAL_MS": "300",
    }
    try:
        return subprocess.run(
            [sys.executable, "-c", RUN, *lane],
            env=environment,
            cwd=Path(__file__).parents[2],
            timeout=within_s,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(kill) from error


async def done(settings: Settings, count: int) -> bool:
    """Whether so many messages are done."""
    return len(await outcomes(settings)) >= count


async def retrying(settings: Settings) -> bool:
    """Whether some attempt failed and is repeated."""
    return any(one["outcome"] == "retrying" for one in await deliveries(settings))
