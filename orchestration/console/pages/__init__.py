"""The pages: `ROUTES` is what make_app serves, `FILTERS` and `FUNCTIONS` are what templates may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute

ROUTES: Sequence[BaseRoute] = ()
FILTERS: Mapping[str, Callable[..., Any]] = {}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {}
