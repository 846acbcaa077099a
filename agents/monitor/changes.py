"""What a change of configuration does to what monitors have gathered: said before it is applied, and done by the lanes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.monitor.compilation import Watched, compile_monitors
from agents.monitor.contract import Monitor
from agents.monitor.registry import KINDS

Fate = Literal["kept", "restarted", "new", "ended"]
UNTOUCHED = {"versions", "callers", "mode", "max_skew", "domain"}
"""Of a model's declaration: what changes who and what is governed, but not what counts mean."""


@dataclass(frozen=True, slots=True)
class Change:
    """One monitor of one model."""

    model: str
    monitor: str
    fate: Fate
    why: str = ""
    """Of a restart: what differs."""

    def __str__(self) -> str:
        told = {"kept": "goes on", "restarted": "starts anew", "new": "is new", "ended": "ends"}[self.fate]
        return f"{self.monitor} of {self.model} {told}" + (f": {self.why}" if self.why else "")


def changes(before: Configuration, after: Configuration, kinds: Mapping[str, type[Monitor]] = KINDS) -> list[Change]:
    """The fate of every monitor of either configuration; a configuration that cannot be used counts as one without any."""
    old, new = (_watched(one, kinds) for one in (before, after))
    found = []
    for model in sorted({*old, *new}):
        mine, other = old.get(model), new.get(model)
        names = [*_names(mine), *(name for name in _names(other) if name not in _names(mine))]
        found += [_change(model, name, mine, other) for name in names]
    return found


def unchanged(before: Watched, now: Watched) -> set[str]:
    """Monitors that mean the same under both: what they have gathered is kept."""
    return {name for name in _names(now) if name in _names(before) and not _differences(before, now, name)}


def _change(model: str, name: str, before: Watched | None, now: Watched | None) -> Change:
    if before is None or name not in _names(before):
        return Change(model, name, "new")
    if now is None or name not in _names(now):
        return Change(model, name, "ended", "what it has gathered is dropped")
    why = _differences(before, now, name)
    return Change(model, name, "restarted", ", ".join(why)) if why else Change(model, name, "kept")


def _differences(before: Watched, now: Watched, name: str) -> list[str]:
    old, new = (next(one.setting for one in watched.monitors if one.name == name) for watched in (before, now))
    found = []
    if before.budget != now.budget:
        found.append("the model's budget of false alarms changed")
    if old.share != new.share:
        found.append(f"its share of the budget is {new.share:.3g} instead of {old.share:.3g}")
    if old.options != new.options:
        found += [f"`{field}` changed" for field in _fields(old.options, new.options)]
    declared = _fields(old.declaration, new.declaration, apart=UNTOUCHED | {"false_alarms", "arl"})
    return found + [f"the model's `{field}` changed" for field in declared]


def _fields(old: Any, new: Any, apart: Collection[str] = ()) -> list[str]:
    if type(old) is not type(new):
        return ["kind"]
    return [name for name in type(old).model_fields if name not in apart and getattr(old, name) != getattr(new, name)]


def _names(watched: Watched | None) -> list[str]:
    return [] if watched is None else [one.name for one in watched.monitors]


def _watched(configuration: Configuration, kinds: Mapping[str, type[Monitor]]) -> Mapping[str, Watched]:
    try:
        return compile_monitors(configuration, {}, kinds)
    except Misconfigured:
        return {}
