"""Pictures of a watched file: how unequal and how sure, what drifted, how much came and what became of it. PNG, no display.

Colours are Okabe and Ito's, which colour-blind people can tell apart; lines also differ in their dashes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.dates
from matplotlib.figure import Figure

from agents.events import SignalData, SignalStatus
from agents.monitor.compilation import Watched
from orchestration.watch_report import drifting, feature_of
from orchestration.watching import EFFECTS, Findings, Key

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
EFFECT_COLOURS = {"allow": "#009E73", "log": "#56B4E9", "hold": "#E69F00", "block": "#D55E00"}
GREY, INK = "#7A7A7A", "#222222"
MOST_LINES = 4
WEAKEST, STRONGEST = 1e-6, 1e3
"""Where the picture of strength ends."""
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def draw(out: Path, findings: Findings, watched: Mapping[str, Watched]) -> list[Path]:
    """Every picture that there is something for; their files."""
    made = []
    out.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for (model, monitor), courses in _compared(findings).items():
            name = f"ratio-{monitor}.png" if len(watched) == 1 else f"ratio-{model}-{monitor}.png"
            made.append(_save(_ratio(findings, monitor, courses, watched[model]), out / _file_name(name)))
        if drifting(findings.final):
            made.append(_save(_drift(findings), out / "drift.png"))
        if findings.blocks:
            made.append(_save(_volume(findings), out / "volume.png"))
    return made


def _compared(findings: Findings) -> dict[tuple[str, str], dict[Key, list[tuple[int, SignalData]]]]:
    """Courses of group comparisons over the whole traffic, by model and monitor."""
    found: dict[tuple[str, str], dict[Key, list[tuple[int, SignalData]]]] = {}
    for key, course in findings.course.items():
        model, _, monitor, segment, _ = key
        if segment is None and "n_group" in course[-1][1].detail:
            found.setdefault((model, monitor), {})[key] = course
    return found


def _ratio(
    findings: Findings, monitor: str, courses: Mapping[Key, list[tuple[int, SignalData]]], watched: Watched
) -> Figure:
    """Above, the estimate with its interval; below, how strong the evidence is, up to the alarm."""
    figure = Figure(figsize=(10, 7.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    chosen = _chosen(courses)
    courses = {key: _while_seen(courses[key]) for key in courses}
    versions = {key[1] for key in courses}
    metric = courses[chosen[0]][-1][1].metric or "estimate"
    limit = courses[chosen[0]][-1][1].limit or 1.0
    for place, key in enumerate(chosen):
        colour, dash = COLOURS[place], DASHES[place]
        points = [(at, one) for at, one in courses[key] if one.estimate is not None]
        x = _x(findings, [at for at, _ in points])
        name = f"{key[4]}, version {key[1]}" if len(versions) > 1 else str(key[4])
        top.plot(x, [one.estimate for _, one in points], color=colour, linestyle=dash, linewidth=2, label=name)
        lower = [one.lower if one.lower is not None else one.estimate for _, one in points]
        upper = [one.upper if one.upper is not None else one.estimate for _, one in points]
        if key[4] == chosen[0][4]:
            top.fill_between(x, lower, upper, color=colour, alpha=0.16, linewidth=0)
        strong = [min(max((one.e_value or 0.0) / limit, WEAKEST / 10), STRONGEST) for _, one in courses[key]]
        bottom.plot(_x(findings, [at for at, _ in courses[key]]), strong, color=colour, linestyle=dash, linewidth=2)
    _bounds(top, metric, monitor, watched)
    _moments(findings, top, bottom, monitor, {key: COLOURS[place] for place, key in enumerate(chosen)})
    left_out = len(courses) - len(chosen)
    more = f" ({left_out} with weaker evidence left out)" if left_out > 0 else ""
    top.set_title(f"{monitor}: {metric.replace('_', ' ')} with its 95 % interval{more}")
    top.set_ylabel(metric.replace("_", " "))
    top.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    bottom.set_yscale("log")
    bottom.axhline(1.0, color=INK, linewidth=1.2, linestyle="--")
    bottom.annotate(
        "alarm from here on", (0.0, 1.0), xycoords=("axes fraction", "data"), xytext=(4, 4), textcoords="offset points"
    )
    bottom.set_ylim(WEAKEST, STRONGEST * 3)
    bottom.set_title("strength of the evidence, as a part of what an alarm needs")
    bottom.set_ylabel("strength ÷ budget")
    _axis(bottom, findings)
    return figure


def _chosen(courses: Mapping[Key, list[tuple[int, SignalData]]]) -> list[Key]:
    """The group that most speaks against, under each version; then others, as far as there is evidence and room."""
    ordered = sorted(courses, key=lambda key: -_worst(courses[key]))
    first = [key for key in courses if key[4] == ordered[0][4]][-3:]
    limit = courses[ordered[0]][-1][1].limit or 1.0
    others = [key for key in ordered if key not in first and _worst(courses[key]) > limit * 1e-4]
    return (sorted(first, key=lambda key: key[1]) + others)[:MOST_LINES]


def _while_seen(course: list[tuple[int, SignalData]]) -> list[tuple[int, SignalData]]:
    """Without the end in which nothing new came."""
    end = len(course)
    while end > 1 and course[end - 1][1].n == course[end - 2][1].n:
        end -= 1
    return course[:end]


def _worst(course: Sequence[tuple[int, SignalData]]) -> float:
    return max((one.e_value or 0.0 for _, one in course), default=0.0)


def _bounds(axes: Any, metric: str, monitor: str, watched: Watched) -> None:
    """Parity, the level of an alarm, and sensible limits of the picture."""
    options = next(one.setting.options for one in watched.monitors if one.name == monitor)
    ratio = "ratio" in metric
    level = getattr(options, "level", None)
    if level is not None:
        height = level if ratio else -level
        axes.axhline(height, color=INK, linewidth=1.2, linestyle="--")
        axes.annotate(
            f"alarm level {height:g}", (1.0, height), xycoords=("axes fraction", "data"), xytext=(-4, 4), ha="right",
            textcoords="offset points",
        )  # fmt: skip
    axes.axhline(1.0 if ratio else 0.0, color=GREY, linewidth=1)
    low, high = axes.get_ylim()
    axes.set_ylim((0.0, min(max(high, 1.1), 1.6)) if ratio else (max(low, -1.0), min(high, 1.0)))


def _moments(findings: Findings, top: Any, bottom: Any, monitor: str, colours: Mapping[Key, str]) -> None:
    """Upright lines where an alarm came, and where the reference ends."""
    told = False
    for turn in findings.turns:
        one = turn.signal
        key = (one.model, one.version, one.monitor, one.segment, one.group)
        if one.monitor != monitor or one.status is not SignalStatus.ALARM or key not in colours:
            continue
        at = _x(findings, [turn.decision])[0]
        for axes in (top, bottom):
            axes.axvline(at, color=colours[key], linewidth=1.5, linestyle=":")
        if not told:
            top.annotate(
                "alarm", (at, 0.0), xycoords=("data", "axes fraction"), xytext=(5, 6), textcoords="offset points",
                color=colours[key], fontweight="bold",
            )  # fmt: skip
            told = True


def _drift(findings: Findings) -> Figure:
    """A bar a feature, of the version last seen."""
    rows = drifting(findings.final)
    version = rows[-1].version
    rows = sorted((one for one in rows if one.version == version), key=lambda one: one.estimate or 0.0)[-25:]
    figure = Figure(figsize=(9, 1.7 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colours = {SignalStatus.ALARM: COLOURS[1], SignalStatus.WARN: "#E69F00"}
    axes.barh([feature_of(one) for one in rows], [one.estimate or 0.0 for one in rows],
              color=[colours.get(one.status, COLOURS[0]) for one in rows], height=0.7)  # fmt: skip
    axes.grid(axis="y", visible=False)
    for at, word in ((0.1, "moderate"), (0.25, "major")):
        axes.axvline(at, color=INK, linewidth=1, linestyle="--")
        axes.annotate(word, (at, 1.0), xycoords=("data", "axes fraction"), xytext=(3, 3), textcoords="offset points",
                      fontsize=9)  # fmt: skip
    for place, one in enumerate(rows):
        word = f"{one.estimate:.3f}" + ("  alarm" if one.status is SignalStatus.ALARM else "")
        axes.annotate(
            word, (one.estimate or 0.0, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_xlim(0.0, max(0.32, 1.18 * max(one.estimate or 0.0 for one in rows)))
    axes.set_xlabel("population stability index against the reference (recent decisions)")
    axes.set_title(f"What drifted: version {version} at the end", pad=18)
    return figure


def _volume(findings: Findings) -> Figure:
    """Decisions by time, and what would have become of them."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    edges = [0, *(one.decision for one in findings.blocks)]
    shown = [name for name in EFFECTS if findings.effects[name]]
    if findings.timed and findings.blocks[-1].clock_ms > findings.blocks[0].clock_ms:
        hours = [one.clock_ms / 3_600_000 for one in findings.blocks]
        widths = [hours[1] - hours[0], *(b - a for a, b in pairwise(hours))]
        x: list[Any] = [
            datetime.fromtimestamp(3600 * (hour - width), UTC) for hour, width in zip(hours, widths, strict=True)
        ]
        x.append(datetime.fromtimestamp(3600 * hours[-1], UTC))
        scale, word = [max(width / 24, 1e-9) for width in widths], "decisions a day"
    else:
        x, scale, word = (
            list(edges),
            [(b - a) / 100 for a, b in pairwise(edges)],
            "of 100 decisions",
        )
    base = [0.0] * len(findings.blocks)
    for name in shown:
        values = [one.effects.get(name, 0) / part for one, part in zip(findings.blocks, scale, strict=True)]
        upper = [a + b for a, b in zip(base, values, strict=True)]
        axes.stairs(upper, x, baseline=base, fill=True, color=EFFECT_COLOURS[name], label=name, linewidth=0)
        base = upper
    axes.set_ylim(0, 1.25 * max(base))
    axes.set_ylabel(word)
    much = "How many decisions, and what" if word == "decisions a day" else "What"
    axes.set_title(f"{much} the rules would have done")
    axes.legend(loc="upper right", ncols=4)
    _axis(axes, findings)
    return figure


def _x(findings: Findings, decisions: Sequence[int]) -> list[Any]:
    """Where decisions stand on the horizontal axis: in time, or by their number."""
    if not findings.timed:
        return list(decisions)
    times = {one.decision: one.clock_ms for one in findings.blocks}
    return [datetime.fromtimestamp(times[at] / 1000, UTC) for at in decisions]


def _axis(axes: Any, findings: Findings) -> None:
    if not findings.timed:
        axes.set_xlabel("decisions")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        return
    locator = mpl.dates.AutoDateLocator(maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    offsets = ["", "%Y", "%Y", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"]
    form = mpl.dates.ConciseDateFormatter(locator, offset_formats=offsets)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(form)


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _save(figure: Figure, path: Path) -> Path:
    fresh = path.with_name(f".{path.name}.new")
    figure.savefig(fresh, dpi=130, format="png", metadata={"Software": None})
    fresh.replace(path)
    return path
