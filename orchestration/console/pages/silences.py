"""Silences: what is muted and until when, with the forms that add one and end one. Evidence is never muted."""

from __future__ import annotations

from sqlalchemy import or_, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from agents.people_events import Matchers, ReviewData
from orchestration.console.answering import page_ticket
from orchestration.console.pages.asking import database, name_of, teams_of
from orchestration.console.pages.overviews import SilenceRow, SilencesView
from orchestration.console.pages.views import Act
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render, viewer_at
from orchestration.console.viewer import Viewer
from orchestration.console.words import cause_words
from orchestration.reading.database import Database
from orchestration.reading.tables import incident_teams, incidents, refusals, reviews

CAUSES = 200
"""So many causes are offered to choose from."""
PAST = 20
"""So many silences that ended are shown."""


async def page(request: Request) -> Response:
    """All silences that concern this viewer's teams, or no team."""
    base, viewer, parts = database(request), viewer_at(request), parts_of(request)
    ticket = await page_ticket(request, None) if _may(viewer) else ""
    view = await run_in_threadpool(made, base, viewer, parts.configuration(), parts.clock(), ticket)
    return render(request, "silences.html", view=view)


def made(
    base: Database, viewer: Viewer, configuration: Configuration | None, now_ms: int, ticket: str = ""
) -> SilencesView:
    """The page's view; without a ticket it can only be read."""
    rows = _silences(base, viewer, configuration, now_ms, ticket)
    teams = sorted(configuration.escalation.teams) if configuration is not None else []
    cannot = "" if ticket else "Adding a silence needs the role reviewer, author or admin, and a sign-in."
    return SilencesView(
        rows=tuple(one for one in rows if one.active),
        past=tuple(one for one in rows if not one.active)[:PAST],
        action="/silences" if ticket else "",
        hidden=(("ticket", ticket),) if ticket else (),
        causes=_causes(base, viewer),
        models=tuple(sorted(configuration.models)) if configuration is not None else (),
        teams=tuple(team for team in teams if viewer.sees(team)),
        cannot=cannot,
    )


def _causes(base: Database, viewer: Viewer) -> tuple[str, ...]:
    """Causes of the incidents that this viewer's teams are shown, by name."""
    query = select(incidents.c.cause).distinct().order_by(incidents.c.cause).limit(CAUSES)
    teams = teams_of(viewer)
    if teams is not None:
        added = select(incident_teams.c.incident).where(incident_teams.c.team.in_(teams))
        query = query.where(or_(incidents.c.team.is_(None), incidents.c.team.in_(teams), incidents.c.id.in_(added)))
    with base.reading() as connection:
        return tuple(connection.scalars(query))


def _may(viewer: Viewer) -> bool:
    return viewer.signed_in and viewer.read_only is None and viewer.has("reviewer", "author", "admin")


def _silences(
    base: Database, viewer: Viewer, configuration: Configuration | None, now_ms: int, ticket: str
) -> list[SilenceRow]:
    """Newest first; from the answers that were not refused."""
    with base.reading() as connection:
        refused = select(refusals.c.review_offset).where(refusals.c.review_partition == reviews.c.partition)
        wanted = reviews.c.action.in_(("silence", "unsilence"))
        query = select(reviews.c.id, reviews.c.time_ms, reviews.c.data).where(wanted, reviews.c.offset.not_in(refused))
        said = [
            (name, at_ms, ReviewData.model_validate_json(text))
            for name, at_ms, text in connection.execute(query.order_by(reviews.c.offset))
        ]
        owners = (
            {row.id: row.team for row in connection.execute(select(incidents.c.id, incidents.c.team))} if said else {}
        )
    ended = {data.silence_id: at_ms for _, at_ms, data in said if data.action == "unsilence"}
    rows = []
    for name, _, data in said:
        if data.silence is None:
            continue
        matchers = data.silence.matchers
        team = matchers.team if matchers.team is not None else owners.get(matchers.incident or "")
        if not viewer.sees(team):
            continue
        ends_ms = min(data.silence.ends_ms, ended.get(name, data.silence.ends_ms))
        active = ends_ms > now_ms
        rows.append(
            SilenceRow(
                id=name,
                what=matched(matchers),
                by=name_of(configuration, data.person, viewer),
                comment=data.silence.comment,
                starts_ms=data.silence.starts_ms,
                ends_ms=ends_ms,
                active=active,
                end=Act(f"/silences/{name}/end", "End it", (("ticket", ticket),)) if active and ticket else None,
            )
        )
    return rows[::-1]


def matched(matchers: Matchers) -> str:
    """What a silence mutes, in words.

    >>> matched(Matchers(cause="access/after-hours", model="credit-limit"))
    'rule access/after-hours, model credit-limit'
    """
    parts = [cause_words(matchers.cause)] if matchers.cause is not None else []
    named = ("model", "version", "segment", "team", "severity", "incident")
    parts += [f"{name} {value}" for name in named if (value := getattr(matchers, name)) is not None]
    return ", ".join(parts) or "everything"
