"""Who looks: a person with roles and teams, both from the configuration in force at this very request.

An account proves who somebody is and nothing else, so taking a role or a team away in the configuration works at once, for
sessions that are open already as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agents.configuration import Configuration
from agents.escalation.declared import Role
from agents.people_events import IncidentData

EVERY_TEAM: frozenset[Role] = frozenset({"auditor", "admin"})
"""Who with one of these roles sees the incidents of every team."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """One request's person, or a visitor who is nobody."""

    person: str | None = None
    """As the configuration declares people; None: not signed in."""
    name: str = ""
    """As shown to others."""
    roles: frozenset[Role] = frozenset()
    teams: frozenset[str] = frozenset()
    login: str | None = None
    """The session's digest, `sha256:<hex>`: what a review names; never the cookie's value."""
    csrf: str = ""
    """The token that each form of this session carries in its field `csrf`."""
    read_only: str | None = None
    """Why this viewer cannot answer anything now, in a sentence with the mend; None: may answer, as far as the roles go."""
    everywhere: bool = False
    """Sees the incidents of every team: auditors, admins, and the visitor of a console that nobody has an account on."""

    @property
    def signed_in(self) -> bool:
        return self.person is not None

    def has(self, *roles: Role) -> bool:
        """True with at least one of these roles."""
        return not self.roles.isdisjoint(roles)

    @property
    def may_answer(self) -> bool:
        """Whether forms are worth showing. What an answer is worth, the escalation lane decides."""
        return self.signed_in and self.read_only is None and self.has("reviewer", "author", "admin")

    @property
    def sees_values(self) -> bool:
        """Whether single decisions are shown with features and texts; protected attributes never are."""
        return self.has("reviewer", "auditor")

    def sees(self, team: str | None, others: Iterable[str] = ()) -> bool:
        """Whether what belongs to these teams is shown. What belongs to no team is everybody's."""
        return self.everywhere or team is None or not self.teams.isdisjoint((team, *others))

    def sees_incident(self, incident: IncidentData) -> bool:
        """Whether the incident exists for this viewer: pages of others' incidents are 404, not 403.

        It does for its teams, for whom its chain asked, and for all where no team has it or it is a proposal.
        """
        asked = self.person is not None and self.person in (*incident.told, *incident.with_)
        return asked or incident.proposal is not None or self.sees(incident.team, incident.teams)


VISITOR = Viewer()


def viewer_of(
    configuration: Configuration | None, person: str, login: str, csrf: str, read_only: str | None = None
) -> Viewer:
    """The viewer of a session: what the configuration in force says of the person.

    Somebody whom it does not declare (any more) keeps nothing but the page that says so.
    """
    declared = configuration.escalation if configuration is not None else None
    member = declared.people.get(person) if declared is not None else None
    if declared is None or member is None:
        missing = f"the configuration in force declares nobody called {person}: add escalation.people.{person}"
        return Viewer(person, person, login=login, csrf=csrf, read_only=missing)
    roles = frozenset(member.roles)
    teams = frozenset(
        name
        for name, team in declared.teams.items()
        if person in team.members or (team.on_call is not None and person in team.on_call.rotation)
    )
    return Viewer(person, member.name, roles, teams, login, csrf, read_only, not roles.isdisjoint(EVERY_TEAM))
