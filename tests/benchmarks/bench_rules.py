"""CPU microseconds a decision for `RuleSet.judge`: `python -m tests.benchmarks.bench_rules`.

1, 20 and 100 rules of two comparisons each, about one decision in 200 matching each rule; batches of 5,000, 1,000 and
100; one thread. The median of the rounds; a round is long enough for the CPU clock. Then 20 rules and one that waits for
a signal (`for: 5m`), under an alarm that came, went and stands again. Last, 20 rules and one that asks how unusual a
decision's 20 features are (`anomaly.p_value`), and what it costs to say so, or why, of a single one in a reason.
"""

import json
import os
import statistics
import time

os.environ["POLARS_MAX_THREADS"] = "1"

import numpy as np
import polars as pl

from agents.configuration import Configuration
from agents.policy.standing import Standing
from agents.records import Plain

ROUNDS, FEATURES = 9, 20
LIMITS = {(20, 5_000): 0.2, (100, 5_000): 1.0}
UNUSUAL_LIMIT = 15.0
"""µs a decision that must hold."""


def standing(rules: int) -> Standing:
    """A configuration with that many rules over the model's features and score."""
    listed = [
        {"id": f"r{n}", "when": f"features.f{n % FEATURES} > {1000 + n} AND output.score < 0.9", "effect": "hold"}
        for n in range(rules)
    ]
    model = {"features": {f"f{n}": "numeric" for n in range(FEATURES)}, "mode": "gate"}
    return Standing.of(
        Configuration.model_validate({"models": {"m": model}, "policies": [{"policy": "p", "rules": listed}]})
    )


def waiting(rules: int) -> Standing:
    """The same and a rule that looks back at a signal, of which four records are there."""
    document = standing(rules).configuration.document()
    when = "signals.gap.status = 'alarm' AND output.score < 0.5"
    document["policies"][0]["rules"].append({"id": "waits", "when": when, "effect": "hold", "for": "5m"})
    made = Standing.of(Configuration.model_validate({**document, "monitors": {"gap": {}}}))
    records = [_signal(n, status) for n, status in enumerate(("ok", "alarm", "warn", "alarm"))]
    return made.fold("signals", records)[0]


def _signal(number: int, status: str) -> Plain:
    at = -600_000 + 120_000 * number
    data = {"model": "m", "version": "1", "monitor": "gap", "status": status, "clock_ms": at}
    event = {"specversion": "1.0", "id": f"{number}", "source": "/m", "type": "governance.signal.v1", "data": data}
    return Plain("gim.signals", 0, number, 0, b'["m","1","gap",null,null]', json.dumps(event).encode())


def unusual(rules: int) -> Standing:
    """The same and a rule that reads an anomaly's p-value, from a profile of 20,000 decisions."""
    from agents.monitor.conformal import Anomalies, fitted

    document = standing(rules).configuration.document()
    digest = "sha256:" + "0" * 64
    document["models"]["m"]["profile"] = digest
    document["policies"][0]["rules"].append({"id": "odd", "when": "anomaly.p_value <= 0.001", "effect": "hold"})
    made = Configuration.model_validate(document)
    section, _ = fitted(frame(20_000), made.models["m"])
    assert section is not None
    return Standing.of(made, {digest: Anomalies(section)})


def told(made: Standing, column: str) -> float:
    """µs of CPU to work out a column of one decision for its reason."""
    row = {"model.name": "m", **frame(1).row(0, named=True)}
    start = time.process_time()
    for _ in range(500):
        made.rules.around("m", row, 0, made, [column])
    return (time.process_time() - start) / 500 * 1e6


def frame(height: int) -> pl.DataFrame:
    """Decisions as the reader hands them over."""
    made = np.random.default_rng(0)
    columns: dict[str, object] = {f"features.f{n}": made.normal(0, 400, height) for n in range(FEATURES)}
    columns |= {"output.score": made.random(height), "caller": ["svc"] * height, "model.version": ["1"] * height}
    return pl.DataFrame(columns)


def cost(made: Standing, height: int) -> float:
    """µs of CPU a decision."""
    decisions, times = frame(height), np.zeros(height, dtype=np.int64)
    repeats = max(1, 50_000 // height)
    found = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        for _ in range(repeats):
            made.rules.judge("m", decisions, times, made)
        found.append((time.process_time() - start) / repeats / height * 1e6)
    return statistics.median(found[1:])


def main() -> None:
    """Print the table; exit status 1 where a limit is passed."""
    print("rules   batch   µs a decision")
    bad = False
    for rules in (1, 20, 100):
        for height in (5_000, 1_000, 100):
            took = cost(standing(rules), height)
            limit = LIMITS.get((rules, height))
            bad |= limit is not None and took > limit
            print(f"{rules:5} {height:7} {took:10.3f}" + (f"   (at most {limit})" if limit else ""))
    for height in (5_000, 1_000, 100):
        print(f"20 + 1 waiting {height:7} {cost(waiting(20), height):10.3f}")
    asking = unusual(20)
    for height in (5_000, 300):
        took = cost(asking, height)
        bad |= took > UNUSUAL_LIMIT
        print(f"20 + 1 unusual {height:7} {took:10.3f}   (at most {UNUSUAL_LIMIT})")
    for column in ("anomaly.p_value", "anomaly.because"):
        print(f"{column} in a reason {told(asking, column):10.3f}")
    if bad:
        raise SystemExit("too slow")


if __name__ == "__main__":
    main()
