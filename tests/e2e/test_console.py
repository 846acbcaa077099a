"""The console in a real browser: every page in both themes without a violation, by keyboard alone, without JavaScript, live."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.browser import chromium, sign_in, violations, watched
from tests.unit.console.example import GAP, LATE, NOW, PAST, PROMPTS
from tests.unit.console.serve import Serving, serving
from tests.unit.console.served import PASSWORD

PATHS = (
    "/", "/?whose=done", f"/incidents/{GAP}", f"/incidents/{PAST}", f"/incidents/{LATE}",
    f"/decisions/gim.decisions/0/900?incident={PROMPTS}", "/decisions/gim.decisions/0/200", "/models", "/live", "/policies",
    "/people",
    "/silences", "/evidence", "/stats", "/blind", "/account", "/incidents/none", "/models/credit-limit/weeks/2026-W48",
    "/models/credit-limit/weeks/2026-W47",
)  # fmt: skip
SIZES = {"phone": {"width": 360, "height": 780}, "desk": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("console")) as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    found = browser.new_context(viewport=SIZES["desk"])  # type: ignore[arg-type]
    found.set_default_timeout(15_000)
    yield found
    found.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        ("phone", "light"),
        ("desk", "dark"),
        pytest.param("phone", "dark", marks=pytest.mark.long),  # the same colours at another width
        pytest.param("desk", "light", marks=pytest.mark.long),
    ],
)
def test_no_page_has_a_violation_in_either_theme(browser: Browser, console: Serving, size: str, theme: str) -> None:
    """axe-core's rules, at phone width and on a desk, everything unfolded; nothing sideways to scroll; a silent console."""
    context = browser.new_context(viewport=SIZES[size], color_scheme=theme)  # type: ignore[arg-type]
    seen = watched(context)
    seen.page.goto(f"{console.url}/sign-in")
    found = violations(seen.page)
    sign_in(seen.page, console.url, "ana")
    for path in PATHS:
        seen.page.goto(console.url + path)
        seen.page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
        found += violations(seen.page)
        wide = seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} px too wide"
    context.close()
    assert found == []
    assert [one for one in seen.faults if "404" not in one] == []


def test_the_menu_and_the_colours_on_a_phone(browser: Browser, console: Serving) -> None:
    context = browser.new_context(viewport=SIZES["phone"], color_scheme="light")  # type: ignore[arg-type]
    page = context.new_page()
    sign_in(page, console.url, "ana")
    page.get_by_text("Menu").click()
    expect(page.get_by_role("link", name="Models")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Models")).to_be_hidden()
    page.get_by_text("Menu").click()
    page.get_by_role("button", name="Dark").click()
    page.wait_for_url(f"{console.url}/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 18, 20)"
    context.close()


def test_from_sign_in_to_an_answer_by_keyboard_alone(console: Serving, page: Page) -> None:
    page.goto(f"{console.url}/sign-in?next=/incidents/{PROMPTS}")
    expect(page.locator("#person")).to_be_focused()  # by itself, a frame after the load: before, a key goes nowhere
    page.keyboard.type("wei")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{console.url}/incidents/{PROMPTS}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    _tab_to(page, "reason")
    page.keyboard.type("read all nine by hand")
    _tab_to(page, "Withhold them")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus can be seen"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"/incidents/{PROMPTS}\?sent="))
    expect(page.locator("main")).to_contain_text("wei answered: reject")
    sent = console.sent()[-1]
    assert (sent.action, sent.person, sent.incident, sent.reason) == ("reject", "wei", PROMPTS, "read all nine by hand")
    assert sent.shown_ms > 0


def _tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this id or words has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        found = page.evaluate("[document.activeElement.id, document.activeElement.innerText || '']")
        if found[0] == name or found[1].startswith(name):
            return
    raise AssertionError(f"no Tab leads to {name}")


def test_everything_works_without_javascript(browser: Browser, console: Serving) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, console.url, "ines")
    page.get_by_role("link", name="Approvals of late payers: credit-limit 2.1.0").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Approvals of late payers: credit-limit 2.1.0")
    page.get_by_role("link", name="gim.decisions/0/3000").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Decision 3000 of credit-limit 2.1.0")
    page.go_back()
    page.locator("summary", has_text="Ask back").click()
    page.fill("#reason", "unclear")
    page.fill("#response", "Which branch was it?")
    page.get_by_role("button", name="Ask back").click()
    expect(page.locator("main")).to_contain_text("ines answered: respond")
    sent = console.sent()[-1]
    assert (sent.action, sent.response) == ("respond", "Which branch was it?")
    assert [one.offset for one in sent.opened] == [3000]
    page.goto(f"{console.url}/?severity=error&model=credit-limit")
    expect(page.get_by_role("heading", level=1)).to_have_text("Queue")
    context.close()


def test_an_incident_arrives_on_an_open_queue_by_itself(console: Serving, context: BrowserContext) -> None:
    seen = watched(context)
    sign_in(seen.page, console.url, "ines")
    expect(seen.page.locator("#live-state")).to_have_text("Live.")
    console.night.world.incident(
        "n3w0-live", NOW, title="Just now: odd amounts", cause="lending/large-limit", keys=[], effect="log", held=0,
        team="lending", through={}, opened_ms=NOW,
    )  # fmt: skip
    console.night.world.incident(
        "n3w0-othr", NOW, title="Of another team", cause="payments/x", keys=[], effect="log", held=0, team="payments",
        through={}, opened_ms=NOW,
    )  # fmt: skip
    console.changed("n3w0-live", "n3w0-othr")
    expect(seen.page.get_by_role("link", name="Just now: odd amounts")).to_be_visible()
    expect(seen.page.get_by_role("link", name="Of another team")).to_have_count(0)
    assert seen.faults == []


def test_an_open_incident_refreshes_around_its_form_and_says_when_an_answer_would_be_refused(
    console: Serving, page: Page
) -> None:
    sign_in(page, console.url, "ana")
    page.goto(f"{console.url}/incidents/{GAP}")
    expect(page.locator("#live-state")).to_have_text("Live.")
    page.fill("#reason", "half a sentence")
    ticket = page.locator("input[name=ticket]").first.input_value()
    data = console.night.incidents[GAP].model_dump(mode="json", by_alias=True)
    data |= {"severity": "critical", "change": "worsened", "said": "It became critical.", "revision": 9}
    console.night.world.say("incidents", "incident", f"{GAP}/9", data, NOW, key=GAP)
    console.changed(GAP)
    expect(page.locator("[data-live=timeline]")).to_contain_text("It became critical.")
    expect(page.locator("#changed")).to_be_visible()
    assert page.locator("#reason").input_value() == "half a sentence", "what was typed stays"
    assert page.locator("input[name=ticket]").first.input_value() == ticket, "and what was shown is what is answered"


def test_a_decision_prints_without_navigation_or_forms(console: Serving, page: Page) -> None:
    sign_in(page, console.url, "ana")
    page.goto(f"{console.url}/decisions/gim.decisions/0/900")
    page.emulate_media(media="print")
    for gone in (".side", ".skip", "form"):
        for one in page.locator(gone).all():
            expect(one).to_be_hidden()
    for kept in ("What came in", "Judged by", "Seen by", "What went out", "Proof"):
        expect(page.get_by_role("heading", name=kept, exact=True)).to_be_visible()
    assert len(page.pdf()) > 10_000


def test_a_week_prints_on_one_sheet_however_much_was_in_it(console: Serving, page: Page) -> None:
    world, more = (
        console.night.world,
        "and a sentence that is long enough to need a second line on the sheet of paper " * 2,
    )
    for number in range(7):
        world.incident(
            f"w{number}ek-full", NOW, title=f"Model risk {number}: {more}"[:300], cause="lending/large-limit", keys=[],
            effect="log", held=0, team="lending", through={}, opened_ms=NOW - 1_000,
        )  # fmt: skip
        world.signal("warn", NOW, monitor=f"watch_{number}", metric="psi", estimate=0.3, n=100, text=more)
        world.safeguard(f"full-{number}", NOW - number, version="2.2.0", reason=more)
    console.changed()
    sign_in(page, console.url, "ana")
    page.goto(f"{console.url}/models/credit-limit/weeks/2026-W48")
    page.emulate_media(media="print")
    for gone in (".side", ".skip", "form", "nav"):
        for one in page.locator(gone).all():
            expect(one).to_be_hidden()
    for kept in ("What came", "Incidents", "What monitors said", "What changed"):
        expect(page.get_by_role("heading", name=kept)).to_be_visible()
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 1


def test_weeks_are_paged_through_without_javascript(browser: Browser, console: Serving) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, console.url, "ines")
    page.get_by_role("link", name="Figures").click()
    page.get_by_role("link", name="credit-limit").click()
    expect(page.locator(".summary")).to_have_text("Week 47, 16 to 22 November 2026.")
    page.get_by_role("link", name="The week before").click()
    expect(page.locator(".summary")).to_have_text("Week 46, 9 to 15 November 2026.")
    page.go_back()
    page.get_by_role("link", name="The week after").click()
    expect(page.locator(".summary")).to_have_text("Week 48, 23 to 29 November 2026. It is not over yet.")
    expect(page.get_by_role("link", name="The week after")).to_have_count(0)
    page.goto(f"{console.url}/models")
    page.get_by_role("link", name="Its last week on one page").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(": not a quiet week")
    context.close()


def test_targets_are_large_enough_for_a_thumb(browser: Browser, console: Serving) -> None:
    context = browser.new_context(viewport=SIZES["phone"])  # type: ignore[arg-type]
    page = context.new_page()
    sign_in(page, console.url, "ana")
    for path in ("/", f"/incidents/{GAP}", "/silences"):
        page.goto(console.url + path)
        small = page.evaluate(
            """() => ['button', '.button', 'input', 'select', 'summary', '.tabs a']
                .flatMap((kind) => [...document.querySelectorAll('main ' + kind)])
                .map((one) => [one.outerHTML.slice(0, 90), one.getBoundingClientRect()])
                .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24)).map(([html]) => html)"""
        )
        assert small == []
    context.close()
