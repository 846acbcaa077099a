"""The demo's calls: two business weeks of a card issuer in Taipei, compressed.

In the first week version 2.1.0 decides, and what is out of the ordinary is what happens to real systems every day: somebody
calls in the evening who may not, a notebook calls, a release candidate answers, a client retries and sends its record twice,
an id is used again for something else, a producer breaks its records, a model goes live that nobody declared.

On Monday of the second week version 2.2.0 goes live. From Tuesday on a form sends amounts in cents, and a partner calls
every night; from Wednesday on people try to take over the text model; from Friday on a feed delivers payments in thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from orchestration.demo import assistant
from orchestration.demo.model import NAME, TUNED, VERSION
from orchestration.demo.population import SEED

Kind = Literal["decision", "duplicate", "conflict", "malformed", "undeclared"]
Upstream = Literal["", "cents", "thousands"]
Wrong = Literal["", "after hours", "injected prompt", "personal data"]

MONDAY = datetime(2026, 3, 2, tzinfo=UTC) - timedelta(hours=8)  # its midnight in Taipei
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
FIRST, SECOND = (0, 1, 2, 3, 4, 5), (7, 8, 9, 10, 11, 12)
"""Days of the two weeks, without their Sundays."""
SHORT = {5, 12}  # Saturdays close at one
CENTS_FROM, PARTNER_FROM, PROMPTS_FROM, THOUSANDS_FROM = 8, 8, 9, 11
"""Days from which what goes wrong in the second week does."""
PARTNER, PORTAL, BRANCH, NIGHT = "svc-partner", "svc-portal", "svc-branch", "svc-night-batch"
FAULTS = (
    "cut off",
    "text for a number",
    "a label that is not declared",
    "NaN",
    "two documents",
    "not UTF-8",
    "byte order mark",
    "empty",
    "forged header",
)
"""What producers do to records (records.py does it)."""
LEAST = 200
"""So few calls still hold one of each kind."""
FULL = 12_000
"""From so many on every monitor has enough to go by."""


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody asks a model about a client."""

    time_ms: int
    """Business time, ms since 1970 UTC."""
    client: int
    """Which of the clients that the models have not seen."""
    caller: str
    model: str = NAME
    version: str = VERSION
    kind: Kind = "decision"
    """What the record must be found to be."""
    fault: str = ""
    """Of a malformed one: what breaks it (a name in FAULTS)."""
    repeats: int = -1
    """Of a duplicate or conflict: the number of the call that it repeats."""
    upstream: Upstream = ""
    """What a feed did to the inputs, before the model got them."""
    prompt: str = ""
    """Of a call of the text model."""
    wrong: Wrong = ""
    """What somebody does who calls."""


def plan(count: int, clients: int) -> list[Call]:
    """So many calls (at least LEAST) in order of business time; the same for the same arguments.

    Each client is asked about at most once a version, as long as there are enough of them.
    """
    random = np.random.default_rng(SEED)
    chats = max(8, count // 20)
    doubled, conflicts = max(1, count // 200), 1
    rest = count - chats - doubled - conflicts
    first = max(60, round(rest * 0.37))
    calls = _week(random, FIRST, first, VERSION) + _week(random, SECOND, rest - first, TUNED)
    calls.sort(key=lambda call: call.time_ms)
    calls = [replace(call, client=number % clients) for number, call in enumerate(calls)]
    calls += [replace(call, client=int(random.integers(clients))) for call in _chats(random, chats)]
    calls.sort(key=lambda call: call.time_ms)
    return _repeated(random, calls, doubled, conflicts)


def before(count: int) -> list[Call]:
    """So many ordinary calls in two weeks of January: what a profile is fitted on. Client n is the n-th of the reference.

    The night batch is left out: it is exempt from what its calls would be compared for.
    """
    random = np.random.default_rng(SEED + 1)
    days = tuple(day - 49 for day in (*FIRST, *SECOND))
    late = count // 2_000
    calls = _by_day(random, days, count - late, VERSION) + _evenings(random, days, late, PORTAL, VERSION)
    calls.sort(key=lambda call: call.time_ms)
    return [replace(call, client=number) for number, call in enumerate(calls)]


def chats_before(count: int) -> list[Call]:
    """So many ordinary prompts in the same weeks of January."""
    random = np.random.default_rng(SEED + 2)
    times = sorted(_office(random, tuple(day - 49 for day in (*FIRST, *SECOND)), count))
    return [_chat(time, number, assistant.ordinary(random)) for number, time in enumerate(times)]


def _week(random: np.random.Generator, days: Sequence[int], count: int, version: str) -> list[Call]:
    """Calls of the credit model in a week; in the second one, with all that goes wrong in it."""
    odd = _odd(count, version)
    partner = max(4, count // 40) if version == TUNED else 0
    late = 2 if version == VERSION else 3
    calls = _ordinary(random, days, count - len(odd) - partner - late, version)
    if version == TUNED:
        calls = [_fed(random, call) for call in calls]
    calls += _evenings(random, days, late, PORTAL, version)
    calls += _evenings(
        random, [day for day in days if day >= PARTNER_FROM and day not in SHORT], partner, PARTNER, version
    )
    at = _office(random, days, len(odd))
    calls += [replace(Call(time, 0, PORTAL, version=version), **told) for time, told in zip(at, odd, strict=True)]
    return calls


def _ordinary(random: np.random.Generator, days: Sequence[int], count: int, version: str) -> list[Call]:
    """What the model is there for: two desks and a partner by day, a batch by night."""
    night = count // 20
    batch = [Call(time, 0, NIGHT, version=version) for time in _nights(random, days, night)]
    return _by_day(random, days, count - night, version) + batch


def _by_day(random: np.random.Generator, days: Sequence[int], count: int, version: str) -> list[Call]:
    callers = random.choice([PORTAL, BRANCH, PARTNER], size=count, p=[0.65, 0.27, 0.08])
    times = _office(random, days, count)
    return [Call(time, 0, str(caller), version=version) for time, caller in zip(times, callers, strict=True)]


def _fed(random: np.random.Generator, call: Call) -> Call:
    """The call with what feeds do to its inputs that day."""
    day = day_of(call.time_ms)
    if day >= THOUSANDS_FROM:
        return replace(call, upstream="thousands")
    if day >= CENTS_FROM and random.random() < 0.012:
        return replace(call, upstream="cents")
    return call


def day_of(time_ms: int) -> int:
    """Days since the first Monday, in Taipei."""
    return int((time_ms - MONDAY.timestamp() * 1000) // DAY_MS)


def _odd(count: int, version: str) -> list[dict[str, Any]]:
    """What is out of the ordinary among so many calls, as happens every day: too little of it for any alarm."""
    strange = 1 + count // 2_500
    broken = max(len(FAULTS) if version == VERSION else 1, count // 250)
    return [
        *[{"caller": "notebook-17"}] * strange,
        *[{"version": "3.0.0-rc1"}] * (1 if version == VERSION else 2),
        *[{"model": "credit-line-beta", "kind": "undeclared"}] * max(1, count // 600),
        *({"kind": "malformed", "fault": FAULTS[at % len(FAULTS)]} for at in range(broken)),
    ]


def _chats(random: np.random.Generator, count: int) -> list[Call]:
    """Prompts for the text model; from PROMPTS_FROM on, some are injected, and some carry personal data."""
    times = sorted(_office(random, (*FIRST, *SECOND), count))
    calls = []
    for time in times:
        turn = random.random() if day_of(time) >= PROMPTS_FROM else 1.0
        if turn < 0.2:
            calls.append(replace(_chat(time, 0, assistant.injected(random)), wrong="injected prompt"))
        elif turn < 0.35:
            calls.append(replace(_chat(time, 0, assistant.personal(random)), wrong="personal data"))
        else:
            calls.append(_chat(time, 0, assistant.ordinary(random)))
    if not any(call.wrong == "injected prompt" for call in calls):
        calls[-1] = replace(calls[-1], prompt=assistant.injected(random), wrong="injected prompt")
    return calls


def _chat(time: int, client: int, prompt: str) -> Call:
    return Call(time, client, assistant.CALLER, assistant.NAME, assistant.VERSION, prompt=prompt)


def _office(random: np.random.Generator, days: Sequence[int], count: int) -> list[int]:
    """Times within business hours: from eight to eight, on Saturdays from nine to one."""
    weights = np.array([0.3 if day % 7 == 5 else 1.0 for day in days])
    chosen = random.choice(days, size=count, p=weights / weights.sum())
    short = chosen % 7 == 5
    opened, span = np.where(short, 9, 8), np.where(short, 4, 12)
    return _at(chosen, opened * HOUR_MS + (random.beta(2, 2, size=count) * span * HOUR_MS).astype(np.int64))


def _nights(random: np.random.Generator, days: Sequence[int], count: int) -> list[int]:
    """Between two and four in the morning."""
    return _at(random.choice(days, size=count), random.integers(2 * HOUR_MS, 4 * HOUR_MS, size=count))


def _evenings(random: np.random.Generator, days: Sequence[int], count: int, caller: str, version: str) -> list[Call]:
    """After ten in the evening, spread over the days."""
    within = random.integers(22 * HOUR_MS, 24 * HOUR_MS, size=count)
    chosen = [days[(at * 5 + 1) % len(days)] for at in range(count)]
    return [Call(time, 0, caller, version=version, wrong="after hours") for time in _at(chosen, within)]


def _at(days: Any, within_ms: Any) -> list[int]:
    start = int(MONDAY.timestamp() * 1000)
    return [start + int(day) * DAY_MS + int(ms) for day, ms in zip(days, within_ms, strict=True)]


def _repeated(random: np.random.Generator, calls: list[Call], doubled: int, conflicts: int) -> list[Call]:
    """Insert repeats of ordinary calls, a few calls after the first; the numbers of calls are their places in the result."""
    ordinary = [number for number, call in enumerate(calls) if call.kind == "decision" and not call.prompt]
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
