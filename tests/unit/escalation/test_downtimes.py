"""After a downtime nothing is let go or withheld before those who must answer could know of it."""

import pytest

from tests.unit.escalation.lane import HOUR, START, Lane, declared, flag

RELEASING = declared(chains={"default": {"deadline": "1h", "at_deadline": "release"}})


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_what_was_held_in_a_downtime_waits_its_whole_time_from_its_end_on(steps: int, restarted: bool) -> None:
    """Flags are read before the ticks of the same step, so before the clock has come to the present."""
    lane = Lane(RELEASING)
    lane.step(ticks=[b"{}"])
    flagged = lane.records("flags", [flag(count=3)], START + HOUR)
    ticks = [one for at in range(START, START + 6 * HOUR, 10_000) for one in lane.records("ticks", [b"{}"], at)]
    lane.now += 6 * HOUR
    size = len(ticks) // steps
    lane.step(flags=flagged, ticks=ticks[:size])
    for number in range(1, steps):
        lane = lane.restart() if restarted else lane
        lane.step(ticks=ticks[number * size : (number + 1) * size])
    lane.wait(1)
    assert lane.rulings == []
    lane.wait(10)
    ends = lane.now - 10_000 + HOUR
    assert lane.one.deadline_ms == ends, "what pages show is when it really ends"
    lane.wait(3600)
    assert [one.resolution for one in lane.rulings] == ["expired"]


def test_what_waited_before_a_downtime_is_overdue_after_it() -> None:
    lane = Lane(RELEASING).flags(flag(count=3))
    flagged = lane.records("flags", [flag(first=9)], START + 5 * HOUR)
    ticks = [one for at in range(START, START + 6 * HOUR, 10_000) for one in lane.records("ticks", [b"{}"], at)]
    lane.now += 6 * HOUR
    lane.step(flags=flagged, ticks=ticks).wait(1)
    assert [(one.resolution, one.late_ms > 4 * HOUR) for one in lane.rulings] == [("expired", True)]


def test_a_flag_that_is_read_hours_later_waits_from_then_on_where_nothing_told_the_time_meanwhile() -> None:
    lane = Lane(RELEASING)
    flagged = lane.records("flags", [flag()])
    lane.now += 5 * HOUR
    lane.step(flags=flagged, ticks=[b"{}"]).wait(1)
    assert (lane.rulings, lane.one.deadline_ms) == ([], START + 6 * HOUR)
