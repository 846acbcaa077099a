"""Where answer links lead: to the page, for whoever is signed in.

Opening one, following it with a scanner or running the page's scripts uses nothing up: only the submitted form of a person
who has signed in answers, with that person's own rights. The link only bounds how long an answer given through it counts.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from orchestration.answer_links import BadLink, read
from orchestration.console.parts import parts_of


def expiry(request: Request, incident: str) -> int | None:
    """Until when an answer counts on a page that a link led to (ms since 1970 UTC, maybe past); None where no link did.

    What is no link of ours bounds nothing, as it gives nothing: whoever alters it could leave it out.
    """
    token, secret = request.query_params.get("link", ""), parts_of(request).links
    try:
        link = read(secret, token, 0) if secret is not None and token else None
    except BadLink:
        return None
    return link.expires_ms if link is not None and link.incident == incident else None


async def follow(request: Request) -> Response:
    """To the incident's page; changes nothing, however often it is opened."""
    parts, token = parts_of(request), request.path_params["token"]
    if parts.links is None:
        raise HTTPException(410, "This console knows no answer links; what waits is in the queue.")
    try:
        link = read(parts.links, token, parts.clock())
    except BadLink as error:
        raise HTTPException(410, str(error)) from error
    return RedirectResponse(f"/incidents/{link.incident}?link={token}", 303)


ROUTES = (Route("/l/{token}", follow, methods=["GET"]),)
