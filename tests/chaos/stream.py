"""A stream of decisions with everything in it: good ones, doubles, conflicts, broken bytes and undeclared models.

Beside it what monitors need: whom decisions are about, and what really happened after them; all of it follows from the
decision's bytes. Women are approved less often, so that monitors have something to say.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

Sent = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
SUBJECTS = 5_000
START = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of the first decision; each next one is a second later."""
MATURITY_S = 60
"""After so long a decision's label counts (tests/chaos/config/governance.yaml)."""


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
        key, value, headers = decision(chance, f"{seed}-{number}", number)
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


def decision(chance: random.Random, name: str, number: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """One well-formed decision, `number` seconds after START."""
    subject = chance.randrange(SUBJECTS)
    approved = chance.random() < (0.25 if sex(subject) == "female" else 0.6)
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": name,
        "source": "/chaos",
        "time": _time(number),
        "subject": f"client-{subject}",
        "data": {
            "model": {"name": "loan", "version": "1.0.0"},
            "caller": "portal",
            "features": {"amount": chance.randrange(1000)},
            "output": {
                "label": "approve" if approved else "decline",
                "score": round(chance.random(), 3),
                "confidence": round(chance.random(), 3),
            },
        },
    }
    headers = [("trace", name.encode())] if chance.random() < 0.3 else []
    return f"client-{subject}".encode(), json.dumps(event).encode(), headers


def sex(subject: int) -> str:
    """The group that a subject is of."""
    return "female" if subject % 3 == 0 else "male"


def attributes() -> Iterator[tuple[bytes, bytes]]:
    """What is known of the subjects: nothing of every twentieth."""
    for subject in range(SUBJECTS):
        if subject % 20:
            name = f"client-{subject}"
            yield name.encode(), _event("attributes", f"a{subject}", {"groups": {"sex": sex(subject)}}, subject=name)


def outcomes(value: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """What really happened after a decision, as (key, value): of seven in ten; some are told twice, some revised later."""
    try:
        event = json.loads(value or b"")
        source, name, number = event["source"], event["id"], int(event["id"].partition("-")[2])
    except (ValueError, KeyError):
        return
    if number % 10 < 7:
        key = json.dumps([source, name], separators=(",", ":")).encode()
        told = [("repaid" if number % 4 else "default", 0, 5)] * (2 if number % 20 == 0 else 1)
        if number % 30 == 1:  # after its maturity: counted as revised, and nothing else
            told.append(("default", 1, 10 * MATURITY_S))
        for at, (what, revision, after) in enumerate(told):
            data = {"decision": {"source": source, "id": name}, "outcome": what, "revision": revision}
            yield key, _event("outcome", f"{name}/{at}", data, time=_time(number + after))


def _event(kind: str, name: str, data: dict[str, object], **more: str) -> bytes:
    event = {"specversion": "1.0", "type": f"governance.{kind}.v1", "id": name, "source": "/chaos", "data": data}
    return json.dumps(event | more).encode()


def _time(number: int) -> str:
    return (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
