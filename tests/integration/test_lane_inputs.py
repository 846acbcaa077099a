"""Lanes with several inputs on a real Kafka: every record takes effect exactly once, and manifests tell the whole story."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError

from agents.errors import Fenced, Misconfigured, OffsetsLost
from agents.events import ManifestData, Snapshot, SnapshotData
from orchestration import manifests, topics
from orchestration.kafka import Broker
from orchestration.kill_points import POINTS
from orchestration.local_kafka import LocalKafka
from orchestration.manifest_lane import ManifestLane
from orchestration.reexecute_manifests import reexecute_manifests
from orchestration.settings import Settings
from orchestration.snapshots import Parts, read_snapshot
from orchestration.work import State
from tests.integration import tally
from tests.integration.kafka_fixtures import flags_of, produce
from tests.integration.tally import Tally


async def deployment(kafka: LocalKafka, prefix: str, folder: Path) -> Settings:
    settings = Settings(
        prefix=prefix,
        bootstrap_servers=kafka.bootstrap_servers,
        data_dir=folder,
        partitions=1,
        snapshot_interval_ms=300,
    )
    await topics.ensure(settings)
    return settings


@asynccontextmanager
async def running(*lanes: ManifestLane) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(lane.run()) for lane in lanes]
    try:
        yield tasks
    finally:
        for lane in lanes:
            lane.stop()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(what: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


async def send(settings: Settings, kafka: LocalKafka, short: str, records: Sequence[Any]) -> list[int]:
    return await produce(kafka, settings.topic(short), records, partition=0)


def events(count: int, seed: int = 1) -> list[tuple[bytes, bytes]]:
    chance = random.Random(seed)
    return [(f"k{chance.randrange(40)}".encode(), b"x" * chance.randrange(1, 20)) for _ in range(count)]


async def drained(lane: ManifestLane) -> None:
    """Everything is taken and committed."""

    async def done() -> bool:
        ends = {}
        for one in lane.inputs:
            ends[one] = await lane.broker.written(one.topic, one.partition)
        places = [(one.topic, one.partition) for one in lane.inputs]
        try:
            committed = await lane.broker.committed(lane.group, places)
        except (KafkaError, OSError):  # a broker that was just made, or killed
            return False
        return all(committed.get((one.topic, one.partition), 0) == end for one, end in ends.items() if end)

    await until(done)


async def observations(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(one.value) for one in await Broker(settings).read_all(settings.topic("observations"))]


async def told(settings: Settings) -> list[ManifestData]:
    return await manifests.all_of(Broker(settings), tally.name_of(settings), tally.inputs(settings))


async def verify(settings: Settings, offsets: Sequence[int]) -> list[dict[str, Any]]:
    """Each event counted once, in order; numbers without gaps; and every step decided again gives the same bytes."""
    found = await observations(settings)
    assert [one["offset"] for one in found] == sorted(offsets)
    headers = [dict(one.headers) for one in await Broker(settings).read_all(settings.topic("observations"))]
    assert [int(one["govern-seq"]) for one in headers] == list(range(len(found)))
    again = await reexecute_manifests(
        settings, tally.name_of(settings), tally.inputs(settings), lambda: Tally(settings.prefix)
    )
    assert again.differences == ()
    steps = await told(settings)
    assert [one.number for one in steps] == list(range(again.steps))
    assert again.records >= len(found)
    return found


async def test_what_a_lane_with_several_inputs_writes_follows_from_its_manifests_wherever_it_stopped(
    broker, prefix, tmp_path
):
    settings = await deployment(broker, prefix, tmp_path)
    await send(settings, broker, "attributes", [(b"k%d" % key, b"fact-%d" % key) for key in range(30)])
    offsets: list[int] = []
    for life, records in enumerate((1, 7, 200, 3, 50)):
        offsets += await send(settings, broker, "decisions", events(60, life))
        await send(settings, broker, "ticks", [b"tick"] * 3)
        lane = tally.lane(settings, records=records, snapshot_ms=0 if life == 2 else 60_000)
        async with running(lane):
            await send(settings, broker, "attributes", [(b"k1", b"new-%d" % life)])
            offsets += await send(settings, broker, "decisions", events(20, 100 + life))
            await drained(lane)
    found = await verify(settings, offsets)
    assert {one["fact"] for one in found} >= {"fact-2", None}
    assert max(one["ticks"] for one in found) >= 12
    assert {one["beside"] for one in found} >= {1, 7}


async def test_a_table_is_known_before_the_first_event_is_judged(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    offsets = await send(settings, broker, "decisions", [(b"k7", b"x")] * 5)
    await send(settings, broker, "attributes", [(b"k%d" % key, b"fact-%d" % key) for key in range(500)])
    lane = tally.lane(settings, records=20)
    async with running(lane):
        await drained(lane)
    found = await verify(settings, offsets)
    assert {one["fact"] for one in found} == {"fact-7"}
    steps = await told(settings)
    assert all(len(step.inputs) == 1 for step in steps[:25])
    assert [step.inputs[0].topic for step in steps[:25]] == [settings.topic("attributes")] * 25


@pytest.mark.timeout(300)
async def test_a_kill_at_any_step_leaves_no_trace_in_what_is_committed(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    await send(settings, broker, "attributes", [(b"k%d" % key, b"fact-%d" % key) for key in range(30)])
    offsets: list[int] = []
    for at, point in enumerate(POINTS):
        offsets += await send(settings, broker, "decisions", events(40, at))
        await send(settings, broker, "ticks", [b"tick"] * 2)
        await send(settings, broker, "attributes", [(b"k2", b"new-%d" % at)])
        count = 1 if point == "opened" else 2
        life = tally.start(settings, f"observe/*@{point}#{count}", records=9, snapshot_ms=60_000)
        await until(lambda life=life: not life.is_alive(), 40)
        assert life.exitcode == -9, point
    lane = tally.lane(settings)
    async with running(lane):
        await drained(lane)
    await verify(settings, offsets)
    uncommitted = await Broker(settings).written(settings.topic("manifests"), 0)
    assert uncommitted > len(await told(settings))


@pytest.mark.timeout(240)
@pytest.mark.long
async def test_a_broker_that_is_killed_and_comes_back_costs_nothing(tmp_path):
    kafka = LocalKafka(tmp_path / "kafka")
    await asyncio.to_thread(kafka.start)
    try:
        settings = await deployment(kafka, "killed", tmp_path)
        await send(settings, kafka, "attributes", [(b"k%d" % key, b"fact-%d" % key) for key in range(30)])
        offsets: list[int] = []
        lane = tally.lane(settings, records=11, snapshot_ms=60_000)
        async with running(lane):
            for round_ in range(3):
                offsets += await send(settings, kafka, "decisions", events(100, round_))
                await send(settings, kafka, "ticks", [b"tick"] * 2)
                await until(lambda round_=round_: lane.status.records > 100 * round_ + 40, 90)
                kafka.kill_broker(0)
                await asyncio.to_thread(kafka.start)
            await drained(lane)
        assert lane.status.restarts > 0
        await verify(settings, offsets)
    finally:
        kafka.stop()


async def test_a_zombie_is_fenced(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    offsets = await send(settings, broker, "decisions", events(5))
    first, second = tally.lane(settings), tally.lane(settings)
    async with running(first) as tasks:
        await drained(first)
        async with running(second):
            await until(lambda: second.status.state == "running")
            offsets += await send(settings, broker, "decisions", events(5, 2))
            with pytest.raises(Fenced):
                await asyncio.wait_for(tasks[0], 20)
            await drained(second)
    assert first.status.state == "fenced"
    await verify(settings, offsets)


async def test_a_state_of_two_megabytes_comes_back_to_the_bit_and_only_what_changed_is_written(
    broker, prefix, tmp_path
):
    settings = await deployment(broker, prefix, tmp_path)
    works: list[Tally] = []
    large = [(f"k{key}".encode(), random.Random(key).randbytes(30_000).hex().encode()) for key in range(40)]
    lane = tally.lane(settings, records=1_000, snapshot_ms=0, made=works.append)
    async with running(lane):
        await send(settings, broker, "attributes", [(b"k1", b"fact")])
        await send(settings, broker, "decisions", large)
        await drained(lane)
        watch, place = Broker(settings), settings.topic("snapshots")
        before = await watch.written(place, 0)
        await send(settings, broker, "decisions", [(b"k3", b"one more")])
        await drained(lane)
        assert await watch.written(place, 0) - before == 3  # a part, the head, a marker
        await send(settings, broker, "decisions", [(b"k5", b"forget")])
        await drained(lane)
    kept = await read_snapshot(Broker(settings), tally.name_of(settings), surely=True)
    assert kept is not None
    assert len(json.dumps(kept.parts)) > 2_000_000
    assert str(tally.hash_of("k5") % tally.BUCKETS) not in kept.parts
    again = tally.lane(settings, made=works.append)
    async with running(again):
        await until(lambda: again.status.state == "running")
    assert len(works) == 2
    assert works[1].everything() == works[0].everything()
    assert works[1].recalled == [39, 40, 41]


async def test_what_came_after_the_snapshot_is_decided_again_as_it_was(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    works: list[Tally] = []
    lane = tally.lane(settings, records=7, snapshot_ms=60_000, made=works.append)
    async with running(lane):
        for round_ in range(5):
            await send(settings, broker, "attributes", [(b"k1", b"fact-%d" % round_)])
            await send(settings, broker, "decisions", events(20, round_))
            await send(settings, broker, "ticks", [b"tick"])
            await drained(lane)
    assert lane.status.transactions > 5
    heads = [one for one in await Broker(settings).read_all(settings.topic("snapshots")) if b"/" not in one.key]
    assert len(heads) == 1
    again = tally.lane(settings, made=works.append)
    async with running(again):
        await until(lambda: again.status.transactions == 1)  # so that the next start need not decide them once more
    assert works[1].everything() == works[0].everything()


async def test_manifests_that_another_lane_s_transaction_hides_are_waited_for(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    works: list[Tally] = []
    lane = tally.lane(settings, records=7, snapshot_ms=60_000, made=works.append)
    async with running(lane):
        offsets = await send(settings, broker, "decisions", events(20))
        await drained(lane)
        other = await Broker(settings).producer(f"{prefix}.observe.other.0")
        await other.begin_transaction()
        await other.send_and_wait(settings.topic("manifests"), b"{}", partition=0)
        offsets += await send(settings, broker, "decisions", events(20, 2))
        await drained(lane)
    again = tally.lane(settings, made=works.append)
    async with running(again):
        await asyncio.sleep(2)
        assert again.status.state == "starting"
        await other.abort_transaction()
        await other.stop()
        await until(lambda: again.status.state == "running")
    assert works[1].everything() == works[0].everything()
    await verify(settings, offsets)


async def test_ticks_alone_are_committed_lazily(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    works: list[Tally] = []
    lane = tally.lane(settings, lazy_ms=1_000, made=works.append)
    async with running(lane):
        await until(lambda: lane.status.state == "running")
        for _ in range(20):
            await send(settings, broker, "ticks", [b"tick"])
            await asyncio.sleep(0.1)
        await until(lambda: works[0].ticks == 20)
        await drained(lane)
    steps = await told(settings)
    assert len(steps) > 3 * lane.status.transactions
    assert 2 <= lane.status.transactions <= 5
    again = tally.lane(settings, made=works.append)
    async with running(again):
        await until(lambda: again.status.state == "running")
    assert works[1].everything() == works[0].everything()


async def test_a_lane_that_idles_saves_its_state_so_that_it_starts_quickly_a_week_later(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    offsets = await send(settings, broker, "decisions", events(5))
    lane = tally.lane(settings, snapshot_ms=1_500)
    async with running(lane):
        await drained(lane)
        offsets += await send(settings, broker, "decisions", events(5, 2))
        await drained(lane)
        await asyncio.sleep(2)
    kept = await read_snapshot(Broker(settings), tally.name_of(settings), surely=True)
    assert kept is not None
    assert kept.head.offsets[f"{settings.topic('decisions')}/0"] == offsets[-1] + 1


async def test_a_batch_has_its_age(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    lane = tally.lane(settings, records=5_000, age_ms=250)
    async with running(lane):
        await until(lambda: lane.status.state == "running")
        began = time.monotonic()
        for at in range(10):
            await send(settings, broker, "decisions", events(5, at))
            await send(settings, broker, "attributes", [(b"k1", b"fact")])
        await drained(lane)
        most = (time.monotonic() - began) / 0.25 + 2
    assert lane.status.transactions <= most


async def test_a_lost_offset_of_any_input_ends_the_lane_loudly(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    await send(settings, broker, "attributes", [(b"k1", b"fact")])
    await send(settings, broker, "decisions", events(5))
    lane = tally.lane(settings)
    async with running(lane):
        await drained(lane)
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(settings.topic("decisions"), 0): RecordsToDelete(before_offset=5)})
        await send(settings, broker, "decisions", events(5))
        await admin.delete_records({TopicPartition(settings.topic("decisions"), 0): RecordsToDelete(before_offset=7)})
    finally:
        await admin.close()
    again = tally.lane(settings)
    with pytest.raises(OffsetsLost, match="begins at 7, after 5"):
        await again.run()
    assert (await flags_of(settings))[-1]["severity"] == "critical"


async def test_offsets_that_no_manifest_leads_to_end_the_lane(broker, prefix, tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "RECOVERY_S", 1.0)
    settings = await deployment(broker, prefix, tmp_path)
    await send(settings, broker, "decisions", events(9))
    lane = tally.lane(settings)
    async with running(lane):
        await drained(lane)
    await send(settings, broker, "decisions", events(9))
    producer = await Broker(settings).producer(f"{prefix}-operator")
    await producer.begin_transaction()
    await producer.send_offsets_to_transaction({TopicPartition(settings.topic("decisions"), 0): 12}, lane.group)
    await producer.commit_transaction()
    await producer.stop()
    with pytest.raises(OffsetsLost, match="manifests lead to"):
        await tally.lane(settings).run()


async def test_a_reader_never_mixes_the_parts_of_two_snapshots(broker, prefix, tmp_path):
    settings = await deployment(broker, prefix, tmp_path)
    name, place = tally.name_of(settings), settings.topic("snapshots")
    head = SnapshotData(lane="", offsets={}, sequence={}, now_ms=-1)
    parts = Parts(name)
    first = list(parts.messages(State(head, {"a": {"v": 1}, "b": {"v": 1}}), {"t/0": 1}, 1))
    second = list(parts.messages(State(head, {"a": {"v": 2}}), {"t/0": 2}, 2))
    assert [key for key, _, _ in second] == [f"{name.transactional_id}/a".encode(), name.transactional_id.encode()]
    await produce(broker, place, [(key, value) for key, value, _ in (*first, second[0])], partition=0)
    kept = await read_snapshot(Broker(settings), name, surely=False)
    assert kept is not None
    assert (kept.head.offsets, kept.parts) == ({"t/0": 1}, {"a": {"v": 1}, "b": {"v": 1}})
    await produce(broker, place, [second[1][:2]], partition=0)
    kept = await read_snapshot(Broker(settings), name, surely=False)
    assert kept is not None
    assert (kept.head.offsets, kept.parts) == ({"t/0": 2}, {"a": {"v": 2}, "b": {"v": 1}})
    torn = Snapshot.model_validate_json(second[1][1] or b"").model_dump(mode="json", exclude_none=True)
    torn["data"]["parts"]["c"] = "sha256:" + "0" * 64
    await produce(broker, settings.topic("snapshots"), [(b"other", b"x")], partition=0)
    other = f"{prefix}.observe.other.0"
    await produce(broker, place, [(other.encode(), json.dumps(torn).encode())], partition=0)
    with pytest.raises(OffsetsLost, match="parts are gone: a, b, c"):
        await read_snapshot(Broker(settings), tally.LaneName(prefix, "observe", "other", 0), surely=False)


def test_a_part_that_no_record_can_hold_is_told():
    name = tally.LaneName("t", "observe", "t.decisions", 0)
    head = SnapshotData(lane="", offsets={}, sequence={}, now_ms=-1)
    with pytest.raises(Misconfigured, match="part 'big' has 700,"):
        list(Parts(name).messages(State(head, {"big": {"v": "x" * 700_000}}), {}, 0))
