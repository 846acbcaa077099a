"""What of one decision a viewer is shown: by role, and protected attributes to nobody.

Texts of decisions are untrusted and may be long: they are bounded here and escaped by the templates.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from agents.configuration import Configuration
from agents.events import Decision
from orchestration.console.viewer import Viewer

LONGEST = 4_000
"""Characters of a text that are shown."""
VALUES = 500
"""Features, attributions and arguments of which each is shown at most so many."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A decision as it may be shown."""

    decision: Decision
    hidden: tuple[str, ...] = ()
    """What was taken out, in words for the page."""


def protected_names(configuration: Configuration | None, model: str) -> frozenset[str]:
    """Names of a model's protected attributes, lower case; also those of the others, whose features may be the same."""
    if configuration is None:
        return frozenset()
    declared = configuration.models.get(model)
    chosen = [declared] if declared is not None else list(configuration.models.values())
    return frozenset(name.lower() for one in chosen for name in one.groups)


def redact(decision: Decision, viewer: Viewer, protected: Collection[str] = ()) -> Redacted:
    """The decision without what this viewer may not see. `protected` names attributes that nobody sees in a single case.

    Reviewers and auditors see features and texts, bounded; others see which model said what, and no value.
    """
    data, hidden = decision.data, []
    names = {name.lower() for name in protected}
    kept: dict[str, Any] = {"groups": None}
    if data.groups:
        hidden.append("protected attributes, which nobody sees in a single case")
    if viewer.sees_values:
        features = _without(data.features, names)
        attributions = _without(data.feature_attributions or {}, names)
        if len(features) < min(len(data.features), VALUES) and not data.groups:
            hidden.append("protected attributes, which nobody sees in a single case")
        kept |= {
            "features": {name: bounded(value) for name, value in features.items()},
            "feature_attributions": attributions or None,
            "prompt": bounded(data.prompt),
        }
        if data.output is not None:
            kept["output"] = data.output.model_copy(update={"text": bounded(data.output.text)})
        if data.action is not None:
            found = _without(data.action.arguments, names)
            arguments = {name: bounded(_bare(value, names)) for name, value in found.items()}
            kept["action"] = data.action.model_copy(update={"arguments": arguments})
        return Redacted(decision.model_copy(update={"data": data.model_copy(update=kept)}), tuple(hidden))
    kept |= {"features": {}, "feature_attributions": None, "prompt": None}
    if data.output is not None:
        kept["output"] = data.output.model_copy(update={"text": None})
    if data.action is not None:
        kept["action"] = data.action.model_copy(update={"arguments": {}})
    hidden.append("features, texts and whom it is about: reviewers and auditors see them")
    bare = decision.model_copy(update={"subject": None, "data": data.model_copy(update=kept)})
    return Redacted(bare, tuple(hidden))


def reason_shown(text: str, rule: str, viewer: Viewer, configuration: Configuration | None) -> str:
    """A rule's reason as this viewer may read it: the rendered one shows values of a decision, its template none.

    What is no rule's (`policy/rule`), a monitor's for example, is of many decisions and is shown to all.
    """
    policy, slash, name = rule.partition("/")
    if viewer.sees_values or not slash:
        return text
    if policy == "safeguard":
        return text  # an operator's own words
    policies = configuration.policies if configuration is not None else ()
    templates = (one.reason for each in policies if each.policy == policy for one in each.rules if one.id == name)
    return next(templates, "")


def bounded(value: Any, longest: int = LONGEST) -> Any:
    """A text cut where it is too long, and nested values as bounded text; numbers and nothing stay as they are.

    >>> bounded("abcdef", 3)
    'abc … (3 more characters)'
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest} more characters)"


def _without(values: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    kept = [(name, value) for name, value in values.items() if name.lower() not in names]
    return dict(kept[:VALUES])


def _bare(value: Any, names: Collection[str]) -> Any:
    """A value without what lies deeper in it under these names: a tool's arguments may be documents.

    >>> _bare({"applicant": [{"Sex": "f", "income": 3}]}, {"sex"})
    {'applicant': [{'income': 3}]}
    """
    if isinstance(value, dict):
        return {name: _bare(one, names) for name, one in value.items() if str(name).lower() not in names}
    return [_bare(one, names) for one in value] if isinstance(value, list) else value
