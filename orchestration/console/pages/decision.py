"""One decision on one page: what went in, what judged it, who saw it, what went out, and how to prove all that. Printable.

It shows what this viewer's role may see of it, never a protected attribute, and only decisions of incidents that the viewer's
teams are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from agents.errors import Retryable
from agents.events import Decision, Position, Verdict
from agents.people_events import IncidentData, ReviewData
from orchestration.console.answering import opened, page_ticket
from orchestration.console.pages.answers import cannot, form_of_one
from orchestration.console.pages.asking import database, decision_url, incidents_named, name_of, names_of
from orchestration.console.pages.views import DecisionView, Event, Judged, Pairs
from orchestration.console.parts import Parts, parts_of
from orchestration.console.records import Fetched, Records, parsed
from orchestration.console.redaction import Redacted, protected_names, reason_shown, redact
from orchestration.console.rendering import render, viewer_at
from orchestration.console.tickets import parse_place
from orchestration.console.viewer import Viewer
from orchestration.console.words import DAY, RESOLUTIONS, figure, pretty, share, stamp
from orchestration.reading.database import Database
from orchestration.reading.held import HeldItem, held_item, held_items, incidents_of
from orchestration.reading.incident import Incident, incident
from orchestration.reading.tables import reviews

MOST_INCIDENTS = 5
ANSWERS = {"approve": "let it go out", "edit": "change it", "reject": "withhold it", "respond": "ask back"}


async def page(request: Request) -> Response:
    """The page of one held decision; 404 where there is none, or none that this viewer's teams are shown."""
    base, viewer, parts = database(request), viewer_at(request), parts_of(request)
    place = request.path_params
    position = parse_place(f"{place['topic']}/{place['partition']}/{place['offset']}")
    if position is None:
        raise HTTPException(404)
    item = await run_in_threadpool(held_item, base, position)
    asked = request.query_params.get("incident")
    belongs = await run_in_threadpool(_incidents, base, position, viewer, asked)
    if item is None or not belongs:
        raise HTTPException(404)
    chosen = belongs[0]
    fetched, gate, final = await _fetched(parts, item)
    configuration = parts.configuration()
    decision = parsed(fetched.record, configuration) if fetched.record is not None else None
    shown = None
    if decision is not None:
        shown = redact(decision, viewer, protected_names(configuration, decision.data.model.name))
        if viewer.sees_values:
            for one in belongs:
                await opened(request, one.data.incident, position)
    waits = item.resolution is None
    ticket = await page_ticket(request, chosen.data, covered=1, items=[position]) if waits else ""
    view = await run_in_threadpool(made, base, item, belongs, viewer, configuration, shown, fetched.why, (gate, final))
    view = replace(view, following=await run_in_threadpool(_following, base, chosen.data, position))
    if waits:
        view = replace(
            view,
            form=form_of_one(chosen.data, position, viewer, configuration, ticket),
            cannot=cannot(chosen.data, 1, viewer, configuration),
        )
    return render(request, "decision.html", view=view)


def made(
    base: Database,
    item: HeldItem,
    belongs: Iterable[Incident],
    viewer: Viewer,
    configuration: Configuration | None,
    shown: Redacted | None,
    missing: str,
    verdicts: tuple[Verdict | None, Verdict | None],
) -> DecisionView:
    """The page's view; `shown` is None where the content is not there, and `missing` says why."""
    belongs = tuple(belongs)
    gate, final = verdicts
    return DecisionView(
        title=f"Decision {item.decision.offset} of {item.model or 'a model'} {item.version or ''}".strip(),
        position=item.id,
        outcome=_outcome(item, shown, configuration),
        effect=item.effect or "hold",
        about=_about(item, shown.decision if shown is not None else None),
        inputs=inputs_of(shown),
        output=output_of(shown, configuration),
        texts=texts_of(shown),
        hidden=_hidden(shown, missing),
        judged=_judged(item, gate, viewer, configuration),
        seen=tuple(_seen(base, item.decision, belongs, configuration, viewer)),
        out=_out(item, belongs, configuration, viewer),
        proof=_proof(item, gate, final),
        commands=_commands(item),
        incidents=tuple((one.data.title, f"/incidents/{one.data.incident}") for one in belongs),
    )


def _incidents(base: Database, position: Position, viewer: Viewer, asked: str | None) -> list[Incident]:
    """Incidents that hold it, as far as this viewer is shown them; the one that the address names comes first."""
    found = [one for one in incidents_named(base, incidents_of(base, position)) if viewer.sees_incident(one)]
    found.sort(key=lambda one: one.incident != asked)
    return [incident(base, one.incident) for one in found[:MOST_INCIDENTS]]


def _following(base: Database, data: IncidentData, position: Position) -> str:
    """The page of the next one that waits; after the last one, of the first."""
    for after in (position, None):
        page = held_items(base, data, waits=True, after=after, limit=1)
        if page.items and page.items[0].decision != position:
            return decision_url(page.items[0].decision, data.incident)
    return ""


async def _fetched(parts: Parts, item: HeldItem) -> tuple[Fetched, Verdict | None, Verdict | None]:
    if parts.records is None:
        return Fetched(None, "This console is not connected to Kafka, so it cannot show the content."), None, None
    partition = item.decision.partition
    try:
        return await asyncio.gather(
            parts.records.decision(item.decision, item.bytes_at),
            _verdict(parts.records, partition, item.verdict_offset),
            _verdict(parts.records, partition, item.final_offset),
        )
    except Retryable:
        return Fetched(None, "Kafka does not answer now, so the content cannot be shown. Try again."), None, None


async def _verdict(records: Records, partition: int, offset: int | None) -> Verdict | None:
    return None if offset is None else await records.verdict(partition, offset)


def _outcome(item: HeldItem, shown: Redacted | None, configuration: Configuration | None) -> str:
    output = shown.decision.data.output if shown is not None else None
    label = (
        f" The model said: {_label(output.label, item.model, configuration)}."
        if output is not None and output.label
        else ""
    )
    if item.resolution is None:
        return f"It is held and waits for a person.{label}"
    when = f" at {stamp(item.ended_ms)}" if item.ended_ms is not None else ""
    late = ", because nobody answered by the deadline" if item.resolution == "expired" else ""
    what = "withheld" if item.effect == "block" else "went out"
    what += ", and a changed one in its place" if item.resolution == "edited" else ""
    return f"It was held, then {what}{when}{late}.{label}"


def _label(label: str, model: str | None, configuration: Configuration | None) -> str:
    declared = configuration.models.get(model or "") if configuration is not None else None
    meaning = declared.labels[label].meaning if declared is not None and label in declared.labels else ""
    return f"{label} ({meaning})" if meaning else label


def _about(item: HeldItem, decision: Decision | None) -> Pairs:
    pairs = about_of(f"{item.model or '—'} {item.version or ''}".strip(), decision)
    if decision is not None and decision.time is not None and item.held_ms is not None:
        away = abs(item.held_ms - decision.time.timestamp() * 1000)
        own = "Decided (own time)" if away > DAY else "Decided"  # a replay, or a sender whose clock is wrong
        pairs = tuple((own if name == "Decided" else name, value) for name, value in pairs)
    held = (("Held", stamp(item.held_ms)),) if item.held_ms is not None else ()
    return (*pairs, *held, ("Position", item.id))


def about_of(model: str, decision: Decision | None) -> Pairs:
    """Whose decision it is, of whom, when."""
    pairs = [("Model", model)]
    if decision is not None:
        if decision.time is not None:
            pairs.append(("Decided", stamp(decision.time.timestamp() * 1000)))
        named = (("Caller", decision.data.caller), ("Purpose", decision.data.purpose), ("About", decision.subject))
        pairs += [(name, value) for name, value in named if value is not None]
        pairs += [("Id", decision.id), ("Source", decision.source)]
        if decision.data.latency_ms is not None:
            pairs.append(("Took", f"{figure(decision.data.latency_ms)} ms"))
    return tuple(pairs)


def inputs_of(shown: Redacted | None) -> Pairs:
    """Features, with what each weighed where the model says so."""
    if shown is None:
        return ()
    data = shown.decision.data
    weights = data.feature_attributions or {}

    def weighed(name: str) -> str:
        return f" (weight {weights[name]:+.3g})" if name in weights else ""

    return tuple((name, pretty(value) + weighed(name)) for name, value in data.features.items())


def output_of(shown: Redacted | None, configuration: Configuration | None) -> Pairs:
    """What the model said."""
    if shown is None:
        return ()
    data, pairs = shown.decision.data, []
    if data.output is not None:
        if data.output.label is not None:
            pairs.append(("Label", _label(data.output.label, data.model.name, configuration)))
        if data.output.score is not None:
            pairs.append(("Score", figure(data.output.score)))
        if data.output.confidence is not None:
            pairs.append(("Confidence", share(data.output.confidence)))
    if data.action is not None:
        pairs.append(("Proposed action", data.action.tool))
        pairs += [(name, pretty(value)) for name, value in data.action.arguments.items()]
    return tuple(pairs)


def texts_of(shown: Redacted | None) -> Pairs:
    """Free text: it comes from outside."""
    if shown is None:
        return ()
    data = shown.decision.data
    given = (("Prompt", data.prompt), ("Generated text", data.output.text if data.output is not None else None))
    return tuple((name, text) for name, text in given if text)


def _hidden(shown: Redacted | None, missing: str) -> str:
    if shown is None:
        return missing or "Its content breaks the contract, so it cannot be shown field by field."
    return f"Not shown: {'; '.join(shown.hidden)}." if shown.hidden else ""


def _judged(
    item: HeldItem, gate: Verdict | None, viewer: Viewer, configuration: Configuration | None
) -> tuple[Judged, ...]:
    texts = {one.rule: reason_shown(one.text, one.rule, viewer, configuration) for one in item.reasons}
    if gate is not None:
        return tuple(
            Judged(one.rule, one.effect, texts.get(one.rule, ""), one.applied, one.outcome == "unknown")
            for one in gate.data.reasons
        )
    return tuple(Judged(rule, "hold", texts.get(rule, "")) for rule in item.rules)


def _seen(
    base: Database,
    position: Position,
    belongs: tuple[Incident, ...],
    configuration: Configuration | None,
    viewer: Viewer,
) -> list[Event]:
    """Who opened this decision before they answered: their signed answers say so."""
    names = [one.data.incident for one in belongs]
    with base.reading() as connection:
        query = (
            select(reviews.c.time_ms, reviews.c.data).where(reviews.c.incident.in_(names)).order_by(reviews.c.time_ms)
        )
        rows = connection.execute(query).all()
    events = []
    for at_ms, text in rows:
        data = ReviewData.model_validate_json(text)
        if position in data.opened or (data.items is not None and position in data.items):
            events.append(
                Event(
                    at_ms,
                    f"Opened it, then answered: {ANSWERS.get(data.action, data.action)}.",
                    name_of(configuration, data.person, viewer),
                )
            )
    return events


def _out(
    item: HeldItem, belongs: tuple[Incident, ...], configuration: Configuration | None, viewer: Viewer
) -> tuple[Event, ...]:
    if item.resolution is None or item.ended_ms is None:
        return ()
    how = RESOLUTIONS.get(item.resolution, item.resolution)
    ruling = next((one for found in belongs for one in found.rulings if one.id == item.causationid), None)
    who = names_of(configuration, ruling.people, viewer) if ruling is not None else ""
    why = f" “{ruling.reason}”" if ruling is not None and ruling.reason else ""
    return (Event(item.ended_ms, f"{how[:1].upper()}{how[1:]}.{why}", who),)


def _proof(item: HeldItem, gate: Verdict | None, final: Verdict | None) -> Pairs:
    pairs = [("Verdict when it came", f"{item.id}/gate")]
    if item.resolution is not None:
        pairs.append(("Final verdict", f"{item.id}/final"))
    if gate is not None:
        pairs += [
            ("Commitment to its exact bytes", f"{gate.data.commitment.alg}:{gate.data.commitment.value}"),
            ("Salt key", gate.data.commitment.key),
            ("Configuration", gate.data.config),
            ("Code", gate.data.code),
        ]
    if final is not None and gate is not None and final.data.config != gate.data.config:
        pairs.append(("Configuration of the final verdict", final.data.config))
    return tuple(pairs)


def _commands(item: HeldItem) -> Pairs:
    stage = "gate" if item.resolution is None else "final"
    return (
        (
            "Prove that this verdict stands in the log (one file, without personal data):",
            f"govern audit prove {item.id}/{stage} --out proof.json",
        ),
        (
            "Check that file with nothing but the public key:",
            "govern audit check-proof proof.json --key auditor.verifier",
        ),
    )
