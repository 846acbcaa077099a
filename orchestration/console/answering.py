"""Answering: a submitted form becomes a signed review of exactly what the server showed, once.

What a person claims is only the answer itself. What was shown, since when, which decisions were opened and who says it come
from the server: the page's ticket and the session. Whether the answer counts, the escalation lane decides, so that what is
refused is evidence too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agents.errors import GovernanceError, Retryable
from agents.events import Position, Severity
from agents.people_events import (
    ANSWERS,
    IncidentData,
    Matchers,
    OverrideData,
    ReviewData,
    SilenceData,
    shown_digest,
)
from orchestration.console.answer_forms import Incomplete, covers, edit_of, hours_of, items_of, kind_of
from orchestration.console.forms import one
from orchestration.console.links import expiry
from orchestration.console.parts import Parts, parts_of
from orchestration.console.rendering import viewer_at
from orchestration.console.sending import Told
from orchestration.console.sessions import LONGEST_MS, Session
from orchestration.console.tickets import About, Ticket
from orchestration.console.viewer import Viewer
from orchestration.reading.held import held_items

WAIT_S = 2.0
"""So long the answer's page waits for what became of it."""
A_MINUTE = 30
"""Answers of one session in a minute."""
LOST_MS = 60_000
LOST = Told("failed", "It is not known whether this answer was sent. If the incident still waits, answer it again.")
"""What is told of an answer that was claimed so long ago, and of whose sending nothing is known."""
SWEEP_S = 600.0
REASONED = (*ANSWERS, "resolve")
"""What is done to an incident only with a reason."""
FEW = 50
"""So many waiting decisions are remembered one by one, so that opening each of them can be told from opening others."""


async def page_ticket(
    request: Request,
    incident: IncidentData | None,
    *,
    covered: int = 0,
    items: Iterable[Position] | None = None,
    decision: Position | None = None,
    waiting: Iterable[Position] | None = None,
) -> str:
    """The ticket that the page's forms carry; empty where this viewer cannot answer.

    `covered` is how many held decisions an answer to the whole incident would cover now; `items` are the single ones that
    the page offers to answer; `decision` is the released one that it asks a blind label for; `waiting` are those that wait,
    one by one, where the read model cannot be asked.
    """
    parts, session, viewer = parts_of(request), _session_at(request), viewer_at(request)
    if session is None or viewer.read_only is not None or request.method != "GET":
        return ""
    about = About(decision=decision, items=None if items is None else tuple(items))
    if incident is not None:
        if waiting is None and 0 < covered <= FEW and parts.reading is not None:
            found = await run_in_threadpool(held_items, parts.reading, incident, limit=FEW)
            waiting = [one.decision for one in found.items]
        shown = {
            "incident": incident.incident,
            "shown": shown_digest(incident),
            "through": dict(incident.through),
            "covered": covered or incident.held,  # rows may be behind the incident
            "waiting": None if waiting is None else tuple(waiting),
            "teams": () if incident.proposal else tuple(filter(None, (incident.team, *incident.teams))),
            "people": (*incident.told, *incident.with_),
            "not_after_ms": expiry(request, incident.incident),
        }
        about = about.model_copy(update=shown)
    return await run_in_threadpool(parts.tickets.issue, session.digest, about)


async def opened(request: Request, incident: str, position: Position) -> None:
    """Record that a decision of an incident is shown to this person; not for what a browser fetches ahead."""
    session = _session_at(request)
    ahead = "sec-purpose" in request.headers or "purpose" in request.headers
    if session is not None and request.method == "GET" and not ahead:
        await run_in_threadpool(parts_of(request).tickets.open, session.digest, incident, position)


async def seen(request: Request, incident: str) -> tuple[Position, ...]:
    """Which decisions of an incident were shown to this person since the sign-in."""
    session = _session_at(request)
    if session is None:
        return ()
    return await run_in_threadpool(parts_of(request).tickets.opened, session.digest, incident)


async def what_became_of(parts: Parts, session: Session, sent: str) -> Told | None:
    """What is told of an answer of this session; asks again where it was pending."""
    ticket = await run_in_threadpool(parts.tickets.kept, session.digest, f"sha256:{sent}")
    if ticket is None or ticket.told is None:
        return None
    told = Told.restored(ticket.told)
    if told.kind != "pending" or parts.sender is None:
        return told
    if not told.receipt:  # the console ended between the two, or is sending just now
        return LOST if parts.clock() - (ticket.used_ms or 0) > LOST_MS else told
    with suppress(GovernanceError):
        told = await parts.sender.outcome(told.receipt, 0.0)
        await run_in_threadpool(parts.tickets.tell, ticket, told.plain())
    return told


async def answer(request: Request) -> Response:
    """Approve, edit, reject, respond, acknowledge or resolve."""
    incident, form = request.path_params["incident"], request.state.form
    ticket = await _ticket(request, form, incident)
    action = one(form, "action", 20)
    if action not in (*ANSWERS, "acknowledge", "resolve"):
        raise HTTPException(400, "the form says no action that an incident knows")
    try:
        data = await _answered(request, ticket, action, form)
    except Incomplete as error:
        return await _incomplete(request, ticket, str(error), f"/incidents/{incident}")
    return await _send(request, ticket, data, f"/incidents/{incident}")


async def silence(request: Request) -> Response:
    """Mute the messages of one incident for some hours."""
    incident, form = request.path_params["incident"], request.state.form
    ticket = await _ticket(request, form, incident)
    try:
        data = _silence(request, Matchers(incident=incident), form)
    except Incomplete as error:
        return await _incomplete(request, ticket, str(error), f"/incidents/{incident}")
    return await _send(request, ticket, data.model_copy(update={"incident": incident}), f"/incidents/{incident}")


async def silence_matching(request: Request) -> Response:
    """Mute the messages of whatever matches."""
    form = request.state.form
    ticket = await _ticket(request, form, None)
    names = ("cause", "model", "version", "segment", "team")
    given = {name: text for name in names if (text := one(form, name, 200))}
    severity = one(form, "severity", 20)
    try:
        if severity and severity not in tuple(Severity):
            raise Incomplete("There is no such severity.")
        if not given and not severity:
            raise Incomplete("Say at least one thing that must match: a silence for everything is none.")
        matchers = Matchers(**given, severity=Severity(severity) if severity else None)
        data = _silence(request, matchers, form)
    except Incomplete as error:
        return await _incomplete(request, ticket, str(error), "/silences")
    return await _send(request, ticket, data, "/silences")


async def unsilence(request: Request) -> Response:
    """End a silence."""
    form = request.state.form
    ticket = await _ticket(request, form, None)
    reason = one(form, "reason") or "ended on the console"
    data = _said(request, "unsilence", reason).model_copy(update={"silence_id": request.path_params["silence"][:256]})
    return await _send(request, ticket, data, "/silences")


async def label(request: Request) -> Response:
    """A blind judgement of a released decision."""
    form = request.state.form
    ticket = await _ticket(request, form, None)
    agrees = one(form, "agrees", 3)
    if ticket.about.decision is None or agrees not in ("yes", "no"):
        raise HTTPException(400, "the form judges no decision")
    reason = one(form, "reason")
    if not reason:
        return await _incomplete(request, ticket, "Say why: a sentence is enough.", "/blind")
    said = {"decision": ticket.about.decision, "agrees": agrees == "yes", "kind": "individual"}
    data = _said(request, "label", reason).model_copy(update={**said, "shown_ms": _shown_ms(request, ticket)})
    return await _send(request, ticket, data, "/blind")


async def override(request: Request) -> Response:
    """Somebody takes over a team's duty for some hours."""
    form, team = request.state.form, request.path_params["team"]
    ticket = await _ticket(request, form, None)
    viewer = viewer_at(request)
    configuration = parts_of(request).configuration()
    if configuration is None or team not in configuration.escalation.teams or not viewer.sees(team):
        raise HTTPException(404)
    person, now = one(form, "person", 64) or str(viewer.person), parts_of(request).clock()
    try:
        if person not in configuration.escalation.people:
            raise Incomplete(f"The configuration declares nobody called {person}.")
        reason = one(form, "reason") or "taken over on the console"
        span = OverrideData(team=team, person=person, start_ms=now, end_ms=now + hours_of(form))
    except Incomplete as error:
        return await _incomplete(request, ticket, str(error), "/people")
    data = _said(request, "override", reason).model_copy(update={"override": span})
    return await _send(request, ticket, data, "/people")


async def _ticket(request: Request, form: FormData, incident: str | None) -> Ticket:
    """The form's ticket. Raises HTTPException where this person can answer nothing, or the page is not of this session."""
    parts, session, viewer = parts_of(request), _session_at(request), viewer_at(request)
    if session is None or not viewer.signed_in:
        raise HTTPException(401, viewer.read_only or "you are not signed in")
    if viewer.read_only is not None:
        raise HTTPException(403, viewer.read_only)
    found = await run_in_threadpool(parts.tickets.find, session.digest, one(form, "ticket", 100))
    if found is None or found.about.incident != incident:
        raise HTTPException(409, "This form is not of a page that this sign-in was shown. Open the page again.")
    team, *others = found.about.teams or (None,)
    if not viewer.sees(team, filter(None, others)) and viewer.person not in found.about.people:
        raise HTTPException(404)
    if await run_in_threadpool(parts.tickets.used_since, session.digest, parts.clock() - 60_000) >= A_MINUTE:
        raise HTTPException(429, f"more than {A_MINUTE} answers in a minute: wait a little", {"retry-after": "60"})
    return found


async def _answered(request: Request, ticket: Ticket, action: str, form: FormData) -> ReviewData:
    about, reason = ticket.about, one(form, "reason")
    if action in REASONED and not reason:
        raise Incomplete("Say why: a sentence is enough.")
    said = _said(request, action, reason)
    items = items_of(about, form) if action in ANSWERS else None
    mine = await seen(request, str(about.incident))
    ends = ticket.rendered_ms + LONGEST_MS
    within = [position for position in mine if covers(about, items, position)]
    fields: dict[str, Any] = {
        "incident": about.incident,
        "shown": about.shown,
        "through": about.through if items is None and action in ANSWERS else {},
        "items": items,
        "shown_ms": _shown_ms(request, ticket),
        "not_after_ms": ends if about.not_after_ms is None else min(ends, about.not_after_ms),
    }
    if action in ANSWERS:
        meant = items if items is not None else about.waiting
        fields |= {
            "opened": tuple(within),
            "kind": kind_of(about.covered if items is None else len(items), meant, within),
        }
    if action == "edit":
        fields["edit"] = edit_of(form)
    if action == "respond":
        fields["response"] = one(form, "response") or None
        if fields["response"] is None:
            raise Incomplete("Write the question that goes back.")
    return said.model_copy(update=fields)


def _silence(request: Request, matchers: Matchers, form: FormData) -> ReviewData:
    reason, now = one(form, "reason"), parts_of(request).clock()
    if not reason:
        raise Incomplete("Say why: a sentence is enough.")
    span = SilenceData(matchers=matchers, starts_ms=now, ends_ms=now + hours_of(form), comment=reason)
    return _said(request, "silence", reason).model_copy(update={"silence": span})


def _said(request: Request, action: str, reason: str) -> ReviewData:
    """Who says it, by which login: from the session, never from the form."""
    viewer: Viewer = viewer_at(request)
    return ReviewData.model_validate(
        {"action": action, "person": viewer.person, "login": viewer.login, "reason": reason}
    )


def _shown_ms(request: Request, ticket: Ticket) -> float:
    return float(max(0, parts_of(request).clock() - ticket.rendered_ms))


async def _incomplete(request: Request, ticket: Ticket, problem: str, back: str) -> Response:
    if ticket.used_ms is None:
        told = Told("draft", problem, fields=_typed(request))
        await run_in_threadpool(parts_of(request).tickets.tell, ticket, told.plain())
    return _onward(back, ticket)


def _typed(request: Request) -> dict[str, str]:
    """What stands in the form's fields, so that nobody has to write it again."""
    names = ("reason", "response", "label", "score", "text", "hours")
    return {name: text for name in names if (text := one(request.state.form, name))}


async def _send(request: Request, ticket: Ticket, data: ReviewData, back: str) -> Response:
    """Send it, once a ticket; the same form again has the same review id, so even a doubt about the first one is none."""
    parts, data = parts_of(request), ReviewData.model_validate(data.model_dump(by_alias=True))
    assert parts.sender is not None, "read-only without a sender"
    review = f"console/{ticket.digest.removeprefix('sha256:')[:32]}"
    told = Told("pending", "Your answer is being sent.", data.action)
    if not await run_in_threadpool(parts.tickets.claim, ticket, told.plain()):
        return _onward(back, ticket)  # sent before: that page tells what the first one did
    try:
        receipt = await parts.sender.send(review, data)
    except GovernanceError as error:
        why = f"Your answer could not be sent ({error}). Send the form again."
        told = Told("failed", why, data.action, fields=_typed(request))
        await run_in_threadpool(parts.tickets.free, ticket)
    else:
        told = Told("pending", "Your answer is recorded, and nobody has taken it up yet.", data.action, "", receipt)
        with suppress(GovernanceError):
            told = await parts.sender.outcome(receipt, WAIT_S)
    await run_in_threadpool(parts.tickets.tell, ticket, told.plain())
    return _onward(back, ticket)


def _onward(back: str, ticket: Ticket) -> Response:
    return RedirectResponse(f"{back}?sent={ticket.digest.removeprefix('sha256:')}", 303)


def _session_at(request: Request) -> Session | None:
    found: Session | None = getattr(request.state, "session", None)
    return found


@asynccontextmanager
async def sweeping(parts: Parts) -> AsyncIterator[None]:
    """While it is open, what is long over is deleted from the database every ten minutes."""

    async def sweep() -> None:
        while True:
            now = parts.clock()
            with suppress(Retryable):  # the next time, then
                await run_in_threadpool(parts.database.sweep, now, now - LONGEST_MS)
            await asyncio.sleep(SWEEP_S)

    task = asyncio.create_task(sweep())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


ROUTES = (
    Route("/incidents/{incident}/answer", answer, methods=["POST"]),
    Route("/incidents/{incident}/silence", silence, methods=["POST"]),
    Route("/silences", silence_matching, methods=["POST"]),
    Route("/silences/{silence:path}/end", unsilence, methods=["POST"]),
    Route("/label", label, methods=["POST"]),
    Route("/teams/{team}/override", override, methods=["POST"]),
)
