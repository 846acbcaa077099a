"""What docs/triage.md shows can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents.configuration_yaml import ConfigErrors, read_configuration
from agents.told_events import Check
from agents.triage.agent import tell
from agents.triage.checks import check
from tests.unit.triage.hostile import CLASSES
from tests.unit.triage.situations import seen
from tests.unit.triage.test_checks import GOOD
from tests.unit.triage.test_injections import ANSWERS, FIELDS

PAGE = (Path(__file__).parents[3] / "docs/triage.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_configuration_on_the_page_works(block: str) -> None:
    assert read_configuration([("page", block)]).triage.model is not None


def test_a_field_policy_for_a_column_that_there_is_not_is_a_mistake_with_its_line() -> None:
    wrong = BLOCKS[-1].replace("features.purpose_text:", "features.purpose:")
    with pytest.raises(
        ConfigErrors, match=r"page:8:\d+: no model has a column 'features.purpose'; use features.<name>"
    ):
        read_configuration([("page", wrong)])


def test_every_check_stands_on_the_page() -> None:
    rows = " ".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| "))
    found: tuple[Check, ...] = check(GOOD, tell(seen()))
    assert [one.check for one in found if one.check not in rows] == []


def test_the_page_counts_the_injections_as_they_are() -> None:
    assert f"{len(CLASSES)} classes" in PAGE
    assert f"in {len(FIELDS)} texts" in PAGE
    assert f"{len(ANSWERS)} answers" in PAGE
