"""Why protected attributes of decisions in a file are not known, for who watches it: in one sentence each, with the mend.

What lanes say of topics is agents/monitor/unknown.py's. A file is its reader's own, so here values are named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import polars as pl

from agents.configuration import Configuration
from agents.monitor.attributes import AttributeTable, prefer
from agents.monitor.compilation import Watched
from agents.monitor.intake import Table
from agents.monitor.unknown import FAULT, LACK
from orchestration.tables import Rows

NAMED = 3
"""Values that are no group, at most so many are named."""


class UnknownGroups:
    """Counts decisions whose attributes are unknown, by model and attribute."""

    def __init__(self, configuration: Configuration, attributes: Mapping[str, Mapping[str, str | None]] | None) -> None:
        """`attributes`: what is known of subjects beside the file."""
        self._models, self._attributes = configuration.models, AttributeTable()
        self._given = attributes is not None
        for subject, groups in (attributes or {}).items():
            self._attributes.put(subject, groups)
        self._decisions: Counter[str] = Counter()
        self._unknown: Counter[tuple[str, str]] = Counter()

    def take(self, table: Table) -> None:
        """Count some decisions of one model."""
        declaration = self._models[table.model]
        self._decisions[table.model] += table.height
        known = self._attributes.codes(table.model, declaration, table.subjects) if self._given else {}
        for name, codes in prefer(known, table.groups).items():
            self._unknown[table.model, name] += int(np.count_nonzero(codes < 0))

    def told(self, rows: Rows, watched: Mapping[str, Watched]) -> list[str]:
        """What is unknown so often that a monitor sees too little; `rows` are all decisions counted, `watched` the monitors."""
        found = []
        for (model, name), count in self._unknown.items():
            share = count / self._decisions[model]
            read = any(f"groups.{name}" in one.columns() for one in watched[model].monitors)
            why = self._why(model, name, rows, share) if read and share >= FAULT else ""
            if why:
                found.append(f"{model}: {name} is unknown for {share:.0%} of the decisions: {why}")
        return found

    def _why(self, model: str, name: str, rows: Rows, share: float) -> str:
        groups = self._models[model].groups[name]
        if isinstance(rows, pl.DataFrame):
            names = (f"groups.{name}", f"data.groups.{name}", name)
            column = next((one for one in names if one in rows.columns), None)
            if column is not None:
                mine = rows.filter(pl.col("model.name") == model) if "model.name" in rows.columns else rows
                values = mine[column].cast(pl.String).drop_nulls()
                others = Counter(values.filter(~values.is_in(list(groups))).to_list())
                if others.total() >= FAULT * max(mine.height, 1):
                    some = ", ".join(repr(value) for value, _ in others.most_common(NAMED))
                    more = " and others" if len(others) > NAMED else ""
                    return (
                        f"{some}{more} in the column {column} are none of its groups {', '.join(groups)}; "
                        "declare them under `groups`, or correct the column"
                    )
                return f"the column {column} is empty there; fill it, or give --attributes" if share >= LACK else ""
        if share < LACK:
            return ""
        if self._given:
            return "--attributes has no record of their subjects, or none of this attribute"
        what = f"a column {name}" if isinstance(rows, pl.DataFrame) else "`data.groups` in the decisions"
        return f"there is nothing that says it: give {what}, or --attributes"
