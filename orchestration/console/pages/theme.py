"""Light, dark, or as the system says: kept in a cookie of this browser, set by a form, so that it needs no script."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from orchestration.console.forms import one, safe_next

A_YEAR = 365 * 86_400


async def choose(request: Request) -> Response:
    """Remember the colours, and go back to the page."""
    form = request.state.form
    theme = one(form, "theme", 10)
    response = RedirectResponse(safe_next(one(form, "back", 1000)), 303)
    if theme in ("light", "dark"):
        response.set_cookie("theme", theme, A_YEAR, httponly=True, samesite="lax")
    else:
        response.delete_cookie("theme", httponly=True, samesite="lax")
    return response
