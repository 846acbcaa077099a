"""The system's Chromium for tests, found by name; where it is missing the test says so, and fails where CI=true."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.unit.console.served import PASSWORD


def chromium_path() -> str:
    """Where the system's Chromium is; skips the test where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no `chromium` on this machine: install the Debian package chromium (CI requires it)")
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, closed at the end."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page whose console is listened to: any error or violation of the content security policy is a fault."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{self.page.url}: {message.text}")


def watched(context: BrowserContext) -> Watched:
    """A new page that is listened to."""
    found = Watched(context.new_page())
    found.page.on("console", found.heard)
    found.page.on("pageerror", lambda error: found.faults.append(f"{found.page.url}: {error}"))
    return found


def sign_in(page: Page, url: str, person: str) -> None:
    """What a person does."""
    page.goto(f"{url}/sign-in")
    page.fill("#person", person)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/")


def violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA and its best practices: rule, element, why."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{page.url} {one['id']} ({one['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
