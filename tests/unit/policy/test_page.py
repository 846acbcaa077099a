"""The policies that docs/policies.md shows can be used as they stand, and pass their own tests."""

import re
from pathlib import Path

import pytest

from agents.configuration_yaml import read_configuration
from agents.policy.testing import run_tests

PAGE = Path(__file__).parents[3] / "docs/policies.md"
AROUND = """models:
  credit-limit:
    domain: credit
    versions: ["1", "2"]
    callers: [svc-portal, svc-night-batch]
    labels: {approve: {favourable: true}, decline: {}}
    features: {limit_bal: numeric}
    groups: {age_band: [under 30, 30 and over]}
    profile: sha256:0000000000000000000000000000000000000000000000000000000000000000
    calendar: office
calendars: {office: {zone: Asia/Taipei, hours: {mon-fri: 08:00-20:00}}}
monitors:
  approval_gap: {kind: disparate_impact}
  drift: {kind: strangers}
"""
SHOWN = [text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S) if "rules:" in text]


@pytest.mark.parametrize("text", SHOWN, ids=lambda text: text.split("\n", 1)[0].removeprefix("policy: "))
def test_a_policy_that_the_page_shows_passes_its_own_tests(text):
    results = list(run_tests(read_configuration([("around.yaml", AROUND), ("page.yaml", text)])))
    assert results
    assert [one for one in results if not one.passed] == []


def test_the_page_shows_a_rule_that_waits_and_one_that_acts_on_lag():
    rules = read_configuration([("around.yaml", AROUND), ("page.yaml", SHOWN[1])]).policies[0].rules
    assert [(rule.id, rule.for_, rule.keep_firing_for) for rule in rules] == [
        ("hold-declines", 0.0, 0.0),
        ("drifting", 600.0, 3600.0),
        ("blind", 0.0, 0.0),
    ]
