"""How soon a recorded message is on its way, how many a second, and what a channel that hangs costs the others: nothing.

    python -m tests.benchmarks.bench_notify

Messages by a signed webhook to a receiver on this machine, which answers at once; beside it a channel whose server never
answers has as many. Times are from the sending of the record until the receiver has the request. Figures depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from aiokafka import AIOKafkaProducer

from orchestration.local_kafka import LocalKafka
from tests.integration.monitored import deployment, running, until
from tests.integration.notifying import configured, done, hook, lane, post, told
from tests.receivers import Says, http_receiver


async def measured(kafka: LocalKafka, folder: Path, count: int, rate: float) -> dict[str, float]:
    """Milliseconds at this rate, and messages a second of as many that are there at once."""
    os.environ["GOVERN_SECRET_HOOK"] = "k"
    with http_receiver() as receiver, http_receiver(then=Says(hang_s=60)) as hanging:
        configuration = configured(hook=hook(receiver.url), dead=hook(hanging.url))
        settings = await deployment(kafka, "bench-notify", folder, configuration)
        producer, topic = AIOKafkaProducer(**settings.client(), acks="all"), settings.topic("notifications")
        await producer.start()
        async with running(lane(settings)):
            await asyncio.sleep(2)
            sent: dict[str, float] = {}
            for number in range(count):
                incident = f"a{number:05d}"
                sent[f"{incident}/0/hook/0"] = time.time()
                for key, value in (told(incident, 0, "dead"), told(incident, 0, "hook")):
                    await producer.send(topic, value, key=key)
                await asyncio.sleep(max(0.0, 1 / rate))
            await asyncio.to_thread(receiver.wait, count, 120)
            waits = [(one.at - sent[one.headers["webhook-id"]]) * 1000 for one in receiver.got]
            began = time.time()
            await post(settings, kafka, *(told(f"b{number:05d}", 0, "hook") for number in range(count)))
            await asyncio.to_thread(receiver.wait, 2 * count, 300)
            took = time.time() - began
            await until(lambda: done(settings, 2 * count), 120)
        await producer.stop()
        return {
            "p50_ms": float(np.percentile(waits, 50)),
            "p95_ms": float(np.percentile(waits, 95)),
            "a_second": count / took,
            "memory_mib": psutil.Process().memory_info().rss / 2**20,
        }


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rate", type=float, default=10.0, help="Messages a second.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kafka = LocalKafka(Path(folder) / "kafka")
        kafka.start()
        try:
            found = asyncio.run(measured(kafka, Path(folder) / "data", arguments.count, arguments.rate))
        finally:
            kafka.stop()
    print(
        f"{arguments.count} messages at {arguments.rate:g} a second, recorded to received: p50 {found['p50_ms']:.0f} ms, "
        f"p95 {found['p95_ms']:.0f} ms; {arguments.count} at once: {found['a_second']:.0f} a second; "
        f"process {found['memory_mib']:.0f} MiB"
    )


if __name__ == "__main__":
    main()
