"""A declared model's contract as typed decoders: what msgspec checks in C, and the guards for what it lets through.

Promise to frames.py: bytes that pass are one JSON document that fits the declaration, whoever reads them next. There is
one JSON parser (msgspec) and so one answer to what it leaves open: of a repeated key the last one counts, everywhere.
Unknown fields are skipped, but must be well-formed JSON in UTF-8 and no deeper than DEPTH_LIMIT.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from agents.configuration import Model
from agents.errors import Malformed, Misconfigured
from agents.events import ID_LIMIT, SOURCE_LIMIT

DECISION_TYPE = "governance.decision.v1"
DEPTH_LIMIT = 64  # levels of {} and []; msgspec's own limit depends on how deep the caller's stack already is
VALUE_LIMIT = 1_048_576  # bytes of a record's value
KEY_LIMIT = 65_536  # bytes of a key: `held` carries it in base64 within the 64 KiB that topic allows on top
TEXT_LIMIT = 1024  # characters of a categorical feature
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\"\\]")
FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # all that a msgspec decoder raises on bad bytes

_Id = Annotated[str, Meta(min_length=1, max_length=ID_LIMIT)]
_Source = Annotated[str, Meta(min_length=1, max_length=SOURCE_LIMIT)]
_Version = Annotated[str, Meta(min_length=1, max_length=64)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SAFE_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]{0,63}")
_BOUNDED = Annotated[
    float, Meta(gt=-(2.0**63), lt=2.0**64)
]  # from there on an integer may have lost digits: look again
_POSITIVE = Annotated[float, Meta(ge=0)]
_BOUNDED_POSITIVE = Annotated[float, Meta(ge=0, lt=2.0**64)]
_ENVELOPE: list[tuple[str, Any] | tuple[str, Any, Any]] = [
    ("specversion", Literal["1.0"]),
    ("type", Literal["governance.decision.v1"]),
    ("id", _Id),
    ("source", _Source),
    ("time", str | None, None),
    ("subject", _Id | None, None),
    ("datacontenttype", Literal["application/json"] | None, None),
    ("correlationid", _Id | None, None),
    ("causationid", _Id | None, None),
    ("traceparent", str | None, None),
]


Decode = Callable[[bytes], Any]  # a struct made at run time has no static type


def _struct(name: str, fields: Sequence[Any], rename: dict[str, str] | None = None) -> type[msgspec.Struct]:
    """A struct type made at run time; its fields in the usual order of the JSON, which msgspec reads fastest."""
    return msgspec.defstruct(name, fields, kw_only=True, gc=False, rename=rename)


class Identity(msgspec.Struct, gc=False):
    """The part of an envelope that says which decision this is."""

    specversion: Literal["1.0"]
    id: _Id
    source: _Source


class _AnyModel(msgspec.Struct, gc=False):
    name: Annotated[str, Meta(pattern=_NAME)]
    version: _Version


class _AnyData(msgspec.Struct, gc=False):
    model: _AnyModel


class AnyDecision(msgspec.Struct, gc=False):
    """Just enough of a decision to know its model, whatever else it holds."""

    data: _AnyData


class _LooseModel(msgspec.Struct, gc=False):
    name: Any = None
    version: Any = None


class _LooseData(msgspec.Struct, gc=False):
    model: _LooseModel | None = None


class _LooseDecision(msgspec.Struct, gc=False):
    data: _LooseData | None = None


identity_of = msgspec.json.Decoder(Identity).decode
model_of = msgspec.json.Decoder(AnyDecision).decode
envelope_of: Decode = msgspec.json.Decoder(_struct("Envelope", [*_ENVELOPE, ("data", msgspec.Raw)])).decode
object_of = msgspec.json.Decoder(_struct("AnyObject", [])).decode
_loose = msgspec.json.Decoder(_LooseDecision).decode


def readable_model(value: bytes) -> tuple[str | None, str | None]:
    """Model name and version as far as they can be read and are safe to print; for the verdict of a faulty record."""
    try:
        data = _loose(value).data
    except FAILURES:
        return None, None
    model = data.model if data is not None else None
    if model is None:
        return None, None
    return _safe(model.name, _SAFE_NAME), _safe(model.version, _SAFE_VERSION)


def _safe(value: object, shape: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and shape.fullmatch(value) else None


def check_value(value: bytes | None, limit: int = VALUE_LIMIT) -> bytes:
    """The value, if its bytes may be given to a parser at all; otherwise raise Malformed."""
    if value is None:
        raise Malformed("the record has no value (a tombstone)", "null-value")
    if not value:
        raise Malformed("the value is empty", "empty")
    if len(value) > limit:
        raise Malformed(f"the value is longer than {limit} bytes", "too-large")
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the value is not UTF-8 (byte {error.start})", "not-utf8") from error
    if value.startswith(b"\xef\xbb\xbf"):
        raise Malformed("the value starts with a byte order mark", "byte-order-mark")
    if too_deep(value):
        raise Malformed(f"the value nests deeper than {DEPTH_LIMIT} levels", "too-deep")
    return value


class Contract:
    """One declared model's decoders.

    `decode` is the quick one. What it refuses only because a number lies outside 64 bits, `decode_wide` accepts;
    `lost_digits` then tells an integer that no longer is itself from an honest large number.
    """

    def __init__(self, name: str, declaration: Model, catch_all: bool = False) -> None:
        self.name = name
        self.declaration = declaration
        self.catch_all = catch_all
        """True: this declaration stands in for models that nobody declared, so the name in the data is another one."""
        self.features = list(declaration.features)
        for feature in (*self.features, *declaration.labels):
            if not feature or _UNSAFE.search(feature):
                raise Misconfigured(
                    f"model {name!r}: {feature!r} cannot be a feature or label; use no quotes or backslashes"
                )
        self.decode: Decode = msgspec.json.Decoder(self._decision(_BOUNDED)).decode
        self.decode_wide: Decode = msgspec.json.Decoder(self._decision(float)).decode
        self.empty_attributions = self._attributions(float)()
        self._literals = msgspec.json.Decoder(_Literals).decode

    def lost_digits(self, value: bytes) -> str | None:
        """The first number field that holds an integer beyond 64 bits (which a float would silently round)."""
        data = self._literals(value).data
        numeric = [name for name, feature in self.declaration.features.items() if feature.type == "numeric"]
        places = [
            ("features", data.features, numeric),
            ("feature_attributions", data.feature_attributions, self.features),
        ]
        places.append(("output", data.output, ["score", "confidence"]))
        for field, raw, names in places:
            for name in names:
                if raw is not None and name in raw and _too_large(raw[name]):
                    return f"data.{field}.{name}"
        return "data.latency_ms" if _too_large(data.latency_ms) else None

    def _decision(self, number: Any) -> type[msgspec.Struct]:
        kind, features = self.declaration.kind, self._features(number)
        needed = any(not feature.missing for feature in self.declaration.features.values())
        action = _struct(
            "Action", [("tool", _Id), ("arguments", dict[str, msgspec.Raw], msgspec.field(default_factory=dict))]
        )
        output = self._output(number)
        data = _struct(
            "Data",
            [
                ("model", self._model()),
                ("caller", _Id | None, None),
                ("purpose", _Id | None, None),
                ("features", features) if needed else ("features", features, msgspec.field(default_factory=features)),
                ("prompt", str | None, None),
                ("output", output | None, None) if kind == "action" else ("output", output),
                ("action", action) if kind == "action" else ("action", action | None, None),
                ("feature_attributions", self._attributions(number) | None, None),
                ("latency_ms", (_POSITIVE if number is float else _BOUNDED_POSITIVE) | None, None),
                ("groups", dict[str, str | None] | None, None),
            ],
        )
        return _struct("Decision", [*_ENVELOPE, ("data", data)])

    def _model(self) -> type[msgspec.Struct]:
        name = Annotated[str, Meta(pattern=_NAME)] if self.catch_all else Literal[self.name]
        return _struct("ModelRef", [("name", name), ("version", _Version)])

    def _features(self, number: Any) -> type[msgspec.Struct]:
        fields: list[Any] = []
        for index, feature in enumerate(self.declaration.features.values()):
            kind = number if feature.type == "numeric" else Annotated[str, Meta(max_length=TEXT_LIMIT)]
            fields.append((f"f{index}", kind | None, None) if feature.missing else (f"f{index}", kind))
        return _struct("Features", fields, {f"f{index}": name for index, name in enumerate(self.features)})

    def _attributions(self, number: Any) -> type[msgspec.Struct]:
        fields = [(f"f{index}", number, None) for index in range(len(self.features))]
        return _struct("Attributions", fields, {f"f{index}": name for index, name in enumerate(self.features)})

    def _output(self, number: Any) -> type[msgspec.Struct]:
        labels = tuple(self.declaration.labels)
        label = Literal[labels] if labels else Annotated[str, Meta(max_length=ID_LIMIT)]
        text = ("text", str) if self.declaration.kind == "generation" else ("text", str | None, None)
        return _struct(
            "Output",
            [("label", label | None, None), ("score", number | None, None), ("confidence", _Share | None, None), text],
        )


class _LiteralData(msgspec.Struct, gc=False):
    features: dict[str, msgspec.Raw] | None = None
    feature_attributions: dict[str, msgspec.Raw] | None = None
    output: dict[str, msgspec.Raw] | None = None
    latency_ms: msgspec.Raw = msgspec.Raw(b"null")


class _Literals(msgspec.Struct, gc=False):
    data: _LiteralData


def _too_large(raw: msgspec.Raw) -> bool:
    text = bytes(raw)
    return re.fullmatch(rb"-?\d+", text) is not None and not -(2**63) <= int(text) < 2**64


def screen(values: list[bytes], limit: int) -> list[int]:
    """Empty, in place, the values that no parser may see; give the rows whose strings may hold control characters.

    Raw control characters are no JSON, so only values with an escape or a DEL need a look at their ids afterwards.
    Looks at all values joined first: a batch of ordinary records costs a fraction of a microsecond each.
    """
    joined = b"".join(values)
    longest = max(map(len, values), default=0)
    if not joined.isascii() or longest > limit or not _shallow(joined, longest):
        for row, value in enumerate(values):
            if not _parseable(value, limit):
                values[row] = b""
    if 0x5C in joined or 0x7F in joined:
        return [row for row, value in enumerate(values) if 0x5C in value or 0x7F in value]
    return []


def _parseable(value: bytes, limit: int) -> bool:
    if len(value) > limit or too_deep(value):
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shallow(joined: bytes, longest: int) -> bool:
    """True where surely none of the joined values nests deeper than DEPTH_LIMIT; may be False without need.

    A value that deep has more than DEPTH_LIMIT openings; where any DEPTH_LIMIT + 1 openings in a row lie further apart
    than the longest value, no value has as many.
    """
    cells = np.frombuffer(joined, dtype=np.uint8)
    opening = cells == ord("{")
    if 0x5B in joined:  # "["
        opening |= cells == ord("[")
    places = np.flatnonzero(opening)
    if len(places) <= DEPTH_LIMIT:
        return True
    return bool((places[DEPTH_LIMIT:] - places[:-DEPTH_LIMIT]).min() >= longest)


def too_deep(value: bytes) -> bool:
    """True where the value nests deeper than DEPTH_LIMIT."""
    return value.count(b"{") + value.count(b"[") > DEPTH_LIMIT and depth(value) > DEPTH_LIMIT


def depth(value: bytes) -> int:
    """How deep {} and [] nest outside strings; exact for valid JSON, linear in time, needs no stack."""
    level = deepest = 0
    for mark in _MARKS.findall(value):
        if mark in b"{[":
            level += 1
            deepest = max(deepest, level)
        elif mark in b"}]":
            level -= 1
    return deepest


_MARKS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\]]', re.DOTALL)
