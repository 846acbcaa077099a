"""docs/console.md and docs/reviewing.md: what they say to declare before a first answer is all that it takes."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from agents.configuration_yaml import read_configuration
from orchestration.cli.main import main
from orchestration.console.standing import key_lines
from orchestration.signing_keys import console_lines

ROOT = Path(__file__).parents[3]
GATE = """
models:
  credit-limit:
    domain: credit
    mode: gate
    labels: {approve: {favourable: true}, decline: {}}
---
policy: lending
rules:
  - {id: low-score, when: output.score < 0.2, effect: hold, team: credit, reason: "a low score"}
"""


def shown(page: str) -> str:
    """The first `escalation:` that a page shows indented, as a file of its own."""
    lines = (ROOT / page).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip() == "escalation:")
    depth = len(lines[start]) - len(lines[start].lstrip())
    block = []
    for line in lines[start:]:
        if line.strip() and len(line) - len(line.lstrip()) < depth:
            break
        block.append(line)
    return textwrap.dedent("\n".join(block))


def test_what_the_console_s_page_declares_fits_a_model_in_the_path_whose_rule_holds_decisions() -> None:
    declared = read_configuration([("model.yaml", GATE), ("people.yaml", shown("docs/console.md"))]).escalation
    assert declared.teams["credit"].members == ("dana",)
    assert list(declared.console_keys) == ["console"]
    assert declared.chains["default"].at_deadline == "withhold"


def test_what_the_reviewer_s_page_declares_is_a_person_with_a_key() -> None:
    member = read_configuration([("people.yaml", shown("docs/reviewing.md"))]).escalation.people["ann"]
    assert member.roles == ("reviewer",)
    assert len(member.keys) == 1


def test_the_console_and_the_command_name_its_key_alike() -> None:
    assert key_lines("ed25519:AAAA").endswith(console_lines("ed25519:AAAA"))


def test_showing_keys_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["key", "show", "--help"])
    assert "Example: govern key show" in capsys.readouterr().out
