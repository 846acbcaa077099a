"""What a console is made of, so that tests can plug other parts in; pages find it with `parts_of(request)`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from agents.configuration import Configuration
from orchestration.settings import Settings


def wall_clock_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return int(time.time() * 1000)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a request may use."""

    settings: Settings
    configuration: Callable[[], Configuration | None]
    """The configuration in force now; None: none was ever applied."""
    reading: Any = None
    """The read model's queries (orchestration/reading)."""
    clock: Callable[[], int] = field(default=wall_clock_ms)
    """Now, in ms since 1970 UTC."""


def parts_of(request: Request) -> Parts:
    """The parts of the console that serves this request."""
    parts: Parts = request.app.state.parts
    return parts
