"""What a message says at first sight: how bad, which model, how many wait, by when; figures, and no names of anybody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.escalation.messages import HEADLINE, MESSAGE_KINDS, brief, counted, headline, lines, safe, subject
from agents.people_events import IncidentData
from tests.unit.escalation.asking import incident
from tests.unit.escalation.lane import HOUR, START, Lane, alarm, declared, flag, signal

ZONES = ("UTC", "Europe/Berlin", "America/Argentina/ComodRivadavia", "Asia/Kathmandu")
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,60}", fullmatch=True)
CHAIN = declared(chains={"default": {"deadline": "4h", "at_deadline": "withhold"}}).escalation.chains["default"]


@given(
    model=NAMES, version=NAMES, cause=NAMES, segment=st.none() | NAMES, held=st.integers(1, 10**9),
    kind=st.sampled_from([kind for kind in MESSAGE_KINDS if kind != "resolve"]), zone=st.sampled_from(ZONES),
    left=st.integers(-400 * 24, 400 * 24),
)  # fmt: skip
def test_how_many_wait_and_by_when_is_never_cut_from_a_title(
    model: str, version: str, cause: str, segment: str | None, held: int, kind: str, zone: str, left: int
) -> None:
    by = START + left * HOUR
    data = incident(
        model=model, version=version, cause=f"lending/{cause}"[:48], segment=segment, held=held, deadline_ms=by
    )
    told = headline(kind, data, zone, START)
    assert len(told) <= HEADLINE
    assert told.startswith(MESSAGE_KINDS[kind])
    assert told.endswith(f", answer by {brief(by, zone, START)}")
    assert counted(held, "decision") in told
    said = "\n".join((told, *lines(kind, data, CHAIN, zone, START, ())))
    assert all(text in said for text in (subject(data), safe(data.cause, "a cause"))), "what is cut stands below"


@pytest.mark.parametrize(
    ("held", "then"),
    [(1, "1 decision waits for an answer by 14:14 (Europe/Berlin); then it is withheld"),
     (2, "2 decisions wait for an answer by 14:14 (Europe/Berlin); then they are withheld")],
)  # fmt: skip
def test_a_clock_is_the_team_s_and_says_its_zone(held: int, then: str) -> None:
    office = {"credit": {"members": ["ann"], "calendar": "office"}}
    chains = {"default": {"deadline": "4h", "at_deadline": "withhold"}}
    (told,) = Lane(declared(teams=office, chains=chains, default_team="credit")).flags(flag(count=held)).told
    assert told.title.endswith(", answer by 14:14 CET")
    assert told.lines == (then,)


def test_a_statutory_deadline_stands_in_the_title_where_there_is_no_other() -> None:
    (told,) = Lane(declared(chains={"default": {"statutory_deadline": "30d"}})).flags(flag(count=3)).told
    assert told.title == "credit 1: 3 decisions held by lending/low-score, answer by 1 Apr 09:14 UTC"


def measured(segment: str | None = None, **figures: Any) -> tuple[bytes, bytes]:
    """A record of `signals` in alarm, with figures."""
    key, value = signal("alarm", segment)
    event = json.loads(value)
    event["data"] |= {"text": "women are chosen least", **figures}
    return key, json.dumps(event).encode()


def test_an_alarm_brings_its_figures_and_not_its_words() -> None:
    figures = {"metric": "impact_ratio", "estimate": 0.6172, "lower": 0.5512, "upper": 0.7, "n": 1204}
    (told,) = Lane().step(signals=[measured(**figures)], flags=[alarm()]).told
    assert told.title == "credit 1: alarm of gap, impact ratio 0.617 (0.551 to 0.7), n 1,204"
    assert told.lines == ("First seen 09:14 UTC",)
    assert "women" not in told.model_dump_json()


def test_figures_that_do_not_fit_the_title_stand_below_it() -> None:
    figures = {"metric": "false_positive_rate_ratio", "estimate": 12345.6, "lower": 0.00123, "upper": 1e9, "n": 10**9}
    segment = "purpose=home-improvement channel=branch"
    lane = Lane().step(signals=[measured(segment, **figures)], flags=[alarm(segment)])
    said = "False positive rate ratio 12,346 (0.00123 to 1,000,000,000), n 1,000,000,000"
    assert lane.told[0].lines == (said, "First seen 09:14 UTC")
    assert len(lane.told[0].title) <= HEADLINE


@pytest.mark.parametrize("estimate", [None, float("nan"), float("inf")])
def test_a_monitor_without_a_figure_says_none(estimate: float | None) -> None:
    (told,) = Lane().step(signals=[measured(estimate=estimate)], flags=[alarm()]).told
    assert told.title == "credit 1: alarm of gap"


def test_an_alarm_that_ended_brings_no_figures_of_its_end() -> None:
    lane = Lane(declared(resolve_after="1h")).step(signals=[measured(estimate=0.5)], flags=[alarm()])
    lane.step(signals=[signal("ok")]).wait(3601)
    assert (lane.told[-1].kind, lane.told[-1].title) == ("resolve", "Resolved: credit 1: alarm of gap")


def test_what_keeps_messages_from_arriving_says_where_to_look() -> None:
    labels = {"channel": "room"}
    dead = flag("channel/room", None, None, effect=None, severity="error", labels=labels, speaker="notify")
    (told,) = Lane().flags(dead).told
    assert told.title == "Messages by room do not arrive"
    assert told.lines[-1] == "Until somebody looks, messages go by other channels; `govern notify list` shows why"


def test_what_ended_at_its_deadline_says_how_many() -> None:
    lane = Lane(declared(chains={"default": {"deadline": "4h", "at_deadline": "withhold"}}))
    lane.flags(flag(count=312)).wait(4 * 3600 + 2)
    assert lane.told[-1].lines[-1] == "No answer by the deadline: 312 held decisions are withheld"


def test_a_closed_incident_asks_for_no_answer() -> None:
    data: IncidentData = incident(status="resolved", said="ann let it go out", by="ann", deadline_ms=START)
    assert headline("resolve", data, "UTC", START) == "Resolved: credit-limit 2.1.0: scores below 0.2"
