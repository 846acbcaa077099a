"""A mail as a reader sees it: on a phone and on a desk, light and dark; nothing to scroll sideways, nothing axe-core minds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from orchestration.notify.email import as_html
from tests.e2e.browser import chromium, violations
from tests.unit.notify.parts import HOSTILE, NOW, message

MAILS = {
    "decisions wait": message(deadline_ms=NOW + 4 * 3_600_000),
    "the longest names": message(title="𝔘" * 400, lines=["lending/" + "a" * 400, "漢" * 400, HOSTILE] * 5, severity="warning"),
    "its end": message(kind="resolve", lines=["ann withheld them"], severity="info"),
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 800])
def test_a_mail_can_be_read_without_scrolling_sideways(browser: Browser, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme)  # type: ignore[arg-type]
    asked: list[str] = []
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name, mail in MAILS.items():
            page.set_content(as_html(mail))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert page.locator("a").count() == 1, name
            assert violations(page) == [], name
    finally:
        context.close()
    assert asked == [], "it fetches nothing"
