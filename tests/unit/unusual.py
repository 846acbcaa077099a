"""Decisions of a lender, most of them usual and some on an odd input, with the profile and rules that tell them apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from agents.configuration import Configuration, Model
from agents.monitor.conformal import fitted
from agents.monitor.profiles import Profile

MODEL: dict[str, Any] = {
    "mode": "gate",
    "versions": ["1"],
    "features": {"income": "numeric", "debt": "numeric?", "product": "categorical?"},
    "labels": {"approve": {"favourable": True}, "decline": {}},
}
ODD = {"income": 900.0, "debt": 400.0, "product": "yacht"}
RULE = {
    "id": "unusual",
    "when": "anomaly.p_value <= 0.001",
    "effect": "hold",
    "reason": "one in {anomaly.p_value} has such an input ({anomaly.score})",
}


def inputs(count: int, seed: int, odd: Sequence[int] = ()) -> list[dict[str, object]]:
    """Features of so many decisions; those at the places `odd` are unlike any other."""
    random = np.random.default_rng(seed)
    income, debt = random.lognormal(3.0, 0.5, count).tolist(), random.gamma(2.0, 10.0, count).tolist()
    missing = (random.random(count) < 0.2).tolist()
    product = random.choice(["loan", "card", "overdraft"], count, p=[0.5, 0.3, 0.2]).tolist()
    rows = zip(income, debt, missing, product, strict=True)
    found = [{"income": i, "debt": None if gone else d, "product": p} for i, d, gone, p in rows]
    return [dict(ODD) if place in odd else one for place, one in enumerate(found)]


def framed(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """As the reader hands decisions over to rules."""
    return pl.DataFrame(
        {
            "features.income": pl.Series([one["income"] for one in rows], dtype=pl.Float64),
            "features.debt": pl.Series([one["debt"] for one in rows], dtype=pl.Float64),
            "features.product": pl.Series([one["product"] for one in rows], dtype=pl.String),
            "model.version": ["1"] * len(rows),
            "caller": pl.Series([None] * len(rows), dtype=pl.String),
        }
    )


@lru_cache(maxsize=1)
def profile() -> Profile:
    """Fitted on 6,000 usual decisions; anomaly scores are all it has."""
    section, _ = fitted(framed(inputs(6_000, 1)), Model.model_validate(MODEL))
    assert section is not None
    return Profile.of_bytes(Profile("loans", 6_000, {"anomaly": section}).to_bytes())


EMPTY = Profile("loans", 0, {})
"""A profile without anomaly scores."""


def configuration(*rules: dict[str, Any], digest: str = "", **more: Any) -> Configuration:
    """Rules (RULE, if none is given) for a model with a profile; `more` is of the document."""
    models = {"loans": MODEL | {"profile": digest or profile().digest}}
    policies = [{"policy": "odd", "rules": rules or (RULE,)}]
    return Configuration.model_validate({"models": models, "policies": policies, **more})


def event(number: int, features: dict[str, object], **model: str) -> bytes:
    """One decision as a producer publishes it."""
    known = {name: value for name, value in features.items() if value is not None}
    data = {
        "model": {"name": "loans", "version": "1", **model},
        "features": known,
        "output": {"label": "approve", "score": 0.7},
    }
    about = {"specversion": "1.0", "type": "governance.decision.v1", "id": f"d{number}", "source": "/s"}
    return json.dumps(about | {"time": "2026-03-02T09:00:00Z", "data": data}).encode()
