"""The console on a real Kafka: the real pages, the real lanes, and what becomes of answers, honest ones and others."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher

from agents.configuration import Configuration
from agents.people_events import RulingData
from orchestration import config_topic
from orchestration.answer_links import make, secret_of
from orchestration.console.accounts import Accounts
from orchestration.console.app import make_app
from orchestration.console.in_force import InForce
from orchestration.console.live import Feed
from orchestration.console.parts import Parts
from orchestration.console.records import KafkaRecords
from orchestration.console.sending import KafkaSender
from orchestration.local_kafka import LocalKafka
from orchestration.reading.projection import Projection
from orchestration.settings import Settings
from orchestration.signing_keys import console_key
from tests.integration.monitored import deployment, event, lanes_of, running, send, tick, until
from tests.integration.test_escalation_lane import configuration, events, newest

PASSWORD = "four unrelated quiet words"
PEOPLE = ("ann", "bob", "cy", "dee", "vic")
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Console:
    """The console over ASGI, with accounts for everybody."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self.settings, self.parts = settings, parts
        self.app = make_app(settings, parts)

    @asynccontextmanager
    async def signed_in(self, person: str) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(
            transport=transport,
            base_url="https://localhost:8088",
            headers={"sec-fetch-site": "same-origin"},
            timeout=30,
        ) as browser:
            form = await browser.get("/sign-in")
            fields = {"csrf": hidden(form, "csrf"), "person": person, "password": PASSWORD, "next": "/"}
            assert (await browser.post("/sign-in", data=fields)).status_code == 303
            yield browser

    async def answer(self, browser: httpx.AsyncClient, page: httpx.Response, incident: str, action: str) -> str:
        """Send the page's form; what the next page says became of it."""
        fields = {"csrf": hidden(page, "csrf"), "ticket": hidden(page, "ticket"), "action": action, "reason": "checked"}
        sent = await browser.post(f"/incidents/{incident}/answer", data=fields)
        assert sent.status_code == 303, sent.text
        found = re.search(r'role="status"><p>(.*?)</p>', (await browser.get(sent.headers["location"])).text, re.DOTALL)
        assert found is not None
        return found[1]


def hidden(page: httpx.Response, name: str) -> str:
    """A hidden field's value."""
    found = re.search(rf'name="{name}" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Console]:
    """As orchestration/console/serving.py puts it together, without a socket."""
    in_force, projection, feed = InForce(settings), Projection(settings), Feed()
    key = console_key(settings)
    sender = KafkaSender(settings, key)
    parts = Parts(
        settings.model_copy(update={"console_tls_cert": Path("here")}),
        in_force.configuration,
        reading=projection.database,
        key=key,
        sender=sender,
        links=secret_of(settings),
        records=KafkaRecords(settings),
        feed=feed,
    )
    parts.__dict__["accounts"] = Accounts(parts.database, parts.clock, QUICK)
    for person in PEOPLE:
        parts.accounts.add(person, PASSWORD)
    tasks = [
        asyncio.create_task(in_force.follow()),
        asyncio.create_task(projection.run(lambda changed: feed.changed(changed.topics, changed.incidents))),
    ]
    try:
        assert await in_force.ready(20)
        yield Console(settings, parts)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await sender.close()


def known_console(settings: Settings, declared: Configuration) -> Configuration:
    """The configuration with the console's key, and somebody who only looks."""
    document = declared.document()
    document["escalation"]["console_keys"] = {"console": console_key(settings).public.text}
    document["escalation"]["people"]["vic"] = {"name": "vic", "roles": ["viewer"]}
    document["escalation"]["teams"]["credit"]["members"] = ["ann", "bob", "cy", "vic"]
    return Configuration.model_validate(document)


async def held(console: Console, broker: LocalKafka) -> str:
    """Forty declines are held; returns the incident once the console knows it."""
    settings = console.settings
    await send(settings, broker, "decisions", [event(n, "1", "decline") for n in range(40)])

    async def counted() -> bool:
        await tick(settings, broker)
        return sum(one.held for one in (await newest(settings)).values()) == 40

    await until(counted)
    (name,) = await newest(settings)
    async with console.signed_in("ann") as browser:

        async def shown() -> bool:
            page = await browser.get(f"/incidents/{name}")
            return page.status_code == 200 and 'name="ticket"' in page.text and "40 decisions held" in page.text

        try:
            await until(shown, 15)
        except AssertionError:
            pytest.fail((await browser.get(f"/incidents/{name}")).text)
    return name


async def test_answers_on_the_console_count_once_and_others_are_refused_with_their_reason(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await deployment(broker, prefix, tmp_path, configuration())
    declared = known_console(settings, configuration())
    await config_topic.apply(settings, declared)
    async with serving(settings) as console, running(*lanes_of(settings, declared, ("policy", "escalation"))):
        name = await held(console, broker)
        async with (
            console.signed_in("ann") as ann,
            console.signed_in("bob") as bob,
            console.signed_in("vic") as vic,
            console.signed_in("dee") as dee,
        ):
            assert (await dee.get(f"/incidents/{name}")).status_code == 404, "another team's"
            pages = [await browser.get(f"/incidents/{name}") for browser in (ann, bob, vic)]
            ends = time.time() + 6
            link = make(secret_of(settings), name, int(ends * 1000))
            late = await ann.get(link, follow_redirects=True)
            await asyncio.sleep(ends + 0.1 - time.time())
            assert "expired" in await console.answer(ann, late, name, "approve")
            assert (await ann.get(link)).status_code == 410

            viewers = {"csrf": hidden(pages[2], "csrf"), "ticket": "x" * 32, "action": "approve", "reason": "mine"}
            assert (await vic.post(f"/incidents/{name}/answer", data=viewers)).status_code == 409

            began = time.monotonic()
            told = await console.answer(ann, pages[0], name, "reject")
            assert "withheld" in told, told
            assert time.monotonic() - began < 5
            second = await console.answer(bob, pages[1], name, "approve")
            assert "does not count" in second
            assert "ann" in second
            assert await console.answer(ann, pages[0], name, "approve") == told, "sent twice: told what the first did"
    rulings = await events(settings, "rulings")
    refused = [one["data"]["reason"] for one in rulings if one["type"].endswith("refusal.v1")]
    ruled = [RulingData.model_validate(one["data"]) for one in rulings if one["type"].endswith("ruling.v1")]
    assert refused == ["expired", "already-ruled"]
    assert [(one.people, one.kind, one.opened) for one in ruled] == [(("ann",), "bulk", 0)]
