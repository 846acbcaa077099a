"""The second person on the command line: a configuration is proposed, somebody else approves, and then it can be applied.

The proposed document lies in the evidence store by its digest (`<prefix>/proposals/blobs/<sha256>`), its digest in the signed
proposal. What `granted` lets through was approved for exactly this document, since the present one was applied: an
approval is used up by whatever is applied after it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from agents.configuration import Configuration, canonical
from agents.dsse import Private
from agents.errors import Misconfigured
from agents.escalation import proposals
from agents.escalation.declared import Escalation
from agents.escalation.proposals import Granted, Proposed
from agents.people_events import Proposal, ReviewData, Status, shown_digest
from agents.policy.differences import differences, lines_of
from agents.policy.times import iso
from orchestration import reviewing
from orchestration.log_store import LogStore
from orchestration.reviewing import Outcome, Refused
from orchestration.settings import Settings

KIND = "configuration"
MEND = "propose it: govern config propose DIR --reason …; then another author: govern config approve ID --reason …"


@dataclass(frozen=True, slots=True)
class Since:
    """What was recorded of proposals since a time."""

    proposed: Sequence[Proposed]
    reviews: Sequence[Any]


async def since(settings: Settings, time_ms: int) -> Since:
    """Proposals of configurations, and what was signed of them, written after a time (ms since 1970, by the broker).

    The time is that of the configuration in force: what was proposed before it was about another one.
    """

    def proposes(record: Any) -> bool:
        return record.timestamp > time_ms and b'"proposal":{' in (record.value or b"")

    incidents = await reviewing.records_since(settings, "incidents", time_ms, proposes)
    ids = {record.key for record in incidents}
    rulings = await reviewing.records_since(settings, "rulings", time_ms, lambda record: record.key in ids)
    reviews = await reviewing.records_since(
        settings, "reviews", time_ms, lambda record: record.timestamp > time_ms and record.value is not None
    )
    return Since(proposals.proposals(incidents, rulings, KIND), reviews)


async def granted(settings: Settings, digest: str, in_force: Escalation, since_ms: int) -> Granted:
    """The agreement to put this very configuration in force; raises Misconfigured with the mend where there is none.

    Args:
        digest: of the configuration to be applied.
        in_force: what the present configuration declares of people; its keys count.
        since_ms: when the present one was applied.
    """
    found = await since(settings, since_ms)
    why = []
    for one in found.proposed:
        if one.incident.proposal is not None and one.incident.proposal.digest == digest:
            grant = proposals.granted(one, found.reviews, in_force, settings.prefix)
            if isinstance(grant, Granted):
                return grant
            why.append(grant)
    told = f" ({why[-1]})" if why else ""
    raise Misconfigured(
        f"a change of the configuration needs a second person, and {digest[:19]} has none{told}; {MEND}"
    )


async def agreed(
    settings: Settings, incident: str, in_force: Escalation, since_ms: int, by: str | None
) -> tuple[Granted, str]:
    """The agreement to what was proposed as one incident, and the digest of its document.

    Raises Misconfigured where there is none on top of the configuration in force, with the reason and the mend.

    Args:
        incident: the proposal.
        in_force: what the present configuration declares of people; its keys count.
        since_ms: when the present one was applied.
        by: who applied it.
    """
    found = await since(settings, since_ms)
    one = next((one for one in found.proposed if one.incident.incident == incident), None)
    if one is None or one.incident.proposal is None or one.incident.opened_ms < since_ms:
        raise Misconfigured(
            f"another configuration was applied since it was proposed, at {iso(since_ms)} by {by or 'somebody'}: "
            "propose it again, on top of that one"
        )
    grant = proposals.granted(one, found.reviews, in_force, settings.prefix)
    if not isinstance(grant, Granted):
        raise Misconfigured(grant)
    return grant, one.incident.proposal.digest


def keep(settings: Settings, configuration: Configuration) -> str:
    """Store a proposed document; its digest. The same document twice changes nothing."""
    digest = configuration.digest()
    LogStore(settings.store_url).write({_path(settings, digest): canonical(configuration.document())})
    return digest


def kept(settings: Settings, digest: str) -> Configuration:
    """A proposed document; raises Misconfigured where it is not there or was altered."""
    try:
        found = Configuration.model_validate(json.loads(LogStore(settings.store_url).read(_path(settings, digest))))
    except FileNotFoundError as error:
        raise Misconfigured(
            f"the proposed document {digest[:19]} is not in {settings.store_url}; "
            "set GOVERN_STORE to the store that its author used"
        ) from error
    except OSError as error:
        raise Misconfigured(
            f"the proposed document {digest[:19]} cannot be read from {settings.store_url}: {error}"
        ) from error
    except (ValueError, ValidationError) as error:
        raise Misconfigured(
            f"the proposed document {digest[:19]} cannot be read; it has to be proposed again"
        ) from error
    if found.digest() != digest:
        raise Misconfigured(
            f"the proposed document {digest[:19]} was altered in {settings.store_url}; propose it again"
        )
    return found


def changes(settings: Settings, in_force: Configuration | None, digest: str) -> list[str]:
    """What a proposed configuration changes of the one in force, a line each, from the document itself and nobody's words.

    Raises as `kept`.
    """
    return list(lines_of(differences(in_force or Configuration(), kept(settings, digest)))) or ["nothing"]


async def propose(
    settings: Settings, configuration: Configuration, author: str, key: Private, reason: str, within_s: float
) -> Outcome:
    """Keep a configuration and propose it under the author's signature; what became of the proposal."""
    proposal = Proposal(kind="configuration", digest=keep(settings, configuration), author=author, text=reason)
    data = ReviewData(action="propose", person=author, reason=reason, proposal=proposal)
    return await _answered(settings, data, key, within_s)


async def answer(
    settings: Settings,
    found: Proposed,
    action: Literal["approve", "reject"],
    person: str,
    key: Private,
    reason: str,
    within_s: float,
) -> Outcome:
    """Agree to a proposal, or turn it down, under another author's signature; what became of that."""
    data = ReviewData(
        action=action,
        person=person,
        incident=found.incident.incident,
        shown=shown_digest(found.incident),
        reason=reason,
        kind="individual",
    )
    return await _answered(settings, data, key, within_s)


def told(found: Proposed) -> dict[str, str]:
    """A proposal as a row: incident, author, state, digest, text."""
    proposal, ruling = found.incident.proposal, found.ruling
    assert proposal is not None, "a proposal's incident has one"
    state = "waits" if found.incident.status is not Status.RESOLVED else "taken back"
    if ruling is not None:
        state = f"{ruling.resolution.value} by {', '.join(ruling.people)}"
    return {
        "incident": found.incident.incident,
        "author": proposal.author,
        "state": state,
        "digest": proposal.digest,
        "text": proposal.text,
    }


async def _answered(settings: Settings, data: ReviewData, key: Private, within_s: float) -> Outcome:
    source = reviewing.person_source(settings, data.person)
    async with reviewing.Desk(settings, key, source) as desk:
        found = await desk.outcome(await desk.send(data), within_s)
    if isinstance(found, Refused):
        raise Misconfigured(found.text)
    return found


def _path(settings: Settings, digest: str) -> str:
    return f"{settings.prefix}/proposals/blobs/{digest.removeprefix('sha256:')}"
