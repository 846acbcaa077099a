"""A person in a browser, real lanes, a real Kafka: an incident arrives, is answered, and held decisions go out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect

from orchestration import config_topic
from orchestration.answer_links import secret_of
from orchestration.console.accounts import Accounts
from orchestration.console.app import make_app
from orchestration.console.in_force import InForce
from orchestration.console.live import Feed
from orchestration.console.parts import Parts
from orchestration.console.records import KafkaRecords
from orchestration.console.sending import KafkaSender
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.reading.projection import Projection
from orchestration.settings import Settings
from orchestration.signing_keys import console_key
from tests.e2e.browser import chromium_path
from tests.integration.monitored import deployment, event, lanes_of, running, send, tick, until
from tests.integration.test_console import PASSWORD, QUICK, known_console
from tests.integration.test_escalation_lane import configuration
from tests.unit.console.serve import free_port

HELD = 40


@dataclass
class Watching:
    """A browser's page, and what its console complained of."""

    page: Page
    faults: list[str]


@asynccontextmanager
async def console(settings: Settings, person: str) -> AsyncIterator[str]:
    """The console on a port of this machine, with an account; yields its address."""
    port = free_port()
    settings = settings.model_copy(update={"console_port": port})
    in_force, projection, feed = InForce(settings), Projection(settings), Feed()
    key = console_key(settings)
    sender = KafkaSender(settings, key)
    parts = Parts(
        settings, in_force.configuration, reading=projection.database, key=key, sender=sender, links=secret_of(settings),
        records=KafkaRecords(settings), feed=feed,
    )  # fmt: skip
    parts.__dict__["accounts"] = Accounts(parts.database, parts.clock, QUICK)
    parts.accounts.add(person, PASSWORD)
    server = uvicorn.Server(
        uvicorn.Config(make_app(settings, parts), port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    tasks = [
        asyncio.create_task(in_force.follow()),
        asyncio.create_task(projection.run(lambda changed: feed.changed(changed.topics, changed.incidents))),
    ]
    serving = asyncio.create_task(server.serve())
    try:
        assert await in_force.ready(20)
        while not server.started:
            await asyncio.sleep(0.02)
        yield f"http://localhost:{port}"
    finally:
        server.should_exit = True
        await serving
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await sender.close()


@asynccontextmanager
async def browser() -> AsyncIterator[Watching]:
    """A page of the system's Chromium."""
    path = chromium_path()
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=path)
        context = await found.new_context(viewport={"width": 390, "height": 844})
        context.set_default_timeout(20_000)
        page = await context.new_page()
        watching = Watching(page, [])

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                watching.faults.append(f"{page.url}: {message.text}")

        page.on("console", heard)
        yield watching
        await found.close()


async def test_an_incident_arrives_is_answered_and_its_decisions_go_out(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await deployment(broker, prefix, tmp_path, configuration())
    declared = known_console(settings, configuration())
    await config_topic.apply(settings, declared)
    agents = ("policy", "escalation", "triage", "release")
    async with (
        browser() as watching,
        console(settings, "ann") as url,
        running(*lanes_of(settings, declared, agents)),
    ):
        page = watching.page
        await page.goto(f"{url}/sign-in")
        await page.fill("#person", "ann")
        await page.fill("#password", PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Quiet")).to_be_visible()

        await send(settings, broker, "decisions", [event(n, "1", "decline") for n in range(HELD)])
        row = page.locator(".queue li")
        for _ in range(200):
            await tick(settings, broker)
            if await row.count() and f"{HELD} decisions wait" in await row.first.inner_text():
                break
            await asyncio.sleep(0.1)
        await expect(row).to_have_count(1)
        await row.get_by_role("link").click()
        await expect(page.locator("#why")).to_contain_text("What we know")
        await page.get_by_role("link", name="Answer").click()
        await page.fill("#reason", "checked with the branch")
        await page.get_by_role("button", name=re.compile("^Let the declines go out")).click()
        await page.wait_for_url(re.compile(r"\?sent="))

        async def out() -> bool:
            released = [
                await Broker(settings).read_all(settings.topic("released"), number)
                for number in range(settings.partitions)
            ]
            return sum(map(len, released)) == HELD

        await until(out, 30)
        await expect(page.locator("#held")).to_contain_text(f"0 wait, {HELD} ended", timeout=20_000)
        await expect(page.locator(".notice.good").last).to_contain_text("Went out by you")
        await expect(page.locator(".held-list tbody tr").first).to_contain_text("went out")
        await page.goto("about:blank")  # the console ends before the browser does
    assert watching.faults == []
