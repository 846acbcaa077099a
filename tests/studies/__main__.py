"""Repeats every study with the product's own code and writes docs/statistics.md with pictures: `make study`.

    python -m tests.studies --streams 300            the whole, about half an hour on two cores
    python -m tests.studies --streams 20 --out tmp   a look
    python -m tests.studies --only impact drift      these anew; what the others gave stays as the page has it

Texts that explain stand in tests/studies/statistics.md; what a study prints goes where it is named there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

from tests.studies import behaviour, drift, fair_streams, impact, misuse, naive, prompts

HERE = Path(__file__).parent
DECISIONS = 20_000
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"  # told apart by everybody


def studies(streams: int, budget: int, processes: int) -> Mapping[str, Callable[[], None]]:
    """By the name that statistics.md has in braces; each prints its table."""
    some, few = str(streams), str(min(streams, 40))
    return {
        "impact": lambda: impact.main(["--streams", some]),
        "drift": lambda: drift.main(["--streams", few]),
        "behaviour": lambda: behaviour.main(["--streams", str(min(streams, 20))]),
        "misuse": lambda: _with_argv(misuse.main, ["--streams", some]),
        "prompts": lambda: _with_argv(prompts.main, []),
        "naive": lambda: naive.main(["--streams", some]),
        "budget": lambda: fair_streams.main(["--streams", str(budget), "--processes", str(processes)]),
    }


def _with_argv(main: Callable[[], None], argv: Sequence[str]) -> None:
    before, sys.argv = sys.argv, [sys.argv[0], *argv]
    try:
        main()
    finally:
        sys.argv = before


def strengths(out: Path) -> None:
    """Strength of the alarm over time: fair, at the null's boundary, and a ratio of ½ from decision 10,000 on."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True)
    for place, (name, ratio) in enumerate(
        (("fair", 1.0), ("ratio 0.8: the boundary", 0.8), ("ratio 0.5 from 10,000 on", 0.5))
    ):
        watched = impact.Streams(12, np.random.default_rng(place + 1))
        lines = []
        for step in range(DECISIONS // impact.GRAIN):
            now = ratio if ratio == 0.8 or step * impact.GRAIN >= impact.BEFORE else 1.0
            watched.run(0.2, 0.5, now)
            lines.append(watched.engine.log_m(watched.state)[:, 0, 0] / np.log(10))
        axis, decisions = axes[place], (np.arange(len(lines)) + 1) * impact.GRAIN
        axis.plot(decisions, np.maximum(np.array(lines), 0), color=BLUE, alpha=0.5, linewidth=0.8)
        axis.axhline(6, color=ORANGE, linewidth=1.2)
        axis.set(title=name, xlabel="decisions", ylim=(0, 9))
        axis.text(200, 6.15, "an alarm: 1 in 1,000,000", color=ORANGE, fontsize=8)
    axes[0].set_ylabel("strength, powers of ten")
    _saved(figure, out / "strength.png")


def delays(out: Path, streams: int) -> None:
    """Delays of the ratio monitor beside their bars."""
    found = [impact.delays(case, streams) for case in impact.BARS]
    names = [f"{one.case.share:.0%}, {one.case.rate}, {one.case.ratio:.2f}" for one in found]
    place = np.arange(len(found))
    figure, axis = plt.subplots(figsize=(9, 3.6))
    for shift, title, get, bar, colour in (
        (-0.2, "median", lambda one: one.median, lambda one: one.case.median, BLUE),
        (0.2, "9 in 10", lambda one: one.late, lambda one: one.case.late, ORANGE),
    ):
        axis.bar(place + shift, [get(one) for one in found], 0.38, color=colour, label=title)
        axis.scatter(place + shift, [bar(one) for one in found], marker="_", s=260, color="black", zorder=3)
    axis.set(ylabel="decisions until the alarm", xticks=place)
    axis.set_xticklabels(names, fontsize=8)
    axis.set_xlabel("group's share, reference's rate, ratio (black: what was simulated beforehand)")
    axis.legend(frameon=False)
    _saved(figure, out / "delays.png")


def _saved(figure: plt.Figure, path: Path) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def kept(template: str, page: str) -> Mapping[str, str]:
    """What the page holds at the template's places, by name."""
    names = re.findall(r"^\{(\w+)\}$", template, re.MULTILINE)
    blocks = re.findall(r"^```text\n.*?^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == len(names), "the page has other studies than the template; run them all"
    return dict(zip(names, blocks, strict=True))


def main() -> None:
    """Run all, or those named, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--budget", type=int, default=500, help="streams of the study of all monitors on one budget")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=None, help="studies to run; the page keeps what the others gave")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "docs")
    options = parser.parse_args()
    page = (HERE / "statistics.md").read_text(encoding="utf-8")
    known = {} if options.only is None else kept(page, (options.out / "statistics.md").read_text(encoding="utf-8"))
    listed = studies(options.streams, options.budget, options.processes)
    if unknown := set(options.only or ()) - set(listed):
        parser.error(f"no study is called {', '.join(sorted(unknown))}; there are {', '.join(listed)}")
    for name, run in listed.items():
        if options.only is not None and name not in options.only:
            page = page.replace(f"{{{name}}}", known[name])
            continue
        began, told = time.monotonic(), io.StringIO()
        print(f"{name} …", flush=True)
        with contextlib.redirect_stdout(told):
            run()
        assert f"{{{name}}}" in page, f"statistics.md has no place for {name}"
        page = page.replace(f"{{{name}}}", f"```text\n{told.getvalue().rstrip()}\n```")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    assert not re.search(r"^\{\w+\}$", page, re.MULTILINE), "a place in statistics.md was not filled"
    if options.only is None:
        strengths(options.out / "statistics")
        delays(options.out / "statistics", options.streams)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "statistics.md").write_text(page, encoding="utf-8")
    print(f"wrote {options.out / 'statistics.md'}")


if __name__ == "__main__":
    main()
