"""What an accepted answer does to an incident, and that a refused one does nothing."""

from __future__ import annotations

from typing import Any

from agents.escalation.incidents import Live
from agents.events import Effect, Position
from agents.people_events import IncidentData, Resolution, Status
from tests.unit.escalation.lane import HOUR, KEYS, START, Lane, declared, flag

DIGEST = "sha256:" + "a" * 64


def bulk(items: int = 10_000, **more: object) -> dict[str, object]:
    """Answers to many count by themselves."""
    return {"bulk": {"items": items, "sample": 0}, **more}


def unchanged(lane: Lane, before: int) -> bool:
    """Nothing but refusals was written since."""
    return len(lane.history) == before


def test_an_approval_lets_go_what_was_shown_and_what_came_since_still_waits() -> None:
    lane = Lane(declared(**bulk(), chains={"default": {"deadline": "4h", "at_deadline": "withhold"}}))
    lane.flags(flag(count=5), flag(count=3, partition=1)).wait(6)
    shown = lane.one
    lane.now += 60_000
    lane.flags(flag(count=4, first=5))
    lane.answer("bob", "approve", shown)
    (ruling,) = lane.rulings
    assert (ruling.effect, ruling.resolution, ruling.people) == (Effect.ALLOW, Resolution.APPROVED, ("bob",))
    assert ruling.through == {"gim.decisions/0": 5, "gim.decisions/1": 3}
    assert (lane.one.status, lane.one.held) == (Status.TRIGGERED, 4)
    assert lane.one.deadline_ms == START + 66_000 + 4 * 3_600_000, "by when the first of the rest began to wait"
    assert lane.one.said == "bob let them go out; 4 still wait"
    lane.answer("bob", "approve", lane.one)
    assert (lane.one.status, lane.one.resolution, lane.one.held) == (Status.RESOLVED, Resolution.APPROVED, 0)
    assert [one.through["gim.decisions/0"] for one in lane.rulings] == [5, 9]


def test_what_comes_after_an_answer_opens_another_incident_that_names_it() -> None:
    lane = Lane().flags(flag(count=5))
    first = lane.one
    lane.answer("bob", "reject", first).flags(flag(count=2, first=5))
    second = next(one for one in lane.incidents.values() if one.incident != first.incident)
    assert (second.previous, second.held, second.through) == (first.incident, 2, {"gim.decisions/0": 7})


def test_single_decisions_may_be_answered_one_by_one() -> None:
    lane = Lane().flags(flag(count=3))
    for offset, action in ((0, "approve"), (2, "reject"), (1, "approve")):
        item = Position(topic="gim.decisions", partition=0, offset=offset)
        lane.answer("bob", action, lane.one, items=[item], through={})
    assert [one.effect for one in lane.rulings] == [Effect.ALLOW, Effect.BLOCK, Effect.ALLOW]
    assert lane.one.held == 0
    assert lane.one.status is Status.RESOLVED


def single(*offsets: int) -> dict[str, Any]:
    """An answer to these alone."""
    return {"items": [{"topic": "gim.decisions", "partition": 0, "offset": one} for one in offsets], "through": {}}


def test_decisions_that_are_not_held_answer_for_none_that_is() -> None:
    lane = Lane(declared(chains={"default": {"deadline": "1h", "at_deadline": "withhold"}}))
    lane.flags(flag(first=10), flag(first=20)).wait(2)
    lane.answer("bob", "approve", lane.one, **single(11, 12))
    assert [one["reason"] for one in lane.refusals] == ["out-of-scope"]
    assert (lane.one.held, lane.one.status, lane.rulings) == (2, Status.TRIGGERED, [])
    lane.restart().answer("bob", "approve", lane.one, **single(10)).answer("bob", "approve", lane.one, **single(20))
    assert (lane.one.held, lane.one.status) == (0, Status.RESOLVED)


def test_small_answers_to_groups_are_no_way_around_the_bulk_limit() -> None:
    lane = Lane(declared(bulk={"items": 50, "sample": 3}))
    for first in range(0, 60, 20):
        lane.flags(flag(count=20, first=first))
    for first in (0, 20):
        lane.answer("bob", "approve", lane.one, **single(*range(first, first + 20)))
    assert (lane.one.held, lane.one.in_groups) == (20, {"bob": 40})
    assert {one.offset for one in lane.one.sample} == set(range(40, 60)), "what is to be opened is among what waits"
    lane.restart().answer("bob", "approve", lane.one, **single(*range(40, 55)))
    (refusal,) = lane.refusals
    assert refusal["reason"] == "not-opened"
    told = "you have ruled 40 of this incident's decisions in groups; with these 15 that is above 50: "
    assert refusal["detail"].startswith(
        f"{told}somebody else must agree, and you open these of a random sample first: "
    )
    wanted = [place.rpartition("/")[2] for place in refusal["detail"].rpartition(": ")[2].split(", ")]
    assert len(wanted) == 3
    opened = single(*map(int, wanted))["items"]
    lane.answer("bob", "approve", lane.one, **single(*range(40, 55)), opened=opened)
    assert (lane.one.agreement.needed, lane.one.agreement.people, len(lane.rulings)) == (2, ("bob",), 2)
    lane.answer("bob", "approve", lane.one, **single(55))  # one that he looked at counts for itself
    assert len(lane.rulings) == 3
    lane.answer("cy", "approve", lane.one, **single(*range(40, 55)))
    assert (lane.rulings[-1].people, lane.rulings[-1].kind) == (("bob", "cy"), "sample")
    assert (lane.one.held, lane.one.in_groups) == (4, {"bob": 55, "cy": 15})


def test_single_answers_to_every_one_of_many_end_an_incident() -> None:
    lane = Lane(declared(bulk={"items": 500, "sample": 0}))
    lane.flags(flag(count=300, named=True), flag(count=40, first=300, partition=1, named=True))
    for offset in range(300):
        lane.answer("bob", "approve", lane.one, **single(offset))
    assert (lane.one.held, lane.one.status) == (40, Status.TRIGGERED)
    lane.answer("bob", "approve", lane.one, **single(300))
    assert lane.refusals[-1]["reason"] == "out-of-scope", "one that was not held answers for none"
    other = [{"topic": "gim.decisions", "partition": 1, "offset": one} for one in range(300, 340)]
    lane.restart().answer("bob", "reject", lane.one, items=other, through={})
    assert (lane.one.held, lane.one.status) == (0, Status.RESOLVED)


def test_where_not_all_held_decisions_are_known_single_answers_leave_the_deadline_to_the_rest() -> None:
    lane = Lane(declared(chains={"default": {"deadline": "1h", "at_deadline": "withhold"}}, **bulk()))
    lane.flags(flag(count=25))  # a flag that names twenty of them, as where a batch holds hundreds
    lane.answer("bob", "approve", lane.one, **single(*range(25)))
    assert (lane.one.held, lane.one.deadline_ms, lane.one.status) == (5, START + HOUR, Status.TRIGGERED)
    assert not lane.refusals
    lane.restart().wait(3700)
    assert (lane.one.held, lane.one.resolution) == (0, Resolution.EXPIRED)


def test_beyond_what_an_incident_remembers_single_answers_end_nothing() -> None:
    lane = Lane(declared(**bulk())).flags(*(flag(first=20 * number, count=20) for number in range(30)))
    lane.answer("bob", "approve", lane.one, **single(*range(600)))
    assert (lane.one.held, lane.one.status, lane.refusals) == (100, Status.TRIGGERED, [])
    assert lane.answer("bob", "approve", lane.one).one.status is Status.RESOLVED


def test_a_whole_answer_makes_room_for_the_decisions_that_come_after_it() -> None:
    lane = Lane(declared(**bulk())).flags(flag(count=25))
    shown = lane.one
    lane.flags(flag(first=30), flag(first=40)).answer("bob", "approve", shown)
    assert lane.one.held == 2
    lane.answer("bob", "reject", lane.one, **single(31))
    assert [one["reason"] for one in lane.refusals] == ["out-of-scope"]
    lane.answer("bob", "reject", lane.one, **single(30, 40))
    assert (lane.one.held, lane.one.status) == (0, Status.RESOLVED)


def test_what_is_remembered_of_answers_has_an_end() -> None:
    lane = Lane(declared(chains={"default": {"quorum": {"people": 2}}}))
    lane.flags(*(flag(first=10 * number, count=10) for number in range(6)))
    for offset in range(60):
        lane.answer("ann", "approve", lane.one, **single(offset))
    (live,) = lane.agent.desk.state.live.values()
    assert len(live.votes) == 50
    assert [one["reason"] for one in lane.refusals] == ["out-of-scope"] * 10
    lane.answer("bob", "approve", lane.one, **single(3)).answer("ann", "approve", lane.one, **single(59))
    assert live.answered == {"gim.decisions/0": [3]}, "and what others agreed to makes room"
    assert len(lane.refusals) == 10
    shown = lane.one
    lane.flags(flag(first=60)).answer("bob", "reject", shown)
    assert (live.answered, live.known, live.waiting()[0]) == ({}, {"gim.decisions/0": [60]}, 1)


def test_an_answer_names_no_partition_that_nothing_was_flagged_on() -> None:
    lane = Lane().flags(flag())
    lane.answer("bob", "approve", lane.one, through={**lane.one.through, "gim.decisions/7": 0})
    assert [one["reason"] for one in lane.refusals] == ["out-of-scope"]
    assert not lane.rulings


def test_a_snapshot_that_names_no_held_decisions_lets_none_go_for_known() -> None:
    """One of a version before they were remembered."""
    live = Lane().flags(flag(count=3)).agent.desk.state
    (found,) = live.live.values()
    plain = {name: value for name, value in found.plain().items() if name not in ("known", "vague")}
    assert Live.restored(plain).waiting() == (3, START)


def test_an_edit_and_a_question_are_rulings_of_their_own() -> None:
    lane = Lane().flags(flag(count=2))
    lane.answer("bob", "respond", lane.one, response="is the income right?")
    assert (lane.rulings[0].effect, lane.rulings[0].response) == (Effect.HOLD, "is the income right?")
    assert (lane.one.status, lane.one.held, lane.one.change) == (Status.TRIGGERED, 2, "answered")
    lane.answer("bob", "edit", lane.one, edit={"label": "approve"})
    assert (lane.rulings[1].effect, lane.rulings[1].edit.label) == (Effect.BLOCK, "approve")  # type: ignore[union-attr]
    assert lane.one.resolution is Resolution.EDITED


def test_a_quorum_gathers_and_shows_who_has_agreed() -> None:
    lane = Lane(declared(chains={"default": {"quorum": {"people": 2}}})).flags(flag(count=2))
    lane.answer("bob", "approve", lane.one)
    assert lane.rulings == []
    assert lane.one.agreement is not None
    assert (lane.one.agreement.needed, lane.one.agreement.people, lane.one.change) == (2, ("bob",), "reviewed")
    lane.restart().answer("bob", "approve", lane.one)
    assert lane.refusals[-1]["reason"] == "already-ruled"
    lane.answer("cy", "approve", lane.one)
    assert lane.rulings[0].people == ("bob", "cy")
    assert lane.one.status is Status.RESOLVED
    assert lane.history[-1].agreement is None


def test_two_at_once_the_first_counts_and_the_second_is_told() -> None:
    lane = Lane().flags(flag())
    shown = lane.one
    reviews = [lane.signed("bob", "approve", shown)]
    lane.offsets["reviews"] = 1
    reviews.append(lane.signed("cy", "reject", shown))
    lane.offsets["reviews"] = 0
    lane.step(reviews=reviews)
    assert [one.resolution for one in lane.rulings] == [Resolution.APPROVED]
    assert (lane.refusals[0]["person"], lane.refusals[0]["reason"]) == ("cy", "already-ruled")


def test_a_stale_answer_is_refused_with_what_changed_and_changes_nothing() -> None:
    lane = Lane().flags(flag())
    shown = lane.one
    lane.flags(flag(severity="critical", first=3))
    before = len(lane.history)
    lane.answer("bob", "approve", shown)
    assert lane.refusals[0]["reason"] == "stale"
    assert "its severity is critical (it was warning)" in lane.refusals[0]["detail"]
    assert unchanged(lane, before)
    assert lane.rulings == []


def test_counts_that_grew_make_no_answer_stale() -> None:
    lane = Lane().flags(flag())
    shown = lane.one
    lane.flags(flag(count=40, first=1)).answer("bob", "approve", shown)
    assert lane.refusals == []
    assert lane.rulings[0].through == {"gim.decisions/0": 1}


def test_an_answer_that_comes_again_counts_once_also_after_a_restart() -> None:
    lane = Lane().flags(flag(count=2))
    item = Position(topic="gim.decisions", partition=0, offset=0)
    value = lane.signed("bob", "approve", lane.one, items=[item], through={})
    lane.step(reviews=[value]).restart().step(reviews=[value])
    assert len(lane.rulings) == 1
    assert lane.refusals[0]["reason"] == "repeated"


def test_forged_answers_are_recorded_and_without_effect() -> None:
    lane = Lane().flags(flag())
    before, good = len(lane.history), lane.signed("bob", "approve", lane.one)
    lane.step(
        reviews=[
            b"{",
            good.replace(b'"person":"bob"', b'"person":"cy"'),
            good.replace(b"dssematerial", b"dssematerial2"),
        ]
    )
    assert [one["reason"] for one in lane.refusals] == ["malformed", "unknown-key", "unsigned"]
    assert unchanged(lane, before)
    lane.step(reviews=[good])
    assert lane.one.resolution is Resolution.APPROVED, "nobody used up its id"


def test_resolving_by_hand_says_who_and_why() -> None:
    lane = Lane().flags(flag(effect="log"))
    lane.answer("bob", "resolve", lane.one, reason="a planned test")
    assert (lane.one.status, lane.one.resolution) == (Status.RESOLVED, Resolution.CANCELLED)
    assert (lane.one.said, lane.one.by) == ("bob resolved it: a planned test", "bob")
    assert lane.told[-1].kind == "resolve"
    assert lane.told[-1].title.startswith("Resolved: ")
    assert lane.told[-1].lines == ("bob resolved it",), "what people write stays on the page"


def proposed(lane: Lane) -> IncidentData:
    proposal = {"kind": "configuration", "digest": DIGEST, "author": "ann", "text": "raise the limit"}
    lane.answer("ann", "propose", proposal=proposal)
    return lane.one


def test_a_proposal_is_an_incident_that_only_another_author_can_agree_to() -> None:
    lane = Lane()
    found = proposed(lane)
    assert (found.title, found.cause) == ("A change of configuration needs a second person", "change/configuration")
    assert found.proposal is not None
    assert found.proposal.digest == DIGEST
    assert len(lane.told) == 1
    lane.answer("ann", "approve", found)
    assert lane.refusals[-1]["reason"] == "requester"
    lane.answer("bob", "approve", found)
    assert (lane.rulings[0].effect, lane.rulings[0].people) == (Effect.ALLOW, ("bob",))
    assert (lane.one.status, lane.one.resolution) == (Status.RESOLVED, Resolution.APPROVED)
    assert lane.one.said == "bob agreed to the change"


def test_numbers_of_rulings_and_refusals_have_no_gap() -> None:
    lane = Lane().flags(flag()).answer("bob", "approve").answer("bob", "approve")
    lane.answer("bob", "approve", lane.one)
    numbers = [dict(headers)["govern-seq"] for _, _, headers in lane.written["rulings"]]
    assert numbers == [b"0", b"1", b"2"]
    writers = {dict(headers)["govern-writer"] for _, _, headers in lane.written["rulings"]}
    assert writers == {b"gim.escalation.gim.flags.0"}
    assert set(KEYS) == {"ann", "bob", "cy", "dee"}
