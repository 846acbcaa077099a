"""A proposed change on its page: what it changes, and, in each state, what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.people_events import IncidentData, Resolution, Status
from agents.policy.differences import Difference, lines_of
from orchestration import second_person
from orchestration.console.pages.asking import name_of
from orchestration.console.pages.views import Button, Form, IncidentView, Standing
from orchestration.console.viewer import Viewer
from orchestration.console.words import stamp
from orchestration.enacting import TOLD
from orchestration.reading.changes import Became, became
from orchestration.reading.database import Database
from orchestration.reading.overview import AppliedConfiguration
from orchestration.settings import Settings

SOON_MS = 60_000
"""What was approved comes into force within seconds; what has not after so long waits for something."""


def shown(
    view: IncidentView,
    base: Database,
    settings: Settings,
    data: IncidentData,
    viewer: Viewer,
    configuration: Configuration | None,
    now_ms: int,
) -> IncidentView:
    """The page of a proposal with what it changes and where it stands; any other page as it is."""
    if data.proposal is None:
        return view
    if data.proposal.kind != second_person.KIND:
        return replace(view, proposal=data.proposal.text)
    found = became(base, data)
    return replace(
        view,
        proposal=_changes(settings, configuration, data, found),
        standing=standing(data, found, viewer, configuration, now_ms),
        form=_form(view.form, found),
    )


def standing(
    data: IncidentData, found: Became, viewer: Viewer, configuration: Configuration | None, now_ms: int
) -> Standing | None:
    """Whether it is in force, comes into force, or could not; None where it was turned down or taken back."""
    other = found.after
    if data.status is not Status.RESOLVED:
        if other is None:
            return Standing(
                "Nothing changes until another author approves it; then it comes into force within seconds."
            )
        return Standing(
            f"It can come into force no more: {_other(other, configuration)} since it was proposed. "
            "Its author proposes it again, on top of that one.",
            "warn",
        )
    if data.resolution is not Resolution.APPROVED:
        return None
    if found.applied is not None:
        who = _who(found.applied, configuration)
        if other is None:
            return Standing(f"In force since {stamp(found.applied.time_ms)}, by {who}.", "good")
        return Standing(
            f"It was in force from {stamp(found.applied.time_ms)}, by {who}. Then {_other(other, configuration)}."
        )
    if found.failed is not None:
        sees = viewer.sees_incident(found.failed)
        return Standing(
            f"It could not be applied, because {found.failed.reason.partition(TOLD)[2] or found.failed.reason}.",
            "bad",
            f"/incidents/{found.failed.incident}" if sees else "",
        )
    if other is not None:
        return Standing(
            f"It could not be applied, because {_other(other, configuration)} since it was proposed.", "bad"
        )
    if now_ms - (data.resolved_ms or now_ms) < SOON_MS:
        return Standing("It comes into force within seconds.")
    return Standing(
        "It is approved and not in force yet: `govern status` says what keeps it from it. "
        f"`govern config approve {data.incident}` puts it in force, too.",
        "warn",
    )


def _changes(settings: Settings, configuration: Configuration | None, data: IncidentData, found: Became) -> str:
    """Its author's words, and what its document says; once it came into force, what it changed then."""
    assert data.proposal is not None, "asked of proposals only"
    try:
        lines: Sequence[str] = (
            [*lines_of([_difference(one.kind, one.name, one.before, one.after) for one in found.applied.changed])]
            if found.applied is not None
            else second_person.changes(settings, configuration, data.proposal.digest)
        )
    except Misconfigured as error:
        lines = [f"What exactly cannot be shown: {error}"]
    return "\n".join([data.proposal.text, "", *lines])


def _difference(kind: str, name: str, before: str, after: str) -> Difference:
    return Difference(
        "added" if kind == "added" else "removed" if kind == "removed" else "changed", name, before, after
    )


def _form(form: Form | None, found: Became) -> Form | None:
    """Its buttons say what is true: approved too late, it changes nothing."""
    if form is None or found.after is None:
        return form
    buttons = (Button("approve", "Approve the change", "it comes into force no more; see above"), *form.buttons[1:])
    return replace(form, buttons=buttons)


def _other(one: AppliedConfiguration, configuration: Configuration | None) -> str:
    return f"another configuration was applied at {stamp(one.time_ms)}, by {_who(one, configuration)},"


def _who(one: AppliedConfiguration, configuration: Configuration | None) -> str:
    """`ann, approved by ben` with people's names."""
    author, joint, others = (one.applied_by or "somebody").partition(", approved by ")
    names = ", ".join(name_of(configuration, name) for name in others.split(", ")) if others else ""
    return f"{name_of(configuration, author)}{joint}{names}"
