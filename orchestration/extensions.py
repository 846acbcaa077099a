"""Kinds of monitors that other distributions bring: entry points of the group `governance.monitors`.

    [project.entry-points."governance.monitors"]
    weekday_share = "bank_monitors.weekday:WeekdayShare"

The object is a subclass of `agents.monitor.contract.Monitor`; the entry's name is its `kind`. Every process of a deployment
needs the same distributions, and `govern monitors kinds` lists what it found.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from agents.errors import Misconfigured
from agents.monitor.contract import Monitor
from agents.monitor.registry import KINDS

GROUP = "governance.monitors"


@lru_cache(maxsize=1)
def kinds() -> Mapping[str, type[Monitor]]:
    """The product's kinds and those of extensions; raises Misconfigured where an extension cannot be used."""
    found = dict(KINDS)
    for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        found[entry.name] = _loaded(entry, found)
    return found


def _loaded(entry: EntryPoint, known: Mapping[str, type[Monitor]]) -> type[Monitor]:
    where = f"entry point {entry.name!r} = {entry.value!r}" + (f" of {entry.dist.name}" if entry.dist else "")
    if entry.name in known:
        raise Misconfigured(f"{where}: there is a kind of monitor of this name already; rename it")
    try:
        kind = entry.load()
    except (ImportError, AttributeError) as error:
        raise Misconfigured(f"{where} cannot be loaded ({error}); mend or uninstall it") from error
    if not (isinstance(kind, type) and issubclass(kind, Monitor)):
        raise Misconfigured(f"{where} is no subclass of agents.monitor.contract.Monitor")
    if getattr(kind, "kind", None) != entry.name:
        raise Misconfigured(f"{where}: its `kind` must be {entry.name!r}, the entry point's name")
    return kind
