"""How the watching itself does: whether rules and monitors ask for good reason, how fast people are, whether they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.tuning.estimates import Estimate
from orchestration.console.pages.asking import database
from orchestration.console.pages.overviews import StatBlock, StatRow, StatsView
from orchestration.console.pages.views import Choice
from orchestration.console.pages.weeks import last_weeks
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render, viewer_at
from orchestration.console.viewer import Viewer
from orchestration.console.words import DAY, RESOLUTIONS, count, duration, several, share, stamp
from orchestration.reading.database import Database
from orchestration.reading.digest import known_models
from orchestration.reading.stats import Precision, Stats, Waits, stats

PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days", "": "all time"}
LEFT_OUT = {
    "bulk": "answered in bulk",
    "expired": "ended by a deadline",
    "asked back": "asked back",
    "fairness": "held for fairness",
}
REFUSED = {
    "already-ruled": "somebody had answered before",
    "stale": "the incident had changed",
    "not-opened": "the sample was not opened",
    "wrong-role": "without the role",
    "other-team": "of another team",
    "requester": "by who had asked for it",
    "late": "after the deadline",
    "expired": "by an expired link or form",
    "bad-signature": "with a bad signature",
    "unsigned": "without a signature",
    "no-reason": "without a reason",
}


async def page(request: Request) -> Response:
    """The figures of a period; they name no decision, and no team but the viewer's own."""
    asked = request.query_params.get("days", "30")
    days = asked if asked in PERIODS else "30"
    view = await run_in_threadpool(made, database(request), parts_of(request).clock(), days, viewer_at(request))
    return render(request, "stats.html", view=view)


def made(base: Database, now_ms: int, days: str, viewer: Viewer) -> StatsView:
    """The page's view; `days` is one of PERIODS."""
    since = now_ms - int(days) * DAY if days else 0
    found = stats(base, now_ms, since)
    window = f"Since {stamp(since)}." if days else "Of everything that is remembered."
    choices = tuple(
        Choice(value, words, value == days, f"/stats?days={value}" if value else "/stats?days=")
        for value, words in PERIODS.items()
    )
    weeks = last_weeks(base, known_models(base, now_ms), now_ms)
    return StatsView(window, choices, _glance(found, now_ms), _blocks(found, viewer), weeks)


def _glance(found: Stats, now_ms: int) -> tuple[tuple[str, str, str], ...]:
    backlog = found.backlog
    oldest = f"the oldest since {duration(now_ms - backlog.oldest_ms)}" if backlog.oldest_ms is not None else ""
    return (
        ("Incidents", count(found.incidents), f"{count(backlog.triggered + backlog.acknowledged)} open now"),
        ("Waiting", count(backlog.waiting), oldest or "no decision waits"),
        ("Taken after", *_wait(found.acknowledge)),
        ("Ruled after", *_wait(found.rule)),
        ("Two agree", _short(found.agreement), _pairs(found.agreement)),
        ("In bulk", share(found.bulk_decisions), "of decisions that people ruled on"),
        ("Blind agreement", _short(found.blind), several(found.blind.n, "decision judged", "decisions judged")),
        ("By deadline", count(found.expired), "rulings that nobody made"),
    )


def _blocks(found: Stats, viewer: Viewer) -> tuple[StatBlock, ...]:
    left = ", ".join(
        f"{count(number)} {LEFT_OUT.get(why, why)}" for why, number in sorted(found.left_out.items()) if number
    )
    teams = tuple(
        StatRow(team, (_wait(ack)[0], _wait(rule)[0], count(rule.n)))
        for team, (ack, rule) in found.by_team.items()
        if viewer.sees(team)
    )
    return (
        StatBlock(
            "Rules: held for good reason",
            "Of the decisions that people looked at, the share that they withheld or changed."
            + (f" Not counted: {left}." if left else ""),
            ("Rule", "For good reason", "95 of 100 between", "Looked at"),
            _precision(found.rules),
        ),
        StatBlock(
            "Monitors: alarmed for good reason",
            "Of the incidents that a monitor opened and people ended, the share that was a real problem.",
            ("Monitor", "For good reason", "95 of 100 between", "Looked at"),
            _precision(found.monitors),
        ),
        StatBlock(
            "By team",
            "Half of the incidents were quicker, half slower.",
            ("Team", "Taken after", "Ruled after", "Ruled"),
            teams,
        ),
        _counted("How rulings ended", "Rulings, by what became of the decisions.", "Ended", found.rulings, RESOLUTIONS),
        _counted("Answers without effect", "Each is recorded, with its reason.", "Why", found.refusals, REFUSED),
    )


def _counted(title: str, said: str, head: str, counts: Mapping[str, int], words: Mapping[str, str]) -> StatBlock:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = tuple(StatRow(words.get(name, name), (count(number),)) for name, number in ordered)
    return StatBlock(title, said, (head, "How many"), rows)


def _precision(rows: Sequence[Precision]) -> tuple[StatRow, ...]:
    return tuple(
        StatRow(
            one.name,
            (_short(one.right), f"{share(one.right.lower)} and {share(one.right.upper)}", count(one.right.n)),
        )
        for one in rows
    )


def _short(estimate: Estimate) -> str:
    return share(None if math.isnan(estimate.value) else estimate.value)


def _pairs(estimate: Estimate) -> str:
    if not estimate.n:
        return "no two answered the same"
    return f"{several(estimate.n, 'pair', 'pairs')}, between {share(estimate.lower)} and {share(estimate.upper)}"


def _wait(waits: Waits) -> tuple[str, str]:
    if waits.median_ms is None or waits.p90_ms is None:
        return "—", "none yet"
    if waits.n < 5:
        return duration(waits.median_ms), f"of {count(waits.n)} so far"
    return duration(waits.median_ms), f"half of {count(waits.n)}; nine of ten within {duration(waits.p90_ms)}"
