"""The first configuration of a model, written from a guess: one commented file of at most 25 lines whose rules' tests pass."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from orchestration.guessing import Guess, labels_of

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_ /-]*")
_NAME = re.compile(r"[A-Za-z]\w*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "~"}


@dataclass(frozen=True)
class Starter:
    """What the file is written from."""

    model: str
    source: str
    """The file, or the topic, as its reader calls it."""
    topic: str
    """What `sources:` names; empty: the records are decisions in the contract's own form."""
    frame: pl.DataFrame
    guess: Guess
    monitors: Sequence[str]
    """Kinds that can watch it."""
    callers: Sequence[str] = ()
    versions: Sequence[str] = ("1",)
    generation: bool = False


def text_of(one: Starter) -> str:
    """The file."""
    guess, labels = one.guess, labels_of(one.frame, one.guess.label)
    budget = "false_alarms: 1 per year" if guess.time else f"arl: {arl(one.frame.height)}"
    in_words = (
        "of all monitors together"
        if guess.time
        else "decisions between two of them; with times: false_alarms: 1 per year"
    )
    lines = [
        f"# Written by `govern init` from {one.frame.height:,} decisions of {one.source}: correct it, then check it.",
        "models:",
        f"  {one.model}:",
        *(["    kind: generation"] if one.generation else []),
        "    mode: observe                  # only says what would have happened; gate: in the path",
        *(
            ["    clock: event                   # go by the decisions' times; live systems: broker"]
            if guess.time
            else []
        ),
        f"    versions: {_list(one.versions)}",
        *([f"    callers: {_list(one.callers)}"] if one.callers else []),
        f"    features: {_map({_short(name): kind for name, kind in guess.features.items()})}",
        f"    labels: {_labels(labels, guess.favourable)}",
    ]
    if guess.groups:
        told = {_short(name): _list(groups) for name, groups in guess.groups.items()}
        lines.append(f"    groups: {_map(told)}   # protected: for monitors only")
    if any(name.startswith("groups.") for name in guess.groups):
        lines.append("    groups_in_events: true         # as they come here; safer: the topic `attributes`")
    lines.append(f"    {budget}   # false alarms: {in_words}")
    lines.append(f"monitors: {_map(dict.fromkeys(one.monitors, '{}'))}   # `govern monitors kinds` lists all")
    if one.topic:
        lines += [
            "sources:                           # which column is what; live: the topic with such records",
            f"  - {{topic: {_text(one.topic)}, model: {one.model}, version: {_version(guess)}, source: /{one.model}, "
            f"fields: {_map(_fields(guess))}}}",
        ]
    return "\n".join([*lines, "---", "policy: starter", "rules:", *_rules(one, labels)]) + "\n"


def arl(rows: int) -> int:
    """Decisions between false alarms for a file without times: ten such files.

    >>> arl(6_000), arl(569)
    (60000, 10000)
    """
    return max(10_000, round(10 * rows, -(len(str(10 * rows)) - 1)))


def _rules(one: Starter, labels: Sequence[str]) -> list[str]:
    guess = one.guess
    found = []
    close = close_call(one.frame, guess)
    if close is not None:
        low, high = close
        far = high + (high - low)
        found.append(
            _rule("close-call", f"output.score BETWEEN {low:g} AND {high:g}", "hold", "a close call: score {output.score}",
                  {"output.score": (low + high) / 2}, {"output.score": far})
        )  # fmt: skip
    odd = odd_feature(one.frame, guess)
    if odd is not None:
        name, low, high = odd
        column = f"features.{_short(name)}"
        found.append(
            _rule("unseen-input", f"{column} < {low:g} OR {column} > {high:g}", "log",
                  f"{_short(name)} {{{column}}} lies outside what is usual",
                  {f"features.{_short(name)}": high + 1}, {f"features.{_short(name)}": (low + high) / 2})
        )  # fmt: skip
    worse = next((label for label in labels if label != guess.favourable), None)
    if guess.groups and worse is not None and "disparate_impact" in one.monitors:
        when = f"signals.disparate_impact.status = 'alarm' AND output.label <> {_sql(guess.favourable or '')}"
        given = {"signals.disparate_impact.status": "alarm", "output.label": worse}
        other = {**given, "output.label": guess.favourable or ""}
        found.append(_rule("unequal", when, "hold", "groups fare too unequally: a person decides", given, other))
    if not found:
        found.append(
            _rule("no-answer", "output.label IS NULL AND output.score IS NULL", "hold", "the model gave no answer",
                  {}, {"output.score": 1})
        )  # fmt: skip
    return found


def _rule(
    id_: str, when: str, effect: str, reason: str, given: Mapping[str, object], other: Mapping[str, object]
) -> str:
    tests = f"[{{given: {_given(given)}, expect: {effect}}}, {{given: {_given(other)}, expect: allow}}]"
    return f"  - {{id: {id_}, when: {json.dumps(when)}, effect: {effect}, reason: {json.dumps(reason)},\n     tests: {tests}}}"


def close_call(frame: pl.DataFrame, guess: Guess) -> tuple[float, float] | None:
    """A narrow span of scores around where the answer turns; None where there is no such place."""
    if guess.score is None:
        return None
    scores = frame[guess.score].cast(pl.Float64).drop_nulls().drop_nans()
    if guess.label is None or not len(scores):
        return None
    favoured = frame[guess.label].cast(pl.String) == guess.favourable
    both = pl.DataFrame({"score": frame[guess.score].cast(pl.Float64), "favoured": favoured}).drop_nulls()
    yes, no = both.filter(pl.col("favoured"))["score"], both.filter(~pl.col("favoured"))["score"]
    if not len(yes) or not len(no):
        return None
    up = float(yes.median() or 0) > float(no.median() or 0)  # type: ignore[arg-type]
    upper, lower = (yes, no) if up else (no, yes)
    cut = (float(upper.quantile(0.01) or 0) + float(lower.quantile(0.99) or 0)) / 2
    width = 0.02 * float((scores.quantile(0.99) or 0) - (scores.quantile(0.01) or 0))
    if width <= 0:
        return None
    digits = max(0, 2 - math.floor(math.log10(width)))
    return round(cut - width, digits), round(cut + width, digits)


def odd_feature(frame: pl.DataFrame, guess: Guess) -> tuple[str, float, float] | None:
    """The first numeric feature with many values, and the range that all but 1 in 500 lie in.

    One whose name conditions would have to quote is passed over.
    """
    for name, kind in guess.features.items():
        many = kind.startswith("numeric") and frame[name].n_unique() > 20
        if many and _NAME.fullmatch(_short(name)):
            values = frame[name].cast(pl.Float64).drop_nulls().drop_nans()
            low, high = values.quantile(0.001), values.quantile(0.999)
            return name, float(f"{low:.6g}"), float(f"{high:.6g}")
    return None


def _fields(guess: Guess) -> dict[str, str]:
    """Contract field → `$.column`; `features: $` takes every column that is a feature by its own name."""
    named = {"id": guess.id or "id", "time": guess.time, "subject": guess.subject, "caller": guess.caller}
    named |= {"output.label": guess.label, "output.score": guess.score, **guess.others}
    return {"features": "$"} | {field: _path(column) for field, column in named.items() if column is not None}


def _path(column: str) -> str:
    steps = column.split(".")
    path = "$" + "".join(f".{step}" if re.fullmatch(r"\w+", step) else f"['{step}']" for step in steps)
    return json.dumps(path, ensure_ascii=False) if "[" in path else path


def _version(guess: Guess) -> str:
    return _path(guess.version) if guess.version else '"1"'


def _labels(labels: Sequence[str], favourable: str | None) -> str:
    return _map({one: "{favourable: true}" if one == favourable else "{}" for one in labels})


def _short(name: str) -> str:
    return re.sub(r"^(?:data\.)?(?:features|groups)\.", "", name)


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _given(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{_text(name)}: {_value(value)}" for name, value in values.items()) + "}"


def _value(value: object) -> str:
    return _text(value) if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _list(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def _map(values: Mapping[str, str]) -> str:
    """A YAML flow mapping; values are YAML already, or paths."""
    return "{" + ", ".join(f"{_text(name)}: {value}" for name, value in values.items()) + "}"


def _text(value: str) -> str:
    """A text as YAML: plain where nothing but text can be meant."""
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and value == value.strip()
    dotted = re.fullmatch(r"[a-z_]+(\.\w+)+", value)
    return value if plain or dotted else json.dumps(value, ensure_ascii=False)
