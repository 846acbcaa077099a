"""Kill monitor lanes at every kill point, under load and all at once, and let an outsider say what came of it.

    python -m tests.chaos.monitor_campaign --agents observe join assess --hits 2

Each chosen agent has its own round through the points, beside the others': a process that runs its lane is killed there,
the next one takes over. A life without kills drains everything. Then tests/chaos/monitored.py looks at the topics, every
step is decided again from its manifest, and the whole is compared with an undisturbed run over the same input.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer

from orchestration import config_files
from orchestration.kill_points import POINTS, Point
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from orchestration.topics import MONITORS
from orchestration.work import LaneName
from tests.chaos import campaign, checker, lives, monitored, stream
from tests.integration.monitored import reexecuted

MAIN = {"observe": "decisions", "join": "cases", "assess": "observations"}
"""Agent → its lane's main topic."""
INPUTS = ("attributes", "decisions", "outcomes")


@dataclass
class Result:
    """What a campaign did and found."""

    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(agent, point) → kills."""
    aborted: Counter[str] = field(default_factory=Counter)
    """Agent → records that were written and are seen by no reader, because their transaction was aborted."""
    decisions: int = 0
    observations: int = 0
    signals: int = 0
    again: int = 0
    """Records that came out byte for byte when every step was decided again."""
    problems: list[checker.Problem] = field(default_factory=list)

    def table(self) -> str:
        """Kill point × agent × hits, and the rest in a line."""
        lines = [f"{'kill point':<14}" + "".join(f"{agent:>9}" for agent in MONITORS)]
        for point in POINTS:
            lines.append(f"{point:<14}" + "".join(f"{self.hits[agent, point]:>9}" for agent in MONITORS))
        lines.append(f"{'aborted':<14}" + "".join(f"{self.aborted[agent]:>9}" for agent in MONITORS))
        told = f"{self.decisions} decisions, {self.observations} observations, {self.signals} signals"
        return "\n".join([*lines, f"{told}; {self.again} records the same again; {len(self.problems)} problems"])


async def prepare(kafka: LocalKafka, folder: Path, prefix: str) -> Settings:
    """A deployment whose model is watched."""
    return await campaign.prepare(kafka, folder, prefix, monitor_interval_ms=50)


def lane(settings: Settings, agent: str) -> LaneName:
    """An agent's only lane."""
    return LaneName(settings.prefix, agent, settings.topic(MAIN[agent]), 0)


class Watched(campaign.Producer):
    """Publishes also what is known of subjects, what really happened, and ticks."""

    async def before(self, producer: AIOKafkaProducer) -> None:
        """Everything about subjects, so that both runs know it from the start."""
        for key, value in stream.attributes():
            await producer.send(self.settings.topic("attributes"), value, key=key, partition=0)
        await producer.flush()

    async def beside(self, producer: AIOKafkaProducer, burst: Sequence[stream.Sent]) -> None:
        """Outcomes a moment after their decisions; a tick a second."""
        for _, decision, _ in burst:
            for key, value in stream.outcomes(decision):
                await producer.send(self.settings.topic("outcomes"), value, key=key, partition=0)
        if time.monotonic() - self.ticked >= 1:
            self.ticked = time.monotonic()
            await producer.send(self.settings.topic("ticks"), b"{}", partition=0)

    ticked = 0.0


async def run(
    settings: Settings,
    hits: int,
    rate: int = 200,
    seed: int = 1,
    at_least: int = 0,
    agents: Sequence[str] = MONITORS,
    points: Sequence[Point] = POINTS,
    undisturbed: Settings | None = None,
    show: bool = False,
) -> Result:
    """Hit each point of every chosen agent, drain, check; with `undisturbed` also against a run without any kill."""
    result, producer = Result(), Watched(settings, seed, rate)
    sending = asyncio.create_task(producer.run())
    over = asyncio.Event()
    rounds = [asyncio.create_task(_round(settings, agent, points, hits, seed, result, show=show)) for agent in agents]
    alive = [asyncio.create_task(_stay(settings, agent, None, over)) for agent in MONITORS if agent not in agents]
    alive += [
        asyncio.create_task(_stay(settings, agent, kills, over)) for agent, kills in zip(agents, rounds, strict=True)
    ]
    await asyncio.gather(*rounds)
    while len(producer.sent) < at_least:
        await asyncio.sleep(0.2)
    over.set()
    await asyncio.gather(*alive)
    producer.stop()
    await sending
    await campaign.drain(settings, [lane(settings, agent) for agent in MONITORS])
    await _verify(settings, undisturbed, result)
    return result


async def _round(
    settings: Settings, agent: str, points: Sequence[Point], hits: int, seed: int, result: Result, *, show: bool
) -> None:
    """One agent's way through the points."""
    chance = random.Random(f"{seed}-{agent}")
    for point in points:
        for _ in range(hits):
            count = 1 if point == "opened" else chance.randint(1, 3)
            life = lives.start(settings, [lane(settings, agent)], f"{agent}/*@{point}#{count}")
            if await campaign.killed(life):
                result.hits[agent, point] += 1
        if show:
            print(f"{agent:<8}{point:<14}{result.hits[agent, point]:>4} hits", flush=True)


async def _stay(settings: Settings, agent: str, after: asyncio.Task[None] | None, over: asyncio.Event) -> None:
    """A life without kills from when the agent's round is done until all are: the others need what it writes."""
    if after is not None:
        await after
    life = lives.start(settings, [lane(settings, agent)])
    await over.wait()
    life.kill()
    life.join()


async def _verify(settings: Settings, undisturbed: Settings | None, result: Result) -> None:
    topics = await monitored.read(settings.client(), settings.prefix)
    result.decisions, result.observations = len(topics["decisions"]), len(topics["observations"])
    result.signals = len(topics["signals"])
    result.problems = monitored.check(topics)
    for agent in MONITORS:
        result.aborted[agent] = await _aborted(settings, agent)
    result.again = await reexecuted(settings, config_files.load(campaign.CONFIG))
    if undisturbed is not None:
        await _copy(settings, topics, undisturbed)
        await campaign.drain(undisturbed, [lane(undisturbed, agent) for agent in MONITORS])
        other = await monitored.read(undisturbed.client(), undisturbed.prefix)
        result.problems += monitored.check(other) + monitored.compare(topics, other)


async def _copy(settings: Settings, topics: dict[str, list[checker.Seen]], to: Settings) -> None:
    """The same input for another deployment, in the same order."""
    async with AIOKafkaProducer(**settings.client(), linger_ms=20, enable_idempotence=True) as producer:
        for name in INPUTS:
            for one in topics[name]:
                await producer.send(to.topic(name), one.value, key=one.key, headers=list(one.headers), partition=0)
            await producer.flush()


async def _aborted(settings: Settings, agent: str) -> int:
    """Records of the agent's lane that were written, and aborted."""
    writer = lane(settings, agent).transactional_id.encode()
    count = 0
    for isolation, sign in (("read_uncommitted", 1), ("read_committed", -1)):
        for name in ("observations", "signals", "manifests"):
            found = await checker.read_topic(settings.client(), settings.topic(name), isolation)
            count += sign * sum(("govern-writer", writer) in one.headers for one in found)
    return count


def main() -> None:
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=MONITORS, default=list(MONITORS), help="whose lanes are killed")
    parser.add_argument("--hits", type=int, default=2, help="kills at each point of each agent")
    parser.add_argument(
        "--decisions",
        type=int,
        default=10_000,
        help="go on until so many were sent: of few, runs that cut batches differently may end a warning from an alarm apart",
    )
    parser.add_argument("--rate", type=int, default=200, help="decisions a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    campaign.told(lambda kafka, folder: _main(kafka, folder, options))


async def _main(kafka: LocalKafka, folder: Path, options: argparse.Namespace) -> Result:
    settings = await prepare(kafka, folder / "killed", "chaos")
    other = await prepare(kafka, folder / "undisturbed", "calm")
    return await run(
        settings,
        options.hits,
        options.rate,
        options.seed,
        options.decisions,
        options.agents,
        undisturbed=other,
        show=True,
    )


if __name__ == "__main__":
    main()
