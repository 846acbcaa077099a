"""Subjects that were counted already, across periods, restarts and many chunks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agents.monitor import subjects
from agents.monitor.subjects import Subjects, periods

DAY_MS = 86_400_000


def first(one: Subjects, names: list[str | None], day: int = 0) -> list[bool]:
    found = one.first("m", "1", names, np.full(len(names), day * DAY_MS), "month")
    return [True] * len(names) if found is None else found.tolist()


def test_a_subject_counts_once_a_period_and_nobody_without_a_name_is_taken_for_another() -> None:
    one = Subjects(b"k")
    assert first(one, ["a", "b", "a", None, None]) == [True, True, False, True, True]
    assert first(one, ["a", "c"], day=30) == [False, True]
    assert first(one, ["a", "a"], day=31) == [True, False]


def test_a_batch_that_crosses_a_periods_end_counts_a_subject_in_both() -> None:
    one = Subjects(b"k")
    clock = np.array([0, 1, 40 * DAY_MS, 41 * DAY_MS])
    found = one.first("m", "1", ["a", "a", "a", "a"], clock, "month")
    assert found is not None
    assert found.tolist() == [True, False, True, False]


@pytest.mark.parametrize("every", [1, 7, 50])
def test_restarted_from_its_parts_it_still_knows_everybody(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "CHUNK", 16)
    one, kept = Subjects(b"k"), dict[str, dict[str, str]]()
    names = [f"s{number}" for number in range(100)]
    for start in range(0, 100, every):
        assert all(first(one, names[start : start + every]))
        changed, gone = one.parts()
        assert len(changed) <= every // 16 + 2, "only what grew is written again"
        kept = {name: part for name, part in {**kept, **changed}.items() if name not in gone}
    again = Subjects(b"k")
    again.restore(json.loads(json.dumps(kept)))
    assert not any(first(again, names))
    assert first(again, ["new"]) == [True]
    assert first(again, ["s1"], day=40) == [True]
    assert sorted(again.parts()[1]) == sorted([*kept]), "an ended period's parts are removed"


def test_without_the_key_nobody_can_tell_who_a_hash_stands_for() -> None:
    one, other = Subjects(b"k"), Subjects(b"another")
    first(one, ["ann"])
    first(other, ["ann"])
    assert one.seen["m", "1"].hashes.isdisjoint(other.seen["m", "1"].hashes)


@pytest.mark.parametrize(("period", "numbers"), [("day", [0, 30, 365]), ("month", [0, 0, 12]), ("year", [0, 0, 1])])
def test_periods_are_those_of_the_calendar_in_utc(period: str, numbers: list[int]) -> None:
    assert periods(np.array([0, 30, 365]) * DAY_MS, period).tolist() == numbers  # type: ignore[arg-type]
