"""A lane's view of the standing topics on a real Kafka: a rule that looks back finds what stood before it came."""

from __future__ import annotations

import asyncio
import json

from agents.configuration import Configuration
from agents.policy.standing import Standing
from orchestration import config_topic, topics
from orchestration.kafka import Broker
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings
from orchestration.standing import StandingTopics
from tests.integration.kafka_fixtures import produce

KEY = b'["m","1","gap",null,null]'


def watching(**lasts: str) -> Configuration:
    rule = {"id": "r", "when": "signals.gap.status = 'alarm'", "effect": "hold", **lasts}
    around = {"models": {"m": {"versions": ["1"]}}, "monitors": {"gap": {"kind": "strangers"}}}
    return Configuration.model_validate({**around, "policies": [{"policy": "p", "rules": [rule]}]})


def signal(number: int, status: str) -> tuple[bytes, bytes]:
    data = {"model": "m", "version": "1", "monitor": "gap", "status": status, "clock_ms": number * 1000}
    event = {"specversion": "1.0", "id": f"s{number}", "source": "/m", "type": "governance.signal.v1", "data": data}
    return KEY, json.dumps(event).encode()


async def test_a_rule_that_looks_back_has_signals_read_again_and_a_lane_that_starts_sees_the_same(
    broker, prefix, tmp_path
):
    settings = Settings(
        prefix=prefix, bootstrap_servers=broker.bootstrap_servers, data_dir=tmp_path, keys_dir=tmp_path, partitions=1
    )
    await topics.ensure(settings)
    await config_topic.apply(settings, watching())
    running = StandingTopics(Broker(settings), ProfileStore(settings.profiles_url).get)

    async def until(signals: int, digest: str) -> Standing:
        for _ in range(200):
            now = await running.poll()
            if now.as_of.signals >= signals and now.digest == digest:
                return now
            await asyncio.sleep(0.05)
        raise AssertionError(f"stands at {now.as_of}")

    async def say(numbers: range, transaction: str) -> None:
        records = [signal(n, ("ok", "alarm")[n % 2]) for n in numbers]
        await produce(broker, settings.topic("signals"), records, partition=0, transactional_id=transaction)

    try:
        await running.open()
        await say(range(4), f"{prefix}-a")
        before = await until(4, watching().digest())
        assert before.circumstances.past == {}
        await config_topic.apply(settings, waiting := watching(**{"for": "2s"}))
        looks_back = await until(4, waiting.digest())
        (history,) = looks_back.circumstances.past.values()
        assert [one.from_ms for one in history] == [0, 1000, 2000, 3000]
        await say(range(4, 6), f"{prefix}-b")  # after a marker: nothing between is lost
        now = await until(6, waiting.digest())
    finally:
        await running.close()
    fresh = StandingTopics(Broker(settings), ProfileStore(settings.profiles_url).get)
    try:
        await fresh.open()
        assert await fresh.poll() == now
    finally:
        await fresh.close()
    assert [one.from_ms for one in now.circumstances.past[KEY.decode()]] == [0, 1000, 2000, 3000, 4000, 5000]
    assert (running.refused, fresh.refused) == ([], [])
