"""The poison corpus: records that no parser may take for a decision, each with the answer it must get.

`CORPUS` holds one Case a trap: what a producer might write by mistake or on purpose. `GOOD` holds records that look
suspicious and are decisions all the same. `CONFIGURATION` declares the models that they are written against. A lane
must go on after each, keep every other record in its place, and release none of the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.configuration import Configuration
from agents.decoding import DEPTH_LIMIT, KEY_LIMIT, VALUE_LIMIT
from agents.events import Kind
from agents.records import Header, Plain

STRUCTURED: Header = ("content-type", b"application/cloudevents+json; charset=UTF-8")
CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "credit-limit": {
                "mode": "gate",
                "versions": ["2.1.0"],
                "features": {"limit_bal": "numeric", "pay_0": "numeric?", "product": "categorical?"},
                "labels": {"approve": {"favourable": True}, "decline": {}},
                "callers": ["svc-portal"],
            },
            "writer": {"kind": "generation", "mode": "gate"},
            "agent": {"kind": "action", "mode": "gate"},
        }
    }
)


@dataclass(frozen=True)
class Case:
    """One record and its answer; `identified`: whether its envelope can be read nevertheless."""

    name: str
    value: bytes | None
    reason: str
    kind: Kind = Kind.MALFORMED
    key: bytes | None = b"client-1"
    headers: Sequence[Header] = ()
    identified: bool = True

    @property
    def record_kwargs(self) -> dict[str, Any]:
        """Key, value and headers as a producer's `send` takes them."""
        return {"key": self.key, "value": self.value, "headers": list(self.headers)}

    def record(self, offset: int = 0, topic: str = "gim.decisions", timestamp: int = 1772442843000) -> Plain:
        """The case as a committed record."""
        return Plain(topic, 0, offset, timestamp, self.key, self.value, self.headers)


def event(id_: str = "d-1", data: dict[str, Any] | None = None, **envelope: Any) -> dict[str, Any]:
    """A good decision of `credit-limit` as a document; `data` replaces fields of data, None removes one."""
    base: dict[str, Any] = {
        "model": {"name": "credit-limit", "version": "2.1.0"},
        "caller": "svc-portal",
        "features": {"limit_bal": 20000, "pay_0": 2},
        "output": {"label": "decline", "score": 0.31, "confidence": 0.74},
    }
    document = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": id_,
        "source": "/credit/eu-1",
        "time": "2026-03-02T09:14:03.120Z",
        "subject": "client-8231",
        **envelope,
        "data": {**base, **(data or {})},
    }
    return {name: value for name, value in document.items() if value is not ...}


def encode(document: dict[str, Any]) -> bytes:
    """Compact UTF-8 JSON; `...` as a value of data removes that field."""
    data = document.get("data")
    if isinstance(data, dict):
        document = {**document, "data": {name: value for name, value in data.items() if value is not ...}}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def decision(id_: str = "d-1", data: dict[str, Any] | None = None, **envelope: Any) -> bytes:
    """A good decision's bytes."""
    return encode(event(id_, data, **envelope))


def _with(field: bytes, inside: bytes = b'"data":{') -> bytes:
    """A good decision with raw JSON text put in front of its data's fields, or of `inside`."""
    return decision().replace(inside, inside + field, 1)


def _features(text: bytes) -> bytes:
    return decision().replace(b'{"limit_bal":20000,"pay_0":2}', b"{" + text + b"}")


def _binary(*more: Header, **attributes: str | None) -> tuple[Header, ...]:
    given = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": "b-1",
        "source": "/credit/eu-1",
        **attributes,
    }
    found = tuple((f"ce_{name}", text.encode()) for name, text in given.items() if text is not None)
    return (("content-type", b"application/json"), *found, *more)


def _deep(levels: int) -> bytes:
    return _with(b'"x":' + b"[" * levels + b"]" * levels + b",")


def padded(size: int) -> bytes:
    """A good decision of exactly this size."""
    base = _with(b'"note":"",')
    return base.replace(b'"note":"', b'"note":"' + b"x" * (size - len(base)))


DATA = encode(event()["data"])
BIG = b"18446744073709551616"  # 2 ** 64
UNREAD = {"identified": False}

_BYTES = [
    Case("null value (tombstone)", None, "null-value", **UNREAD),
    Case("empty value", b"", "empty", **UNREAD),
    Case("white space only", b" \n", "not-json", **UNREAD),
    Case("truncated", decision()[:-7], "not-json", **UNREAD),
    Case("one byte short", decision()[:-1], "not-json", **UNREAD),
    Case("two documents", decision() + decision("d-2"), "trailing-data", **UNREAD),
    Case("two documents, a line each", decision() + b"\n" + decision("d-2"), "trailing-data", **UNREAD),
    Case("garbage after the document", decision() + b" x", "trailing-data", **UNREAD),
    Case("NUL after the document", decision() + b"\x00", "trailing-data", **UNREAD),
    Case("comment after the document", decision() + b"//", "trailing-data", **UNREAD),
    Case("byte order mark", b"\xef\xbb\xbf" + decision(), "byte-order-mark", **UNREAD),
    Case("UTF-16", decision().decode().encode("utf-16"), "not-utf8", **UNREAD),
    Case("UTF-16 without a mark", decision().decode().encode("utf-16-le"), "not-json", **UNREAD),
    Case("Latin-1", decision(subject="Zoë").decode().encode("latin-1"), "not-utf8", **UNREAD),
    Case("bad UTF-8 in an unknown field", _with(b'"x":"\xff",'), "not-utf8", **UNREAD),
    Case("bad UTF-8 in an unknown field's name", _with(b'"\xc3":1,'), "not-utf8", **UNREAD),
    Case("over-long UTF-8", _with(b'"x":"\xc0\xaf",'), "not-utf8", **UNREAD),
    Case("a surrogate in UTF-8", _with(b'"x":"\xed\xa0\x80",'), "not-utf8", **UNREAD),
    Case("half a surrogate pair", _with(b'"x":"\\ud800 ......",'), "not-json", **UNREAD),
    Case("half a surrogate pair in an id", decision("@").replace(b"@", b"\\udc00"), "not-json", **UNREAD),
    Case("deep arrays", _deep(1_000), "too-deep", **UNREAD),
    Case("very deep arrays", _deep(200_000), "too-deep", **UNREAD),
    Case("one level too deep", _deep(DEPTH_LIMIT - 1), "too-deep", **UNREAD),
    Case("deep objects", _with(b'"x":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b","), "too-deep", **UNREAD),
    Case("deep and never closed", b"[" * 5_000, "too-deep", **UNREAD),
    Case("one byte too long", padded(VALUE_LIMIT + 1), "too-large", **UNREAD),
    Case("huge", padded(8 * VALUE_LIMIT), "too-large", **UNREAD),
    Case("not JSON at all", b"hello", "not-json", **UNREAD),
    Case("Avro or Protobuf with a schema id", b"\x00\x00\x00\x00\x07\x02\x08abc", "not-json", **UNREAD),
    Case("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "not-utf8", **UNREAD),
    Case("single quotes", decision().replace(b'"', b"'"), "not-json", **UNREAD),
    Case("trailing comma", decision()[:-1] + b",}", "not-json", **UNREAD),
    Case("raw control character in a string", _with(b'"x":"a\x01",'), "not-json", **UNREAD),
    Case("a control character for white space", decision().replace(b'"id"', b'\x0b"id"'), "not-json", **UNREAD),
    Case("bad escape", _with(b'"x":"\\q",'), "not-json", **UNREAD),
    Case("leading zero", _features(b'"limit_bal":01'), "not-json", **UNREAD),
    Case("hexadecimal number", _features(b'"limit_bal":0x1F'), "not-json", **UNREAD),
    Case("plus sign", _features(b'"limit_bal":+1'), "not-json", **UNREAD),
    Case("null document", b"null", "not-object", **UNREAD),
    Case("array", b"[" + decision() + b"]", "not-object", **UNREAD),
    Case("number", b"12", "not-object", **UNREAD),
    Case("string", b'"decision"', "not-object", **UNREAD),
    Case("NaN", _features(b'"limit_bal":NaN'), "not-finite", **UNREAD),
    Case("Infinity", _features(b'"limit_bal":Infinity'), "not-finite", **UNREAD),
    Case("-Infinity in an unknown field", _with(b'"x":-Infinity,'), "not-finite", **UNREAD),
]

_ENVELOPE = [
    Case("empty object", b"{}", "missing-field", **UNREAD),
    Case("no id", decision(id=...), "missing-field", **UNREAD),
    Case("no source", decision(source=...), "missing-field", **UNREAD),
    Case("no specversion", decision(specversion=...), "missing-field", **UNREAD),
    Case("no type", decision(type=...), "missing-field"),
    Case("CloudEvents 0.3", decision(specversion="0.3"), "wrong-specversion", **UNREAD),
    Case("specversion as a number", decision(specversion=1.0), "wrong-field-type", **UNREAD),
    Case("another type", decision(type="governance.decision.v2"), "wrong-type"),
    Case("a verdict", decision(type="governance.verdict.v1"), "wrong-type"),
    Case("empty id", decision(""), "wrong-length", **UNREAD),
    Case("id as a number", decision(id=7), "wrong-field-type", **UNREAD),
    Case("id of null", decision(id=None), "wrong-field-type", **UNREAD),
    Case("over-long id", decision("i" * 257), "wrong-length", **UNREAD),
    Case("over-long source", decision(source="/" * 1025), "wrong-length", **UNREAD),
    Case("NUL in an id", decision("a\x00b"), "control-characters", **UNREAD),
    Case("line feed in an id", decision("a\nb"), "control-characters", **UNREAD),
    Case("DEL in an id", decision("a\x7fb"), "control-characters", **UNREAD),
    Case("escape sequence in a source", decision(source="/a\x1b[2J"), "control-characters", **UNREAD),
    Case("control character in a subject", decision(subject="a\x07"), "control-characters"),
    Case("control character in a caller", decision(data={"caller": "a\r\nb"}), "control-characters"),
    Case("control character in a purpose", decision(data={"purpose": "a\tb"}), "control-characters"),
    Case(
        "control character in a version",
        decision(data={"model": {"name": "credit-limit", "version": "\x00"}}),
        "control-characters",
    ),
    Case("control character in a causation id", decision(causationid="a\x00"), "control-characters"),
    Case("subject as a number", decision(subject=8231), "wrong-field-type"),
    Case("empty subject", decision(subject=""), "wrong-length"),
    Case("time without a zone", decision(time="2026-03-02T09:14:03"), "bad-time"),
    Case("time that does not exist", decision(time="2026-02-29T09:14:03Z"), "bad-time"),
    Case("time of day that does not exist", decision(time="2026-03-02T24:00:00Z"), "bad-time"),
    Case("time with Arabic digits", decision(time="٢٠٢٦-03-02T09:14:03.120Z"), "bad-time"),
    Case("empty time", decision(time=""), "bad-time"),
    Case("time as a number", decision(time=1772442843120), "wrong-field-type"),
    Case("time in words", decision(time="yesterday"), "bad-time"),
    Case("data in XML", decision(datacontenttype="application/xml"), "unsupported-content"),
    Case("no data", encode({name: value for name, value in event().items() if name != "data"}), "missing-field"),
    Case("data of null", encode({**event(), "data": None}), "wrong-field-type"),
    Case("data as a string", encode({**event(), "data": DATA.decode()}), "wrong-field-type"),
    Case(
        "data in base 64",
        encode({**{n: v for n, v in event().items() if n != "data"}, "data_base64": "e30="}),
        "missing-field",
    ),
]

_DATA = [
    Case("no model", decision(data={"model": ...}), "missing-field"),
    Case("model as a string", decision(data={"model": "credit-limit"}), "wrong-field-type"),
    Case("no model name", decision(data={"model": {"version": "1"}}), "missing-field"),
    Case("no version", decision(data={"model": {"name": "credit-limit"}}), "missing-field"),
    Case("version as a number", decision(data={"model": {"name": "credit-limit", "version": 2}}), "wrong-field-type"),
    Case("over-long version", decision(data={"model": {"name": "credit-limit", "version": "1" * 65}}), "wrong-length"),
    Case("path in a model name", decision(data={"model": {"name": "../x", "version": "1"}}), "wrong-model-name"),
    Case(
        "line feed after a model name",
        decision(data={"model": {"name": "credit-limit\n", "version": "1"}}),
        "wrong-model-name",
    ),
    Case(
        "a model nobody declared",
        decision(data={"model": {"name": "shadow", "version": "1"}}),
        "undeclared-model",
        Kind.UNDECLARED,
    ),
    Case(
        "a model by another case",
        decision(data={"model": {"name": "Credit-Limit", "version": "1"}}),
        "undeclared-model",
        Kind.UNDECLARED,
    ),
    Case("no features", decision(data={"features": ...}), "missing-field"),
    Case("features of null", decision(data={"features": None}), "wrong-field-type"),
    Case("features as an array", decision(data={"features": [20000, 2]}), "wrong-field-type"),
    Case("a required feature is missing", _features(b'"pay_0":2'), "missing-feature"),
    Case("a required feature is null", _features(b'"limit_bal":null'), "wrong-field-type"),
    Case("text in a numeric feature", _features(b'"limit_bal":"20000"'), "wrong-field-type"),
    Case("true in a numeric feature", _features(b'"limit_bal":true'), "wrong-field-type"),
    Case("an array in a numeric feature", _features(b'"limit_bal":[1]'), "wrong-field-type"),
    Case("a number in a categorical feature", _features(b'"limit_bal":1,"product":12.50'), "wrong-field-type"),
    Case("true in a categorical feature", _features(b'"limit_bal":1,"product":true'), "wrong-field-type"),
    Case("over-long categorical feature", _features(b'"limit_bal":1,"product":"' + b"x" * 1025 + b'"'), "wrong-length"),
    Case("integer beyond 64 bits", _features(b'"limit_bal":' + BIG), "big-integer"),
    Case("negative integer beyond 64 bits", _features(b'"limit_bal":-9223372036854775809'), "big-integer"),
    Case("integer beyond 64 bits in an optional feature", _features(b'"limit_bal":1,"pay_0":' + BIG), "big-integer"),
    Case("integer beyond 64 bits in a score", decision(data={"output": {"score": int(BIG)}}), "big-integer"),
    Case(
        "integer beyond 64 bits in an attribution",
        decision(data={"feature_attributions": {"pay_0": int(BIG)}}),
        "big-integer",
    ),
    Case("integer beyond 64 bits in the latency", decision(data={"latency_ms": int(BIG)}), "big-integer"),
    Case("integer of 400 digits", _features(b'"limit_bal":' + b"9" * 400), "out-of-range"),
    Case("number beyond a float", _features(b'"limit_bal":1e999'), "out-of-range"),
    Case("no output", decision(data={"output": ...}), "missing-field"),
    Case("output of null", decision(data={"output": None}), "wrong-field-type"),
    Case("empty output", decision(data={"output": {}}), "no-output"),
    Case(
        "neither label nor score",
        decision(data={"output": {"label": None, "score": None, "confidence": 0.5}}),
        "no-output",
    ),
    Case("a label nobody declared", decision(data={"output": {"label": "maybe"}}), "unknown-label"),
    Case("label as a number", decision(data={"output": {"label": 1}}), "wrong-field-type"),
    Case("score as text", decision(data={"output": {"score": "0.3"}}), "wrong-field-type"),
    Case("confidence above one", decision(data={"output": {"score": 0.3, "confidence": 1.01}}), "out-of-range"),
    Case("confidence below zero", decision(data={"output": {"score": 0.3, "confidence": -0.01}}), "out-of-range"),
    Case("negative latency", decision(data={"latency_ms": -1}), "out-of-range"),
    Case("attribution as text", decision(data={"feature_attributions": {"pay_0": "x"}}), "wrong-field-type"),
    Case("prompt as an object", decision(data={"prompt": {}}), "wrong-field-type"),
    Case("groups as an array", decision(data={"groups": ["f"]}), "wrong-field-type"),
    Case(
        "generation without text",
        decision(data={"model": {"name": "writer", "version": "1"}, "output": {"text": None}}),
        "wrong-field-type",
    ),
    Case(
        "generation without output",
        decision(data={"model": {"name": "writer", "version": "1"}, "output": ...}),
        "missing-field",
    ),
    Case("action without action", decision(data={"model": {"name": "agent", "version": "1"}}), "missing-field"),
    Case(
        "action without tool",
        decision(data={"model": {"name": "agent", "version": "1"}, "action": {"arguments": {}}}),
        "missing-field",
    ),
    Case(
        "arguments as text",
        decision(data={"model": {"name": "agent", "version": "1"}, "action": {"tool": "t", "arguments": "x"}}),
        "wrong-field-type",
    ),
    Case(
        "the last of two model names is undeclared",
        decision().replace(b'"version":"2.1.0"}', b'"version":"2.1.0","name":"shadow"}'),
        "undeclared-model",
        Kind.UNDECLARED,
    ),
]

_HEADERS = [
    Case(
        "forged verdict header",
        decision(),
        "own-header",
        headers=[("govern-verdict", b"gim.decisions/0/0/gate")],
        **UNREAD,
    ),
    Case("forged header in capitals", decision(), "own-header", headers=[STRUCTURED, ("Govern-Seq", b"7")], **UNREAD),
    Case("forged header without a value", decision(), "own-header", headers=[("govern-", None)], **UNREAD),
    Case("over-long key", decision(), "key-too-large", key=b"k" * (KEY_LIMIT + 1), **UNREAD),
    Case(
        "Avro by content-type",
        decision(),
        "unsupported-content",
        headers=[("content-type", b"application/cloudevents+avro")],
        **UNREAD,
    ),
    Case(
        "a batch by content-type",
        decision(),
        "unsupported-content",
        headers=[("content-type", b"application/cloudevents-batch+json")],
        **UNREAD,
    ),
    Case(
        "two content-types",
        decision(),
        "repeated-header",
        headers=[STRUCTURED, ("content-type", b"application/json")],
        **UNREAD,
    ),
    Case("content-type without a value", decision(), "bad-header", headers=[("content-type", None)], **UNREAD),
    Case("content-type not UTF-8", decision(), "not-utf8", headers=[("content-type", b"\xff")], **UNREAD),
    Case(
        "binary: XML", b"<a/>", "unsupported-content", headers=[("content-type", b"text/xml"), *_binary()[1:]], **UNREAD
    ),
    Case("binary: two ids", DATA, "repeated-header", headers=_binary(("ce_id", b"b-2")), **UNREAD),
    Case("binary: id not UTF-8", DATA, "not-utf8", headers=_binary(("ce_subject", b"\xff")), **UNREAD),
    Case("binary: header without a value", DATA, "bad-header", headers=_binary(("ce_subject", None)), **UNREAD),
    Case("binary: no id", DATA, "missing-field", headers=_binary(id=None), **UNREAD),
    Case("binary: control character in an id", DATA, "control-characters", headers=_binary(id="a\x00"), **UNREAD),
    Case("binary: wrong type", DATA, "wrong-type", headers=_binary(type="x")),
    Case("binary: bad time", DATA, "bad-time", headers=_binary(time="now")),
    Case("binary: truncated data", DATA[:-1], "not-json", headers=_binary()),
    Case("binary: null value", None, "null-value", headers=_binary()),
    Case("binary: empty value", b"", "empty", headers=_binary()),
    Case("binary: data closes the document and adds an id", DATA + b',"id":"b-2"', "not-json", headers=_binary()),
    Case("binary: data that is a document and more", DATA + b"}" + b'{"id":"b-2"', "not-json", headers=_binary()),
    Case("binary: array", b"[" + DATA + b"]", "not-json", headers=_binary()),
    Case("binary: a whole structured event as data", decision(), "missing-field", headers=_binary()),
    Case("binary: deep data", b'{"x":' + b"[" * 900 + b"]" * 900 + b"}", "too-deep", headers=_binary()),
]

CORPUS: list[Case] = [*_BYTES, *_ENVELOPE, *_DATA, *_HEADERS]

GOOD: list[Case] = [
    Case("plain", decision(), ""),
    Case("structured by content-type", decision(), "", headers=[STRUCTURED]),
    Case("a foreign content-type, but a whole event", decision(), "", headers=[("content-type", b"application/json")]),
    Case("other headers", decision(), "", headers=[("traceparent", b"00-ab"), ("x", b"\xff"), ("x", None)]),
    Case("binary", DATA, "", headers=_binary(time="2026-03-02T09:14:03.120Z", subject="client-8231")),
    Case("null key", decision(), "", key=None),
    Case("longest key", decision(), "", key=b"k" * KEY_LIMIT),
    Case("maximum size", padded(VALUE_LIMIT), ""),
    Case("white space around", b" \r\n\t" + decision() + b"\n", ""),
    Case("indented", json.dumps(event(), indent=2).encode(), ""),
    Case("as deep as allowed", _deep(DEPTH_LIMIT - 2), ""),
    Case("many brackets, but flat", _with(b'"x":"' + b"[{" * 500 + b'",'), ""),
    Case("brackets and quotes in text", _with(b'"x":"' + b'\\"[{' * 500 + b'",'), ""),
    Case("many small objects", _with(b'"x":[' + b"{}," * 500 + b"{}],"), ""),
    Case("names from anywhere", decision(subject="Zoë Łódź 王 🙂"), ""),
    Case("escaped names", json.dumps(event(subject="Zoë 🙂")).encode(), ""),
    Case("line feeds in a prompt", decision(data={"prompt": "a\nb\x00"}), ""),
    Case("no time, no subject", decision(time=..., subject=...), ""),
    Case(
        "nulls where nulls may be",
        decision(time=None, subject=None, data={"caller": None, "prompt": None, "action": None}),
        "",
    ),
    Case("a time with an offset", decision(time="2026-03-02T10:14:03.12+01:00"), ""),
    Case("largest unsigned 64-bit integer", _features(b'"limit_bal":18446744073709551615'), ""),
    Case("large float", _features(b'"limit_bal":1e300'), ""),
    Case("an unknown version", decision(data={"model": {"name": "credit-limit", "version": "9"}}), ""),
    Case("an unknown feature of any shape", _features(b'"limit_bal":1,"new":[{"a":1e999}]'), ""),
    Case("an unknown attribute", decision(dataschema="https://example.org/s"), ""),
    Case("the last of two features counts", _features(b'"limit_bal":1,"limit_bal":20000'), ""),
    Case("score without label", decision(data={"output": {"score": 1}}), ""),
    Case(
        "text", decision(data={"model": {"name": "writer", "version": "1"}, "prompt": "p", "output": {"text": ""}}), ""
    ),
    Case(
        "action",
        decision(
            data={
                "model": {"name": "agent", "version": "1"},
                "output": ...,
                "action": {"tool": "pay", "arguments": {"to": [1]}},
            }
        ),
        "",
    ),
]
"""Decisions that a careless guard would refuse; `reason` is empty."""
