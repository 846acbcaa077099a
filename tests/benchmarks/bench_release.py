"""One ruling over many held decisions, the lane killed halfway: how fast, how much memory, and that each went out once.

    python -m tests.benchmarks.bench_release --held 50000

Decisions of twenty causes are held by a policy lane; one ruling answers all of them. The release lane runs in a process of its
own, is killed with SIGKILL when half of them are out, and starts again. Then answers to single decisions are timed: from the
sending of the ruling until a `read_committed` reader sees the released record, with `--backlog` decisions still held beside.
Nothing else runs on the broker; figures depend on the machine, the promises (once, byte for byte) do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.configuration import Configuration
from agents.policy.flags import dedup_key
from orchestration import config_topic, keys, topics
from orchestration.bootstrap import make_lane
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.chaos import campaign, lives

CAUSES = 20
BATCH = 2_000
TEXT = "x" * 400
"""Makes a decision about 800 bytes long."""


@dataclass
class Figures:
    """What was measured."""

    held: int
    seconds: float = 0.0
    """From the ruling until the last one was out, the kill and the new start included."""
    back_s: float = 0.0
    """From the start of the second process until its first released record."""
    peak_mib: float = 0.0
    """Most memory that a process of the lane had resident."""
    answers_ms: list[float] = field(default_factory=list)
    """Ruling sent → released record seen, a decision each."""
    problems: list[str] = field(default_factory=list)

    @property
    def p95_ms(self) -> float:
        """The 95th percentile of `answers_ms`."""
        ordered = sorted(self.answers_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]

    def table(self) -> str:
        """For people."""
        half = sorted(self.answers_ms)[len(self.answers_ms) // 2]
        return "\n".join(
            [
                f"{self.held:,} held decisions of {CAUSES} causes, one ruling, lane killed halfway",
                f"released in {self.seconds:.1f} s ({self.held / self.seconds:,.0f}/s), {self.back_s:.2f} s to come back",
                f"resident memory at most {self.peak_mib:.0f} MiB",
                f"answer to released record: p50 {half:.0f} ms, p95 {self.p95_ms:.0f} ms (n={len(self.answers_ms)})",
                f"{len(self.problems)} problems: each released exactly once, byte for byte, unless named here",
                *self.problems[:20],
            ]
        )


def configuration() -> Configuration:
    """A model whose decisions are all held, each by one of the causes."""
    rules = [
        {"id": f"c{number}", "when": f"features.cause = {number}", "effect": "hold", "reason": "cause {features.cause}"}
        for number in range(CAUSES)
    ]
    model = {"mode": "gate", "versions": ["1"], "features": {"cause": "numeric"}}
    return Configuration.model_validate({"models": {"m": model}, "policies": [{"policy": "p", "rules": rules}]})


def decision(number: int) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """One decision; every tenth has no key."""
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"d{number}",
        "source": "/bench",
        "data": {
            "model": {"name": "m", "version": "1"},
            "features": {"cause": number % CAUSES},
            "output": {"label": "decline", "score": 0.5, "confidence": 0.5, "text": TEXT},
        },
    }
    key = None if number % 10 == 0 else f"client-{number}".encode()
    return key, json.dumps(event).encode(), [("trace", b"%d" % number)] if number % 3 else []


def ruling(settings: Settings, number: int, **more: Any) -> bytes:
    """An approval of every cause."""
    data = {
        "incident": "7f29-k1mq",
        "resolution": "approved",
        "effect": "allow",
        "keys": [dedup_key(f"p/c{one}", "m", "1") for one in range(CAUSES)],
        **more,
    }
    event = {"specversion": "1.0", "type": "governance.ruling.v1", "id": f"7f29-k1mq/{number}", "source": "/bench"}
    return json.dumps(event | {"data": data}).encode()


async def run(kafka: LocalKafka, folder: Path, held: int, answers: int, backlog: int) -> Figures:
    """All of it on a broker that is there."""
    settings = Settings(
        prefix="br", bootstrap_servers=kafka.bootstrap_servers, data_dir=folder, keys_dir=folder / "keys", partitions=1
    )
    await topics.ensure(settings)
    keys.generate("br", settings.keys_dir, settings.store_url)
    await config_topic.apply(settings, configuration())
    await _hold(settings, range(held))
    figures = Figures(held)
    name = LaneName("br", "release", settings.topic("held"), 0)
    await _release(settings, name, figures)
    figures.problems += await _problems(settings, held)
    await _hold(settings, range(held, held + backlog + answers))
    await _answers(settings, name, figures, answers)
    return figures


async def _hold(settings: Settings, numbers: range) -> None:
    """Publish decisions and let a policy lane hold them."""
    async with AIOKafkaProducer(**settings.client(), linger_ms=10, max_batch_size=500_000) as producer:
        for start in range(numbers.start, numbers.stop, BATCH):
            waiting = []
            for number in range(start, min(start + BATCH, numbers.stop)):
                key, value, headers = decision(number)
                waiting.append(await producer.send(settings.topic("decisions"), value, key, 0, headers=headers))
            await asyncio.gather(*waiting)
    await campaign.run_dry([make_lane(settings, LaneName("br", "policy", settings.topic("decisions"), 0))])


async def _send(settings: Settings, value: bytes) -> None:
    async with AIOKafkaProducer(**settings.client()) as producer:
        await producer.send_and_wait(settings.topic("rulings"), value, key=b"7f29-k1mq", partition=0)


async def _release(settings: Settings, name: LaneName, figures: Figures) -> None:
    """Rule over everything, kill the lane halfway, start it again, wait for the last."""
    consumer = AIOKafkaConsumer(**settings.client(), group_id=None, isolation_level="read_committed")
    await consumer.start()
    place = TopicPartition(settings.topic("released"), 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    life, seen, halfway, back = lives.start(settings, [name]), 0, False, 0.0
    await _running(settings, life)
    began = time.perf_counter()
    await _send(settings, ruling(settings, 0, through={f"{settings.topic('decisions')}/0": figures.held}))
    while seen < figures.held:
        figures.peak_mib = max(figures.peak_mib, _resident(life))
        count = sum(map(len, (await consumer.getmany(timeout_ms=50, max_records=2_000)).values()))
        if count and halfway and not figures.back_s:
            figures.back_s = time.perf_counter() - back
        seen += count
        if not halfway and seen >= figures.held // 2:
            life.kill()
            life.join()
            while more := sum(map(len, (await consumer.getmany(timeout_ms=500)).values())):
                seen += more
            life, halfway, back = lives.start(settings, [name]), True, time.perf_counter()
        if time.perf_counter() - began > 300:
            figures.problems.append(f"only {seen:,} were released after 300 s")
            break
    figures.seconds = time.perf_counter() - began
    await consumer.stop()
    life.kill()
    life.join()


async def _running(settings: Settings, life: BaseProcess) -> None:
    """Wait until the lane has committed its first progress."""
    group, place = f"br.release.{settings.topic('held')}.0", (settings.topic("rulings"), 0)
    while not await Broker(settings).committed(group, [place]):
        if not life.is_alive():
            raise SystemExit("the lane's process ended")
        await asyncio.sleep(0.1)


def _resident(life: BaseProcess) -> float:
    """MiB that the process has resident now; 0 where it is gone."""
    try:
        return float(psutil.Process(life.pid).memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


async def _problems(settings: Settings, held: int) -> list[str]:
    """Each decision released once, as it was sent, with one final verdict; nothing pending, nothing withheld."""
    broker, here = Broker(settings), settings.topic("decisions")
    sent = {f"{here}/0/{one.offset}/final": one for one in await broker.read_all(here)}
    seen: Counter[str] = Counter()
    problems = []
    for one in await broker.read_all(settings.topic("released")):
        name = dict(one.headers).get("govern-verdict", b"").decode()
        seen[name] += 1
        was = sent.get(name)
        if was is None or (one.key, one.value, one.headers[:-1]) != (was.key, was.value, was.headers):
            problems.append(f"{name} was released with other bytes")
    problems += [f"{name} was released {seen[name]} times" for name in sent if seen[name] != 1]
    finals = [json.loads(one.value)["id"] for one in await broker.read_all(settings.topic("verdicts"))]
    counts = Counter(one for one in finals if one.endswith("/final"))
    problems += [f"{name} has {counts[name]} final verdicts" for name in sent if counts[name] != 1]
    open_ = {one.key: one.value is not None for one in await broker.read_all(settings.topic("held"))}
    problems += [f"{key.decode()} is still held" for key, waits in open_.items() if waits]
    if await broker.read_all(settings.topic("withheld")) or len(sent) != held:
        problems.append("something was withheld, or not all was published")
    return problems


async def _answers(settings: Settings, name: LaneName, figures: Figures, count: int) -> None:
    """Rule on one decision after the other, and time each until its record is out."""
    offsets = {one.offset: one for one in await Broker(settings).read_all(settings.topic("decisions"))}
    mine = sorted(offsets)[-count:]
    life = lives.start(settings, [name])
    consumer = AIOKafkaConsumer(
        **settings.client(), group_id=None, isolation_level="read_committed", fetch_max_wait_ms=100
    )
    await consumer.start()
    place = TopicPartition(settings.topic("released"), 0)
    consumer.assign([place])
    await consumer.seek_to_end(place)
    await asyncio.sleep(6)  # the lane opens
    async with AIOKafkaProducer(**settings.client(), linger_ms=0) as producer:
        for number, offset in enumerate(mine):
            items = [{"topic": settings.topic("decisions"), "partition": 0, "offset": offset}]
            began = time.perf_counter()
            await producer.send(settings.topic("rulings"), ruling(settings, 1 + number, items=items), partition=0)
            out: list[Any] = []
            while not out and time.perf_counter() - began < 20:
                out = (await consumer.getmany(timeout_ms=100)).get(place, [])
            if [one.value for one in out] != [offsets[offset].value]:
                figures.problems.append(f"the answer to decision {offset} let {len(out)} others out")
            figures.answers_ms.append((time.perf_counter() - began) * 1000)
            figures.peak_mib = max(figures.peak_mib, _resident(life))
            await asyncio.sleep(0.02)
    await consumer.stop()
    life.kill()
    life.join()


def main() -> None:
    """Measure on a broker of its own and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held", type=int, default=50_000)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--backlog", type=int, default=10_000, help="decisions still held while answers are timed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kafka = LocalKafka(Path(folder) / "kafka")
        kafka.start(print)
        try:
            figures = asyncio.run(run(kafka, Path(folder), options.held, options.answers, options.backlog))
        finally:
            kafka.stop()
    print(figures.table())
    raise SystemExit(1 if figures.problems else 0)


if __name__ == "__main__":
    main()
