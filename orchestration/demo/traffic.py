"""The demo's calls: two business weeks of a card issuer in Taipei, compressed; most are ordinary, some are not.

What is out of the ordinary is what happens to real systems: somebody calls in the evening who may not, a notebook calls,
a release candidate answers, a client retries and sends its record twice, an id is used again for something else, a
producer breaks its records, a model goes live that nobody declared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from agents.policy.times import iso
from orchestration.demo.model import FEATURES, NAME, SEED, VERSION, Answer

Kind = Literal["decision", "duplicate", "conflict", "malformed", "undeclared"]
Headers = tuple[tuple[str, bytes], ...]

SOURCE = "/credit/tw-1"
MONDAY = datetime(2026, 3, 2, tzinfo=UTC) - timedelta(hours=8)  # its midnight in Taipei
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
DAYS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12)  # two weeks without their Sundays
EVENINGS = (2, 8)
SHORT = {5, 12}  # Saturdays close at one
LEAST = 200
"""So few calls still hold one of each kind."""


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody asks the model about a client."""

    time_ms: int
    """Business time, ms since 1970 UTC."""
    client: int
    """Which of the clients that the model has not seen."""
    caller: str
    model: str = NAME
    version: str = VERSION
    kind: Kind = "decision"
    """What the record must be found to be."""
    fault: str = ""
    """Of a malformed one: what breaks it (a name in FAULTS)."""
    repeats: int = -1
    """Of a duplicate or conflict: the number of the call that it repeats."""


@dataclass(frozen=True, slots=True)
class Message:
    """A record as it is sent, and what it must be found to be."""

    key: bytes
    value: bytes
    headers: Headers
    kind: Kind


def plan(count: int, clients: int) -> list[Call]:
    """So many calls (at least LEAST) in order of business time; the same for the same arguments."""
    random = np.random.default_rng(SEED)
    odd = _odd(count)
    doubled, conflicts = max(1, count // 200), 1
    ordinary = count - len(odd) - doubled - conflicts
    night = count // 20
    times = [*_office(random, ordinary - night), *_nights(random, night)]
    callers = [*_desks(random, ordinary - night), *["svc-night-batch"] * night]
    calls = [Call(time, 0, caller) for time, caller in zip(times, callers, strict=True)]
    at = [*_evenings(random, odd.count("after-hours")), *_office(random, len(odd) - odd.count("after-hours"))]
    odd.sort(key=lambda name: name != "after-hours")
    calls += [replace(Call(time, 0, "svc-portal"), **_ODD[name]) for time, name in zip(at, odd, strict=True)]
    calls.sort(key=lambda call: call.time_ms)
    calls = [replace(call, client=number % clients) for number, call in enumerate(calls)]
    return _repeated(random, calls, doubled, conflicts)


def message(number: int, call: Call, answer: Answer, client: int, features: Sequence[int]) -> Message:
    """The record of a call; `client` is their number in the data."""
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"call-{number:06d}",
        "source": SOURCE,
        "time": iso(call.time_ms),
        "subject": f"client-{client}",
        "data": {
            "model": {"name": call.model, "version": call.version},
            "caller": call.caller,
            "purpose": "credit-limit",
            "features": dict(zip(FEATURES, features, strict=True)),
            "output": {
                "label": answer.label,
                "score": round(answer.score, 6),
                "confidence": round(answer.confidence, 6),
            },
            "feature_attributions": answer.attributions,
            "latency_ms": answer.latency_ms,
        },
    }
    headers: Headers = (("content-type", b"application/cloudevents+json"),)
    value = json.dumps(event, separators=(",", ":")).encode()
    if call.fault:
        value, headers = FAULTS[call.fault](event, value, headers)
    return Message(f"client-{client}".encode(), value, headers, call.kind)


def again(call: Call, first: Message) -> Message:
    """A record that repeats another: the same bytes, or the same id for another answer."""
    if call.kind == "duplicate":
        return replace(first, kind="duplicate")
    event = json.loads(first.value)
    output = event["data"]["output"]
    output["label"] = "decline" if output["label"] == "approve" else "approve"
    output["score"] = round(1 - output["score"], 6)
    return replace(first, value=json.dumps(event, separators=(",", ":")).encode(), kind="conflict")


Broken = tuple[bytes, Headers]


def _text_for_number(event: Any, value: bytes, headers: Headers) -> Broken:
    event["data"]["features"]["limit_bal"] = "a lot"
    return json.dumps(event).encode(), headers


def _unknown_label(event: Any, value: bytes, headers: Headers) -> Broken:
    event["data"]["output"]["label"] = "perhaps"
    return json.dumps(event).encode(), headers


def _not_a_number(event: Any, value: bytes, headers: Headers) -> Broken:
    event["data"]["output"]["score"] = float("nan")
    return json.dumps(event).encode(), headers


FAULTS: dict[str, Callable[[Any, bytes, Headers], Broken]] = {
    "cut off": lambda event, value, headers: (value[: len(value) // 2], headers),
    "text for a number": _text_for_number,
    "a label that is not declared": _unknown_label,
    "NaN": _not_a_number,
    "two documents": lambda event, value, headers: (value + value, headers),
    "not UTF-8": lambda event, value, headers: (value.replace(b"credit-limit", b"cr\xe9dit", 1), headers),
    "byte order mark": lambda event, value, headers: (b"\xef\xbb\xbf" + value, headers),
    "empty": lambda event, value, headers: (b"", headers),
    "forged header": lambda event, value, headers: (value, (*headers, ("govern-verdict", b"allow"))),
}
"""What producers do to records, and nobody may act on."""

_ODD: dict[str, dict[str, Any]] = {
    "after-hours": {"caller": "svc-portal"},
    "notebook": {"caller": "notebook-17"},
    "candidate": {"version": "3.0.0-rc1"},
    "undeclared": {"model": "credit-line-beta", "kind": "undeclared"},
    **{f"broken {name}": {"kind": "malformed", "fault": name} for name in FAULTS},
}


def _odd(count: int) -> list[str]:
    """Names of _ODD, as often as they happen among so many calls."""
    shares = {"after-hours": 150, "notebook": 500, "candidate": 800, "undeclared": 600}
    found = [name for name, one_in in shares.items() for _ in range(max(1, count // one_in))]
    broken = list(FAULTS)
    return found + [f"broken {broken[n % len(broken)]}" for n in range(max(len(broken), count // 250))]


def _office(random: np.random.Generator, count: int) -> list[int]:
    """Times within business hours: from eight to eight, on Saturdays from nine to one."""
    days = random.choice(DAYS, size=count, p=_weights())
    short = np.isin(days, list(SHORT))
    opened, span = np.where(short, 9, 8), np.where(short, 4, 12)
    return _at(days, opened * HOUR_MS + (random.beta(2, 2, size=count) * span * HOUR_MS).astype(np.int64))


def _nights(random: np.random.Generator, count: int) -> list[int]:
    """Between two and four in the morning."""
    return _at(random.choice(DAYS, size=count), random.integers(2 * HOUR_MS, 4 * HOUR_MS, size=count))


def _evenings(random: np.random.Generator, count: int) -> list[int]:
    """After ten, on two evenings."""
    return _at(random.choice(EVENINGS, size=count), random.integers(22 * HOUR_MS, 24 * HOUR_MS, size=count))


def _at(days: Any, within_ms: Any) -> list[int]:
    start = int(MONDAY.timestamp() * 1000)
    return [start + int(day) * DAY_MS + int(ms) for day, ms in zip(days, within_ms, strict=True)]


def _weights() -> list[float]:
    weights = [0.3 if day in SHORT else 1.0 for day in DAYS]
    return [weight / sum(weights) for weight in weights]


def _desks(random: np.random.Generator, count: int) -> list[str]:
    return [str(name) for name in random.choice(["svc-portal", "svc-branch"], size=count, p=[0.7, 0.3])]


def _repeated(random: np.random.Generator, calls: list[Call], doubled: int, conflicts: int) -> list[Call]:
    """Insert repeats of ordinary calls, a few calls after the first; the numbers of calls are their places in the result."""
    ordinary = [number for number, call in enumerate(calls) if call.kind == "decision"]
    chosen = sorted(int(one) for one in random.choice(ordinary, size=doubled + conflicts, replace=False))
    conflict = set(chosen[len(chosen) // 2 : len(chosen) // 2 + conflicts])
    due: dict[int, list[int]] = {}
    for one in chosen:
        after = min(one + int(random.integers(1, 40)), len(calls) - 1)
        due.setdefault(after, []).append(one)
    result: list[Call] = []
    place: dict[int, int] = {}
    for number, call in enumerate(calls):
        place[number] = len(result)
        result.append(call)
        for one in due.get(number, ()):
            kind: Kind = "conflict" if one in conflict else "duplicate"
            result.append(replace(calls[one], time_ms=call.time_ms, kind=kind, repeats=place[one]))
    return result
