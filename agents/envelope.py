"""What a record's headers say: structured or binary CloudEvent, and that nobody forged a header of ours.

A record becomes one structured JSON document for the decoders, so that both modes meet the same checks. The CloudEvents
Kafka binding decides by `content-type`: `application/cloudevents+json`, or no content-type, is structured; anything else
with `ce_` headers is binary. Another content-type without `ce_` headers is read as structured too: the value must then
be a whole CloudEvent, and is checked as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from agents.decoding import FAILURES, KEY_LIMIT, object_of
from agents.errors import Malformed
from agents.records import OWN_HEADERS, Header, Record

STRUCTURED = b"application/cloudevents+json"
_ATTRIBUTE = "ce_"
_TYPE = "content-type"


def check_record(record: Record, sealed: Callable[[Record], object] | None = None) -> None:
    """Raise Malformed for a forged header or an over-long key.

    `sealed` looks at a record that has headers of ours: only an amended decision of our own making may (policy/edits.py).
    """
    ours = False
    for name, _ in record.headers:
        if not name.isascii() and any("\udc80" <= letter <= "\udcff" for letter in name):
            raise Malformed("a header's name is not UTF-8", "bad-header-name")
        ours = ours or name.lower().startswith(OWN_HEADERS)
    if ours and sealed is None:
        raise Malformed(f"a producer's record must not have headers that start with `{OWN_HEADERS}`", "own-header")
    if ours and sealed is not None:
        sealed(record)
    if record.key is not None and len(record.key) > KEY_LIMIT:
        raise Malformed(f"the key is longer than {KEY_LIMIT} bytes", "key-too-large")


def attributes(headers: Sequence[Header]) -> dict[str, str] | None:
    """The context attributes of a binary-mode record; None for structured mode.

    Raises Malformed for a media type that is not JSON, a repeated header, or a value that is not UTF-8.
    """
    kind = _media_type(headers)
    if kind.startswith("application/cloudevents"):
        if kind != STRUCTURED.decode():
            raise Malformed(f"content-type must be JSON: {STRUCTURED.decode()}", "unsupported-content")
        return None
    found: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(_ATTRIBUTE):
            attribute = name[len(_ATTRIBUTE) :]
            if attribute in found:
                raise Malformed("a ce_ header stands twice", "repeated-header")
            found[attribute] = envelope_text(value)
    if not kind or not found:
        return None
    if kind != "application/json" and not kind.endswith("+json"):
        raise Malformed(
            "the data of a binary CloudEvent must be JSON (content-type: application/json)", "unsupported-content"
        )
    return found


def envelope_document(found: dict[str, str]) -> bytes:
    """Binary-mode attributes as a structured document without data: enough to say which decision it is."""
    return msgspec.json.encode({name: value for name, value in found.items() if name != "data"})


def structured(found: dict[str, str], value: bytes) -> bytes:
    """Attributes and data as one structured document.

    The value is first checked to be one JSON object on its own: otherwise it could close the document and add attributes.
    """
    try:
        object_of(value)
    except FAILURES as error:
        raise Malformed("the value is not one JSON object", "not-json") from error
    return envelope_document(found)[:-1] + b',"data":' + value + b"}"


def binary_headers(headers: Sequence[Header]) -> tuple[Header, ...]:
    """The headers that belong to a binary-mode decision's identity of bytes: ce_ and content-type, by name."""
    ours = [header for header in headers if header[0].startswith(_ATTRIBUTE) or header[0] == _TYPE]
    return tuple(sorted(ours, key=lambda header: (header[0], header[1] or b"")))


def _media_type(headers: Sequence[Header]) -> str:
    """The content-type without its parameters, in lower case; empty where there is none."""
    found = [value for name, value in headers if name.lower() == _TYPE]
    if len(found) > 1:
        raise Malformed("content-type stands twice", "repeated-header")
    return envelope_text(found[0]).partition(";")[0].strip().lower() if found else ""


def envelope_text(value: bytes | None) -> str:
    """A header's text; raises Malformed where it has none or is not UTF-8."""
    if value is None:
        raise Malformed("a ce_ or content-type header has no value", "bad-header")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a ce_ or content-type header is not UTF-8", "not-utf8") from error
