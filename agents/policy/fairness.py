"""Rules that would treat people differently by group are refused when they are read, and told what to write instead.

Where a decision moves somebody's life (credit, employment, insurance, housing), no rule or reason reads a protected
attribute, not even as a feature of the same name. And a rule that acts on a signal about groups acts on everybody of a
version or score band: a feature in its condition, or a score made of features, would pick people by what may well stand for
their group.
"""

from __future__ import annotations

from agents.configuration import Configuration, Model, Rule
from agents.policy.columns import ANOMALY, BECAUSE, signal_of
from agents.policy.conditions import Condition, place_of
from agents.policy.problems import Key, Problem
from agents.policy.reasons import Template

DOMAINS = frozenset({"credit", "employment", "insurance", "housing"})
GROUP_KINDS = frozenset({"disparate_impact", "parity", "scoring_rate", "opportunity", "false_positive_rate"})
"""Kinds of monitors whose signals are about groups of people."""
EVERYBODY = frozenset(
    {
        "output.label",
        "output.score",
        "output.confidence",
        "model.name",
        "model.version",
        "model.version_declared",
        "caller",
        "caller_declared",
        "caller_verified",
        "purpose",
    }
)
"""Columns that say nothing of who somebody is; signals, monitors, safeguards and the calendar say nothing either."""
_AROUND = ("signals.", "monitor.", "safeguard.", "calendar.")


def fair(
    configuration: Configuration, model: str, rule: Rule, condition: Condition | None, reason: Template, path: Key
) -> list[Problem]:
    """What in a rule would treat a model's people differently by group, or tell a reviewer of theirs."""
    declaration = configuration.models[model]
    if declaration.domain not in DOMAINS:
        return []
    namesakes = _namesakes(model, declaration)
    problems = []
    for name, offset in zip(reason.columns, reason.offsets, strict=True):
        if name in namesakes:
            told = f"{name} {namesakes[name]}"
            mend = "leave it out: reasons go to people who review single cases"
            problems.append(Problem((*path, "reason"), told, mend, offset))
    about = _about_groups(configuration, condition)
    for name in sorted(condition.columns) if condition is not None else ():
        if name in namesakes:
            told = f"{name} {namesakes[name]}"
            mend = "condition on the version, a score band or everything; a monitor watches the groups"
        elif about and name not in EVERYBODY and not name.startswith(_AROUND):
            told = (
                f"{about[0]} is about groups of people, and {name} could stand for one: in {declaration.domain} "
                f"(model {model}) such a rule would treat people differently by group"
            )
            mend = "condition on version, score band or everything, as in `holds all declines of version 2`"
        else:
            continue
        problems.append(Problem((*path, "when"), told, mend, place_of(rule.when, name)))
    return problems


def _namesakes(model: str, declaration: Model) -> dict[str, str]:
    """Columns of features that are called like a protected attribute, upper and lower case aside, and what is made of them."""
    groups = {name.casefold(): name for name in declaration.groups}
    named = {feature: groups[feature.casefold()] for feature in declaration.features if feature.casefold() in groups}
    found: dict[str, str] = {}
    for feature, attribute in named.items():
        told = f"has the name of a protected attribute of model {model} ({attribute})"
        found |= {f"features.{feature}": told, f"feature_attributions.{feature}": told}
        found |= dict.fromkeys((*ANOMALY, BECAUSE), f"is made of all features, and features.{feature} {told}")
    return found


def _about_groups(configuration: Configuration, condition: Condition | None) -> list[str]:
    """The columns of signals about groups that a condition reads."""
    read = sorted(name for name in condition.columns if name.startswith("signals.")) if condition is not None else []
    monitors = {name: signal_of(name)[0] for name in read}
    kinds = {name: configuration.monitors.get(one, {}).get("kind", one) for name, one in monitors.items()}
    return [name for name in read if str(kinds[name]) in GROUP_KINDS]
