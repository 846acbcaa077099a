"""The answer form of an incident or of one decision: each button says what happens, in the model's own words where it has some.

What an answer is worth the escalation lane decides; here it is only said beforehand, so that nobody writes in vain.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from agents.configuration import Configuration
from agents.escalation.case import place_of
from agents.escalation.rights import APPROVERS, concerned, requesters
from agents.escalation.samples import sample_of
from agents.escalation.scope import grouped
from agents.events import Position
from agents.people_events import IncidentData, Status
from orchestration.console.pages.asking import chain_of, decision_url, names_of
from orchestration.console.pages.views import Act, Bulk, Button, Form
from orchestration.console.viewer import Viewer
from orchestration.console.words import count, several

_LABEL = re.compile(r"output\.label\s*=\s*'((?:[^']|'')*)'")
NUMBERS = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}
AGREED = {"approve": "let them go out", "edit": "change the result", "reject": "withhold them"}


def form_of(
    incident: IncidentData,
    waiting: int,
    viewer: Viewer,
    configuration: Configuration | None,
    ticket: str,
    opened: Collection[Position] = (),
) -> Form | None:
    """The form for everything that an incident holds now; None where there is nothing to answer, or not by this viewer."""
    if not ticket or incident.status is Status.RESOLVED or cannot(incident, waiting, viewer, configuration):
        return None
    action, hidden = f"/incidents/{incident.incident}/answer", (("ticket", ticket),)
    if incident.proposal is not None:
        buttons = (
            Button(
                "approve",
                "Approve the change",
                "it comes into force within seconds, with both names",
            ),
            Button("reject", "Reject it", "nothing changes"),
        )
        return Form(action, hidden, buttons, "a change that needs a second person")
    if not waiting:
        return None
    return Form(
        action,
        hidden,
        _buttons(incident, waiting, configuration),
        f"{several(waiting, 'decision', 'decisions')} held until now",
        labels=_labels(configuration, incident.model),
        edit=_edit(incident, configuration),
        ask=_ask(incident, configuration),
        bulk=_bulk(incident, waiting, configuration, viewer, opened),
        quorum=_quorum(incident, _many(incident, waiting, configuration, viewer), configuration, viewer),
    )


def form_of_one(
    incident: IncidentData, position: Position, viewer: Viewer, configuration: Configuration | None, ticket: str
) -> Form | None:
    """The form for one held decision alone; as `form_of`."""
    if not ticket or incident.status is Status.RESOLVED or cannot(incident, 1, viewer, configuration):
        return None
    return Form(
        f"/incidents/{incident.incident}/answer",
        (("ticket", ticket), ("item", f"{place_of(position)}/{position.offset}")),
        _buttons(incident, 1, configuration),
        "this decision only",
        labels=_labels(configuration, incident.model),
        edit=_edit(incident, configuration),
        ask=_ask(incident, configuration),
        quorum=_quorum(incident, False, configuration, viewer),
    )


def cannot(incident: IncidentData, waiting: int, viewer: Viewer, configuration: Configuration | None) -> str:
    """Why this viewer cannot answer; empty where nothing speaks against it, or nothing is to be answered."""
    if incident.status is Status.RESOLVED or (not waiting and incident.proposal is None):
        return ""
    if not viewer.signed_in or viewer.read_only is not None:
        return "Nothing can be answered here now; the line at the top of the page says why."
    role = (
        APPROVERS[incident.proposal.kind]
        if incident.proposal is not None
        else chain_of(configuration, incident.chain).quorum.role
    )
    if not viewer.has(role):
        mine = ", ".join(sorted(viewer.roles)) or "none"
        return f"An answer to this needs the role {role}; you have: {mine}."
    if viewer.person in requesters(incident):
        return "You asked for this yourself, so somebody else answers."
    if configuration is not None and not concerned(str(viewer.person), incident, configuration.escalation):
        return f"This is with the team {incident.team}; you can read it, and its members answer."
    return ""


def acts_of(
    incident: IncidentData, waiting: int, viewer: Viewer, configuration: Configuration | None, ticket: str
) -> tuple[Act, ...]:
    """What else this viewer can do with it: take it, mute it, close it."""
    mine = configuration is None or concerned(str(viewer.person), incident, configuration.escalation)
    if not ticket or incident.status is Status.RESOLVED or not mine or not viewer.has("reviewer", "author", "admin"):
        return ()
    path = f"/incidents/{incident.incident}"
    acts = []
    if incident.status is Status.TRIGGERED:
        acts.append(Act(f"{path}/answer", "I take it", (("ticket", ticket), ("action", "acknowledge"))))
    if incident.silenced_by is None:
        acts.append(Act(f"{path}/silence", "Mute its messages", (("ticket", ticket),), reason=True, hours=True))
    if not waiting and incident.proposal is None:
        hidden = (("ticket", ticket), ("action", "resolve"))
        acts.append(Act(f"{path}/answer", "Close it", hidden, reason=True))
    return tuple(acts)


def _buttons(incident: IncidentData, waiting: int, configuration: Configuration | None) -> tuple[Button, ...]:
    said = _own_words(configuration, incident.model)
    label = _held_label(incident, configuration)
    one = waiting == 1
    if "approve" in said:
        approve = said["approve"]
    elif label:
        approve = (
            f"let the {label} go out"
            if one
            else f"let the {label}s go out"
            if label.isalpha()
            else f"let {label} go out"
        )
    else:
        approve = "let it go out" if one else "let them go out"
    meaning = _meaning(configuration, incident.model, label)
    what = several(waiting, "held decision is", "held decisions are")
    went = f"{what} released as {'it is' if one else 'they are'}" + (f": {meaning}" if meaning else "")
    reject = said.get("reject", "withhold it" if one else "withhold them")
    return (
        Button("approve", _capital(approve), went),
        Button("reject", _capital(reject), f"{what} withheld, with your reason"),
    )


def _edit(incident: IncidentData, configuration: Configuration | None) -> Button:
    words = _own_words(configuration, incident.model).get("edit", "change the result")
    effect = "The original is withheld; the changed decision is judged again and goes out in its place."
    return Button("edit", _capital(words), effect)


def _ask(incident: IncidentData, configuration: Configuration | None) -> Button:
    words = _own_words(configuration, incident.model).get("respond", "ask back")
    return Button(
        "respond", _capital(words), "Your question goes back, and the decisions stay held until somebody answers."
    )


def _own_words(configuration: Configuration | None, model: str | None) -> dict[str, str]:
    declared = configuration.models.get(model or "") if configuration is not None else None
    return {str(name): words for name, words in declared.answers.items() if words} if declared is not None else {}


def _labels(configuration: Configuration | None, model: str | None) -> tuple[str, ...]:
    declared = configuration.models.get(model or "") if configuration is not None else None
    return tuple(declared.labels) if declared is not None else ()


def _held_label(incident: IncidentData, configuration: Configuration | None) -> str:
    """The one label that everything held has, where the rule's condition names it; empty where it could be several."""
    declared = configuration.models.get(incident.model or "") if configuration is not None else None
    policy, _, name = incident.cause.partition("/")
    if declared is None or configuration is None:
        return ""
    conditions = [
        rule.when for one in configuration.policies if one.policy == policy for rule in one.rules if rule.id == name
    ]
    named = {text.replace("''", "'") for condition in conditions for text in _LABEL.findall(condition)}
    return named.pop() if len(named) == 1 and named <= set(declared.labels) else ""


def _meaning(configuration: Configuration | None, model: str | None, label: str) -> str:
    declared = configuration.models.get(model or "") if configuration is not None else None
    return declared.labels[label].meaning if declared is not None and label in declared.labels else ""


def _bulk(
    incident: IncidentData,
    waiting: int,
    configuration: Configuration | None,
    viewer: Viewer,
    opened: Collection[Position],
) -> Bulk | None:
    if configuration is None or not _many(incident, waiting, configuration, viewer):
        return None
    limit = configuration.escalation.bulk
    together = waiting <= limit.items
    wanted: Sequence[Position] = sample_of(incident, incident.through, limit.sample)
    links = tuple(
        (f"Sample {number}", decision_url(one, incident.incident), one in opened)
        for number, one in enumerate(wanted, 1)
    )
    said = _capital(grouped(waiting, _in_groups(incident, viewer), limit.items)) + "." if together else ""
    return Bulk(limit.items, len(wanted), sum(one in opened for one in wanted), links, said)


def _many(incident: IncidentData, waiting: int, configuration: Configuration | None, viewer: Viewer) -> bool:
    """Whether this person's answer to all that waits is above the bulk limit, with those to groups before it."""
    if configuration is None or not waiting:
        return False
    return waiting + _in_groups(incident, viewer) > configuration.escalation.bulk.items


def _in_groups(incident: IncidentData, viewer: Viewer) -> int:
    return incident.in_groups.get(viewer.person or "", 0)


def _quorum(incident: IncidentData, bulk: bool, configuration: Configuration | None, viewer: Viewer) -> str:
    agreement = incident.agreement
    chain = chain_of(configuration, incident.chain)
    needed = agreement.needed if agreement is not None else max(chain.quorum.people, 2 if bulk else 1)
    if needed < 2:
        return ""
    role = agreement.role if agreement is not None else chain.quorum.role
    many = NUMBERS.get(needed, count(needed))
    withheld = "that holds for withholding, too" if bulk else "one who withholds is enough to withhold"
    text = f"{many} people with the role {role} must agree before decisions go out; {withheld}."
    if agreement is not None and agreement.people:
        verb = "have" if len(agreement.people) > 1 or agreement.people == (viewer.person,) else "has"
        names = _capital(names_of(configuration, agreement.people, viewer))
        text += f" {names} {verb} said: {AGREED.get(agreement.action or '', 'yes')}."
    return text


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
