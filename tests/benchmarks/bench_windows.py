"""What Evidently costs on the same decisions, window by window, and what it would have alarmed: `make compare`.

Its data drift preset compares each window of 250, 1,000 or 5,000 decisions with the same 5,000 reference decisions that
`data_drift` knows from its profile: with the tests that it chooses by itself, and with the Kolmogorov-Smirnov test at .05
that many choose. Nothing drifts in this stream: whatever it finds is a false alarm. Evidently gets frames, so that reading
decisions is not in its cost; ours is what observing and assessing take above decoding. CPU of one thread.

It needs packages that are not in requirements.lock (an older pandas among them); `make compare` puts them into an environment
of their own and runs this there.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
os.environ["DO_NOT_TRACK"] = "1"  # Evidently reports its use over the network otherwise

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.monitor.contract import STRETCH, Floats
from tests.benchmarks import bench_monitors, workload

WINDOWS = (250, 1_000, 5_000)
METHODS: dict[str, dict[str, Any]] = {
    "its own choice of test": {},
    "Kolmogorov-Smirnov, p < .05": {"num_method": "ks", "num_threshold": 0.05},
}


@dataclass(frozen=True)
class Found:
    """What one way of testing said over some windows."""

    us: float
    """CPU a decision."""
    features: float
    """Share of the features' comparisons that it calls drifted."""
    windows: float
    """Share of the windows with at least one."""
    datasets: float
    """Share of the windows that it calls drifted as a whole (half of the features, as it comes)."""


def evidently(rows: Floats, size: int, windows: int, options: dict[str, Any]) -> Found:
    """Reports of so many windows of a size after the reference; the first one, which loads what it needs, is left out."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    def dataset(start: int, count: int) -> Any:
        frame = pd.DataFrame(rows[start : start + count], columns=workload.FEATURES)
        return Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=workload.FEATURES))

    reference, spent, drifted = dataset(0, bench_monitors.REFERENCE), 0.0, list[float]()
    for number in range(windows + 1):
        current = dataset(bench_monitors.REFERENCE + number * size, size)
        began = time.process_time()
        document = Report([DataDriftPreset(**options)]).run(current, reference).dict()
        if number:
            spent += time.process_time() - began
            drifted.append(next(one["value"]["share"] for one in document["metrics"] if "Count" in one["metric_name"]))
    shares = np.array(drifted)
    return Found(spent / (windows * size) * 1e6, shares.mean(), (shares > 0).mean(), (shares >= 0.5).mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=12, help="of each size and way of testing")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    import evidently as package

    made = bench_monitors.REFERENCE + (options.windows + 1) * max(WINDOWS)
    rows = np.array(
        [list(json.loads(value)["data"]["features"].values()) for _, value in workload.decisions(made)],
        dtype=np.float64,
    )
    ours = bench_monitors.cost(len(workload.FEATURES), ("data_drift",))
    both, features = ours["observe"] + ours["assess"], len(workload.FEATURES)
    print(
        f"data_drift, {features} features and their pairs, a look every {STRETCH} decisions: {both:.1f} µs a decision, "
        f"{ours['flags']:.0f} warnings and alarms"
    )
    print(
        f"Evidently {package.__version__}, data drift preset, {options.windows} undrifted windows of each size:",
        flush=True,
    )
    for method, more in METHODS.items():
        for size in WINDOWS:
            found = evidently(rows, size, options.windows, more)
            print(
                f"  {method}, windows of {size:,}: {found.us:,.0f} µs a decision, {found.us / both:,.0f} times as much; "
                f"calls {found.features:.1%} of the features drifted, one or more in {found.windows:.0%} of the windows, "
                f"{found.datasets:.0%} of the windows as a whole",
                flush=True,
            )


if __name__ == "__main__":
    main()
