"""A week of one model on one page: whether anybody was needed, what came, what waits, what monitors said, what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agents.escalation.weeks import Week, week_at, week_named
from orchestration.console.charts import spark
from orchestration.console.pages.asking import database
from orchestration.console.pages.overviews import WeekRow, WeekView
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render, viewer_at
from orchestration.console.viewer import Viewer
from orchestration.console.words import (
    RESOLUTIONS,
    clock,
    count,
    duration,
    group_words,
    plain_text,
    several,
    status_words,
)
from orchestration.reading.database import Database
from orchestration.reading.digest import MOST, Digest, Gap, first_ms, known, of_week, zone_of
from orchestration.reading.week_changes import Named
from orchestration.reading.week_signals import Watched

GAPS = 3
LONGEST = 140
"""Characters of a sentence that others wrote; the whole of it stands on its own page."""
BECAME = {
    "allow": "Went out",
    "log": "Went out, flagged",
    "hold": "Held",
    "block": "Withheld by a rule",
    "released": "Let go by people or deadlines",
    "withheld": "Withheld by people or deadlines",
    "duplicate": "Repeated",
}
MANIFOLD = 2.0
"""Beyond three times as many a percentage says little: then the two figures stand beside each other."""
SEVERITIES = ("critical", "error", "warning", "info")


async def page(request: Request) -> Response:
    """A week, also one that is over; models belong to no team, incidents do. 404: no such model or week, or not yet."""
    model, name = request.path_params["model"], request.path_params["week"]
    view = await run_in_threadpool(made, database(request), model, name, parts_of(request).clock(), viewer_at(request))
    if view is None:
        raise HTTPException(404, "There is no such model, or no such week of it.")
    return render(request, "week.html", view=view)


def made(base: Database, model: str, name: str, now_ms: int, viewer: Viewer) -> WeekView | None:
    """The page's view; None where there is none."""
    try:
        week = week_named(name, zone_of(base))
    except ValueError:
        return None
    if week.start_ms > now_ms or not known(base, model):
        return None
    found, first = of_week(base, model, week, now_ms, viewer.sees_incident), first_ms(base, model)
    zone = "" if week.zone == "UTC" else f", by the clock in {week.zone}"
    return WeekView(
        model,
        week.name,
        found.verdict,
        f"Week {week.monday.isocalendar().week}, {week.days}{zone}." + ("" if found.over else " It is not over yet."),
        found.quiet,
        _figures(found, now_ms),
        tuple((words, count(found.effects[effect])) for effect, words in BECAME.items() if found.effects.get(effect)),
        spark("Decisions, by day", found.by_day) if len(found.by_day) > 1 else "",
        tuple(_gap(one, now_ms) for one in found.gaps[:GAPS]),
        _further(len(found.gaps) - GAPS, "gap", "gaps"),
        tuple(_incident(one) for one in found.incidents),
        _incidents_more(found),
        tuple(_watched(one) for one in (*found.alarms, *found.warnings)[:MOST]),
        _watched_more(found),
        tuple(WeekRow(_sentence(plain_text(one.text)), one.time_ms) for one in found.changes),
        _further(found.changes_left_out, "earlier change", "earlier changes"),
        _link(model, week.before) if first is not None and first < week.start_ms else "",
        _link(model, week.next) if week.end_ms <= now_ms else "",
    )


def last_weeks(base: Database, models: Iterable[str], now_ms: int) -> tuple[tuple[str, str], ...]:
    """(model, address) of the pages of the week that ended last."""
    week = week_at(now_ms, zone_of(base)).before
    return tuple((model, _link(model, week)) for model in models)


def _link(model: str, week: Week) -> str:
    return f"/models/{quote(model, safe='')}/weeks/{week.name}"


def _figures(found: Digest, now_ms: int) -> tuple[tuple[str, str, str], ...]:
    began = [f"{count(found.opened[one])} {one}" for one in SEVERITIES if found.opened.get(one)]
    answered = [f"{count(number)} {RESOLUTIONS.get(name, name)}" for name, number in _most(found.rulings)]
    return (
        ("Decisions", count(found.decisions), _against(found)),
        ("Incidents", count(sum(found.opened.values())), ", ".join(began) or "none began"),
        ("Waiting" if not found.over else "Waiting at its end", count(found.waiting), _waiting(found, now_ms)),
        ("Answers", count(sum(found.rulings.values())), ", ".join(answered) or "none given"),
        ("Unanswered", count(found.expired), "ended by a deadline" if found.expired else "no deadline passed"),
    )


def _most(counts: Mapping[str, int]) -> Sequence[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _waiting(found: Digest, now_ms: int) -> str:
    oldest = f"the oldest since {clock(found.oldest_ms, now_ms)}" if found.oldest_ms is not None else ""
    if found.over:
        still = f"{count(found.waiting_now)} now" if found.waiting_now else "none now"
        return f"{oldest}; {still}" if oldest else still
    return oldest or "no decision waits"


def _against(found: Digest) -> str:
    then = "the week before" if found.over else "until then the week before"
    change = (found.decisions - found.before) / found.before if found.before else 0.0
    if not round(change, 2) and (found.before or not found.decisions):
        return f"as many as {then}"
    if not found.before or change > MANIFOLD:
        return f"{count(found.before) if found.before else 'none'} {then}"
    return f"{abs(change) * 100:.0f} % {'more' if change > 0 else 'fewer'} than {then}"


def _incident(one: Named) -> WeekRow:
    state = status_words(one.status, one.resolution)
    return WeekRow(_sentence(one.text), one.time_ms, f"/incidents/{quote(one.incident or '')}", one.severity, state)


def _sentence(text: str) -> str:
    """At most LONGEST characters, so that the page stays one."""
    return text[:1].upper() + (text[1:] if len(text) <= LONGEST else f"{text[1 : LONGEST - 1].rstrip()}…")


def _gap(one: Gap, now_ms: int) -> str:
    lasted, usual = duration(one.end_ms - one.start_ms), several(one.usual, "decision", "decisions")
    return f"Nothing came for {lasted} from {clock(one.start_ms, now_ms)} on; a week before it was {usual}."


def _incidents_more(found: Digest) -> str:
    parts = [_further(found.left_out, "incident", "incidents")]
    if found.elsewhere:
        parts.append(f"{several(found.elsewhere, 'incident', 'incidents')} of other teams.")
    return " ".join(part for part in parts if part)


def _watched(one: Watched) -> WeekRow:
    about = " · ".join(part for part in (f"version {one.version}" if one.version != "*" else "", _about(one)) if part)
    said = f"{one.monitor.replace('_', ' ')}{f', {about}' if about else ''}"
    told = f": {plain_text(one.text)}" if one.text else ", no longer" if one.over else ""
    return WeekRow(_sentence(said + told), kind=one.status)


def _about(one: Watched) -> str:
    return " · ".join(part if "=" not in part else group_words(part) for part in one.about.split(" · ") if part)


def _watched_more(found: Digest) -> str:
    parts = [_further(len(found.alarms) + len(found.warnings) - MOST, "signal", "signals")]
    if found.short:
        parts.append(f"{several(found.short, 'signal has', 'signals have')} too few decisions to say anything.")
    return " ".join(part for part in parts if part)


def _further(number: int, one: str, many: str) -> str:
    return f"And {several(number, f'more {one}', f'more {many}')}." if number > 0 else ""
