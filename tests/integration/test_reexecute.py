"""A recorded decision judged again after real lanes judged it on a real Kafka, restarts and standing orders in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agents.audit.proof import VerdictId
from agents.events import Safeguard, SafeguardData
from orchestration import config_topic, keys, topics
from orchestration.archive import Archive
from orchestration.bootstrap import make_lane
from orchestration.lane import LaneName
from orchestration.local_kafka import LocalKafka
from orchestration.log_store import LogStore
from orchestration.profile_store import ProfileStore
from orchestration.reexecute import Reexecuted, reexecute
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import consume_all, produce
from tests.unit import unusual
from tests.unit.test_replay import configuration, decision

LANES = (
    ("policy", "decisions"),
    ("archive", "decisions"),
    ("audit", "verdicts"),
    ("audit", "config"),
    ("audit", "safeguards"),
)


def settings_for(broker: LocalKafka, prefix: str, folder: Path) -> Settings:
    made = Settings(
        prefix=prefix,
        bootstrap_servers=broker.bootstrap_servers,
        data_dir=folder,
        keys_dir=folder / "keys",
        partitions=1,
        audit_interval_ms=1_000,
        snapshot_interval_ms=100,
    )
    keys.generate(prefix, made.keys_dir, made.store_url)
    return made


@asynccontextmanager
async def lanes(settings: Settings) -> AsyncIterator[None]:
    """Every lane that matters here, until the end of the block."""
    running = [
        make_lane(settings, LaneName(settings.prefix, agent, settings.topic(short), 0)) for agent, short in LANES
    ]
    tasks = [asyncio.create_task(lane.run()) for lane in running]
    try:
        yield
    finally:
        for lane in running:
            lane.stop()
        await asyncio.gather(*tasks)


async def caught_up(settings: Settings, broker: LocalKafka, count: int) -> None:
    """Wait until so many decisions are judged, audited and archived, with what they were judged by."""
    store, archive = LogStore(settings.store_url), Archive(settings.archive_url)
    decisions = settings.topic("decisions")
    for _ in range(200):
        await asyncio.sleep(0.1)
        judged = len(await consume_all(broker, settings.topic("verdicts")))
        note = store.checkpoint(f"{settings.prefix}/verdicts/0") or b"\n0"
        audited = int(note.split(b"\n")[1])
        if judged == audited == len(list(archive.scan(decisions, 0, 0, 1 << 62))) == count:
            await asyncio.sleep(1.5)  # the logs of config and safeguards have the same pace
            return
    raise AssertionError(f"judged {judged}, audited {audited} of {count} after 20 s")


def again(settings: Settings) -> list[Reexecuted]:
    salt = keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt)
    store, archive = LogStore(settings.store_url), Archive(settings.archive_url)
    topic, find = settings.topic("decisions"), ProfileStore(settings.profiles_url).get
    return [
        reexecute(
            VerdictId(topic, 0, one.offset, "gate"),
            settings.prefix,
            store,
            archive,
            salt,
            settings.max_record_bytes,
            find,
        )
        for one in archive.scan(topic, 0, 0, 1 << 62)
    ]


async def test_what_real_lanes_judged_comes_out_the_same_byte_for_byte(broker, prefix, tmp_path):
    settings = settings_for(broker, prefix, tmp_path)
    await topics.ensure(settings)
    await config_topic.apply(settings, configuration())
    decisions = settings.topic("decisions")

    async def send(values: Sequence[bytes], transaction: str | None = None) -> None:
        await produce(broker, decisions, [(b"k", one) for one in values], partition=0, transactional_id=transaction)

    async with lanes(settings):
        await send([decision(n, confidence=0.65) for n in range(20)])
        await send([decision(0, confidence=0.65), b"broken", decision(20, x=200)], f"{prefix}-producer")  # a marker too
        await caught_up(settings, broker, 23)
        await config_topic.apply(settings, configuration(0.7))
        await asyncio.sleep(0.5)
        await send([decision(30, confidence=0.65)])
        await caught_up(settings, broker, 24)
    order = Safeguard(
        id="s", source="/o", data=SafeguardData(kind="hold_all", model="limit", active=True, reason="stop")
    )
    value = order.model_dump_json(exclude_none=True).encode()
    await produce(broker, settings.topic("safeguards"), [(b"s1", value)], partition=0, transactional_id=f"{prefix}-op")
    await send([decision(1, confidence=0.65), decision(2, x=3), decision(40)])  # judged by lanes that remember nothing
    async with lanes(settings):
        await caught_up(settings, broker, 27)

    found = again(settings)
    assert [(one.recorded == one.again, one.remarks) for one in found] == [(True, ())] * 27
    told = [(one.verdict.data.kind, one.verdict.data.effect) for one in found]
    assert told[:20] == [("decision", "allow")] * 20
    assert told[20:] == [
        ("duplicate", None),
        ("malformed", "block"),
        ("decision", "block"),
        ("decision", "hold"),
        ("duplicate", None),
        ("conflict", "block"),
        ("decision", "hold"),
    ]
    recorded = {json.loads(one.value)["id"]: one.value for one in await consume_all(broker, settings.topic("verdicts"))}
    assert {one.verdict.id: one.again for one in found} == recorded


async def test_an_odd_decision_is_held_by_its_p_value_judged_again_alike_and_nothing_passes_while_the_profile_is_gone(
    broker, prefix, tmp_path
):
    settings = settings_for(broker, prefix, tmp_path)
    await topics.ensure(settings)
    store = ProfileStore(settings.profiles_url)
    store.put(unusual.profile().to_bytes())
    await config_topic.apply(settings, unusual.configuration())
    decisions, odd = settings.topic("decisions"), (11, 39, 40)
    values = [unusual.event(number, one) for number, one in enumerate(unusual.inputs(41, 4, odd=odd))]
    await produce(broker, decisions, [(b"k", one) for one in values[:40]], partition=0)
    async with lanes(settings):
        await caught_up(settings, broker, 40)
    found = again(settings)
    assert [(one.recorded == one.again, one.remarks) for one in found] == [(True, ())] * 40
    assert [number for number, one in enumerate(found) if one.verdict.data.effect == "hold"] == [11, 39]

    (file,) = (tmp_path / "profiles").iterdir()
    file.unlink()
    await produce(broker, decisions, [(b"k", values[40])], partition=0)
    lane = make_lane(settings, LaneName(settings.prefix, "policy", decisions, 0))
    running = asyncio.create_task(lane.run())
    await until(lambda: lane.status.state == "waiting")
    assert f"there is no profile {unusual.profile().digest}" in lane.status.detail
    assert len(await consume_all(broker, settings.topic("verdicts"))) == 40
    store.put(unusual.profile().to_bytes())
    await until(lambda: lane.status.records == 1)
    lane.stop()
    await running
    held = await consume_all(broker, settings.topic("held"))
    assert [(one.key or b"").decode() for one in held] == [f"{decisions}/0/{number}" for number in odd]
    (reason,) = json.loads(dict(held[0].headers)["govern-reasons"])
    assert reason["text"].startswith("one in 0.000249937515621095 has such an input (0.")


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 10 s")
