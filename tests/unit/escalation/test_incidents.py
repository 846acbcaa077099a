"""What the on-call person gets of flags: one incident for one cause, told once, as bad as it is, quiet when it should be."""

from __future__ import annotations

import json

from agents.events import Effect, Severity
from agents.people_events import Status
from tests.unit.escalation.lane import HOUR, RULE, START, Lane, alarm, declared, flag, signal


def test_fifty_thousand_held_decisions_of_one_cause_are_one_incident_and_a_handful_of_records() -> None:
    lane = Lane()
    for number in range(500):
        lane.now += 20
        lane.flags(flag(count=100, first=100 * number))
    lane.wait(10)
    found = lane.one
    assert (found.count, found.held, found.flags) == (50_000, 50_000, 500)
    assert found.through == {"gim.decisions/0": 50_000}
    assert (found.first_ms, found.last_ms) == (START + 20, START + 10_000)
    assert len(found.sample) == 20
    assert max(one.offset for one in found.sample) > 20_000, "the sample is spread"
    assert len(lane.history) <= 12
    assert len(lane.told) == 1


def test_a_storm_of_twenty_causes_is_twenty_incidents_and_twenty_first_messages() -> None:
    lane = Lane()
    for batch in range(25):
        lane.flags(*(flag(f"lending/rule-{n}", count=100, first=2_500 * n + 100 * batch) for n in range(20)))
    lane.wait(60)
    assert len(lane.incidents) == 20
    assert sum(one.held for one in lane.incidents.values()) == 50_000
    assert len(lane.told) == 20


def test_the_message_says_what_how_bad_how_many_and_by_when_and_nothing_of_the_decision() -> None:
    chains = {"default": {"deadline": "4h", "at_deadline": "withhold"}}
    lane = Lane(declared(chains=chains)).flags(flag(count=312, severity="error"))
    (told,) = lane.told
    assert told.title == "credit 1: 312 decisions held by lending/low-score, answer by 13:14 UTC"
    assert told.lines == ("312 decisions wait for an answer by 13:14 UTC; then they are withheld",)
    assert (told.severity, told.kind) == (Severity.ERROR, "trigger"), "its sender puts it first"
    assert (told.to, told.channel, told.kind) == (("ann",), "mail", "trigger")
    assert told.deadline_ms == START + 4 * HOUR
    assert "8231" not in lane.bytes_of("notifications")[0].decode()
    assert lane.one.reason == "score 0.1 of client-8231", "the incident has it, for its page"


def test_a_version_or_segment_that_looks_like_a_person_is_not_repeated_in_messages() -> None:
    lane = Lane().flags(flag(version="ann@example.org", segment="4111111111111111"))
    text = lane.told[0].title + " ".join(lane.told[0].lines)
    assert "example" not in text
    assert "4111" not in text
    assert text.startswith("credit another version one segment")


def test_group_by_makes_one_incident_of_all_versions() -> None:
    lane = Lane(declared(group_by=["cause", "model"]))
    lane.flags(flag(version="1"), flag(version="2", first=10), flag("lending/other", first=20))
    both = next(one for one in lane.incidents.values() if one.cause == RULE)
    assert len(lane.incidents) == 2
    assert both.version is None
    assert [json.loads(key)[2] for key in both.keys] == ["1", "2"]


def test_decisions_beside_the_path_are_counted_and_wait_for_nobody() -> None:
    chains = {"default": {"deadline": "1h", "at_deadline": "withhold"}}
    lane = Lane(declared(chains=chains)).flags(flag(model="chat", count=7))
    assert (lane.one.count, lane.one.held, lane.one.deadline_ms) == (7, 0, None)
    assert "would be held" in lane.one.title
    lane.wait(2 * 3600)
    assert lane.rulings == []


def test_what_was_held_in_the_path_waits_though_its_model_is_beside_it_now() -> None:
    """And the other way round: flags are read after the configuration that came since."""
    lane = Lane().flags(flag(model="chat", count=3, mode="gate"), flag(model="credit", count=4, mode="observe"))
    assert {one.model: one.held for one in lane.incidents.values()} == {"chat": 3, "credit": 0}


def test_a_worse_flag_raises_severity_and_tells_again() -> None:
    lane = Lane().flags(alarm(status="warn"))
    lane.wait(60).flags(alarm(at=5))
    assert [one.severity for one in lane.history] == [Severity.WARNING, Severity.ERROR]
    assert lane.one.change == "worsened"
    assert lane.one.title == "credit 1: alarm of gap"
    assert [one.kind for one in lane.told] == ["trigger", "escalate"]
    lane.flags(alarm(status="warn", at=9))
    assert lane.one.severity is Severity.ERROR, "it never falls"


def test_a_stricter_effect_is_said_at_once() -> None:
    lane = Lane().flags(flag(effect="log")).flags(flag(effect="hold", first=5))
    assert lane.one.effect is Effect.HOLD
    assert len(lane.history) == 2


def test_an_alarm_that_ended_resolves_its_incident_after_a_while_and_a_new_one_names_it() -> None:
    lane = Lane().step(signals=[signal("alarm")], flags=[alarm()])
    assert lane.one.signal is not None
    assert (lane.one.signal.monitor, lane.one.signal.version) == ("gap", "1")
    lane.now += 60_000
    lane.step(signals=[signal("ok")])
    assert lane.one.change == "calmed"
    lane.wait(1800)
    assert lane.one.status is Status.TRIGGERED
    lane.wait(1801)
    first = lane.one
    assert (first.status, first.resolution) == (Status.RESOLVED, None)
    lane.wait(60).step(signals=[signal("alarm")], flags=[alarm(at=7)])
    second = next(one for one in lane.incidents.values() if one.incident != first.incident)
    assert second.previous == first.incident


def test_an_alarm_that_comes_back_stays_open() -> None:
    lane = Lane().step(signals=[signal("alarm")], flags=[alarm()])
    lane.now += 1000
    lane.step(signals=[signal("ok")])
    lane.wait(3000).step(signals=[signal("alarm")])
    lane.wait(7200)
    assert lane.one.status is not Status.RESOLVED


def test_a_withdrawn_signal_ends_its_incident_too() -> None:
    lane = Lane().step(signals=[signal("alarm", "eu")], flags=[alarm("eu")])
    key, _ = signal("alarm", "eu")
    lane.wait(1).step(signals=[(key, None)])
    lane.wait(3601)
    assert lane.one.status is Status.RESOLVED


def test_an_incident_of_all_versions_speaks_for_those_of_one() -> None:
    signals = [signal("alarm", "eu", "2"), signal("alarm", version="*"), signal("alarm", "asia", "2")]
    lane = Lane().step(signals=signals, flags=[alarm("eu", version="2")])
    lane.flags(alarm(version=None, at=3), alarm("asia", version="2", at=4))
    wide = next(one for one in lane.incidents.values() if one.version is None)
    narrow = [one for one in lane.incidents.values() if one.version is not None]
    assert {one.inhibited_by for one in narrow} == {wide.incident}
    assert wide.inhibited_by is None
    assert [one.incident for one in lane.told] == [narrow[0].incident, wide.incident], "the third tells nobody"
    lane.wait(3600 * 5)
    assert {one.incident for one in lane.told[2:]} == {wide.incident}
    lane.answer("ann", "resolve", lane.incidents[wide.incident]).wait(1)
    assert {one.inhibited_by for one in lane.incidents.values()} == {None}
    assert lane.told[-1].incident != wide.incident, "what goes on alone is told"


def test_a_cause_of_another_monitor_is_not_inhibited() -> None:
    lane = Lane().flags(alarm(version=None), flag())
    assert {one.inhibited_by for one in lane.incidents.values()} == {None}


def test_what_cannot_be_read_is_refused_once_and_the_rest_is_folded() -> None:
    lane = Lane()
    lane.step(flags=[b"{", flag(), b'{"specversion":"1.0"}'], triage=[b"?"], signals=[(b"[1]", b"{}"), (None, b"{}")])
    assert len(lane.incidents) == 1
    assert len(lane.agent.refused) == 5
    assert "gim.flags/0/0 is refused" in str(lane.agent.refused[-2])


def test_resolved_incidents_are_forgotten_but_for_what_a_late_answer_and_the_next_incident_need() -> None:
    lane = Lane().flags(flag())
    lane.answer("ann", "reject", lane.one)
    first = lane.one
    assert first.status is Status.RESOLVED
    lane.wait(2 * 86_400)
    assert lane.agent.desk.state.live == {}
    lane.restart().answer("bob", "reject", first)
    assert lane.refusals[-1]["reason"] == "already-ruled"
    lane.flags(flag(first=9))
    assert next(one for one in lane.incidents.values() if one.incident != first.incident).previous == first.incident


def test_more_keys_than_an_incident_takes_open_another_one_that_tells_nobody() -> None:
    lane = Lane(declared(group_by=["cause"]))
    lane.flags(*(flag(version=f"v{n}", first=n) for n in range(600)))
    first, second = lane.incidents.values()
    assert (len(first.keys), len(second.keys)) == (500, 100)
    assert (second.previous, second.inhibited_by) == (first.incident, first.incident)
    assert len(lane.told) == 1


def test_a_caller_who_invents_versions_makes_twenty_incidents_and_one_of_the_model_not_thousands() -> None:
    lane = Lane()
    for start in range(0, 2_000, 100):
        lane.flags(*(flag(version=f"v{n % 900}", first=n) for n in range(start, start + 100)))
    lane.wait(10)
    found = list(lane.incidents.values())
    wide = [one for one in found if one.version is None]
    assert len(found) == 22
    assert [len(one.keys) for one in wide] == [500, 380]
    assert sum(one.held for one in found) == 2_000
    assert len(lane.told) == 21
    assert {one.inhibited_by for one in found if one.version is not None} == {wide[0].incident}
    assert len({key for one in found for key in one.keys}) == 900, "each key is in one of them"


def test_the_deadline_counts_from_the_first_that_waits_however_many_come() -> None:
    lane = Lane(declared(chains={"default": {"deadline": "4h", "at_deadline": "withhold"}}))
    for number in range(300):
        lane.flags(flag(count=2, first=2 * number)).wait(10)
    assert lane.one.deadline_ms == START + 4 * HOUR
    live = lane.agent.desk.state.find(lane.one.incident)
    assert live is not None
    assert live.waiting() == (600, START)
    assert live.before({"gim.decisions/0": 600}) == 600
    assert 300 <= live.before({"gim.decisions/0": 300}) <= 320, "never fewer than there are"
    assert len(live.marks["gim.decisions/0"]) <= 64


def test_a_signal_that_is_read_after_its_flag_is_linked_without_ado() -> None:
    lane = Lane().flags(alarm()).step(signals=[signal("alarm")])
    assert len(lane.history) == 1
    lane.wait(2 * 3600)
    assert lane.one.status is Status.TRIGGERED, "it is an alarm still"
    assert lane.one.signal is not None


def test_what_goes_on_for_hours_is_written_ever_more_rarely() -> None:
    lane = Lane()
    for number in range(1_440):
        lane.now += 10_000
        lane.flags(flag(effect="log", first=number))
    assert lane.one.count > 1_400
    assert len(lane.history) < 160


def test_what_is_planned_for_much_later_does_not_pile_up() -> None:
    lane = Lane(declared(chains={"default": {"statutory_deadline": "30d", "repeat_interval": 0}}))
    lane.flags(flag(effect="log")).answer("ann", "acknowledge", lane.one)
    for number in range(3_000):
        lane.now += 10_000
        lane.flags(flag(effect="log", first=number))
    assert len(lane.agent.desk.agenda) <= 1_010
    assert lane.one.count > 2_900
