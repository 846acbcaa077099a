"""A console for tests: the real application over ASGI, with people, a clock moved by hand, and a lane that answers at once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from agents.configuration import Configuration
from agents.dsse import Private
from agents.errors import Retryable
from agents.events import Position
from agents.people_events import IncidentData, ReviewData, shown_digest
from orchestration.answer_links import make
from orchestration.console.accounts import Accounts
from orchestration.console.app import Parts, make_app, opened, page_ticket, render, visible
from orchestration.console.sending import Told
from orchestration.console.tickets import parse_place
from orchestration.settings import Settings

KEY = Private(b"k" * 32)
LINKS = b"l" * 32
PASSWORD = "four unrelated quiet words"
HOST = "console.bank.example"
URL = f"https://{HOST}"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
START_MS = 1_770_000_000_000


def configuration(**more: Any) -> Configuration:
    """Two teams: dana reviews for credit, raj for fraud; vic only looks; audra audits."""
    escalation: dict[str, Any] = {
        "people": {
            "dana": {"name": "Dana Duarte", "roles": ["reviewer"], "email": "dana@bank.example"},
            "sam": {"name": "Sam Sato", "roles": ["reviewer"], "contacts": {"ops": "U0SAM"}},
            "raj": {"name": "Raj Rao", "roles": ["reviewer"]},
            "vic": {"name": "Vic Vane", "roles": ["viewer"]},
            "audra": {"name": "Audra Ames", "roles": ["auditor"]},
        },
        "teams": {"credit": {"members": ["dana", "sam", "vic"]}, "fraud": {"members": ["raj"]}},
        "channels": {"ops": {"kind": "slack", "secret": "bot", "signing": "slack-signing"}},
        "console_keys": {"console": KEY.public.text},
        "console_url": URL,
    }
    return Configuration.model_validate(
        {"models": {"credit-limit": {"labels": {"approve": {}, "decline": {}}}}, "escalation": {**escalation, **more}}
    )


def incident(name: str = "7f29-k1mq", team: str | None = "credit", **more: Any) -> IncidentData:
    """An incident with three held decisions."""
    return IncidentData.model_validate(
        {
            "incident": name,
            "revision": 2,
            "change": "triggered",
            "status": "triggered",
            "severity": "error",
            "title": "42 declines are held",
            "cause": "fair/after-hours",
            "model": "credit-limit",
            "group": "[]",
            "keys": ['["fair/after-hours","credit-limit","2",null]'],
            "effect": "hold",
            "team": team,
            "count": 3,
            "held": 3,
            "through": {"gim.decisions/0": 13},
            "opened_ms": START_MS,
            "first_ms": START_MS,
            "last_ms": START_MS,
            **more,
        }
    )


HELD = tuple(Position(topic="gim.decisions", partition=0, offset=offset) for offset in (10, 11, 12))


@dataclass
class Lane:
    """Stands for `reviews` and the escalation lane: what was sent, and an answer to it that counts once."""

    sent: list[tuple[str, ReviewData]] = field(default_factory=list)
    down: bool = False
    silent: bool = False
    ruled: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def send(self, review: str, data: ReviewData) -> dict[str, Any]:
        if self.down:
            raise Retryable("Kafka is away")
        self.sent.append((review, data))
        self.ruled.setdefault(data.incident or "", (review, data.person))
        return {"review": review, "incident": data.incident or "", "person": data.person, "action": data.action}

    async def outcome(self, receipt: dict[str, Any], within_s: float) -> Told:
        if self.silent:
            return Told("pending", "Nobody took it up yet.", receipt["action"], receipt=receipt)
        first, person = self.ruled[receipt["incident"]]
        if first == receipt["review"]:
            return Told("effect", f"{person} answered: {receipt['action']}", receipt["action"], receipt=receipt)
        return Told("refused", f"{person} answered before you", receipt["action"], "already-ruled", receipt)


@dataclass
class Served:
    """The console, and what can be done to it."""

    app: Starlette
    parts: Parts
    lane: Lane
    now: list[int]
    incidents: dict[str, IncidentData]

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now[0] += int(seconds * 1000)

    def browser(self, url: str = URL, address: str = "203.0.113.7") -> httpx.AsyncClient:
        """A browser with a cookie jar of its own."""
        transport = httpx.ASGITransport(app=self.app, client=(address, 50_000))
        return httpx.AsyncClient(transport=transport, base_url=url, headers={"sec-fetch-site": "same-origin"})

    def link(self, name: str, lasts_s: float = 3600) -> str:
        """An answer link as a message carries it."""
        return make(LINKS, name, self.now[0] + int(lasts_s * 1000))


def serve(folder: Path, routes: bool = True, **changed: Any) -> Served:
    """A console with accounts for all five people (unless `accounts=False`)."""
    accounts, settings = changed.pop("accounts", True), changed.pop("settings", {})
    found = changed.pop("configuration", configuration())
    now, lane, incidents = [START_MS], Lane(), {}
    made = Settings(_env_file=None, data_dir=folder, **settings)  # type: ignore[call-arg]
    parts = Parts(
        **{
            "settings": made,
            "configuration": found if callable(found) else lambda: found,
            "clock": lambda: now[0],
            "key": KEY,
            "sender": lane,
            "links": LINKS,
            "outbound": httpx.MockTransport(lambda request: httpx.Response(200)),
            **changed,
        }
    )
    parts.__dict__["accounts"] = Accounts(parts.database, parts.clock, QUICK)
    if accounts:
        for person in ("dana", "sam", "raj", "vic", "audra"):
            parts.accounts.add(person, PASSWORD)
    incidents |= {"7f29-k1mq": incident(), "0000-raj1": incident("0000-raj1", "fraud")}
    return Served(make_app(made, parts, pages(incidents) if routes else None), parts, lane, now, incidents)


def pages(incidents: dict[str, IncidentData]) -> list[Route]:
    """Small pages in place of the real ones: they say who looks, and carry tickets as those do."""

    async def front(request: Request) -> Response:
        viewer = request.state.viewer
        return render(request, "error.html", title=f"hello {viewer.name}", text=viewer.read_only or "", status=200)

    async def one(request: Request) -> Response:
        found = visible(request, incidents.get(request.path_params["incident"]))
        ticket = await page_ticket(request, found, covered=3, items=HELD, waiting=HELD)
        told = getattr(request.state, "told", None)
        said = f"{told.kind}: {told.text}" if told else ""
        return HTMLResponse(
            f"<p>{shown_digest(found)}</p><i>{request.state.viewer.csrf}</i><b>{ticket}</b><u>{said}</u>"
        )

    async def decision(request: Request) -> Response:
        position = parse_place(request.path_params["place"])
        assert position is not None
        await opened(request, "7f29-k1mq", position)
        return HTMLResponse(str(position.offset))

    return [
        Route("/", front, methods=["GET"]),
        Route("/incidents/{incident}", one, methods=["GET"]),
        Route("/decisions/{place:path}", decision, methods=["GET"]),
    ]


def token_of(page: httpx.Response) -> str:
    """The token in a page's form."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def marked(page: httpx.Response, tag: str) -> str:
    """What a small page says between <tag> and </tag>."""
    found = re.search(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
    assert found is not None, page.text
    return found[1]


async def sign_in(browser: httpx.AsyncClient, person: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    """What a person does: open the form, fill it in, send it."""
    form = await browser.get("/sign-in")
    fields = {"csrf": token_of(form), "person": person, "password": password, "next": "/", **more}
    return await browser.post("/sign-in", data=fields)


@asynccontextmanager
async def signed_in(served: Served, person: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in which somebody has signed in."""
    async with served.browser() as browser:
        response = await sign_in(browser, person)
        assert response.status_code == 303, response.text
        yield browser


async def answer(
    browser: httpx.AsyncClient, name: str = "7f29-k1mq", page: httpx.Response | None = None, **fields: Any
) -> httpx.Response:
    """Open an incident's page and send its form."""
    page = page or await browser.get(f"/incidents/{name}")
    form = {
        "csrf": marked(page, "i"),
        "ticket": marked(page, "b"),
        "action": "approve",
        "reason": "checked with the branch",
    }
    return await browser.post(f"/incidents/{name}/answer", data={**form, **fields})


Change = Callable[[Configuration], Configuration]
