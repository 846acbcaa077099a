"""One timed run of a pass-through or of lanes, in a process of its own: CPU of this process, and wall time.

The pass-through is the least that exactly-once can cost: getmany → append the same value, key and headers to one output
topic → send offsets → commit, with the lanes' own clients (orchestration/kafka.py).
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from dataclasses import dataclass

from aiokafka import TopicPartition

from orchestration.kafka import Broker, close
from orchestration.lane_life import LaneLife
from orchestration.settings import Settings
from orchestration.work import LaneName
from orchestration.writer import Writer


@dataclass(frozen=True)
class Timed:
    """What a run cost."""

    records: int
    wall_s: float
    cpu_s: float
    transactions: int = 0


def quiet_process() -> None:
    """As a worker process: no garbage collector in the way, one Polars thread."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    gc.collect()
    gc.freeze()
    gc.disable()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def pass_through(settings: Settings, topic: str, output: str, records: int | None, batch: int = 5_000) -> Timed:
    """Copy `records` from partition 0 of `topic` to `output`; None: until cancelled."""
    broker, place = Broker(settings), TopicPartition(topic, 0)
    producer = await broker.producer(f"{settings.prefix}.pass.{topic}.0")
    consumer = await broker.consumer((topic, 0))
    consumer.seek(place, 0)
    quiet_process()
    began, cpu, done, transactions = time.perf_counter(), _cpu(), 0, 0
    try:
        while records is None or done < records:
            found = (await consumer.getmany(place, timeout_ms=100, max_records=batch)).get(place, [])
            if not found:
                continue
            await producer.begin_transaction()
            writer = Writer(producer)
            await writer.write((output, 0), [(one.key, one.value, one.headers) for one in found])
            await writer.flush()
            await producer.send_offsets_to_transaction({place: found[-1].offset + 1}, f"{settings.prefix}.pass")
            await writer.arrived()
            await producer.commit_transaction()
            done += len(found)
            transactions += 1
        return Timed(done, time.perf_counter() - began, _cpu() - cpu, transactions)
    finally:
        await close(producer, consumer)


async def lanes(settings: Settings, names: list[LaneName], records: int | None, watch: int = 0) -> Timed:
    """Run lanes until the one at `watch` has judged `records` and all others have nothing left; None: until cancelled."""
    from orchestration.bootstrap import make_lane

    running: list[LaneLife] = [make_lane(settings, name) for name in names]
    tasks = [asyncio.create_task(lane.run()) for lane in running]
    quiet_process()
    began = cpu = 0.0
    main = running[watch]
    try:
        while True:
            await asyncio.sleep(0.02 if began else 0.001)  # looking must not cost what is measured
            for task in tasks:
                if task.done():
                    task.result()
            if not began and main.status.state == "running":
                began, cpu = time.perf_counter(), _cpu()
            if records is not None and main.status.records >= records:
                return Timed(records, time.perf_counter() - began, _cpu() - cpu, main.status.transactions)
    finally:
        for lane in running:
            lane.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
