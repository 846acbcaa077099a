"""An approved configuration comes into force by itself on a real Kafka: once, whoever dies, or somebody is told why not."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from agents.configuration import Configuration
from agents.dsse import Private
from agents.people_events import IncidentData
from orchestration import config_topic, second_person
from orchestration.enacting import Enacting
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.reviewing import Effective
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import flags_of, produce
from tests.integration.monitored import deployment, lanes_of, running, until

KEYS = {name: Private(bytes([number]) * 32) for number, name in enumerate(("ann", "ben"), 1)}
RUN = """
import asyncio
from orchestration.enacting import Enacting
from orchestration.settings import Settings
asyncio.run(Enacting(Settings()).run())
"""


def configured(name: str) -> Configuration:
    people = {
        person: {"name": name, "roles": ["author", "reviewer"], "keys": [key.public.text]}
        for person, key in KEYS.items()
    }
    return Configuration.model_validate({"escalation": {"people": people, "second_person": ["configuration"]}})


@asynccontextmanager
async def enacting(settings: Settings, count: int = 1) -> AsyncIterator[list[Enacting]]:
    """Those that a supervisor runs."""
    found = [Enacting(settings) for _ in range(count)]
    for one in found:
        one.start()
    try:
        yield found
    finally:
        for one in found:
            await asyncio.to_thread(one.close)


async def propose(settings: Settings, configuration: Configuration, text: str = "a new name") -> str:
    found = await second_person.propose(settings, configuration, "ann", KEYS["ann"], text, 30)
    return re.search(r"proposed as (\S+);", found.text)[1]


async def answer(settings: Settings, incident: str, action: str = "approve") -> Effective:
    (one,) = [one for one in (await second_person.since(settings, 0)).proposed if one.incident.incident == incident]
    found = await second_person.answer(settings, one, action, "ben", KEYS["ben"], "checked", 30)
    assert isinstance(found, Effective), found
    return found


async def applied(settings: Settings) -> list[dict]:
    """The records of `config`, with the numbers of their writer."""
    records = await Broker(settings).read_all(settings.topic("config"))
    return [json.loads(one.value) | {"seq": int(dict(one.headers)["govern-seq"])} for one in records]


async def in_force(settings: Settings, configuration: Configuration) -> bool:
    return (await config_topic.current(settings)).digest == configuration.digest()


def at(settings: Settings, configuration: Configuration) -> Path:
    """Where a proposed document lies."""
    digest = configuration.digest().removeprefix("sha256:")
    return Path(str(settings.store_url).removeprefix("file://")) / settings.prefix / "proposals" / "blobs" / digest


async def test_what_was_approved_comes_into_force_and_what_was_rejected_never_does(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    first, second, third, no = (configured(name) for name in ("Ann", "Ann B.", "Ann C.", "Nobody"))
    settings = await deployment(broker, prefix, tmp_path, first)
    async with running(*lanes_of(settings, first, ("escalation",))), enacting(settings) as (mine,):
        rejected, name, late = [await propose(settings, one) for one in (no, second, third)]
        await answer(settings, rejected, "reject")
        said = await answer(settings, name)
        assert said.text == "approved: the change comes into force within seconds, where a deployment runs"
        await until(lambda: in_force(settings, second))
        _, change = await applied(settings)
        assert (change["correlationid"], change["source"], change["seq"]) == (name, f"/{prefix}/supervisor", 1)
        assert change["data"]["applied_by"] == "ann, approved by ben"
        assert change["data"]["note"] == f"a new name ({name})"

        await answer(settings, late)  # proposed against what is no longer in force
        (flag,) = await flags_of(settings)
        assert flag["reason"].startswith(
            f"the approved change {late} is not in force: another configuration was applied"
        )
        assert re.search(r"at 20\S+Z by ann, approved by ben: propose it again, on top of that one", flag["reason"])
        await until(lambda: told(settings, late))

        fourth = configured("Ann D.")
        lost = await propose(settings, fourth)
        kept = at(settings, fourth).read_bytes()
        at(settings, fourth).unlink()
        await answer(settings, lost)
        _, flag = await flags_of(settings, 2)
        assert re.search(rf"{lost} is not in force: the proposed document sha256:\w+ is not in ", flag["reason"])
        assert (await in_force(settings, second), mine.problem) == (True, "")
        at(settings, fourth).write_bytes(kept)
        assert (await config_topic.enact(settings, lost)).changed, "once it is mended, somebody puts it in force"
        assert not (await config_topic.enact(settings, lost)).changed
        fifth = configured("Ann E.")
        last = await propose(settings, fifth)
        await asyncio.to_thread(mine.close)
        async with enacting(settings) as (again,):  # a restart tells nothing twice and tries nothing twice
            await until(lambda: started(settings, again))
            await answer(settings, last)
            await until(lambda: in_force(settings, fifth))
    assert [one.get("correlationid") for one in await applied(settings)] == [None, name, lost, last]
    assert len(await flags_of(settings)) == 2


async def told(settings: Settings, incident: str) -> bool:
    """Whether there is an incident that tells that a change is not in force."""
    records = await Broker(settings).read_all(settings.topic("incidents"))
    found = [IncidentData.model_validate(json.loads(one.value)["data"]) for one in records]
    return f"An approved change is not in force: {incident}" in [one.title for one in found]


async def test_a_ruling_that_nobody_signed_puts_nothing_in_force(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    first, second = configured("Ann"), configured("Ann B.")
    settings = await deployment(broker, prefix, tmp_path, first)
    async with running(*lanes_of(settings, first, ("escalation",))), enacting(settings):
        name = await propose(settings, second)
        data = {
            "incident": name,
            "resolution": "approved",
            "effect": "allow",
            "keys": [f'["change/configuration",null,null,"{name}"]'],
            "people": ["ben"],
            "reviews": [f"{settings.topic('reviews')}/0/999"],
        }
        forged = {"specversion": "1.0", "type": "governance.ruling.v1", "id": f"{name}/0", "source": "/x", "data": data}
        await produce(broker, settings.topic("rulings"), [(name.encode(), json.dumps(forged).encode())], partition=0)
        (flag,) = await flags_of(settings)
        assert "not there or not signed as it must be" in flag["reason"]
    assert len(await applied(settings)) == 1


@pytest.mark.parametrize("point", ["prepared", "written", "offsets-sent", "committed"])
async def test_killed_between_ruling_and_commit_or_after_it_a_change_comes_into_force_once(
    broker: LocalKafka, prefix: str, tmp_path: Path, point: str
) -> None:
    first, second = configured("Ann"), configured("Ann B.")
    settings = await deployment(broker, prefix, tmp_path, first)
    async with running(*lanes_of(settings, first, ("escalation",))):
        async with enacting(settings) as (mine,):
            await until(lambda: started(settings, mine))
        name = await propose(settings, second)
        await answer(settings, name)
        assert not await in_force(settings, second), "nobody runs that could put it in force"
        assert await asyncio.to_thread(run_until_killed, settings, f"supervisor/*@{point}") == -9
        assert await in_force(settings, second) is (point == "committed")
        async with enacting(settings, 2):  # two of them: the one takes the right to write from the other
            await until(lambda: in_force(settings, second))
            again = await propose(settings, configured("Ann C."))
            await answer(settings, again)
            await until(lambda: in_force(settings, configured("Ann C.")))
    assert [(one["seq"], one.get("correlationid")) for one in await applied(settings)] == [
        (0, None),
        (1, name),
        (2, again),
    ]
    assert await Broker(settings).read_all(settings.topic("flags")) == []


async def started(settings: Settings, one: Enacting) -> bool:
    """Whether it remembers where it is: what is ruled from now on is its business."""
    place = (settings.topic("rulings"), 0)
    try:
        return place in await Broker(settings).committed(one.group, [place])
    except KafkaError:
        return False  # a cluster where nobody has committed yet has no coordinator


def run_until_killed(settings: Settings, kill: str) -> int:
    environment = {
        **os.environ,
        "GOVERN_KILL": kill,
        "GOVERN_PREFIX": settings.prefix,
        "GOVERN_BOOTSTRAP_SERVERS": settings.bootstrap_servers or "",
        "GOVERN_DATA_DIR": str(settings.data_dir),
        "GOVERN_KEYS_DIR": str(settings.keys_dir),
    }
    command, root = [sys.executable, "-c", RUN], Path(__file__).parents[2]
    return subprocess.run(command, env=environment, cwd=root, timeout=90, check=False).returncode
