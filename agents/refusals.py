"""Why a decoder refused a record, as a fixed word for machines and a sentence that names the field but no value.

msgspec's messages may quote the offending value, which may be personal; only the field's path is taken from them.
"""

from __future__ import annotations

import re

import msgspec

from agents.errors import Malformed

_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")
_NOT_FINITE = re.compile(rb"[:\[,]\s*-?(?:NaN|Infinity)")
_WORDS = {
    "specversion": "wrong-specversion",
    "type": "wrong-type",
    "datacontenttype": "unsupported-content",
    "data.output.label": "unknown-label",
    "data.model.name": "wrong-model-name",
}


def refusal(error: Exception, value: bytes) -> Malformed:
    """What to answer for an error of a msgspec decoder on these bytes."""
    if isinstance(error, UnicodeDecodeError):
        return Malformed("the value is not UTF-8", "not-utf8")
    if isinstance(error, RecursionError):
        return Malformed("the value nests too deep", "too-deep")
    if isinstance(error, msgspec.ValidationError):
        return _typed(str(error))
    if "trailing characters" in str(error):
        return Malformed("there is more after the JSON document", "trailing-data")
    if _NOT_FINITE.search(value):
        return Malformed("NaN and Infinity are no JSON numbers", "not-finite")
    return Malformed("the value is not a JSON document", "not-json")


def _typed(message: str) -> Malformed:
    found = _MESSAGE.fullmatch(message)
    what, path = (found["what"], found["path"] or "$") if found else (message, "$")
    field = path.removeprefix("$").removeprefix(".")
    missing = _MISSING.search(what)
    if missing:
        name = f"{field}.{missing['field']}".removeprefix(".")
        return Malformed(f"`{name}` is missing", "missing-feature" if field == "data.features" else "missing-field")
    if not field:
        return Malformed("the value is not a JSON object", "not-object")
    if "Invalid enum value" in what:
        return Malformed(f"`{field}` is not one of the allowed values", _WORDS.get(field, "wrong-value"))
    if "of length" in what:
        return Malformed(f"`{field}` is too short or too long", "wrong-length")
    if "matching regex" in what:
        return Malformed(f"`{field}` has characters that it must not have", _WORDS.get(field, "wrong-value"))
    if "out of range" in what or re.search(r"Expected `\w+` [<>]=? ", what):
        return Malformed(f"`{field}` is out of range", "out-of-range")
    return Malformed(f"`{field}` has the wrong type{_types(what)}", "wrong-field-type")


def _types(what: str) -> str:
    """The two type names of `Expected `a`, got `b``, which never hold a value."""
    found = re.fullmatch(r"Expected `(?P<wanted>[\w |]+)`, got `(?P<got>\w+)`", what)
    return f" (wanted {found['wanted']}, got {found['got']})" if found else ""
