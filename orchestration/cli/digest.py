"""`govern digest`: a week of a model on one page, for whoever owns it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from agents.errors import Misconfigured
from agents.policy.reasons import clean
from orchestration.cli import reading
from orchestration.reading.digest import Digest, known_models, weekly

LONGEST = 160
"""Characters of a sentence that others wrote."""


def digest(
    model: Annotated[str | None, typer.Option(help="Only this model; else a page for each.")] = None,
    days: Annotated[int, typer.Option(min=1, max=31, help="How many days it covers.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model, a line each.")] = False,
) -> None:
    """Print a week of each model on one page: quiet or not, gaps, what waits, what changed.

    For a mail once a week: govern digest --model credit-limit | mail -s "credit-limit: the week" model-risk@bank.example
    """
    database = reading.opened(reading.connected())
    try:
        now = reading.now_ms()
        names = known_models(database, now)
        if model is not None and model not in names:
            raise Misconfigured(f"no model is called {model!r}; there are: {', '.join(names) or 'none'}")
        for number, name in enumerate([model] if model is not None else names):
            found = weekly(database, name, now, days)
            if as_json:
                reading.tell({**asdict(found), "quiet": found.quiet})
            else:
                sys.stdout.write("\n" if number else "")
                sys.stdout.writelines(f"{line}\n" for line in lines(found, now))
        if not names:
            typer.echo("no model was seen yet")
    finally:
        database.close()


def lines(found: Digest, now: int) -> Iterator[str]:
    """The page, at most some 30 lines of plain text: it is mailed, printed and read on telephones."""
    yield f"{found.model}: {'a quiet week' if found.quiet else 'not a quiet week'}"
    yield f"{_day(found.start_ms)} to {_day(found.end_ms - 1)} (UTC)"
    yield ""
    yield f"Decisions   {found.decisions:,}, {_against(found.decisions, found.before)}"
    effects = [f"{found.effects[name]:,} {words}" for name, words in _WORDS.items() if found.effects.get(name)]
    if effects:
        yield f"            {', '.join(effects)}"
    for gap in found.gaps:
        yield f"Gap         nothing came from {_moment(gap.start_ms)} to {_moment(gap.end_ms)}; usual are {gap.usual:,}"
    if found.waiting:
        held = reading.several(found.waiting, "held decision")
        yield f"Waiting     {held}; the oldest was held {reading.ago(found.oldest_ms, now)}"
    if found.expired:
        yield f"Unanswered  {reading.several(found.expired, 'held decision')} ended by a deadline"
    if found.rulings:
        yield "Answered    " + ", ".join(f"{count:,} {name}" for name, count in sorted(found.rulings.items()))
    yield from _section("Incidents", [_told(one.time_ms, one.text) for one in found.incidents], found.left_out, "none")
    alarms = [f"ALARM {_signal(one.monitor, one.text)}" for one in found.alarms]
    warnings = [f"warning {_signal(one.monitor, one.text)}" for one in found.warnings]
    few = [f"{reading.several(found.short, 'signal')} with too few decisions to say anything"] if found.short else []
    yield from _section("Monitors", [*alarms, *warnings, *few], 0, "all well")
    changes = [_told(one.time_ms, one.text) for one in found.changes]
    yield from _section("What changed", changes, found.changes_left_out, "nothing")


_WORDS = {
    "allow": "released",
    "log": "released and flagged",
    "hold": "held",
    "block": "blocked",
    "released": "let go by people",
    "withheld": "withheld by people or deadlines",
    "duplicate": "doubles left out",
}


def _section(name: str, rows: list[str], left_out: int, empty: str) -> Iterator[str]:
    yield ""
    yield f"{name}{'' if rows else f': {empty}'}"
    for row in rows:
        yield f"  {row}"
    if left_out:
        yield f"  and {left_out:,} more"


def _against(now: int, before: int) -> str:
    if not before:
        return "none the week before" if now else "as the week before"
    change = (now - before) / before
    if not round(change, 2):
        return "as the week before"
    return f"{abs(change):.0%} {'more' if change > 0 else 'fewer'} than the week before"


def _signal(monitor: str, text: str | None) -> str:
    return f"{monitor}: {clean(text or '', LONGEST)}"


def _told(time_ms: int, text: str) -> str:
    return f"{_moment(time_ms)}  {clean(text, LONGEST)}"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%a %-d %b %H:%M")


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%A %-d %B %Y")
