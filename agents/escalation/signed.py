"""Who says a review: its bytes read strictly, its signature checked against the keys that the configuration declares.

What is believed is what was signed: the envelope's payload, read by the same model, must say what the event says. So a
producer may write its JSON as it likes, and no field of the event can be changed without the signature noticing.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass

from pydantic import ValidationError

from agents.dsse import BadEnvelope, Envelope, Public, parse_public
from agents.envelope import attributes, check_record, structured
from agents.errors import Malformed
from agents.escalation.declared import Escalation
from agents.people_events import REVIEW_KIND, Refused, Review
from agents.records import Record

VALUE_LIMIT = 1_048_576
"""Bytes of the largest review that is looked at."""
SIGNATURES = 8
"""An envelope has at most so many signatures."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose key signed."""

    keyid: str
    console: str | None
    """The console's name; null: the person's own key."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why nobody's word is taken for it."""

    reason: Refused
    detail: str


def read(record: Record, prefix: str) -> Review:
    """The review that a record holds, structured or binary CloudEvent; checked by nobody yet.

    Raises Malformed, with a sentence that names fields and quotes no value.
    """
    check_record(record)
    value = record.value
    if value is None:
        raise Malformed("the record has no value")
    if len(value) > VALUE_LIMIT:
        raise Malformed(f"the record has more than {VALUE_LIMIT:,} bytes")
    found = attributes(record.headers)
    try:
        review = Review.model_validate_json(value if found is None else structured(found, value))
    except ValidationError as error:
        raise Malformed(f"no review: {_first(error)}; docs/formats.md says what one looks like") from error
    edit = review.data.edit
    if not math.isfinite(review.data.shown_ms) or (edit and edit.score is not None and not math.isfinite(edit.score)):
        raise Malformed("no review: `data.shown_ms` and `data.edit.score` are finite numbers")
    if not review.source.startswith(f"/{prefix}/"):
        raise Malformed(f"the review is not for this deployment: its `source` starts with /{prefix}/")
    return review


def signer_of(review: Review, escalation: Escalation) -> Signer | Doubt:
    """Whose key signed exactly this review, among those that may speak for the person it names.

    Consoles may speak for any person; a person's own keys for that person only.
    """
    if not review.dssematerial:
        return Doubt("unsigned", "the review carries no signature; `govern key new` makes a key to sign with")
    try:
        envelope = Envelope.parse(base64.b64decode(review.dssematerial, validate=True).decode())
    except (BadEnvelope, binascii.Error, ValueError):
        return Doubt("unsigned", "`dssematerial` is not the base64 of a DSSE envelope")
    if not 0 < len(envelope.signatures) <= SIGNATURES:
        return Doubt("unsigned", f"the envelope carries no signature, or more than {SIGNATURES}")
    person = review.data.person
    known = _keys(escalation, person)
    named = [keyid for keyid, _ in envelope.signatures]
    candidates = [(key, console) for key, console in known if key.keyid in named or "" in named]
    if not candidates:
        return Doubt("unknown-key", _unknown(escalation, person, named))
    for key, console in candidates:
        try:
            envelope.signed(REVIEW_KIND, key)
        except BadEnvelope:
            continue
        if not _says(envelope.payload, review):
            return Doubt("bad-signature", "what was signed is not what the review says: it was changed on its way")
        return Signer(key.keyid, console)
    return Doubt("bad-signature", f"the signature is not one of the key {candidates[0][0].keyid} over this review")


def claims(record: Record) -> dict[str, str]:
    """What a record that is no review seems to be about, so that its sender can find the refusal: id, person, incident."""
    try:
        found = json.loads(record.value or b"")
        data = found.get("data") if isinstance(found.get("data"), dict) else {}
    except (ValueError, AttributeError, RecursionError):
        return {}
    told = {"id": found.get("id"), "person": data.get("person"), "incident": data.get("incident")}
    return {name: text for name, text in told.items() if isinstance(text, str) and _plain(text)}


def _keys(escalation: Escalation, person: str) -> list[tuple[Public, str | None]]:
    member = escalation.people.get(person)
    own = [(parse_public(text), None) for text in member.keys] if member is not None else []
    return [*own, *((parse_public(text), name) for name, text in escalation.console_keys.items())]


def _unknown(escalation: Escalation, person: str, named: list[str]) -> str:
    for other, member in escalation.people.items():
        if any(parse_public(text).keyid in named for text in member.keys):
            return f"the key that the signature names is {other}'s: it does not speak for {person}"
    return (
        f"the configuration declares no key {named[0][:64]!r}: "
        f"it belongs under escalation.people.{person}.keys, or under console_keys where a console signs"
    )


def _says(payload: bytes, review: Review) -> bool:
    try:
        signed = Review.model_validate_json(payload)
    except ValidationError:
        return False
    return (signed.id, signed.source, signed.type, signed.data) == (review.id, review.source, review.type, review.data)


def _first(error: ValidationError) -> str:
    one = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ".".join(str(part) for part in one["loc"])[:200]
    return f"`{path}`: {one['msg']}" if path else one["msg"]


def _plain(text: str) -> bool:
    return 0 < len(text) <= 256 and text.isprintable()
