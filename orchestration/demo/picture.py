"""One picture of the approval gap: the ratio with its interval, the strength of the alarm, and when rules began to hold.

Its lines are computed again from the logged observations, as anybody could who challenges the alarm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from agents.monitor.assessing import Assessor
from agents.monitor.compilation import Watched
from agents.monitor.counting import arrays
from agents.monitor.ratio import confidence_sequence
from agents.records import Record
from orchestration.demo.caught import GAP, GROUP
from orchestration.demo.model import NAME, TUNED, VERSION

ATTRIBUTE, BAND = GROUP.split("=")
EVERY = 40
"""Decisions between two points."""
WEAKEST, STRONGEST = 1e-7, 1e3
"""Ends of the scale, in multiples of what an alarm needs."""
INK, QUIET, BAD, HELD, GRID = "#24292f", "#2f6f9f", "#c2410c", "#7c3aed", "#d0d7de"


@dataclass(frozen=True)
class Point:
    """What stood after some decisions."""

    decisions: int
    """Of both versions."""
    version: str
    ratio: float
    lower: float
    upper: float
    strength: float
    """Of the evidence, as a multiple of what an alarm needs."""
    alarm: bool


@dataclass(frozen=True)
class Moments:
    """What happened after how many decisions of both versions."""

    live: int
    """Version 2.2.0 went live."""
    alarm: int | None = None
    held: int | None = None
    """A decision was held because of the alarm, for the first time."""


def curve(records: Iterable[Record], watched: Watched) -> list[Point]:
    """The approval gap as the observations have it, recomputed one by one."""
    monitor = next(one for one in watched.monitors if one.name == GAP)
    groups = watched.declaration.groups[ATTRIBUTE]
    here, assessor = groups.index(BAND), Assessor(watched)
    sums: dict[str, list[list[int]]] = {}
    decisions, drawn, found = 0, -EVERY, []
    for record in records:
        data = json.loads(record.value or b"{}")["data"]
        if data.get("model") != NAME or data["version"] not in (VERSION, TUNED):
            continue
        counts = arrays(data["counts"])
        assessor.take(data["version"], data["n"], data["clock_ms"], counts, data["clock_ms"])
        decisions += data["n"]
        total = sums.setdefault(data["version"], [[0, 0] for _ in groups])
        for place, pair in enumerate(counts.get(GAP, {}).get(ATTRIBUTE, [])[: len(groups)]):
            total[place] = [total[place][0] + int(pair[0]), total[place][1] + int(pair[1])]
        if decisions - drawn < EVERY:
            continue
        judged = next(one for one in monitor.judge(assessor.states[data["version"], GAP]) if one.group == GROUP)
        reference = groups.index(str(judged.reference).removeprefix(f"{ATTRIBUTE}="))
        (ng, kg), (nr, kr) = total[here], total[reference]
        if ng >= 10 and kr:
            lower, upper = confidence_sequence(ng, kg, nr, kr)
            drawn, strength = decisions, (judged.e_value or 0.0) / monitor.limit
            alarm = judged.status.value == "alarm"
            ratio = (kg / ng) / (kr / nr)
            found.append(Point(decisions, data["version"], ratio, lower or 0.0, upper or 3.0, strength, alarm))
    return found


def draw(points: Sequence[Point], moments: Moments, true: float, path: Path) -> None:
    """Write it as SVG; `true`: the ratio of version 2.2.0 as it really is."""
    with mpl.rc_context({"svg.hashsalt": "demo", "font.size": 9, "font.family": "DejaVu Sans", "text.color": INK}):
        figure = Figure(figsize=(8.4, 4.6), layout="constrained", facecolor="white")
        FigureCanvasSVG(figure)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _ratio(upper, points, true, moments.live)
        _strength(lower, points)
        for axes in (upper, lower):
            _lines(axes, moments)
        _words(upper, moments)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _ratio(axes: Axes, points: Sequence[Point], true: float, live: int) -> None:
    for version, colour in ((VERSION, QUIET), (TUNED, BAD)):
        own = [one for one in points if one.version == version]
        x = [one.decisions for one in own]
        axes.fill_between(x, [one.lower for one in own], [one.upper for one in own], color=colour, alpha=0.18, lw=0)
        axes.plot(x, [one.ratio for one in own], color=colour, lw=1.8)
    last = points[-1].decisions
    axes.hlines(true, live, last, color=BAD, lw=1, ls=(0, (1, 2)))
    axes.text(last, true - 0.03, f"true {true:.2f}", color=BAD, ha="right", va="top")
    axes.axhline(0.8, color=INK, lw=0.9, ls=(0, (4, 3)))
    axes.text(last, 0.815, "four fifths", color=INK, ha="right", va="bottom")
    axes.text(points[0].decisions, 0.04, "bands: 95 %, at every moment at once", color=INK)
    axes.set_ylim(0, 1.45)
    axes.set_ylabel("approval ratio,\nclients under 26")


def _strength(axes: Axes, points: Sequence[Point]) -> None:
    x = [one.decisions for one in points]
    axes.plot(x, [min(max(one.strength, WEAKEST), STRONGEST) for one in points], color=INK, lw=1.4)
    axes.axhline(1.0, color=BAD, lw=0.9, ls=(0, (4, 3)))
    axes.text(x[0], 1.6, "alarm: by chance once in a year", color=BAD, va="bottom")
    axes.set_yscale("log")
    axes.set_ylim(WEAKEST, STRONGEST)
    axes.set_yticks([1e-6, 1e-3, 1.0, 1e3], ["1/1,000,000", "1/1,000", "1", "1,000"])
    axes.minorticks_off()
    axes.set_ylabel("strength of the\nalarm (years)")
    axes.set_xlabel("decisions of credit-limit")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _lines(axes: Axes, moments: Moments) -> None:
    axes.grid(axis="y", color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    axes.axvline(moments.live, color=INK, lw=0.9)
    if moments.alarm is not None:
        axes.axvline(moments.alarm, color=BAD, lw=1.2)
    if moments.held is not None:
        axes.axvline(moments.held, color=HELD, lw=1.2, ls=(0, (2, 2)))


def _words(axes: Axes, moments: Moments) -> None:
    def say(x: float, y: float, text: str, colour: str, side: Literal["left", "right"] = "left") -> None:
        plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        gap = 70 if side == "left" else -70
        axes.text(x + gap, y, text, color=colour, ha=side, va="top", weight="bold", bbox=plate)

    live = moments.live
    say(live, 1.44, f"version {VERSION}", QUIET, "right")
    say(live, 1.44, f"{TUNED} goes live", BAD)
    if moments.alarm is not None:
        say(moments.alarm, 1.44, f"alarm, {moments.alarm - live:,} decisions later", BAD)
    if moments.held is not None:
        say(moments.held, 1.31, "from here on its declines are held", HELD)
