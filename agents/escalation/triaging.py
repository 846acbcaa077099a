"""What triage may change of an incident: teams are added, severity rises by one step; a model alone wakes nobody.

Promise: whatever a summary says, and however often, it takes nothing away, chooses no other route, and touches no held
decision.
"""

from __future__ import annotations

from agents.escalation import messages, timing
from agents.escalation.declared import Step
from agents.escalation.desk import Desk
from agents.escalation.incidents import SEVERITIES, Live, rank
from agents.escalation.telling import Told, tell
from agents.told_events import TriageData


def triage(desk: Desk, data: TriageData, digest: str) -> None:
    """Take note of a summary: teams are only added, severity rises by one step at most and never falls."""
    live = desk.state.find(data.incident)
    newer = (data.revision, int(data.by == "model"))
    if live is None or not live.open or newer < live.triaged or data.revision >= live.written:
        return
    live.triaged = newer
    known = live.data
    added = tuple(
        one
        for one in dict.fromkeys(data.teams)
        if one in desk.desks.declared.teams and one not in (known.team, *known.teams)
    )
    highest = SEVERITIES[min(rank(live.flagged) + 1, len(SEVERITIES) - 1)]
    severity = max(known.severity, min(data.severity, highest, key=rank), key=rank)
    raised = severity is not known.severity
    desk.state.update(live, triage=digest, teams=(*known.teams, *added), severity=severity)
    if not raised and not added:
        whose = "an LLM's summary was checked and taken" if data.by == "model" else "a summary was written"
        desk.write(live, "triaged", said=whose)
        timing.plan(desk, live)
        return
    said = [f"triage adds {messages.listed(added)}"] if added else []
    said += [f"triage finds it {severity.value}"] if raised else []
    told, when = _told_by_triage(desk, live, added, raised=raised, model=data.by == "model")
    said += [f"told {messages.listed(told.people)}"] if told.people else []
    desk.write(
        live,
        "triaged",
        *(("worsened",) if raised else ()),
        said="; ".join([*said, *when]),
        send=[("escalate", told, tuple(told.passed.values()))],
        told=timing.merged(live.data.told, told.people),
        with_=timing.merged(live.data.with_, told.people),
    )
    timing.plan(desk, live)


def _told_by_triage(
    desk: Desk, live: Live, added: tuple[str, ...], *, raised: bool, model: bool
) -> tuple[Told, list[str]]:
    """Whom a raise or an added team tells now; what a model says alone pages nobody outside hours."""
    told, later = Told(), []
    if timing.muted(desk, live):
        return told, []
    case = desk.situation(live, live.flagged if model else None)
    own = raised and bool(live.data.told)
    asked = [one for one in added if not model or desk.desks.is_open(one, desk.now_ms)]
    if own and (not model or desk.desks.is_open(live.data.team, desk.now_ms)):
        told = desk.present(live, case.severity)
    elif own:
        later.append(live.data.team or "")
    later += [one for one in added if one not in asked]
    for team in asked:
        told.add(tell(desk.desks, Step(tell=(f"team:{team}",)), case))
    live.at_open = tuple(dict.fromkeys((*live.at_open, *(one for one in later if one))))
    return told, ["outside hours: told when business opens"] if later else []
