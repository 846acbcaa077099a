"""Times that have no date reach no page and no message: they are refused where they come in, or shown as the last one."""

import json

import pytest
from pydantic import ValidationError

from agents.triage.words import moment
from tests.unit.escalation.lane import START, Lane, declared
from tests.unit.escalation.test_chains import chain, silence

FAR = 253_402_300_800_000


@pytest.mark.parametrize("ends", [FAR, 10**30])
def test_a_silence_that_ends_after_all_dates_is_malformed(ends: int) -> None:
    lane = Lane()
    event = json.loads(lane.signed("bob", "silence", **silence(START, START + 1, team="credit")))
    event["data"]["silence"]["ends_ms"] = ends
    lane.step(reviews=[json.dumps(event).encode()])
    assert [one["reason"] for one in lane.refusals] == ["malformed"]
    assert "silence.ends_ms" in lane.refusals[0]["detail"]


@pytest.mark.parametrize("what", ["deadline", "statutory_deadline", "repeat_interval"])
@pytest.mark.parametrize("long", ["40000d", float("inf")])
def test_a_chain_names_no_time_that_a_message_could_not_say(what: str, long: object) -> None:
    with pytest.raises(ValidationError, match=what):
        declared(**chain(**{"at_deadline": "withhold", "deadline": "1h", what: long}))


@pytest.mark.parametrize(
    ("ms", "told"), [(FAR + 86_399_000, "9999-12-31 23:59 UTC"), (-(10**15), "0001-01-01 00:00 UTC")]
)
def test_what_a_producers_clock_says_is_shown_as_far_as_there_are_dates(ms: int, told: str) -> None:
    assert moment(ms) == told
