"""The notify lane killed -9 at every point of its loop: each message arrives at least once and is recorded exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from orchestration.kill_points import POINTS
from tests.integration.monitored import deployment, running, until
from tests.integration.notifying import configured, done, hook, lane, outcomes, post, run_until_killed, told
from tests.receivers import http_receiver

NEVER = ("noted", "decided")
"""Points of lanes that decide; this one does not."""
VISITS = [(point, visit) for point in POINTS if point not in NEVER for visit in (1, 3)]


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_killed_at_any_moment_no_message_is_lost_and_none_recorded_twice(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_SECRET_HOOK", "k")
    incidents = [f"i{number:03d}" for number in range(len(VISITS) * 3)]
    deaths = 0
    with http_receiver() as receiver:
        settings = await deployment(broker, prefix, tmp_path, configured(hook=hook(receiver.url)))
        for number, (point, visit) in enumerate(VISITS):
            for incident in incidents[number * 3 : number * 3 + 3]:
                await post(settings, broker, told(incident, 0, "hook"))
            try:
                deaths += await asyncio.to_thread(run_until_killed, settings, f"notify/*@{point}#{visit}", 20) == -9
            except TimeoutError:
                continue
        async with running(lane(settings)):
            await until(lambda: done(settings, len(incidents)), 60)
            await asyncio.sleep(1)
    assert deaths >= len(VISITS) - 4, "most of these points were reached"
    arrived = Counter(one.headers["webhook-id"] for one in receiver.got)
    assert set(arrived) == {f"{one}/0/hook/0" for one in incidents}
    recorded = Counter(await outcomes(settings))
    assert recorded == {(f"{one}/0/hook/0", "sent"): 1 for one in incidents}
