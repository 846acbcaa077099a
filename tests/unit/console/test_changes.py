"""A proposed change on its page: the page says the truth from the proposal on until it is replaced, or cannot be applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.configuration import Configuration
from agents.escalation.proposals import change_key
from agents.people_events import IncidentData
from orchestration import second_person
from orchestration.console.live import Feed
from orchestration.reading.database import open_database
from orchestration.settings import Settings
from tests.unit.console.example import configuration
from tests.unit.console.markup import read, words
from tests.unit.console.served import PASSWORD, Served, serve, sign_in
from tests.unit.reading.world import MINUTE, T0, World, folded

NAME, FAILED = "7f29-k1mq", "f41l-ed00"
BEFORE, AFTER, OTHER = (configuration(bulk={"items": items}) for items in (100, 500, 900))


class Page:
    """A console of ana's, an author, and what the topics hold."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(_env_file=None, data_dir=folder)  # type: ignore[call-arg]
        self.base = open_database(settings)
        self.base.prepare({"prefix": settings.prefix})
        self.world, self.now, self.in_force, self.revision = World(settings.prefix), T0, BEFORE, -1
        self.served: Served = serve(
            folder, False, configuration=lambda: self.in_force, reading=self.base, feed=Feed(), accounts=False,
            clock=lambda: self.now,
        )  # fmt: skip
        self.served.parts.accounts.add("ana", PASSWORD)
        second_person.keep(settings, AFTER)
        self.world.configuration(BEFORE.document(), T0 - MINUTE)

    def proposal(self, **more: Any) -> IncidentData:
        self.revision += 1
        proposal = {"kind": "configuration", "digest": AFTER.digest(), "author": "wei", "text": "a higher limit"}
        return self.world.incident(
            NAME, self.now, self.revision, title="A change of configuration needs a second person", group="[]", effect=None,
            cause="change/configuration", model=None, version=None, keys=[change_key("configuration", NAME)], held=0, count=0,
            through={}, team=None, labels={"requester": "wei"}, proposal=proposal, **more,
        )  # fmt: skip

    def ruled(self, resolution: str = "approved") -> None:
        found = self.proposal(
            change="resolved", status="resolved", resolution=resolution, resolved_ms=self.now, by="ana", said="done"
        )
        effect = "allow" if resolution == "approved" else "block"
        self.world.ruling(found, 0, resolution, self.now, effect=effect, people=["ana"], reason="checked")

    def applies(self, what: Configuration, by: str) -> None:
        self.world.configuration(what.document(), self.now, by)
        self.in_force = what

    async def words(self) -> str:
        folded(self.base, self.world)
        async with self.served.browser("https://localhost:8088") as browser:
            await sign_in(browser, "ana")
            found = await browser.get(f"/incidents/{NAME}")
            assert found.status_code == 200
            return words(read(found.text))


@pytest.fixture
def page(tmp_path: Path) -> Page:
    found = Page(tmp_path)
    found.proposal()
    found.now += MINUTE
    return found


async def test_before_and_after_the_approval_the_page_says_when_it_comes_into_force(page: Page) -> None:
    waits = await page.words()
    assert "Nothing changes until another author approves it; then it comes into force within seconds." in waits
    assert "Approve the change it comes into force within seconds, with both names" in waits
    assert "~ escalation bulk: items - 100 + 500" in waits
    page.ruled()
    approved = await page.words()
    assert "It comes into force within seconds." in approved
    assert "Agreed to by you at" in approved
    assert "went out" not in approved, "no decision did"
    assert "Cause a change of configuration" in approved
    page.now += 2 * MINUTE
    late = await page.words()
    assert "It is approved and not in force yet: `govern status` says what keeps it from it." in late
    page.applies(AFTER, "wei, approved by ana")
    done = await page.words()
    assert "In force since 2 Mar 2026, 09:17:03 UTC, by Wei Chen, approved by Ana Lim." in done
    assert "~ escalation bulk: items - 100 + 500" in done, "what it changed, though it is in force now"
    page.now += MINUTE
    page.applies(OTHER, "ana, approved by wei")
    replaced = await page.words()
    assert "It was in force from 2 Mar 2026, 09:17:03 UTC, by Wei Chen, approved by Ana Lim." in replaced
    assert (
        "Then another configuration was applied at 2 Mar 2026, 09:18:03 UTC, by Ana Lim, approved by Wei Chen"
        in replaced
    )


async def test_a_change_that_could_not_be_applied_says_why(page: Page) -> None:
    page.ruled()
    why = f"the approved change {NAME} is not in force: the proposed document sha256:1 is not there"
    page.world.incident(
        FAILED, page.now, title="An approved change is not in force", cause="change/configuration", model=None, version=None,
        keys=[change_key("configuration", NAME)], reason=why, effect=None, held=0, through={}, team="model-risk",
    )  # fmt: skip
    told = await page.words()
    assert "It could not be applied, because the proposed document sha256:1 is not there." in told
    assert "Its incident" in told
    page.applies(AFTER, "wei, approved by ana")  # somebody has mended it
    assert "In force since" in await page.words()


async def test_what_was_proposed_on_top_of_another_configuration_is_said_to_change_nothing(page: Page) -> None:
    page.applies(OTHER, "cid")
    told = await page.words()
    other = "another configuration was applied at 2 Mar 2026, 09:15:03 UTC, by cid"
    assert f"It can come into force no more: {other}, since it was proposed. Its author proposes it again" in told
    assert "Approve the change it comes into force no more; see above" in told
    page.ruled()
    assert f"It could not be applied, because {other}, since it was proposed." in await page.words()


async def test_what_was_turned_down_is_not_said_to_come_into_force(page: Page) -> None:
    page.ruled("rejected")
    told = await page.words()
    assert "Turned down by you at" in told
    assert "in force" not in told.replace("configuration in force", "")
