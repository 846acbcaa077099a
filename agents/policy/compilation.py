"""Compiles the policies of a configuration for each of its models, and finds every mistake in them, not only the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import polars as pl

from agents.configuration import Configuration, Match, Policy, Rule
from agents.errors import Misconfigured
from agents.events import Effect
from agents.policy.calendars import public_holidays
from agents.policy.columns import GROWING, Column, columns_of, signal_of, told_columns, why_missing
from agents.policy.conditions import Condition, ConditionError, compile_condition, place_of
from agents.policy.fairness import fair
from agents.policy.problems import Key, Problem
from agents.policy.reasons import Template, TemplateError, template
from agents.policy.sql import suggest
from agents.timestamps import milliseconds

__all__ = ["Compiled", "Matched", "Problem", "compile_all", "fits", "flat", "listed", "models_of"]

DOMAINS = ("credit", "employment", "insurance", "housing", "other")


@dataclass(frozen=True, slots=True)
class Matched:
    """A rule (or safeguard) that gave a decision an effect; equal ones are equal reasons of a verdict."""

    rule: str
    """`<policy>/<rule id>` or `safeguard/<id>`."""
    effect: Effect
    outcome: Literal["matched", "unknown"]
    applied: bool
    """False where the policy is in audit mode: recorded, not applied."""


@dataclass(frozen=True)
class Compiled:
    """One rule, made ready for one model."""

    policy: Policy
    rule: Rule
    condition: Condition
    guard: pl.Expr | None
    """What `match:` asks of version, caller and purpose."""
    guard_columns: frozenset[str]
    reason: Template

    @property
    def name(self) -> str:
        """As verdicts name it."""
        return f"{self.policy.policy}/{self.rule.id}"

    @property
    def expression(self) -> pl.Expr:
        """True where the rule matches, null where that cannot be known."""
        return self.condition.expression if self.guard is None else self.guard & self.condition.expression

    @property
    def columns(self) -> frozenset[str]:
        """What condition and match read."""
        return self.condition.columns | self.guard_columns

    @property
    def lasts(self) -> bool:
        """True where it has `for` or `keep_firing_for`: then what stood before counts as well (lasting.py)."""
        return bool(self.rule.for_ or self.rule.keep_firing_for)

    def outcome(self, known: bool) -> Matched:
        """The reason it gives: matched, or (not known) what `on_unknown` says; by default the rule's own effect."""
        applied = self.policy.mode == "enforce"
        if known:
            return Matched(self.name, self.rule.effect, "matched", applied)
        return Matched(self.name, self.rule.on_unknown or self.rule.effect, "unknown", applied)


def compile_all(configuration: Configuration, problems: list[Problem]) -> dict[str, list[Compiled]]:
    """Rules by model, in the order of policies and rules; mistakes are added to `problems`, and such rules left out."""
    _check_calendars(configuration, problems)
    columns = {name: columns_of(configuration, name) for name in configuration.models}
    found: dict[str, list[Compiled]] = {name: [] for name in configuration.models}
    for index, policy in enumerate(configuration.policies):
        _check_match(configuration, policy, ("policies", index), problems)
        for place, rule in enumerate(policy.rules):
            path = ("policies", index, "rules", place)
            seen: set[tuple[Key, str, int]] = set()
            for name in models_of(configuration, policy):
                mistakes: list[Problem] = []
                compiled = _compile(configuration, policy, rule, name, columns[name], path, mistakes)
                problems += [one for one in mistakes if (one.path, one.problem, one.offset) not in seen]
                seen |= {(one.path, one.problem, one.offset) for one in mistakes}
                if compiled is not None and policy.mode != "disabled":
                    found[name].append(compiled)
    return found


def models_of(configuration: Configuration, policy: Policy) -> list[str]:
    """Declared models whose decisions a policy may be for."""
    match = policy.match
    return [
        name
        for name, model in configuration.models.items()
        if name in (listed(match.model) or (name,)) and model.domain in (listed(match.domain) or (model.domain,))
    ]


def listed(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """A field of `match:` as a tuple; empty: not given."""
    return () if value is None else (value,) if isinstance(value, str) else value


def fits(given: object, column: Column) -> bool:
    """True where a value of an inline test can stand in a column."""
    if given is None:
        return True
    if column.dtype == pl.Boolean:
        return isinstance(given, bool)
    if column.dtype == pl.String:
        return isinstance(given, str)
    return isinstance(given, int | float) and not isinstance(given, bool)


def flat(given: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Columns of an inline test by dotted name; `features: {a: 1}` is `features.a: 1`."""
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _compile(
    configuration: Configuration,
    policy: Policy,
    rule: Rule,
    model: str,
    columns: Mapping[str, Column],
    path: Key,
    problems: list[Problem],
) -> Compiled | None:
    types = {name: column.dtype for name, column in columns.items()}
    missing = partial(why_missing, configuration, model)
    before = len(problems)
    condition, reason = None, Template(("",), ())
    try:
        condition = compile_condition(rule.when, types, missing)
    except ConditionError as error:
        told = f"{error.problem} (model {model})" if error.problem.startswith("unknown column") else error.problem
        problems.append(Problem((*path, "when"), told, error.mend, error.offset))
    try:
        reason = template(rule.reason or f"rule {policy.policy}/{rule.id} matched")
        problems += _unknown(reason, told_columns(columns), missing, (*path, "reason"))
    except TemplateError as error:
        problems.append(Problem((*path, "reason"), error.problem, error.mend, error.offset))
    problems += _check_tests(configuration, policy, rule, columns, missing, path)
    problems += fair(configuration, model, rule, condition, reason, path)
    if condition is not None:
        problems += _check_lasting(rule, condition, path)
    if condition is None or len(problems) > before:
        return None
    guard, used = _guard(policy.match)
    return Compiled(policy, rule, condition, guard, used, reason)


def _check_lasting(rule: Rule, condition: Condition, path: Key) -> list[Problem]:
    """`for` and `keep_firing_for` look back at signals, and only where these do not change while they stand."""
    asked = [key for key, value in (("for", rule.for_), ("keep_firing_for", rule.keep_firing_for)) if value]
    read = sorted(name for name in condition.columns if name.startswith("signals."))
    if asked and not read:
        told = f"`{asked[0]}` looks back at signals, and this condition reads none"
        return [Problem((*path, asked[0]), told, "remove it, or read a `signals.…` column")]
    return [
        Problem(
            (*path, "when"),
            f"{name} changes while its signal stands, so `{asked[0]}` cannot look back at it",
            f"write a rule without `{asked[0]}`: held_ms and age_ms say how long themselves",
            place_of(rule.when, name),
        )
        for name in read
        if asked and signal_of(name)[1] in GROWING
    ]


def _guard(match: Match) -> tuple[pl.Expr | None, frozenset[str]]:
    asked = {"model.version": match.version, "caller": match.caller, "purpose": match.purpose}
    guard: pl.Expr | None = None
    for column, value in asked.items():
        if value is not None:
            one = pl.col(column).is_in(list(listed(value))).fill_null(False)
            guard = one if guard is None else guard & one
    return guard, frozenset(column for column, value in asked.items() if value is not None)


def _unknown(
    reason: Template, columns: Mapping[str, Column], missing: Callable[[str], str | None], path: Key
) -> list[Problem]:
    return [
        Problem(path, f"unknown column {name}", missing(name) or suggest(name, columns), offset)
        for name, offset in zip(reason.columns, reason.offsets, strict=True)
        if name not in columns
    ]


def _check_tests(
    configuration: Configuration,
    policy: Policy,
    rule: Rule,
    columns: Mapping[str, Column],
    missing: Callable[[str], str | None],
    path: Key,
) -> list[Problem]:
    problems = []
    possible = {Effect.ALLOW, rule.effect, "unknown"}
    for index, test in enumerate(rule.tests):
        here = (*path, "tests", index)
        if test.expect not in possible:
            told = f"this rule can never give {test.expect}"
            problems.append(Problem((*here, "expect"), told, f"expect {rule.effect.value}, allow or unknown"))
        for name, value in flat(test.given):
            column = columns.get(name)
            if name == "time":
                if milliseconds(str(value)) is None:
                    problems.append(
                        Problem((*here, "given", name), f"{value!r} is no time", "write 2026-03-02T09:30:00Z")
                    )
                continue
            if column is None:
                mend = missing(name) or suggest(name, columns)
                problems.append(Problem((*here, "given", name), f"unknown column {name}", mend))
            elif not fits(value, column):
                kind = {pl.Boolean: "true or false", pl.String: "text"}.get(type(column.dtype), "a number")
                problems.append(Problem((*here, "given", name), f"{name} is {kind}, not {value!r}"))
    return problems


def _check_match(configuration: Configuration, policy: Policy, path: Key, problems: list[Problem]) -> None:
    before = len(problems)
    for name in listed(policy.match.model):
        if name not in configuration.models:
            mend = suggest(name, configuration.models) or f"declared are: {', '.join(configuration.models) or 'none'}"
            problems.append(Problem((*path, "match", "model"), f"model {name!r} is not declared", mend))
    for domain in listed(policy.match.domain):
        if domain not in DOMAINS:
            mend = f"use one of: {', '.join(DOMAINS)}"
            problems.append(Problem((*path, "match", "domain"), f"no domain {domain!r}", mend))
    if len(problems) == before and not models_of(configuration, policy):
        told = f"policy {policy.policy!r} matches no declared model"
        problems.append(Problem((*path, "policy"), told, "declare a model, or widen `match:`"))


def _check_calendars(configuration: Configuration, problems: list[Problem]) -> None:
    for name, calendar in configuration.calendars.items():
        try:
            if calendar.holidays is not None:
                public_holidays(calendar.holidays)
        except Misconfigured as error:
            problem, _, mend = str(error).partition("; ")
            problems.append(Problem(("calendars", name, "holidays"), problem, mend))
