"""A storm, the whole way: 50,000 decisions of 20 causes are held, told, answered, and go out or stay, each exactly once.

    python -m tests.benchmarks.storm --held 50000

A policy lane for each of two partitions holds them: five rules × two models × two versions, grouped as it comes. Escalation,
triage, notify and release lanes run beside them, all in one process, which is started again where one of them ends, as a
supervisor would (on a machine so busy that transactions time out); the read model runs in this process. Messages go to a
signed webhook. Once every decision is counted, people answer three quarters of the incidents with their own keys, from what
the read model shows, and a few single decisions of another; the rest stays held. Expected: 20 incidents whose counts add up,
at most 20 first messages delivered, and every decision where its answer puts it, once, byte for byte. What is not so is
listed, and the exit status is 1. Seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.configuration import Configuration
from agents.dsse import Private
from agents.escalation.samples import sample_of
from agents.people_events import ReviewData
from orchestration import config_topic, reviewing, signing_keys
from orchestration.bootstrap import lane_names
from orchestration.kafka import Broker, close
from orchestration.local_kafka import LocalKafka
from orchestration.reading.database import Database, open_database
from orchestration.reading.incident import Incident, incident
from orchestration.reading.projection import Projection
from orchestration.reading.queries import Filters, queue
from orchestration.settings import Settings
from orchestration.work import LaneName
from tests.benchmarks import storm_checks
from tests.benchmarks.storm_checks import CAUSES, MODELS, RULES, VERSIONS, Answered, decision
from tests.chaos import lives
from tests.integration.monitored import deployment
from tests.receivers import Receiver, http_receiver

LANES = ("policy", "escalation", "triage", "notify", "release")
PEOPLE = ("ann", "bob")
BULK, SAMPLE, SINGLES = 50, 3, 7
AT_ONCE = 5_000
MOST_MIB = 700
"""What the one process of all lanes may have resident. A release lane alone is bounded by tests/benchmarks/bench_release.py."""

STARTS = 5
Say = Callable[[str], None]


@dataclass
class Figures:
    """What was measured, and what is not as promised."""

    held: int
    incidents: int = 0
    records: int = 0
    """On `incidents`."""
    told: int = 0
    """First messages that the receiver got."""
    published_s: float = 0.0
    counted_s: float = 0.0
    """From the first decision published until the incidents counted all of them …"""
    shown_s: float = 0.0
    """… and until the read model showed it."""
    told_s: float = 0.0
    """… and until the last first message had arrived."""
    answers: int = 0
    ended: int = 0
    """Decisions that the answers let go out or withheld."""
    ended_s: float = 0.0
    """From the first answer until the last of them was out."""
    peak_mib: float = 0.0
    """Most memory that the process of the lanes had resident."""
    starts: int = 0
    """How often it was started."""
    problems: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For people."""
        rows = [
            ("decisions held, of causes", f"{self.held:,} of {CAUSES}"),
            ("incidents; records of them", f"{self.incidents:,}; {self.records:,}"),
            ("first messages delivered", f"{self.told:,}, the last after {self.told_s:.1f} s"),
            ("published in", f"{self.published_s:.1f} s"),
            ("all counted in incidents after", f"{self.counted_s:.1f} s"),
            ("shown by the read model after", f"{self.shown_s:.1f} s"),
            ("answers; decisions that they ended", f"{self.answers}; {self.ended:,}"),
            (
                "from the first answer to the last",
                f"{self.ended_s:.1f} s ({self.ended / max(self.ended_s, 0.1):,.0f}/s)",
            ),
            ("the process of all lanes", f"{self.peak_mib:.0f} MiB at most, started {self.starts} time(s)"),
            ("problems", f"{len(self.problems)}"),
        ]
        return "\n".join([*(f"{what:<36} {value}" for what, value in rows), *self.problems[:30]])


def configuration(url: str, keys: dict[str, Private]) -> Configuration:
    """Every cause is held; two people answer together, told by a webhook; a deadline that does not come."""
    people = {name: {"name": name, "roles": ["reviewer"], "keys": [key.public.text]} for name, key in keys.items()}
    model = {
        "mode": "gate",
        "versions": list(VERSIONS),
        "features": {"cause": "numeric"},
        "labels": {"approve": {"favourable": True}, "decline": {}},
    }
    rules = [
        {"id": rule, "when": f"features.cause = {number}", "effect": "hold", "reason": "cause {features.cause}"}
        for number, rule in enumerate(RULES)
    ]
    team = {"members": list(people), "on_call": {"rotation": list(people), "start": "2026-03-02T00:00:00+00:00"}}
    chain = {"steps": [{"channels": ["hook"]}], "deadline": "1d", "at_deadline": "withhold"}
    return Configuration.model_validate(
        {
            "models": dict.fromkeys(MODELS, model),
            "policies": [{"policy": "storm", "rules": rules}],
            "escalation": {
                "people": people,
                "teams": {"desk": team},
                "chains": {"default": chain},
                "channels": {"hook": {"kind": "webhook", "url": url, "secret": "hook", "allow_private": True}},
                "bulk": {"items": BULK, "sample": SAMPLE},
            },
        }
    )


async def run(kafka: LocalKafka, prefix: str, folder: Path, held: int, say: Say = lambda line: None) -> Figures:
    """All of it on a broker that is there, under a prefix of its own."""
    figures = Figures(held)
    with http_receiver() as receiver:
        settings = await deployment(kafka, prefix, folder, Configuration(), snapshot_interval_ms=5_000)
        keys = {one: signing_keys.make(signing_keys.person_path(settings, one), settings) for one in PEOPLE}
        declared = configuration(receiver.url, keys)
        await config_topic.apply(settings, declared)
        names = [one for one in lane_names(settings, declared) if one.agent in LANES]
        database, lanes = open_database(settings), Lanes(settings, names, figures)
        try:
            async with _beside(settings, database, lanes, figures):
                await _storm(settings, database, lanes, receiver, keys, figures, say)
        finally:
            lanes.end()
        say("checking every record")
        try:
            await storm_checks.told(settings, receiver, figures)
        finally:
            database.close()
    if figures.peak_mib > MOST_MIB:
        figures.problems.append(f"the lanes had {figures.peak_mib:.0f} MiB resident; {MOST_MIB} are allowed")
    return figures


class Lanes:
    """The process of the lanes, which is started again where one of them ended."""

    def __init__(self, settings: Settings, names: Sequence[LaneName], figures: Figures) -> None:
        self._settings, self._names, self._figures = settings, names, figures
        self.gone = False
        """It ended once too often."""
        self._life = self._start()

    def look(self) -> None:
        """Note its memory; start it again where it has ended, but not for ever."""
        if self._life.is_alive():
            with suppress(psutil.NoSuchProcess):
                resident = psutil.Process(self._life.pid).memory_info().rss / 2**20
                self._figures.peak_mib = max(self._figures.peak_mib, resident)
        elif self._figures.starts < STARTS:
            self._life = self._start()
        else:
            self.gone = True

    def end(self) -> None:
        """End it for good."""
        self._life.kill()
        self._life.join()

    def _start(self) -> BaseProcess:
        self._figures.starts += 1
        return lives.start(self._settings, self._names, faults={"GOVERN_SECRET_HOOK": "a key for tests"})


async def _storm(
    settings: Settings,
    database: Database,
    lanes: Lanes,
    receiver: Receiver,
    keys: dict[str, Private],
    figures: Figures,
    say: Say,
) -> None:
    """Decisions, incidents, messages, answers, and what they put out."""

    async def reached(what: str, there: Callable[[], Awaitable[bool]], seconds: float = 600) -> None:
        say(what)
        until = time.monotonic() + seconds
        while not await there():
            if time.monotonic() > until or lanes.gone:
                figures.problems.append(f"{what}: not so after {seconds:.0f} s, or {STARTS} starts of the lanes")
                return
            await asyncio.sleep(0.2)

    releasing = [f"{settings.prefix}.release.{settings.topic('held')}.{n}" for n in range(settings.partitions)]

    async def started() -> bool:
        place = (settings.topic("rulings"), 0)
        try:
            return all([await Broker(settings).committed(group, [place]) for group in releasing])
        except KafkaError:
            return False  # a broker where nobody has committed yet has no coordinator

    await reached("lanes start", started)
    began = time.monotonic()
    await _publish(settings, figures.held, say)
    figures.published_s = time.monotonic() - began

    async def counted() -> bool:
        found = (await storm_checks.newest(settings)).values()
        return sum(one.held for one in found) >= figures.held

    await reached("waiting until incidents count every decision", counted)
    figures.counted_s = time.monotonic() - began

    async def shown() -> bool:
        found = await asyncio.to_thread(queue, database, Filters(status=()))
        return sum(one.waiting for one in found.items) >= figures.held

    await reached("waiting until the read model shows it", shown)
    figures.shown_s = time.monotonic() - began

    async def told() -> bool:
        return len(storm_checks.first_messages(receiver)) >= CAUSES

    await reached("waiting until all first messages are there", told)
    figures.told_s = max((one.at for one in receiver.got), default=0.0) - time.time() + time.monotonic() - began
    await storm_checks.shown_before(database, figures)
    began = time.monotonic()
    answered = await _answer(settings, database, keys, figures, say)
    figures.ended = answered.count(figures.held)

    places = [(settings.topic(one), n) for one in ("released", "withheld") for n in range(settings.partitions)]
    consumer, seen = await Broker(settings).consumer(*places, from_start=True), [0]

    async def ended() -> bool:
        seen[0] += sum(map(len, (await consumer.getmany()).values()))
        return seen[0] >= figures.ended

    await reached(f"waiting until {figures.ended:,} decisions are out or withheld", ended)
    await close(consumer)
    figures.ended_s = time.monotonic() - began
    await asyncio.sleep(2)  # what should not come would come now
    await storm_checks.where_they_went(settings, figures.held, answered, figures)
    await storm_checks.shown_after(settings, database, answered, figures)


async def _publish(settings: Settings, held: int, say: Say) -> None:
    async with AIOKafkaProducer(**settings.client(), linger_ms=10, max_batch_size=500_000) as producer:
        for start in range(0, held, AT_ONCE):
            waiting = []
            for number in range(start, min(start + AT_ONCE, held)):
                key, value, headers = decision(number)
                waiting.append(await producer.send(settings.topic("decisions"), value, key, headers=headers))
            await asyncio.gather(*waiting)
            say(f"published {min(start + AT_ONCE, held):,} of {held:,}")


async def _answer(
    settings: Settings, database: Database, keys: dict[str, Private], figures: Figures, say: Say
) -> Answered:
    """Of four incidents both people approve two and reject one; of the first that is left a few single decisions go out."""
    listed = await asyncio.to_thread(queue, database, Filters(status=()))
    pages = [await asyncio.to_thread(incident, database, one.id) for one in listed.items]
    pages.sort(key=lambda one: one.data.keys)
    answered = Answered()
    desks = {one: reviewing.Desk(settings, key, reviewing.person_source(settings, one)) for one, key in keys.items()}
    sent: list[reviewing.Sent] = []
    try:
        for person, desk in desks.items():
            say(f"{person} answers")
            for number, page in enumerate(pages):
                action = ("approve", "approve", "reject", "")[number % 4]
                if action:
                    answered.whole[page.data.keys[0]] = action
                    sent.append(await desk.send(_review(person, action, page)))
                elif number == 3 and person == PEOPLE[0]:
                    review = _review(person, "approve", page, singles=SINGLES)
                    answered.single |= {(one.partition, one.offset) for one in review.items or ()}
                    sent.append(await desk.send(review))
    finally:
        for desk in desks.values():
            await desk.close()
    figures.answers = len(sent)
    for one in sent[-1:] + [found for found in sent if found.incident == pages[3].line.id]:
        outcome = await reviewing.outcome(settings, one, 120)
        if not isinstance(outcome, reviewing.Effective) or outcome.ruling is None:
            figures.problems.append(f"{one.person}'s {one.action} of {one.incident} did not rule: {outcome.text}")
    return answered


def _review(person: str, action: str, page: Incident, singles: int = 0) -> ReviewData:
    """As a page or a command makes it, after the sample was opened; `singles`: only so many decisions, each opened."""
    opened = sample_of(page.data, page.data.through, singles or SAMPLE)
    return ReviewData.model_validate(
        {
            "action": action,
            "person": person,
            "incident": page.line.id,
            "shown": page.shown,
            "through": {} if singles else dict(page.data.through),
            "items": [one.model_dump() for one in opened] if singles else None,
            "reason": "opened the sample, and asked the desk",
            "opened": [one.model_dump() for one in opened],
            "kind": "individual" if singles else "sample",
            "shown_ms": 20_000,
        }
    )


@asynccontextmanager
async def _beside(settings: Settings, database: Database, lanes: Lanes, figures: Figures) -> AsyncIterator[None]:
    """Meanwhile: a tick a second, the read model, and a look at the memory of the lanes."""

    async def ticking() -> None:
        async with AIOKafkaProducer(**settings.client()) as producer:
            while True:
                await producer.send_and_wait(settings.topic("ticks"), b"{}")
                await asyncio.sleep(1)

    async def looking() -> None:
        while True:
            lanes.look()
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(one) for one in (ticking(), looking(), Projection(settings, database).run())]
    try:
        yield
    finally:
        for one in tasks:
            one.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        figures.problems += [f"beside: {one!r}" for one in found if isinstance(one, Exception)]


def main() -> None:
    """Run it on a broker of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held", type=int, default=50_000, help="decisions to be held, at least 1,200")
    held = parser.parse_args().held
    if held < 60 * CAUSES:
        parser.error("an incident of fewer than 60 needs no second person; give at least 1,200")
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        kafka = LocalKafka(Path(name) / "kafka")
        kafka.start(print)
        try:
            figures = asyncio.run(run(kafka, "storm", Path(name) / "data", held, say))
        finally:
            kafka.stop()
    print(figures.table())
    raise SystemExit(1 if figures.problems else 0)


if __name__ == "__main__":
    main()
