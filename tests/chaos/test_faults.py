"""Faults other than a kill: zombies, lost offsets, a broker that dies or freezes, floods, a slow lane, no configuration."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from agents.errors import Fenced, OffsetsLost
from orchestration import config_files, config_topic, keys, topics
from orchestration import lane as lane_module
from orchestration.bootstrap import make_lane
from orchestration.kafka import Broker
from orchestration.lane_life import LaneLife
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.chaos import campaign, checker, lives, monitor_campaign, monitored, stream
from tests.integration.kafka_fixtures import flags_of
from tests.integration.monitored import reexecuted
from tests.poison import CORPUS


def policy(settings: Settings) -> LaneName:
    return campaign.lanes(settings, "policy")[0]


@asynccontextmanager
async def running(*lanes: LaneLife) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Lanes that run until the block ends."""
    tasks = [asyncio.create_task(lane.run()) for lane in lanes]
    try:
        yield tasks
    finally:
        for lane in lanes:
            lane.stop()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(what: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something, or fail."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


async def send(settings: Settings, count: int, seed: int = 1) -> list[checker.Seen]:
    """Publish a stretch of the stream."""
    found = stream.decisions(seed)
    sent = []
    async with AIOKafkaProducer(**settings.client(), linger_ms=5) as producer:
        topic = settings.topic("decisions")
        for key, value, headers in (next(found) for _ in range(count)):
            sent.append((await producer.send(topic, value, key=key, partition=0, headers=headers), key, value, headers))
        return [
            checker.Seen((done := await future).partition, done.offset, key, value, tuple(headers))
            for future, key, value, headers in sent
        ]


async def verify(settings: Settings, sent: list[checker.Seen], audited: bool = False) -> checker.View:
    """Drain, and let the checker look."""
    names = campaign.lanes(settings, "policy") + (campaign.lanes(settings, "audit") if audited else [])
    await campaign.drain(settings, names)
    view = await checker.read(settings.client(), settings.prefix, Path(settings.store_url) if audited else None)
    assert checker.check(view, settings.prefix, checker.Rule(), sent) == []
    return view


async def test_a_stopped_lane_that_wakes_after_its_successor_took_over_is_fenced(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    sent = await send(settings, 500)
    zombie = lives.start(settings, [policy(settings)])
    watch = Broker(settings)
    await wait_for(lambda: watch.read_all(settings.topic("verdicts")), 500)
    assert zombie.pid is not None
    os.kill(zombie.pid, signal.SIGSTOP)
    sent += await send(settings, 300, seed=2)
    successor = make_lane(settings, policy(settings))
    async with running(successor):
        await until(lambda: successor.status.records >= 300)
        sent += await send(settings, 200, seed=3)
        await until(lambda: successor.status.records >= 500)
        os.kill(zombie.pid, signal.SIGCONT)
        sent += await send(settings, 200, seed=4)
        await until(lambda: successor.status.records >= 700)
        await asyncio.to_thread(zombie.join, 20)
    assert zombie.exitcode not in (None, 0, -9), "the zombie must end by itself, with an error"
    await verify(settings, sent)


async def wait_for(read: Callable[[], Awaitable[list[object]]], count: int, seconds: float = 30) -> None:
    """Wait until a topic holds so many records."""
    deadline = time.monotonic() + seconds
    while len(await read()) < count:
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.1)


async def test_of_two_lanes_for_one_partition_the_later_wins_and_nothing_is_judged_twice(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    first, second = make_lane(settings, policy(settings)), make_lane(settings, policy(settings))
    async with running(first, second) as tasks:
        await until(lambda: "running" in (first.status.state, second.status.state))
        sent = await send(settings, 1000)
        await until(lambda: first.status.records + second.status.records >= 1000 or any(t.done() for t in tasks))
        sent += await send(settings, 500, seed=2)
        await until(lambda: any(task.done() for task in tasks))
        ended = next(task for task in tasks if task.done())
        assert isinstance(ended.exception(), Fenced)
    await verify(settings, sent)


@pytest.mark.timeout(300)
@pytest.mark.long
async def test_a_broker_killed_in_mid_transaction_costs_nothing(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "kafka", heap_mb=256)
    await asyncio.to_thread(kafka.start)
    try:
        settings = await campaign.prepare(kafka, tmp_path, "crash")
        lane = make_lane(settings, policy(settings))
        producer = campaign.Producer(settings, 1, 400)
        sending = asyncio.create_task(producer.run())
        async with running(lane):
            for _ in range(3):
                before = lane.status.records
                await until(lambda before=before: lane.status.records > before + 300, 60)  # type: ignore[misc]
                kafka.kill()
                await asyncio.sleep(0.5)
                await asyncio.to_thread(kafka.start)
            before = lane.status.records
            await until(lambda: lane.status.records > before + 300, 60)
            producer.stop()
            await sending
        await verify(settings, producer.sent)
    finally:
        kafka.stop()


@pytest.mark.timeout(300)
@pytest.mark.long
async def test_a_commit_whose_result_is_unknown_is_found_out_by_opening_again(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "kafka", heap_mb=256)
    await asyncio.to_thread(kafka.start)
    try:
        settings = await campaign.prepare(kafka, tmp_path, "frozen")
        lane = make_lane(settings, policy(settings))
        object.__setattr__(lane.pace, "commit_timeout_s", 1.0)
        async with running(lane):
            await until(lambda: lane.status.state == "running")
            sent: list[checker.Seen] = []
            for round_ in range(5):  # freeze the broker while commits are on their way
                sending = asyncio.create_task(send(settings, 400, seed=round_))
                await asyncio.sleep(0.05 + 0.02 * round_)
                os.kill(kafka.pids[0], signal.SIGSTOP)
                await asyncio.sleep(2.5)
                os.kill(kafka.pids[0], signal.SIGCONT)
                sent += await sending
            await until(lambda: lane.status.lag == 0 and lane.status.state == "running", 60)
        await verify(settings, sent)
        assert lane.status.restarts > 0, "no commit was in doubt: the broker was frozen at other moments only"
    finally:
        kafka.stop()


async def test_offsets_out_of_range_stop_the_lane_with_a_critical_flag_instead_of_skipping(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    await send(settings, 300)
    await campaign.drain(settings, [policy(settings)])
    await send(settings, 300, seed=2)
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    await admin.delete_records({TopicPartition(settings.topic("decisions"), 0): RecordsToDelete(450)})
    await admin.close()
    lane = make_lane(settings, policy(settings))
    with pytest.raises(OffsetsLost, match="450"):
        await asyncio.wait_for(lane.run(), 30)
    flags = await flags_of(settings)
    assert [flag["severity"] for flag in flags if "lane/offsets-lost" in flag["dedup_key"]] == ["critical"]
    assert len(await Broker(settings).read_all(settings.topic("verdicts"))) == 300


async def test_a_lane_with_outputs_but_without_committed_offset_does_not_start_over(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    await send(settings, 100)
    await campaign.drain(settings, [policy(settings)])
    lane = make_lane(settings, policy(settings))
    lane.group = f"{prefix}.nobody"  # as if the group's offsets had expired
    with pytest.raises(OffsetsLost, match="committed offset is gone"):
        await asyncio.wait_for(lane.run(), 30)
    assert len(await Broker(settings).read_all(settings.topic("verdicts"))) == 100


async def test_a_lane_that_has_had_nothing_to_do_for_days_starts_again(
    broker: LocalKafka, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    monkeypatch.setattr(lane_module, "RECOMMIT_S", 0.3)
    name = LaneName(prefix, "audit", settings.topic("incidents"), 0)
    for _ in range(2):
        lane = make_lane(settings, name)
        async with running(lane):
            await until(lambda lane=lane: lane.status.state == "running", 20)  # type: ignore[misc]
            await asyncio.sleep(1)
        assert lane.status.state == "stopped"


async def test_a_poison_flood_stops_nothing_and_releases_nothing(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    poison = [case for case in CORPUS if len(case.value or b"") <= 900_000]
    good = stream.decisions(9)
    topic = settings.topic("decisions")
    expected = 0
    async with AIOKafkaProducer(**settings.client(), max_request_size=2_000_000) as producer:
        for _ in range(3):
            for case in poison:
                headers = list(case.headers)
                await producer.send(topic, case.value, key=case.key, partition=0, headers=headers)
                key, value, more = next(good)
                await producer.send(topic, value, key=key, partition=0, headers=more)
                expected += 2
        await producer.flush()
    await campaign.drain(settings, [policy(settings)])
    watch = Broker(settings)
    verdicts = await watch.read_all(settings.topic("verdicts"))
    assert len(verdicts) == expected
    released = {(one.value, tuple(one.headers)[:-1]) for one in await watch.read_all(settings.topic("released"))}
    faulty = {(case.value, tuple(case.headers)) for case in poison}
    assert released, "good decisions go on"
    assert not released & faulty


async def test_the_largest_record_that_kafka_takes_is_held_whole(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    event = json.loads(next(stream.decisions(3))[1] or b"{}")
    event["data"]["output"] |= {"confidence": 0.1, "score": 0.5}
    key = b"k" * 60_000
    room = settings.max_record_bytes - len(json.dumps(event)) - len(key) - 200
    event["data"]["note"] = "x" * room
    value = json.dumps(event).encode()
    async with AIOKafkaProducer(**settings.client(), max_request_size=2_000_000, max_batch_size=1_100_000) as producer:
        done = await producer.send_and_wait(settings.topic("decisions"), value, key=key, partition=0)
    assert len(value) + len(key) > settings.max_record_bytes - 1000
    view = await verify(settings, [checker.Seen(0, done.offset, key, value)])
    assert [len(one.value or b"") for one in view.topics["held"]] == [len(value)]


async def test_a_lane_ten_times_too_slow_falls_behind_visibly_and_catches_up(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    lane = make_lane(settings, policy(settings))
    made = lane.make

    def slow(standing: object) -> object:
        work = made(standing)
        decide = work.decide
        work.decide = lambda records, now: (time.sleep(0.01 * len(records)), decide(records, now))[1]  # type: ignore
        return work

    lane.make = slow  # type: ignore[assignment]
    lane.pace = type(lane.pace)(20, 0, 1000)
    async with running(lane):
        await until(lambda: lane.status.state == "running")
        sent = await send(settings, 1000)
        await until(lambda: lane.status.lag > 300)
        lane.make = made
        await until(lambda: lane.status.records >= 200)
    await verify(settings, sent)


async def test_without_a_configuration_nothing_is_decided_and_the_lane_says_what_it_waits_for(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = Settings(
        prefix=prefix,
        bootstrap_servers=broker.bootstrap_servers,
        data_dir=tmp_path,
        keys_dir=tmp_path / "keys",
        partitions=1,
    )
    await topics.ensure(settings)
    keys.generate(prefix, settings.keys_dir, settings.store_url)
    sent = await send(settings, 50)
    lane = make_lane(settings, policy(settings))
    async with running(lane):
        await until(lambda: lane.status.state == "waiting")
        assert "govern config apply" in lane.status.detail
        await asyncio.sleep(1)
        assert await Broker(settings).read_all(settings.topic("verdicts")) == []
        await config_topic.apply(settings, config_files.load(campaign.CONFIG))
        await until(lambda: lane.status.records >= 50)
    await verify(settings, sent)


async def test_a_header_name_that_is_no_text_is_dead_lettered_and_stops_no_lane(
    broker: LocalKafka, tmp_path: Path, prefix: str
) -> None:
    settings = await campaign.prepare(broker, tmp_path, prefix)
    sent = await send(settings, 100)
    topic = settings.topic("decisions")
    good = json.dumps(json.loads(next(stream.decisions(77))[1] or b"{}")).encode()
    async with AIOKafkaProducer(**settings.client()) as producer:
        batch = producer.create_batch()
        batch.append(key=b"k", value=good, timestamp=None, headers=[("marker-marker", b"v")])
        batch.close()
        future = await producer.send_batch(_with_odd_name(batch), topic, partition=0)
        odd = await future
    sent += await send(settings, 100, seed=2)
    await campaign.drain(settings, [policy(settings)])
    watch = Broker(settings)
    verdicts = await watch.read_all(settings.topic("verdicts"))
    assert len(verdicts) == 201
    dead = [dict(one.headers) for one in await watch.read_all(settings.topic("dead-letters"))]
    faults = [json.loads(one["govern-fault"]) for one in dead]
    named = [one for one in faults if one["reason"] == "bad-header-name"]
    assert [base64.b64decode(name) for one in named for name, _ in one["headers"]] == [b"marker-\xffarker"]
    assert f"{topic}/0/{odd.offset}/gate".encode() in [one["govern-verdict"] for one in dead]


def _with_odd_name(batch: BatchBuilder) -> BatchBuilder:
    """A batch, as a client in another language might write it: one header's name is not UTF-8."""
    built = batch._build

    def build() -> bytes:
        data = bytearray(built()).replace(b"marker-marker", b"marker-\xffarker")
        struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
        return bytes(data)

    batch._build = build  # type: ignore[method-assign]
    return batch


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_three_brokers_killed_one_after_the_other_under_load_cost_nothing(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "kafka", brokers=3, heap_mb=256)
    await asyncio.to_thread(kafka.start)
    try:
        settings = await monitor_campaign.prepare(kafka, tmp_path, "three")
        names = campaign.lanes(settings, "policy") + campaign.lanes(settings, "audit")
        watching = [monitor_campaign.lane(settings, agent) for agent in topics.MONITORS]
        lanes = [make_lane(settings, name) for name in (*names, *watching)]
        observe = lanes[len(names)]
        producer = monitor_campaign.Watched(settings, 1, 300)
        sending = asyncio.create_task(producer.run())
        async with running(*lanes):
            for index in range(3):
                await more_of(lanes[0], observe)
                kafka.kill_broker(index)
                await more_of(lanes[0], observe)
                await asyncio.to_thread(kafka.start)
            producer.stop()
            await sending
        await campaign.drain(settings, [*names, *watching])
        view = await checker.read(settings.client(), settings.prefix, Path(settings.store_url))
        assert checker.check(view, settings.prefix, checker.Rule(), producer.sent) == []
        assert monitored.check(await monitored.read(settings.client(), settings.prefix)) == []
        assert await reexecuted(settings, config_files.load(campaign.CONFIG)) > 1_000
    finally:
        kafka.stop()


async def more_of(*lanes: LaneLife) -> None:
    """Wait until each of the lanes has taken 300 records more."""
    before = [lane.status.records for lane in lanes]
    await until(lambda: all(lane.status.records > was + 300 for lane, was in zip(lanes, before, strict=True)), 90)
