"""PostgreSQL killed -9 in the middle of a projection's transaction: rows and offsets are those of a read model made afresh."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.local_kafka import LocalKafka
from orchestration.reading import folding, projection
from orchestration.reading.database import Database, open_database
from orchestration.reading.fresh import fresh
from orchestration.reading.projection import Projection
from orchestration.settings import Settings
from tests.integration.test_read_model import KILLED, deployed, publish
from tests.postgres_cluster import Cluster, cluster
from tests.unit.reading.world import World, everything, rows_of


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A PostgreSQL that keeps what it says it has committed."""
    with cluster(options="-c fsync=on -c synchronous_commit=on") as found:
        yield found


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many transactions for few records."""
    monkeypatch.setattr(projection, "AT_ONCE", 15)
    monkeypatch.setattr(projection, "BULK", {"verdicts": 15, "held": 1})
    monkeypatch.setattr(projection, "PAUSE_S", 0.3)


async def written(settings: Settings) -> tuple[dict[str, list[tuple[Any, ...]]], Database]:
    database = await fresh(settings)
    return rows_of(database), database


async def as_made_afresh(settings: Settings) -> None:
    """What is there equals what is there after a rebuild, offsets included."""
    found, database = await written(settings)
    assert len(found["incidents"]) == 2
    database.clear()
    database.close()
    afresh, database = await written(settings)
    database.close()
    for name, rows in afresh.items():
        assert found[name] == rows, name


@pytest.mark.long
@pytest.mark.parametrize("where", ["_settle", "_fold", "committed"])
async def test_the_server_killed_in_a_transaction_loses_and_doubles_nothing(
    broker: LocalKafka, prefix: str, tmp_path: Path, server: Cluster, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """_fold: after the first rows; _settle: all rows and offsets are written, nothing is committed; committed: just then."""
    settings = (await deployed(broker, prefix, tmp_path)).model_copy(
        update={"read_model": type(Settings().read_model)(server.url)}
    )
    await publish(broker, everything(World(prefix)))
    kills, calls = [1, 3, 4], [0]
    back = threading.Event()
    back.set()

    def killing(name: str) -> Callable[..., Any]:
        known = getattr(folding if name != "fold" else projection, name)

        def call(*arguments: Any) -> Any:
            found = known(*arguments)
            calls[0] += 1
            if calls[0] in kills:
                server.kill()
                back.clear()
                threading.Timer(1.0, lambda: (server.start(), back.set())).start()
                if name == "fold":
                    raise ConnectionResetError("the answer to COMMIT was lost")
            return found

        return call

    name = "fold" if where == "committed" else where
    monkeypatch.setattr(projection if name == "fold" else folding, name, killing(name))
    running = Projection(settings, open_database(settings))
    ends = await running.ends()
    task = asyncio.create_task(running.run())
    try:
        async with asyncio.timeout(120):
            while not (back.is_set() and await done(running, ends, task) and calls[0] >= kills[-1]):
                await asyncio.sleep(0.1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await asyncio.to_thread(back.wait, 60)
        running.database.close()
    monkeypatch.undo()
    await as_made_afresh(settings)


async def done(running: Projection, ends: dict[tuple[str, int], int], task: asyncio.Task[None]) -> bool:
    """Whether all rows are there; raises what ended the projection."""
    if task.done():
        task.result()
    return running.status.state == "running" and not await asyncio.to_thread(running.missing, ends)


async def test_the_projection_killed_in_a_transaction_loses_and_doubles_nothing(
    broker: LocalKafka, prefix: str, tmp_path: Path, server: Cluster
) -> None:
    settings = (await deployed(broker, prefix, tmp_path)).model_copy(
        update={"read_model": type(Settings().read_model)(server.url)}
    )
    await publish(broker, everything(World(prefix)))
    environment = os.environ | {
        "GOVERN_PREFIX": prefix,
        "GOVERN_BOOTSTRAP_SERVERS": str(settings.bootstrap_servers),
        "GOVERN_DATA_DIR": str(settings.data_dir),
        "GOVERN_READ_MODEL": server.url,
    }
    for turns in (1, 3, 2):
        command = [sys.executable, "-c", KILLED, str(turns)]
        ended = await asyncio.to_thread(subprocess.run, command, env=environment, timeout=60, check=False)
        assert ended.returncode == -signal.SIGKILL
    await as_made_afresh(settings)
