"""However much people set, what the escalation lane remembers fits the records of its snapshots, and comes back whole."""

import json

from agents.events import SnapshotData
from orchestration.snapshots import PART_BYTES, Parts
from orchestration.work import LaneName, State
from tests.unit.escalation.lane import HOUR, START, Lane, flag
from tests.unit.escalation.test_chains import silence


def largest(lane: Lane) -> int:
    """Bytes of the largest record of a snapshot."""
    state = lane.agent.desk.state
    changed, removed = state.parts()
    lane.parts |= json.loads(json.dumps(changed))
    for part in removed:
        lane.parts.pop(part, None)
    head = SnapshotData(lane="", offsets={}, sequence=dict(state.sequence), now_ms=state.now_ms, state=state.head())
    made = Parts(LaneName("gim", "escalation", "gim.flags", 0)).messages(State(head, changed, removed), {}, 0)
    return max(len(value or b"") for _, value, _ in made)


def test_hundreds_of_silences_with_long_comments_fit_and_mute_after_a_restart() -> None:
    lane, long = Lane(), "信" * 4_000
    for number in range(120):
        lane.answer(
            "bob", "silence", silence={**silence(START, START + HOUR, team="credit")["silence"], "comment": long}
        )
        lane.now += number % 2
    override = {"team": "credit", "person": "cy", "start_ms": START, "end_ms": START + 24 * HOUR}
    lane.answer("cy", "override", override=override)
    assert largest(lane) <= PART_BYTES
    lane.restart().flags(flag())
    assert (lane.told, len(lane.agent.desk.state.silences)) == ([], 120)
    lane.wait(2 * 3600)
    assert lane.told[0].to == ("cy",), "the stand-in came back as well"
    assert "standing/1" in lane.parts
    lane.restart()
    assert "standing/1" not in lane.parts, "what is over leaves nothing behind"
    assert not lane.agent.desk.state.silences
