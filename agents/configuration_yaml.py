"""YAML to Configuration: every mistake at once, each with file, line, column and how to mend it.

Promise to operators: what is read is what stands there. Only JSON's kinds of values exist (`no` is text, `08:00` is
text, dates are text until a field wants one), a repeated key is an error, a misspelt one is named with its neighbour.
Several texts (models, calendars, policies …) are one configuration; a text with the key `policy` is a policy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agents.configuration import Configuration, ReferenceFaults
from agents.errors import ConfigError, Misconfigured, Place
from agents.escalation import unanswered
from agents.policy.compilation import Problem, compile_all
from agents.policy.sql import suggest
from agents.strict import Strict

if TYPE_CHECKING:
    from agents.monitor.contract import Monitor

Key = tuple[str | int, ...]
MOST_NODES = 200_000  # aliases may repeat a node; a text that unfolds to more is refused
DEEPEST = 40
_MAPS = ("models", "calendars", "monitors", "escalation")
_LISTS = ("sources", "policies")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class ConfigErrors(Misconfigured):
    """All that is wrong with a configuration; prints one mistake a line."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, errors)))


@dataclass(frozen=True)
class Spot:
    """Where a key or value stands, and the raw text of a scalar for places inside it."""

    place: Place
    raw: str = ""

    def inside(self, text: str, offset: int) -> Place:
        """The place of the character at `offset` of the scalar's value `text`.

        Folding and quoting change white space and marks only, so the n-th other character of both is the same.
        """
        if not self.raw or not text:
            return self.place
        count = sum(not c.isspace() for c in text[:offset])
        start = _body(self.raw)
        for at in range(start, len(self.raw)):
            if self.raw[at].isspace():
                continue
            if count == 0:
                before = self.raw[:at]
                line = before.count("\n")
                column = self.place.column + at if not line else at - before.rfind("\n")
                return Place(self.place.file, self.place.line + line, column)
            count -= 1
        return self.place


@dataclass
class Document:
    """What was read so far: plain values, and where each stands by its path."""

    values: dict[str, Any] = field(default_factory=dict)
    spots: dict[Key, Spot] = field(default_factory=dict)
    keys: dict[Key, Spot] = field(default_factory=dict)
    """Where a mapping's keys stand."""
    errors: list[ConfigError] = field(default_factory=list)

    def error(self, spot: Spot | None, problem: str, mend: str = "") -> None:
        """Note a mistake."""
        self.errors.append(ConfigError(problem, spot.place if spot else None, mend))


def read_configuration(
    texts: Iterable[tuple[str, str]],
    kinds: Callable[[], Mapping[str, type[Monitor]]] | None = None,
    further: Callable[[Configuration], Iterable[Problem]] = lambda configuration: (),
) -> Configuration:
    """The configuration that (file name, text) pairs make together; raises ConfigErrors with every mistake.

    Policies are put in order of their names, so that moving one to another file changes nothing. `kinds` gives the kinds
    of monitors there are, by default the product's own; it is asked only where monitors are configured. `further` gives
    what else is wrong with it where it is to be used.
    """
    document = Document()
    for file, text in texts:
        _read(document, file, text)
    if document.errors:
        raise ConfigErrors(_sorted(document.errors))
    try:
        configuration = Configuration.model_validate(document.values)
    except ValidationError as error:
        raise ConfigErrors(_sorted(_explained(document, error))) from error
    _check(document, configuration, kinds, further)
    named = {policy.policy: policy for policy in configuration.policies}
    return configuration.model_copy(update={"policies": tuple(named[name] for name in sorted(named))})


def _check(
    document: Document,
    configuration: Configuration,
    kinds: Callable[[], Mapping[str, type[Monitor]]] | None,
    further: Callable[[Configuration], Iterable[Problem]],
) -> None:
    """Compile policies and monitors; raises ConfigErrors."""
    problems: list[Problem] = []
    compile_all(configuration, problems)
    if configuration.monitors:
        from agents.monitor.compilation import find_monitors  # with its kinds it takes a second that most need not wait
        from agents.monitor.registry import KINDS

        find_monitors(configuration, problems, None, kinds() if kinds is not None else KINDS)
    problems += unanswered.problems(configuration)
    problems += further(configuration)
    for one in problems:
        spot, exact = _find(document, one.path)
        if _is_key(one):
            spot, exact = document.keys.get(one.path, spot), False
        text = _value(document.values, one.path)
        place = spot.inside(text, one.offset) if spot and exact and isinstance(text, str) else spot and spot.place
        document.errors.append(ConfigError(one.problem, place or None, one.mend))
    if document.errors:
        raise ConfigErrors(_sorted(document.errors))


def _is_key(one: Problem) -> bool:
    """True where a key is wrong rather than what stands behind it."""
    if one.path[0] == "monitors":
        return len(one.path) == 2 or one.problem.startswith("unknown option")
    return one.problem.startswith("unknown column") and "given" in one.path


# -- reading -----------------------------------------------------------------------------------------------------------


def _read(document: Document, file: str, text: str) -> None:
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        problem = " ".join(part for part in (error.context, error.problem) if part)
        document.errors.append(ConfigError(f"no valid YAML: {problem}", place, _yaml_mend(str(error.problem))))
        return
    except yaml.YAMLError as error:
        document.errors.append(
            ConfigError(f"no valid YAML: {str(error).splitlines()[0]}", Place(file), "save the file as UTF-8 text")
        )
        return
    except RecursionError:
        document.errors.append(ConfigError("nested too deeply", Place(file), ""))
        return
    for node in nodes:
        _merge(document, _Reader(document, file, text), node)


def _merge(document: Document, reader: _Reader, node: yaml.Node) -> None:
    """Add one YAML document to what was read."""
    if not isinstance(node, yaml.MappingNode):
        document.error(reader.spot(node), "a configuration is a mapping", "start with `models:` or `policy:`")
        return
    pairs = reader.pairs(node, ())
    if any(name == "policy" for name, _, _ in pairs):
        document.spots.setdefault(("policies",), reader.spot(node))
        index = len(document.values.setdefault("policies", []))
        document.values["policies"].append(reader.value(node, ("policies", index)))
        return
    for name, key, value in pairs:
        document.keys.setdefault((name,), reader.spot(key))
        document.spots.setdefault((name,), reader.spot(value))
        if name in _MAPS and isinstance(value, yaml.MappingNode):
            _merge_map(document, reader, name, value)
        elif name in _LISTS and isinstance(value, yaml.SequenceNode):
            items = document.values.setdefault(name, [])
            for item in value.value:
                items.append(reader.value(item, (name, len(items))))
        elif name in document.values:
            document.error(reader.spot(key), f"{name!r} is set twice", f"first in {document.keys[(name,)].place}")
        elif not (name in (*_MAPS, *_LISTS) and _is_null(value)):
            document.values[name] = reader.value(value, (name,))


def _merge_map(document: Document, reader: _Reader, name: str, node: yaml.MappingNode) -> None:
    entries = document.values.setdefault(name, {})
    for entry, key, value in reader.pairs(node, (name,)):
        if entry in entries:
            first = document.keys[(name, entry)].place
            document.error(reader.spot(key), f"{name}.{entry} is declared twice", f"first in {first}; remove one")
            continue
        document.keys[(name, entry)] = reader.spot(key)
        entries[entry] = reader.value(value, (name, entry))


class _Reader:
    """Turns the nodes of one text into plain values, noting where each stands."""

    def __init__(self, document: Document, file: str, text: str) -> None:
        self._document, self._file, self._text = document, file, text
        self._nodes = 0

    def spot(self, node: yaml.Node) -> Spot:
        """Where a node stands."""
        start, end = node.start_mark, node.end_mark
        raw = self._text[start.index : end.index] if isinstance(node, yaml.ScalarNode) else ""
        return Spot(Place(self._file, start.line + 1, start.column + 1), raw)

    def pairs(self, node: yaml.MappingNode, path: Key) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """Key text, key and value; a repeated or strange key is noted and left out."""
        found: list[tuple[str, yaml.Node, yaml.Node]] = []
        seen: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._document.error(self.spot(key), "a key is plain text", "write `name: value`")
            elif key.tag.endswith(":merge"):
                self._document.error(self.spot(key), "`<<` is not understood", "write the keys out")
            elif key.value in seen:
                first = seen[key.value].start_mark.line + 1
                self._document.error(self.spot(key), f"key {key.value!r} stands twice", f"first in line {first}")
            else:
                seen[key.value] = key
                found.append((key.value, key, value))
        return found

    def value(self, node: yaml.Node, path: Key) -> Any:
        """The plain value of a node."""
        self._nodes += 1
        self._document.spots[path] = self.spot(node)
        if self._nodes > MOST_NODES or len(path) > DEEPEST:
            if self._nodes <= MOST_NODES + 1:
                self._document.error(self.spot(node), "too large or nested too deeply", "use fewer aliases")
            return None
        if isinstance(node, yaml.MappingNode):
            result = {}
            for name, key, value in self.pairs(node, path):
                self._document.keys[(*path, name)] = self.spot(key)
                result[name] = self.value(value, (*path, name))
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text.lower() == "true"
        if _INTEGER.fullmatch(text):
            return int(text) if len(text) < 20 else float(text)
        return float(text) if _NUMBER.fullmatch(text) else text


_SHAPES = {
    "tuple_type": ("this is no list", "write `- …` lines, or [a, b]"),
    "list_type": ("this is no list", "write `- …` lines, or [a, b]"),
    "dict_type": ("this is no mapping", "write `name: …` lines"),
    "model_type": ("this is no mapping", "write `name: …` lines"),
    "model_attributes_type": ("this is no mapping", "write `name: …` lines"),
}

# -- mistakes ----------------------------------------------------------------------------------------------------------


def _explained(document: Document, error: ValidationError) -> list[ConfigError]:
    """pydantic's errors in the operator's terms; of a field's alternatives only the first is told."""
    told: dict[tuple[object, object], ConfigError] = {}
    seen: set[Key] = set()
    for one in error.errors(include_url=False):
        fault = one.get("ctx", {}).get("error")
        if isinstance(fault, ReferenceFaults):
            told |= {(None, path_told): _of_reference(document, *path_told) for path_told in fault.faults}
            continue
        path = _known_path(document, one["loc"])
        if path in seen and one["type"] not in ("extra_forbidden", "missing"):
            continue
        seen.add(path)
        found = _explain(document, one, path)
        told.setdefault((found.place, found.problem), found)
    return list(told.values())


def _of_reference(document: Document, path: Key, problem: str) -> ConfigError:
    spot, _ = _find(document, path)
    told, _, mend = problem.partition("; ")
    return ConfigError(told, spot.place if spot else None, mend or "declare it, or check its spelling")


def _explain(document: Document, one: ErrorDetails, path: Key) -> ConfigError:
    spot, _ = _find(document, path)
    name = str(one["loc"][-1]) if one["loc"] else ""
    if one["type"] == "extra_forbidden":
        key = document.keys.get(path) or spot
        allowed = _fields(path[:-1])
        mend = suggest(name, dict.fromkeys(allowed)) or (f"known are: {', '.join(allowed)}" if allowed else "remove it")
        return ConfigError(f"unknown key {name!r}", key.place if key else None, mend)
    if one["type"] == "missing":
        key = document.keys.get(path) or spot
        return ConfigError(f"key {name!r} is missing", key.place if key else None, f"add `{name}: …`")
    if name == "[key]":
        spot = document.keys.get((*path, str(one["input"]))) or document.keys.get(path) or spot
    message = one["msg"].removeprefix("Value error, ")
    problem, _, mend = message.partition("; ")
    if one["type"] == "string_type" and not isinstance(one["input"], dict | list):
        raw = spot.raw if spot else str(one["input"])
        problem, mend = f"{raw} is not text", f'write it in quotes: "{raw}"'
    elif one["type"] == "string_pattern_mismatch":
        problem, mend = f"{one['input']!r} is no name", "use letters, digits, dots, dashes and underscores"
    elif one["type"] in _SHAPES:
        problem, mend = _SHAPES[one["type"]]
    elif one["type"] in ("enum", "literal_error"):
        expected = str(one.get("ctx", {}).get("expected", ""))
        problem = f"{one['input']!r} is not allowed here"
        choices = {choice.strip("'"): None for choice in re.findall(r"'[^']*'", expected)}
        mend = suggest(str(one["input"]), choices) or f"use {expected}"
    where = ".".join(piece for piece in path[-2:] if isinstance(piece, str))
    lead = f"{where}: " if one["type"] not in ("value_error", "string_pattern_mismatch") and where else ""
    return ConfigError(
        lead + problem[:1].lower() + problem[1:] if lead else problem, spot.place if spot else None, mend
    )


def _known_path(document: Document, loc: Sequence[str | int]) -> Key:
    """The part of pydantic's location that exists in the text; pieces that name alternatives are left out."""
    path: Key = ()
    for place, piece in enumerate(loc):
        if (*path, piece) in document.spots or (*path, piece) in document.keys:
            path = (*path, piece)
        elif place == len(loc) - 1 and not path:
            return (piece,)
    return path


def _find(document: Document, path: Key) -> tuple[Spot | None, bool]:
    """The spot of a path or of the nearest one around it, and whether it is exact."""
    for end in range(len(path), 0, -1):
        flat = path[:end]
        if flat in document.spots:
            return document.spots[flat], end == len(path)
    return None, False


def _value(values: Any, path: Key) -> Any:
    for piece in path:
        if isinstance(values, Mapping):
            values = values.get(piece)
        elif isinstance(values, list) and isinstance(piece, int) and piece < len(values):
            values = values[piece]
        else:
            return None
    return values


def _fields(path: Key) -> list[str]:
    """Keys that may stand at a path: follows the models' annotations."""
    model: type[Strict] | None = Configuration
    pieces = list(path)
    while pieces and model is not None:
        piece = pieces.pop(0)
        info = model.model_fields.get(str(piece))
        if info is None:
            return []
        inner = _models_in(info.annotation)
        model = inner[0] if inner else None
        if pieces and info.annotation is not None and not _is_model(info.annotation):
            pieces.pop(0)  # a name in a mapping, or an index
    return [info.alias or name for name, info in model.model_fields.items()] if model is not None else []


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Strict)


def _models_in(annotation: Any) -> list[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def _body(raw: str) -> int:
    """Where a scalar's characters start: after a quote, or after the line of a block's `|` or `>`."""
    if raw[:1] in "|>":
        return raw.find("\n") + 1
    return 1 if raw[:1] in "'\"" else 0


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null")


def _sorted(errors: Iterable[ConfigError]) -> list[ConfigError]:
    unknown = Place("")
    return sorted(errors, key=lambda e: ((p := e.place or unknown).file, p.line, p.column, e.problem))


def _yaml_mend(problem: str) -> str:
    if "mapping values are not allowed" in problem:
        return "put text that holds a colon in quotes"
    if "got '?'" in problem:
        return "put text that holds a question mark in quotes"
    if "found character '\\t'" in problem:
        return "indent with spaces, not tabs"
    return "check quotes and indentation near here"
