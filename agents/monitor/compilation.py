"""From a configuration to its monitors: which kinds watch which models, with which part of each model's budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, ValidationError

from agents.configuration import Configuration, Model
from agents.errors import Misconfigured
from agents.events import Severity
from agents.monitor.contract import Budget, Monitor, Setting
from agents.monitor.profiles import Profile
from agents.monitor.registry import KINDS
from agents.policy.calendars import OpenHours, hours_of
from agents.policy.compilation import Problem
from agents.policy.sql import suggest
from agents.strict import Strict


class Declaration(Strict):
    """What every monitor's entry may say, whatever its kind; the kind's own options stand beside these."""

    kind: str = ""
    """Which kind of monitor; not given: the entry's name is the kind."""
    models: tuple[str, ...] = ()
    """Declared models; none given: every model that it can watch."""
    share: Annotated[float, Field(ge=0)] = 1.0
    """Its part of the budget relative to the model's other monitors; 0: it never raises an alarm."""
    severity: Severity = Severity.ERROR
    """Of an alarm's flag; a warning is one step milder."""
    team: str | None = None
    """Who is told."""


@dataclass(frozen=True)
class Watched:
    """The monitors of one model."""

    model: str
    declaration: Model
    monitors: tuple[Monitor, ...]
    budget: Budget
    about: Mapping[str, Declaration] = field(default_factory=dict)
    """By monitor."""


def budget_of(model: Model) -> Budget:
    """What an operator allows: decisions under `arl`, else ms of the model's clock."""
    return Budget(model.arl, "decisions") if model.arl is not None else Budget(model.alarm_every_ms, "ms")


def compile_monitors(
    configuration: Configuration,
    profiles: Mapping[str, Profile] | None = None,
    kinds: Mapping[str, type[Monitor]] = KINDS,
) -> dict[str, Watched]:
    """Every model's monitors; raises Misconfigured with every mistake. `profiles`: by digest."""
    problems: list[Problem] = []
    found = find_monitors(configuration, problems, profiles, kinds)
    if problems:
        raise Misconfigured("the monitors cannot be used:\n" + "\n".join(map(str, problems)))
    return found


def find_monitors(
    configuration: Configuration,
    problems: list[Problem],
    profiles: Mapping[str, Profile] | None = None,
    kinds: Mapping[str, type[Monitor]] = KINDS,
) -> dict[str, Watched]:
    """As `compile_monitors`, but mistakes are added to `problems`, and such monitors left out."""
    read = {}
    for name, entry in configuration.monitors.items():
        one = _read(configuration, name, entry, kinds, problems)
        if one is not None:
            read[name] = one
    return {
        name: _watched(name, model, read, (profiles or {}).get(model.profile or ""), _calendar(configuration, name))
        for name, model in configuration.models.items()
    }


@dataclass(frozen=True)
class _Entry:
    declaration: Declaration
    kind: type[Monitor]
    options: Any
    models: frozenset[str]


def _read(
    configuration: Configuration,
    name: str,
    entry: Mapping[str, Any],
    kinds: Mapping[str, type[Monitor]],
    problems: list[Problem],
) -> _Entry | None:
    path = ("monitors", name)
    common = {key: value for key, value in entry.items() if key in Declaration.model_fields}
    models = common.get("models")
    if isinstance(models, str):
        common["models"] = [models]
    try:
        declaration = Declaration.model_validate(common)
        kind = kinds.get(declaration.kind or name)
        if kind is None:
            told = f"no kind of monitor {declaration.kind or name!r}"
            mend = suggest(declaration.kind or name, kinds) or f"write `kind:` with one of {', '.join(sorted(kinds))}"
            problems.append(Problem((*path, "kind") if declaration.kind else path, told, mend))
            return None
        options = kind.options_type.model_validate({k: v for k, v in entry.items() if k not in common})
    except ValidationError as error:
        for one in error.errors(include_url=False):
            where = tuple(part for part in one["loc"] if isinstance(part, str | int))
            known = kinds.get(str(common.get("kind") or name))
            allowed = sorted({*Declaration.model_fields, *(known.options_type.model_fields if known else ())})
            unknown = one["type"] == "extra_forbidden"
            mend = (
                suggest(str(where[-1]), dict.fromkeys(allowed)) or f"it may have: {', '.join(allowed)}"
                if unknown
                else ""
            )
            told = f"unknown option {where[-1]!r}" if unknown else one["msg"].removeprefix("Value error, ")
            problems.append(Problem((*path, *where), told, mend))
        return None
    return _checked(configuration, path, declaration, kind, options, problems)


def _checked(
    configuration: Configuration,
    path: tuple[str, ...],
    declaration: Declaration,
    kind: type[Monitor],
    options: Any,
    problems: list[Problem],
) -> _Entry | None:
    before = len(problems)
    for model in declaration.models:
        if model not in configuration.models:
            mend = suggest(model, configuration.models) or f"declared are: {', '.join(configuration.models) or 'none'}"
            problems.append(Problem((*path, "models"), f"model {model!r} is not declared", mend))
    names = declaration.models or tuple(configuration.models)
    why = {name: kind.applies(configuration.models[name], options) for name in names if name in configuration.models}
    applied = frozenset(name for name, reason in why.items() if reason is None)
    if declaration.models or not applied:
        for name, reason in why.items():
            if reason is not None:
                told, _, mend = reason.partition("; ")
                problems.append(Problem(path, f"model {name} cannot be watched by {kind.kind}: {told}", mend))
    return None if len(problems) > before else _Entry(declaration, kind, options, applied)


def _calendar(configuration: Configuration, model: str) -> OpenHours | None:
    """None too where its holidays are unknown: the check of policies names that mistake."""
    try:
        return hours_of(configuration, model)
    except Misconfigured:
        return None


def _watched(
    name: str, model: Model, read: Mapping[str, _Entry], profile: Profile | None, calendar: OpenHours | None
) -> Watched:
    mine = {monitor: entry for monitor, entry in read.items() if name in entry.models}
    parts = {monitor: entry.declaration.share * entry.kind.alarms for monitor, entry in mine.items()}
    total = sum(parts.values()) or 1.0
    budget = budget_of(model)
    monitors = [
        _made(
            entry.kind,
            Setting(
                name=monitor,
                model=name,
                declaration=model,
                options=entry.options,
                budget=budget,
                share=parts[monitor] / total,
                profile=None if profile is None else profile.sections.get(entry.kind.kind),
                calendar=calendar,
                others={} if profile is None else {k: v for k, v in profile.sections.items() if k in entry.kind.reads},
            ),
        )
        for monitor, entry in mine.items()
    ]
    return Watched(name, model, tuple(monitors), budget, {name: entry.declaration for name, entry in mine.items()})


def _made(kind: type[Monitor], setting: Setting) -> Monitor:
    """The monitor; a profile that another version of the product fitted may lack what this one reads."""
    try:
        return kind(setting)
    except (KeyError, IndexError, ValueError) as error:
        if setting.profile is None:
            raise
        raise Misconfigured(
            f"monitor {setting.name} cannot use the profile of model {setting.model} ({type(error).__name__}: {error}); "
            "it was fitted by another version: fit it again with `govern profile fit`"
        ) from error
