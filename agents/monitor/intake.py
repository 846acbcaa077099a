"""What people hold in their hands as tables of decisions: CloudEvents, flat dicts, Polars and pandas frames.

A frame's columns are those of agents/columns.py; short names are understood too (`label`, `score`, `version`, `time`, a
feature's or a protected attribute's own name). What a frame lacks is null.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from agents.columns import decision_columns
from agents.configuration import Configuration, Model
from agents.errors import Malformed, Misconfigured
from agents.frames import Reader
from agents.monitor.attributes import group_codes
from agents.monitor.contract import Ints
from agents.policy.calendars import OpenHours, hours_of
from agents.records import Plain

SHORT = {
    "label": "output.label",
    "score": "output.score",
    "confidence": "output.confidence",
    "text": "output.text",
    "version": "model.version",
    "model": "model.name",
    "tool": "action.tool",
    "event_time": "time",
    "timestamp": "time",
}
CALENDAR = "calendar.open"


@dataclass(frozen=True)
class Table:
    """Decisions of one model, a row each."""

    model: str
    frame: pl.DataFrame
    versions: list[str]
    subjects: list[str | None]
    identities: list[str | None]
    """`source`, NUL, `id`; None where a row has no id."""
    times_ms: Ints
    """The producers' times (or the broker's), ms since 1970 UTC."""
    groups: Mapping[str, Ints]

    @property
    def height(self) -> int:
        """How many decisions."""
        return len(self.versions)

    def slice(self, start: int, count: int) -> Table:
        """Some rows in a row."""
        return self.rows(range(start, min(start + count, self.height)))

    def rows(self, rows: Sequence[int]) -> Table:
        """These rows."""
        if len(rows) == self.height:
            return self
        at = np.array(rows, dtype=np.int64)
        return Table(
            self.model,
            self.frame[at] if self.frame.width else pl.DataFrame(height=len(rows)),
            [self.versions[row] for row in rows],
            [self.subjects[row] for row in rows],
            [self.identities[row] for row in rows],
            self.times_ms[at],
            {name: codes[at] for name, codes in self.groups.items()},
        )


def table_of(
    decisions: Any, configuration: Configuration, wanted: Mapping[str, Collection[str]], now: int | None = None
) -> list[Table]:
    """Tables in the order of the decisions' models; raises Misconfigured or Malformed naming the row and the mend.

    `wanted`: the columns that a model's monitors read.
    """
    frame = frame_of(decisions)
    if frame is not None:
        return _of_frame(frame, configuration, wanted, now)
    if isinstance(decisions, Mapping | str | bytes):
        decisions = [decisions]
    if not isinstance(decisions, Iterable):
        raise Misconfigured("decisions must be events, dicts, a Polars or a pandas frame")
    rows = list(decisions)
    if not rows:
        return []
    if all(isinstance(row, Mapping) and "specversion" not in row for row in rows):
        flat = pl.from_dicts([_flat(row) for row in rows], infer_schema_length=None)
        return _of_frame(flat, configuration, wanted, now)
    return _of_events(rows, configuration, wanted, now)


def frame_of(given: Any) -> pl.DataFrame | None:
    """A Polars or pandas frame as a Polars one; None for anything else."""
    if isinstance(given, pl.DataFrame):
        return given
    if hasattr(given, "columns") and hasattr(given, "dtypes"):
        return _of_pandas(given)
    return None


def calendars_of(configuration: Configuration) -> dict[str, OpenHours]:
    """The calendar of each model that has one."""
    found = {name: hours_of(configuration, name) for name in configuration.models}
    return {name: hours for name, hours in found.items() if hours is not None}


def with_calendar(
    frame: pl.DataFrame, wanted: Collection[str], hours: OpenHours | None, times_ms: Ints
) -> pl.DataFrame:
    """The frame with `calendar.open`, where it is wanted; times are those that the model's calendar goes by."""
    if CALENDAR not in wanted:
        return frame
    assert hours is not None, "only models with a calendar have monitors that read it"
    return frame.with_columns(pl.Series(CALENDAR, hours.at(times_ms).open))


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _of_pandas(frame: Any) -> pl.DataFrame:
    """Column by column, so that neither pandas nor pyarrow is needed here; what pandas calls missing is null."""
    return pl.DataFrame([_of_column(str(name), frame[name]) for name in frame.columns])


def _of_column(name: str, values: Any) -> pl.Series:
    kind = getattr(values.dtype, "kind", "O")
    if kind in "biu":
        return pl.Series(name, values.to_numpy())
    if kind == "f":
        return pl.Series(name, values.to_numpy()).fill_nan(None)
    if kind == "M":
        utc = values if getattr(values.dtype, "tz", None) is None else values.dt.tz_convert(None)
        return pl.Series(name, utc.to_numpy().astype("datetime64[ms]"))
    return pl.Series(name, [None if one is None or one != one else one for one in values.tolist()], strict=False)


def _of_frame(
    frame: pl.DataFrame, configuration: Configuration, wanted: Mapping[str, Collection[str]], now: int | None
) -> list[Table]:
    names = {one: SHORT.get(one, one) for one in frame.columns}
    taken = set(frame.columns)
    frame = frame.rename({old: new for old, new in names.items() if old != new and new not in taken})
    if "model.name" not in frame.columns:
        if len(configuration.models) != 1:
            raise Misconfigured("give a column `model`: more than one model is declared")
        name = next(iter(configuration.models))
        return [_table(frame, name, configuration, wanted.get(name, ()), now)]
    found = []
    for name in frame["model.name"].unique(maintain_order=True).to_list():
        if name not in configuration.models:
            raise Misconfigured(f"model {name!r} is not declared; there are {', '.join(configuration.models)}")
        found.append(_table(frame.filter(pl.col("model.name") == name), name, configuration, wanted.get(name, ()), now))
    return found


def _table(
    frame: pl.DataFrame, model: str, configuration: Configuration, wanted: Collection[str], now: int | None
) -> Table:
    declaration = configuration.models[model]
    types = decision_columns(declaration)
    times = _times(frame, now)
    columns = [
        _column(frame, name, types[name], declaration)
        for name in sorted(wanted)
        if name in types
        and name not in ("event_time_ms", "broker_time_ms", "caller_declared", "model.version_declared")
    ]
    height = frame.height
    versions = _texts(frame, "model.version", height, (declaration.versions or ("1",))[0])
    made = pl.DataFrame(columns) if columns else pl.DataFrame(height=height)
    made = made.with_columns(_declared(wanted, versions, _texts(frame, "caller", height, None), declaration, times))
    made = with_calendar(made, wanted, calendars_of(configuration).get(model), times)
    ids, sources = _texts(frame, "id", height, None), _texts(frame, "source", height, "")
    return Table(
        model,
        made,
        [str(one) for one in versions],
        _texts(frame, "subject", height, None),
        [None if one is None else f"{source}\0{one}" for one, source in zip(ids, sources, strict=True)],
        times,
        {name: group_codes(declaration, name, _group(frame, name, height)) for name in declaration.groups},
    )


def _declared(
    wanted: Collection[str],
    versions: Sequence[str | None],
    callers: Sequence[str | None],
    declaration: Model,
    times: Ints,
) -> list[pl.Series]:
    found: list[pl.Series] = []
    if "caller_declared" in wanted:
        found.append(pl.Series("caller_declared", [one in declaration.callers for one in callers]))
    if "model.version_declared" in wanted:
        found.append(pl.Series("model.version_declared", [one in declaration.versions for one in versions]))
    return found + [pl.Series(name, times) for name in ("event_time_ms", "broker_time_ms") if name in wanted]


def _group(frame: pl.DataFrame, attribute: str, height: int) -> list[str | None]:
    for name in (f"groups.{attribute}", f"data.groups.{attribute}", attribute):
        if name in frame.columns:
            return _texts(frame, name, height, None)
    return [None] * height


def _column(frame: pl.DataFrame, name: str, kind: pl.DataType, declaration: Model) -> pl.Series:
    short = name.removeprefix("features.")
    found = (
        name if name in frame.columns else short if name.startswith("features.") and short in frame.columns else None
    )
    if found is None:
        return pl.Series(name, [None] * frame.height, dtype=kind)
    series = frame[found].alias(name)
    if series.dtype == kind:
        return series.fill_nan(None) if kind == pl.Float64 else series
    try:
        cast = series.cast(kind, strict=True)
    except pl.exceptions.PolarsError as error:
        raise Misconfigured(f"column {found!r} is {series.dtype}, not {kind}: {str(error).splitlines()[0]}") from error
    return cast.fill_nan(None) if kind == pl.Float64 else cast


def _texts(frame: pl.DataFrame, name: str, height: int, default: str | None) -> list[Any]:
    if name not in frame.columns:
        return [default] * height
    return frame[name].cast(pl.String).to_list()


def _times(frame: pl.DataFrame, now: int | None) -> Ints:
    for name in ("event_time_ms", "broker_time_ms", "time"):
        if name not in frame.columns:
            continue
        series = frame[name]
        if series.dtype == pl.String:
            series = series.str.to_datetime(time_zone="UTC", time_unit="ms", strict=False)
        elif series.dtype == pl.Date:
            series = series.cast(pl.Datetime("ms"))
        if series.dtype.base_type() == pl.Datetime:
            series = series.dt.epoch("ms")
        elif not series.dtype.is_numeric():
            raise Misconfigured(f"column {name!r} is no time; give RFC 3339 texts, dates, or ms since 1970")
        bad = series.null_count()
        if bad and now is None:
            raise Misconfigured(f"column {name!r} has {bad} values that are no time; give `now`, or mend them")
        return series.cast(pl.Int64).fill_null(now or 0).to_numpy().astype(np.int64)
    return np.full(frame.height, now or 0, dtype=np.int64)


def _of_events(
    rows: Sequence[Any], configuration: Configuration, wanted: Mapping[str, Collection[str]], now: int | None
) -> list[Table]:
    groups = {f"groups.{name}" for model in configuration.models.values() for name in model.groups}
    columns = frozenset().union({"subject", "model.version"}, groups, *wanted.values())
    records = [
        row if isinstance(row, Plain) else Plain("watch", 0, place, now or 0, None, _bytes(row))
        for place, row in enumerate(rows)
    ]
    batch = Reader(configuration, columns - {CALENDAR}).read(records)
    for place, fault in sorted(batch.faults.items()):
        raise Malformed(f"decision {place} is refused: {fault.detail}", fault.reason)
    hours = calendars_of(configuration)
    found = []
    for group in batch.groups:
        times = np.array(group.event_times, dtype=np.int64)
        declared = group.declaration.groups
        codes = {
            name: group_codes(group.declaration, name, group.frame[f"groups.{name}"].to_list()) for name in declared
        }
        frame = with_calendar(group.frame, wanted.get(group.declared, ()), hours.get(group.declared), times)
        identities = [batch.identities[row] for row in group.rows]
        subjects = group.frame["subject"].to_list()
        found.append(Table(group.declared, frame, group.versions, subjects, identities, times, codes))
    return found


def _bytes(row: Any) -> bytes:
    if isinstance(row, bytes):
        return row
    if isinstance(row, str):
        return row.encode()

    def told(value: Any) -> str:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        raise TypeError(f"{type(value).__name__} cannot stand in an event")

    return json.dumps(row, default=told).encode()
