"""A stream of decisions with everything in it: good ones, doubles, conflicts, broken bytes and undeclared models."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

Sent = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


def decisions(seed: int) -> Iterator[Sent]:
    """Endless (key, value, headers); the same seed gives the same stream."""
    chance = random.Random(seed)
    recent: list[Sent] = []
    number = 0
    while True:
        kind = chance.random()
        if recent and kind < 0.03:
            yield chance.choice(recent)
            continue
        number += 1
        key, value, headers = decision(chance, f"{seed}-{number}")
        if kind < 0.04:
            yield key, value[: chance.randrange(len(value))], headers
            continue
        if kind < 0.05:
            yield key, value.replace(b'"loan"', b'"ghost"'), headers
            continue
        if recent and kind < 0.06:
            other = json.loads(chance.choice(recent)[1] or b"{}")
            other["data"]["features"]["amount"] += 1
            yield key, json.dumps(other).encode(), headers
            continue
        if kind < 0.07:
            headers = [*headers, ("govern-verdict", b"gim.decisions/0/0/gate")]
        else:
            recent = [*recent[-50:], (key, value, headers)]
        yield key, value, headers


def decision(chance: random.Random, name: str) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """One well-formed decision."""
    subject = f"client-{chance.randrange(5000)}"
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": name,
        "source": "/chaos",
        "subject": subject,
        "data": {
            "model": {"name": "loan", "version": "1.0.0"},
            "caller": "portal",
            "features": {"amount": chance.randrange(1000)},
            "output": {
                "label": chance.choice(["approve", "decline"]),
                "score": round(chance.random(), 3),
                "confidence": round(chance.random(), 3),
            },
        },
    }
    headers = [("trace", name.encode())] if chance.random() < 0.3 else []
    return subject.encode(), json.dumps(event).encode(), headers
