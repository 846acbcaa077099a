"""Whatever others write into a record, a page shows it as text: nothing of it runs, loads, or leads away."""

from __future__ import annotations

import asyncio
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from orchestration.console import pages
from orchestration.console.charts import Bar, Rate, over_time, rates, shifts, spark
from orchestration.console.live import Feed
from orchestration.console.rendering import Statics, environment
from orchestration.console.viewer import Viewer
from tests.unit.console.example import GAP, NOW, PAST, PROMPTS, night
from tests.unit.console.example_views import PAGES
from tests.unit.console.markup import read, runs, words
from tests.unit.console.served import PASSWORD, serve, sign_in

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</textarea></title></style></svg><script>alert(1)</script>",
    "{{ 7 * 7 }}{% include 'base.html' %}",
    "<!-- --!><a href=javascript:alert(1)>x</a>",
    "‮<iframe srcdoc='<script>alert(1)</script>'>",
)
ALL = " ".join(HOSTILE)
KEPT = {"status", "severity", "effect", "worst", "mode"}
"""Fields that are words of ours, never somebody's text; templates look them up or make classes of them."""


def poisoned(view: Any, text: str, name: str = "") -> Any:
    """The view with `text` in each of its texts, however deep."""
    if isinstance(view, Markup):
        return view
    if isinstance(view, str):
        return view if name in KEPT else text
    if isinstance(view, tuple):
        return tuple(poisoned(one, text) for one in view)
    if is_dataclass(view) and not isinstance(view, type):
        return replace(view, **{one.name: poisoned(getattr(view, one.name), text, one.name) for one in fields(view)})
    return view


def rendered(template: str, view: Any, viewer: Viewer, **more: Any) -> str:
    made = environment(Statics(), pages.FILTERS, pages.FUNCTIONS)
    values = {"viewer": viewer, "csrf": "token", "told": None, "path": "/", "prefix": "gim", "now_ms": NOW, "theme": ""}
    return made.get_template(template).render({**values, "view": view, **more})


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_text_in_any_field_of_any_view_stays_text(name: str, text: str) -> None:
    template, view = PAGES[name]
    viewer = Viewer("ana", text, frozenset({"reviewer"}), frozenset({text}), read_only=text)
    found = read(rendered(template, poisoned(view, text), viewer, prefix=text))
    assert runs(found) == []
    assert text in "".join(found.text), "it was shown, as text"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_views_of_the_example_make_faultless_pages(name: str) -> None:
    template, view = PAGES[name]
    found = read(rendered(template, view, Viewer("ana", "Ana Lim", frozenset({"reviewer"}))))
    assert (found.faults, runs(found)) == ([], [])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_message_about_an_answer_and_an_error_stay_text(text: str) -> None:
    viewer = Viewer("ana", "Ana", frozenset({"reviewer"}))
    told = {"kind": "draft", "text": text, "fields": {"reason": text, "response": text, "score": text, "label": text}}
    template, view = PAGES["incident"]
    assert runs(read(rendered(template, view, viewer, told=told))) == []
    assert runs(read(rendered("error.html", view, viewer, status=404, title=text, text=text, reference=text))) == []
    assert (
        runs(
            read(rendered("sign_in.html", view, viewer, next=text, problem=text, local=True, provider=True, nobody=""))
        )
        == []
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_names_in_charts_stay_text(text: str) -> None:
    made = (
        rates(text, text, [Rate(text, 0.4, 0.3, 0.5, 10)], 0.5, text),
        shifts(text, text, [Bar(text, 0.4, text)], 0.25),
        over_time(text, text, [(0, 1.0), (1, 2.0)], 10.0, "decisions"),
    )
    for one in made:
        assert runs(read(f"<!DOCTYPE html>\n<html lang='en'>{one.svg}</html>")) == []
    assert runs(read(f"<!DOCTYPE html>\n<html lang='en'>{spark(text, [1.0, 2.0], text)}</html>")) == []


def test_hostile_records_of_every_topic_stay_text_on_every_page(tmp_path: Path) -> None:
    """The same from the other end: texts that come with decisions, triage, reviews, rulings, signals and safeguards."""
    found = night(tmp_path / "night", hostile=ALL)
    console = serve(
        tmp_path, False, configuration=found.configuration, reading=found.base, records=found.content, feed=Feed(),
        accounts=False, clock=lambda: NOW,
    )  # fmt: skip
    console.parts.accounts.add("ana", PASSWORD)
    paths = (
        "/", f"/incidents/{GAP}", f"/incidents/{PROMPTS}", f"/incidents/{PAST}", "/models", "/silences", "/policies",
        "/decisions/gim.decisions/0/18204", "/decisions/gim.decisions/0/900", "/stats", "/people", "/live",
    )  # fmt: skip

    async def look() -> dict[str, str]:
        async with console.browser("https://localhost:8088") as browser:
            await sign_in(browser, "ana")
            cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        async with console.browser("http://localhost:8088") as browser:
            return {path: (await browser.get(path, headers={"cookie": cookie})).text for path in paths}

    for path, html in asyncio.run(look()).items():
        page = read(html)
        assert page.faults == [], path
        assert runs(page) == [], path
        if path not in ("/policies", "/stats", "/people", "/live"):
            assert "alert(1)" in words(page), f"{path} shows what was written"
    found.base.close()
