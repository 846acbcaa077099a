"""The notify lane killed -9 at every point of its loop: each message arrives at least once and is recorded exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from orchestration.kill_points import POINTS
from tests.integration.kafka_fixtures import flags_of
from tests.integration.monitored import deployment, running, until
from tests.integration.notifying import configured, done, hook, lane, outcomes, post, run_until_killed, told
from tests.receivers import http_receiver

NEVER = ("noted", "decided")
"""Points of lanes that decide; this one does not."""
VISITS = [(point, visit) for point in POINTS if point not in NEVER for visit in ((1,) if point == "opened" else (1, 3))]


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_killed_at_any_moment_no_message_is_lost_and_none_recorded_twice(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    incidents: list[str] = []
    with http_receiver() as receiver:
        configuration = configured(hook=hook(receiver.url), mute=hook(receiver.url, secret="not-there"))
        settings = await deployment(broker, prefix, tmp_path, configuration)
        for point, visit in VISITS:
            life = asyncio.create_task(asyncio.to_thread(run_until_killed, settings, f"notify/*@{point}#{visit}"))
            while not life.done():
                incidents.append(f"i{len(incidents):04d}")
                await post(settings, broker, told(incidents[-1], 0, "hook"), told(incidents[-1], 0, "mute"))
                await asyncio.wait([life], timeout=1)
            assert await life == -9, f"{point} was not reached {visit} times"
        async with running(lane(settings)):
            await until(lambda: done(settings, 2 * len(incidents)), 60)
            await asyncio.sleep(1)
    arrived = Counter(one.headers["webhook-id"] for one in receiver.got)
    assert set(arrived) == {f"{one}/0/hook/0" for one in incidents}
    sent = {(f"{one}/0/hook/0", "sent"): 1 for one in incidents}
    assert Counter(await outcomes(settings)) == sent | {(f"{one}/0/mute/0", "failed"): 1 for one in incidents}
    flagged = Counter(one["labels"]["incident"] for one in await flags_of(settings, len(incidents)))
    assert flagged == dict.fromkeys(incidents, 1), "what was given up is told once, so that another channel tells it"
