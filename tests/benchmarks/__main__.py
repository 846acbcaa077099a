"""Measure lanes against a plain exactly-once pass-through, in one run on one machine, and then all that needs no broker.

Absolute figures depend on the machine; ratios of one run are what docs/performance.md quotes. The broker is warmed with
500,000 messages first. Every repetition writes to topics of its own; the variants take turns.

`make bench` runs all of it. What needs no broker stands alone, too: python -m tests.benchmarks.bench_decode, …bench_rules,
…bench_merkle, …bench_monitors, …bench_models, …bench_tables, …bench_join. Not part of it are bench_inputs,
bench_release and onset, minutes each on a broker of their own, and the comparison with other tools (`make compare`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from agents.monitor.profiles import Profile
from orchestration import config_topic, keys, topics
from orchestration.local_kafka import LocalKafka
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings
from tests.benchmarks import bench_monitors, workload

console = Console(highlight=False, width=120)
INPUT = "bench.decisions"
VARIANTS = ("pass-through", "policy-1", "policy-20", "policy-100", "policy-20+audit", "policy-20+monitors+audit")
LIMIT_PASS_THROUGH_US = 7.0
SPARE_BYTES = 20 * 2**30
ALONE = {
    "bench_decode": "decoding",
    "bench_monitors": "monitors, a decision",
    "bench_models": "monitors, a model",
    "bench_tables": "what a lane reads before it starts, and what a step leaves",
    "bench_join": "late labels",
}
"""Benchmarks without a broker, each in a process of its own; they print what they find."""
COMPARE = Path(".venv-compare/bin/python")


@dataclass
class Measured:
    """Repetitions of one variant."""

    rates: list[float] = field(default_factory=list)
    python_us: list[float] = field(default_factory=list)
    broker_us: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)

    def median(self) -> dict[str, float]:
        """Medians: decisions a second, CPU in microseconds a decision, decisions a transaction."""
        return {name: round(statistics.median(values), 3) for name, values in vars(self).items() if values}


class Bench:
    """One broker and its deployments."""

    def __init__(self, kafka: LocalKafka, folder: Path, records: int) -> None:
        self.kafka, self.folder, self.records = kafka, folder, records
        self._number = 0

    async def deployment(self, rules: int, *, monitors: bool = False) -> Settings:
        """Topics, keys and a configuration of a prefix of its own; with monitors, also a profile and who is who."""
        self._number += 1
        prefix = f"b{self._number}"
        folder = self.folder / prefix
        settings = Settings(
            prefix=prefix,
            bootstrap_servers=self.kafka.bootstrap_servers,
            data_dir=folder,
            keys_dir=folder / "keys",
            partitions=1,
        )
        await topics.ensure(settings)
        keys.generate(prefix, settings.keys_dir, settings.store_url)
        configuration = workload.configuration(rules)
        if monitors:
            digest = ProfileStore(settings.profiles_url).put(self.profile.to_bytes())
            configuration = bench_monitors.watched(configuration, digest)
            await self._attributes(settings)
        await config_topic.apply(settings, configuration)
        return settings

    @cached_property
    def profile(self) -> Profile:
        """What the monitored decisions are compared with."""
        return bench_monitors.profile(len(workload.FEATURES))

    async def _attributes(self, settings: Settings) -> None:
        """Who is who among the 50,000 clients."""
        async with AIOKafkaProducer(**self.kafka.client_settings(), max_batch_size=1_000_000, linger_ms=20) as producer:
            for key, value in bench_monitors.attributes():
                await producer.send(settings.topic("attributes"), value, key=key, partition=0)
            await producer.flush()

    async def drop(self, settings: Settings) -> None:
        """Delete a deployment's topics where the disk fills: files deleted a minute ago make new ones dear on ext4."""
        if shutil.disk_usage(self.folder).free > SPARE_BYTES:
            return
        admin = AIOKafkaAdminClient(**settings.client())
        await admin.start()
        try:
            await admin.delete_topics([settings.topic(topic.name) for topic in topics.TOPICS])
        finally:
            await admin.close()

    async def fill(self, topic: str, records: int) -> None:
        """Publish the workload, 832 bytes a record."""
        admin = AIOKafkaAdminClient(**self.kafka.client_settings())
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
        await admin.close()
        async with AIOKafkaProducer(**self.kafka.client_settings(), max_batch_size=1_000_000) as producer:
            batch, pending = producer.create_batch(), []
            for key, value in workload.decisions(records):
                if batch.append(key=key, value=value, timestamp=None) is None:
                    pending.append(await producer.send_batch(batch, topic, partition=0))
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None)
            pending.append(await producer.send_batch(batch, topic, partition=0))
            await asyncio.gather(*pending)

    def start(self, order: dict[str, Any]) -> subprocess.Popen[str]:
        """A child process with its order."""
        environment = os.environ | {"POLARS_MAX_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.child", json.dumps(order)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    async def once(self, variant: str, measured: Measured | None) -> None:
        """One repetition."""
        name, *more = variant.split("+")
        rules = int(name.split("-")[1]) if name.startswith("policy") else 1
        settings = await self.deployment(rules, monitors="monitors" in more)
        broker = psutil.Process(self.kafka.pids[0])
        cpu = sum(broker.cpu_times()[:2])
        passing = name == "pass-through"
        children = [self._child(settings, "pass-through" if passing else "lanes", [["policy", INPUT]])]
        if "monitors" in more:
            lanes = [["observe", INPUT], ["assess", settings.topic("observations")]]
            beside = bench_monitors.CLIENTS + 1  # what is known of them, and the configuration
            children.append(self._child(settings, "lanes", lanes, self.records + beside))
        if "audit" in more:
            shorts = ("verdicts", "observations", "signals") if "monitors" in more else ("verdicts",)
            children.append(self._child(settings, "lanes", [["audit", settings.topic(short)] for short in shorts]))
        answers = [await asyncio.to_thread(_answer, one) for one in children]
        spent = sum(broker.cpu_times()[:2]) - cpu
        if measured is not None:
            wall = max(answer["wall_s"] for answer in answers)
            measured.rates.append(self.records / wall)
            measured.python_us.append(sum(answer["cpu_s"] for answer in answers) / self.records * 1e6)
            measured.broker_us.append(spent / self.records * 1e6)
            measured.batch.append(self.records / max(1, answers[0]["transactions"]))
        await self.drop(settings)

    def _child(
        self, settings: Settings, run: str, lanes: list[list[str]], records: int | None = None
    ) -> subprocess.Popen[str]:
        """A process that runs lanes until the first of them has taken so many records; not given: every decision."""
        return self.start(
            {
                "run": run,
                "settings": settings.model_dump(mode="json", exclude_none=True),
                "topic": INPUT,
                "lanes": lanes,
                "records": records or self.records,
            }
        )

    async def latency(self, variant: str, rate: int, seconds: float) -> dict[str, float]:
        """From the producer's send to a read_committed reader's sight of `released`, in milliseconds."""
        settings = await self.deployment(20)
        topic, output = settings.topic("decisions"), settings.topic("released")
        child = self.start(
            {
                "run": "pass-through" if variant == "pass-through" else "lanes",
                "settings": settings.model_dump(mode="json", exclude_none=True),
                "topic": topic,
                "lanes": [["policy", topic]],
                "records": None,
            }
        )
        try:
            return _percentiles(await self._traffic(topic, output, rate, seconds))
        finally:
            child.kill()
            child.wait()
            await self.drop(settings)

    async def _traffic(self, topic: str, output: str, rate: int, seconds: float) -> list[float]:
        sent: dict[bytes, float] = {}
        seen: list[float] = []
        records = [(key + b"-%d" % n, value) for n, (key, value) in enumerate(workload.decisions(int(rate * seconds)))]
        warm = [(b"warm-%d" % n, value) for n, (_, value) in enumerate(workload.decisions(rate * 4, seed=2))]
        consumer = AIOKafkaConsumer(
            **self.kafka.client_settings(), group_id=None, isolation_level="read_committed", fetch_max_wait_ms=100
        )
        await consumer.start()
        consumer.assign([TopicPartition(output, 0)])
        await consumer.seek_to_beginning()
        async with AIOKafkaProducer(**self.kafka.client_settings(), linger_ms=0) as producer:

            async def watch() -> None:
                while True:
                    batches = await consumer.getmany(timeout_ms=100)
                    now = time.perf_counter()
                    for batch in batches.values():
                        seen.extend(now - sent[one.key] for one in batch if one.key in sent)

            watching = asyncio.create_task(watch())
            await asyncio.sleep(4)  # the lane opens
            for part, remember in ((warm, False), (records, True)):
                began = time.perf_counter()
                for start in range(0, len(part), max(1, rate // 200)):
                    await asyncio.sleep(max(0.0, began + start / rate - time.perf_counter()))
                    for key, value in part[start : start + max(1, rate // 200)]:
                        if remember:
                            sent[key] = time.perf_counter()
                        await producer.send(topic, value, key=key, partition=0)
            await asyncio.sleep(2)
            watching.cancel()
        await consumer.stop()
        return seen


def _answer(child: subprocess.Popen[str]) -> dict[str, float]:
    out, _ = child.communicate(timeout=600)
    if child.returncode:
        raise SystemExit(f"a benchmark's process failed with status {child.returncode}")
    found: dict[str, float] = json.loads(out.strip().splitlines()[-1])
    return found


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {"p50": float("nan"), "p99": float("nan"), "seen": 0}
    return {
        "p50": round(ordered[len(ordered) // 2] * 1000, 2),
        "p99": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
        "seen": len(ordered),
    }


async def run(kafka: LocalKafka, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All measurements; returns what is written as JSON."""
    bench = Bench(kafka, folder, options.records)
    console.print(f"filling {options.records} decisions of {workload.BYTES} bytes")
    await bench.fill(INPUT, options.records)
    console.print(f"warming the broker with {options.warm} messages")
    for _ in range(-(-options.warm // options.records)):
        await bench.once("pass-through", None)
    variants = [one for one in VARIANTS if one in (options.variants or VARIANTS) or one == "pass-through"]
    measured = {variant: Measured() for variant in variants}
    for number in range(options.repeat):
        for variant in variants:
            await bench.once(variant, measured[variant])
        console.print(f"repetition {number + 1} of {options.repeat} done")
    if options.variants:
        return {"throughput": {name: one.median() for name, one in measured.items()}}
    latency = {}
    for rate in (500, 5000):
        for variant in ("pass-through", "policy-20"):
            latency[f"{variant} at {rate}/s"] = await bench.latency(variant, rate, options.seconds)
            console.print(f"latency, {variant} at {rate}/s: {latency[f'{variant} at {rate}/s']}")
    return {
        "throughput": {name: one.median() for name, one in measured.items()},
        "latency_ms": latency,
        "merkle_leaves_per_cpu_second": _figure("from tests.benchmarks.bench_merkle import rate; print(rate())"),
        "rules_us": {
            f"{rules} rules, batches of {height}": _figure(
                f"from tests.benchmarks.bench_rules import cost, standing; print(cost(standing({rules}), {height}))"
            )
            for rules, height in ((1, 5000), (20, 5000), (100, 5000), (20, 100))
        },
    }


def _figure(code: str) -> float:
    """A figure measured in a quiet process of its own."""
    environment = os.environ | {"POLARS_MAX_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return round(float(done.stdout), 3)


def alone() -> list[str]:
    """Run what needs no broker; the names of those that missed a bar."""
    missed = []
    for number, (name, what) in enumerate(ALONE.items(), 1):
        console.rule(
            f"{number} of {len(ALONE)} without a broker: {what} (python -m tests.benchmarks.{name})", align="left"
        )
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode:
            missed.append(name)
    if COMPARE.exists():
        console.rule("compared with Evidently (make compare)", align="left")
        subprocess.run([COMPARE, "-m", "tests.benchmarks.bench_windows"], check=True)
    else:
        console.print("not compared with Evidently and NannyML: `make compare` installs them beside .venv and does it")
    return missed


def show(found: dict[str, Any]) -> None:
    """The table."""
    base = found["throughput"]["pass-through"]
    chain = found["throughput"].get("policy-20+monitors+audit")
    table = Table(title="medians; CPU in µs a decision")
    for column in (
        "variant",
        "decisions/s",
        "÷ pass-through",
        "Python CPU",
        "× pass-through",
        "broker CPU",
        "a transaction",
    ):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, one in found["throughput"].items():
        table.add_row(
            name,
            f"{one['rates']:,.0f}",
            f"{one['rates'] / base['rates']:.2f}",
            f"{one['python_us']:.2f}",
            f"{one['python_us'] / base['python_us']:.2f}",
            f"{one['broker_us']:.2f}",
            f"{one['batch']:,.0f}",
        )
    console.print(table)
    if chain is not None:
        whole, plain = (one["python_us"] + one["broker_us"] for one in (chain, base))
        console.print(f"policy + monitors + audit: CPU with the broker's {whole / plain:.2f} × the pass-through's")
    _valid(base)
    if "latency_ms" not in found:
        return
    table = Table(title="latency in ms, producer's send to read_committed sight")
    for column in ("variant", "p50", "p99", "decisions seen"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, one in found["latency_ms"].items():
        table.add_row(name, f"{one['p50']:.1f}", f"{one['p99']:.1f}", f"{one['seen']:,}")
    console.print(table)
    console.print(f"Merkle: {found['merkle_leaves_per_cpu_second']:,.0f} leaves per CPU second")
    for name, cost in found["rules_us"].items():
        console.print(f"rules alone: {name}: {cost:.3f} µs a decision")


def _valid(base: dict[str, float]) -> None:
    if base["python_us"] > LIMIT_PASS_THROUGH_US:
        console.print(f"[red]INVALID: the pass-through took {base['python_us']:.2f} µs of Python CPU, above 7[/red]")


def main() -> None:
    """Measure and print; exit status 1 where the run is invalid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000, help="decisions a repetition")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, help="only these, and nothing else; default: all")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--warm", type=int, default=500_000, help="messages before anything is timed")
    parser.add_argument("--seconds", type=float, default=15, help="of traffic for each latency")
    parser.add_argument("--json", type=Path, default=Path("var/bench.json"))
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        kafka = LocalKafka(Path(name) / "kafka", heap_mb=1024)
        kafka.start(console.print)
        try:
            found = asyncio.run(run(kafka, Path(name), options))
        finally:
            kafka.stop()
    show(found)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=2))
    missed = [] if options.variants else alone()
    for name in missed:
        console.print(f"[red]{name} missed a bar, see above[/red]")
    console.print(f"{(time.monotonic() - began) / 60:.0f} minutes in all")
    raise SystemExit(bool(missed) or found["throughput"]["pass-through"]["python_us"] > LIMIT_PASS_THROUGH_US)


if __name__ == "__main__":
    main()
