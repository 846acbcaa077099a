"""From observations to signals: every monitor's state for each version of one model (or for all of them together), and
what of it is worth saying.

A signal is published when its status changes, when its estimate has changed materially, and never more often than every
PUBLISH_MS while its status stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.events import ALL_VERSIONS, SignalData, SignalStatus
from agents.monitor.compilation import Watched
from agents.monitor.contract import Counts, Judgement, Monitor, Scope, Stage, State, Step
from agents.monitor.state import packed, unpacked

PUBLISH_MS = 5_000
MATERIAL = 0.02
"""Relative change of an estimate that is worth a record; also a tenth more decisions, or twice the strength."""
LONGEST_PAUSE = 0.01
"""Of the budget: what a pause adds to its clock at most. A year without a decision is no evidence, and adds no right to err."""
_CLOCKS: tuple[tuple[Stage, Scope], ...] = (
    ("decisions", "version"),
    ("decisions", "model"),
    ("outcomes", "version"),
    ("outcomes", "model"),
)
Key = tuple[str, str, str | None, str | None]
"""Version (`*`: all), monitor, segment, group."""


@dataclass(frozen=True, slots=True)
class Signalled:
    """A judgement that is to be published."""

    version: str
    monitor: Monitor
    judgement: Judgement
    since_ms: int
    """The model's clock when the status became what it is."""
    before: SignalStatus
    """The status published before."""
    clock_ms: int
    first: int = -1
    """Offset of the first observation that this monitor took of this version; -1 without Kafka."""
    last: int = -1
    started_ms: int = -1
    """The model's clock before that observation."""


@dataclass(slots=True)
class _Published:
    status: SignalStatus = SignalStatus.NONE
    since_ms: int = 0
    estimate: float | None = None
    n: int | None = None
    e_value: float | None = None


@dataclass
class Assessor:
    """One model's monitors in order; its state is all that it remembers."""

    watched: Watched
    clock_ms: int = -1
    states: dict[tuple[str, str], State] = field(default_factory=dict)
    """By version and monitor."""
    published: dict[Key, _Published] = field(default_factory=dict)
    said_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    """When something was last published of a version's monitor, by `now`."""
    ranges: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)
    """First and last observation that a version's monitor took, and the model's clock before the first."""

    def __post_init__(self) -> None:
        self.reached: dict[tuple[Stage, Scope], int] = dict.fromkeys(_CLOCKS, self.clock_ms)
        """The clock by stage and scope: decisions and outcomes come from different lanes, what counts all versions beside
        what counts each, and each has all of the time."""
        self._monitors = {one.name: one for one in self.watched.monitors if one.ready is None}

    def take(
        self,
        version: str,
        n: int,
        clock_ms: int,
        counts: Mapping[str, Counts],
        now_ms: int,
        offset: int = -1,
        stage: Stage = "decisions",
        scope: Scope = "version",
    ) -> list[Signalled]:
        """One observation, in the order of the topic; what of it is to be published. `now_ms`: the lane's, for the pace."""
        before = self.reached[stage, scope]
        reached = self.reached[stage, scope] = max(before, clock_ms)
        self.clock_ms = max(self.clock_ms, clock_ms)
        gained = reached - before if before >= 0 else 0
        limit = self.watched.budget.limit
        weight = float(n) if self.watched.budget.unit == "decisions" else min(float(gained), limit * LONGEST_PAUSE)
        step = Step(n, weight, reached, offset)
        found: list[Signalled] = []
        for monitor in self._monitors.values():
            if monitor.stage == stage and monitor.scope == scope:
                found += self._step(monitor, version, counts.get(monitor.name, {}), step, now_ms, before)
        return found

    def pass_time(self, clock_ms: int, now_ms: int, counted_ms: int) -> list[Signalled]:
        """Time passes without decisions: what notices silence may say so.

        Each version that has been seen goes on to `clock_ms`; what judges all versions together to `counted_ms`, up to
        which all lanes have counted, and begins there where it had not yet.
        """
        found: list[Signalled] = []
        if 0 <= self.reached["decisions", "version"] < clock_ms:
            versions = (version for version, name in self.states if self._monitors[name].scope == "version")
            for version in dict.fromkeys(versions):
                found += self.take(version, 0, clock_ms, {}, now_ms)
        begun = self.reached["decisions", "model"]
        if self.clock_ms >= 0 and begun < counted_ms:
            self.reached["decisions", "model"] = begun if begun >= 0 else counted_ms
            found += self.take(ALL_VERSIONS, 0, counted_ms, {}, now_ms, scope="model")
        return found

    def _step(
        self, monitor: Monitor, version: str, counts: Counts, step: Step, now_ms: int, before_ms: int
    ) -> list[Signalled]:
        place = (version, monitor.name)
        state = self.states.get(place)
        if state is None:
            state = self.states[place] = monitor.start()
            if monitor.scope == "model" and before_ms >= 0:
                monitor.step(state, {}, Step(0, 0.0, before_ms, -1))  # it watches from here on, whatever comes or not
        first, last, started = self.ranges.get(place, (-1, -1, before_ms))
        self.ranges[place] = (step.offset if first < 0 else first, max(step.offset, last), started)
        changed = monitor.step(state, counts, step)
        due = now_ms - self.said_ms.get(place, -PUBLISH_MS) >= PUBLISH_MS
        if not changed and not due:
            return []
        said = self._worth_saying(monitor, version, monitor.judge(state), due, step)
        if said or due:
            self.said_ms[place] = now_ms
        return said

    def _worth_saying(
        self, monitor: Monitor, version: str, judgements: Sequence[Judgement], due: bool, step: Step
    ) -> list[Signalled]:
        found = []
        first, last, started = self.ranges[version, monitor.name]
        for one in judgements:
            key = (version, monitor.name, one.segment, one.group)
            before = self.published.get(key)
            turned = before is None or before.status != one.status
            if not turned and not (due and before is not None and _material(before, one)):
                continue
            old = before or _Published()
            since = step.now_ms if turned else old.since_ms
            self.published[key] = _Published(one.status, since, one.estimate, one.n, one.e_value)
            one = monitor.bounded(one)
            found.append(Signalled(version, monitor, one, since, old.status, step.now_ms, first, last, started))
        return found

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """The whole state as JSON values."""
        return {
            "clock_ms": self.clock_ms,
            "reached": [[*clock, at] for clock, at in self.reached.items()],
            "states": [[*place, packed(state)] for place, state in self.states.items()],
            "published": [
                [*key, one.status.value, one.since_ms, one.estimate, one.n, one.e_value]
                for key, one in self.published.items()
            ],
            "said_ms": [[*place, at] for place, at in self.said_ms.items()],
            "ranges": [[*place, *both] for place, both in self.ranges.items()],
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from a snapshot; what a monitor kept that is no longer declared is dropped."""
        self.clock_ms = kept["clock_ms"]
        self.reached = {(stage, scope): at for stage, scope, at in kept["reached"]}
        here = self._monitors
        self.states = {(v, m): unpacked(state) for v, m, state in kept["states"] if m in here}
        self.published = {
            (v, m, s, g): _Published(SignalStatus(status), since, estimate, n, e)
            for v, m, s, g, status, since, estimate, n, e in kept["published"]
            if m in here
        }
        self.said_ms = {(v, m): at for v, m, at in kept["said_ms"] if m in here}
        self.ranges = {(v, m): (first, last, started) for v, m, first, last, started in kept["ranges"] if m in here}


def _material(before: _Published, now: Judgement) -> bool:
    if (before.estimate is None) != (now.estimate is None):
        return True
    if before.estimate is not None and now.estimate is not None:
        scale = max(abs(before.estimate), abs(now.estimate))
        if scale > 0 and abs(before.estimate - now.estimate) > MATERIAL * scale:
            return True
    if now.n is not None and now.n > 1.1 * (before.n or 0):
        return True
    return max(now.e_value or 0.0, 1.0) > 2.0 * max(before.e_value or 0.0, 1.0)


def signal_data(said: Signalled, model: str, watched: Watched) -> SignalData:
    """A signal as it is published."""
    one = said.judgement
    strength = one.e_value if one.e_value is None or math.isfinite(one.e_value) else 1e300
    return SignalData(
        model=model,
        version=said.version,
        monitor=said.monitor.name,
        scope="model" if said.monitor.scope == "model" else None,
        segment=one.segment,
        group=one.group,
        status=one.status,
        estimate=one.estimate,
        lower=one.lower,
        upper=one.upper,
        n=one.n,
        e_value=strength,
        guarantee=one.guarantee,
        metric=one.metric,
        limit=watched.budget.limit,
        budget_unit=watched.budget.unit,
        reference=one.reference,
        coverage=one.coverage,
        onset_ms=one.onset_ms,
        onset_n=one.onset_n,
        clock_ms=said.clock_ms,
        since_ms=said.since_ms,
        started_ms=said.started_ms if said.started_ms >= 0 else None,
        detail=dict(one.detail),
        text=said.monitor.sentence(one),
    )
