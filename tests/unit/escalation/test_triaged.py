"""What triage may change of an incident: teams are added, severity rises by one step, and a model wakes nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.events import Severity
from tests.unit.escalation.lane import Lane, declared, flag

TEAMS = {
    "credit": {
        "members": ["ann"],
        "calendar": "office",
        "on_call": {"rotation": ["ann"], "start": "2026-03-02T00:00:00+00:00"},
    },
    "risk": {
        "members": ["dee"],
        "calendar": "office",
        "on_call": {"rotation": ["dee"], "start": "2026-03-02T00:00:00+00:00"},
    },
}
CONFIGURATION = declared(teams=TEAMS, chains={"default": {"repeat_interval": 0}})


def triage(lane: Lane, **more: Any) -> bytes:
    data = {
        "incident": lane.one.incident,
        "revision": lane.one.revision,
        "by": "deterministic",
        "summary": "one decision waits",
        "cause": "single_case",
        "severity": "warning",
        "action": "review_held",
        **more,
    }
    name = f"{data['incident']}/{data['revision']}/{data['by']}"
    event = {"specversion": "1.0", "type": "governance.triage.v1", "id": name, "source": "/gim/triage", "data": data}
    return json.dumps(event).encode()


def test_a_summary_is_noted_by_its_digest_and_tells_nobody() -> None:
    lane = Lane(CONFIGURATION).flags(flag())
    lane.step(triage=[triage(lane)])
    assert lane.one.change == "triaged"
    assert lane.one.triage is not None
    assert lane.one.triage.startswith("sha256:")
    assert len(lane.told) == 1


@pytest.mark.parametrize(("said", "becomes"), [("info", "warning"), ("error", "error"), ("critical", "error")])
def test_severity_rises_by_one_step_at_most_and_never_falls(said: str, becomes: str) -> None:
    lane = Lane(CONFIGURATION).flags(flag())
    lane.step(triage=[triage(lane, severity=said)])
    assert lane.one.severity is Severity(becomes)
    for _ in range(3):
        lane.step(triage=[triage(lane, severity=said)])
    assert lane.one.severity is Severity(becomes), "not by one step each time"


def test_teams_are_added_and_their_people_told_and_unknown_ones_are_left_out() -> None:
    lane = Lane(CONFIGURATION).flags(flag())
    lane.step(triage=[triage(lane, teams=["risk", "nobody", "credit"])])
    assert (lane.one.team, lane.one.teams) == ("credit", ("risk",))
    assert lane.told[-1].to == ("dee",)
    lane.step(triage=[triage(lane, teams=[])])
    assert lane.one.teams == ("risk",), "none is taken away"


def test_within_hours_a_model_s_raise_tells_those_it_is_with_once() -> None:
    lane = Lane(CONFIGURATION).flags(flag())
    lane.step(triage=[triage(lane, by="model", severity="critical")])
    assert [(one.kind, one.to) for one in lane.told[1:]] == [("escalate", ("ann",))]


def test_a_model_s_raise_wakes_nobody_outside_hours_and_is_told_when_business_opens() -> None:
    lane = Lane(CONFIGURATION).wait(12 * 3600).flags(flag())  # 22:14 in Berlin
    assert len(lane.told) == 1, "the rule itself pages"
    lane.step(triage=[triage(lane, by="model", severity="critical", teams=["risk"])])
    assert lane.one.severity is Severity.ERROR
    assert lane.one.teams == ("risk",)
    assert "outside hours" in lane.one.said
    lane.wait(10 * 3600)
    assert len(lane.told) == 1
    lane.restart().wait(3600)
    assert sorted(one.to for one in lane.told[1:]) == [("ann",), ("dee",)]
    lane.wait(3600)
    assert len(lane.told) == 3


def test_a_model_s_raise_opens_no_channel_that_is_for_worse_ones() -> None:
    channels = {
        "pager": {"kind": "pagerduty", "secret": "pd", "least": "error"},
        "mail": {"kind": "email", "url": "smtp://localhost:25"},
    }
    people = {"ann": {"name": "Ann", "email": "ann@bank.example", "contacts": {"pager": "P"}}, "dee": {"name": "Dee"}}
    configuration = declared(people=people, channels=channels, teams=TEAMS, chains={"default": {"repeat_interval": 0}})
    lane = Lane(configuration).flags(flag())
    lane.step(triage=[triage(lane, by="model", severity="error")])
    assert {one.channel for one in lane.told} == {"mail"}


def test_a_model_s_raise_chooses_no_other_route() -> None:
    routes = [{"severity": "error", "to": "risk"}, {"to": "credit"}]
    lane = Lane(declared(teams=TEAMS, routes=routes)).flags(flag())
    lane.step(triage=[triage(lane, by="model", severity="error")])
    assert (lane.one.team, lane.one.teams, lane.one.chain) == ("credit", (), "default")


def test_an_older_summary_does_not_replace_a_newer_one_nor_one_of_an_unknown_incident_anything() -> None:
    lane = Lane(CONFIGURATION).flags(flag())
    lane.step(triage=[triage(lane, by="model")])
    newest = lane.one.triage
    count = len(lane.history)
    lane.step(triage=[triage(lane, revision=0), triage(lane, incident="0000-0000"), triage(lane, revision=99)])
    assert (lane.one.triage, len(lane.history)) == (newest, count)
