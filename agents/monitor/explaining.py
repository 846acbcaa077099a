"""Why a signal says what it says: everything recomputed from the logged observations, and what else would have been said.

Promise to who challenges an alarm: nothing here is remembered. The same observations go through the same monitors again;
`matches` says whether that gives the very figures that were published.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import SignalData, SignalStatus
from agents.monitor.assessing import Assessor, Signalled, signal_data
from agents.monitor.compilation import Watched, compile_monitors
from agents.monitor.contract import Budget, Counts, Judgement, Monitor, Scope
from agents.monitor.counting import arrays
from agents.monitor.lane_progress import LaneProgress
from agents.monitor.profiles import Profile
from agents.monitor.registry import KINDS
from agents.records import Record, position

COMPARED = ("status", "estimate", "lower", "upper", "n", "e_value", "reference", "onset_ms", "onset_n", "coverage")
TOLERANCE = 1e-7
"""Relative: where time passed without decisions, the lane rounded at its ticks, and ticks are not among the observations."""


@dataclass(frozen=True)
class Counted:
    """One observation as the explanation reads it."""

    position: str
    version: str
    scope: Scope
    stage: str
    inputs: str
    n: int
    clock_ms: int
    counts: Mapping[str, Counts]


@dataclass(frozen=True)
class Otherwise:
    """What another setting would have said of the same observations."""

    setting: str
    said: str


@dataclass(frozen=True)
class Explanation:
    """Everything about one signal."""

    sentence: str
    signal: SignalData
    recomputed: SignalData | None
    differences: tuple[str, ...]
    """Fields in which the recomputed signal differs from the published one; empty: it matches."""
    observations: int
    decisions: int
    tipped: Counted | None
    """The observation with which the status became what it is; None where time alone did it, as in a silence."""
    groups: tuple[Judgement, ...]
    """The same monitor's judgements of the whole traffic at that moment, one a group."""
    segments: tuple[Judgement, ...]
    """… and within segments, for the signal's group."""
    segment_note: str
    otherwise: tuple[Otherwise, ...]

    @property
    def matches(self) -> bool:
        """The arithmetic gives what was published."""
        return self.recomputed is not None and not self.differences


def explain(
    signal: SignalData,
    records: Sequence[Record],
    configuration: Configuration,
    profiles: Mapping[str, Profile] | None = None,
    kinds: Mapping[str, type[Monitor]] = KINDS,
) -> Explanation:
    """Explain a signal from the records of `observations` that it names (from the monitor's first to the last).

    Raises Misconfigured where the configuration no longer has the model or the monitor.
    """
    watched = compile_monitors(configuration, profiles, kinds).get(signal.model)
    monitor = next((one for one in watched.monitors if one.name == signal.monitor), None) if watched else None
    if watched is None or monitor is None:
        raise Misconfigured(
            f"the configuration has no monitor {signal.monitor!r} of model {signal.model!r}; "
            "explain with the one that was in force (`govern config history`)"
        )
    counted = list(_counted(records, watched))
    counted = [one for one in counted if (one.stage, one.scope) == (monitor.stage, monitor.scope)]
    again, tipped, assessor = _again(signal, counted, watched)
    state = assessor.states.get((signal.version, signal.monitor))
    judgements = [] if state is None else [monitor.bounded(one) for one in monitor.judge(state)]
    segments = tuple(one for one in judgements if one.segment is not None and one.group == signal.group)
    return Explanation(
        sentence=signal.text or monitor.summary,
        signal=signal,
        recomputed=again,
        differences=() if again is None else tuple(_differences(signal, again)),
        observations=sum(one.version == signal.version for one in counted),
        decisions=sum(one.n for one in counted if one.version == signal.version),
        tipped=tipped,
        groups=tuple(one for one in judgements if one.segment is None),
        segments=segments,
        segment_note=_note(signal, monitor, segments),
        otherwise=tuple(_otherwise(signal, counted, watched, monitor)),
    )


def _counted(records: Sequence[Record], watched: Watched) -> Iterator[Counted]:
    """The model's observations, each with the clock that the lane judged it by."""
    progress = LaneProgress()
    for record in records:
        data = json.loads(record.value or b"{}").get("data", {})
        if "lane" in data:
            progress.take(data["lane"], data["through_ms"])
        if data.get("model") != watched.model:
            continue
        place, scope, stage = data["inputs"], data.get("scope", "version"), data["stage"]
        inputs = f"{place['topic']}/{place['partition']}/{place['start']} to {place['end'] - 1}"
        clock = progress.clock(data["clock_ms"], watched.declaration, stage, scope)
        counts = arrays(data["counts"])
        yield Counted(position(record), data["version"], scope, stage, inputs, data["n"], clock, counts)


def _again(
    signal: SignalData, counted: Sequence[Counted], watched: Watched
) -> tuple[SignalData | None, Counted | None, Assessor]:
    """The signal as it comes out again, the observation at which its status turned, and the state then."""
    assessor = Assessor(watched, clock_ms=-1 if signal.started_ms is None else signal.started_ms)
    found, tipped = None, None
    for one, said in _judged(assessor, counted, signal):
        for each in said:
            judged = each.judgement
            mine = (each.version, each.monitor.name, judged.segment, judged.group)
            if mine == (signal.version, signal.monitor, signal.segment, signal.group):
                tipped = one if each.before is not judged.status else tipped
    monitor = next(one for one in watched.monitors if one.name == signal.monitor)
    state = assessor.states.get((signal.version, signal.monitor))
    for judged in [] if state is None else monitor.judge(state):
        if (judged.segment, judged.group) == (signal.segment, signal.group):
            found = _as_signal(signal, monitor.bounded(judged), watched, assessor, monitor)
    return found, tipped, assessor


def _judged(
    assessor: Assessor, counted: Sequence[Counted], signal: SignalData
) -> Iterator[tuple[Counted | None, list[Signalled]]]:
    """What each observation makes the monitors say, and then (None) the time that passed until the signal."""
    for one in counted:
        stage, clock = _stage(one.stage), one.clock_ms
        yield one, assessor.take(one.version, one.n, clock, one.counts, clock, stage=stage, scope=one.scope)
    if signal.clock_ms is not None:
        yield None, assessor.pass_time(signal.clock_ms, signal.clock_ms, signal.clock_ms)


def _as_signal(
    signal: SignalData, judged: Judgement, watched: Watched, assessor: Assessor, monitor: Monitor
) -> SignalData:
    said = Signalled(signal.version, monitor, judged, signal.since_ms or 0, judged.status, assessor.clock_ms)
    return signal_data(said, signal.model, watched)


def _stage(name: str) -> Any:
    return name


def _differences(before: SignalData, now: SignalData) -> list[str]:
    found = []
    for name in COMPARED:
        old, new = getattr(before, name), getattr(now, name)
        same = (
            math.isclose(old, new, rel_tol=TOLERANCE)
            if isinstance(old, float) and isinstance(new, float)
            else old == new
        )
        if not same:
            found.append(f"{name}: published {old}, recomputed {new}")
    return found


def _note(signal: SignalData, monitor: Monitor, segments: Sequence[Judgement]) -> str:
    """Whether the gap stands within segments too: a mix of segments can look like bias (Simpson's paradox)."""
    if not hasattr(monitor, "segments"):
        return ""
    if not segments:
        return "declare `segment_by:` to see the figure within products, purposes or channels: a mix can look like bias"
    level = monitor.setting.options.level
    judged = [one for one in segments if one.estimate is not None and one.status is not SignalStatus.INSUFFICIENT]
    if not judged:
        return "too few decisions in each segment to tell a mix of segments from bias"
    worse = [one for one in judged if one.estimate is not None and one.estimate < level]
    if not worse:
        return "the gap vanishes within segments: likely a mix of segments, not unequal treatment within one"
    names = ", ".join(str(one.segment) for one in worse)
    return f"the gap stands within {names}: not explained by the mix of segments alone"


def _otherwise(signal: SignalData, counted: Sequence[Counted], watched: Watched, monitor: Monitor) -> list[Otherwise]:
    """The same observations under other budgets and levels."""
    budget = watched.budget
    words = {10.0: "a budget of a tenth of the false alarms", 0.1: "ten times the false alarms allowed"}
    found = [
        Otherwise(
            told, _when(signal, counted, replace(watched, budget=Budget(budget.limit * times, budget.unit)), monitor)
        )
        for times, told in words.items()
    ]
    level = getattr(monitor.setting.options, "level", None)
    for other in () if level is None else (round(level - 0.1, 3), round(level + 0.1, 3)):
        try:
            options = type(monitor.setting.options).model_validate(
                {**monitor.setting.options.model_dump(), "level": other}
            )
        except ValidationError:
            continue
        changed = type(monitor)(replace(monitor.setting, options=options))
        found.append(Otherwise(f"level {other:g} instead of {level:g}", _when(signal, counted, watched, changed)))
    return found


def _when(signal: SignalData, counted: Sequence[Counted], watched: Watched, monitor: Monitor) -> str:
    monitor = type(monitor)(replace(monitor.setting, budget=watched.budget))
    started = -1 if signal.started_ms is None else signal.started_ms
    assessor = Assessor(replace(watched, monitors=(monitor,)), clock_ms=started)
    decisions = 0
    for one, said in _judged(assessor, counted, signal):
        decisions += one.n if one is not None and one.version == signal.version else 0
        for each in said:
            judged = each.judgement
            mine = (each.version, judged.segment, judged.group) == (signal.version, signal.segment, signal.group)
            if mine and judged.status is SignalStatus.ALARM:
                return f"an alarm after {decisions:,} decisions of {signal.whose}"
    return f"no alarm in these {decisions:,} decisions"
