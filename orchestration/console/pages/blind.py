"""One of the decisions that went out by themselves, drawn at random: would this person have let it go out too?

Nothing is shown of what rules or monitors said, nor whom the decision is about, so that the judgement is blind. Only decisions
of models that the viewer's teams answer for are offered. It delays and changes nothing; it tells how often something slips
through.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from agents.errors import Retryable
from agents.escalation.routing import alternatives
from agents.events import Position, Severity
from agents.people_events import ReviewData
from orchestration.console.answering import page_ticket
from orchestration.console.pages.asking import database
from orchestration.console.pages.decision import about_of, inputs_of, output_of, texts_of
from orchestration.console.pages.views import BlindView
from orchestration.console.parts import Parts, parts_of
from orchestration.console.records import parsed
from orchestration.console.redaction import Redacted, protected_names, redact
from orchestration.console.rendering import render, viewer_at
from orchestration.console.viewer import Viewer
from orchestration.reading.database import Database
from orchestration.reading.tables import blind, refusals, reviews

TRIES = 5
"""So many decisions whose content has expired are passed over at a time."""
NOBODY = "Judging decisions that went out needs the role reviewer."
NONE = (
    "There is none to judge: you have seen all of the sample of the models that your teams answer for, or nothing of it was "
    "drawn yet."
)


async def page(request: Request) -> Response:
    """The next decision that this person has not judged yet."""
    base, viewer, parts = database(request), viewer_at(request), parts_of(request)
    if not viewer.may_answer or not viewer.sees_values or viewer.person is None:
        return render(request, "blind.html", view=BlindView(NOBODY))
    models = models_of(parts.configuration(), viewer)
    for position in await run_in_threadpool(offered, base, viewer.person, _share(parts), models):
        shown = await _content(parts, viewer, position)
        if shown is not None:
            ticket = await page_ticket(request, None, decision=position)
            return render(request, "blind.html", view=_view(parts, position, shown, ticket))
    return render(request, "blind.html", view=BlindView(NONE))


def models_of(configuration: Configuration | None, viewer: Viewer) -> frozenset[str] | None:
    """Models whose incidents may come to one of this viewer's teams, by rules, by routes or by default; None: all."""
    if viewer.everywhere:
        return None
    if configuration is None:
        return frozenset()
    models = configuration.models
    return frozenset(one for one in models if any(map(viewer.sees, _answering_for(configuration, one))))


def _answering_for(configuration: Configuration, model: str) -> set[str | None]:
    """Teams that get a model's incidents, whatever the hour; None stands for everybody, where no team is declared."""
    declared = configuration.escalation
    found = {route.to for route in declared.routes if model == route.model or model in _several(route.model)}
    routed = [one for level in Severity for one in alternatives(declared, "", model, None, level, {})]
    for policy in configuration.policies:
        wanted = policy.match.model
        if policy.mode != "disabled" and (wanted is None or wanted == model or model in _several(wanted)):
            for rule in policy.rules:
                name = f"{policy.policy}/{rule.id}"
                routed += alternatives(declared, name, model, rule.team, rule.severity, rule.labels)
    return {*found, *(one.team for one in routed)}


def _several(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return names if isinstance(names, tuple) else ()


def offered(base: Database, person: str, share: float, models: Collection[str] | None = None) -> list[Position]:
    """The newest of the sample that this person has not judged, a few of them; of these models only, unless None.

    A judgement that was refused judged nothing: its decision is offered again.
    """
    where = blind.c
    refused = select(refusals.c.review_offset).where(refusals.c.review_partition == reviews.c.partition)
    with base.reading() as connection:
        mine = connection.execute(
            select(reviews.c.data).where(
                reviews.c.action == "label", reviews.c.person == person, reviews.c.offset.not_in(refused)
            )
        ).scalars()
        judged = {_place(text) for text in mine}
        query = select(where.topic, where.partition, where.offset).where(where.draw < share)
        if models is not None:
            query = query.where(where.model.in_(models))
        rows = connection.execute(query.order_by(where.start_ms.desc(), where.draw).limit(len(judged) + 200))
        left = [row for row in rows if tuple(row) not in judged]
    return [Position(topic=topic, partition=partition, offset=offset) for topic, partition, offset in left[:TRIES]]


def _place(text: str) -> tuple[str, int, int]:
    found = ReviewData.model_validate_json(text).decision
    return (found.topic, found.partition, found.offset) if found is not None else ("", 0, 0)


def _share(parts: Parts) -> float:
    configuration = parts.configuration()
    return configuration.escalation.blind_sample if configuration is not None else 0.0


async def _content(parts: Parts, viewer: Viewer, position: Position) -> Redacted | None:
    if parts.records is None:
        return None
    try:
        fetched = await parts.records.decision(position, None)
    except Retryable:
        return None
    configuration = parts.configuration()
    decision = parsed(fetched.record, configuration) if fetched.record is not None else None
    if decision is None:
        return None
    shown = redact(decision, viewer, protected_names(configuration, decision.data.model.name))
    return replace(shown, decision=shown.decision.model_copy(update={"subject": None}))


def _view(parts: Parts, position: Position, shown: Redacted, ticket: str) -> BlindView:
    data = shown.decision.data
    return BlindView(
        "This decision went out by itself. Would you have let it go out too? Your answer changes nothing for it; it shows "
        "how often something slips through.",
        title=f"A decision of {data.model.name} {data.model.version}",
        about=about_of(f"{data.model.name} {data.model.version}", shown.decision),
        inputs=inputs_of(shown),
        output=output_of(shown, parts.configuration()),
        texts=texts_of(shown),
        hidden=f"Not shown: {'; '.join(shown.hidden)}." if shown.hidden else "",
        form=(("ticket", ticket),) if ticket else (),
    )
