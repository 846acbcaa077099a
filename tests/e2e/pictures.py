"""The console's pictures for the README, from the demo's own data, while `govern demo` waits for Ctrl-C:

python -m tests.e2e.pictures http://localhost:8088 ann=PASSWORD mei=PASSWORD
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Page

from tests.e2e.browser import chromium

FOLDER = Path("docs/pictures")
COLOURS = 256
"""A page has few: so a picture takes half the room, and looks the same."""
WIDE, TALL, PHONE = (1240, 780), (1440, 1120), (390, 844)


@dataclass(frozen=True)
class Picture:
    """One picture: whose page, of what size, how it is found."""

    name: str
    person: str
    size: tuple[int, int]
    theme: Literal["light", "dark"] = "light"
    path: str = "/"
    words: str = ""
    """Of the incident on that page that is opened; none: the page itself."""
    part: str = ""
    """Only this element of it."""


WANTED = (
    Picture("console-queue", "ann", WIDE),
    Picture("console-incident", "mei", TALL, words="2.2.0: decisions held by lending/more-billed-than-allowed"),
    Picture("console-figures", "ann", WIDE, words="2.2.0: alarm of approval_gap", part="section:has(> #charts)"),
    Picture("console-models", "ann", (1240, 900), "dark", path="/models"),
    Picture("console-queue-phone", "ann", PHONE, "dark"),
    Picture("console-incident-phone", "mei", PHONE, words="2.2.0: decisions held by lending/more-billed-than-allowed"),
)


def main(url: str, passwords: dict[str, str]) -> None:
    """Draw all of them anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for one in WANTED:
            width, height = one.size
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=one.theme)
            page = context.new_page()
            _sign_in(page, url, one.person, passwords[one.person])
            page.goto(url + one.path)
            if one.words:
                page.get_by_role("link", name=one.words).first.click()
                page.wait_for_url("**/incidents/*")
            page.wait_for_load_state()
            file = FOLDER / f"{one.name}.png"
            if one.part:
                page.locator(one.part).screenshot(path=str(file))
            else:
                page.screenshot(path=str(file))
            context.close()
            with Image.open(file) as drawn:
                drawn.quantize(COLOURS).save(file, optimize=True)
            print(f"{file}: {file.stat().st_size // 1024} KB")


def _sign_in(page: Page, url: str, person: str, password: str) -> None:
    page.goto(f"{url}/sign-in")
    page.get_by_label("Person").fill(person)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), dict(one.split("=", 1) for one in sys.argv[2:]))
