"""People leave while incidents are open: nothing stays with somebody who is not there any more."""

from typing import Any

import pytest

from agents.configuration import Configuration
from tests.unit.escalation.lane import HOUR, START, Lane, declared, flag
from tests.unit.escalation.test_chains import chain, kinds


def without(person: str, **escalation: Any) -> Configuration:
    """The same configuration when somebody has left."""
    document = declared(**escalation).document()
    people, teams = document["escalation"]["people"], document["escalation"]["teams"]
    del people[person]
    for team in teams.values():
        team["members"] = [one for one in team["members"] if one != person]
        rotation = team["on_call"]["rotation"]
        team["on_call"]["rotation"] = [one for one in rotation if one != person] or ["dee"]
    return Configuration.model_validate(document)


@pytest.mark.parametrize("restarted", [False, True])
def test_what_somebody_took_who_left_is_asked_of_others(restarted: bool) -> None:
    calm = chain(repeat_interval=0)
    lane = Lane(declared(**calm)).flags(flag())
    lane.answer("ann", "acknowledge", lane.one).wait(HOUR / 1000)
    assert len(lane.told) == 1
    lane.agent.switch(without("ann", **calm))
    if restarted:
        lane.restart()
    lane.wait(1)
    assert kinds(lane)[-1] == ("trigger", ("bob",))
    assert (lane.one.with_, lane.one.acknowledged_by) == (("bob",), None)
    lane.answer("bob", "acknowledge", lane.one)
    assert lane.one.acknowledged_by == "bob"


def test_what_is_with_others_as_well_stays_with_them() -> None:
    lane = Lane().flags(flag()).wait(900)
    assert lane.one.with_ == ("ann", "bob", "cy")
    before = len(lane.told)
    lane.agent.switch(without("ann"))
    lane.wait(60)
    assert (lane.one.with_, len(lane.told)) == (("bob", "cy"), before)


def test_a_stand_in_who_left_stands_in_for_nobody() -> None:
    lane = Lane()
    override = {"team": "credit", "person": "cy", "start_ms": START, "end_ms": START + 24 * HOUR}
    lane.answer("cy", "override", override=override)
    lane.agent.switch(without("cy"))
    lane.flags(flag())
    assert kinds(lane) == [("trigger", ("ann",))]
