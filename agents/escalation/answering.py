"""What an accepted review changes: incidents, rulings, silences, stand-ins. Of a refused one there is a record, and no more."""

from __future__ import annotations

import json

from agents.escalation import answers, folding, messages, timing
from agents.escalation.case import Accepted, Case, Context, Ended
from agents.escalation.declared import Step
from agents.escalation.desk import Desk
from agents.escalation.grouping import incident_id
from agents.escalation.incidents import Live
from agents.escalation.proposals import change_key
from agents.escalation.quorum import rule
from agents.escalation.routing import route
from agents.escalation.samples import gather
from agents.escalation.state import Silence
from agents.escalation.telling import ROOMS, Told, tell
from agents.events import Effect, Severity
from agents.people_events import ANSWERS, IncidentData, RefusalData, Resolution, Status
from agents.records import Record

_DONE = {
    Resolution.APPROVED: "let them go out",
    Resolution.EDITED: "changed the result",
    Resolution.REJECTED: "withheld them",
    Resolution.RESPONDED: "asked back",
}


def review(desk: Desk, record: Record) -> None:
    """Take a record of `reviews`: it takes effect once or not at all."""
    context = Context(
        configuration=desk.desks.configuration,
        prefix=desk.prefix,
        find=lambda name: _case(desk, name),
        seen=desk.state.reviews,
        silences={name: one.data for name, one in desk.state.silences.items() if one.data.ends_ms > desk.now_ms},
        taken=desk.state.silences,
    )
    found = answers.check(record, context)
    mark = answers.mark(found)
    if mark is not None:
        desk.state.gave(mark)
    if isinstance(found, RefusalData):
        desk.refuse(found)
        return
    action, live = found.data.action, desk.state.find(found.data.incident)
    if action in ANSWERS and live is not None:
        _answer(desk, live, found)
    elif action == "acknowledge" and live is not None:
        _acknowledge(desk, live, found)
    elif action == "resolve" and live is not None:
        resolution = Resolution.CANCELLED
        timing.resolve(desk, live, resolution, f"{found.data.person} resolved it{_why(found)}", by=found.data.person)
    elif action == "silence":
        _silence(desk, found)
    elif action == "unsilence":
        _unsilence(desk, found)
    elif action == "override" and found.data.override is not None:
        override = found.data.override
        desk.state.overrides.setdefault(override.team, []).append(override)
    elif action == "propose":
        _propose(desk, found)


def _case(desk: Desk, name: str) -> Case | Ended | None:
    live = desk.state.find(name)
    if live is not None:
        return live.case(desk.chain(live))
    gone = desk.state.closed.get(name)
    return gone.ended() if gone is not None else None


def _answer(desk: Desk, live: Live, accepted: Accepted) -> None:
    """approve, edit, reject, respond: a ruling, or a word that waits for others."""
    ruled = rule(live.case(desk.chain(live)), accepted, desk.desks.declared)
    live.votes, person = ruled.votes, accepted.data.person
    if ruled.ruling is None:
        assert ruled.agreement is not None, "what does not rule waits for somebody"
        missing = ruled.agreement.needed - len(ruled.agreement.people)
        others = messages.counted(missing, f"more {ruled.agreement.role}")
        said = f"{person}: {accepted.data.action}; {others} must agree"
        desk.write(live, "reviewed", said=said, by=person, agreement=ruled.agreement)
        timing.plan(desk, live)
        return
    waited = live.data.held
    desk.rule(live, ruled.ruling)
    folding.waits(desk, live)
    if ruled.in_groups is not None:
        desk.state.update(live, in_groups=ruled.in_groups)
    if live.data.held and not ruled.resolves:  # whoever answers the rest opens some of the rest
        sample = [one for one in live.data.sample if not live.ruled(one)]
        desk.state.update(live, sample=gather(live.data.incident, sample, live.known_to_wait()))
    resolution = ruled.ruling.resolution
    people = messages.listed(ruled.ruling.people)
    if live.data.proposal is not None:
        said = f"{people} {'agreed to' if ruled.ruling.effect is Effect.ALLOW else 'turned down'} the change"
    else:
        said = f"{people} {_DONE.get(resolution, resolution.value)}"
    if resolution is Resolution.RESPONDED:
        room = tell(desk.desks, Step(tell=("team",)), desk.situation(live)) if not timing.muted(desk, live) else Told()
        told = Told(rooms=room.rooms)
        desk.write(live, "answered", said=said, by=person, agreement=ruled.agreement, send=[("question", told, ())])
    elif ruled.resolves or (waited and not live.data.held):  # also where they were answered one by one
        timing.resolve(desk, live, resolution, said, "resolved", "answered", by=person)
    else:
        said = f"{said}; {live.data.held:,} still wait" if live.data.held else said
        desk.write(live, "answered", said=said, by=person, agreement=ruled.agreement)
    timing.plan(desk, live)


def _acknowledge(desk: Desk, live: Live, accepted: Accepted) -> None:
    """Somebody has taken it: the chain stops until a deadline starts it again."""
    live.insisting = False
    told = desk.where_told(live, ROOMS) if not timing.muted(desk, live) else Told()
    desk.write(
        live,
        "acknowledged",
        said=f"{accepted.data.person} took it{_why(accepted)}",
        by=accepted.data.person,
        send=[("acknowledge", told, ())],
        status=Status.ACKNOWLEDGED,
        acknowledged_ms=desk.now_ms,
        acknowledged_by=accepted.data.person,
        with_=(accepted.data.person,),
    )
    timing.plan(desk, live)


def _silence(desk: Desk, accepted: Accepted) -> None:
    assert accepted.data.silence is not None, "a silence without its matchers is refused"
    one = Silence(accepted.review.id, accepted.data.person, accepted.data.silence)
    desk.state.silences[one.id] = one
    for live in list(desk.state.live.values()):
        if live.open and not live.muted and one.mutes(live.data, desk.now_ms):
            timing.mute(desk, live)
            desk.write(live, "silenced", said=f"silenced by {one.by}{_why(accepted)}", by=one.by)
            timing.plan(desk, live)


def _unsilence(desk: Desk, accepted: Accepted) -> None:
    name = accepted.data.silence_id or ""
    desk.state.silences.pop(name, None)
    for live in list(desk.state.live.values()):
        if live.open and live.data.silenced_by == name:
            timing.unmute(desk, live, desk.now_ms)
            timing.plan(desk, live)


def _propose(desk: Desk, accepted: Accepted) -> None:
    """A change that needs a second person: an incident of its own, told to whoever may agree."""
    proposal = accepted.data.proposal
    assert proposal is not None, "a proposal without its change is refused"
    cause = f"change/{proposal.kind}"
    group = json.dumps(["proposal", proposal.kind, proposal.digest], separators=(",", ":"))
    name = incident_id(group, accepted.mark, desk.state.known)
    routed = route(desk.desks, cause, None, None, Severity.WARNING, {}, desk.now_ms)
    began = IncidentData.model_validate(
        {
            "incident": name,
            "revision": 0,
            "change": "triggered",
            "status": Status.TRIGGERED,
            "severity": Severity.WARNING,
            "title": f"A change of {proposal.kind} needs a second person",
            "cause": cause,
            "group": group,
            "keys": (change_key(proposal.kind, name),),
            "labels": {"requester": accepted.data.person},
            "team": routed.team,
            "chain": routed.chain,
            "count": 0,
            "opened_ms": desk.now_ms,
            "first_ms": desk.now_ms,
            "last_ms": desk.now_ms,
            "previous": desk.state.groups.get(group),
            "proposal": proposal,
        }
    )
    steps = range(len(desk.desks.chain(routed.chain).steps))
    live = Live(began, desk.state.opened, Severity.WARNING, desk.now_ms, left=tuple(steps))
    desk.state.add(live)
    desk.index(live)
    folding.begin(desk, live, f"{accepted.data.person} proposes a change{_why(accepted)}", accepted.at_ms)
    timing.plan(desk, live)


def _why(accepted: Accepted) -> str:
    reason = " ".join(accepted.data.reason.split())[:200]
    return f": {reason}" if reason else ""
