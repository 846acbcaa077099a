"""A new configuration never makes a deadline pass that nobody was told of."""

from agents.events import Effect
from tests.unit.escalation.lane import HOUR, Lane, declared, flag
from tests.unit.escalation.test_chains import chain


def due_in(lane: Lane) -> float | None:
    """Hours until the deadline."""
    until = lane.one.deadline_ms
    return None if until is None else (until - lane.now) / HOUR


def test_a_shorter_deadline_that_would_have_passed_counts_from_the_change() -> None:
    lane = Lane(declared(**chain(deadline="24h", at_deadline="release"))).flags(flag(count=5)).wait(10 * 3600)
    lane.agent.switch(declared(**chain(deadline="4h", at_deadline="release")))
    lane.wait(60)
    assert lane.rulings == []
    assert round(due_in(lane) or 0, 1) == 4.0
    lane.wait(4 * 3600 + 10)
    assert [(one.resolution, one.effect) for one in lane.rulings] == [("expired", Effect.ALLOW)]


def test_a_shorter_deadline_that_is_still_to_come_counts_from_when_the_first_was_held() -> None:
    lane = Lane(declared(**chain(deadline="24h", at_deadline="release"))).flags(flag(count=5)).wait(3 * 3600)
    lane.agent.switch(declared(**chain(deadline="4h", at_deadline="release")))
    lane.wait(60)
    assert round(due_in(lane) or 0, 1) == 1.0


def test_a_deadline_that_began_anew_stands_when_the_chain_changes() -> None:
    lane = Lane(declared(**chain(deadline="4h", at_deadline="escalate"))).flags(flag(count=5)).wait(5 * 3600)
    assert round(due_in(lane) or 0, 1) == 3.0, "passed once, begun anew"
    lane.agent.switch(declared(**chain(deadline="4h", at_deadline="release")))
    lane.wait(60)
    assert lane.rulings == []
    assert round(due_in(lane) or 0, 1) == 3.0


def test_what_is_left_after_an_answer_is_not_let_out_at_once() -> None:
    lane = Lane(declared(**chain(deadline="24h", at_deadline="release"))).flags(flag(count=5)).wait(3600)
    before = lane.one
    lane.flags(flag(first=5, count=5)).wait(9 * 3600)
    lane.agent.switch(declared(**chain(deadline="4h", at_deadline="release")))
    lane.wait(60).answer("ann", "reject", before).wait(60)
    assert [one.effect for one in lane.rulings] == [Effect.BLOCK], "the rest waits"
    assert 3.9 < (due_in(lane) or 0) <= 4.0
