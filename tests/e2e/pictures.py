"""The console's pictures for the README, from the made-up night: `python -m tests.e2e.pictures docs/pictures`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.e2e.browser import chromium, sign_in
from tests.unit.console.example import GAP
from tests.unit.console.serve import serving

WANTED = (
    ("console-queue", "/", (1280, 800), "light"),
    ("console-incident", f"/incidents/{GAP}", (1280, 1100), "light"),
    ("console-incident-phone", f"/incidents/{GAP}", (390, 844), "dark"),
    ("console-queue-phone", "/", (390, 844), "dark"),
    ("console-models", "/models", (1280, 900), "dark"),
)


def main(folder: Path) -> None:
    """Draw all of them anew."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, serving(Path(data)) as console, chromium() as browser:
        for name, path, (width, height), theme in WANTED:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
            page = context.new_page()
            sign_in(page, console.url, "ana")
            page.goto(console.url + path)
            page.screenshot(path=str(folder / f"{name}.png"))
            context.close()
            print(folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
