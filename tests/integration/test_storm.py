"""A storm on a real Kafka, small: the benchmark's own scenario and checks, so that its promises are kept between runs."""

from __future__ import annotations

from pathlib import Path

from orchestration.local_kafka import LocalKafka
from tests.benchmarks import storm


async def test_a_storm_of_twenty_causes_is_twenty_incidents_and_each_decision_ends_once(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    figures = await storm.run(broker, prefix, tmp_path, 2_000)
    print(f"\n{figures.table()}")
    assert figures.problems == []
    assert (figures.incidents, figures.told) == (20, 20)
    assert figures.ended == 1_507, "fifteen incidents of a hundred decisions each, and seven single ones"
