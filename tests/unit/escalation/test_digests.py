"""The weekly message: once a model and week, at its hour by the clock on the wall, late after a downtime and never twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.configuration import Configuration
from agents.escalation.declared import Digest
from agents.escalation.digesting import remarks
from agents.escalation.weeks import Week, last_told, told_ms, week_at, week_named
from agents.told_events import NotificationData
from tests.unit.escalation.lane import HOUR, START, Lane, declared, flag

DAY = 24 * HOUR
CHAT = {"kind": "slack", "secret": "bot", "to": "C1"}
MAIL = {"kind": "email", "url": "smtp://localhost:25"}


def ms(text: str) -> int:
    """`2026-03-09 08:00`, UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def weekly(digest: dict[str, str] | None = None, models: tuple[str, ...] = ("credit",), **more: Any) -> Configuration:
    """Digests of some models; whoever is asked is asked once only."""
    chains = {"default": {"steps": [{}], "repeat_interval": 0}}
    document = declared(**{"digest": digest or {}, "chains": chains, **more}).document()
    return Configuration.model_validate(document | {"models": {name: {"mode": "gate"} for name in models}})


def to(lane: Lane, text: str) -> Lane:
    """Time passes until then."""
    return lane.wait((ms(text) - lane.now) / 1000)


def digests(lane: Lane) -> list[NotificationData]:
    return [one for one in lane.told if one.kind == "digest"]


def begun(lane: Lane) -> Lane:
    """Its clock is known."""
    return lane.wait(1)


# -- once --------------------------------------------------------------------------------------------------------------


def test_each_model_s_week_is_told_once_to_the_team_at_the_declared_hour() -> None:
    lane = begun(Lane(weekly(models=("chat", "credit"))))
    to(lane, "2026-03-09 07:59:59")
    assert lane.told == []
    to(lane, "2026-03-09 08:00")
    assert [(one.title, one.path, one.to) for one in lane.told] == [
        ("chat: quiet week", "/models/chat/weeks/2026-W10", ("ann", "bob", "cy")),
        ("credit: quiet week", "/models/credit/weeks/2026-W10", ("ann", "bob", "cy")),
    ]
    assert len({one.dedup for one in lane.told}) == 2
    for hours in (1, 23, 6 * 24 - 1):
        lane.wait(hours * 3600).restart()
    assert len(digests(lane)) == 2
    to(lane, "2026-03-16 08:00")
    assert [one.path for one in digests(lane)[2:]] == ["/models/chat/weeks/2026-W11", "/models/credit/weeks/2026-W11"]


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 70)))
def test_restarts_at_any_time_change_nothing(restarts: set[int]) -> None:
    whole, cut = (Lane(weekly({"day": "wednesday", "at": "09:30"})) for _ in range(2))
    for lane in (whole, cut):
        for number in range(70):  # three weeks and a half
            lane.now += 8 * HOUR
            lane.step(flags=[flag(first=number)] if number % 9 == 0 else [], ticks=[b"{}"])
            if lane is cut and number in restarts:
                lane.restart()
    assert cut.written == whole.written
    assert len(digests(whole)) == 4


def test_no_week_is_told_that_was_over_before_digests_were_declared() -> None:
    lane = begun(Lane(weekly({"day": "friday"})))
    plain = declared(chains={"default": {"steps": [{}]}})
    lane.agent.switch(plain)
    to(lane, "2026-03-11 12:00")
    lane.agent.switch(weekly())
    lane.wait(1)
    assert digests(lane) == []
    to(lane, "2026-03-16 08:00")
    assert [one.path for one in digests(lane)] == ["/models/credit/weeks/2026-W11"]


def test_a_model_that_is_new_begins_with_its_first_whole_turn() -> None:
    lane = begun(Lane(weekly()))
    to(lane, "2026-03-09 08:00")
    lane.agent.switch(weekly(models=("credit", "fresh")))
    lane.wait(60)
    assert [one.path for one in digests(lane)] == ["/models/credit/weeks/2026-W10"]
    to(lane, "2026-03-16 08:00")
    assert len(digests(lane)) == 3


def test_a_configuration_that_is_applied_again_tells_nothing_again() -> None:
    lane = begun(Lane(weekly()))
    to(lane, "2026-03-09 08:00")
    for hour in ("08:30", "07:00", "10:00"):
        lane.agent.switch(weekly({"at": hour}))
        lane.wait(3600)
    to(lane, "2026-03-12 10:00")
    assert len(digests(lane)) == 1


# -- late --------------------------------------------------------------------------------------------------------------


def test_after_a_day_s_downtime_it_comes_late_once_and_says_so() -> None:
    lane = begun(Lane(weekly()))
    to(lane, "2026-03-08 20:00")
    lane.away(38 * 3600)
    (one,) = digests(lane)
    assert one.path.endswith("2026-W10")
    assert one.lines[-1] == "This message comes 1 d 2 h late"
    lane.restart().wait(3600)
    assert len(digests(lane)) == 1


def test_after_weeks_of_downtime_the_newest_week_alone_is_told() -> None:
    lane = begun(Lane(weekly()))
    hours = [ms("2026-03-03 00:00") + number * HOUR for number in range(24 * 24)]
    lane.now = hours[-1]
    lane.step(ticks=[one for at in hours for one in lane.records("ticks", [b"{}"], at)]).wait(1)
    assert [one.path for one in digests(lane)] == ["/models/credit/weeks/2026-W12"]


def test_one_in_time_says_nothing_of_being_late() -> None:
    lane = begun(Lane(weekly()))
    to(lane, "2026-03-09 08:00:01")
    assert not any("late" in line for one in digests(lane) for line in one.lines)


# -- by the clock on the wall ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "due"),
    [
        ("08:00", ["2026-03-23 07:00", "2026-03-30 06:00"]),  # clocks go forward on the 29th
        ("00:00", ["2026-03-22 23:00", "2026-03-29 22:00"]),
    ],
)
def test_it_comes_at_the_hour_on_the_wall_also_where_clocks_change(at: str, due: list[str]) -> None:
    lane = begun(Lane(weekly({"at": at, "zone": "Europe/Berlin"})))
    to(lane, "2026-03-16 12:00")
    for number, moment in enumerate(due, 2):
        lane.wait((ms(moment) - 1000 - lane.now) / 1000)
        assert len(digests(lane)) == number - 1
        lane.wait(1)
        assert len(digests(lane)) == number


@pytest.mark.parametrize(
    ("zone", "monday", "hours"),
    [("Europe/Berlin", "2026-W13", 167), ("Europe/Berlin", "2026-W43", 169), ("Asia/Taipei", "2026-W13", 168)],
)
def test_a_week_with_a_change_of_clocks_is_an_hour_off(zone: str, monday: str, hours: int) -> None:
    week = week_named(monday, zone)
    assert (week.end_ms - week.start_ms) / HOUR == hours
    assert week.next.start_ms == week.end_ms


@pytest.mark.parametrize(("at", "moment"), [("02:30", "2026-03-29 01:30"), ("03:30", "2026-03-29 01:30")])
def test_an_hour_that_a_change_of_clocks_skips_is_told_all_the_same(at: str, moment: str) -> None:
    digest = Digest(day="sunday", at=at, zone="Europe/Berlin")
    assert told_ms(week_named("2026-W12", "Europe/Berlin"), digest) == ms(moment)


def test_an_hour_that_comes_twice_tells_at_the_first() -> None:
    digest = Digest(day="sunday", at="02:30", zone="Europe/Berlin")
    assert told_ms(week_named("2026-W42", "Europe/Berlin"), digest) == ms("2026-10-25 00:30")


@given(
    st.integers(ms("2020-01-01 00:00"), ms("2030-01-01 00:00")),
    st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Auckland", "America/St_Johns", "Pacific/Apia"]),
    st.sampled_from(["monday", "thursday", "sunday"]),
)
def test_each_moment_lies_in_one_week_and_what_is_told_is_over(now: int, zone: str, day: Any) -> None:
    week = week_at(now, zone)
    assert week.start_ms <= now < week.end_ms
    assert week_named(week.name, zone) == week
    digest = Digest(day=day, zone=zone)
    told = last_told(digest, now)
    assert told.end_ms <= told_ms(told, digest) <= now < told_ms(told.next, digest)


@pytest.mark.parametrize("name", ["2026-10", "2026-W54", "2026-W00", "W10", "2026-W1", "2026-W10x", "0000-W01"])
def test_what_is_no_week_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="week"):
        week_named(name)


# -- what it says ------------------------------------------------------------------------------------------------------


def test_an_incident_that_began_before_monday_s_midnight_is_of_the_week_before() -> None:
    lane = begun(Lane(weekly({"zone": "Europe/Berlin"})))
    to(lane, "2026-03-08 22:59")  # 23:59 in Berlin
    lane.flags(flag("lending/a"))
    to(lane, "2026-03-08 23:01")
    lane.flags(flag("lending/b", count=2, first=1)).wait(9 * 3600)
    (one,) = digests(lane)
    assert one.title == "credit: 2 incidents open, up to 3 decisions wait"
    assert one.lines == (
        "Week 10, 2 to 8 March 2026",
        "1 incident began: 1 warning",
        "2 incidents are open, the oldest since 8 Mar 23:59 (Europe/Berlin)",
        "Up to 3 decisions wait for an answer",
        "Traffic, gaps, monitors and what changed: `govern digest --model credit --week 2026-W10`",
        "This message comes 1 h 1 min late",
    )


def test_what_was_answered_days_ago_counts_though_only_its_end_is_remembered() -> None:
    lane = begun(Lane(weekly(console_url="https://console.bank.example")))
    lane.flags(flag("lending/a", severity="critical"))
    lane.answer("ann", "approve", lane.one).flags(flag("lending/b", "chat", count=4))
    to(lane, "2026-03-05 12:00")
    lane.restart()
    assert not any(one.data.model == "credit" for one in lane.agent.desk.state.live.values())
    to(lane, "2026-03-09 08:00")
    (one,) = digests(lane)
    assert one.title == "credit: 1 incident, none open now"
    assert one.lines[1:] == (
        "1 incident began: 1 critical",
        "1 incident ended: 1 approved",
        "Traffic, gaps, monitors and what changed: on the page",
    )
    to(lane, "2026-03-16 08:00")
    assert digests(lane)[1].title == "credit: quiet week"


def test_a_deadline_that_nobody_met_is_no_quiet_week() -> None:
    chains = {"default": {"steps": [{}], "repeat_interval": 0, "deadline": "4d", "at_deadline": "withhold"}}
    lane = begun(Lane(weekly(chains=chains)))
    to(lane, "2026-03-07 12:00")
    lane.flags(flag(severity="info"))
    to(lane, "2026-03-09 08:00")
    assert digests(lane)[0].title == "credit: 1 incident open, 1 decision waits"
    assert "1 decision waits for an answer, the first until 11 Mar 12:00 UTC" in digests(lane)[0].lines
    to(lane, "2026-03-11 12:01")
    to(lane, "2026-03-16 08:00")
    assert digests(lane)[1].title == "credit: a deadline passed, nothing is open now"
    assert "1 incident ended: 1 by its deadline" in digests(lane)[1].lines


def test_mere_information_leaves_a_week_quiet_and_is_counted() -> None:
    lane = begun(Lane(weekly())).flags(flag(effect="log", severity="info"))
    to(lane, "2026-03-09 08:00")
    assert digests(lane)[0].title == "credit: quiet week"
    assert "1 incident began: 1 info" in digests(lane)[0].lines


def test_it_names_nobody_and_no_value() -> None:
    lane = begun(Lane(weekly())).flags(flag(version="ann@bank.example", segment="client-8231"))
    lane.answer("ann", "approve", lane.one, reason="Mrs. Example called")
    to(lane, "2026-03-09 08:00")
    said = " ".join([digests(lane)[0].title, *digests(lane)[0].lines])
    assert not any(word in said for word in ("ann", "client", "Mrs", "0.1", "score"))


def test_it_fits_a_lock_screen_however_a_model_is_called() -> None:
    name = "m" * 120
    lane = begun(Lane(weekly(models=(name,)))).flags(flag("lending/a", name, count=50_000), flag("lending/b", name))
    to(lane, "2026-03-09 08:00")
    assert len(digests(lane)[0].title) <= 80
    assert digests(lane)[0].title.endswith("m…: 2 incidents open, up to 50,001 decisions wait")


# -- whom it tells -----------------------------------------------------------------------------------------------------


def ways(channels: dict[str, Any], **more: Any) -> list[tuple[str, tuple[str, ...]]]:
    """How the team hears of a week: (channel, people)."""
    lane = begun(Lane(weekly(channels=channels, **more)))
    to(lane, "2026-03-09 08:00")
    return [(one.channel, one.to) for one in digests(lane)]


def team(*channels: str, **more: Any) -> dict[str, Any]:
    return {"teams": {"credit": {"members": ["ann", "bob"], "channels": list(channels), **more}}}


def test_it_goes_to_one_place_of_the_team_never_to_a_pager_or_a_channel_for_what_is_worse() -> None:
    channels = {
        "pager": {"kind": "pagerduty", "secret": "pager"},
        "loud": {**CHAT, "least": "warning"},
        "bare": {"kind": "slack", "secret": "bot"},
        "chat": CHAT,
        "list": {**MAIL, "to": "risk@bank.example"},
    }
    assert ways(channels, **team("pager", "loud", "bare", "chat", "list")) == [("chat", ())]


def test_without_a_place_each_member_gets_it_once() -> None:
    people = {
        "ann": {"name": "Ann", "email": "ann@bank.example", "contacts": {"chat": "U1"}},
        "bob": {"name": "Bob", "email": "bob@bank.example"},
        "cy": {"name": "Cy", "contacts": {"pager": "secret:cy"}},
    }
    channels = {"chat": CHAT, "pager": {"kind": "pagerduty"}, "mail": MAIL}
    teams = {"credit": {"members": ["ann", "bob", "cy"], "channels": ["pager"]}}
    assert ways(channels, people=people, teams=teams) == [("chat", ("ann",)), ("mail", ("bob",))]
    paged = {"cy": people["cy"]}
    teams = {"credit": {"members": ["cy"], "channels": ["pager"]}}
    assert ways({"pager": {"kind": "pagerduty"}}, people=paged, teams=teams) == []


def test_a_route_says_whose_it_is() -> None:
    two = {**team("chat")["teams"], "risk": {"channels": ["list"]}}
    channels = {"chat": CHAT, "list": {**MAIL, "to": "risk@bank.example"}}
    routes = [{"cause": "digest", "model": "credit", "to": "risk"}]
    assert ways(channels, teams=two) == [("chat", ())]
    assert ways(channels, teams=two, routes=routes) == [("list", ())]
    assert ways(channels, teams=two, routes=[{"model": "credit", "severity": "error", "to": "risk"}]) == [("chat", ())]


def test_what_a_channel_did_not_deliver_goes_by_another_once_each() -> None:
    channels = {"chat": CHAT, "list": {**MAIL, "to": "risk@bank.example"}}
    lane = begun(Lane(weekly(channels=channels, **team("chat", "list"))))
    to(lane, "2026-03-09 08:00")

    def dies(channel: str, first: int) -> None:
        labels = {"channel": channel, "incident": "digest/credit/2026-W10"}
        cause, severity = f"channel/{channel}", "error"
        lane.flags(
            flag(cause, None, None, effect=None, severity=severity, labels=labels, speaker="notify", first=first)
        )

    lane.wait(60)
    dies("chat", 1)
    assert [one.channel for one in digests(lane)] == ["chat", "list"]
    assert digests(lane)[1].lines[-1] == "chat does not deliver, so this comes by another way"
    lane.restart()
    dies("chat", 2)
    lane.wait(1200)
    dies("list", 3)
    assert [one.channel for one in digests(lane)] == ["chat", "list"]
    to(lane, "2026-03-16 08:00")
    assert [one.channel for one in digests(lane)[2:]] == ["chat"]


# -- configuration -----------------------------------------------------------------------------------------------------


def test_what_is_no_time_of_day_is_told_how_to_write_it() -> None:
    with pytest.raises(ValueError, match="'8:00' is no time of day; write for example 08:00"):
        weekly({"at": "8:00"})


@pytest.mark.parametrize(
    "wrong", [{"at": "8:00"}, {"at": "24:00"}, {"day": "mon"}, {"zone": "Berlin"}, {"to": "credit"}]
)
def test_what_is_no_hour_day_or_zone_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="escalation"):
        weekly(wrong)


def test_the_check_says_who_gets_it_and_where_nobody_does() -> None:
    assert list(remarks(declared())) == []
    assert list(remarks(weekly({"day": "friday"}, ("chat", "credit")))) == [
        "digest of chat, credit: each friday at 08:00 (UTC) to the members of credit by mail"
    ]
    pager = weekly(channels={"pager": {"kind": "pagerduty"}})
    assert list(remarks(pager)) == [
        "digest of credit: nobody gets it; give credit a channel of its own, or members with an `email` "
        "(a pager or a channel with `least` gets none)"
    ]
    lonely = Configuration.model_validate({"models": {"credit": {}}, "escalation": {"digest": {}}})
    assert list(remarks(lonely)) == ["digest of credit: nobody gets it; declare a team"]
    assert begun(Lane(lonely)).wait(8 * 24 * 3600).told == []


def test_days_of_a_week_read_as_people_say_them() -> None:
    assert week_at(START) == Week(datetime(2026, 3, 2).date())
    assert week_at(START).days == "2 to 8 March 2026"
