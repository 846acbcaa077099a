"""What a flag names: a bounded sample of many, and each held decision where that finds room."""

import json

import pytest

from agents.events import Effect, Flag, Mode, Severity
from agents.policy.flags import HELD, SAMPLE, FlagBook


def flagged(count: int, effect: Effect = Effect.HOLD, mode: Mode = Mode.GATE) -> Flag:
    book = FlagBook("gim", "gim.decisions", 0)
    for offset in range(100, 100 + 2 * count, 2):
        book.add(
            "p/r", "m", "1", offset, severity=Severity.INFO, effect=effect, reason=lambda: "because", mode=mode
        )  # fmt: skip
    ((_, value, _),) = book.messages("2026-03-02T09:14:03.120Z")
    assert json.loads(value)["data"].get("held", ()) is not None, "left out, where there is nothing to name"
    return Flag.model_validate_json(value)


@pytest.mark.parametrize("count", [SAMPLE + 1, HELD])
def test_each_held_decision_is_named_up_to_a_bound(count: int) -> None:
    data = flagged(count).data
    assert (len(data.sample), data.count) == (SAMPLE, count)
    assert data.held == tuple(range(100, 100 + 2 * count, 2))


@pytest.mark.parametrize(
    ("count", "effect", "mode"),
    [
        (SAMPLE, Effect.HOLD, Mode.GATE),  # the sample names all
        (HELD + 1, Effect.HOLD, Mode.GATE),
        (50, Effect.LOG, Mode.GATE),
        (50, Effect.HOLD, Mode.OBSERVE),  # would be held
    ],
)
def test_nothing_else_is_named_one_by_one(count: int, effect: Effect, mode: Mode) -> None:
    assert flagged(count, effect, mode).data.held is None
