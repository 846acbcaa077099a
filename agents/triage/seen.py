"""What triage knows when it looks at an incident: what stands, what changed lately, which monitors it rests on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agents.configuration import Configuration, Model, Policy, Rule
from agents.events import SafeguardData, SignalData, SignalStatus
from agents.people_events import IncidentData
from agents.told_events import Similar
from agents.triage.fields import Names

_SIGNAL = re.compile(r"\bsignals\.([A-Za-z0-9_-]+)\.")
BADNESS = (SignalStatus.ALARM, SignalStatus.WARN, SignalStatus.OK, SignalStatus.INSUFFICIENT, SignalStatus.NONE)


@dataclass(frozen=True)
class Change:
    """Something that changed lately; `text` has trusted words only."""

    at_ms: int
    kind: str
    """configuration, safeguard or version."""
    text: str
    source: str = ""
    model: str | None = None


@dataclass(frozen=True)
class Seen:
    """Everything that the facts of one incident are gathered from."""

    incident: IncidentData
    now_ms: int
    configuration: Configuration = field(default_factory=Configuration)
    digest: str = ""
    signals: Mapping[str, SignalData] = field(default_factory=dict)
    """By key of the topic."""
    safeguards: Mapping[str, SafeguardData] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    """Newest last."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Versions of the incident's model: when each was first seen."""
    similar: Sequence[Similar] = ()

    @cached_property
    def names(self) -> Names:
        """What may be shown."""
        return Names.of(self.configuration)

    @cached_property
    def model(self) -> Model | None:
        """The declaration of the incident's model."""
        name = self.incident.model
        return self.configuration.models.get(name) if name is not None else None

    @cached_property
    def own_time(self) -> bool:
        """Whether its decisions carry the time that monitors count in, which need not be today's."""
        return self.model is not None and self.model.clock == "event"

    @cached_property
    def rule(self) -> tuple[Policy, Rule] | None:
        """The rule that raised it, where one did."""
        name, _, rule = self.incident.cause.partition("/")
        return next(
            ((p, r) for p in self.configuration.policies if p.policy == name for r in p.rules if r.id == rule), None
        )

    @cached_property
    def monitors(self) -> tuple[str, ...]:
        """Monitors that it rests on: the one that raised it, or those that its rule asks."""
        if self.incident.cause in self.configuration.monitors:
            return (self.incident.cause,)
        if self.rule is not None:
            return tuple(dict.fromkeys(_SIGNAL.findall(self.rule[1].when)))
        return (self.incident.signal.monitor,) if self.incident.signal is not None else ()

    def kind(self, monitor: str) -> str:
        """A monitor's kind, `disparate_impact` say."""
        return str(self._entry(monitor).get("kind") or monitor)

    def owner(self, monitor: str) -> str | None:
        """The team that the configuration names for a monitor."""
        team = self._entry(monitor).get("team")
        return str(team) if team else None

    def _entry(self, monitor: str) -> Mapping[str, Any]:
        return self.configuration.monitors.get(monitor, {})

    @cached_property
    def about(self) -> tuple[SignalData, ...]:
        """Signals of those monitors on its model and version, the worst first; the incident's own goes before its equals."""
        one = self.incident
        found = [
            signal
            for _, signal in sorted(self.signals.items())
            if signal.monitor in self.monitors
            and signal.model == one.model
            and (one.version in (None, "*") or signal.scope == "model" or signal.version == one.version)
        ]
        return tuple(sorted(found, key=self._rank))

    @cached_property
    def beside(self) -> tuple[SignalData, ...]:
        """Alarms and warnings of other monitors on the same model."""
        found = [
            signal
            for _, signal in sorted(self.signals.items())
            if signal.model == self.incident.model
            and signal.monitor not in self.monitors
            and signal.status in (SignalStatus.ALARM, SignalStatus.WARN)
        ]
        return tuple(sorted(found, key=self._rank))

    def elsewhere(self, signal: SignalData) -> tuple[SignalData, ...]:
        """The same of the model's other versions."""
        same = [
            other
            for _, other in sorted(self.signals.items())
            if (other.model, other.monitor, other.segment, other.group, other.metric)
            == (signal.model, signal.monitor, signal.segment, signal.group, signal.metric)
            and other.version != signal.version
            and other.estimate is not None
        ]
        return tuple(same)

    @cached_property
    def newest_version(self) -> bool:
        """Whether its version came after another, at most 30 days before the incident's first flag."""
        version, first = self.incident.version, self.incident.first_ms
        seen = self.versions.get(version or "")
        older = [ms for name, ms in self.versions.items() if name != version]
        return seen is not None and any(ms < seen for ms in older) and first - seen <= 30 * 86_400_000

    def _rank(self, signal: SignalData) -> tuple[int, int, int, float]:
        mine = self.incident.signal
        own = mine is not None and (mine.segment, mine.group) == (signal.segment, signal.group)
        segment = own or self.incident.segment == " ".join(part for part in (signal.segment, signal.group) if part)
        return BADNESS.index(signal.status), 0 if segment else 1, 0 if signal.group else 1, -(signal.e_value or 0.0)
