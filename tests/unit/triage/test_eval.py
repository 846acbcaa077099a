"""The scorecard counts what it says, and the deterministic summary does well on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.triage.fields import PLACEHOLDER
from agents.triage.figures import figures, unknown
from tests.eval.__main__ import table
from tests.eval.incidents import Case, cases

CASES = cases()


def test_there_are_thirty_incidents_of_every_kind() -> None:
    assert len(CASES) == 30
    assert len({one.name for one in CASES}) == 30
    assert {cause for one in CASES for cause in one.expected.cause} >= {
        "bias",
        "data_drift",
        "model_change",
        "misuse",
        "data_quality",
        "operations",
        "attack",
        "policy_too_strict",
        "single_case",
    }
    assert all(one.expected.team in (None, *one.seen.configuration.escalation.teams) for one in CASES)


def test_the_deterministic_summary_names_team_cause_and_action() -> None:
    scores = [one.score(one.told()) for one in CASES]
    for place, name in enumerate(("team", "cause", "action")):
        assert sum(score[place] for score in scores) >= 27, name


def test_a_wrong_answer_scores_nothing() -> None:
    told = CASES[0].told().model_copy(update={"cause": "unknown", "action": "watch", "teams": ()})
    strange = replace(CASES[0], expected=CASES[0].expected.model_copy(update={"team": "treasury"}))
    assert strange.score(told) == (False, False, False)
    assert table([strange], [told], misses=False) == ["  team 0 of 1, cause 0 of 1, action 0 of 1, all three 0 of 1"]


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_every_summary_is_whole_sentences_whose_figures_stand_in_the_facts(case: Case) -> None:
    told = case.told()
    known = figures([*(fact.text for fact in told.facts), told.incident])
    for text in (told.summary, told.cause_text, told.action_text, *told.questions):
        assert text[0].isupper() or text[0].isdigit()
        assert text[-1] in ".?"
        assert "None" not in text
        assert unknown(PLACEHOLDER.sub("", text), known) == ([], []), text
    assert len(told.summary) <= 900
    assert told.cites
