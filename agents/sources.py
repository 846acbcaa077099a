"""An existing topic read as decisions: a `source:` of the configuration, made ready to translate its records.

A mapping takes a record's JSON apart by field paths and gives the same facts as a structured decision document, which
then meets every check that a native decision meets. The record's own bytes are untouched: they are what is released,
held, hashed and archived. A record that lacks what a decision needs (id, model, version, …) is malformed.

Paths: `$.a.b[0]` or `$['a b'][0]` into the JSON; `$headers.ce_id` a header's text; `$key` the key's text. In a text field
(ids, labels, categorical features …) an integer is written in decimal; `time` may be an integer of milliseconds since
1970. What a path does not find, and null, is left out.

KServe (`format: kserve`): the inference logger sends CloudEvents in binary mode, one for the request and one for the
response, with the same id; through a Kafka sink their attributes are headers `ce_id`, `ce_type` … (some bridges keep the
HTTP names `ce-id` …: both are read). A response is a decision: id and time come from the headers unless mapped; the
model is usually `$headers.ce_inferenceservicename`. A request is no decision (set the logger's mode to `response`), and
a response with several predictions is refused, since only one of them would be judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from agents.configuration import Model, Source
from agents.decoding import DECISION_TYPE, FAILURES, check_value
from agents.envelope import envelope_text
from agents.errors import Malformed, Misconfigured
from agents.records import Header, Record

KSERVE_REQUEST = "org.kubeflow.serving.inference.request"
KSERVE_RESPONSE = "org.kubeflow.serving.inference.response"
_KSERVE_DEFAULTS = {"id": "$headers.ce_id", "time": "$headers.ce_time"}

_ENVELOPE = {"id", "time", "subject", "traceparent", "correlationid", "causationid"}
_DATA = {"caller", "purpose", "prompt", "latency_ms", "features", "feature_attributions", "groups"}
_PARTS = {
    "features": None,
    "feature_attributions": None,
    "groups": None,
    "output": {"label", "score", "confidence", "text"},
    "action": {"tool", "arguments"},
}
_NUMBERS = {"latency_ms", "output.score", "output.confidence"}
_ROOT = re.compile(r"\$(headers|key)?")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Step = str | int


class Path:
    """A compiled field path; raises Misconfigured where it is none.

    >>> Path("$.a[1]['b c']").steps
    ('a', 1, 'b c')
    """

    def __init__(self, text: str) -> None:
        root = _ROOT.match(text)
        if root is None:
            raise Misconfigured(f"{text!r} is not a field path; write for example $.model.name, $headers.ce_id or $key")
        self.root = root[1] or "body"
        steps: list[Step] = []
        place = root.end()
        while place < len(text):
            step = _STEP.match(text, place)
            if step is None:
                raise Misconfigured(
                    f"{text!r} is not a field path: unexpected {text[place:]!r}; write for example $.a.b[0]"
                )
            steps.append(int(step[2]) if step[2] is not None else step[1] if step[1] is not None else step[3])
            place = step.end()
        self.steps = tuple(steps)
        if len(steps) != {"body": len(steps), "headers": 1, "key": 0}[self.root]:
            raise Misconfigured(f"{text!r} is not a field path; write $key, or $headers.name")

    def find(self, roots: Mapping[str, object]) -> object:
        """What stands there, or None."""
        found = roots.get(self.root)
        for step in self.steps:
            if isinstance(step, int):
                if not isinstance(found, list) or step >= len(found):
                    return None
                found = found[step]
            elif isinstance(found, dict):
                found = found.get(step)
            else:
                return None
        return found


class SourceMapping:
    """One `source:` of the configuration, compiled; raises Misconfigured for a path or field that cannot be."""

    def __init__(self, source: Source, models: Mapping[str, Model]) -> None:
        self.topic = source.topic
        self._kserve = source.format == "kserve"
        self._models = models
        fields = {**_KSERVE_DEFAULTS, **source.fields} if self._kserve else dict(source.fields)
        if "id" not in fields:
            raise Misconfigured(f"the source of topic {source.topic!r} maps no id; add fields: {{id: $.path}}")
        self._fields = [(_target(name), Path(path)) for name, path in fields.items()]
        self._model, self._version, self._source = (
            _or_literal(text) for text in (source.model, source.version, source.source)
        )
        paths = [path for _, path in self._fields]
        paths += [path for path in (self._model, self._version, self._source) if isinstance(path, Path)]
        self._names = frozenset(str(path.steps[0]) for path in paths if path.root == "headers")
        self._keyed = any(path.root == "key" for path in paths)

    def translate(self, record: Record) -> bytes:
        """The record as a structured decision document; raises Malformed where its bytes cannot be taken apart."""
        value = check_value(record.value)
        headers = self._headers(record.headers)
        try:
            body: object = msgspec.json.decode(value)
        except FAILURES as error:
            raise Malformed("the value is not one JSON document", "not-json") from error
        if self._kserve:
            _check_kserve(headers, body)
        roots: dict[str, object] = {"body": body, "headers": headers, "key": _text(record.key) if self._keyed else None}
        try:
            return msgspec.json.encode(self._document(roots))
        except OverflowError as error:
            raise Malformed("a mapped field holds an integer beyond 64 bits", "big-integer") from error

    def extra(self, record: Record) -> tuple[object, ...]:
        """What belongs to the decision besides the value's bytes: the mapped headers and key. For fingerprints."""
        headers = sorted(self._headers(record.headers).items()) if self._names else []
        return (*headers, record.key if self._keyed else None)

    def _headers(self, headers: Iterable[Header]) -> dict[str, str]:
        wanted = self._names | {"ce_type"} if self._kserve else self._names
        found: dict[str, str] = {}
        for name, value in headers:
            known = name.lower().replace("-", "_") if self._kserve else name
            if known in wanted:
                if known in found:
                    raise Malformed("a mapped header stands twice", "repeated-header")
                found[known] = envelope_text(value)
        return found

    def _document(self, roots: Mapping[str, object]) -> dict[str, object]:
        model = _as_text(_resolve(self._model, roots))
        declared = self._models.get(model) if isinstance(model, str) else None
        data: dict[str, object] = {"model": _without_none(name=model, version=_as_text(_resolve(self._version, roots)))}
        document: dict[str, object] = {"specversion": "1.0", "type": DECISION_TYPE}
        document |= _without_none(source=_as_text(_resolve(self._source, roots)))
        for target, path in self._fields:
            found = path.find(roots)
            if found is not None:
                _put(document if target[0] in _ENVELOPE else data, target, _converted(target, found, declared))
        document["data"] = data
        return document


def _check_kserve(headers: Mapping[str, str], body: object) -> None:
    """A KServe record is a decision where it is a response with one prediction (protocol v1 or v2)."""
    kind = headers.get("ce_type")
    if kind == KSERVE_REQUEST:
        raise Malformed("an inference request is no decision; set the logger's mode to `response`", "wrong-type")
    if kind != KSERVE_RESPONSE:
        raise Malformed("the header ce_type does not name an inference response", "wrong-type")
    if not isinstance(body, dict):
        raise Malformed("the response is not a JSON object", "not-object")
    predictions, outputs = body.get("predictions"), body.get("outputs")
    rows = len(predictions) if isinstance(predictions, list) else 1
    for output in outputs if isinstance(outputs, list) else []:
        shape = output.get("shape") if isinstance(output, dict) else None
        if isinstance(shape, list) and shape and shape[0] != 1:
            rows = 0
    if rows != 1:
        raise Malformed("the response does not hold exactly one prediction", "several-predictions")


def _target(name: str) -> tuple[str, ...]:
    head, dot, rest = name.partition(".")
    known = _PARTS.get(head)
    if (not dot and name in _ENVELOPE | _DATA) or (
        dot and rest and head in _PARTS and (known is None or rest in known)
    ):
        return (head, rest) if dot else (name,)
    raise Misconfigured(
        f"{name!r} is no field of a decision; use for example id, time, subject, features.x, output.score"
    )


def _or_literal(text: str) -> Path | str:
    return Path(text) if text.startswith("$") else text


def _resolve(path: Path | str, roots: Mapping[str, object]) -> object:
    return path.find(roots) if isinstance(path, Path) else path


def _put(into: dict[str, object], target: tuple[str, ...], value: object) -> None:
    if len(target) == 1:
        existing = into.get(target[0])
        into[target[0]] = {**value, **existing} if isinstance(value, dict) and isinstance(existing, dict) else value
        return
    part = into.setdefault(target[0], {})
    if isinstance(part, dict):  # otherwise the whole is malformed, which the decoder will say
        part[target[1]] = value


def _converted(target: tuple[str, ...], value: object, declared: Model | None) -> object:
    """Integers as text where the contract wants text; a time in milliseconds as RFC 3339."""
    if target == ("time",):
        return _rfc3339(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if target[0] == "features" and isinstance(value, dict):
        return {name: _feature(name, one, declared) for name, one in value.items()}
    if target[0] == "features":
        return _feature(target[1], value, declared) if len(target) == 2 else value
    if (
        target[0] in ("feature_attributions", "groups")
        or ".".join(target) in _NUMBERS
        or target == ("action", "arguments")
    ):
        return value
    return _as_text(value)


def _feature(name: str, value: object, declared: Model | None) -> object:
    feature = declared.features.get(name) if declared is not None else None
    return _as_text(value) if feature is not None and feature.type == "categorical" else value


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rfc3339(milliseconds: int) -> object:
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return ""  # no time of our calendar: the decoder refuses it by name
    return moment.isoformat(timespec="milliseconds")


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Malformed("the key is mapped, but is not UTF-8", "not-utf8") from error


def _without_none(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
