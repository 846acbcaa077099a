"""Charts say what their tables say, to the width of a line, and can be read without being seen."""

from __future__ import annotations

import doctest
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.console import words
from orchestration.console.charts import PLOT, Bar, Chart, Rate, over_time, rates, shifts, spark
from orchestration.console.pages import answers, asking, silences

SVG = ElementTree.Element
few = settings(max_examples=40, deadline=None)
names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=30)
shares = st.floats(0, 1).map(lambda value: round(value, 3))


def tree(chart: Chart) -> SVG:
    return ElementTree.fromstring(str(chart.svg))


def at(element: SVG, name: str) -> float:
    """A place as a share of the width."""
    return float(element.attrib[name].removesuffix("%")) / 100


def per_cent(text: str) -> float:
    return float(text.replace("\u00a0", "").removesuffix("%")) / 100


def marks(chart: Chart, tag: str, kind: str) -> list[SVG]:
    return [one for one in tree(chart).iter(tag) if one.attrib.get("class", "").split()[:1] == [kind]]


@few
@given(st.lists(st.tuples(names, shares, shares, shares, st.integers(1, 10**6)), min_size=1, max_size=8), shares)
def test_dots_and_intervals_stand_where_the_table_says(
    rows: list[tuple[str, float, float, float, int]], limit: float
) -> None:
    given_rates = [Rate(name, *(lambda a, b, c: (b, a, c))(*sorted(three)), n=n) for name, *three, n in rows]
    chart = rates("Rates", "said", given_rates, limit)
    dots, lines = marks(chart, "circle", "dot"), marks(chart, "line", "interval")
    limits = {at(one, "x1") for one in marks(chart, "line", "threshold")}
    known = [(row.value, at(dot, "cx")) for row, dot in zip(given_rates, dots, strict=True)]
    known += [(row.upper or 0.0, at(line, "x2")) for row, line in zip(given_rates, lines, strict=True)]
    known += [(limit, place) for place in limits]
    value, farthest = max(known, key=lambda one: one[1])  # places are rounded: the farthest tells the scale best
    top = value / farthest if farthest > 0.01 else 1.0
    for row, dot, line, cells in zip(given_rates, dots, lines, chart.table.rows, strict=True):
        assert at(dot, "cx") * top == pytest.approx(per_cent(cells[1]), abs=0.002)
        assert at(line, "x1") * top == pytest.approx(per_cent(cells[2]), abs=0.002)
        assert at(line, "x2") * top == pytest.approx(per_cent(cells[3]), abs=0.002)
        assert cells[0] == row.name
        assert cells[4] == f"{row.n:,}"
    assert len(limits) == 1
    if top != 1.0:
        assert limits.pop() * top == pytest.approx(limit, abs=0.002)


@few
@given(st.lists(st.tuples(names, st.floats(0.001, 5).map(lambda value: float(f"{value:.2g}"))), min_size=1, max_size=8))
def test_bars_are_as_long_as_the_table_says(bars: list[tuple[str, float]]) -> None:
    chart = shifts("Shifts", "said", [Bar(*one) for one in bars], 0.25)
    drawn = marks(chart, "rect", "bar")
    longest = max(value for _, value in bars)
    scale = at(max(drawn, key=lambda one: at(one, "width")), "width") / longest
    for (name, value), bar, cells in zip(bars, drawn, chart.table.rows, strict=True):
        assert cells[:2] == (name, words.figure(value, 2))
        assert at(bar, "width") == pytest.approx(value * scale, abs=0.0002)
        assert ("over" in bar.attrib["class"]) is (value >= 0.25)


@few
@given(st.lists(st.floats(1.0, 1e9), min_size=2, max_size=40))
def test_the_line_of_strength_has_a_point_for_each_row_of_its_table(values: list[float]) -> None:
    points = [(1_772_442_843_000 + 60_000 * number, value) for number, value in enumerate(values)]
    chart = over_time("Strength", "said", points, 1e6, "decisions")
    line = next(one for one in tree(chart).iter("polyline"))
    places = [tuple(map(float, one.split(","))) for one in line.attrib["points"].split()]
    top = math.log(max(10.0, *values, 1e6**1.25))
    assert len(places) == len(chart.table.rows) == len(points)
    for (x, y), (ms, value), cells in zip(places, points, chart.table.rows, strict=True):
        assert y == pytest.approx(100 - 100 * math.log(value) / top, abs=0.02)
        assert x == pytest.approx(100 * (ms - points[0][0]) / (points[-1][0] - points[0][0]), abs=0.02)
        assert cells == (words.stamp(ms), words.strength(value, "decisions"))
    threshold = marks(chart, "line", "threshold")[0]
    assert float(threshold.attrib["y1"]) == pytest.approx(PLOT * (1 - math.log(1e6) / top), abs=0.1)


def test_a_chart_can_be_read_without_being_seen() -> None:
    chart = rates(
        "Approval rate",
        "Young clients are approved less.",
        [Rate("under 26", 0.434, 0.402, 0.467, 1204, over=True)],
        0.57,
    )
    drawn = tree(chart)
    assert drawn.attrib["role"] == "img"
    ids = {one.attrib["id"]: one.text for one in drawn if "id" in one.attrib}
    assert ids[drawn.attrib["aria-labelledby"]] == "Approval rate"
    assert ids[drawn.attrib["aria-describedby"]] == "Young clients are approved less."
    assert chart.table.rows == (("under 26 (beyond the limit)", "43.4\u00a0%", "40.2\u00a0%", "46.7\u00a0%", "1,204"),)
    assert "style=" not in chart.svg


def test_the_same_chart_is_the_same_bytes_so_that_a_quiet_page_does_not_flicker() -> None:
    assert rates("A", "b", [Rate("c", 0.5)], 0.4) == rates("A", "b", [Rate("c", 0.5)], 0.4)


def test_a_small_line_says_its_course() -> None:
    assert 'aria-label="held: from 1 to 4, at most 9"' in spark("held", [1, 9, 4], "hold")
    assert 'aria-label="held: nothing yet"' in spark("held", [])
    found = re.search(r'points="([^"]+)"', spark("held", [0.0, 10.0, 5.0]))
    assert found is not None
    assert found[1] == "0.00,100.00 50.00,4.00 100.00,52.00"


@pytest.mark.parametrize("module", [words, asking, silences, answers])
def test_examples_in_the_words_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
