"""Monitors as a library: feed decisions, get signals. Needs neither Kafka nor Ray; the lanes run the very same code.

from agents.monitor import Watch
watch = Watch({"credit": {...}}, {"disparate_impact": {}})
for part in parts:
    for signal in watch.feed(part):
        print(signal.status, signal.text)
print(watch.report())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.configuration import Configuration, Model
from agents.errors import Misconfigured
from agents.events import SignalData
from agents.monitor.agent import only
from agents.monitor.assessing import Assessor, Signalled, signal_data
from agents.monitor.attributes import AttributeTable, prefer
from agents.monitor.compilation import Watched, compile_monitors
from agents.monitor.contract import Ints, Monitor
from agents.monitor.counting import Counter
from agents.monitor.intake import Table, table_of
from agents.monitor.profiles import Profile
from agents.monitor.registry import KINDS
from agents.monitor.subjects import Subjects
from agents.monitor.watch_outcomes import Mature, Outcomes

BATCH = 5_000


class Watch:
    """Monitors over decisions that you hold in your hands.

    `models` and `monitors` are as in a configuration (dicts or `Model`s), or one `Configuration` instead of both;
    `profiles` are those of the models, by model. Raises Misconfigured with every mistake.
    """

    def __init__(
        self,
        models: Configuration | Mapping[str, Model | Mapping[str, Any]],
        monitors: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        profiles: Mapping[str, Profile] | None = None,
        kinds: Mapping[str, type[Monitor]] = KINDS,
    ) -> None:
        if isinstance(models, Configuration):
            configuration = models
        else:
            documents = {
                name: one.model_dump() if isinstance(one, Model) else dict(one) for name, one in models.items()
            }
            for name, profile in (profiles or {}).items():
                documents[name]["profile"] = profile.digest
            configuration = Configuration.model_validate({"models": documents, "monitors": dict(monitors or {})})
        self.configuration = configuration
        self._kinds = kinds
        self._outcomes: Outcomes | None = None
        self._compile(profiles or {})
        self._attributes = AttributeTable()
        self._subjects = Subjects()
        self._clocks: dict[str, int] = {}
        self._seen: set[str] = set()
        self.decisions = 0

    def feed(
        self,
        decisions: Any = (),
        *,
        attributes: Any = None,
        outcomes: Any = None,
        now: int | None = None,
    ) -> list[SignalData]:
        """Take decisions in their order; the signals that are new or have changed.

        `decisions`: CloudEvents (dicts, JSON texts or bytes, records), flat dicts, a Polars or a pandas frame, with columns
        as in docs/monitors.md. `attributes`: subject → {attribute: group}. `outcomes`: decision's id → outcome, or as
        watch_outcomes.py says; they may come later than their decisions, and count when these are `label_maturity` old.
        `now`: ms since 1970 UTC; decisions without a time take it.
        """
        for subject, groups in dict(attributes or {}).items():
            self._attributes.put(str(subject), groups)
        found: list[SignalData] = []
        for table in table_of(decisions, self.configuration, self._wanted, now):
            found += self._feed(table)
        if outcomes is not None:
            if self._outcomes is None:
                raise Misconfigured("no model declares `outcomes`; name what may really happen, for example [repaid]")
            found += self._matured(self._outcomes.happened(outcomes, now))
        return found

    def compare_with(self, profiles: Mapping[str, Profile]) -> None:
        """Compare with these profiles, by model, from now on.

        What monitors have gathered is kept, but for those that the profile gives something else to compare with.
        """
        models = {
            name: model.model_copy(update={"profile": profiles[name].digest}) if name in profiles else model
            for name, model in self.configuration.models.items()
        }
        self.configuration = self.configuration.model_copy(update={"models": models})
        before = self.assessors
        self._compile(profiles)
        for name, assessor in self.assessors.items():
            kept = {one.name for one in assessor.watched.monitors if one.setting.profile is None}
            assessor.restore(only(before[name].snapshot(), kept))

    def report(self) -> list[dict[str, Any]]:
        """Every monitor's present judgement, as plain dicts."""
        return [one.model_dump(mode="json", exclude_none=True) for one in self.signals()]

    def signals(self) -> list[SignalData]:
        """Every monitor's present judgement."""
        found = []
        for model, assessor in self.assessors.items():
            monitors = {one.name: one for one in assessor.watched.monitors}
            for (version, name), state in assessor.states.items():
                for judgement in monitors[name].judge(state):
                    one = monitors[name].bounded(judgement)
                    before = assessor.published.get((version, name, one.segment, one.group))
                    since = before.since_ms if before is not None else assessor.clock_ms
                    said = Signalled(version, monitors[name], one, since, one.status, assessor.clock_ms)
                    found.append(signal_data(said, model, assessor.watched))
        return found

    @property
    def waiting(self) -> dict[str, str]:
        """Monitors that cannot judge yet, and what they wait for: `<model>/<monitor>` → in plain words."""
        return {
            f"{model}/{one.name}": one.ready
            for model, watched in self.watched.items()
            for one in watched.monitors
            if one.ready is not None
        }

    def _compile(self, profiles: Mapping[str, Profile]) -> None:
        by_digest = {one.digest: one for one in profiles.values()}
        self.watched: dict[str, Watched] = compile_monitors(self.configuration, by_digest, self._kinds)
        self._counters = {name: Counter(one) for name, one in self.watched.items()}
        if self._outcomes is not None:
            self._outcomes.switch(self.configuration, by_digest)
        elif any(model.outcomes for model in self.configuration.models.values()):
            self._outcomes = Outcomes(self.configuration, by_digest, self._kinds)
        cases = self._outcomes.columns if self._outcomes is not None else lambda name: frozenset()
        self._wanted = {name: frozenset(one.columns) | cases(name) for name, one in self._counters.items()}
        self.assessors = {name: Assessor(one) for name, one in self.watched.items()}

    def _feed(self, table: Table) -> list[SignalData]:
        found: list[SignalData] = []
        for start in range(0, table.height, BATCH):
            found += self._batch(table.slice(start, BATCH))
        return found

    def _batch(self, table: Table) -> list[SignalData]:
        watched = self.watched[table.model]
        fresh = [row for row, name in enumerate(table.identities) if name is None or self._is_new(name)]
        table = table if len(fresh) == table.height else table.rows(fresh)
        if not table.height:
            return []
        self.decisions += table.height
        clock = self._clock(table)
        groups = self._groups(table, watched)
        once = self._once(table, watched, clock)
        found: list[SignalData] = []
        assessor = self.assessors[table.model]
        for one in self._counters[table.model].count(table.frame, table.versions, clock, groups, once):
            said = assessor.take(one.version, one.n, one.clock_ms, one.counts, one.clock_ms, scope=one.scope)
            found += [signal_data(each, table.model, watched) for each in said]
        if self._outcomes is not None:
            found += self._matured(self._outcomes.decided(table, watched.declaration, clock, groups, once))
        return found

    def _matured(self, counted: Sequence[Mature]) -> list[SignalData]:
        found: list[SignalData] = []
        for one in counted:
            assessor = self.assessors[one.model]
            said = assessor.take(
                one.version, one.n, one.clock_ms, one.counts, one.clock_ms, stage="outcomes", scope=one.scope
            )
            found += [signal_data(each, one.model, assessor.watched) for each in said]
        return found

    def _is_new(self, name: str) -> bool:
        if name in self._seen:
            return False
        self._seen.add(name)
        return True

    def _clock(self, table: Table) -> Ints:
        before = self._clocks.get(table.model, -1)
        clock = np.maximum.accumulate(np.maximum(table.times_ms, before))
        self._clocks[table.model] = int(clock[-1])
        return clock

    def _groups(self, table: Table, watched: Watched) -> dict[str, Ints]:
        known = (
            self._attributes.codes(table.model, watched.declaration, table.subjects) if len(self._attributes) else {}
        )
        return prefer(known, table.groups)

    def _once(self, table: Table, watched: Watched, clock: Ints) -> Any:
        period = watched.declaration.subject_period
        if period == "none" or all(one is None for one in table.subjects):
            return None
        if len(set(table.versions)) == 1:
            return self._subjects.first(table.model, table.versions[0], table.subjects, clock, period)
        once = np.ones(table.height, dtype=np.bool_)
        for version in dict.fromkeys(table.versions):
            rows = np.array([row for row, one in enumerate(table.versions) if one == version])
            first = self._subjects.first(
                table.model, version, [table.subjects[row] for row in rows], clock[rows], period
            )
            if first is not None:
                once[rows] = first
        return once
