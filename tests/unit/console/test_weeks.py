"""The page of a model's week: as it ended, for whoever may see it, and nothing of incidents that belong to others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestration.console.live import Feed
from orchestration.console.pages.weeks import made
from orchestration.console.viewer import Viewer
from orchestration.reading.tables import configurations
from tests.unit.console.example import DRIFT, GAP, NOW, OTHER, Night, night
from tests.unit.console.markup import read, words
from tests.unit.console.served import PASSWORD, Served, serve, sign_in

DAY = 86_400_000
ALL = Viewer("audra", "Audra", frozenset({"auditor"}), everywhere=True)
PAGE = "/models/credit-limit/weeks/2026-W48"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    found = night(tmp_path_factory.mktemp("night"))
    yield found
    found.base.close()


@pytest.fixture(scope="module")
def console(told: Night, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder: Path = tmp_path_factory.mktemp("console")
    made = serve(
        folder, False, configuration=told.configuration, reading=told.base, records=told.content, feed=Feed(), accounts=False,
        clock=lambda: NOW,
    )  # fmt: skip
    for person in ("ana", "vic", "ines", "otto", "audra"):
        made.parts.accounts.add(person, PASSWORD)
    return made


def get(console: Served, person: str | None, path: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with console.browser("https://localhost:8088") as browser:
            if person is not None:
                await sign_in(browser, person)
            return await browser.get(path)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("person", "seen", "others"),
    [("ana", {GAP, DRIFT}, ""), ("audra", {GAP, DRIFT}, ""), ("otto", set(), "3 incidents of other teams.")],
)
def test_incidents_of_other_teams_are_counted_and_not_named(
    console: Served, person: str, seen: set[str], others: str
) -> None:
    page = get(console, person, PAGE)
    assert page.status_code == 200
    assert {one for one in (GAP, DRIFT, OTHER) if f"/incidents/{one}" in page.text} == seen
    assert others in words(read(page.text))
    assert ("of other teams" in page.text) is bool(others)
    assert ("declines of credit-limit" in page.text) is bool(seen)


def test_it_is_for_those_who_signed_in(console: Served) -> None:
    page = get(console, None, PAGE)
    assert (page.status_code, page.headers["location"].partition("?")[0]) == (303, "/sign-in")


@pytest.mark.parametrize(
    "path",
    [
        "/models/none/weeks/2026-W48", "/models/credit-limit/weeks/2026-W49", "/models/credit-limit/weeks/2026-W54",
        "/models/credit-limit/weeks/now", "/models/credit-limit/weeks/0000-W01", "/models/credit-limit/weeks/9999-W52",
        "/models/%3Cscript%3E/weeks/2026-W48", "/models/credit-limit/weeks/",
    ],
)  # fmt: skip
def test_there_is_no_page_of_another_model_or_of_a_week_to_come(console: Served, path: str) -> None:
    assert get(console, "ana", path).status_code == 404


def test_models_and_figures_lead_to_the_week_that_ended_last(console: Served) -> None:
    for path in ("/models", "/stats"):
        page = get(console, "vic", path).text
        assert 'href="/models/credit-limit/weeks/2026-W47"' in page
        assert 'href="/models/support-assistant/weeks/2026-W47"' in page


def test_an_earlier_week_is_told_as_it_ended(told: Night) -> None:
    view = made(told.base, "credit-limit", "2026-W47", NOW, ALL)
    assert view is not None
    figures = {name: (value, note) for name, value, note in view.figures}
    assert figures["Waiting at its end"] == ("1", "the oldest since 19 Nov, 03:02 UTC; 451 now")
    assert figures["Answers"] == ("1", "1 withheld")
    assert [(one.text, one.kind, one.state) for one in view.incidents] == [
        ("Odd callers: credit-limit 2.1.0", "warning", "withheld")
    ]
    assert [one.text for one in view.changes] == ["Version 2.2.0 was seen for the first time"]
    assert view.monitors == ()
    assert (view.earlier, view.later) == (
        "/models/credit-limit/weeks/2026-W46",
        "/models/credit-limit/weeks/2026-W48",
    )


def test_the_running_week_has_none_after_it_and_the_first_none_before(told: Night) -> None:
    running = made(told.base, "credit-limit", "2026-W48", NOW, ALL)
    assert running is not None
    assert running.days == "Week 48, 23 to 29 November 2026. It is not over yet."
    assert running.later == ""
    first = made(told.base, "credit-limit", "2026-W35", NOW, ALL)  # it was seen first 90 days ago, in this week
    assert first is not None
    assert (first.earlier, first.later) == ("", "/models/credit-limit/weeks/2026-W36")


def test_weeks_are_those_of_the_declared_zone(tmp_path: Path) -> None:
    found = night(tmp_path)
    document = found.configuration.document()
    document["escalation"]["digest"] = {"zone": "Asia/Taipei"}
    found.world.configuration(document, NOW, "ana")
    found.fold()
    with found.base.reading() as connection:
        assert len(connection.execute(configurations.select()).all()) == 2
    view = made(found.base, "credit-limit", "2026-W48", NOW, ALL)
    assert view is not None
    assert view.days == "Week 48, 23 to 29 November 2026, by the clock in Asia/Taipei. It is not over yet."
    # In Taipei it is eight hours later: the next week begins at 16:00 UTC on Sunday.
    sunday = NOW + 4 * DAY + 14 * 3_600_000
    assert made(found.base, "credit-limit", "2026-W49", sunday, ALL) is not None
    found.base.close()
