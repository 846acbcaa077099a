"""Inline rule tests, and what each rule saw for one decision and why.

Both use the very expressions that judge decisions in flight, on a frame of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from agents.configuration import Configuration, RuleTest
from agents.events import Effect
from agents.policy.columns import ANOMALY, Column, columns_of, is_of_decision, signal_of
from agents.policy.compilation import Compiled, flat
from agents.policy.lasting import alone
from agents.policy.rules import RuleSet, compiled, effect_of
from agents.policy.standing import Standing
from agents.policy.surroundings import type_of
from agents.timestamps import milliseconds

Outcome = Literal["matched", "unknown", "no match"]


@dataclass(frozen=True)
class Tested:
    """One inline test, run for one model."""

    rule: str
    model: str
    number: int
    """Which test of the rule, from 1."""
    expected: str
    got: str
    """An effect, or `unknown`."""
    detail: str
    """What the rule saw."""

    @property
    def passed(self) -> bool:
        """True where the rule did what its author expects."""
        return self.expected == self.got


@dataclass(frozen=True)
class Seen:
    """What one rule saw of one decision."""

    rule: str
    when: str
    outcome: Outcome
    effect: Effect | None
    """What it asks for; None where it does not match."""
    applied: bool
    columns: Mapping[str, object]
    """Values of the columns it reads."""
    tests: Sequence[tuple[str, bool | None]]
    """Each comparison in the condition, and its answer; None: cannot be known."""
    outside: bool
    """True where `match:` leaves the decision out."""
    reason: str
    waits: str = ""
    """Where a lasting rule does not say what its condition says now: why."""


@dataclass(frozen=True)
class Explained:
    """Why a decision gets its effect."""

    model: str
    effect: Effect
    reasons: Sequence[str]
    """Rules and safeguards that gave it an effect."""
    rules: Sequence[Seen]


def run_tests(configuration: Configuration) -> Iterator[Tested]:
    """Every inline test of every enabled policy, for each model that the policy is for."""
    rules = compiled(configuration)
    for model in configuration.models:
        columns = columns_of(configuration, model)
        for one in rules.rules(model):
            for number, test in enumerate(one.rule.tests, 1):
                if _meant_for(configuration, test, model):
                    yield _run(configuration, rules, model, columns, one, number, test)


def explain(standing: Standing, row: Mapping[str, object]) -> Explained:
    """What each rule of its model saw for one decision, given by its columns (`Reader.row`)."""
    model = standing.declared(str(row["model.name"]))
    columns = columns_of(standing.configuration, model)
    unread = {*ANOMALY} - standing.rules.extra(model)  # what no rule asks for is not computed
    extra = [name for name in columns if not is_of_decision(name) and name not in unread]
    values = {**row, **standing.around(row, extra)}
    frame = _frame(columns, values)
    clock = "event_time_ms" if standing.configuration.models[model].clock == "event" else "broker_time_ms"
    times = np.array([values[clock]], dtype=np.int64)
    judged = standing.rules.judge(model, frame, times, standing)
    combo = judged.combos[judged.rows[0]]
    given: dict[str, bool] = {reason.rule: reason.outcome == "matched" for reason in combo}
    seen = [
        _look(
            one,
            frame,
            lambda m: standing.render(m, row),
            _lasted(one, given) if one.lasts else _answer(frame, one.expression),
        )
        for one in standing.rules.rules(model)
    ]
    return Explained(model, effect_of(combo), [one.rule for one in combo], seen)


def _lasted(one: Compiled, given: Mapping[str, bool]) -> bool | None:
    """The answer of a lasting rule, from the reasons that the decision got: true and false by name for matched and unknown."""
    if one.name not in given:
        return False
    return True if given[one.name] else None


def _look(one: Compiled, frame: pl.DataFrame, render: Callable[..., str], answer: bool | None) -> Seen:
    now = _answer(frame, one.expression)
    outside = one.guard is not None and _answer(frame, one.guard) is not True
    outcome: Outcome = "unknown" if answer is None else "matched" if answer else "no match"
    matched = one.outcome(answer is not None)
    hit = outcome != "no match"
    return Seen(
        one.name,
        one.rule.when,
        outcome,
        matched.effect if hit else None,
        matched.applied,
        {name: frame[name][0] for name in sorted(one.columns)},
        [(part.text, _answer(frame, part.expression)) for part in one.condition.parts],
        outside,
        render(matched) if hit else "",
        "" if now is answer else _waits(one, now),
    )


def _waits(one: Compiled, now: bool | None) -> str:
    asked = [
        f"{key}: {seconds:g}s"
        for key, seconds in (("for", one.rule.for_), ("keep_firing_for", one.rule.keep_firing_for))
        if seconds
    ]
    return f"its condition by itself says {_told(now)} now; {', '.join(asked)} looks back at the signals"


def _run(
    configuration: Configuration,
    rules: RuleSet,
    model: str,
    columns: Mapping[str, Column],
    one: Compiled,
    number: int,
    test: RuleTest,
) -> Tested:
    frame = _frame(columns, given_values(configuration, rules, model, test.given))
    told = [name for name, _ in flat(test.given) if name.startswith("signals.")]
    answer = alone(one, frame, {signal_of(name)[0] for name in told}) if one.lasts else _answer(frame, one.expression)
    seen = _look(one, frame, lambda matched: "", answer)
    got = {"matched": one.rule.effect.value, "unknown": "unknown", "no match": Effect.ALLOW.value}[seen.outcome]
    read = ", ".join(f"{name} = {value!r}" for name, value in seen.columns.items())
    answers = "; ".join(f"{text}: {_told(value)}" for text, value in seen.tests)
    left_out = "; left out by `match:`" if seen.outside else ""
    expected = (
        test.expect if isinstance(test.expect, str) and not isinstance(test.expect, Effect) else test.expect.value
    )
    return Tested(one.name, model, number, expected, got, f"{read or 'no columns'} | {answers}{left_out}")


def given_values(
    configuration: Configuration, rules: RuleSet, model: str, given: Mapping[str, object]
) -> dict[str, object]:
    """All columns of a test's decision.

    `time` sets event and broker time and the calendar. What follows from what is given (caller_declared,
    model.version_declared, the calendar) is worked out unless given; signals are `none`, safeguards false, the rest null,
    anomaly scores included.
    """
    declaration = configuration.models[model]
    told = dict(flat(given))
    values: dict[str, object] = {"model.name": model, "model.version": next(iter(declaration.versions), None)}
    time = milliseconds(str(told["time"])) if "time" in told else None
    if time is not None:
        values |= {"event_time_ms": time, "broker_time_ms": time, "skew_ms": 0, "skewed": False}
    values |= {name: value for name, value in told.items() if name != "time"}
    values.setdefault("caller_declared", values.get("caller") in declaration.callers)
    values.setdefault("caller_verified", False)
    values.setdefault("model.version_declared", values["model.version"] in declaration.versions)
    known = {*values, *ANOMALY}
    extra = [name for name in columns_of(configuration, model) if not is_of_decision(name) and name not in known]
    if time is None:
        extra = [name for name in extra if not name.startswith("calendar.")]
    around = rules.around(model, values, time or 0, Standing(configuration, rules=rules), extra)
    return {**around, **values}


def _meant_for(configuration: Configuration, test: RuleTest, model: str) -> bool:
    """A test that names a declared model is for that one only."""
    named = dict(flat(test.given)).get("model.name", model)
    return named == model or named not in configuration.models


def _frame(columns: Mapping[str, Column], values: Mapping[str, object]) -> pl.DataFrame:
    series = []
    for name, column in columns.items():
        value = values.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and column.dtype == pl.Float64:
            value = float(value)
        series.append(pl.Series(name, [value], dtype=column.dtype if is_of_decision(name) else type_of(name)))
    return pl.DataFrame(series)


def _answer(frame: pl.DataFrame, expression: pl.Expr) -> bool | None:
    value = frame.select(expression.alias("answer"))["answer"][0]
    return None if value is None else bool(value)


def _told(value: bool | None) -> str:
    return "cannot be known" if value is None else "true" if value else "false"
