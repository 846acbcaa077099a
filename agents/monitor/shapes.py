"""The shapes of latency and confidence: are decisions slower, or less sure, than those of the profile at this time of day?

χ²-ball detectors on bins of the profile, a stratum for each hour of the day (UTC) or several, because load has its hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from agents.events import SignalStatus
from agents.monitor.ball import Ball, resting
from agents.monitor.bins import Binning, NumericBins, fit_numeric
from agents.monitor.contract import Bools, Counts, Floats, Ints, Judgement, State, Step, View
from agents.monitor.detectors import NEVER, rounded

COLUMNS = {"latency": "latency_ms", "confidence": "output.confidence"}
PARTS = (24, 12, 8, 4, 1)
"""Into how many parts the day may be cut: as many as have LEAST reference decisions each, by the median of those with any."""
KEY = "shapes|"
BLOCK = 500
"""Decisions in a block: twice the usual, since latency is cheap to watch late and dear to watch often."""
LEAST = 500
"""Decisions before one says `ok`, and the fewest that a profile needs."""
TAIL = {"latency": 0.9, "confidence": 0.1}
"""The reference's quantile beyond which decisions are slow, or unsure."""


class Shapes:
    """The detectors of those columns that the profile has; holds no state of the stream."""

    def __init__(self, section: State, names: Sequence[str], limit: float, share: float) -> None:
        """`section`: what `fitted` gave; `names`: of COLUMNS, what is to be watched."""
        kept = [(row, place) for place, row in enumerate(section["bins"]) if row["name"] in names]
        self.binning = Binning.of_state([row for row, _ in kept])
        self.names, self.limit, self.parts = self.binning.names, limit, len(section["counts"])
        places = np.array([place for _, place in kept], dtype=np.int64)
        counts = Binning.of_state(section["bins"]).padded(section["counts"])[
            :, places, : self.binning.layout.used.shape[1]
        ]
        self.ball = Ball(self.binning.layout, counts, block=BLOCK, rest=resting(limit, share))
        self._tail = [section["tails"][place] for place in places.tolist()]
        with np.errstate(divide="ignore"):  # without a share it never alarms
            self._log_share = rounded(np.log(np.asarray(share / max(len(self.names), 1))))

    @property
    def columns(self) -> frozenset[str]:
        """What it reads."""
        return frozenset(COLUMNS[name] for name in self.names)

    def observe(self, view: View) -> dict[str, Ints]:
        """By part of the day: bins of all columns, flat as Binning has them, (stretches, bins)."""
        codes = _codes(self.binning, {name: view.frame[COLUMNS[name]] for name in self.names})
        part = _part(view.times_ms, self.parts)
        found = {}
        for one in np.unique(part).tolist():
            rows = np.flatnonzero(part == one)
            inside = View(view.frame, view.stretch[rows], view.stretches)
            nothing = np.zeros((view.stretches, self.binning.size), dtype=np.int64)
            found[f"{KEY}{one}"] = sum((inside.tally(row[rows], self.binning.size) for row in codes), nothing)
        return found

    def start(self) -> State:
        """Before the first decision."""
        count = len(self.names)
        return {
            "ball": self.ball.start(),
            "n": 0,
            "alarm": np.zeros(count, dtype=np.bool_),
            "alarm_e": np.full(count, NEVER),
            "recent": np.zeros((self.parts, count, self.ball.bins)),
        }

    def step(self, state: State, counts: Counts, step: Step) -> bool:
        """Take the counts of one stretch into the state, in place; True where a status changed.

        An alarm ends when what came after it, decayed with a half-life of LEAST, lies in the ball again; a rule of thumb.
        """
        enough = state["n"] >= LEAST
        state["n"] += step.n
        changed = bool(enough != (state["n"] >= LEAST))
        flat = np.zeros((self.parts, self.binning.size), dtype=np.int64)
        for key, values in counts.items():
            if key.startswith(KEY):
                flat[int(key.removeprefix(KEY))] = values
        padded = self.binning.padded(flat)
        if state["alarm"].any():
            state["recent"] = rounded(state["recent"] * 2.0 ** (-step.n / LEAST)) + padded
        if not self.ball.step(state["ball"], padded, step.n, step.weight, step.now_ms)[0]:
            return changed
        strength = self._strength(state)
        opened = ~state["alarm"] & (strength >= np.log(self.limit))
        closed = state["alarm"] & self._back(state["recent"]) if state["alarm"].any() else state["alarm"]
        state["alarm_e"] = np.where(opened, strength, state["alarm_e"])
        state["alarm"] = (state["alarm"] | opened) & ~closed
        if closed.any() or state["alarm"].any():
            self.ball.reset(state["ball"], state["alarm"] | closed)
        state["recent"][:, opened | closed] = 0.0
        return changed or bool(opened.any() or closed.any())

    def _back(self, recent: Floats) -> Bools:
        """Whether enough recent decisions, all parts of the day together, differ no more than the ball allows."""
        n = recent.sum(axis=2)
        part = n / np.maximum(n.sum(axis=0), 1e-9)
        pi = (part[:, :, None] * self.ball.pi).sum(axis=0)
        q = recent.sum(axis=0) / np.maximum(n.sum(axis=0), 1e-9)[:, None]
        squares = (q - pi) ** 2 / np.where(pi > 0, pi, 1.0)
        tolerated = (part * np.where(part > 0, self.ball.delta, 0.0) ** 2).sum(axis=0)
        return np.asarray((n.sum(axis=0) >= LEAST) & (squares.sum(axis=1) <= tolerated))

    def _strength(self, state: State) -> Floats:
        return np.asarray(self.ball.log_m(state["ball"])[0] + self._log_share)

    def judge(self, state: State) -> list[Judgement]:
        """What there is to say of each."""
        alarm, ball = state["alarm"], state["ball"]
        strength = np.exp(np.minimum(np.where(alarm, state["alarm_e"], self._strength(state)), 690.0))
        now, since = self.ball.effects(ball), self.ball.effects(ball, since=True)
        on_n, on_ms = self.ball.onset(ball)
        found = []
        for row, name in enumerate(self.names):
            raised = bool(alarm[row])
            effects = since if raised else now
            quiet = SignalStatus.OK if state["n"] >= LEAST else SignalStatus.INSUFFICIENT
            seen = float(effects.n[0, row]) > 0
            found.append(
                Judgement(
                    status=SignalStatus.ALARM if raised else quiet,
                    group=name,
                    metric="psi",
                    estimate=float(effects.psi[0, row]) if seen else None,
                    n=int(effects.n[0, row]),
                    e_value=float(strength[row]),
                    guarantee="rule of thumb",
                    reference="the profile",
                    onset_ms=int(on_ms[0, row]) if raised else None,
                    onset_n=int(on_n[0, row]) if raised else None,
                    detail={"js": float(effects.js[0, row]), **self._beyond(state, row, raised)},
                )
            )
        return found

    def _beyond(self, state: State, row: int, raised: bool) -> Mapping[str, float]:
        """The share of decisions in the reference's worst bins, in the reference and now."""
        counts = state["ball"]["since"][0] if raised else self.ball.profile(state["ball"])[0]
        here = counts[:, row].sum(axis=0)
        reference = (self.ball.pi[:, row] * self.ball.n_ref[:, row, None]).sum(axis=0)
        edges = len(_edges(self.binning, row))
        start, stop = (self._tail[row], edges + 1) if self.names[row] == "latency" else (0, self._tail[row])
        pairs = (("tail", here), ("tail_usually", reference))
        return {key: float(one[start:stop].sum() / max(float(one.sum()), 1e-9)) for key, one in pairs}


def _edges(binning: Binning, row: int) -> Floats:
    bins = binning.bins[row]
    assert isinstance(bins, NumericBins)
    return bins.edges


def _codes(binning: Binning, columns: Mapping[str, pl.Series]) -> list[Ints]:
    """Places in flat counts, a column each."""
    bins = zip(binning.names, binning.bins, binning.starts, strict=True)
    return [one.codes(columns[name]) + start for name, one, start in bins]


def _part(times_ms: Ints, parts: int) -> Ints:
    return np.asarray(times_ms // (86_400_000 // parts) % parts)


def fitted(view: View) -> tuple[State | None, list[str]]:
    """A profile's section for the columns that the reference has, and remarks."""
    columns: dict[str, pl.Series] = {}
    for name, column in COLUMNS.items():
        if column in view.frame.columns and view.frame[column].count() >= LEAST:
            columns[name] = view.frame[column]
    if not columns:
        return None, []
    binning = Binning(tuple(columns), tuple(fit_numeric(values) for values in columns.values()))
    hours = _part(view.times_ms, PARTS[0])
    counted = {parts: np.bincount(hours * parts // PARTS[0]) for parts in PARTS}
    parts = next(one for one in PARTS if one == 1 or np.median(counted[one][counted[one] > 0]) >= LEAST)
    flat = np.zeros((parts, binning.size), dtype=np.int64)
    for row in _codes(binning, columns):
        np.add.at(flat, (_part(view.times_ms, parts), row), 1)
    tails = []
    for name, place in zip(binning.names, range(len(binning.names)), strict=True):
        share = np.cumsum(binning.padded(flat)[:, place].sum(axis=0)) / view.height
        tails.append(int(np.searchsorted(share, TAIL[name] - 1e-9)) + 1)
    empty = sum(24 // parts for counts in flat if not counts.any())
    told = f"no reference decisions in {empty} hours of the day (UTC): latency and confidence are not watched then"
    section = {"bins": binning.to_state(), "counts": flat, "tails": tails}
    return section, [told] if empty else []
