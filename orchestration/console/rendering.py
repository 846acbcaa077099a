"""Pages from templates: everything is escaped, a name that was not given is an error, and nothing is cached by browsers.

Static files are read once at the start and are served under names that carry a hash of their content, so browsers may keep
them for ever and a path can name nothing that is not in the folder.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from orchestration.console.parts import parts_of
from orchestration.console.viewer import VISITOR, Viewer

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Static:
    """One file as it is served."""

    content: bytes
    media_type: str


class Statics:
    """The files of a folder by hashed name: `style.css` → `/static/style.1f2e3d4c5b6a.css`."""

    def __init__(self, folder: Path = HERE / "static") -> None:
        self._served: dict[str, Static] = {}
        self._names: dict[str, str] = {}
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                content = path.read_bytes()
                served = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
                kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                self._served[served] = Static(content, kind)
                self._names[path.name] = served

    def url(self, name: str) -> str:
        """Where a file is served; KeyError for one that is not there."""
        return f"/static/{self._names[name]}"

    def route(self) -> Route:
        """Serves them; anything else below /static is 404."""
        return Route("/static/{name}", self._serve, methods=["GET"])

    async def _serve(self, request: Request) -> Response:
        found = self._served.get(request.path_params["name"])
        if found is None:
            return Response("not found", 404, media_type="text/plain")
        kept = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(found.content, media_type=found.media_type, headers=kept)


def environment(
    statics: Statics, filters: Mapping[str, Callable[..., Any]], functions: Mapping[str, Callable[..., Any]]
) -> Environment:
    """Jinja2 as every page uses it: escaping always on, whatever the template is called."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters.update(filters)
    found.globals.update({"static": statics.url, **functions})
    return found


def viewer_at(request: Request) -> Viewer:
    """Who looks; a visitor where no session was recognised."""
    found: Viewer = getattr(request.state, "viewer", VISITOR)
    return found


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. Beside `values` each template has `viewer`, `csrf`, `told` (what became of the answer that the address names,
    see answering.py; None: nothing), `path`, `prefix`, `now_ms`, `status`, `theme` (the colours that were chosen) and the
    function `static(name)`.
    """
    parts, viewer = parts_of(request), viewer_at(request)
    made: Environment = request.app.state.environment
    text = made.get_template(template).render(
        {
            "status": status,
            "viewer": viewer,
            "csrf": viewer.csrf,
            "told": getattr(request.state, "told", None),
            "path": request.url.path,
            "prefix": parts.settings.prefix,
            "now_ms": parts.clock(),
            "theme": request.cookies.get("theme", ""),
            **values,
        }
    )
    return HTMLResponse(text, status)
