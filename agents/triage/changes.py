"""What changed lately: configurations, safeguards and versions first seen, as the triage lane met them; bounded.

Texts are made of names that the configuration declares, or are reduced: facts show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from agents.configuration import Configuration
from agents.events import SafeguardData
from agents.policy.differences import differences
from agents.policy.reasons import clean
from agents.triage.fields import Names, reduced
from agents.triage.seen import Change
from agents.triage.words import listed, plural

MOST = 40
MOST_VERSIONS = 50
"""Of a model; a sender may make up as many as it likes, and models as well."""
MOST_MODELS = 200
NAMED = 4
"""Differences of a configuration that are named one by one."""


@dataclass
class Lately:
    """The newest changes, and when each version of a model was first seen."""

    changes: list[Change] = field(default_factory=list)
    versions: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> Self:
        """From a snapshot."""
        changes = [Change(**one) for one in plain.get("changes", ())]
        return cls(changes, {model: dict(seen) for model, seen in plain.get("versions", {}).items()})

    def plain(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"changes": [asdict(one) for one in self.changes], "versions": self.versions}

    def configured(self, before: Configuration, after: Configuration, digest: str, at_ms: int) -> None:
        """A configuration took the place of another; the first one is no change."""
        found = differences(before, after)
        if not found:
            return
        named = [f"{one.name} {_how(one.kind, one.before, one.after)}" for one in found[:NAMED]]
        rest = [plural(len(found) - NAMED, "more difference")] if len(found) > NAMED else []
        self._add(Change(at_ms, "configuration", f"the configuration changed: {listed([*named, *rest])}", digest))

    def ordered(self, name: str, order: SafeguardData | None, names: Names, at_ms: int) -> None:
        """A safeguard was given or taken back (None: it is gone)."""
        if order is None:
            told, model = "a safeguard was removed", None
        else:
            did = "was ordered" if order.active else "was lifted"
            what = f"{order.kind.replace('_', ' ')} of {names.shown(order.model)}"
            what += f" {names.shown(order.version)}" if order.version else ""
            told, model = f"the safeguard {what} {did}", order.model
        self._add(Change(at_ms, "safeguard", told, f"safeguard/{clean(name, 200)}", model))

    def met(self, model: str, version: str | None, names: Names, at_ms: int) -> None:
        """A version of a model was seen; the first one of a model is no change."""
        if version in (None, "*"):
            return
        assert version is not None
        seen = self.versions.setdefault(model, {})
        if len(self.versions) > MOST_MODELS:
            del self.versions[next(iter(self.versions))]
        if version in seen or len(seen) >= MOST_VERSIONS:
            return
        if seen:
            text = f"version {names.shown(version)} of {names.shown(model)} was seen for the first time"
            self._add(Change(at_ms, "version", text, f"{model}/{version}"[:256], model))
        seen[version] = at_ms

    def _add(self, change: Change) -> None:
        self.changes.append(change)
        del self.changes[:-MOST]


def _how(kind: str, before: str, after: str) -> str:
    if kind != "changed":
        return kind
    short = all(len(one) <= 60 for one in (before, after))
    return f"from {_plain(before)} to {_plain(after)}" if short else "changed"


def _plain(text: str) -> str:
    return clean(text, 60) if text.isascii() else reduced(text)
