"""Whoever may write decisions chooses the names of models: that floods nobody, and no memory."""

import pytest

from agents.configuration import Configuration
from agents.escalation.incidents import MOST_KIN
from tests.unit.escalation.lane import Lane, declared, flag


def fault(number: int, cause: str = "record/undeclared") -> bytes:
    return flag(cause, f"m{number}", "1", effect="block", first=number)


@pytest.mark.parametrize("restarted", [False, True])
def test_who_invents_models_makes_twenty_incidents_and_one_of_none_not_thousands(restarted: bool) -> None:
    lane = Lane()
    for number in range(300):
        lane.flags(fault(number))
        if restarted and number % 50 == 0:
            lane.restart()
    shared = [one for one in lane.incidents.values() if one.model is None]
    assert (len(lane.incidents), len(shared), len(lane.told)) == (MOST_KIN + 1, 1, MOST_KIN + 1)
    lane.wait(600)
    (shared,) = [one for one in lane.incidents.values() if one.model is None]
    assert (shared.count, len(shared.keys)) == (300 - MOST_KIN, 1)
    written = len([one for one in lane.history if one.model is None])
    assert written < 20, "each invented name is no change that people act on"
    lane.flags(fault(299)).flags(flag("record/malformed", "credit", "1", effect="block"))
    assert len(lane.incidents) == MOST_KIN + 2, "declared models and other causes have incidents of their own"


def test_held_decisions_of_invented_models_can_all_be_answered() -> None:
    document = declared().document()
    lane = Lane(Configuration.model_validate({**document, "undeclared": "credit"}))
    for number in range(50):
        lane.flags(flag(model=f"m{number}", mode="gate", first=number))
    (shared,) = [one for one in lane.incidents.values() if one.model is None]
    lane.wait(600)
    shared = lane.incidents[shared.incident]
    assert (shared.held, len(shared.keys)) == (30, 30)
    lane.answer("bob", "approve", shared)
    assert len(lane.rulings[0].keys) == 30
