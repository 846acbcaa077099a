"""Who may do what with an incident: by role, by team, and never on one's own request."""

from __future__ import annotations

from agents.configuration import Configuration
from agents.escalation.case import Case, Context
from agents.escalation.declared import Escalation, Quorum, Role, Team
from agents.people_events import ANSWERS, IncidentData, Matchers, ReviewData

APPROVERS: dict[str, Role] = {"configuration": "author", "safeguard": "author", "access": "admin"}
"""Who proposes a change of this kind, and who else may approve it."""
RULES = ("approve", "edit", "reject")
"""Answers that rule; `respond` asks back."""
_HANDLES: tuple[Role, ...] = ("reviewer", "author", "admin")


def quorum_of(case: Case) -> Quorum:
    """How many must agree, and of which role: the chain's quorum; for a proposal one person beside its author."""
    proposal = case.incident.proposal
    return case.chain.quorum if proposal is None else Quorum(people=1, role=APPROVERS[proposal.kind])


def roles_for(data: ReviewData, case: Case | None) -> tuple[Role, ...]:
    """The roles one of which this action needs."""
    if data.action in ANSWERS and case is not None:
        return (quorum_of(case).role,)
    if data.action == "propose":
        return (APPROVERS[data.proposal.kind],) if data.proposal else ("author", "admin")
    if data.action == "label":
        return ("reviewer",)
    return _HANDLES


def may_rule(person: str, case: Case, escalation: Escalation) -> bool:
    """Whether a declared person has the role, belongs to the incident and did not ask for it."""
    member = escalation.people.get(person)
    return (
        member is not None
        and quorum_of(case).role in member.roles
        and concerned(person, case.incident, escalation)
        and person not in requesters(case.incident)
    )


def concerned(person: str, incident: IncidentData, escalation: Escalation) -> bool:
    """Whether an incident is this person's: a member of a team that it is with, or told of it by its chain.

    Where no team has it, and where it is a proposal, it is everybody's who has the role.
    """
    teams = {name for name in (incident.team, *incident.teams) if name is not None}
    if not teams or incident.proposal is not None:
        return True
    if person in incident.told or person in incident.with_:
        return True
    return any(_belongs(person, escalation.teams.get(name)) for name in teams)


def requesters(incident: IncidentData) -> frozenset[str]:
    """Who asked for what an incident is about: a proposal's author, and whom the label `requester` names (a,b,…)."""
    labelled = {name.strip() for name in incident.labels.get("requester", "").split(",")}
    author = {incident.proposal.author} if incident.proposal is not None else set()
    return frozenset(labelled | author) - {""}


def foreign(data: ReviewData, case: Case | None, context: Context) -> str | None:
    """What keeps this action within the person's own teams; a sentence where it reaches beyond."""
    escalation, person = context.configuration.escalation, data.person
    if case is not None and not concerned(person, case.incident, escalation):
        return f"this incident is with {case.incident.team}, and you are neither in that team nor asked by its chain"
    if "admin" in escalation.people[person].roles:
        return None
    if data.action == "override" and data.override is not None:
        team = escalation.teams.get(data.override.team)
        return None if _belongs(person, team) else f"the duty of {data.override.team} is for its members to change"
    if data.action == "silence" and data.silence is not None:
        return _muted(person, data.silence.matchers, context)
    if data.action == "unsilence" and (standing := context.silences.get(data.silence_id or "")) is not None:
        return _muted(person, standing.matchers, context)
    return None


def _muted(person: str, matchers: Matchers, context: Context) -> str | None:
    """Nobody mutes another team: a silence names the person's own one, or an incident of it, where there are several."""
    escalation = context.configuration.escalation
    if len(escalation.teams) < 2:
        return None
    if matchers.incident is not None:
        found = context.find(matchers.incident)
        if isinstance(found, Case) and concerned(person, found.incident, escalation):
            return None
    if matchers.team is not None and _belongs(person, escalation.teams.get(matchers.team)):
        return None
    mine = [name for name, team in escalation.teams.items() if _belongs(person, team)]
    return f"a silence is for your own team: add the matcher team ({', '.join(mine) or 'you are in none'})"


def _belongs(person: str, team: Team | None) -> bool:
    if team is None:
        return False
    return person in team.members or (team.on_call is not None and person in team.on_call.rotation)


def labels_of(configuration: Configuration, model: str | None) -> tuple[str, ...]:
    """The labels that a model may give; none: any."""
    declared = configuration.models.get(model or "") or configuration.models.get(configuration.undeclared or "")
    return tuple(declared.labels) if declared is not None else ()
