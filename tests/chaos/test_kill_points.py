"""Lanes killed at every point, under load, on a real broker; and what the checker says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.kill_points import IN_TRANSACTION, POINTS
from orchestration.local_kafka import LocalKafka
from tests.chaos import campaign


async def _campaign(broker: LocalKafka, folder: Path, prefix: str, hits: int, rate: int, at_least: int) -> None:
    settings = await campaign.prepare(broker, folder, prefix)
    result = await campaign.run(settings, hits, rate, at_least=at_least, show=True)
    print(result.table())
    assert result.problems == []
    assert result.decisions >= at_least
    for agent in ("policy", "audit"):
        assert {point: result.hits[agent, point] for point in POINTS} == dict.fromkeys(POINTS, hits)
        for point in IN_TRANSACTION:
            assert result.aborted[agent, point] > 0, f"no aborted transaction was seen after {agent}@{point}"


@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_or_unaudited_whatever_dies_when(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    await _campaign(broker, tmp_path, prefix, hits=1, rate=300, at_least=5_000)


@pytest.mark.long
@pytest.mark.timeout(2400)
async def test_twenty_hits_at_each_point_leave_a_hundred_thousand_decisions_whole(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    await _campaign(broker, tmp_path, prefix, hits=20, rate=400, at_least=100_000)
