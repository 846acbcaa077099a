"""What mutes an incident mutes that one, as it is now, and no longer than it should."""

import pytest

from tests.unit.escalation.lane import HOUR, START, Lane, alarm, declared, flag
from tests.unit.escalation.test_chains import chain, kinds, silence


@pytest.mark.parametrize("restarted", [False, True])
def test_an_incident_that_outgrows_a_silence_of_warnings_is_told_at_once(restarted: bool) -> None:
    lane = Lane().answer("bob", "silence", **silence(START, START + 24 * HOUR, severity="warning", team="credit"))
    lane.flags(flag(count=3)).wait(60)
    assert (lane.told, lane.one.silenced_by) == ([], "r0-bob")
    if restarted:
        lane.restart()
    lane.flags(flag(first=10, severity="critical"))
    assert kinds(lane) == [("trigger", ("ann",))]
    assert (lane.one.silenced_by, lane.told[0].severity) == (None, "critical")


def test_a_silence_that_still_matches_goes_on_muting_what_became_worse() -> None:
    lane = Lane().answer("bob", "silence", **silence(START, START + 24 * HOUR, team="credit"))
    lane.flags(flag(count=3)).flags(flag(first=10, severity="critical")).wait(3600)
    assert (lane.told, lane.one.silenced_by) == ([], "r0-bob")


def test_a_chain_that_began_anew_under_a_silence_goes_on_when_that_ends() -> None:
    lane = Lane(declared(**chain(deadline="20h", at_deadline="escalate")))
    lane.answer("bob", "silence", **silence(START, START + 23 * HOUR, team="credit"))
    lane.flags(flag(count=3)).wait(20 * 3600 + 2)
    assert "the chain starts again" in lane.one.said
    lane.wait(3 * 3600 - 3)
    assert lane.told == []
    lane.wait(1)
    assert kinds(lane) == [("trigger", ("ann",))], "not as many hours later as the silence lasted"


def test_a_mild_incident_of_all_versions_does_not_speak_for_a_worse_one_of_one_version() -> None:
    lane = Lane().flags(alarm(version=None, status="warn"))
    wide = lane.one.incident
    lane.flags(alarm(version="1", status="warn"))
    narrow = next(one for one in lane.incidents.values() if one.incident != wide)
    assert (len(lane.told), narrow.inhibited_by) == (1, wide)
    lane.flags(alarm(version="1", at=1))
    assert [one.incident for one in lane.told] == [wide, narrow.incident]
    assert lane.incidents[narrow.incident].inhibited_by is None
    lane.flags(alarm(version="2"))
    assert len(lane.told) == 3, "one that opens worse is told at once"


def test_a_wide_incident_that_became_as_bad_speaks_for_those_that_open_after_it() -> None:
    lane = Lane().flags(alarm(version=None, status="warn")).flags(alarm(version=None, at=1))
    before = len(lane.told)
    lane.flags(alarm(version="2"))
    assert len(lane.told) == before
