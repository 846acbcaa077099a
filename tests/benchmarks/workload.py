"""The benchmark's decisions: 832 bytes, 20 features, as docs/performance.md says; and configurations of 1, 20, 100 rules."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from agents.configuration import Configuration

FEATURES = [f"feature_{number:02d}" for number in range(20)]
BYTES = 832


def decisions(count: int, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of `count` decisions, each of exactly BYTES bytes."""
    chance = random.Random(seed)
    for number in range(count):
        subject = f"client-{chance.randrange(50_000)}"
        event = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": f"{seed:04x}-{number:012d}",
            "source": "/credit/eu-1",
            "time": f"2026-03-02T{chance.randrange(24):02d}:{chance.randrange(60):02d}:{chance.randrange(60):02d}.120Z",
            "subject": subject,
            "data": {
                "model": {"name": "credit-limit", "version": "2.1.0"},
                "caller": "svc-portal",
                "purpose": "loan",
                "features": {name: round(chance.uniform(0, 1000), 1) for name in FEATURES},
                "output": {
                    "label": chance.choice(["approve", "decline"]),
                    "score": round(chance.random(), 4),
                    "confidence": round(chance.random(), 4),
                },
                "latency_ms": 12.5,
            },
        }
        value = json.dumps(event, separators=(",", ":"))
        padding = BYTES - len(value) - len(',"note":""')
        value = f'{value[:-2]},"note":"{"x" * padding}"}}}}'
        assert len(value) == BYTES, len(value)
        yield subject.encode(), value.encode()


def configuration(rules: int) -> Configuration:
    """A model in gate mode with so many rules; about one decision in a hundred matches one."""
    found = []
    for number in range(rules):
        feature, other = FEATURES[number % 20], FEATURES[(number * 7 + 3) % 20]
        when = [
            f"features.{feature} > 999.9 AND output.score > 0.5",
            f"features.{feature} + features.{other} > 1999.5",
            f"output.confidence < 0.0005 AND features.{feature} < 500",
            f"caller = 'svc-nobody-{number}' OR features.{feature} > 999.95",
            f"features.{feature} BETWEEN 500.0 AND 500.05 AND purpose = 'loan'",
        ][number % 5]
        effect = ("log", "hold", "block")[number % 3]
        found.append({"id": f"rule-{number:03d}", "when": when, "effect": effect, "reason": "score {output.score}"})
    return Configuration.model_validate(
        {
            "models": {
                "credit-limit": {
                    "domain": "credit",
                    "mode": "gate",
                    "clock": "event",
                    "versions": ["2.1.0"],
                    "features": dict.fromkeys(FEATURES, "numeric"),
                    "labels": {"approve": {"favourable": True}, "decline": {}},
                    "callers": ["svc-portal"],
                }
            },
            "policies": [{"policy": "bench", "match": {"model": "credit-limit"}, "rules": found}],
        }
    )
