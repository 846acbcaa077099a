"""The pages: `ROUTES` is what make_app serves, `FILTERS` and `FUNCTIONS` are what templates may use."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Route

from orchestration.console import live
from orchestration.console.pages import (
    blind,
    decision,
    evidence,
    figures,
    flowing,
    incident,
    models,
    people,
    policies,
    queue,
    silences,
    theme,
    weeks,
)
from orchestration.console.words import FILTERS, FUNCTIONS

__all__ = ["FILTERS", "FUNCTIONS", "ROUTES"]

ROUTES: Sequence[BaseRoute] = (
    Route("/", queue.page, methods=["GET"]),
    Route("/incidents/{incident}", incident.page, methods=["GET"]),
    Route("/decisions/{topic}/{partition}/{offset}", decision.page, methods=["GET"]),
    Route("/live", flowing.page, methods=["GET"]),
    Route("/models", models.page, methods=["GET"]),
    Route("/models/{model}/weeks/{week}", weeks.page, methods=["GET"]),
    Route("/policies", policies.page, methods=["GET"]),
    Route("/people", people.page, methods=["GET"]),
    Route("/silences", silences.page, methods=["GET"]),
    Route("/evidence", evidence.page, methods=["GET"]),
    Route("/stats", figures.page, methods=["GET"]),
    Route("/blind", blind.page, methods=["GET"]),
    Route("/theme", theme.choose, methods=["POST"]),
    *live.ROUTES,
)
