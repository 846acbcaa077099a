"""A strict reading of a page's HTML: what is nested, what carries which name, and what a browser could run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "hr", "img", "wbr"}
SVG_LEAVES = {"line", "rect", "circle", "polygon", "polyline", "path"}
INTERACTIVE = {"a", "button", "select", "textarea", "label", "summary"}
BLOCK = {
    "p",
    "div",
    "section",
    "ul",
    "ol",
    "dl",
    "table",
    "form",
    "h1",
    "h2",
    "h3",
    "pre",
    "details",
    "figure",
    "nav",
    "header",
}
PARENTS = {
    "li": {"ul", "ol"}, "dt": {"dl", "div"}, "dd": {"dl", "div"}, "tr": {"thead", "tbody"}, "td": {"tr"}, "th": {"tr"},
    "caption": {"table"}, "thead": {"table"}, "tbody": {"table"}, "figcaption": {"figure"}, "legend": {"fieldset"},
    "option": {"select", "datalist"}, "summary": {"details"},
}  # fmt: skip
REFERS = ("for", "aria-labelledby", "aria-describedby", "list")


@dataclass
class Page(HTMLParser):
    """What was found; `faults` are sentences."""

    faults: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    refers: list[tuple[str, str]] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        where = f"<{tag}> at {self.getpos()[0]}"
        names = [name for name, _ in attrs]
        found = {name: value or "" for name, value in attrs}
        if len(names) != len(set(names)):
            self.faults.append(f"{where} has an attribute twice")
        if "style" in found or tag == "style":
            self.faults.append(f"{where}: inline style, which the CSP forbids")
        if "id" in found:
            if found["id"] in self.ids:
                self.faults.append(f"{where}: id {found['id']} stands twice")
            if not re.fullmatch(r"\S+", found["id"]):
                self.faults.append(f"{where}: id {found['id']!r} has spaces or is empty")
            self.ids.add(found["id"])
        self.refers += [(name, one) for name in REFERS if name in found for one in found[name].split()]
        parent = self.stack[-1] if self.stack else ""
        if tag in PARENTS and parent not in PARENTS[tag]:
            self.faults.append(f"{where} inside <{parent}>")
        if tag in INTERACTIVE and any(one in ("a", "button") for one in self.stack):
            self.faults.append(f"{where} inside something that is pressed itself")
        if tag in BLOCK and any(one in ("p", "h1", "h2", "h3", "span", "button") for one in self.stack):
            self.faults.append(f"{where} inside a paragraph, heading or span")
        if tag == "form" and "form" in self.stack:
            self.faults.append(f"{where} inside a form")
        if tag == "img" and "alt" not in found:
            self.faults.append(f"{where} without alt")
        if re.fullmatch("h[1-6]", tag):
            level = int(tag[1])
            if level > (self.headings[-1] if self.headings else 0) + 1 and "nav" not in self.stack:
                self.faults.append(f"{where} skips a level")
            if "nav" not in self.stack:
                self.headings.append(level)
        self.tags.append((tag, found))
        if tag not in VOID and tag not in SVG_LEAVES:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID and tag not in SVG_LEAVES:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack[-1] != tag:
            self.faults.append(f"</{tag}> at {self.getpos()[0]} closes <{self.stack[-1] if self.stack else ''}>")
            return
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Page:
    """The page, with what is wrong with it."""
    page = Page()
    page.feed(html)
    page.close()
    page.faults += [f"<{one}> is never closed" for one in page.stack]
    page.faults += [f"{name}={one}, and no element has that id" for name, one in page.refers if one not in page.ids]
    if not html.startswith("<!DOCTYPE html>\n<html lang="):
        page.faults.append("no doctype, or no language")
    return page


def runs(page: Page) -> list[str]:
    """Whatever a browser could run or load that is not ours."""
    found = []
    for tag, attributes in page.tags:
        if tag in ("script", "iframe", "object", "embed", "base", "img", "link") and not (
            attributes.get("src", attributes.get("href", "")).startswith("/static/")
        ):
            found.append(f"<{tag} {attributes}>")
        for name, value in attributes.items():
            if name.startswith("on") or name in ("srcdoc", "formaction", "xlink:href", "http-equiv"):
                found.append(f"<{tag} {name}>")
            if name in ("href", "src", "action") and not re.match(r"^(/(?!/)|#|$)", value):
                found.append(f"<{tag} {name}={value}>")
    return found


def words(page: Page) -> str:
    """The text of a page, spaces folded."""
    return " ".join(" ".join(page.text).split())
