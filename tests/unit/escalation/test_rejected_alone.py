"""A rejection that a second person should have shared is no agreement that decisions go out."""

from agents.events import Effect
from tests.unit.escalation.lane import Lane, declared, flag
from tests.unit.escalation.test_chains import chain

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
