"""A release lane killed at every point: each held decision ends once, byte for byte, and the evidence is complete."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestration.bootstrap import make_lane
from orchestration.kill_points import POINTS, Point
from orchestration.local_kafka import LocalKafka
from tests.benchmarks import bench_release
from tests.chaos import campaign, releases
from tests.integration.kafka_fixtures import produce

AROUND: list[tuple[Point, int]] = [("half-written", 1), ("committing", 1), ("settled", 1)]


@pytest.mark.long
async def test_a_ruling_over_many_lets_each_out_once_whatever_dies_around_a_commit(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    sent = await releases.hold(settings, broker, 2_000)
    await produce(broker, settings.topic("rulings"), [releases.ruling(settings, 0, "allow", 2_000)])
    assert await releases.killed_at(settings, AROUND) == []
    assert await releases.finished(settings, sent) == []
    assert await releases.aborted(settings) > 0


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_ruling_over_five_thousand_lets_each_out_once_whatever_dies_when(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    sent = await releases.hold(settings, broker, 5_000)
    await produce(broker, settings.topic("rulings"), [releases.ruling(settings, 0, "allow", 5_000)])
    points = [(point, 2 if number % 2 and point not in ("fetched",) else 1) for number, point in enumerate(POINTS)]
    assert await releases.killed_at(settings, points) == []
    assert await releases.finished(settings, sent) == []
    assert await releases.aborted(settings) > 0


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_three_brokers_killed_one_after_the_other_while_thousands_go_out_cost_nothing(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "kafka", brokers=3, heap_mb=256)  # one node alone may leave a marker out: design.md 6
    await asyncio.to_thread(kafka.start)
    try:
        settings = await campaign.prepare(kafka, tmp_path, "fallen")
        sent = await releases.hold(settings, kafka, 9_000)
        lane = make_lane(settings, releases.lane(settings))
        task = asyncio.create_task(lane.run())
        for index in range(3):
            while await releases.pending(settings) > 9_000 - 3_000 * index:
                await asyncio.sleep(0.5)
            before = lane.status.records
            ruling = releases.ruling(settings, index, "allow", 3_000 * (index + 1))
            await produce(kafka, settings.topic("rulings"), [ruling])
            while lane.status.records < before + 500:
                await asyncio.sleep(0.005)
            kafka.kill_broker(index)
            assert lane.status.records < before + 3_000, "all of them went out before the broker fell"
            await asyncio.to_thread(kafka.start)
        while await releases.pending(settings):  # a commit in doubt may have counted: only the topic tells
            await asyncio.sleep(0.5)
        lane.stop()
        await task
        assert await releases.finished(settings, sent) == []
    finally:
        kafka.stop()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_edits_rejections_and_releases_end_each_decision_once_whatever_dies_when(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    sent = await releases.hold(settings, broker, 3_000)
    change = {"resolution": "edited", "edit": {"label": "approve", "score": 0.5}}
    rulings = [
        releases.ruling(settings, 0, "block", 1_500, **change),
        releases.ruling(settings, 1, "block", 2_000, reason="no"),
        releases.ruling(settings, 2, "allow", 2_500, resolution="expired"),
    ]
    await produce(broker, settings.topic("rulings"), rulings)
    points: list[tuple[Point, int]] = [("written", 1), ("committed", 1), ("committing", 2), ("offsets-sent", 1)]
    assert await releases.killed_at(settings, points) == []
    assert await releases.finished(settings, sent) == []


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_one_ruling_over_fifty_thousand_releases_each_once_in_half_a_gigabyte_and_answers_are_quick(
    broker: LocalKafka, tmp_path: Path
) -> None:
    figures = await bench_release.run(broker, tmp_path, held=50_000, answers=100, backlog=5_000)
    print(figures.table())
    assert figures.problems == []
    assert figures.peak_mib <= 500
    assert figures.p95_ms <= 1_000
