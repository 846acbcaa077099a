"""The console as one ASGI application: `make_app(settings, parts)`. What a page may rely on stands here.

For whoever writes pages (orchestration/console/pages/):

- `pages/__init__.py` has `ROUTES` (Starlette routes; a handler is `async def page(request: Request) -> Response`),
  `FILTERS` and `FUNCTIONS` (for templates). Templates lie in `templates/`, static files in `static/`; a template says
  `<link rel="stylesheet" href="{{ static('console.css') }}">`. No inline script, no inline style, no `style=`
  attribute: the CSP forbids them (presentation attributes of SVG such as `fill=` are fine).
- `request.state.viewer` (viewer.py, `Viewer`) is who looks: `person`, `name`, `roles`, `teams`, `signed_in`,
  `has("reviewer")`, `may_answer`, `sees_values`, `sees_incident(incident)`, `csrf`, and `read_only`: why nothing can
  be answered now.
- `parts_of(request)` (parts.py) has `settings`, `configuration()`, `reading` (the read model's queries) and
  `clock()`.
- `render(request, "incident.html", incident=…)` (rendering.py) makes the page; every template also has `viewer`,
  `csrf`, `told` (what became of an answer just given, where the address says `?sent=`: `told.kind` effect, refused,
  pending, failed or draft, `told.text`, `told.fields`; None: nothing), `path`, `prefix` and `now_ms`. `error.html`
  gets `status`, `title` and `text`.
- `visible(request, incident)` raises 404 where the viewer's teams are not shown the incident, or where it is None.
- `redact(decision, viewer)` (redaction.py) takes from a decision what this viewer may not see: use it for every
  decision.
- Every form is `method="post"` and has `<input type="hidden" name="csrf" value="{{ csrf }}">`.
- `ticket = await page_ticket(request, incident, covered=…, items=…)` (answering.py) when a page with an answer form
  is made; the form carries it in the hidden field `ticket` and is sent to `/incidents/<id>/answer` with `action`
  (approve, edit, reject, respond, acknowledge, resolve), `reason`, for edit `label`, `score`, `text`, for respond
  `response`, and where single decisions are meant `item` (repeated, `<topic>/<partition>/<offset>`). `await
  opened(request, incident_id, position)` when a decision of it is shown. `/incidents/<id>/silence` takes `ticket`,
  `hours`, `reason`; `/silences/<id>/end` `reason`; `/label` `ticket`, `agrees` (yes, no), `reason`.
- Nobody reaches a page without a session, except where no account exists yet: then `viewer.person` is None and
  `viewer.read_only` says why. `/sign-in`, `/sign-out`, `/account` and `/l/<token>` are served by access.py and
  links.py; their templates are sign_in.html and account.html.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from agents.errors import GovernanceError, Retryable
from agents.people_events import IncidentData
from orchestration.console import answering, links, oidc, pages, signing_in, slack
from orchestration.console.access import Access
from orchestration.console.answering import opened, page_ticket
from orchestration.console.guard import Guard
from orchestration.console.hosts import Hosts
from orchestration.console.parts import Parts, parts_of
from orchestration.console.redaction import redact
from orchestration.console.rendering import Statics, environment, render, viewer_at
from orchestration.settings import Settings

__all__ = ["Parts", "make_app", "opened", "page_ticket", "parts_of", "redact", "render", "visible"]

log = logging.getLogger("governance.console")


def make_app(settings: Settings, parts: Parts, routes: Sequence[BaseRoute] | None = None) -> Starlette:
    """The application; `routes` stands in for the pages (tests)."""
    statics, hosts = Statics(), Hosts(settings, parts.configuration)
    app = Console(
        hosts,
        routes=[
            statics.route(),
            Route("/health", _health, methods=["GET"]),
            *signing_in.ROUTES,
            *oidc.ROUTES,
            *links.ROUTES,
            *answering.ROUTES,
            *slack.ROUTES,
            *(pages.ROUTES if routes is None else routes),
        ],
        middleware=[Middleware(Access, hosts=hosts)],
        exception_handlers={HTTPException: _told_off, GovernanceError: _failed, Exception: _broken},
        lifespan=_lifespan,
    )
    app.state.parts = parts
    app.state.environment = environment(statics, pages.FILTERS, pages.FUNCTIONS)
    return app


class Console(Starlette):
    """Starlette with the guard around everything, the answer to our own faults included."""

    def __init__(self, hosts: Hosts, **made: object) -> None:
        self._hosts = hosts
        super().__init__(**made)  # type: ignore[arg-type]

    def build_middleware_stack(self) -> ASGIApp:
        return Guard(super().build_middleware_stack(), self._hosts.names, self._hosts.secure)


def visible(request: Request, incident: IncidentData | None) -> IncidentData:
    """The incident, where this viewer may see it. Raises HTTPException(404) where not, or where there is none."""
    if incident is None or not viewer_at(request).sees_incident(incident):
        raise HTTPException(404)
    return incident


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    async with answering.sweeping(parts):
        yield


async def _health(request: Request) -> Response:
    """Whether the console answers; for load balancers, without a sign-in and without a word more."""
    return PlainTextResponse("ok")


async def _told_off(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    text = error.detail if error.detail != phrase else TEXTS.get(error.status_code, "")
    found = render(request, "error.html", status=error.status_code, title=phrase, text=text)
    found.headers.update(error.headers or {})
    return found


async def _failed(request: Request, error: Exception) -> Response:
    status = 503 if isinstance(error, Retryable) else 500
    log.warning("%s %s: %s", request.method, request.url.path, error)
    title = "Not now" if status == 503 else "Something must be mended"
    return render(request, "error.html", status=status, title=title, text=str(error))


async def _broken(request: Request, error: Exception) -> Response:
    reference = secrets.token_hex(4)
    log.error("%s: %s %s", reference, request.method, request.url.path, exc_info=error)
    return render(
        request, "error.html", status=500, title="This page is broken", text="It is our fault.", reference=reference
    )


TEXTS = {
    403: "You may not do this.",
    404: "There is nothing here, or nothing that your teams are shown.",
    405: "This address takes another kind of request.",
}
