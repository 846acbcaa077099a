"""One incident on one page: what it is, what is known, what it holds, what happened, and the answer form."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import Position
from agents.people_events import IncidentData
from orchestration.console.answering import page_ticket, seen
from orchestration.console.pages import change
from orchestration.console.pages.answers import acts_of, cannot, form_of
from orchestration.console.pages.asking import (
    database,
    decision_url,
    incidents_named,
    name_of,
    names_of,
    place_words,
    with_query,
)
from orchestration.console.pages.incident_charts import charts_of
from orchestration.console.pages.queue import counted, row
from orchestration.console.pages.told import told_of
from orchestration.console.pages.views import Event, Held, HeldRow, IncidentView, Pager, Past
from orchestration.console.parts import parts_of
from orchestration.console.redaction import reason_shown
from orchestration.console.rendering import render, viewer_at
from orchestration.console.tickets import parse_place
from orchestration.console.viewer import Viewer
from orchestration.console.words import (
    RESOLUTIONS,
    cause_words,
    count,
    duration,
    ended_words,
    several,
    stamp,
)
from orchestration.reading.database import Database
from orchestration.reading.held import HeldItem, HeldPage, held_items
from orchestration.reading.incident import Changed, Incident, Ruled, incident

SIZE = 10
REVIEWED = {
    "individual": "reviewed one by one",
    "sample": "judged by a sample",
    "bulk": "answered at once, not reviewed one by one",
}


async def page(request: Request) -> Response:
    """The page of one incident; 404 where there is none, or none that this viewer's teams are shown."""
    base, viewer, parts = database(request), viewer_at(request), parts_of(request)
    found = await run_in_threadpool(_found, base, request.path_params["incident"])
    if found is None or not viewer.sees_incident(found.data):
        raise HTTPException(404)
    again = "x-live" in request.headers  # the page refreshes what stands around its form, which keeps its own ticket
    ticket = "" if again else await page_ticket(request, found.data, covered=found.held.waiting)
    opened = await seen(request, found.data.incident)
    after = parse_place(request.query_params.get("after", ""))
    view = await run_in_threadpool(made, base, found, viewer, parts.configuration(), ticket, opened, after)
    if found.data.proposal is not None:
        known = (base, parts.settings, found.data, viewer, parts.configuration(), parts.clock())
        view = await run_in_threadpool(change.shown, view, *known)
    return render(request, "incident.html", view=view)


def made(
    base: Database,
    found: Incident,
    viewer: Viewer,
    configuration: Configuration | None,
    ticket: str = "",
    opened: Collection[Position] = (),
    after: Position | None = None,
) -> IncidentView:
    """The page's view."""
    data, waiting = found.data, found.held.waiting
    held = None
    if data.effect == "hold" and found.held.total:
        page = held_items(base, data, waits=None, after=after, limit=SIZE)
        reason = _common(page, data.cause, viewer, configuration)
        rows = tuple(_held_row(one, data.incident, opened, viewer, configuration, reason) for one in page.items)
        held = replace(_held(found, page, rows, opened, after), reason=reason)
    return IncidentView(
        row=row(found.line, viewer, configuration),
        reason=reason_shown(data.reason, data.cause, viewer, configuration),
        facts=_facts(found),
        told=told_of(found.triage, found.deterministic, data, waiting),
        charts=charts_of(base, data, configuration),
        held=held,
        similar=_similar(base, found, viewer),
        timeline=_timeline(found, configuration, viewer),
        form=form_of(data, waiting, viewer, configuration, ticket, opened),
        cannot=cannot(data, waiting, viewer, configuration),
        acts=acts_of(data, waiting, viewer, configuration, ticket),
        previous=data.previous,
        statutory_ms=data.statutory_ms,
        ruling=" ".join(_ruling(one, configuration, viewer, data) for one in found.rulings),
        acknowledged=_acknowledged(found, configuration, viewer),
        speaks_for=tuple(
            (one.title, f"/incidents/{one.id}") for one in found.inhibits if viewer.sees(one.team, one.teams)
        ),
        cause=data.cause,
        later=next((one.id for one in found.later if viewer.sees(one.team, one.teams)), None),
    )


def _found(base: Database, name: str) -> Incident | None:
    try:
        found = incident(base, name)
    except Misconfigured:
        return None
    return found if found.data.incident == name else None  # a beginning of an id is good on the command line only


def _facts(found: Incident) -> tuple[tuple[str, str], ...]:
    data = found.data
    pairs = [("Cause", cause_words(data.cause))]
    if data.model:
        version = f" {data.version}" if data.version not in (None, "*") else ", all versions" if data.version else ""
        pairs.append(("Model", data.model + version))
    ours = data.cause.startswith("change/")
    if data.segment:
        pairs.append(("The change" if ours else "Part of the traffic", data.segment))
    if data.count != found.held.waiting and not ours:
        pairs.append(("Counted", counted(data.cause, data.count)))
    if data.proposal is not None:
        pairs.append(("Proposed by", data.proposal.author))
    return tuple(pairs)


def _held(
    found: Incident, page: HeldPage, rows: tuple[HeldRow, ...], opened: Collection[Position], after: Position | None
) -> Held:
    name = found.data.incident
    path = f"/incidents/{name}"
    following = with_query(path, after=place_words(page.next)) + "#held" if page.next is not None else ""
    shown = (
        f"{count(len(page.items))} of {count(found.held.total)}" if page.next is not None or after is not None else ""
    )
    return Held(
        waiting=found.held.waiting,
        ended=found.held.total - found.held.waiting,
        opened=len([one for one in opened if one.offset < found.data.through.get(f"{one.topic}/{one.partition}", 0)]),
        rows=rows,
        pager=Pager(shown, f"{path}#held" if after is not None else "", following),
    )


def _common(page: HeldPage, cause: str, viewer: Viewer, configuration: Configuration | None) -> str:
    """What the incident's own rule says of each of them, where that is the same."""
    texts = {reason.text for one in page.items for reason in one.reasons if reason.rule == cause}
    return reason_shown(texts.pop(), cause, viewer, configuration) if len(texts) == 1 else ""


def _held_row(
    one: HeldItem,
    incident: str,
    opened: Collection[Position],
    viewer: Viewer,
    configuration: Configuration | None,
    common: str = "",
) -> HeldRow:
    reasons = (reason_shown(reason.text, reason.rule, viewer, configuration) for reason in one.reasons)
    reasons = (text for text in reasons if text != common)
    return HeldRow(
        position=one.id,
        url=decision_url(one.decision, incident),
        at_ms=one.held_ms,
        reason="; ".join(filter(None, reasons)),
        opened=one.decision in opened,
        ended=RESOLUTIONS.get(one.resolution, one.resolution) if one.resolution is not None else "",
    )


def _similar(base: Database, found: Incident, viewer: Viewer) -> tuple[Past, ...]:
    """Titles of incidents that this viewer is not shown are not shown either; nor are those of which nobody knows the team."""
    known = {one.incident: one for one in incidents_named(base, [one.incident for one, _ in found.similar])}
    shown = []
    for one, _ in found.similar:
        data = known.get(one.incident)
        if not (viewer.everywhere if data is None else viewer.sees_incident(data)):
            continue
        outcome = RESOLUTIONS.get(one.resolution, "") if one.resolution is not None else ""
        url = f"/incidents/{one.incident}" if data is not None else ""
        shown.append(Past(one.incident, url, one.title, one.likeness, outcome, one.reason))
    return tuple(shown)


def _timeline(found: Incident, configuration: Configuration | None, viewer: Viewer) -> tuple[Event, ...]:
    events = [
        Event(one.time_ms, _sentence(one.said or one.change), _unsaid(one, configuration, viewer), one.late_ms)
        for one in found.timeline
        if one.said or one.change != "grew"
    ]
    for answer in found.answers:
        if answer.refused is not None:
            text = _sentence(answer.detail or answer.refused)
            events.append(Event(answer.time_ms, text, name_of(configuration, answer.person, viewer), refused=True))
    for message in found.messages:
        if message.outcome == "failed":
            text = f"A message by {message.channel} could not be delivered. {message.detail}".strip()
            events.append(Event(message.delivered_ms or message.time_ms, text))
    return tuple(sorted(events, key=lambda one: one.at_ms))


def _unsaid(one: Changed, configuration: Configuration | None, viewer: Viewer) -> str:
    """Who did it, where the sentence does not say so."""
    named = one.by is not None and any(name in one.said for name in (one.by, name_of(configuration, one.by)))
    return "" if named else name_of(configuration, one.by, viewer)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""


def _ruling(one: Ruled, configuration: Configuration | None, viewer: Viewer, data: IncidentData) -> str:
    who = names_of(configuration, one.people, viewer) or "the deadline"
    how = f"; {REVIEWED[one.kind]}" if one.kind in REVIEWED and data.proposal is None else ""
    opened = f", {several(one.opened, 'decision', 'decisions')} opened" if one.opened else ""
    asked = f" Asked: “{one.data.response}”." if one.data.response else ""
    why = f" “{one.reason}”" if one.reason else ""
    late = f" {duration(one.late_ms)} late." if one.late_ms else ""
    what = ended_words(data.cause, one.resolution)
    return f"{what[:1].upper()}{what[1:]} by {who} at {stamp(one.time_ms)}{how}{opened}.{why}{asked}{late}"


def _acknowledged(found: Incident, configuration: Configuration | None, viewer: Viewer) -> str:
    if found.data.acknowledged_by is None or found.data.status == "resolved":
        return ""
    who = name_of(configuration, found.data.acknowledged_by, viewer)
    return "You are on it." if who == "you" else f"{who} is on it."
