"""An alarm explained from the logged observations: the arithmetic again, the block that tipped it, other settings."""

from __future__ import annotations

import json

from agents.events import SignalData
from agents.monitor.explaining import Explanation, explain
from tests.unit.monitor.test_agent import CONFIGURATION, assess, unfair_observations


def explained(change: dict[str, object] | None = None) -> Explanation:
    found = unfair_observations()
    signals = [json.loads(value)["data"] for (topic, _), _, value, _ in assess(found, []) if topic == "t.signals"]
    alarm = next(one for one in signals if one.get("status") == "alarm")
    signal = SignalData.model_validate({**alarm, **(change or {})})
    assert signal.observations is not None
    return explain(signal, found[signal.observations.start : signal.observations.end], CONFIGURATION)


def test_the_arithmetic_recomputed_from_logged_observations_matches() -> None:
    found = explained()
    assert found.matches, found.differences
    assert found.decisions > 3_000
    assert found.tipped is not None
    assert found.tipped.position == f"t.observations/0/{found.signal.observations.end - 1}"  # type: ignore[union-attr]
    assert found.tipped.inputs.startswith("t.decisions/0/")
    assert [one.group for one in found.groups] == ["sex=female"]
    assert found.groups[0].detail["n_group"] > 0
    assert "segment_by" in found.segment_note


def test_a_signal_that_was_altered_does_not_match() -> None:
    found = explained({"estimate": 0.99})
    assert not found.matches
    assert [one.partition(":")[0] for one in found.differences] == ["estimate"]


def test_it_says_what_other_settings_would_have_said() -> None:
    said = {one.setting: one.said for one in explained().otherwise}
    assert set(said) == {
        "a budget of a tenth of the false alarms",
        "ten times the false alarms allowed",
        "level 0.7 instead of 0.8",
        "level 0.9 instead of 0.8",
    }
    assert said["ten times the false alarms allowed"].startswith("an alarm after ")
    assert said["level 0.9 instead of 0.8"].startswith("an alarm after ")
