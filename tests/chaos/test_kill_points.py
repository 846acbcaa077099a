"""Lanes killed at every point, under load, on a real broker; and what the checker says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestration.kill_points import IN_TRANSACTION, POINTS, Point
from orchestration.local_kafka import LocalKafka
from orchestration.topics import MONITORS
from tests.chaos import campaign, monitor_campaign

AROUND: tuple[Point, ...] = ("half-written", "offsets-sent", "committing", "settled")
"""A transaction undone early and late, a commit in doubt, and one done."""


async def _campaign(
    broker: LocalKafka,
    folder: Path,
    prefix: str,
    hits: int,
    rate: int,
    at_least: int,
    points: Sequence[Point] = POINTS,
) -> None:
    settings = await campaign.prepare(broker, folder, prefix)
    result = await campaign.run(settings, hits, rate, at_least=at_least, show=True, points=points)
    print(result.table())
    assert result.problems == []
    assert result.decisions >= at_least
    for agent in ("policy", "audit"):
        assert {point: result.hits[agent, point] for point in points} == dict.fromkeys(points, hits)
        for point in set(IN_TRANSACTION) & set(points):
            assert result.aborted[agent, point] > 0, f"no aborted transaction was seen after {agent}@{point}"


@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_or_unaudited_whatever_dies_around_a_commit(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    await _campaign(broker, tmp_path, prefix, hits=1, rate=300, at_least=2_000, points=AROUND)


@pytest.mark.long
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


@pytest.mark.long
async def test_monitor_lanes_count_join_and_say_everything_once_whatever_dies_around_a_commit(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    points: list[Point] = ["half-written", "committing", "settled"]  # a commit undone, in doubt, and done
    settings = await monitor_campaign.prepare(broker, tmp_path, prefix)
    result = await monitor_campaign.run(settings, 1, points=points)
    print(result.table())
    assert result.problems == []
    assert result.hits == {(agent, point): 1 for agent in MONITORS for point in points}
    assert all(result.aborted[agent] > 0 for agent in MONITORS), "no aborted transaction was seen"
    assert min(result.decisions, result.observations, result.signals) > 0


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_five_hits_at_each_point_of_each_monitor_lane_end_as_an_undisturbed_run_does(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await monitor_campaign.prepare(broker, tmp_path / "killed", prefix)
    calm = await monitor_campaign.prepare(broker, tmp_path / "undisturbed", f"{prefix}c")
    result = await monitor_campaign.run(settings, 5, at_least=20_000, undisturbed=calm, show=True)
    print(result.table())
    assert result.problems == []
    assert result.hits == {(agent, point): 5 for agent in MONITORS for point in POINTS}
    assert all(result.aborted[agent] > 0 for agent in MONITORS), "no aborted transaction was seen"
