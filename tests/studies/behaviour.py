"""Behaviour of a new version and single anomalies: delays and false alarms, with the product's own monitors.

python -m tests.studies.behaviour --streams 100

A reference version's score depends on six of twenty correlated features, with two interactions. New versions differ in what
they make of the same inputs (concept shift); under covariate shift only the inputs change. Batches of 125 decisions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agents.configuration import Feature, Model
from agents.monitor.anomaly import UNUSUAL, Anomaly, AnomalyOptions
from agents.monitor.behaviour import Behaviour, BehaviourOptions
from agents.monitor.contract import Budget, Monitor, Setting, Step, View, of_stretch

FEATURES = 20
BATCH = 125
BEFORE = 5_000
AFTER = 5_000
REFERENCE = 10_000
LIMIT = 1e6
NAMES = [f"x{place}" for place in range(FEATURES)]
MODEL = Model.model_validate(
    {
        "features": dict.fromkeys(NAMES, "numeric"),
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "arl": LIMIT,
    }
)
BETA = np.array([1.2, -0.9, 0.7, 0.5, 0.0, 0.0])
Version = Callable[[np.ndarray], np.ndarray]
"""From inputs to log odds."""


def reference(x: np.ndarray) -> np.ndarray:
    """The version that the profile knows."""
    return x[:, :6] @ BETA + 0.6 * x[:, 0] * x[:, 4] - 0.5 * np.abs(x[:, 5])


VERSIONS: Mapping[str, Version] = {
    "a feature's effect reversed": lambda x: reference(x) + 1.8 * x[:, 1],
    "a feature ignored, another used": lambda x: reference(x) + 0.9 * x[:, 1] - 0.9 * x[:, 7],
    "an interaction reversed": lambda x: reference(x) - 1.2 * x[:, 0] * x[:, 4],
    "odd in a region (16 % of inputs)": lambda x: reference(x) - 2.5 * (x[:, 2] > 1.0),
    "every score lower by half a logit": lambda x: reference(x) - 0.5,
}
SHIFTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda x: x,
    "two means + 0.5 sd": lambda x: x + 0.5 * np.isin(np.arange(FEATURES), [0, 2]),
    "a mean + 1 sd": lambda x: x + 1.0 * (np.arange(FEATURES) == 1),
    "towards the cut": lambda x: x * np.where(np.arange(FEATURES) < 6, 0.5, 1.0),
    "every spread × 1.3": lambda x: x * 1.3,
    "others correlated": lambda x: x + 0.5 * x[:, [1]] * (np.arange(FEATURES) % 3 == 0),
}


SHADOWED = MODEL.model_copy(update={"features": {**MODEL.features, "old": Feature(type="numeric", missing=True)}})
PAIRED: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "the same version": lambda old, x: old,
    "scores rounded to two places, and so other answers next to the cut": lambda old, x: np.round(old, 2),
    "every score lower by 0.03": lambda old, x: old - 0.03,
    "opposite scores for one input in ten": lambda old, x: np.where(x[:, 3] > 1.28, 1.0 - old, old),
}
"""What the new version makes of the old one's score and the inputs."""


def inputs(count: int, random: np.random.Generator) -> np.ndarray:
    """Twenty features with a common factor, unit variance."""
    return np.sqrt(0.8) * random.normal(size=(count, FEATURES)) + np.sqrt(0.2) * random.normal(size=(count, 1))


def decided(
    x: np.ndarray, version: Version, noise: float, random: np.random.Generator, scored: bool = True
) -> pl.DataFrame:
    """The decisions of a version; `noise`: how much of the log odds the features do not tell, as a standard deviation."""
    score = 1.0 / (1.0 + np.exp(-(version(x) + noise * random.normal(size=len(x)))))
    columns = {f"features.{name}": x[:, place] for place, name in enumerate(NAMES)}
    columns |= {"output.label": np.where(score >= 0.5, "approve", "decline")}
    return pl.DataFrame(columns | ({"output.score": score} if scored else {}))


def view(frame: pl.DataFrame, batch: int = BATCH) -> View:
    """As they come, so many at a time."""
    stretch = np.arange(frame.height) // batch
    return View(frame, stretch, int(stretch[-1]) + 1, {}, np.arange(frame.height) * 1_000)


def alarm(monitor: Monitor, seen: View, batch: int = BATCH) -> tuple[int | None, str]:
    """After how many decisions it alarms, and what it says."""
    state, counts = monitor.start(), monitor.observe(seen)
    for place in range(seen.stretches):
        if monitor.step(state, of_stretch(counts, place), Step(batch, float(batch), place * batch, place)):
            raised = [one for one in monitor.judge(state) if one.status.value == "alarm"]
            if raised:
                return (place + 1) * batch, monitor.sentence(raised[0])
    return None, ""


def behaviour(seed: int, noise: float, scored: bool = True, rows: int = REFERENCE, **options: float) -> Behaviour:
    """The monitor with a profile of its own."""
    random = np.random.default_rng(seed)
    frame = decided(inputs(rows, random), reference, noise, random, scored)
    section, _ = Behaviour.fit(view(frame, rows), MODEL)
    return Behaviour(Setting("b", "m", MODEL, BehaviourOptions(**options), Budget(LIMIT), 1.0, section))  # type: ignore[arg-type]


@dataclass
class Row:
    """What many streams gave."""

    delays: list[float]
    early: int
    said: str

    def count(self, at: int | None, said: str) -> None:
        """One stream more, and after how many of its decisions there was an alarm."""
        if at is not None and at <= BEFORE:
            self.early += 1
            return
        self.delays.append(np.inf if at is None else at - BEFORE)
        self.said = said or self.said

    def __str__(self) -> str:
        found = [one for one in self.delays if np.isfinite(one)]
        middle, late = np.quantile(found, [0.5, 0.9], method="higher") if found else (np.inf, np.inf)
        told = f"median {middle:,.0f} / 90 % {late:,.0f}; caught {len(found)} of {len(self.delays)}, early {self.early}"
        return f"{told}\n      {self.said}" if self.said else told


def concept(version: str, streams: int, noise: float, scored: bool = True, seed: int = 1, **options: float) -> Row:
    """Undrifted decisions first, then the new version's."""
    row = Row([], 0, "")
    for stream in range(streams):
        if stream % 10 == 0:
            monitor = behaviour(seed + 1_000 + stream, noise, scored, **options)
        random = np.random.default_rng([seed, stream])
        x = inputs(BEFORE + AFTER, random)
        frame = pl.concat(
            [
                decided(x[:BEFORE], reference, noise, random, scored),
                decided(x[BEFORE:], VERSIONS[version], noise, random, scored),
            ]
        )
        row.count(*alarm(monitor, view(frame)))
    return row


def covariate(
    shift: str,
    streams: int,
    noise: float,
    scored: bool = True,
    decisions: int = 20_000,
    seed: int = 2,
    **options: float,
) -> int:
    """How many streams alarm though the version is the same and only its inputs change from the start."""
    found = 0
    for stream in range(streams):
        if stream % 10 == 0:
            monitor = behaviour(seed + 2_000 + stream, noise, scored, **options)
        random = np.random.default_rng([seed, stream])
        frame = decided(SHIFTS[shift](inputs(decisions, random)), reference, noise, random, scored)
        at, said = alarm(monitor, view(frame))
        found += at is not None
        if at is not None:
            print(f"      alarm after {at:,}: {said}")
    return found


def shadowed(change: str, streams: int, seed: int = 6) -> Row:
    """The old version runs on beside the new one, whose decisions carry its score; inputs shift at the same time."""
    row = Row([], 0, "")
    for stream in range(streams):
        random = np.random.default_rng([seed, stream])
        if stream % 10 == 0:
            section, _ = Behaviour.fit(
                view(decided(inputs(REFERENCE, random), reference, 0.3, random), REFERENCE), MODEL
            )
            options = BehaviourOptions(shadow_score="old")
            monitor = Behaviour(Setting("b", "m", SHADOWED, options, Budget(LIMIT), 1.0, section))
        x = inputs(BEFORE + AFTER, random)
        x[BEFORE:] = SHIFTS["two means + 0.5 sd"](x[BEFORE:])
        frame = decided(x, reference, 0.3, random)
        old = frame["output.score"].to_numpy()
        new = np.where(np.arange(len(x)) < BEFORE, old, PAIRED[change](old, x))
        frame = frame.with_columns(
            pl.Series("features.old", old),
            pl.Series("output.score", new),
            pl.Series("output.label", np.where(new >= 0.5, "approve", "decline")),
        )
        row.count(*alarm(monitor, view(frame)))
    return row


def anomalies(streams: int, odd: float, decisions: int = 20_000, seed: int = 3) -> tuple[Row, float]:
    """The anomaly monitor: a share `odd` of later inputs lies far out in eight features; and how many are flagged before."""
    row, flagged = Row([], 0, ""), []
    for stream in range(streams):
        random = np.random.default_rng([seed, stream])
        if stream % 10 == 0:
            section, _ = Anomaly.fit(view(decided(inputs(REFERENCE, random), reference, 0.3, random)), MODEL)
            monitor = Anomaly(Setting("a", "m", MODEL, AnomalyOptions(), Budget(LIMIT), 1.0, section))
        x = inputs(decisions, random)
        rows = random.random(decisions) < odd
        rows[:BEFORE] = False
        x[rows, :8] = 4.0 * np.sign(x[rows, :8])
        seen = view(decided(x, reference, 0.3, random))
        n, k = monitor.observe(seen)[UNUSUAL][: BEFORE // BATCH].sum(axis=0)
        flagged.append(k / n)
        at, said = alarm(monitor, seen)
        if at is not None and at <= BEFORE:
            row.early += 1
            continue
        row.delays.append(np.inf if at is None else at - BEFORE)
        row.said = said or row.said
    return row, float(np.mean(flagged))


def cost(monitor: Monitor, seen: View) -> tuple[float, float]:
    """Processor microseconds a decision of observe and of step, the least of five runs."""
    counts = monitor.observe(seen)
    watching, taking = [], []
    for _ in range(5):
        start = time.process_time()
        monitor.observe(seen)
        middle = time.process_time()
        state = monitor.start()
        for place in range(seen.stretches):
            monitor.step(state, of_stretch(counts, place), Step(250, 250.0, place, place))
        taking.append(time.process_time() - middle)
        watching.append(middle - start)
    return min(watching) / seen.height * 1e6, min(taking) / seen.height * 1e6


def costs() -> None:
    """Print what both monitors cost in a batch of 5,000 decisions with 20 features."""
    random = np.random.default_rng(4)
    frame = decided(inputs(REFERENCE, random), reference, 0.3, random)
    section, _ = Anomaly.fit(view(frame), MODEL)
    seen = view(decided(inputs(5_000, random), reference, 0.3, random), 250)
    for one in (behaviour(5, 0.3), Anomaly(Setting("a", "m", MODEL, AnomalyOptions(), Budget(LIMIT), 1.0, section))):
        observe, step = cost(one, seen)
        print(f"   {one.kind}: observe {observe:.2f} + assess {step:.2f} µs a decision")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    options = parser.parse_args(argv)
    print("-- cost, one thread (bar 15 µs together)")
    costs()
    for odd in (0.0, 0.01, 0.03):
        row, share = anomalies(options.streams, odd)
        print(
            f"-- single anomalies, {odd:.0%} of the inputs at 4 sd in eight features: {row}\n   flagged before: {share:.3%}",
            flush=True,
        )
    for noise, scored, told in (
        (0.0, True, "score told by the features"),
        (0.3, True, "score with noise"),
        (0.3, False, "answers only"),
    ):
        print(f"-- {told}: concept shift, decisions until the alarm (bar 250-375)")
        for version in VERSIONS:
            print(f"   {version}: {concept(version, options.streams, noise, scored)}", flush=True)
        print(f"-- {told}: covariate shift alone, 20,000 decisions (bar 0)")
        for shift in SHIFTS:
            alarms = covariate(shift, options.streams, noise, scored)
            print(f"   {shift}: {alarms} of {options.streams} alarm", flush=True)
    print("-- with the old version's own scores (shadow_score), inputs shifted: decisions until the alarm")
    for change in PAIRED:
        print(f"   {change}: {shadowed(change, options.streams)}", flush=True)


if __name__ == "__main__":
    main()
