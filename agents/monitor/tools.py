"""Does an agent use tools that it does not usually use?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import Field

from agents.configuration import Model
from agents.monitor.contract import Bools, Ints, Setting, State, View
from agents.monitor.shares import FlaggedShares, ShareOptions, coded, fitted

FLAG = "unusual tools"
DEFAULT = 0.005
RARE = 0.01
"""A caller's least-used tools that make up no more than this share together are unusual for it too."""
_AGENTS = 256
_TOOLS = 256


class ToolOptions(ShareOptions):
    """What is still in order."""

    allowed: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Largest share of actions with an unusual tool; not given: the profile's share of rare tools, at least 0.5 %."""
    usual: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Caller → its usual tools, instead of the profile's; `*`: those of every caller that is not named."""


class UnusualTools(FlaggedShares):
    """The share of an agent's actions with a tool that it did not use in the reference, or hardly did.

    An agent that the reference does not know is compared with all tools that the others use.
    """

    kind = "unusual_tools"
    summary = "Tools that an agent does not usually use."
    options_type = ToolOptions
    metric = "unusual_tool_share"
    counted = "actions"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        options: ToolOptions = setting.options
        profile = setting.profile or {}
        known: dict[str, Sequence[str]] = {**profile.get("usual", {}), **options.usual}
        self.usual = {name: frozenset(tools) for name, tools in known.items()}
        everyone = self.usual.pop("*", None)
        self.everyone = frozenset().union(*self.usual.values()) if everyone is None else everyone

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs a model whose decisions are actions."""
        if declaration.kind != "action":
            return "only models of kind action use tools; declare `kind: action` where decisions carry `data.action`"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        if "action.tool" not in view.frame.columns:
            return None, ()
        keep = view.frame["action.tool"].is_not_null().to_numpy()
        if not keep.any():
            return None, ()
        callers, names = coded(view.frame["caller"])
        tools, tool_names = coded(view.frame["action.tool"])
        table = np.zeros((len(names), len(tool_names)), dtype=np.int64)
        np.add.at(table, (callers[keep], tools[keep]), 1)
        usual: dict[str, list[str]] = {}
        order = [int(one) for one in np.argsort(-table.sum(axis=1), kind="stable") if names[int(one)] is not None]
        for row in order[:_AGENTS]:
            usual[str(names[row])] = [str(tool_names[place]) for place in _usual(table[row])[:_TOOLS]]
        frequent = {(name, tool) for name, tools_ in usual.items() for tool in tools_}
        pairs = zip(view.frame["caller"], view.frame["action.tool"], strict=True)
        rare = np.array([(name, tool) not in frequent for name, tool in pairs], dtype=np.bool_)
        section = fitted(view, {FLAG: rare}, keep)
        few = [name for name, row in zip(names, table, strict=True) if name is not None and 0 < row.sum() < 200]
        told = f"fewer than 200 reference actions of {', '.join(few[:5])}: tools not seen yet may be usual for them"
        return section | {"usual": usual}, [told] if few else []

    @property
    def ready(self) -> str | None:
        if self.usual or self.everyone:
            return None
        return "waits for a profile (`govern profile fit`), or for `usual` tools by caller"

    def columns(self) -> frozenset[str]:
        return frozenset({"caller", "action.tool"})

    def allowed(self) -> Mapping[str, tuple[float, bool]]:
        given = self.setting.options.allowed
        return {FLAG: (DEFAULT if given is None else given, given is None)}

    def eligible(self, view: View) -> Bools:
        found: Bools = view.frame["action.tool"].is_not_null().to_numpy()
        return found

    def marked(self, view: View) -> Mapping[str, Bools]:
        callers, names = coded(view.frame["caller"])
        tools, tool_names = coded(view.frame["action.tool"])
        pairs, place = np.unique(callers * max(len(tool_names), 1) + tools, return_inverse=True)
        unusual = []
        for pair in pairs.tolist():
            caller, tool = names[pair // len(tool_names)], tool_names[pair % len(tool_names)]
            mine = self.everyone if caller is None else self.usual.get(caller, self.everyone)
            unusual.append(tool not in mine)
        return {FLAG: np.array(unusual, dtype=np.bool_)[place]}

    def culprits(self, view: View, flag: str, rows: Ints) -> pl.Series | None:
        return view.frame["action.tool"][rows]

    def words(self, flag: str) -> str:
        return "use tools that are not usual there"


def _usual(counts: Ints) -> list[int]:
    """Places of the tools that are used, most used first, without the last that make up RARE together."""
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    rest = counts[order][::-1].cumsum()[::-1]  # this tool and all that are used less
    return [int(place) for place in order[rest > RARE * counts.sum()]]
