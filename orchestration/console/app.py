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

from collections.abc import Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from agents.people_events import IncidentData
from orchestration.console import pages
from orchestration.console.guard import Guard
from orchestration.console.hosts import Hosts
from orchestration.console.parts import Parts, parts_of
from orchestration.console.rendering import Statics, environment, render, viewer_at
from orchestration.settings import Settings

__all__ = ["Parts", "make_app", "parts_of", "render", "visible"]


def make_app(settings: Settings, parts: Parts, routes: Sequence[BaseRoute] | None = None) -> Starlette:
    """The application; `routes` stands in for the pages (tests)."""
    statics = Statics()
    hosts = Hosts(settings, parts.configuration)
    app = Starlette(
        routes=[statics.route(), *(pages.ROUTES if routes is None else routes)],
        middleware=[Middleware(Guard, hosts=hosts.names, secure=hosts.secure)],
        exception_handlers={HTTPException: _told_off},  # type: ignore[dict-item]
    )
    app.state.parts = parts
    app.state.environment = environment(statics, pages.FILTERS, pages.FUNCTIONS)
    return app


def visible(request: Request, incident: IncidentData | None) -> IncidentData:
    """The incident, where this viewer may see it. Raises HTTPException(404) where not, or where there is none."""
    if incident is None or not viewer_at(request).sees_incident(incident):
        raise HTTPException(404)
    return incident


async def _told_off(request: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    text = error.detail if error.detail != phrase else TEXTS.get(error.status_code, "")
    found = render(request, "error.html", status=error.status_code, title=phrase, text=text)
    found.status_code = error.status_code
    for name, value in (error.headers or {}).items():
        found.headers[name] = value
    return found


TEXTS = {
    403: "You may not do this.",
    404: "There is nothing here, or nothing that your teams are shown.",
    405: "This address takes another kind of request.",
}
