"""Who is told when: steps, repeats, routes, hours, deadlines, silences, the fatigue guard, channels that are dead."""

from __future__ import annotations

from typing import Any

import pytest

from agents.events import Effect, Severity
from agents.people_events import Resolution, Status
from tests.unit.escalation.lane import HOUR, KEYS, START, Lane, declared, flag, signal

DEADLINE = {"deadline": "4h", "at_deadline": "withhold", "repeat_interval": 0}


def chain(**options: object) -> dict[str, object]:
    """A chain whose first step tells who is on call."""
    return {"chains": {"default": {"steps": [{}], "repeat_interval": 0, **options}}}


def kinds(lane: Lane) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.kind, one.to) for one in lane.told]


# -- steps -------------------------------------------------------------------------------------------------------------


def test_the_next_step_is_taken_while_nobody_acknowledges_and_the_last_one_repeated() -> None:
    lane = Lane().flags(flag())
    lane.wait(14 * 60)
    assert kinds(lane) == [("trigger", ("ann",))]
    lane.wait(60)
    assert kinds(lane)[1:] == [("escalate", ("ann", "bob", "cy"))]
    lane.wait(4 * 3600)
    assert kinds(lane)[2:] == [("remind", ("ann", "bob", "cy"))]
    assert lane.one.told == ("ann", "bob", "cy")
    assert lane.told[-1].title.startswith("Still open: ")


def test_who_acknowledges_stops_the_chain_and_has_it() -> None:
    lane = Lane().flags(flag()).answer("bob", "acknowledge")
    assert lane.refusals[0]["reason"] == "unknown-incident"
    lane.answer("bob", "acknowledge", lane.one).wait(5 * 3600)
    assert (lane.one.status, lane.one.acknowledged_by, lane.one.with_) == (Status.ACKNOWLEDGED, "bob", ("bob",))
    assert kinds(lane) == [("trigger", ("ann",))]


def test_the_first_message_waits_so_that_it_can_say_how_many() -> None:
    lane = Lane(declared(**chain(group_wait="30s"))).flags(flag(count=3))
    assert lane.told == []
    lane.now += 10_000
    lane.flags(flag(count=4, first=3)).wait(20)
    assert lane.told[0].title == "credit 1: 7 decisions held by lending/low-score"


def test_a_silence_of_the_lane_for_a_day_tells_each_overdue_step_once_in_order_and_says_how_late() -> None:
    lane = Lane(
        declared(
            chains={"default": {"steps": [{}, {"after": "15m", "tell": ["bob"]}, {"after": "1h", "tell": ["cy"]}]}}
        )
    )
    lane.flags(flag()).flags(flag("lending/other", first=3))
    lane.away(86_400)
    assert [one.to for one in lane.told[2:]] == [("bob",), ("bob",), ("cy",), ("cy",)]
    late = [one.late_ms for one in lane.history if one.late_ms]
    assert late == [86_400_000 - 900_000] * 2 + [86_400_000 - 3_600_000] * 2
    assert "late: the service was down" in lane.told[-1].lines[-1]
    lane.wait(3 * 3600)
    assert len(lane.told) == 6, "repeats that were missed are not made up for"


# -- deadlines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "effect"), [("withhold", Effect.BLOCK), ("release", Effect.ALLOW)])
def test_at_its_deadline_what_is_held_ends_as_the_chain_says(at: str, effect: Effect) -> None:
    lane = Lane(declared(**chain(deadline="4h", at_deadline=at))).flags(flag(count=5))
    lane.wait(4 * 3600 + 1)
    assert lane.rulings == [], "answers that were given in time may still come"
    lane.wait(1)
    (ruling,) = lane.rulings
    assert (ruling.effect, ruling.resolution, ruling.through) == (effect, Resolution.EXPIRED, {"gim.decisions/0": 5})
    assert (ruling.people, ruling.kind, ruling.late_ms) == ((), None, 0)
    assert (lane.one.status, lane.one.resolution) == (Status.RESOLVED, Resolution.EXPIRED)
    assert lane.told[-1].kind == "overdue"
    lane.answer("ann", "approve", lane.history[0])
    assert lane.refusals[-1]["reason"] in ("late", "already-ruled")
    assert len(lane.rulings) == 1


def test_a_deadline_that_escalates_starts_the_chain_again_and_is_renewed() -> None:
    lane = Lane(declared(**chain(deadline="1h", at_deadline="escalate"))).flags(flag())
    lane.answer("bob", "acknowledge", lane.one).wait(3602)
    assert lane.rulings == []
    assert kinds(lane) == [("trigger", ("ann",)), ("escalate", ("ann",))]
    assert lane.one.deadline_ms == START + 2 * HOUR
    assert set(lane.one.changes) == {"overdue", "escalated"}
    lane.answer("cy", "acknowledge", lane.one)
    assert lane.one.acknowledged_by == "cy", "somebody can take it again"
    lane.away(86_400)
    assert len(lane.told) == 3, "a day's deadlines escalate once"
    assert lane.one.deadline_ms == START + 26 * HOUR


def test_an_answer_given_in_time_counts_though_the_lane_reads_it_after_the_deadline() -> None:
    lane = Lane(declared(**chain(deadline="4h", at_deadline="release"))).flags(flag())
    shown, began = lane.one, lane.now
    lane.now = began + HOUR
    early = lane.records("flags", [])
    assert early == []
    ticks = lane.records("ticks", [b"{}"] * 100, began + 24 * HOUR)
    before = dict(lane.offsets)
    lane.answer_with(ticks, "ann", "reject", shown, at=began + HOUR)
    assert [one.resolution for one in lane.rulings] == [Resolution.REJECTED], before
    assert lane.wait(3600).one.resolution is Resolution.REJECTED


def test_an_answer_given_a_moment_before_the_deadline_counts_though_the_tick_after_it_was_read_first() -> None:
    lane = Lane(declared(**chain(deadline="4h", at_deadline="withhold"))).flags(flag())
    shown = lane.one
    lane.wait(4 * 3600 + 0.5)
    lane.step(reviews=lane.records("reviews", [lane.signed("bob", "approve", shown)], START + 4 * HOUR - 100))
    assert [one.resolution for one in lane.rulings] == [Resolution.APPROVED]
    other = Lane(declared(**chain(deadline="4h", at_deadline="withhold"))).flags(flag())
    other.wait(4 * 3600 + 0.5).answer("bob", "approve", other.one)
    assert other.refusals[-1]["reason"] in ("late", "already-ruled"), "half a second too late"
    assert [one.resolution for one in other.wait(10).rulings] == [Resolution.EXPIRED]


@pytest.mark.parametrize("ticks", [0, 1, 60])
@pytest.mark.parametrize("together", [True, False])
def test_an_answer_given_in_time_counts_though_a_later_signal_is_read_before_it(ticks: int, together: bool) -> None:
    """After a restart the tables are read to their ends before anything else."""
    lane = Lane(declared(chains={"default": {"deadline": "1h", "at_deadline": "release"}}))
    lane.flags(flag(count=3))
    answered = lane.now + 3_500_000
    reviews = lane.records("reviews", [lane.signed("bob", "reject", lane.one)], answered)
    passed = [one for at in range(ticks) for one in lane.records("ticks", [b"{}"], answered + 2_000 * (at + 1))]
    lane.now += 4_000_000
    signals = lane.records("signals", [signal("ok")])
    if together:
        lane.step(signals=signals, reviews=reviews, ticks=passed)
    else:
        lane.step(signals=signals).restart().step(reviews=reviews, ticks=passed)
    lane.wait(1)
    assert [(one.people, one.effect) for one in lane.rulings] == [(("bob",), Effect.BLOCK)]
    assert not lane.refusals


def test_what_was_flagged_while_the_lane_was_down_leaves_people_the_whole_time_to_answer() -> None:
    lane = Lane(declared(chains={"default": {"deadline": "1h", "at_deadline": "release"}}))
    flagged = lane.records("flags", [flag()])
    lane.now += 5 * HOUR
    lane.step(ticks=[b"{}"]).step(flags=flagged).wait(1)
    assert (lane.one.deadline_ms, lane.rulings) == (START + 6 * HOUR, [])


def test_what_a_signal_shows_to_be_overdue_happens_at_the_next_tick() -> None:
    lane = Lane(declared(chains={"default": {"deadline": "1h", "at_deadline": "release"}}))
    lane.flags(flag(count=3))
    lane.now += 4_000_000
    lane.step(signals=[signal("ok")])
    assert not lane.rulings
    lane.wait(1)
    assert [(one.resolution, one.late_ms) for one in lane.rulings] == [("expired", 401_000)]


def test_an_answer_given_too_late_is_refused_though_the_lane_reads_it_before_time_passed() -> None:
    lane = Lane(declared(**chain(deadline="4h", at_deadline="withhold"))).flags(flag())
    ticks = lane.records("ticks", [b"{}"] * 100, lane.now + 24 * HOUR)
    lane.answer_with(ticks, "ann", "approve", lane.one, at=lane.now + 5 * HOUR)
    assert [one.resolution for one in lane.rulings] == [Resolution.EXPIRED]
    assert lane.refusals[-1]["reason"] in ("late", "already-ruled")


def test_the_statutory_deadline_starts_the_chain_again_before_it_passes_whoever_has_it() -> None:
    lane = Lane(declared(**chain(statutory_deadline="30d", warn_before="9d"))).flags(flag())
    lane.answer("bob", "acknowledge", lane.one)
    assert lane.one.statutory_ms == START + 30 * 24 * HOUR
    lane.wait(21 * 86_400 - 1)
    assert len(lane.told) == 1
    lane.wait(1)
    assert kinds(lane)[-1] == ("escalate", ("bob",)), "bob is on call three weeks later"
    assert "9 d until the statutory deadline" in lane.one.said
    assert "The law allows until 1 Apr 09:14 UTC" in lane.told[-1].lines
    lane.answer("cy", "acknowledge", lane.one).wait(9 * 86_400)
    assert kinds(lane)[-1][0] == "overdue"
    assert lane.one.change == "overdue"


def test_a_new_configuration_moves_the_deadline_of_what_waits() -> None:
    lane = Lane(declared(**chain(deadline="4h", at_deadline="withhold"))).flags(flag())
    lane.agent.switch(declared(**chain(deadline="8h", at_deadline="withhold")))
    lane.wait(5 * 3600)
    assert lane.rulings == []
    lane.wait(3 * 3600 + 2)
    assert len(lane.rulings) == 1


# -- routes ------------------------------------------------------------------------------------------------------------


def test_the_first_route_that_matches_says_team_and_chain() -> None:
    routes = [
        {"cause": "lending/*", "severity": "critical", "to": "risk", "chain": "loud"},
        {"cause": "lending/*", "labels": {"area": "eu"}, "to": "risk"},
        {"team": "credit", "to": "credit"},
    ]
    lane = Lane(declared(routes=routes, chains={"loud": {"steps": [{"tell": ["members"]}]}}, default_team="risk"))
    lane.flags(
        flag("lending/a", severity="critical"),
        flag("lending/b", labels={"area": "eu"}),
        flag("lending/c", team="credit"),
        flag("lending/d"),
    )
    found = {one.cause[-1]: (one.team, one.chain) for one in lane.incidents.values()}
    assert found == {
        "a": ("risk", "loud"),
        "b": ("risk", "default"),
        "c": ("credit", "default"),
        "d": ("risk", "default"),
    }


def test_a_route_may_go_by_business_hours() -> None:
    teams = {
        "day": {"members": ["ann"], "calendar": "office"},
        "night": {"members": ["bob"]},
    }
    routes = [{"open": True, "to": "day"}, {"to": "night"}]
    lane = Lane(declared(teams=teams, routes=routes)).flags(flag())
    assert lane.one.team == "day"
    lane.wait(12 * 3600).flags(flag("lending/other"))
    assert {one.team for one in lane.incidents.values()} == {"day", "night"}


def test_a_worse_severity_goes_by_the_chain_that_its_route_names() -> None:
    routes = [{"severity": "critical", "to": "risk", "chain": "loud"}]
    lane = Lane(
        declared(
            routes=routes, chains={"loud": {"steps": [{"tell": ["dee"]}], "deadline": "1h", "at_deadline": "withhold"}}
        )
    )
    lane.flags(flag())
    lane.wait(10).flags(flag(severity="critical", first=4))
    assert (lane.one.team, lane.one.teams, lane.one.chain) == ("credit", ("risk",), "loud")
    assert kinds(lane)[-1] == ("escalate", ("dee",))
    assert lane.one.deadline_ms == START + HOUR, "from when the first of them began to wait"


def test_a_step_for_business_hours_waits_for_them_and_a_later_one_does_not_wait_for_it() -> None:
    teams = {
        "credit": {
            "members": ["ann"],
            "calendar": "office",
            "on_call": {"rotation": ["ann"], "start": "2026-03-02T00:00:00+00:00"},
        }
    }
    steps = [{"only_when_open": True}, {"after": "24h", "tell": ["bob"]}]
    lane = Lane(declared(teams=teams, chains={"default": {"steps": steps, "repeat_interval": 0}}))
    lane.wait(10 * 3600).flags(flag())  # 20:14 in Berlin
    assert lane.told == []
    lane.wait(12 * 3600 + 45 * 60)
    assert lane.told == []
    lane.wait(120)
    assert kinds(lane) == [("trigger", ("ann",))]
    lane.wait(12 * 3600)
    assert kinds(lane)[1:] == [("escalate", ("bob",))]


def test_nobody_is_told_where_nobody_is_declared() -> None:
    lane = Lane(declared(people={}, teams={}, channels={}, chains={})).flags(flag()).wait(86_400)
    assert (lane.told, lane.one.team, lane.one.status) == ([], None, Status.TRIGGERED)


def test_people_who_are_declared_later_are_asked_about_what_is_open() -> None:
    lane = Lane(declared(people={}, teams={}, channels={}, chains={})).flags(flag())
    lane.agent.switch(declared())
    lane.wait(1)
    assert (lane.one.team, lane.one.told) == ("credit", ("ann",))
    assert kinds(lane) == [("trigger", ("ann",))]


def test_what_opens_long_after_it_was_flagged_says_how_late_it_is() -> None:
    lane = Lane()
    lane.now += 9 * HOUR
    lane.step(ticks=[b"{}"])
    lane.step(flags=lane.records("flags", [flag()], START))
    assert lane.one.late_ms == 9 * HOUR
    assert "9 h late" in lane.told[0].lines[-1]


# -- who ---------------------------------------------------------------------------------------------------------------


def test_a_person_with_too_many_open_items_is_passed_over_and_the_message_says_so() -> None:
    teams = {
        "credit": {
            "members": ["ann", "bob", "cy"],
            "open_items": 2,
            "on_call": {"rotation": ["ann", "bob"], "start": "2026-03-02T00:00:00+00:00"},
        }
    }
    lane = Lane(declared(teams=teams, **chain()))
    lane.flags(*(flag(f"lending/r{n}", first=n) for n in range(7)))
    assert [one.to for one in lane.told] == [("ann",)] * 2 + [("bob",)] * 2 + [("cy",)] * 2 + [("ann",)]
    assert "ann has 2 open items, so it goes to bob" in lane.told[2].lines
    assert "so it goes to bob" in list(lane.incidents.values())[2].said
    assert "so has everybody else" in lane.told[-1].lines[-1], "somebody must know"


def test_a_stand_in_is_told_from_when_it_was_said() -> None:
    lane = Lane(declared(**chain()))
    override = {"team": "credit", "person": "cy", "start_ms": START, "end_ms": START + HOUR}
    lane.answer("bob", "override", override=override).flags(flag())
    assert kinds(lane) == [("trigger", ("cy",))]
    lane.wait(3600).flags(flag("lending/other"))
    assert kinds(lane)[-1] == ("trigger", ("ann",))


def test_each_person_is_told_by_the_first_channel_that_reaches_them() -> None:
    people = {
        "ann": {"name": "Ann", "contacts": {"chat": "U1"}, "email": "ann@bank.example"},
        "bob": {"name": "Bob", "email": "bob@bank.example"},
        "cy": {"name": "Cy"},
    }
    channels = {
        "chat": {"kind": "slack", "url": "https://chat.example"},
        "mail": {"kind": "email", "url": "smtp://localhost:25"},
        "room": {"kind": "teams", "url": "https://teams.example", "least": "error"},
    }
    teams = {"credit": {"members": ["ann", "bob", "cy"], "channels": ["room"]}}
    lane = Lane(declared(people=people, channels=channels, teams=teams, **chain(steps=[{"tell": ["members", "team"]}])))
    lane.flags(flag())
    assert {(one.channel, one.to) for one in lane.told} == {("chat", ("ann",)), ("mail", ("bob",))}
    assert "no channel reaches cy" in lane.one.said
    lane.flags(flag("lending/other", severity="error"))
    assert ("room", ()) in {(one.channel, one.to) for one in lane.told[2:]}


def test_the_people_of_a_dead_channel_are_told_by_another_one() -> None:
    people = {
        "ann": {"name": "Ann", "contacts": {"chat": "U1", "pager": "P1"}},
        "dee": {"name": "Dee", "contacts": {"chat": "U2", "pager": "P2"}},
    }
    channels = {
        "chat": {"kind": "slack", "url": "https://chat.example"},
        "pager": {"kind": "pagerduty", "secret": "pd"},
    }
    teams = {"credit": {"members": ["ann"]}, "admins": {"members": ["dee"]}}
    lane = Lane(declared(people=people, channels=channels, teams=teams, **chain()))
    lane.flags(flag())
    first = lane.one.incident
    name = f"{first}/0/chat/0"
    labels = {"incident": first, "notification": name, "channel": "chat"}
    lane.now += 30_000
    lane.flags(
        flag("channel/chat", None, None, effect=None, team="admins", severity="error", labels=labels, speaker="notify")
    )
    assert {(one.incident == first, one.channel, one.to) for one in lane.told[1:]} == {
        (True, "pager", ("ann",)),
        (False, "pager", ("dee",)),
    }
    assert "chat did not arrive" in lane.incidents[first].said
    dead = next(one for one in lane.incidents.values() if one.incident != first)
    assert dead.title == "Messages by chat do not arrive"
    lane.flags(flag("lending/other", first=8))
    assert lane.told[-1].channel == "pager", "while it is dead others go another way"
    lane.now += 9 * 60_000
    lane.flags(flag("lending/third", first=9))
    assert lane.told[-1].channel == "pager"
    lane.now += 2 * 60_000
    lane.flags(flag("lending/fourth", first=10))
    assert lane.told[-1].channel == "chat", "a while later it is tried again, whether or not somebody has looked"


def test_somebody_whom_a_channel_does_not_reach_is_told_once_by_each_other_and_the_channel_goes_on() -> None:
    people = {
        "ann": {"name": "Ann", "email": "ann@x.example", "contacts": {"chat": "U1"}},
        "dee": {"name": "Dee", "email": "dee@x.example"},
    }
    channels = {
        "mail": {"kind": "email", "url": "smtps://mail.example"},
        "chat": {"kind": "slack", "secret": "bot"},
    }
    teams = {"credit": {"members": ["ann"]}, "admins": {"members": ["dee"]}}
    lane = Lane(declared(people=people, channels=channels, teams=teams, **chain()))
    lane.flags(flag())
    first = lane.one.incident
    for channel in ("mail", "chat", "mail"):
        labels = {"incident": first, "notification": f"{first}/0/{channel}/0", "channel": channel}
        wrong = flag(
            f"contact/{channel}",
            None,
            None,
            effect=None,
            team="admins",
            severity="error",
            labels=labels,
            speaker="notify",
        )
        lane.now += 30_000
        lane.flags(wrong)
    again = [one for one in lane.told[1:] if one.incident == first]
    assert [(one.channel, one.to) for one in again] == [("chat", ("ann",))], "each way is tried once, none for ever"
    titles = {one.title for one in lane.incidents.values() if one.incident != first}
    assert titles == {"Somebody cannot be reached by mail", "Somebody cannot be reached by chat"}
    lane.flags(flag("lending/other", first=8))
    assert lane.told[-1].channel == "mail", "for others it works"


def test_where_the_dead_channel_is_the_only_one_it_is_tried_again_but_not_in_a_circle() -> None:
    lane = Lane(declared(**chain())).flags(flag())
    for number in range(3):
        labels = {
            "incident": lane.told[0].incident,
            "notification": lane.told[0].incident + "/0/mail/0",
            "channel": "mail",
        }
        lane.now += 60_000
        lane.flags(flag("channel/mail", None, None, effect=None, labels=labels, speaker="notify", first=number))
    assert [(one.title, one.to) for one in lane.told[1:]] == [("Messages by mail do not arrive", ("ann",))]
    assert "no channel reaches ann" in lane.incidents[lane.told[0].incident].said
    lane.flags(flag("lending/other"))
    assert lane.told[-1].title == "credit 1: 1 decision held by lending/other"


# -- silences ----------------------------------------------------------------------------------------------------------


def silence(start: int, end: int, **matchers: str) -> dict[str, Any]:
    return {"silence": {"matchers": matchers, "starts_ms": start, "ends_ms": end, "comment": "planned"}}


def test_a_silence_mutes_messages_and_the_chain_goes_on_where_it_stopped_afterwards() -> None:
    lane = Lane().answer("bob", "silence", **silence(START, START + HOUR, cause="lending/low-score", team="credit"))
    lane.flags(flag(count=3), flag("lending/other"))
    assert [one.title for one in lane.told] == ["credit 1: 1 decision held by lending/other"]
    muted = next(one for one in lane.incidents.values() if one.cause == "lending/low-score")
    assert (muted.silenced_by, muted.held) == ("r0-bob", 3)
    lane.wait(3599)
    assert {one.incident for one in lane.told} != {muted.incident}
    before = len(lane.told)
    lane.wait(1)
    assert [(one.incident, one.kind) for one in lane.told[before:]] == [(muted.incident, "trigger")]
    assert lane.incidents[muted.incident].silenced_by is None


def test_a_silence_that_is_taken_back_ends_at_once() -> None:
    lane = Lane().flags(flag()).answer("bob", "silence", **silence(START, START + HOUR, team="credit"))
    lane.wait(1800)
    assert len(lane.told) == 1
    lane.answer("ann", "unsilence", silence_id="r0-bob").wait(899)
    assert len(lane.told) == 1, "the quarter of an hour goes on where it stopped"
    lane.wait(1)
    assert kinds(lane)[-1][0] == "escalate"


def test_nobody_replaces_a_silence_by_one_of_the_same_id() -> None:
    lane = Lane(declared())

    def silence(person: str, hours: int) -> bytes:
        matchers = {"team": "credit"}
        wanted = {"matchers": matchers, "starts_ms": lane.now, "ends_ms": lane.now + hours * HOUR}
        return lane.signed(person, "silence", name="s1", silence=wanted)

    lane.step(reviews=[silence("ann", 1), silence("bob", 9)])
    (kept,) = lane.agent.desk.state.silences.values()
    assert (kept.by, kept.data.ends_ms) == ("ann", lane.now + HOUR)
    assert [(one["person"], one["reason"]) for one in lane.refusals] == [("bob", "out-of-scope")]


def test_what_is_silenced_expires_all_the_same() -> None:
    lane = Lane(declared(**chain(deadline="1h", at_deadline="withhold")))
    lane.answer("bob", "silence", **silence(START, START + 9 * HOUR, model="credit", team="credit"))
    lane.flags(flag()).wait(3602)
    assert len(lane.rulings) == 1
    assert lane.told == []


def test_those_on_call_are_really_declared() -> None:
    assert set(declared().escalation.people) == set(KEYS)
    assert declared().escalation.chains["default"].steps[1].after == 900
    assert Severity.WARNING.value == "warning"
