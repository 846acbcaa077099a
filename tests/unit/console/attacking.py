"""What attacks on the console are made of: the table that they are entered in, and how one tells what it gained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx

from tests.unit.console.served import Served

Attack = Callable[[Served], Awaitable[str | None]]
"""Tries it against a whole console; returns what it gained, as a sentence, or None."""
ATTACKS: dict[str, Attack] = {}
REFUSED = (400, 401, 403, 404, 409, 413, 415)


def attack(function: Attack) -> Attack:
    """Enter it in the table under its name, in words."""
    ATTACKS[function.__name__.replace("_", " ")] = function
    return function


async def gained(served: Served, response: httpx.Response, allowed: tuple[int, ...] = REFUSED) -> str | None:
    """What an attempt to answer gained: that something was sent, or a status that says so."""
    if served.lane.sent:
        return f"a review was sent: {served.lane.sent}"
    return None if response.status_code in allowed else f"it answered {response.status_code}"
