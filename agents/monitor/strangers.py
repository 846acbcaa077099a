"""Do callers use the model that nobody declared, or does a version decide that nobody declared?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from agents.configuration import Model
from agents.monitor.contract import Bools, Ints, Options, View
from agents.monitor.shares import FlaggedShares

CALLERS, VERSIONS = "unknown callers", "undeclared versions"
_COLUMNS = {CALLERS: "caller_declared", VERSIONS: "model.version_declared"}
_CULPRITS = {CALLERS: "caller", VERSIONS: "model.version"}


class StrangerOptions(Options):
    """What is still in order."""

    callers: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """Largest share of calls by callers that the model does not declare."""
    versions: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """Largest share of decisions by versions that the model does not declare."""


class Strangers(FlaggedShares):
    """The shares of decisions by unknown callers and by undeclared versions, where the model declares any.

    Proved if each call is a stranger's with P ≤ p0 whatever came before.
    """

    kind = "strangers"
    summary = "Calls by unknown callers, decisions by undeclared versions."
    options_type = StrangerOptions
    metric = "stranger_share"

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs declared callers or versions."""
        if not declaration.callers and not declaration.versions:
            return "the model declares neither `callers` nor `versions`; name those that may decide"
        return None

    def columns(self) -> frozenset[str]:
        return frozenset({*_COLUMNS.values(), *_CULPRITS.values()})

    def allowed(self) -> Mapping[str, tuple[float, bool]]:
        declared, options = self.setting.declaration, self.setting.options
        found = {CALLERS: (options.callers, False)} if declared.callers else {}
        return found | ({VERSIONS: (options.versions, False)} if declared.versions else {})

    def marked(self, view: View) -> Mapping[str, Bools]:
        return {flag: (~view.frame[_COLUMNS[flag]]).fill_null(True).to_numpy() for flag in self.flags}

    def culprits(self, view: View, flag: str, rows: Ints) -> pl.Series | None:
        return view.frame[_CULPRITS[flag]][rows]

    def words(self, flag: str) -> str:
        return "came from unknown callers" if flag == CALLERS else "were made by undeclared versions"
