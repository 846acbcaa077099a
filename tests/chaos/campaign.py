"""Kill lanes at every kill point, under load, and let the checker say what came of it.

    python -m tests.chaos.campaign --hits 20

Each point of each lane is hit `hits` times: a process that runs the policy or the audit lanes is killed there, another
takes over. Between the first write and the commit, transactions that were seen aborted are counted. At the end a life
without kills drains everything, and tests/chaos/checker.py looks at topics and evidence.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.audit.agent import CHECKPOINTS
from orchestration import config_files, config_topic, keys, topics
from orchestration.bootstrap import make_lane
from orchestration.kill_points import IN_TRANSACTION, POINTS, Point
from orchestration.lane_life import LaneLife
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.chaos import checker, lives, stream

CONFIG = Path(__file__).parent / "config"


@dataclass
class Result:
    """What a campaign did and found."""

    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(agent, point) → kills."""
    aborted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(agent, point) → records seen in transactions that were aborted."""
    decisions: int = 0
    problems: list[checker.Problem] = field(default_factory=list)
    resumed: list[float] = field(default_factory=list)
    """Seconds from a policy lane's death to its successor's first verdict."""

    def table(self) -> str:
        """Kill point × lane × hits."""
        lines = [f"{'kill point':<14}{'policy':>8}{'audit':>8}   records seen aborted: policy, audit"]
        for point in POINTS:
            aborted = [self.aborted[agent, point] for agent in ("policy", "audit")]
            told = f"{aborted[0]:>24}{aborted[1]:>7}" if any(aborted) else ""
            lines.append(f"{point:<14}{self.hits['policy', point]:>8}{self.hits['audit', point]:>8}{told}")
        lines.append(f"{self.decisions} decisions, {len(self.problems)} problems")
        return "\n".join(lines)


async def prepare(kafka: LocalKafka, folder: Path, prefix: str, **more: object) -> Settings:
    """Topics, keys and the configuration of a deployment of its own."""
    settings = Settings(
        prefix=prefix,
        bootstrap_servers=kafka.bootstrap_servers,
        data_dir=folder,
        keys_dir=folder / "keys",
        partitions=1,
        batch_records=400,
        audit_interval_ms=1000,
        snapshot_interval_ms=1000,
        **more,  # type: ignore[arg-type]
    )
    await topics.ensure(settings)
    keys.generate(prefix, settings.keys_dir, settings.store_url)
    await config_topic.apply(settings, config_files.load(CONFIG))
    return settings


def lanes(settings: Settings, agent: str) -> list[LaneName]:
    """The lanes of one kind that a campaign kills."""
    prefix = settings.prefix
    if agent == "policy":
        return [LaneName(prefix, "policy", settings.topic("decisions"), 0)]
    return [LaneName(prefix, "audit", settings.topic(name), 0) for name in ("verdicts", "config", CHECKPOINTS)]


class Producer:
    """Publishes the stream until told to stop, and remembers what Kafka acknowledged."""

    def __init__(self, settings: Settings, seed: int, rate: int) -> None:
        self.settings, self.rate = settings, rate
        self.sent: list[checker.Seen] = []
        self._stream = stream.decisions(seed)
        self._stop = False

    async def run(self) -> None:
        """Send in bursts of 50 ms."""
        topic = self.settings.topic("decisions")
        async with AIOKafkaProducer(**self.settings.client(), linger_ms=5, enable_idempotence=True) as producer:
            await self.before(producer)
            while not self._stop:
                burst = [next(self._stream) for _ in range(max(1, self.rate // 20))]
                sending = [
                    await producer.send(topic, value, key=key, partition=0, headers=headers)
                    for key, value, headers in burst
                ]
                for (key, value, headers), done in zip(burst, await asyncio.gather(*sending), strict=True):
                    self.sent.append(checker.Seen(done.partition, done.offset, key, value, tuple(headers)))
                await self.beside(producer, burst)
                await asyncio.sleep(0.05)

    async def before(self, producer: AIOKafkaProducer) -> None:
        """What is published before the first decision: nothing."""

    async def beside(self, producer: AIOKafkaProducer, burst: Sequence[stream.Sent]) -> None:
        """What is published after a burst: nothing."""

    def stop(self) -> None:
        """End after the burst in hand."""
        self._stop = True


async def run(
    settings: Settings,
    hits: int,
    rate: int = 1000,
    seed: int = 1,
    at_least: int = 0,
    show: bool = False,
    points: Sequence[Point] = POINTS,
) -> Result:
    """Hit the points of both agents, drain, check."""
    chance, result = random.Random(seed), Result()
    producer = Producer(settings, seed, rate)
    sending = asyncio.create_task(producer.run())
    for agent, other in (("policy", "audit"), ("audit", "policy")):
        beside = lives.start(settings, lanes(settings, other))
        for point in points:
            before = await _aborted(settings, agent) if point in IN_TRANSACTION else 0
            for _ in range(hits):
                await _one_life(settings, agent, point, chance, result)
            if point in IN_TRANSACTION:
                result.aborted[agent, point] = await _aborted(settings, agent, settle=True) - before
            if show:
                print(f"{agent:<8}{point:<14}{result.hits[agent, point]:>4} hits", flush=True)
        beside.kill()
        beside.join()
    while len(producer.sent) < at_least:
        await asyncio.sleep(0.2)
    producer.stop()
    await sending
    await drain(settings, lanes(settings, "policy") + lanes(settings, "audit"))
    view = await checker.read(settings.client(), settings.prefix, Path(settings.store_url))
    result.decisions = len(view.topics["decisions"])
    result.problems = checker.check(view, settings.prefix, checker.Rule(), producer.sent)
    return result


async def _one_life(settings: Settings, agent: str, point: str, chance: random.Random, result: Result) -> None:
    """Start a process of the agent's lanes that dies at the point; count the hit when it did."""
    count = 1 if agent == "audit" or point == "opened" else chance.randint(1, 4)
    pattern = f"{agent}/{settings.topic('decisions' if agent == 'policy' else 'verdicts')}/*"
    life = lives.start(settings, lanes(settings, agent), f"{pattern}@{point}#{count}")
    if await killed(life):
        result.hits[agent, point] += 1


async def killed(life: BaseProcess) -> bool:
    """Wait until a life has died at its kill point; false where it had to be ended after a minute, or ended otherwise."""
    deadline = time.monotonic() + 60
    while life.is_alive() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    by_itself = life.exitcode == -9
    life.kill()
    life.join()
    return by_itself


async def _aborted(settings: Settings, agent: str, settle: bool = False) -> int:
    """Records on the agent's output topic that were written, and aborted."""
    topic = settings.topic("verdicts" if agent == "policy" else CHECKPOINTS)
    if settle:  # only a new owner, or the time-out, aborts what a dead one left open
        life = lives.start(settings, lanes(settings, agent))
        await asyncio.sleep(4)
        life.kill()
        life.join()
    return await _count(settings, topic, "read_uncommitted") - await _count(settings, topic, "read_committed")


async def _count(settings: Settings, topic: str, isolation: str) -> int:
    place = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        **settings.client(), group_id=None, isolation_level=isolation, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        await consumer.seek_to_beginning(place)
        count = 0
        while await consumer.position(place) < end:
            count += sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
        return count
    finally:
        await consumer.stop()


async def drain(settings: Settings, names: Sequence[LaneName], timeout: float = 120) -> None:
    """Run the lanes until everything is judged and audited."""
    await run_dry([make_lane(settings, name) for name in names], timeout)


async def run_dry(running: Sequence[LaneLife], timeout: float = 120) -> None:
    """Run lanes until they have had nothing to do for three seconds."""
    tasks = [asyncio.create_task(lane.run()) for lane in running]
    until = time.monotonic() + timeout
    quiet = 0
    while quiet < 15:
        await asyncio.sleep(0.2)
        for task in tasks:
            if task.done():
                task.result()
        calm = all(lane.status.state == "running" and lane.status.lag == 0 for lane in running)
        quiet = quiet + 1 if calm else 0
        if time.monotonic() > until:
            raise AssertionError(f"not drained: {[lane.status for lane in running]}")
    for lane in running:
        lane.stop()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


def main() -> None:
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=20, help="kills at each point of each agent")
    parser.add_argument("--decisions", type=int, default=0, help="go on until so many were sent")
    parser.add_argument("--rate", type=int, default=1000, help="decisions a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    told(lambda kafka, folder: _main(kafka, folder, options))


def told(run: Callable[[LocalKafka, Path], Coroutine[Any, Any, Any]]) -> None:
    """Run a campaign on a broker of its own and print its table; ends the process with 1 where there is a problem."""
    with tempfile.TemporaryDirectory() as name:
        kafka = LocalKafka(Path(name) / "kafka")
        kafka.start(print)
        try:
            result = asyncio.run(run(kafka, Path(name)))
        finally:
            kafka.stop()
    print(result.table())
    for problem in result.problems[:50]:
        print(f"{problem.kind}: {problem.where}: {problem.detail}")
    raise SystemExit(1 if result.problems else 0)


async def _main(kafka: LocalKafka, folder: Path, options: argparse.Namespace) -> Result:
    settings = await prepare(kafka, folder, "chaos")
    return await run(settings, options.hits, options.rate, options.seed, options.decisions, show=True)


if __name__ == "__main__":
    main()
