"""What a condition can use for a model: its decision's columns, how unusual these are, signals, safeguards, its calendar.

Protected attributes are never columns, wherever they came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from agents.configuration import Configuration
from agents.frames import COLUMN_DOCS, decision_columns

SIGNAL: dict[str, tuple[pl.DataType, str]] = {
    "status": (pl.String(), "none, insufficient, ok, warn or alarm: the strongest over segments and groups"),
    "estimate": (pl.Float64(), "what the monitor estimates"),
    "lower": (pl.Float64(), "lower end of the estimate's interval"),
    "upper": (pl.Float64(), "upper end of the estimate's interval"),
    "n": (pl.Float64(), "how many observations stand behind the estimate"),
    "e_value": (pl.Float64(), "strength of the evidence against `all is well`"),
    "coverage": (pl.Float64(), "share of the decisions that the monitor could count, 0 to 1"),
    "onset_ms": (
        pl.Float64(),
        "since when, by the model's clock, in ms since 1970 UTC: an estimate, an optimistic one",
    ),
    "held_ms": (pl.Float64(), "how long the status has stood at the decision's time, by the model's clock, in ms"),
    "age_ms": (pl.Float64(), "how long before the decision's broker time the signal was published, in ms"),
}
GROWING = frozenset({"held_ms", "age_ms"})
"""Columns of a signal that change while it stands."""
WATERMARK = "monitor.lag_ms"
SAFEGUARD: dict[str, str] = {
    "safeguard.quarantined": "true where a safeguard quarantines the model or this version of it",
    "safeguard.fallback": "true where a safeguard orders the fallback for the model or this version",
    "safeguard.hold_all": "true where a safeguard holds all decisions of the model or this version",
    "safeguard.paused_caller": "true where a safeguard pauses this caller",
    "safeguard.limit": "true where a safeguard limits the rate of the model, this version or this caller",
}
ANOMALY: dict[str, str] = {
    "anomaly.p_value": "share of the profile's decisions whose input is at least as unusual, 0 to 1",
    "anomaly.score": "how unusual the input is by the profile's isolation forest, 0 to 1",
}
BECAUSE = "anomaly.because"
"""In reasons only, because it costs a scoring for each feature."""
CALENDAR: dict[str, tuple[pl.DataType, str]] = {
    "calendar.open": (pl.Boolean(), "true in the business hours of the model's calendar"),
    "calendar.name": (pl.String(), "name of the model's calendar"),
    "calendar.holiday": (pl.Boolean(), "true on a public holiday or a closed day of the calendar"),
    "calendar.weekday": (pl.String(), "mon … sun, in the calendar's zone"),
    "calendar.hour": (pl.Float64(), "hour of the day in the calendar's zone, 0 to 23"),
}


@dataclass(frozen=True)
class Column:
    """One column: its type and a line about it."""

    name: str
    dtype: pl.DataType
    doc: str


def columns_of(configuration: Configuration, model: str) -> dict[str, Column]:
    """Every column that a condition can use for a declared model, by name, in reading order."""
    declaration = configuration.models[model]
    found = [Column(name, dtype, _doc(name)) for name, dtype in decision_columns(declaration).items()]
    for monitor in configuration.monitors:
        for name, (dtype, doc) in SIGNAL.items():
            found.append(Column(f"signals.{monitor}.{name}", dtype, f"{doc} (null until {monitor} has a signal)"))
            if name == "status":
                found[-1] = Column(f"signals.{monitor}.status", dtype, f"{doc}; none until {monitor} has a signal")
    found.append(Column(WATERMARK, pl.Float64(), "how far the model's monitors are behind, in ms; null if never told"))
    found += [Column(name, pl.Boolean(), doc) for name, doc in SAFEGUARD.items()]
    if declaration.profile is not None and declaration.features:
        null = "null where the profile has no anomaly scores"
        found += [Column(name, pl.Float64(), f"{doc}; {null}") for name, doc in ANOMALY.items()]
    if declaration.calendar is not None:
        found += [Column(name, dtype, doc) for name, (dtype, doc) in CALENDAR.items()]
    return {column.name: column for column in found}


def told_columns(columns: Mapping[str, Column]) -> Mapping[str, Column]:
    """What a reason can name: these columns of a model, and what only reasons have."""
    if not ANOMALY.keys() <= columns.keys():
        return columns
    doc = "in reasons only: up to three features that make the input unusual, the strongest first"
    return {**columns, BECAUSE: Column(BECAUSE, pl.String(), doc)}


def is_of_decision(name: str) -> bool:
    """True where the column comes with the decision; the others are known to the lane."""
    return not name.startswith(("signals.", "monitor.", "safeguard.", "anomaly.", "calendar."))


def signal_of(name: str) -> tuple[str, str]:
    """The monitor and the field that a column of a signal is of.

    >>> signal_of("signals.approval_gap.status")
    ('approval_gap', 'status')
    """
    monitor, _, field_name = name.removeprefix("signals.").rpartition(".")
    return monitor, field_name


def why_missing(configuration: Configuration, model: str, name: str) -> str | None:
    """Why a name is no column of a model, as a mend; None where nothing special is known."""
    declaration = configuration.models[model]
    last = name.rsplit(".", 1)[-1]
    if last in declaration.groups or name.startswith(("groups.", "data.groups.")):
        return f"{last} is a protected attribute, and policies never see those"
    if name.startswith("calendar.") and declaration.calendar is None:
        return f"model {model} has no calendar: declare `calendar:` for it, or narrow the policy's `match:`"
    if name in (*ANOMALY, BECAUSE) and not declaration.features:
        return f"model {model} declares no features; name its inputs under `features:`"
    if name in (*ANOMALY, BECAUSE) and declaration.profile is None:
        before = "fit one (`govern profile fit`) before you write the rule, and declare it as `profile:`"
        return f"model {model} has no profile: {before}; or narrow the policy's `match:`"
    if name == BECAUSE:
        return f"{BECAUSE} stands in reasons only; compare anomaly.p_value"
    if name.startswith("anomaly."):
        return f"there are {' and '.join(ANOMALY)}"
    if name.startswith("signals."):
        monitor, field_name = signal_of(name)
        if monitor in configuration.monitors and field_name in ("group", "segment", "reference", "text", "detail"):
            return "a signal's groups are protected attributes: policies and what they say to reviewers never see those"
        cut = name.removeprefix("signals.")
        dashed = next((one for one in configuration.monitors if one.startswith(f"{cut}-")), None)
        if dashed is not None:
            return f'SQL reads - as minus; write "signals.{dashed}.status" in double quotes'
        declared = ", ".join(configuration.monitors) or "none"
        return f"monitors declared: {declared}; columns of each: {', '.join(SIGNAL)}"
    if name == "time":
        return "write event_time_ms, broker_time_ms or a calendar column"
    return None


def _doc(name: str) -> str:
    if name.startswith("features."):
        return COLUMN_DOCS["features.<feature>"]
    if name.startswith("feature_attributions."):
        return COLUMN_DOCS["feature_attributions.<feature>"]
    return COLUMN_DOCS[name]
