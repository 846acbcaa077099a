"""A configuration that declares people must say what happens to held decisions when nobody answers."""

from __future__ import annotations

import pytest

from agents.configuration_yaml import ConfigErrors, read_configuration

HEAD = """\
models:
  credit: {mode: gate}
  chat: {mode: observe}
escalation:
  people: {ann: {name: Ann}}
  teams: {risk: {members: [ann]}, night: {members: [ann]}}
"""
POLICY = """\
policy: lending
rules:
  - id: low
    when: output.score < 0.2
    effect: %s
"""


def errors(head: str = HEAD, effect: str = "hold") -> str:
    """What is told of it; empty where it may be used."""
    try:
        read_configuration([("main.yaml", head), ("lending.yaml", POLICY % effect)])
    except ConfigErrors as error:
        return str(error)
    return ""


def test_a_rule_that_holds_without_a_deadline_is_named_with_its_line_and_the_mend() -> None:
    assert errors() == (
        "lending.yaml:5:13: lending/low holds decisions of credit, but the chain 'default' of risk says nothing of what "
        "becomes of them when nobody answers; give escalation.chains.default a `deadline:` and say `at_deadline: release`, "
        "`withhold` or `escalate`"
    )


def test_a_deadline_mends_it() -> None:
    assert errors(HEAD + "  chains: {default: {deadline: 4h, at_deadline: withhold}}\n") == ""


def test_a_route_s_own_chain_must_say_it_also_where_it_is_for_some_hours_only() -> None:
    chains = "  chains: {default: {deadline: 4h, at_deadline: withhold}, slow: {}}\n"
    assert errors(HEAD + chains + "  routes: [{cause: other/*, to: night, chain: slow}]\n") == ""
    told = errors(HEAD + chains + "  routes: [{open: false, to: night, chain: slow}]\n")
    assert "the chain 'slow' of night" in told
    assert "'default'" not in told


@pytest.mark.parametrize("effect", ["log", "block"])
def test_rules_that_hold_nothing_need_none(effect: str) -> None:
    assert errors(effect=effect) == ""


def test_nor_do_models_beside_the_path_or_deployments_without_people() -> None:
    assert errors(HEAD.replace("gate", "observe")) == ""
    assert errors("models: {credit: {mode: gate}}\n") == ""
