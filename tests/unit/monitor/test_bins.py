"""Bins: every value has exactly one, repeated values and levels have their own, and what is new or missing is seen."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.monitor.bins import CACHED, Binning, LevelBins, NumericBins, fit_levels, fit_numeric
from agents.monitor.state import packed, unpacked

NUMBERS = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 1.0, 2.0, -999.0, math.inf, -math.inf]))
TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", ""]), st.text(max_size=3))


@given(st.lists(NUMBERS, max_size=60), st.lists(NUMBERS, max_size=20))
def test_every_number_lies_in_exactly_one_bin_between_its_edges(
    reference: list[float | None], values: list[float | None]
) -> None:
    bins = fit_numeric(pl.Series("x", reference, dtype=pl.Float64))
    assert (np.diff(bins.edges) > 0).all()
    assert np.isfinite(bins.edges).all()
    bounds = [-math.inf, *bins.edges, math.inf]
    for value, code in zip(values, bins.codes(pl.Series("x", values, dtype=pl.Float64)), strict=True):
        inside = [
            place
            for place in range(bins.size - 1)
            if value is not None
            and not math.isnan(value)
            and (bounds[place] <= value < bounds[place + 1] or (value == math.inf and place == bins.size - 2))
        ]
        assert [code] == (inside or [bins.size - 1])


@given(st.lists(TEXTS, max_size=40), st.lists(TEXTS, max_size=20))
def test_every_text_lies_in_exactly_one_bin(reference: list[str | None], values: list[str | None]) -> None:
    bins = fit_levels(pl.Series("x", reference, dtype=pl.String))
    for value, code in zip(values, bins.codes(pl.Series("x", values, dtype=pl.String)), strict=True):
        if value is None:
            assert bins.label(code) == "missing"
        elif value in bins.levels:
            assert bins.levels[code] == value
        else:
            assert bins.label(code) == "new or rare values"


def test_a_smooth_feature_is_cut_at_its_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    bins = fit_numeric(pl.Series(values))
    shares = np.bincount(bins.codes(pl.Series(values)), minlength=bins.size) / 10_000
    assert shares == pytest.approx([0.01, 0.04, 0.05, *[0.1] * 8, 0.05, 0.04, 0.01, 0], abs=2e-4)


def test_a_value_that_is_often_repeated_has_a_bin_of_its_own_and_its_sides_too() -> None:
    values = np.concatenate([np.zeros(700), np.random.default_rng(1).lognormal(size=300)])
    bins = fit_numeric(pl.Series(values))
    codes = bins.codes(pl.Series([-1.0, 0.0, 1e-300, 50.0]))
    assert [bins.label(int(code)) for code in codes[:2]] == ["below 0", "0"]
    assert codes[0] < codes[1] < codes[2] < codes[3]


def test_whole_numbers_have_one_bin_each_and_the_space_between_belongs_to_the_lower() -> None:
    bins = fit_numeric(pl.Series(np.repeat([1.0, 2.0, 3.0], 100)))
    assert bins.codes(pl.Series([0.0, 1.0, 1.5, 2.0, 3.0, 3.5, None])).tolist() == [0, 1, 1, 2, 3, 4, 5]
    assert [bins.label(place) for place in range(6)] == ["below 1", "1 to 2", "2 to 3", "3", "above 3", "missing"]


def test_a_constant_column_notices_anything_else_and_an_empty_one_notices_numbers() -> None:
    constant = fit_numeric(pl.Series([7.0] * 50))
    assert constant.codes(pl.Series([6.0, 7.0, 8.0, None])).tolist() == [0, 1, 2, 3]
    empty = fit_numeric(pl.Series([None] * 50, dtype=pl.Float64))
    assert empty.codes(pl.Series([1.0, math.inf, None, math.nan])).tolist() == [0, 0, 1, 1]


def test_infinities_of_the_reference_make_no_edge() -> None:
    bins = fit_numeric(pl.Series([math.inf] * 50 + [-math.inf] * 50 + list(range(100)), strict=False))
    low, high = bins.codes(pl.Series([-math.inf, math.inf]))
    assert (low, high) == (0, bins.size - 2)


def test_the_twenty_commonest_levels_are_told_apart() -> None:
    texts = [f"l{number:02}" for number in range(30) for _ in range(100 - number)]
    bins = fit_levels(pl.Series(texts))
    assert bins.levels == tuple(f"l{number:02}" for number in range(20))
    assert bins.codes(pl.Series(["l00", "l25", "never", None])).tolist() == [0, 20, 20, 21]


def test_flat_counts_go_back_to_their_columns_and_bins_survive_a_profile() -> None:
    binning = Binning(("x", "c"), (NumericBins(np.array([0.0])), LevelBins(("a", "b", "c"))))
    frame = [pl.Series([-1.0, 1.0, None]), pl.Series(["b", None, "new"])]
    codes = binning.codes(frame)
    assert codes.tolist() == [[0, 1, 2], [4, 7, 6]]
    flat = np.bincount(codes.ravel(), minlength=binning.size)
    assert binning.padded(flat).tolist() == [[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]]
    again = Binning.of_state(unpacked(json.loads(json.dumps(packed(binning.to_state())))))
    assert again.codes(frame).tolist() == codes.tolist()
    assert again.names == binning.names


@given(
    st.lists(NUMBERS, min_size=1, max_size=60),
    st.lists(NUMBERS, max_size=30),
    st.lists(NUMBERS, min_size=30, max_size=30),
)
def test_many_columns_at_once_have_the_bins_of_each_by_itself(
    first: list[float | None], second: list[float | None], values: list[float | None]
) -> None:
    columns = [pl.Series("x", one, dtype=pl.Float64) for one in (first, second, [*range(2, 1_000), None])]
    many = NumericBins(np.arange(50.0))
    bins = (fit_numeric(columns[0]), fit_levels(pl.Series(["a"])), many, *map(fit_numeric, columns[1:]))
    binning = Binning(("a", "b", "c", "d", "e"), bins)
    numbers = pl.Series("x", values, dtype=pl.Float64)
    seen = [numbers, pl.Series(["a"] * 30), numbers, numbers, numbers]
    found = binning.codes(seen) - binning.starts[:, None]
    for row, one in enumerate(bins):
        assert found[row].tolist() == one.codes(seen[row]).tolist()


def test_a_batch_too_large_for_the_cache_has_the_same_bins() -> None:
    random = np.random.default_rng(4)
    height, names = CACHED // 3 + 1, tuple("abcdefg")  # two columns at a time, and one is left over
    columns = [pl.Series(np.where(random.random(height) < 0.1, np.nan, random.normal(size=height))) for _ in names]
    bins = tuple(fit_numeric(one[:500]) for one in columns)
    binning = Binning(names, bins)
    for row, one in enumerate(bins):
        assert (binning.codes(columns)[row] == one.codes(columns[row]) + binning.starts[row]).all()
