"""A rejection that a second person should have shared is no agreement that decisions go out."""

from agents.events import Effect
from agents.people_events import shown_digest
from tests.unit.escalation.lane import Lane, declared, flag
from tests.unit.escalation.test_chains import chain

WORSE = flag(first=50, count=3, severity="critical")
BULK = declared(**chain(deadline="4h", at_deadline="release"), bulk={"items": 10, "sample": 0})


def test_a_deadline_that_releases_lets_nothing_go_that_somebody_rejected() -> None:
    lane = Lane(BULK).flags(flag(count=50)).wait(60)
    lane.answer("ann", "reject", lane.one)
    assert (lane.rulings, lane.refusals) == ([], [])
    lane.flags(flag(first=50, count=3)).wait(4 * 3600)
    told = [(one.resolution, one.effect, one.through["gim.decisions/0"]) for one in lane.rulings]
    assert told == [("expired", Effect.BLOCK, 50), ("expired", Effect.ALLOW, 53)], "what came since had no answer"
    assert lane.one.said == "no answer by the deadline: 3 held decisions are released; what ann rejected is withheld"


def test_who_may_not_rule_any_more_holds_nothing_back() -> None:
    lane = Lane(BULK).flags(flag(count=50)).wait(60)
    lane.answer("ann", "reject", lane.one)
    people = {
        name: {"name": name, "roles": ["viewer" if name == "ann" else "reviewer"]}
        for name in ("ann", "bob", "cy", "dee")
    }
    lane.agent.switch(declared(**chain(deadline="4h", at_deadline="release"), people=people))
    lane.wait(4 * 3600)
    assert [one.effect for one in lane.rulings] == [Effect.ALLOW]


def test_nobody_lets_out_what_somebody_rejected_who_waits_for_a_second_person() -> None:
    lane = Lane(BULK).flags(flag(count=50)).wait(60)
    lane.answer("ann", "reject", lane.one)
    before = lane.one
    lane.answer("bob", "approve", before)
    lane.answer("cy", "approve", before)
    assert lane.rulings == []
    assert [one["reason"] for one in lane.refusals] == ["already-ruled", "already-ruled"]
    assert lane.refusals[0]["detail"] == (
        "ann has rejected these decisions, and waits for somebody else to agree: "
        "reject them as well, or let ann answer otherwise"
    )
    lane.answer("cy", "reject", before)
    assert [(one.resolution, one.effect, one.people) for one in lane.rulings] == [
        ("rejected", Effect.BLOCK, ("ann", "cy"))
    ]


def test_a_rejection_that_was_taken_back_stands_in_nobodys_way() -> None:
    lane = Lane(BULK).flags(flag(count=50)).wait(60)
    before = lane.one
    lane.answer("ann", "reject", before)
    lane.answer("ann", "approve", before)
    lane.answer("bob", "approve", before)
    assert [(one.effect, one.people) for one in lane.rulings] == [(Effect.ALLOW, ("ann", "bob"))]


def test_single_decisions_beside_those_that_somebody_rejected_go_out() -> None:
    lane = Lane(BULK).flags(flag(count=50)).wait(60)
    before = lane.one
    some = [{"topic": "gim.decisions", "partition": 0, "offset": one} for one in range(12)]
    lane.answer("ann", "reject", before, items=some)
    lane.answer("bob", "approve", before, items=some[3:4])
    assert [one["reason"] for one in lane.refusals] == ["already-ruled"]
    lane.answer("bob", "approve", before, items=[some[0] | {"offset": 20}])
    assert [(one.effect, len(one.items)) for one in lane.rulings] == [(Effect.ALLOW, 1)]
    lane.answer("bob", "approve", lane.one, through={"gim.decisions/0": 50})
    assert lane.refusals[-1]["reason"] == "already-ruled", "the whole holds what ann rejected"


def test_a_rejection_stands_when_the_incident_changes() -> None:
    lane = Lane(BULK).flags(flag(count=50)).wait(60)
    lane.answer("ann", "reject", lane.one)
    before = shown_digest(lane.one)
    lane.flags(WORSE).wait(1)
    assert shown_digest(lane.one) != before
    lane.answer("bob", "approve", lane.one)
    lane.answer("cy", "approve", lane.one)
    assert (lane.rulings, [one["reason"] for one in lane.refusals]) == ([], ["already-ruled", "already-ruled"])
    lane.answer("cy", "reject", lane.one)
    assert [(one.effect, one.people) for one in lane.rulings] == [(Effect.BLOCK, ("ann", "cy"))]


def test_a_rejection_of_some_stands_while_others_answer_for_the_rest() -> None:
    lane = Lane(BULK).flags(flag(count=50)).wait(60)
    some = [{"topic": "gim.decisions", "partition": 0, "offset": one} for one in range(12)]
    rest = [one | {"offset": one["offset"] + 20} for one in some]
    lane.answer("ann", "reject", lane.one, items=some)
    lane.flags(WORSE).wait(1)
    lane.answer("bob", "approve", lane.one, items=rest)
    lane.answer("cy", "approve", lane.one, items=rest)
    assert [(one.effect, len(one.items)) for one in lane.rulings] == [(Effect.ALLOW, 12)]
    lane.answer("cy", "approve", lane.one, items=some)
    assert lane.refusals[-1]["reason"] == "already-ruled"
    lane.answer("cy", "reject", lane.one, items=some)
    assert [one.effect for one in lane.rulings] == [Effect.ALLOW, Effect.BLOCK]
