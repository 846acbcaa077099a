"""What the commands for reviewers share: a fresh read model, words for times and severities, and text that is safe to print."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from agents.configuration import Configuration
from agents.policy.reasons import clean
from orchestration import deployment
from orchestration.reading.database import Database
from orchestration.reading.fresh import fresh
from orchestration.reading.overview import configuration
from orchestration.settings import Settings

COLOURS = {"critical": "bold red", "error": "red", "warning": "yellow", "info": "dim"}
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LONGEST = 4_000
_T = TypeVar("_T")


def connected() -> Settings:
    """The deployment that the environment names."""
    return deployment.with_kafka(deployment.located(Settings()), lambda line: None)


def opened(settings: Settings) -> Database:
    """The read model with all that the topics hold now; a terminal sees how far it is."""
    err = Console(stderr=True, highlight=False)
    with err.status("reading") as line:
        return asyncio.run(fresh(settings, line.update))


def in_force(database: Database) -> Configuration:
    """The configuration in force, or an empty one."""
    return configuration(database) or Configuration()


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Do it, and say on a terminal that it takes a moment."""
    with Console(stderr=True, highlight=False).status("waiting for the answer to take effect"):
        return asyncio.run(work)


def now_ms() -> int:
    """The clock of this machine: for words such as `in 42 min` only."""
    return round(time.time() * 1000)


def screen() -> Console:
    """Standard output; lines are as wide as the terminal, or 100 characters where there is none."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if known else 100)


def tell(document: object) -> None:
    """One JSON object on a line."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def safe(text: str | None, longest: int = LONGEST, style: str = "") -> Text:
    """Text that others wrote: one line, without control characters, never read as markup."""
    return Text(clean(text or "", longest), style=style)


def severity_text(severity: str) -> Text:
    """A severity in its colour."""
    return Text(severity, style=COLOURS.get(severity, ""))


def due(due_ms: int | None, now: int) -> Text:
    """`in 42 min`, `overdue by 3 h`, or nothing.

    >>> due(3_600_000, 1_080_000).plain, due(0, 3 * 3_600_000).plain, due(None, 0).plain
    ('in 42 min', 'overdue by 3 h', '')
    """
    if due_ms is None:
        return Text("")
    left = due_ms - now
    if left < 0:
        return Text(f"overdue by {lasting(-left)}", style="bold red")
    return Text(f"in {lasting(left)}", style="yellow" if left < HOUR else "")


def ago(time_ms: int | None, now: int) -> str:
    """`3 h ago`; a moment that this clock calls the future is now.

    >>> ago(0, 120_000), ago(None, 5), ago(9, 5)
    ('2 min ago', 'never', '0 s ago')
    """
    return "never" if time_ms is None else f"{lasting(max(0, now - time_ms))} ago"


def lasting(ms: float) -> str:
    """How long, in the largest unit that fits; the next one where the first is small.

    >>> lasting(42 * 60_000), lasting(90 * 60_000), lasting(3 * 86_400_000), lasting(999)
    ('42 min', '1 h 30 min', '3 d', '0 s')
    """
    for size, unit, smaller, less in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1000, "s")):
        if ms >= size:
            whole, rest = int(ms // size), int(ms % size // smaller)
            return f"{whole} {unit} {rest} {less}" if whole < 3 and rest else f"{whole} {unit}"
    return f"{int(ms // 1000)} s"


def several(count: int, one: str) -> str:
    """A number with its noun.

    >>> several(1, "decision"), several(1200, "decision")
    ('1 decision', '1,200 decisions')
    """
    return f"{count:,} {one if count == 1 else one + 's'}"
