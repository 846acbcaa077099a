"""`govern digest`: a week of a model on one page, for whoever owns it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from agents.errors import Misconfigured
from agents.escalation.weeks import Week, week_named
from agents.policy.reasons import clean
from orchestration.cli import reading
from orchestration.reading.digest import MOST, Digest, known_models, of_week, weekly, zone_of
from orchestration.reading.week_changes import Named
from orchestration.reading.week_signals import Watched

LONGEST = 160
"""Characters of a sentence that others wrote."""


def digest(
    model: Annotated[str | None, typer.Option(help="Only this model; else a page for each.")] = None,
    week: Annotated[str | None, typer.Option(help="A calendar week such as 2026-W10; else the last --days.")] = None,
    days: Annotated[int, typer.Option(min=1, max=31, help="How many days it covers.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model, a line each.")] = False,
) -> None:
    """Print a week of each model on one page: quiet or not, gaps, what waits, what changed.

    `escalation.digest` sends it to the model's team each week, and the console has a page of each week.
    Example: govern digest --model credit-limit --week 2026-W10
    """
    database = reading.opened(reading.connected())
    try:
        now = reading.now_ms()
        names, asked = known_models(database, now), _week(week, zone_of(database), now)
        if model is not None and model not in names:
            raise Misconfigured(f"no model is called {model!r}; there are: {', '.join(names) or 'none'}")
        for number, name in enumerate([model] if model is not None else names):
            found = weekly(database, name, now, days) if asked is None else of_week(database, name, asked, now)
            if as_json:
                reading.tell({**asdict(found), "quiet": found.quiet, "verdict": found.verdict})
            else:
                sys.stdout.write("\n" if number else "")
                sys.stdout.writelines(f"{line}\n" for line in lines(found, now))
        if not names:
            typer.echo("no model was seen yet")
    finally:
        database.close()


def _week(name: str | None, zone: str, now: int) -> Week | None:
    try:
        week = week_named(name, zone) if name is not None else None
    except ValueError as error:
        raise Misconfigured(str(error)) from error
    if week is not None and week.start_ms > now:
        raise Misconfigured(f"{name} has not begun yet")
    return week


def lines(found: Digest, now: int) -> Iterator[str]:
    """The page, at most some 30 lines of plain text: it is mailed, printed and read on telephones."""
    yield f"{found.model}: {found.verdict}"
    yield f"{_day(found.start_ms)} to {_day(found.end_ms - 1)} (UTC)"
    yield ""
    yield f"Decisions   {found.decisions:,}, {_against(found.decisions, found.before)}"
    effects = [f"{found.effects[name]:,} {words}" for name, words in _WORDS.items() if found.effects.get(name)]
    if effects:
        yield f"            {', '.join(effects)}"
    for gap in found.gaps[:MOST]:
        yield f"Gap         nothing came from {_moment(gap.start_ms)} to {_moment(gap.end_ms)}; usual are {gap.usual:,}"
    if len(found.gaps) > MOST:
        yield f"            and {len(found.gaps) - MOST:,} more gaps"
    if found.waiting:
        still = f", {found.waiting_now:,} now" if found.over else ""
        held = reading.several(found.waiting, "held decision")
        yield f"Waiting     {held}{still}; the oldest was held {reading.ago(found.oldest_ms, now)}"
    if found.expired:
        yield f"Unanswered  {reading.several(found.expired, 'held decision')} ended by a deadline"
    if found.rulings:
        yield "Answered    " + ", ".join(f"{count:,} {name}" for name, count in sorted(found.rulings.items()))
    yield from _section("Incidents", [_incident(one) for one in found.incidents], found.left_out, "none")
    said = [f"ALARM {_signal(one)}" for one in found.alarms] + [f"warning {_signal(one)}" for one in found.warnings]
    few = [f"{reading.several(found.short, 'signal')} with too few decisions to say anything"] if found.short else []
    yield from _section("Monitors", [*said[:MOST], *few], max(0, len(said) - MOST), "all well")
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


def _signal(one: Watched) -> str:
    about = f" ({one.about})" if one.about else ""
    told = f": {clean(one.text, LONGEST)}" if one.text else ""
    return clean(f"{one.monitor} of version {one.version}{about}", LONGEST) + told + (", no longer" if one.over else "")


def _incident(one: Named) -> str:
    return _told(one.time_ms, f"{one.text} ({one.severity}, {one.resolution or one.status})")


def _told(time_ms: int, text: str) -> str:
    return f"{_moment(time_ms)}  {clean(text, LONGEST)}"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%a %-d %b %H:%M")


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%A %-d %B %Y")
