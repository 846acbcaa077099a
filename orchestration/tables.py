"""Decisions in the files that people have: CSV, TSV, Parquet and NDJSON, as a frame with the contract's columns, or as records.

    flat rows     a row a decision; columns by their contract names, by short ones, or as a `source:` of the configuration
                  maps them ($.column); nested JSON becomes a.b
    events        NDJSON of CloudEvents, or a Parquet file of the archive: records, read as a lane reads them

A numeric column of a protected attribute whose declared groups all read as ranges (`under 30`, `30 to 44`, `60 and over`)
is put into these groups while reading. Rows are put in the order of their times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import polars as pl

from agents.configuration import Configuration, Source
from agents.errors import Misconfigured
from agents.records import Plain
from agents.sources import Path as FieldPath
from orchestration.decision_file import Progress, batches

Rows = pl.DataFrame | list[Plain]
FORMATS = "CSV, TSV, Parquet or NDJSON"
_LONGEST = 64 * 1024 * 1024
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_RANGE = re.compile(rf"under {_NUMBER}|{_NUMBER} to {_NUMBER}|{_NUMBER} and over")


def read(path: Path, progress: Progress = lambda share: None) -> Rows:
    """What stands in a file, columns named as there; raises Misconfigured where it cannot be read."""
    if not path.is_file():
        raise Misconfigured(f"there is no file {path}; give decisions as {FORMATS}")
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            separator = "\t" if suffix == ".tsv" else ","
            return pl.read_csv(path, separator=separator, infer_schema_length=10_000, try_parse_dates=True)
        if suffix == ".parquet":
            found = pl.read_parquet_schema(path)
            if {"offset", "timestamp", "value"} <= set(found):
                return [record for batch in batches(path, progress=progress) for record in batch]
            return pl.read_parquet(path)
        if suffix in (".ndjson", ".jsonl"):
            return _of_lines(path, progress)
    except pl.exceptions.PolarsError as error:
        raise Misconfigured(f"{path} cannot be read as {suffix[1:]}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error
    raise Misconfigured(f"{path.name} ends in none of .csv, .tsv, .parquet, .ndjson; name it by what it holds")


def decisions(path: Path, configuration: Configuration, progress: Progress = lambda share: None) -> Rows:
    """A file's decisions as the configuration reads them, in the order of their times."""
    rows = read(path, progress)
    if not isinstance(rows, pl.DataFrame):
        return rows
    return _ordered(banded(mapped(rows, source_of(path, configuration)), configuration))


def source_of(path: Path, configuration: Configuration) -> Source | None:
    """The `source:` that says what a file's columns are: the one whose topic is the file's name, else the only one."""
    named = [one for one in configuration.sources if one.topic in (path.name, path.stem)]
    found = named or configuration.sources
    return found[0] if len(found) == 1 and found[0].format == "json" else None


def mapped(frame: pl.DataFrame, source: Source | None) -> pl.DataFrame:
    """The frame with the contract's names, and what the mapping says literally; columns that it does not name stay."""
    if source is None:
        return frame
    fields = {"model.name": source.model, "model.version": source.version, **source.fields}
    made = []
    for field, text in fields.items():
        column = ".".join(map(str, FieldPath(text).steps)) if text.startswith("$") else None
        if column is None:
            made.append(pl.lit(text).alias(field))
        elif column in frame.columns and column != field:
            made.append(pl.col(column).alias(field))
    return frame.with_columns(made)


def banded(frame: pl.DataFrame, configuration: Configuration) -> pl.DataFrame:
    """Numbers of a protected attribute as the ranges that its models declare, in a column `groups.<attribute>`."""
    for model in configuration.models.values():
        for attribute, groups in model.groups.items():
            column = next((one for one in (f"groups.{attribute}", attribute) if one in frame.columns), None)
            edges = ranges(groups)
            if column is None or not edges or not frame[column].dtype.is_numeric():
                continue
            value, found = pl.col(column).cast(pl.Float64).fill_nan(None), pl.lit(None, dtype=pl.String)
            for name, lowest, beyond in edges:
                found = pl.when((value >= lowest) & (value < beyond)).then(pl.lit(name)).otherwise(found)
            frame = frame.with_columns(found.alias(f"groups.{attribute}"))
    return frame


def ranges(groups: Sequence[str]) -> list[tuple[str, float, float]]:
    """Groups that are ranges: name, lower end, and the first value beyond; empty where one of them is none.

    `30 to 44` holds 44.9 too: such ends are years, say, that somebody has completed.

    >>> ranges(["under 30", "30 to 44", "45 and over"])
    [('under 30', -inf, 30.0), ('30 to 44', 30.0, 45.0), ('45 and over', 45.0, inf)]
    """
    found = []
    for group in groups:
        matched = _RANGE.fullmatch(group)
        if matched is None:
            return []
        under, start, end, over = (None if one is None else float(one) for one in matched.groups())
        if under is not None:
            found.append((group, -inf, under))
        elif over is not None:
            found.append((group, over, inf))
        elif start is not None and end is not None:
            found.append((group, start, end + 1))
    return found


def flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested JSON objects as dotted names; lists are left out.

    >>> flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        elif not isinstance(value, list):
            found[f"{before}{name}"] = value
    return found


def _of_lines(path: Path, progress: Progress) -> Rows:
    records = [record for batch in batches(path, _LONGEST, progress) for record in batch]
    first = _object(records[0].value or b"", path, 0) if records else {}
    if "specversion" in first:
        return records
    rows = [flat(_object(record.value or b"", path, record.offset)) for record in records]
    return pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()


def _object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise Misconfigured(f"{path} line {number + 1} is no JSON: {error}; give one object a line") from error
    if not isinstance(found, dict):
        raise Misconfigured(f"{path} line {number + 1} is no JSON object; give one object a line")
    return found


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    for name in ("event_time_ms", "time", "timestamp", "event_time"):
        if name in frame.columns:
            column = frame[name]
            if column.dtype == pl.String:
                column = column.str.to_datetime(time_zone="UTC", time_unit="ms", strict=False)
            return frame if column.is_sorted() else frame[column.arg_sort(nulls_last=True)]
    return frame
