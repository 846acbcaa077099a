"""Rules that hold decisions though nobody has said what becomes of them when no answer comes.

Promise to operators: where people are declared, each rule that can hold a decision in the path leads to a chain whose
deadline and end are written down. Nothing is released or withheld by a default that nobody chose.
"""

from __future__ import annotations

from agents.configuration import Configuration, Policy, Rule
from agents.escalation.routing import Routed, alternatives
from agents.events import Effect, Mode
from agents.policy.problems import Problem


def problems(configuration: Configuration) -> list[Problem]:
    """One for each rule and chain without a deadline; none where nobody is declared.

    >>> rule = {"id": "low", "when": "output.score < 0.2", "effect": "hold"}
    >>> found = Configuration.model_validate({
    ...     "models": {"credit": {"mode": "gate"}},
    ...     "policies": [{"policy": "lending", "rules": [rule]}],
    ...     "escalation": {"people": {"ann": {"name": "Ann"}}, "teams": {"risk": {"members": ["ann"]}}},
    ... })
    >>> print(*problems(found))  # doctest: +ELLIPSIS
    policies.0.rules.0.effect: lending/low holds decisions of credit, but the chain 'default' of risk says ...
    """
    if not configuration.escalation.people:
        return []
    found: list[Problem] = []
    for at, policy in enumerate(configuration.policies):
        if policy.mode != "enforce":
            continue
        models = _in_the_path(configuration, policy)
        for number, rule in enumerate(policy.rules):
            if Effect.HOLD not in (rule.effect, rule.on_unknown):
                continue
            name = f"{policy.policy}/{rule.id}"
            told: dict[Routed, list[str]] = {}
            for model in models:
                for routed in _silent(configuration, name, model, rule):
                    told.setdefault(routed, []).append(model)
            field = "effect" if rule.effect is Effect.HOLD else "on_unknown"
            found += [
                _problem(("policies", at, "rules", number, field), name, routed, those)
                for routed, those in told.items()
            ]
    return found


def _in_the_path(configuration: Configuration, policy: Policy) -> list[str]:
    """Models in gate mode that a policy is for."""
    wanted = policy.match.model
    names = None if wanted is None else {wanted} if isinstance(wanted, str) else set(wanted)
    return [
        name
        for name, model in configuration.models.items()
        if model.mode is Mode.GATE and (names is None or name in names)
    ]


def _silent(configuration: Configuration, name: str, model: str, rule: Rule) -> list[Routed]:
    """Where the rule's incidents may go, as far as that chain says nothing."""
    chains = configuration.escalation.chains
    routes = alternatives(configuration.escalation, name, model, rule.team, rule.severity, rule.labels)
    return [
        one
        for one in routes
        if (chain := chains.get(one.chain) or chains.get("default")) is None or chain.deadline is None
    ]


def _problem(path: tuple[str | int, ...], name: str, routed: Routed, models: list[str]) -> Problem:
    whose = f" of {routed.team}" if routed.team else ""
    return Problem(
        path,
        f"{name} holds decisions of {', '.join(models)}, but the chain {routed.chain!r}{whose} says nothing of what "
        "becomes of them when nobody answers",
        f"give escalation.chains.{routed.chain} a `deadline:` and say `at_deadline: release`, `withhold` or `escalate`",
    )
