"""Who answers now and who is next, by team; and the form with which somebody takes over a duty for some hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from agents.escalation.declared import Team
from agents.escalation.duty import on_duty, shifts
from agents.people_events import OverrideData, ReviewData
from agents.policy.calendars import OpenHours
from orchestration.console.answering import page_ticket
from orchestration.console.pages.asking import database, name_of
from orchestration.console.pages.overviews import Colleague, PeopleView, TeamRow
from orchestration.console.pages.views import Act
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render, viewer_at
from orchestration.console.viewer import Viewer
from orchestration.console.words import DAY, ROLES
from orchestration.reading.database import Database
from orchestration.reading.tables import incident_people, incidents, refusals, reviews

AHEAD = 14 * DAY
"""Who is next is looked for so far ahead."""


async def page(request: Request) -> Response:
    """The teams of this viewer; all of them for auditors and admins."""
    base, viewer, parts = database(request), viewer_at(request), parts_of(request)
    ticket = await page_ticket(request, None) if viewer.may_answer else ""
    view = await run_in_threadpool(made, base, viewer, parts.configuration(), parts.clock(), ticket)
    return render(request, "people.html", view=view)


def made(
    base: Database, viewer: Viewer, configuration: Configuration | None, now_ms: int, ticket: str = ""
) -> PeopleView:
    """The page's view."""
    if configuration is None:
        return PeopleView(())
    overrides, busy = _overrides(base), _open_items(base)
    rows = [
        _team(name, team, viewer, configuration, overrides.get(name, ()), busy, now_ms, ticket)
        for name, team in sorted(configuration.escalation.teams.items())
        if viewer.sees(name)
    ]
    return PeopleView(tuple(rows))


def _team(
    name: str,
    team: Team,
    viewer: Viewer,
    configuration: Configuration,
    overrides: Sequence[OverrideData],
    busy: Mapping[str, int],
    now_ms: int,
    ticket: str,
) -> TeamRow:
    now = on_duty(team, now_ms, overrides)
    coming = shifts(team, now_ms, now_ms + AHEAD, overrides)
    until = next((one.end_ms for one in coming if one.person == now), None) if now is not None else None
    following = next((one for one in coming if now is None or (until is not None and one.start_ms >= until)), None)
    known = configuration.escalation.people
    people = tuple(
        Colleague(
            name_of(configuration, person),
            ", ".join(ROLES[role] for role in known[person].roles) if person in known else "",
            busy.get(person, 0),
            person == now,
            person,
        )
        for person in team.members
    )
    return TeamRow(
        name,
        people,
        now=name_of(configuration, now) if now is not None else "",
        until_ms=until if until is not None and until < now_ms + AHEAD else None,
        then=name_of(configuration, following.person) if following is not None else "",
        hours=_hours(team, configuration, now_ms),
        take=Act(f"/teams/{name}/override", "Take over the duty", (("ticket", ticket),), hours=True)
        if ticket and (viewer.person in team.members or viewer.has("admin"))
        else None,
    )


def _hours(team: Team, configuration: Configuration, now_ms: int) -> str:
    calendar = configuration.calendars.get(team.calendar or "")
    if team.calendar is None or calendar is None:
        return ""
    is_open = bool(OpenHours(team.calendar, calendar).at(np.array([now_ms], np.int64)).open[0])
    return f"business hours now ({calendar.zone})" if is_open else f"outside business hours ({calendar.zone})"


def _overrides(base: Database) -> dict[str, tuple[OverrideData, ...]]:
    """Those that people set and that were not refused, by team, in the order in which they came."""
    found: dict[str, tuple[OverrideData, ...]] = {}
    with base.reading() as connection:
        refused = select(refusals.c.review_offset).where(refusals.c.review_partition == reviews.c.partition)
        query = select(reviews.c.data).where(reviews.c.action == "override", reviews.c.offset.not_in(refused))
        for text in connection.scalars(query.order_by(reviews.c.offset)):
            override = ReviewData.model_validate_json(text).override
            if override is not None:
                found[override.team] = (*found.get(override.team, ()), override)
    return found


def _open_items(base: Database) -> dict[str, int]:
    with base.reading() as connection:
        query = (
            select(incident_people.c.person, func.count())
            .join(incidents, incidents.c.id == incident_people.c.incident)
            .where(incidents.c.status != "resolved")
            .group_by(incident_people.c.person)
        )
        return {str(person): int(number) for person, number in connection.execute(query)}
