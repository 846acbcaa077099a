"""A visitor of the console for the demo: what a browser without JavaScript does, and nothing that it could not do.

It knows addresses and forms only from the pages that it was sent, keeps cookies, and sends each form with its hidden
fields and the Origin of the page.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx

from agents.errors import Retryable

PATIENCE_S = 10.0
REDIRECTS = 5


@dataclass
class Form:
    """A form as it stands on a page."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    """Hidden fields, and what others were filled in with."""
    buttons: list[tuple[str, str]] = field(default_factory=list)
    """(name, value) of what submits it."""

    def offers(self, name: str, value: str) -> bool:
        """Whether it has this button."""
        return (name, value) in self.buttons


@dataclass
class Page:
    """A page that was sent."""

    url: str
    status: int
    words: str
    """All that it says, one line, from its main part on."""
    links: list[tuple[str, str]]
    """(address, words)."""
    forms: list[Form]

    def form(self, name: str, value: str) -> Form | None:
        """The form with such a button."""
        return next((one for one in self.forms if one.offers(name, value)), None)

    def link(self, part: str, start: str = "/") -> str | None:
        """The address of the first link whose words hold `part`."""
        return next((url for url, words in self.links if part in words and url.startswith(start)), None)


class Visitor:
    """One person's browser."""

    def __init__(self, url: str) -> None:
        self._origin = url.rstrip("/")
        self.sent_ms = 0.0
        """When the last form was sent, ms since 1970 UTC."""
        self._cookies: dict[str, str] = {}  # our own: browsers send Secure ones to loopback too, Python's jars do not
        self._http = httpx.Client(base_url=self._origin, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str) -> Page:
        """The page at an address; raises Retryable where it is not to be had."""
        return self._page("GET", path)

    def send(self, page: Page, form: Form, button: tuple[str, str] | None = None, **values: str) -> Page:
        """Fill in a form of a page and send it; returns the page that follows."""
        filled = {**form.fields, **values, **(dict([button]) if button else {})}
        return self._page("POST", urljoin(page.url, form.action), filled)

    def sign_in(self, person: str, password: str) -> Page:
        """Sign in; raises Retryable where the console does not let this person in."""
        page = self.get("/sign-in")
        form = next((one for one in page.forms if urlsplit(one.action).path == "/sign-in"), None)
        if form is None:
            raise Retryable(f"the console has no form to sign in: {page.words[:200]}")
        found = self.send(page, form, person=person, password=password)
        if urlsplit(found.url).path == "/sign-in":
            raise Retryable(f"the console did not let {person} in ({found.status}): {found.words[-300:]}")
        return found

    def _page(self, method: str, path: str, data: dict[str, str] | None = None) -> Page:
        self.sent_ms = time.time() * 1000 if method == "POST" else self.sent_ms
        found = self._answer(method, path, data)
        for _ in range(REDIRECTS):
            if not found.has_redirect_location:
                break
            found = self._answer("GET", urljoin(str(found.url), found.headers["location"]))
        if found.status_code >= 500:
            raise Retryable(f"the console answers {found.status_code} to {method} {path}")
        read = _Reading()
        read.feed(found.text)
        return Page(str(found.url), found.status_code, " ".join("".join(read.words).split()), read.links, read.forms)

    def _answer(self, method: str, path: str, data: dict[str, str] | None = None) -> httpx.Response:
        """One request; a GET is tried for some seconds."""
        headers = {"origin": self._origin, "sec-fetch-site": "same-origin"} if method == "POST" else {}
        if self._cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = self._http.request(method, path, data=data, headers=headers)
                break
            except httpx.TransportError as error:
                if method == "POST" or time.monotonic() > until:
                    raise Retryable(f"the console does not answer: {error!r}") from error
                time.sleep(0.2)
        self._http.cookies.clear()
        for line in found.headers.get_list("set-cookie"):
            for name, one in SimpleCookie(line).items():
                if one["max-age"] == "0":
                    self._cookies.pop(name, None)
                else:
                    self._cookies[name] = one.value
        return found


class _Reading(HTMLParser):
    """Forms, links and words of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._link: tuple[str, list[str]] | None = None
        self._quiet = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("action", ""))
            self.forms.append(self._form)
        elif tag == "a" and "href" in given:
            self._link = (given["href"], [])
        elif tag in ("style", "script", "title"):
            self._quiet += 1
        elif tag == "main":
            self.words.clear()  # what stands around the page is the same on each
        elif self._form is not None and given.get("name"):
            self._field(tag, given)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        assert self._form is not None
        kind = given.get("type", "submit" if tag == "button" else "text")
        if tag == "button" or kind == "submit":
            self._form.buttons.append((given["name"], given.get("value", "")))
        elif kind not in ("checkbox", "radio") or "checked" in given:
            self._form.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "a" and self._link is not None:
            self.links.append((self._link[0], " ".join("".join(self._link[1]).split())))
            self._link = None
        elif tag in ("style", "script", "title"):
            self._quiet -= 1
        elif tag in ("p", "li", "td", "th", "h1", "h2", "h3", "div"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.words.append(data)
        if self._link is not None:
            self._link[1].append(data)
