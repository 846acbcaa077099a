"""Profiles from decisions that people have in a file: what a model's monitors compare with from then on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from agents.columns import decision_columns
from agents.configuration import Configuration, Model
from agents.errors import Misconfigured
from agents.monitor.contract import Monitor, View
from agents.monitor.intake import CALENDAR, Table, table_of
from agents.monitor.matured import OUTCOME
from agents.monitor.profiles import Profile, fit
from agents.monitor.subjects import Subjects
from agents.policy.calendars import hours_of
from orchestration.tables import Rows


def every_column(model: Model) -> frozenset[str]:
    """All columns that any kind of monitor may read of a model's decisions."""
    return frozenset(decision_columns(model)) | ({CALENDAR} if model.calendar is not None else frozenset())


def fitted(
    rows: Rows,
    configuration: Configuration,
    model: str,
    kinds: Mapping[str, type[Monitor]],
    *,
    version: str | None = None,
    outcome: str | None = None,
    source: str = "",
) -> Profile:
    """A profile of one model from its decisions; raises Misconfigured with the mend.

    Of one version, where named; kinds that judge all versions together compare with all all the same.
    `outcome` names the column of a frame that says what really happened.
    """
    declaration = configuration.models.get(model)
    if declaration is None:
        raise Misconfigured(f"model {model!r} is not declared; there are {', '.join(configuration.models) or 'none'}")
    tables = table_of(rows, configuration, {model: every_column(declaration)})
    table = next((one for one in tables if one.model == model), None)
    if table is None:
        raise Misconfigured(f"there is no decision of {model!r} in {source or 'the data'}")
    if outcome is not None:
        table = _with_outcome(table, rows, outcome, declaration)
    versions, every = sorted(set(table.versions)), table
    if version is not None:
        if version not in versions:
            raise Misconfigured(f"there is no decision of version {version!r}; there are {', '.join(versions)}")
        table = table.rows([row for row, one in enumerate(table.versions) if one == version])
    with threadpool_limits(1):  # the same figures on any machine, and no threads that wait for each other on a busy one
        hours = hours_of(configuration, model)
        view = replace(view_of(table, declaration), calendar=hours)
        whole = None if table is every else replace(view_of(every, declaration), calendar=hours)
        found = fit(kinds, view, model, declaration, version=version or _only(versions), source=source, whole=whole)
    remarks = [*_remarks(table, declaration, versions, version), *found.remarks]
    return replace(found, remarks=tuple(remarks))


def view_of(table: Table, declaration: Model) -> View:
    """A table as monitors see it: no decision twice, and subjects marked that were there already."""
    first_of: dict[str, int] = {}
    for row, name in enumerate(table.identities):
        first_of.setdefault(name if name is not None else f"row\0\0{row}", row)
    table = table.rows(list(first_of.values()))
    clock = np.maximum.accumulate(table.times_ms) if table.height else table.times_ms
    once = None
    if declaration.subject_period != "none" and any(one is not None for one in table.subjects):
        once = np.ones(table.height, dtype=np.bool_)
        subjects = Subjects()
        for version in dict.fromkeys(table.versions):
            rows = np.array([row for row, one in enumerate(table.versions) if one == version])
            names = [table.subjects[row] for row in rows]
            first = subjects.first(table.model, version, names, clock[rows], declaration.subject_period)
            if first is not None:
                once[rows] = first
    stretch = np.zeros(table.height, dtype=np.int64)
    return View(table.frame, stretch, 1, table.groups, clock, once)


def _with_outcome(table: Table, rows: Rows, name: str, declaration: Model) -> Table:
    """With a column `outcome` as monitors see it: 1 for a positive one, 0 for another, null where it is not known."""
    if not isinstance(rows, pl.DataFrame) or name not in rows.columns:
        raise Misconfigured(f"there is no column {name!r} for --outcome; events carry none, give a table")
    if rows.height != table.height:
        raise Misconfigured("--outcome needs a table with decisions of one model only")
    signs = {known: float(one.positive) for known, one in declaration.outcomes.items()}
    found = rows[name].cast(pl.String).replace_strict(signs, default=None, return_dtype=pl.Float64)
    if found.null_count() == table.height:
        told = ", ".join(str(one) for one in rows[name].unique().head(5).to_list())
        raise Misconfigured(
            f"no value of {name!r} ({told}) is a declared outcome; declare them, for example "
            "outcomes: {repaid: {positive: true}, defaulted: {}}"
        )
    return replace(table, frame=table.frame.with_columns(found.alias(OUTCOME)))


def _only(versions: Collection[str]) -> str | None:
    return next(iter(versions)) if len(versions) == 1 else None


def _remarks(table: Table, declaration: Model, versions: Collection[str], version: str | None) -> list[str]:
    """How good the data are for any monitor: their number, what they lack, whom."""
    found = []
    if table.height < 1_000:
        found.append(f"only {table.height:,} decisions: differences smaller than large ones cannot be told from chance")
    if len(versions) > 1 and version is None:
        found.append(f"mixes versions {', '.join(versions)}; `--version` keeps to one")
    for name, feature in declaration.features.items():
        column = table.frame[f"features.{name}"]
        if column.null_count() == table.height:
            found.append(f"feature {name} is nowhere there")
        elif column.n_unique() == 1:
            found.append(f"feature {name} is constant: any other value will look new")
        elif not feature.missing and column.null_count():
            found.append(
                f"feature {name} is missing in {column.null_count() / table.height:.1%}, though never declared so"
            )
    for attribute, groups in declaration.groups.items():
        codes = table.groups.get(attribute, np.full(table.height, -1))
        counts = np.bincount(codes[codes >= 0], minlength=len(groups))
        if not counts.any():
            found.append(f"nobody's {attribute} is known: nothing in the profile is told apart by it")
            continue
        few = [f"{group} ({count})" for group, count in zip(groups, counts, strict=True) if count < 30]
        if few:
            found.append(f"too few decisions to judge {attribute}: {', '.join(few)}")
    return found
