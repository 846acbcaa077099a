"""A change of configuration says what it does to what monitors have gathered, and the lanes do just that."""

from __future__ import annotations

from typing import Any

import pytest

from agents.configuration import Configuration
from agents.monitor.agent import AssessAgent
from agents.monitor.changes import changes
from agents.records import Plain, collect
from tests.unit.monitor.test_agent import CONFIGURATION, unfair_observations


def changed(**more: Any) -> Configuration:
    """The configuration with other fields of its model or monitors."""
    document = CONFIGURATION.document()
    document["models"]["credit"] |= more.pop("model", {})
    document["monitors"] = more.pop("monitors", document["monitors"])
    return Configuration.model_validate(document)


GAP = {"kind": "disparate_impact", "models": "credit", "reference": {"sex": "male"}}


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (changed(model={"versions": ["1", "2"], "callers": ["portal"], "mode": "gate"}), {"gap of credit goes on"}),
        (changed(monitors={"gap": {**GAP, "team": "risk"}}), {"gap of credit goes on"}),
        (changed(monitors={"gap": {**GAP, "level": 0.7}}), {"gap of credit starts anew: `level` changed"}),
        (
            changed(model={"arl": 200_000}),
            {"gap of credit starts anew: the model's budget of false alarms changed"},
        ),
        (
            changed(monitors={"gap": GAP, "parity": {"models": "credit"}}),
            {"gap of credit starts anew: its share of the budget is 0.5 instead of 1", "parity of credit is new"},
        ),
        (
            changed(model={"features": {"income": "numeric", "debt": "numeric?"}}),
            {"gap of credit starts anew: the model's `features` changed"},
        ),
        (changed(monitors={}), {"gap of credit ends: what it has gathered is dropped"}),
    ],
)
def test_the_fate_of_each_monitor_is_told_with_the_reason(after: Configuration, told: set[str]) -> None:
    assert {str(one) for one in changes(CONFIGURATION, after)} == told


@pytest.mark.parametrize(("level", "kept"), [(0.8, True), (0.7, False)])
def test_a_running_lane_keeps_and_restarts_just_that(level: float, kept: bool) -> None:
    found: list[Plain] = unfair_observations()
    agent = AssessAgent("t", "t.observations", 0, CONFIGURATION)
    list(agent.take(found[:10], []))
    before = agent.assessors["credit"].states["1", "gap"]["watch"]["all_n"].sum()
    agent.switch(changed(monitors={"gap": {**GAP, "level": level}}, model={"versions": ["1"]}), {})
    state = agent.assessors["credit"].states.get(("1", "gap"))
    assert (state is not None and state["watch"]["all_n"].sum() == before) == kept
    list(agent.take(found[10:], []))
    assert agent.assessors["credit"].states["1", "gap"]["watch"]["all_n"].sum() > 0


@pytest.mark.parametrize(
    ("after", "withdrawn"),
    [
        (changed(monitors={"gap": {**GAP, "team": "risk"}}), False),
        (changed(monitors={"gap": {**GAP, "level": 0.7}}), True),
        (changed(monitors={}), True),
    ],
)
def test_what_a_monitor_said_is_withdrawn_when_it_ends_or_starts_anew(after: Configuration, withdrawn: bool) -> None:
    found: list[Plain] = unfair_observations()
    agent = AssessAgent("t", "t.observations", 0, CONFIGURATION)
    written = collect(agent.take(found[:-1], []))[("t.signals", 0)]
    said = {key for key, _, _ in written if not (key or b"").startswith(b'["watermark"')}
    assert b'["credit","1","gap",null,"sex=female"]' in said
    agent.switch(after, {})
    then = collect(agent.take([], found[-1:])).get(("t.signals", 0), [])
    assert {key for key, value, _ in then if value is None} == (said if withdrawn else set())
    numbers = [int(dict(headers)["govern-seq"] or b"") for _, _, headers in [*written, *then]]
    assert numbers == list(range(len(numbers)))
    again = collect(agent.take([], found[-1:])).get(("t.signals", 0), [])
    assert [key for key, value, _ in again if value is None] == []
