"""What every kind of monitor must hold to, whoever wrote it: the same laws, run over all of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

from agents.monitor.contract import Counts, Monitor, State, Step, View, merge, of_stretch
from agents.monitor.counting import arrays, nested
from agents.monitor.registry import KINDS
from agents.monitor.state import packed, unpacked
from tests.unit.monitor.samples import MONDAY_MS, monitor, part, view

ALL = sorted(KINDS)
LONGEST_OBSERVATION = 100_000  # bytes of one stretch's counts


@pytest.fixture(scope="module")
def monitors() -> Mapping[str, Monitor]:
    """One of each kind, with a profile."""
    return {kind: monitor(kind) for kind in ALL}


def summed(counts: Counts) -> dict[str, list[object]]:
    """Counts over all stretches, without what counted nothing."""
    return {key: one.sum(axis=0).tolist() for key, one in sorted(counts.items()) if one.any()}


def steps(one: Monitor, seen: View, state: State | None = None, start: int = 0) -> State:
    """Feed a View stretch by stretch."""
    state = one.start() if state is None else state
    counts = one.observe(seen)
    for place in range(seen.stretches):
        rows = np.flatnonzero(seen.stretch == place)
        step = Step(len(rows), float(len(rows)), int(seen.times_ms[rows[-1]]), start + place)
        one.step(state, of_stretch(counts, place), step)
    return state


@pytest.mark.parametrize("kind", ALL)
def test_it_says_what_it_is_and_where_its_formula_comes_from(kind: str) -> None:
    found = KINDS[kind]
    assert found.kind == kind
    assert len(found.summary) > 20
    assert re.search(r"(18|19|20)\d\d|docs/", found.formula), "a year of the literature, or a page of the docs"
    assert found.guarantee in ("proved", "simulated", "rule of thumb")
    assert found.__doc__


@pytest.mark.parametrize("kind", ALL)
def test_it_can_judge_with_a_profile(kind: str, monitors: Mapping[str, Monitor]) -> None:
    assert monitors[kind].ready is None


@pytest.mark.parametrize("kind", ALL)
def test_however_a_stream_is_cut_the_sums_of_its_counts_are_the_same(
    kind: str, monitors: Mapping[str, Monitor]
) -> None:
    one = monitors[kind]
    whole = view(600, seed=1)
    cuts = [part(whole, range(1)), part(whole, range(1, 320)), part(whole, range(320, 600))]
    counted = [one.observe(piece) for piece in cuts]
    expected = summed(one.observe(whole))
    a, b, c = counted
    assert summed(merge(merge(a, b), c)) == expected
    assert summed(merge(a, merge(b, c))) == expected
    assert summed(merge(c, merge(b, a))) == expected
    assert summed(one.observe(view(600, seed=1, stretch=7))) == expected


@pytest.mark.parametrize("kind", ALL)
def test_counts_are_whole_numbers_by_stretch_and_survive_the_wire(kind: str, monitors: Mapping[str, Monitor]) -> None:
    counts = monitors[kind].observe(view(600, seed=2))
    for key, values in counts.items():
        assert values.dtype == np.int64, key
        assert values.shape[0] == 3, key
        assert (values >= 0).all() or kind in ("data_drift", "performance", "calibration"), key
    first = of_stretch(counts, 0)
    again = arrays(json.loads(json.dumps(nested({kind: first}))))
    assert {key: one.tolist() for key, one in again.get(kind, {}).items()} == {k: v.tolist() for k, v in first.items()}
    assert len(json.dumps(nested({kind: first}))) < LONGEST_OBSERVATION


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_batch_and_a_single_row_are_no_trouble(kind: str, rows: int, monitors: Mapping[str, Monitor]) -> None:
    one = monitors[kind]
    counts = one.observe(view(rows, seed=3))
    state = one.start()
    one.step(state, of_stretch(counts, 0) if rows else {}, Step(rows, float(rows), MONDAY_MS, 0))
    for judgement in one.judge(state):
        assert judgement.status.value in ("none", "insufficient", "ok")


@pytest.mark.parametrize("kind", ALL)
def test_rows_without_any_value_are_counted_and_judged_without_fault(
    kind: str, monitors: Mapping[str, Monitor]
) -> None:
    one = monitors[kind]
    whole = view(300, seed=4)
    blank = whole.frame.select(pl.lit(None, dtype=dtype).alias(name) for name, dtype in whole.frame.schema.items())
    blank = blank.select(pl.all().extend_constant(None, 299)) if len(blank) == 1 else blank
    unknown = {name: np.full(300, -1) for name in whole.groups}
    state = steps(one, View(blank, whole.stretch, whole.stretches, unknown, whole.times_ms))
    for judgement in one.judge(state):
        judgement = one.bounded(judgement)
        assert judgement.estimate is None or math.isfinite(judgement.estimate)


@pytest.mark.parametrize("kind", ALL)
def test_one_group_alone_raises_no_alarm(kind: str, monitors: Mapping[str, Monitor]) -> None:
    one = monitors[kind]
    whole = view(2_000, seed=5)
    alone = {name: np.zeros(2_000, dtype=np.int64) for name in whole.groups}
    state = steps(one, View(whole.frame, whole.stretch, whole.stretches, alone, whole.times_ms))
    assert [found for found in one.judge(state) if found.status.value == "alarm"] == []


@pytest.mark.parametrize("kind", ALL)
def test_values_that_the_reference_never_had_are_counted(kind: str, monitors: Mapping[str, Monitor]) -> None:
    one = monitors[kind]
    whole = view(600, seed=6)
    texts = [name for name, dtype in whole.frame.schema.items() if dtype == pl.String and name != "output.label"]
    new = whole.frame.with_columns(pl.lit("never seen").alias(name) for name in texts)
    state = steps(one, View(new, whole.stretch, whole.stretches, whole.groups, whole.times_ms))
    assert packed(state)


@pytest.mark.parametrize("kind", ALL)
def test_restarted_at_any_point_it_comes_to_the_same_last_bit(kind: str, monitors: Mapping[str, Monitor]) -> None:
    one = monitors[kind]
    seen = [
        view(500, seed=7, stretch=50),
        view(500, seed=8, stretch=50, shift=0.5, unfair=0.4, start_ms=MONDAY_MS + 10**6),
    ]
    straight = one.start()
    restarted = one.start()
    for number, piece in enumerate(seen):
        counts = one.observe(piece)
        for place in range(piece.stretches):
            step = Step(50, 50.0, int(piece.times_ms[place * 50 + 49]), number * 10 + place)
            turned = one.step(straight, of_stretch(counts, place), step)
            restarted = unpacked(json.loads(json.dumps(packed(restarted))))
            assert one.step(restarted, of_stretch(counts, place), step) == turned
            assert json.dumps(packed(restarted)) == json.dumps(packed(straight))
    assert one.judge(restarted) == one.judge(straight)


@pytest.mark.parametrize("kind", ALL)
def test_what_it_remembers_is_bounded(kind: str, monitors: Mapping[str, Monitor]) -> None:
    one = monitors[kind]
    state = one.start()
    sizes = []
    for number in range(12):
        whole = view(500, seed=10 + number, start_ms=MONDAY_MS + number * 1_000_000)
        texts = [f"v{number}-{row}" for row in range(500)]
        names = ["caller", "features.product", "purpose", "action.tool"]
        many = whole.frame.with_columns(pl.Series(name, texts) for name in names)
        steps(one, View(many, whole.stretch, whole.stretches, whole.groups, whole.times_ms), state, number * 2)
        sizes.append(len(json.dumps(packed(state))))
    assert sizes[-1] < 1_000_000
    assert sizes[-1] <= sizes[7] * 1.1, "6,000 new names and no end"


@pytest.mark.parametrize("kind", ALL)
def test_every_judgement_can_be_said_in_plain_words(kind: str, monitors: Mapping[str, Monitor]) -> None:
    one = monitors[kind]
    state = steps(one, view(1_500, seed=20, shift=0.8, unfair=0.3))
    for judgement in one.judge(state):
        judgement = one.bounded(judgement)
        text = one.sentence(judgement)
        assert 10 < len(text) < 500
        assert not re.search(r"e_value|lane|None|nan\b", text), text
        assert one.clears(judgement)
