"""The charts of an incident, from what monitors say of its model: rates of groups, the alarm's strength, shifted inputs.

An incident of a rule that asks for a signal is about that signal too, so its charts are those of the rule's monitors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select

from agents.configuration import Configuration
from agents.events import ALL_VERSIONS, SignalData
from agents.people_events import IncidentData
from agents.policy.surroundings import key_of
from agents.tuning.estimates import clopper_pearson
from orchestration.console.charts import Bar, Chart, Rate, over_time, rates, shifts
from orchestration.console.words import count, group_words, interval, metric_words, plain_text, share, strength
from orchestration.reading.database import Database
from orchestration.reading.incident import Point, points
from orchestration.reading.tables import signals

MOST_CHARTS, MOST_GROUPS, MOST_INPUTS, MOST_POINTS = 3, 8, 6, 60
SHIFTED = 0.25
"""From this population stability index on an input counts as shifted: the usual rule of thumb."""
MOVED = 0.1
"""Where no input has moved even so far, there is nothing to draw."""
_ASKED = re.compile(r"signals\.([A-Za-z0-9_-]+)\.")


def charts_of(base: Database, incident: IncidentData, configuration: Configuration | None) -> tuple[Chart, ...]:
    """Everything that there are figures for; none for an incident that no monitor has to do with."""
    if incident.model is None:
        return ()
    with base.reading() as connection:
        query = select(signals.c.data).where(signals.c.model == incident.model)
        if incident.version not in (None, ALL_VERSIONS):
            query = query.where(signals.c.version.in_((incident.version, ALL_VERSIONS)))
        known = [SignalData.model_validate_json(data) for data in connection.scalars(query)]
        named = monitors_of(incident, configuration)
        focus = [one for one in known if one.monitor in named]
        strongest = max(focus, key=lambda one: one.e_value or 0.0, default=None)
        history: tuple[Point, ...] = ()
        if strongest is not None:
            key = key_of(strongest.model, strongest.version, strongest.monitor, strongest.segment, strongest.group)
            history = points(connection, key)
    found = [*_rates(focus, configuration)]
    if strongest is not None:
        found += _strength(strongest, history)
    return (*found, *_shifts(known))


def monitors_of(incident: IncidentData, configuration: Configuration | None) -> frozenset[str]:
    """Names of the monitors that an incident is about: its own, or those that its rule asks."""
    if incident.signal is not None:
        return frozenset({incident.signal.monitor})
    policy, _, name = incident.cause.partition("/")
    rules = [
        rule.when
        for one in (configuration.policies if configuration is not None else ())
        if one.policy == policy
        for rule in one.rules
        if rule.id == name
    ]
    return frozenset(monitor for when in rules for monitor in _ASKED.findall(when)) or frozenset({incident.cause})


def _rates(focus: Sequence[SignalData], configuration: Configuration | None) -> Iterable[Chart]:
    """A chart for each monitor, segment and attribute, strongest evidence first: groups beside what they are compared with.

    Where groups are compared with each other, both ways, it is the stronger way that is drawn.
    """
    by: dict[tuple[str, str | None, str], list[SignalData]] = {}
    for one in focus:
        if one.group is not None and one.reference is not None and one.detail.get("n_group"):
            by.setdefault((one.monitor, one.segment, one.reference), []).append(one)
    strongest: dict[tuple[str, str | None, str], tuple[tuple[str, str | None, str], list[SignalData]]] = {}
    for key, rows in sorted(by.items(), key=lambda item: -_worst(item[1])):
        strongest.setdefault((*key[:2], (rows[0].group or "").partition("=")[0]), (key, rows))
    for (monitor, segment, reference), rows in list(strongest.values())[:MOST_CHARTS]:
        yield _compared(monitor, segment, reference, rows, configuration)


def _compared(
    monitor: str,
    segment: str | None,
    reference: str,
    rows: Sequence[SignalData],
    configuration: Configuration | None,
) -> Chart:
    worst = max(rows, key=lambda one: one.e_value or 0.0)
    shown = sorted(rows, key=lambda one: one.detail.get("rate", 0.0))[:MOST_GROUPS]
    limit = _limit(worst, monitor, configuration)
    detail = worst.detail
    first = _rate(group_words(reference), detail, "reference", reference=True)
    dots = [_rate(group_words(one.group), one.detail, "group", over=one.status == "alarm") for one in shown]
    attribute = (worst.group or "").rpartition("=")[0].replace("_", " ") or "group"
    where = f", within {segment}" if segment else ""
    said = plain_text(worst.text) if worst.text else f"{metric_words(worst.metric)}: {interval(worst)}"
    return rates(
        f"Rates by {attribute}{where}",
        f"{said.rstrip('.')[:400]}. Intervals hold in 95 of 100 cases.",
        [first, *dots],
        limit,
        "accepted from",
    )


def _rate(name: str, detail: Mapping[str, float], side: str, *, reference: bool = False, over: bool = False) -> Rate:
    n, k = detail.get(f"n_{side}", 0.0), detail.get(f"k_{side}", 0.0)
    lower, upper = clopper_pearson(k, n) if n else (0.0, 1.0)
    return Rate(name, k / n if n else 0.0, lower, upper, int(n), reference=reference, over=over)


def _limit(one: SignalData, monitor: str, configuration: Configuration | None) -> float | None:
    options = configuration.monitors.get(monitor, {}) if configuration is not None else {}
    compared = one.detail.get("reference_rate")
    level = options.get("level", 0.8 if one.metric == "impact_ratio" else None)
    if compared is None or not isinstance(level, int | float):
        return None
    return compared * level if one.metric == "impact_ratio" else max(compared - level, 0.0)


def _worst(rows: Sequence[SignalData]) -> float:
    return max(one.e_value or 0.0 for one in rows)


def _strength(one: SignalData, history: Sequence[Point]) -> Iterable[Chart]:
    course = [(point.time_ms, point.e_value) for point in history if point.e_value is not None]
    if len(course) < 2:
        return
    step = max(1, -(-len(course) // MOST_POINTS))
    kept = course[::-1][::step][::-1]  # from the newest on, which is what the sentence speaks of
    about = f": {group_words(one.group)}" if one.group else ""
    yield over_time(
        f"Strength of the alarm over time{about}",
        f"Now {strength(one.e_value, one.budget_unit)}: so rarely would chance alone go so far.",
        kept,
        one.limit,
        one.budget_unit,
    )


def _shifts(known: Sequence[SignalData]) -> Iterable[Chart]:
    inputs = [
        one
        for one in known
        if one.metric == "psi" and one.estimate is not None and (one.group or "").startswith("feature=")
    ]
    inputs.sort(key=lambda one: -(one.estimate or 0.0))
    if not inputs or (inputs[0].estimate or 0.0) < MOVED:
        return
    bars = [
        Bar((one.group or "").removeprefix("feature="), one.estimate or 0.0, _missing(one))
        for one in inputs[:MOST_INPUTS]
    ]
    n = max(one.n or 0 for one in inputs)
    yield shifts(
        "Inputs that shifted most",
        f"Against what the model learnt from, on {count(n)} decisions (population stability index).",
        bars,
        SHIFTED,
    )


def _missing(one: SignalData) -> str:
    missing = one.detail.get("missing", 0.0)
    return f"{share(missing)} missing" if missing >= 0.005 else ""
