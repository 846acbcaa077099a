"""The read model on a real Kafka: what is committed becomes rows soon, once, and again after the database was deleted."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from orchestration import topics
from orchestration.local_kafka import LocalKafka
from orchestration.reading import overview, queries
from orchestration.reading.database import Database, open_database
from orchestration.reading.fresh import fresh
from orchestration.reading.projection import Changed, Projection
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import produce
from tests.unit.reading.world import T0, World, everything, rows_of


async def deployed(kafka: LocalKafka, prefix: str, folder: Path) -> Settings:
    settings = Settings(
        _env_file=None, prefix=prefix, bootstrap_servers=kafka.bootstrap_servers, data_dir=folder, partitions=2
    )
    await topics.ensure(settings)
    return settings


async def publish(kafka: LocalKafka, world: World) -> None:
    """Every record of a world, topic by topic, in transactions as lanes write them."""
    for (topic, partition), records in world.topics.items():
        rows = [(record.key, record.value, [*record.headers]) for record in records]
        await produce(kafka, topic, rows, partition=partition, transactional_id=f"{world.prefix}.test")


def comparable(database: Database) -> dict[str, list[tuple[object, ...]]]:
    return {name: rows for name, rows in rows_of(database).items() if name != "offsets"}


async def test_a_deleted_read_model_is_made_again_row_by_row(broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    settings = await deployed(broker, prefix, tmp_path)
    await publish(broker, everything(World(prefix)))
    database = await fresh(settings)
    first = comparable(database)
    assert len(first["incidents"]) == 2
    assert len(first["held"]) == 5
    database.close()
    assert database.file is not None
    database.file.unlink()
    again = await fresh(settings)
    found = comparable(again)
    for name, rows in first.items():
        assert found[name] == rows, name
    assert "caught_up" in again.facts()
    again.close()


async def test_deleted_under_a_running_console_it_is_made_again(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await deployed(broker, prefix, tmp_path)
    world = World(prefix)
    world.incident()
    await publish(broker, world)
    task = asyncio.create_task(Projection(settings).run())
    try:
        database = await fresh(settings)
        database.close()
        assert database.file is not None
        for file in database.file.parent.glob("*.db*"):
            file.unlink()
        again = await fresh(settings)
        assert queries.queue(again).total == 1
        again.close()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_topics_made_anew_make_the_read_model_anew(broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    settings = await deployed(broker, prefix, tmp_path)
    database = open_database(settings)
    database.prepare({"cluster": "another", "prefix": prefix})
    world = World(prefix)
    world.incident()
    await publish(broker, world)
    database = await fresh(settings)
    assert database.facts()["cluster"] != "another"
    assert [one.id for one in queries.queue(database).items] == ["7f29-k1mq"]
    database.close()


async def test_an_incident_shows_within_moments_while_verdicts_stream(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await deployed(broker, prefix, tmp_path)
    world, heard, database = World(prefix), dict[str, float](), open_database(settings)
    projection = Projection(settings, database)

    def changed(change: Changed) -> None:
        for name in change.incidents:
            heard.setdefault(name, time.monotonic())

    task = asyncio.create_task(projection.run(changed))
    producer = AIOKafkaProducer(**settings.client(), acks="all", linger_ms=5)
    await producer.start()
    try:
        sent: dict[str, float] = {}
        for number in range(20):
            for offset in range(100):
                record = world.gate(number * 100 + offset)
                await producer.send(record.topic, record.value, key=record.key, partition=0)
            name = f"aaaa-{number:04d}"
            world.incident(name)
            record = world.topics[world.name("incidents"), 0][-1]
            await producer.send_and_wait(record.topic, record.value, key=record.key)
            sent[name] = time.monotonic()
            await asyncio.sleep(0.05)
        while len(heard) < 20 and time.monotonic() - sent[name] < 20:
            await asyncio.sleep(0.05)
        delays = sorted(heard[one] - sent[one] for one in sent)
        print(f"\nincident to row: median {statistics.median(delays):.3f} s, worst {delays[-1]:.3f} s")
        assert delays[18] < 2.0
        assert queries.queue(database).total == 20
    finally:
        await producer.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        database.close()


@pytest.mark.long
async def test_fifty_thousand_verdicts_are_counted_in_moments(broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    settings = await deployed(broker, prefix, tmp_path)
    world = World(prefix)
    for offset in range(50_000):
        world.gate(offset, "log" if offset % 20 == 0 else "allow", T0 + offset // 20)
    await publish(broker, world)
    began = time.monotonic()
    database = await fresh(settings)
    took = time.monotonic() - began
    print(f"\n50,000 verdicts: {took:.1f} s, {50_000 / took:,.0f} a second, connecting included")
    (one,) = overview.models(database, T0)
    assert one.decisions == 50_000
    assert took < 60
    database.close()


async def test_a_command_beside_a_console_waits_until_it_is_as_far(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await deployed(broker, prefix, tmp_path)
    task = asyncio.create_task(Projection(settings).run())
    other = asyncio.create_task(Projection(settings).run())  # a second console follows
    try:
        world = World(prefix)
        for number in range(5):
            world.incident(f"aaaa-{number:04d}")
            newest = world.topics[world.name("incidents"), 0][-1]
            await produce(broker, newest.topic, [(newest.key, newest.value)])
            database = await fresh(settings)
            assert queries.queue(database).total == number + 1
            database.close()
    finally:
        for one in (task, other):
            one.cancel()
        await asyncio.gather(task, other, return_exceptions=True)


KILLED = """
import asyncio, os, signal, sys
from orchestration.reading import folding, projection
from orchestration.settings import Settings

left = int(sys.argv[1])
settle = folding._settle

def killed(connection, batch):
    global left
    settle(connection, batch)
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)  # rows and offsets are written, nothing is committed

folding._settle = killed
projection.AT_ONCE, projection.BULK = 60, {'verdicts': 60, 'held': 1}
asyncio.run(projection.Projection(Settings(_env_file=None)).catch_up())
"""


async def test_killed_in_the_middle_nothing_is_lost_or_doubled(broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    settings = await deployed(broker, prefix, tmp_path / "killed")
    await publish(broker, everything(World(prefix)))
    environment = os.environ | {
        "GOVERN_PREFIX": prefix,
        "GOVERN_BOOTSTRAP_SERVERS": str(settings.bootstrap_servers),
        "GOVERN_DATA_DIR": str(settings.data_dir),
    }
    for turns in (1, 3, 2):
        command = [sys.executable, "-c", KILLED, str(turns)]
        done = await asyncio.to_thread(subprocess.run, command, env=environment, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL
    killed = await fresh(settings)
    undisturbed = await fresh(settings.model_copy(update={"data_dir": tmp_path / "undisturbed"}))
    expected, found = comparable(undisturbed), comparable(killed)
    for name, rows in expected.items():
        assert found[name] == rows, name
    killed.close()
    undisturbed.close()
