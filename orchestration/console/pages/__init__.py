"""The pages: `ROUTES` is what make_app serves, `FILTERS` and `FUNCTIONS` are what templates may use."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from orchestration.console.pages.words import FILTERS, FUNCTIONS

__all__ = ["FILTERS", "FUNCTIONS", "ROUTES"]

ROUTES: Sequence[BaseRoute] = ()
