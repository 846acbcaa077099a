"""Charts that the server draws as SVG, each with the same figures as a table: nothing is only in a picture.

Places are shares of the width, so text keeps its size on a phone and on a wall. Colours are classes of console.css. Every text
is escaped. A chart is data and a table; `svg` says nothing that the table does not.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from orchestration.console.words import HOUR, MINUTE, YEAR, figure, share, stamp, strength
from orchestration.console.words import count as whole

ROW, AXIS = 46, 30
"""Heights in px: of a labelled row, of the axis below."""
PLOT = 120
"""Height in px of a chart over time."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures as text. The first column names the row; `numbers` are the columns that are set to the right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture and its figures."""

    title: str
    said: str
    """What it shows, in a sentence."""
    svg: Markup
    table: Table


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate or ratio with its interval."""

    name: str
    value: float
    lower: float | None = None
    upper: float | None = None
    n: int | None = None
    reference: bool = False
    over: bool = False
    """Beyond the threshold, so that it is drawn and said as such."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One feature's shift."""

    name: str
    value: float
    note: str = ""


def rates(title: str, said: str, rows: Sequence[Rate], limit: float | None = None, limit_words: str = "limit") -> Chart:
    """Dots with intervals, one row each, and the threshold as a line. Values are shares or ratios from 0 on."""
    most = max([1e-9, limit or 0.0, *(max(row.value, row.upper or 0.0) for row in rows)])
    top = _ceiling(most)
    parts = []
    height = ROW * len(rows) + AXIS
    for number, row in enumerate(rows):
        y = number * ROW
        parts += _row_words(y, row.name, _rate_words(row))
        parts.append(f'<rect class="track" x="0" y="{y + 29}" width="100%" height="4" rx="2"/>')
        if limit is not None:
            parts.append(_vertical(limit / top, y + 21, y + 41, "threshold"))
        kind = " over" if row.over else ""
        low, high = row.lower, row.upper
        if low is not None and high is not None:
            ends = f'x1="{_part(low / top)}" x2="{_part(min(high, top) / top)}"'
            parts.append(f'<line class="interval{kind}" {ends} y1="{y + 31}" y2="{y + 31}"/>')
        mark = " reference" if row.reference else kind
        parts.append(f'<circle class="dot{mark}" cx="{_part(row.value / top)}" cy="{y + 31}" r="6"/>')
    parts += _scale(top, height - AXIS, limit, limit_words)
    table = Table(
        caption=title,
        head=("group", "rate", "from", "to", "n"),
        rows=tuple(
            (
                row.name + (" (compared with)" if row.reference else " (beyond the limit)" if row.over else ""),
                _amount(row.value),
                _amount(row.lower),
                _amount(row.upper),
                whole(row.n),
            )
            for row in rows
        ),
        numbers=(1, 2, 3, 4),
    )
    return Chart(title, said, _svg(title, said, height, parts), table)


def _amount(value: float | None) -> str:
    """Shares as per cent; ratios above one would read oddly so, and stay figures."""
    return figure(value, 2) if value is not None and value > 1 else share(value)


def _rate_words(row: Rate) -> str:
    inside = f" ({_amount(row.lower)} – {_amount(row.upper)})" if row.lower is not None else ""
    return _amount(row.value) + inside


def _ceiling(most: float) -> float:
    """The next round number at or above."""
    size = 10.0 ** math.floor(math.log10(most))
    return next(step * size for step in (1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0) if step * size >= most * 0.999999)


def _scale(top: float, y: float, limit: float | None, words: str) -> list[str]:
    parts = [f'<line class="axis" x1="0" x2="100%" y1="{y}" y2="{y}"/>']
    near = [] if limit is None else [limit / top]
    for step, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        if all(abs(step - place) > 0.36 for place in near):
            parts.append(_text(step, y + 20, _amount(step * top), "soft", anchor))
    if limit is not None:
        place = limit / top
        anchor = "start" if place < 0.2 else "end" if place > 0.8 else "middle"
        parts.append(_text(place, y + 20, f"{words} {_amount(limit)}", "threshold", anchor))
    return parts


def shifts(title: str, said: str, bars: Sequence[Bar], limit: float | None = None) -> Chart:
    """Bars from zero, the longest first as given; those at or above `limit` are marked and said so."""
    top = _ceiling(max([1e-9, limit or 0.0, *(bar.value for bar in bars)]))
    height = ROW * len(bars) + AXIS
    parts = []
    for number, bar in enumerate(bars):
        y = number * ROW
        over = limit is not None and bar.value >= limit
        words = figure(bar.value, 2) + (f" · {bar.note}" if bar.note else "")
        parts += _row_words(y, bar.name, words)
        parts.append(f'<rect class="track" x="0" y="{y + 24}" width="100%" height="12" rx="2"/>')
        size = f'width="{_part(bar.value / top)}" height="12" rx="2"'
        parts.append(f'<rect class="bar{" over" if over else ""}" x="0" y="{y + 24}" {size}/>')
        if limit is not None:
            parts.append(_vertical(limit / top, y + 20, y + 40, "threshold"))
    y = height - AXIS
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
    for step, anchor in ((0.0, "start"), (1.0, "end")):
        if limit is None or abs(step - limit / top) > 0.36:
            parts.append(_text(step, y + 20, figure(step * top, 2), "soft", anchor))
    if limit is not None:
        place = limit / top
        anchor = "start" if place < 0.2 else "end" if place > 0.8 else "middle"
        parts.append(_text(place, y + 20, f"shifted from {figure(limit, 2)}", "threshold", anchor))
    table = Table(
        caption=title,
        head=("input", "shift", ""),
        rows=tuple((bar.name, figure(bar.value, 2), bar.note) for bar in bars),
        numbers=(1,),
    )
    return Chart(title, said, _svg(title, said, height, parts), table)


def over_time(
    title: str,
    said: str,
    points: Sequence[tuple[int, float]],
    limit: float | None = None,
    unit: str | None = None,
) -> Chart:
    """Strength of an alarm over time, on a logarithmic scale, with the line from which on it is an alarm.

    `points` are (ms, strength), oldest first.
    """
    least = 1.0
    values = [max(value, least) for _, value in points] or [least]
    top = max([10.0, *values, max(limit or 1.0, 1.0) ** 1.25])  # room for the words above the line
    reach = math.log(top / least)
    first, last = (points[0][0], points[-1][0]) if points else (0, 1)
    span = max(last - first, 1)
    height = PLOT + AXIS

    def across(ms: int) -> float:
        return (ms - first) / span

    def up(value: float) -> float:
        return 1.0 - math.log(min(max(value, least), top) / least) / reach

    course = [(100 * across(ms), 100 * up(value)) for ms, value in points]
    parts = []
    if len(course) > 1:
        line = " ".join(f"{x:.2f},{y:.2f}" for x, y in course)
        area = f"{course[0][0]:.2f},100 {line} {course[-1][0]:.2f},100"
        parts.append(
            f'<svg width="100%" height="{PLOT}" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
            f'<polygon class="area" points="{area}"/><polyline class="line" points="{line}"/></svg>'
        )
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{PLOT}" y2="{PLOT}"/>')
    if limit is not None:
        y = up(limit) * PLOT
        parts.append(f'<line class="threshold" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = y - 6 if y > 20 else y + 16
        left, right = (
            min(
                (abs(up(value) * PLOT - label + 4) for ms, value in points if (across(ms) < 0.5) is early), default=PLOT
            )
            for early in (True, False)
        )
        words = f"alarm from here on: {strength(limit, unit)}"
        place, anchor = (0.0, "start") if left >= right else (1.0, "end")
        parts.append(_text(place, label, words, "threshold", anchor))
    if points:
        newest = points[-1][1]
        kind = "dot over" if limit is not None and newest >= limit else "dot"
        parts.append(f'<circle class="{kind}" cx="100%" cy="{up(newest) * PLOT:.1f}" r="5"/>')
        parts.append(_text(0.0, PLOT + 20, _axis_time(first, span), "soft", "start"))
        parts.append(_text(1.0, PLOT + 20, _axis_time(last, span), "soft", "end"))
    table = Table(
        caption=title,
        head=("time", "strength"),
        rows=tuple((stamp(ms), strength(value, unit)) for ms, value in points),
    )
    return Chart(title, said, _svg(title, said, height, parts), table)


def _axis_time(ms: int, span: int) -> str:
    text = stamp(ms)
    if span > 3 * YEAR:
        return text.partition(",")[0]
    day, _, hour = text.partition(", ")
    short = f"{hour[:5] if span > 10 * MINUTE else hour[:8]} UTC"  # both ends of a short course are the same minute
    return short if span < 12 * HOUR else f"{day.rsplit(' ', 1)[0]}, {short}"


def spark(name: str, values: Sequence[float], kind: str = "", wide: bool = False) -> Markup:
    """A small line without axes, for beside a figure that says the newest value. From zero, so that lines compare."""
    top = max([1e-9, *values])
    step = 100 / max(len(values) - 1, 1)
    line = " ".join(f"{number * step:.2f},{100 - 96 * value / top:.2f}" for number, value in enumerate(values))
    said = (
        f"{name}: from {figure(values[0])} to {figure(values[-1])}, at most {figure(max(values))}"
        if values
        else f"{name}: nothing yet"
    )
    return Markup(
        f'<svg class="spark{" wide" if wide else ""}" viewBox="0 -2 100 104" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(said)}"><polyline class="line {escape(kind)}" points="{line}"/></svg>'
    )


def _svg(title: str, said: str, height: int, parts: Sequence[str]) -> Markup:
    name = f"chart-{zlib.crc32(title.encode()):08x}"  # stable: the same page is the same bytes
    return Markup(
        f'<svg height="{height}" role="img" aria-labelledby="{name}" aria-describedby="{name}-said">'
        f'<title id="{name}">{escape(title)}</title><desc id="{name}-said">{escape(said)}</desc>{"".join(parts)}</svg>'
    )


def _row_words(y: float, name: str, words: str) -> list[str]:
    return [_text(0.0, y + 14, name, "strong", "start"), _text(1.0, y + 14, words, "soft", "end")]


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> str:
    return f'<text x="{_part(x)}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _vertical(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_part(x)}" x2="{_part(x)}" y1="{top}" y2="{bottom}"/>'


def _part(value: float) -> str:
    return f"{100 * value:.2f}%"
