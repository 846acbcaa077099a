"""Flipped answers by tenths: a little too many everywhere is noticed from all tenths together, as many as usual never."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agents.monitor import flips
from agents.monitor.contract import State, Step
from agents.monitor.flips import Flips
from agents.monitor.state import packed, unpacked

USUAL = np.array([[0.01, 0.01, 0.02, 0.05, 0.1, 0.3, 0.2, 0.1, 0.02, 0.01]])
BATCH = 250


def until_alarm(rates: np.ndarray, most: int, seed: int = 1) -> tuple[int | None, Flips, State]:
    """Decisions until an alarm, at most so many."""
    one, random = Flips([""], USUAL, 1e6, 1.0), np.random.default_rng(seed)
    state = one.start()
    for number in range(most // BATCH):
        n = random.multinomial(BATCH, np.full(10, 0.1))[None]
        changed = one.step(state, n, random.binomial(n, rates), Step(BATCH, float(BATCH), number, number))
        state = unpacked(json.loads(json.dumps(packed(state))))  # a restart at every step
        if changed and one.judge(state)[0].share.status.value == "alarm":
            return (number + 1) * BATCH, one, state
    return None, one, state


def test_twice_as_many_in_every_tenth_are_noticed_sooner_together(monkeypatch: pytest.MonkeyPatch) -> None:
    together = [until_alarm(1.8 * USUAL, 20_000, seed)[0] or 20_000 for seed in range(10)]
    monkeypatch.setattr(flips, "POOLED", 0.0)
    apart = [until_alarm(1.8 * USUAL, 20_000, seed)[0] or 20_000 for seed in range(10)]
    assert np.median(together) <= 0.6 * np.median(apart)


def test_such_an_alarm_names_a_tenth_and_its_strength_and_ends_as_every_alarm_does() -> None:
    found, one, state = until_alarm(1.8 * USUAL, 20_000)
    assert found is not None
    (said,) = one.judge(state)
    assert len(said.tenths) == 1
    assert said.share.e_value >= 1e6
    assert said.share.estimate is not None
    assert said.share.estimate > said.share.p0
    random = np.random.default_rng(9)
    for number in range(400):
        n = random.multinomial(BATCH, np.full(10, 0.1))[None]
        one.step(state, n, random.binomial(n, 0.2 * USUAL), Step(BATCH, float(BATCH), number, number))
    assert one.judge(state)[0].share.status.value == "ok"


def test_as_many_as_usual_are_no_alarm() -> None:
    assert [until_alarm(USUAL, 20_000, seed)[0] for seed in range(10)] == [None] * 10
