"""The contract for other programs: a JSON Schema of every event, and one AsyncAPI document of all topics.

Both derive from events.py; docs/schemas holds the exported files, and a test keeps them current.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import models_json_schema

from agents import __version__
from agents.events import (
    EVENTS,
    Attributes,
    Case,
    CloudEvent,
    ConfigurationEvent,
    Decision,
    Flag,
    Manifest,
    Observation,
    OutcomeEvent,
    Progress,
    Safeguard,
    Signal,
    Snapshot,
    Tick,
    Verdict,
    Watermark,
)
from agents.examples import EXAMPLES
from agents.people_events import Incident, Refusal, Review, Ruling
from agents.told_events import Delivery, Notification, TriageEvent

ALL_EVENTS: tuple[type[CloudEvent], ...]
ALL_EVENTS = (*EVENTS, Incident, Review, Ruling, Refusal, TriageEvent, Notification, Delivery)
"""Every event of the contract."""

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
_POSITION = "`<topic>/<partition>/<offset>` of the decision"
_SEQUENCE = {
    "govern-seq": "Number of this record among those of its writer and partition, decimal, from 0.",
    "govern-writer": "Transactional id of the lane that wrote it.",
}
_VERDICT = {"govern-verdict": "Id of the verdict that decided."}
_REASONS = {"govern-reasons": "JSON array of the reasons: rule, effect and the rendered sentence."}


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic as the contract describes it."""

    topic: str
    """The short name; the topic in Kafka is `<prefix>.<short name>`."""
    key: str
    summary: str
    events: tuple[type[CloudEvent], ...] = ()
    """What its values are; empty where they are no events of ours."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of ours, and what they hold."""


def _headers(*found: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for one in found for pair in one.items())


CHANNELS: tuple[Channel, ...] = (
    Channel(
        "decisions",
        "subject, else the decision's id",
        "What models and agents decide, and what people put in its place.",
        (Decision,),
        _headers(
            {
                "govern-edit": "Only on amended decisions, written by release lanes: JSON object of ruling, rules and mac."
            }
        ),
    ),
    Channel(
        "verdicts",
        _POSITION,
        "One gate verdict for every record of decisions, and a final one for each that was held.",
        (Verdict,),
        _headers(_SEQUENCE),
    ),
    Channel(
        "released", "the decision's own key", "Decisions let through, byte for byte.", (Decision,), _headers(_VERDICT)
    ),
    Channel(
        "withheld",
        "the decision's own key",
        "Decisions blocked, byte for byte, with the reasons.",
        (Decision,),
        _headers(_VERDICT, _REASONS),
    ),
    Channel(
        "held",
        _POSITION,
        "Decisions that wait for a person; a tombstone ends the wait.",
        (Decision,),
        _headers(
            _VERDICT,
            _REASONS,
            {
                "govern-causes": "JSON object: model, version, the rules that hold it, and what the gate verdict rests on.",
                "govern-key": "The decision's own key in base64; absent where it has none.",
            },
        ),
    ),
    Channel(
        "dead-letters",
        "the record's own key",
        "Records that are no decisions of a declared model, byte for byte.",
        (),
        _headers(_VERDICT, {"govern-fault": "JSON object: kind, reason, detail, and the record's broker time."}),
    ),
    Channel(
        "attributes",
        "the subject",
        "Protected attributes, for monitor lanes alone; a tombstone makes a subject's unknown.",
        (Attributes,),
    ),
    Channel(
        "outcomes",
        "JSON array [source, id] of the decision",
        "What really happened after decisions, known late and sometimes revised.",
        (OutcomeEvent,),
    ),
    Channel(
        "cases",
        "JSON array [source, id] of the decision",
        "Decisions that wait for their outcome, without features.",
        (Case,),
    ),
    Channel(
        "observations",
        "the model, or a lane's transactional id",
        "What monitor lanes counted, and how far they have come.",
        (Observation, Progress),
        _headers(_SEQUENCE),
    ),
    Channel("config", "`current`", "The configuration in force.", (ConfigurationEvent,), _headers(_SEQUENCE)),
    Channel(
        "signals",
        'JSON array [model, version, monitor, segment, group], or ["watermark", model]',
        "Monitors' present judgements, and how far they have come.",
        (Signal, Watermark),
        _headers(_SEQUENCE),
    ),
    Channel("safeguards", "the safeguard's id", "Standing orders.", (Safeguard,), _headers(_SEQUENCE)),
    Channel("flags", "the flag's dedup_key", "What a person should know of.", (Flag,)),
    Channel(
        "incidents",
        "the incident's id",
        "Flags of one cause: each record is the whole incident after a change.",
        (Incident,),
        _headers(_SEQUENCE),
    ),
    Channel("reviews", "the incident's id, or none", "People's signed answers, checked by nobody yet.", (Review,)),
    Channel(
        "rulings",
        "the incident's id, or the review's position",
        "Answers and deadlines that took effect; and reviews that did not, with the reason.",
        (Ruling, Refusal),
        _headers(_SEQUENCE),
    ),
    Channel(
        "triage", "the incident's id", "What reviewers are told of an incident.", (TriageEvent,), _headers(_SEQUENCE)
    ),
    Channel(
        "notifications",
        "the notification's id",
        "Messages to be sent, and what became of them.",
        (Notification, Delivery),
        _headers(_SEQUENCE),
    ),
    Channel("ticks", "none", "One a second: how time passes while nothing else arrives.", (Tick,)),
    Channel("snapshots", "the lane's transactional id", "Lanes' state, to start again from.", (Snapshot,)),
    Channel(
        "manifests",
        "the lane's transactional id",
        "Which input offsets each transaction of a lane with several inputs took.",
        (Manifest,),
        _headers(_SEQUENCE),
    ),
    Channel("checkpoints", "the log's origin", "Signed heads of the evidence logs (C2SP signed notes, not JSON)."),
)


def type_of(event: type[CloudEvent]) -> str:
    """The CloudEvents type, for example `governance.decision.v1`."""
    return str(event.model_fields["type"].default)


def json_schemas() -> dict[str, dict[str, Any]]:
    """CloudEvents type → its JSON Schema, complete in itself."""
    schemas = {}
    for event in ALL_EVENTS:
        schema = event.model_json_schema()
        examples = [example.model_dump(mode="json", exclude_none=True) for example in _examples(event).values()]
        named = {"$schema": JSON_SCHEMA, "$id": f"urn:governance-in-motion:{type_of(event)}"}
        schemas[type_of(event)] = {**named, **_required(schema), "examples": examples}
    return schemas


def asyncapi() -> dict[str, Any]:
    """All topics, their keys, headers and messages as one AsyncAPI 3.0 document."""
    _, together = models_json_schema(
        [(event, "validation") for event in ALL_EVENTS], ref_template="#/components/schemas/{model}"
    )
    schemas = {name: _required(schema) for name, schema in together["$defs"].items()}
    messages = {event.__name__: _message(event) for event in ALL_EVENTS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Governance in Motion",
            "version": __version__,
            "description": "Every decision of a model or agent judged in flight. Values are CloudEvents 1.0 in JSON; "
            "on `decisions` binary mode is accepted too. A version v1 only ever gains optional fields.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {channel.topic: _channel(channel) for channel in CHANNELS},
        "components": {"messages": messages, "schemas": schemas},
    }


def _channel(channel: Channel) -> dict[str, Any]:
    """One channel; a message with headers of ours refers to the event's message and adds them."""
    found: dict[str, Any] = {
        "address": f"{{prefix}}.{channel.topic}",
        "description": f"{channel.summary} Key: {channel.key}.",
        "parameters": {"prefix": {"description": "The deployment's topic prefix.", "default": "gim"}},
        "messages": {},
    }
    headers = {name: {"type": "string", "description": text} for name, text in channel.headers}
    for event in channel.events:
        name = event.__name__
        if headers:
            message = {**_message(event), "headers": {"type": "object", "properties": headers}}
            message.pop("examples")
            found["messages"][name] = message
        else:
            found["messages"][name] = {"$ref": f"#/components/messages/{name}"}
    if not channel.events:
        bytes_: dict[str, Any] = {"name": channel.topic, "contentType": "application/octet-stream"}
        if headers:
            bytes_["headers"] = {"type": "object", "properties": headers}
        found["messages"]["Bytes"] = bytes_
    return found


def _message(event: type[CloudEvent]) -> dict[str, Any]:
    return {
        "name": type_of(event),
        "summary": (event.__doc__ or "").strip().split("\n", maxsplit=1)[0],
        "contentType": "application/cloudevents+json",
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "examples": [
            {"name": name, "payload": example.model_dump(mode="json", exclude_none=True)}
            for name, example in _examples(event).items()
        ],
    }


def _examples(event: type[CloudEvent]) -> dict[str, CloudEvent]:
    return {name: example for name, example in EXAMPLES.items() if type(example) is event}


def _required(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with `specversion` and `type` required: they are always written, though they have defaults in Python."""
    fixed = [name for name in ("specversion", "type") if "const" in schema.get("properties", {}).get(name, {})]
    return {**schema, "required": [*fixed, *schema.get("required", [])]} if fixed else schema
