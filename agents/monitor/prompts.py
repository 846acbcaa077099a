"""Do prompts carry injected instructions or personal data more often than usual?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from agents.configuration import Model
from agents.monitor.contract import Bools, Ints, State, View
from agents.monitor.prompt_classifier import Classifier
from agents.monitor.prompt_detectors import INJECTION, PERSONAL, Detector, prompt_findings
from agents.monitor.prompt_patterns import INJECTIONS, PERSONAL_DATA
from agents.monitor.shares import FlaggedShares, ShareOptions, fitted

_USUAL = {INJECTION: 0.001, PERSONAL: 0.01, Classifier.family: 0.01}
_OTHERWISE = 0.01


class PromptOptions(ShareOptions):
    """What is still in order."""

    families: tuple[str, ...] = ()
    """Which to watch: `prompt injection`, `personal data`, `prompt injection by classifier`, or your own; none: all."""
    allowed: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    """Family → largest share of prompts; not given: the profile's usual one, at least 0.1 % (injection) or 1 %."""


class PromptRisk(FlaggedShares):
    """The shares of prompts in which detectors find something, a family of detectors each, overall and by caller.

    Proved if each prompt bears a finding with P ≤ p0 whatever came before; with a profile that saw findings in clusters,
    a rule of thumb. A share of findings is not one of attacks: the detectors' own errors are part of what is usual.
    """

    kind = "prompt_risk"
    summary = "Prompt injection and personal data in prompts."
    options_type = PromptOptions
    metric = "finding_share"
    counted = "prompts"
    detectors: ClassVar[Sequence[Detector]] = (*INJECTIONS, *PERSONAL_DATA, Classifier())
    """A subclass may name others (prompt_detectors.py)."""

    @classmethod
    def applies(cls, declaration: Model, options: Any) -> str | None:
        """Needs a model that is prompted, and detectors of the families that are named."""
        families = {one.family for one in cls.detectors}
        for name in (*options.families, *options.allowed):
            if name not in families:
                return f"no detector is of the family {name!r}; there are {', '.join(sorted(families))}"
        if declaration.kind == "prediction" and declaration.features:
            return "a model that predicts from features has no prompts; watch one of kind generation or action"
        return None

    @classmethod
    def fit(cls, view: View, declaration: Model) -> tuple[State | None, Sequence[str]]:
        if "prompt" not in view.frame.columns or not view.frame["prompt"].is_not_null().any():
            return None, ()
        prompts = view.frame["prompt"]
        keep = prompts.is_not_null().to_numpy()
        section = fitted(view, found_by_family(prompts, cls.detectors), keep)
        total = max(int(section["n"][0]), 1)
        often = {family: int(k[0]) / total for family, k in section["k"].items() if k[0] > 0.05 * total}
        return section, [f"{family}: found in {share:.0%} of the reference prompts" for family, share in often.items()]

    def columns(self) -> frozenset[str]:
        return frozenset({"caller", "prompt"})

    def allowed(self) -> Mapping[str, tuple[float, bool]]:
        options: PromptOptions = self.setting.options
        families = options.families or tuple(dict.fromkeys(one.family for one in self.detectors))
        usual = {family: _USUAL.get(family, _OTHERWISE) for family in families}
        return {
            family: (options.allowed.get(family, p0), family not in options.allowed) for family, p0 in usual.items()
        }

    def eligible(self, view: View) -> Bools:
        found: Bools = view.frame["prompt"].is_not_null().to_numpy()
        return found

    def marked(self, view: View) -> Mapping[str, Bools]:
        return found_by_family(view.frame["prompt"], [one for one in self.detectors if one.family in self.flags])

    def culprits(self, view: View, flag: str, rows: Ints) -> pl.Series | None:
        """The first detector of the family that found something."""
        mine = [one for one in self.detectors if one.family == flag]
        if len(mine) < 2:
            return None
        names = np.full(len(rows), mine[-1].name, dtype=object)
        for name, found in reversed(list(prompt_findings(view.frame["prompt"][rows], mine).items())):
            names[found] = name
        return pl.Series(names, dtype=pl.String)

    def words(self, flag: str) -> str:
        verb = {
            INJECTION: "try to inject instructions",
            PERSONAL: "contain personal data",
            Classifier.family: "look like prompt injection",
        }
        return verb.get(flag, f"contain {flag}")


def found_by_family(prompts: pl.Series, detectors: Sequence[Detector]) -> dict[str, Bools]:
    """Family → whether one of its detectors found something, a row each."""
    found = prompt_findings(prompts, detectors)
    families: dict[str, Bools] = {}
    for one in detectors:
        families[one.family] = families.get(one.family, np.zeros(len(prompts), dtype=np.bool_)) | found[one.name]
    return families
