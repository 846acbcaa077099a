"""The queue: what waits, for whom and until when; the most urgent first. When nothing does, what that quiet rests on."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from agents.events import Severity
from orchestration.console.pages.asking import database, deadline_words, name_of, page_number, teams_of, with_query
from orchestration.console.pages.quiet import quiet
from orchestration.console.pages.views import Choice, Filter, Pager, QueueView, Row
from orchestration.console.parts import parts_of
from orchestration.console.redaction import reason_shown
from orchestration.console.rendering import render, viewer_at
from orchestration.console.viewer import Viewer
from orchestration.console.words import count, ended_words, plain_text, several
from orchestration.reading.database import Database
from orchestration.reading.queries import OPEN, Counts, Filters, Listed, counts, queue

SIZE = 50


async def page(request: Request) -> Response:
    """The queue of this viewer, narrowed by the query."""
    base, viewer, parts = database(request), viewer_at(request), parts_of(request)
    asked = {
        name: request.query_params.get(name, "")[:200]
        for name in ("whose", "status", "team", "model", "severity", "text")
    }
    view = await run_in_threadpool(
        made, base, viewer, parts.configuration(), asked, page_number(request), parts.clock()
    )
    return render(request, "queue.html", view=view)


def made(
    base: Database,
    viewer: Viewer,
    configuration: Configuration | None,
    asked: dict[str, str],
    number: int,
    now_ms: int,
) -> QueueView:
    """The page's view; `asked` has the fields of the query, empty where they do not narrow."""
    whose = asked["whose"] if asked["whose"] in ("mine", "done") else ""
    status = (asked["status"],) if asked["status"] in OPEN else OPEN
    severity = asked["severity"] if asked["severity"] in tuple(Severity) else ""
    teams = teams_of(viewer)
    filters = Filters(
        status=("resolved",) if whose == "done" else status,
        team=asked["team"] or None,
        model=asked["model"] or None,
        severity=severity or None,
        person=viewer.person if whose == "mine" else None,
        text=asked["text"] or None,
        in_reasons=viewer.sees_values,
        teams=teams,
        asked=viewer.person,
        limit=SIZE,
        offset=(number - 1) * SIZE,
    )
    found = queue(base, filters)
    totals = counts(base, now_ms, Filters(person=viewer.person, teams=teams, asked=viewer.person))
    filtered = any((asked["team"], asked["model"], asked["text"], severity, status != OPEN, whose == "mine"))
    rows = tuple(row(one, viewer, configuration) for one in found.items)
    return QueueView(
        said=_said(totals, viewer),
        tabs=_tabs(whose, totals, viewer),
        filters=_filters(asked, whose, configuration, viewer),
        rows=rows,
        pager=_pager(asked, number, len(rows), found.total),
        filtered=filtered or whose == "done",
        text=asked["text"],
        quiet=() if rows else quiet(base, now_ms),
    )


def row(one: Listed, viewer: Viewer, configuration: Configuration | None) -> Row:
    """An incident as a list shows it."""
    statutory = one.statutory_ms is not None and one.due_ms == one.statutory_ms
    return Row(
        id=one.id,
        title=one.title,
        severity=one.severity,
        status=one.status,
        opened_ms=one.opened_ms,
        count=one.count,
        waiting=one.waiting,
        resolution=ended_words(one.cause, one.resolution) if one.resolution is not None else None,
        model=one.model,
        version=None if one.version == "*" else one.version,
        segment=one.segment,
        team=one.team,
        people=tuple(name_of(configuration, person, viewer) for person in one.people),
        mine=viewer.person in one.people,
        deadline_ms=one.due_ms,
        at_deadline="" if statutory else deadline_words(configuration, one.chain),
        statutory=statutory,
        silenced=one.silenced_by is not None,
        inhibited_by=one.inhibited_by,
        reason=_says(reason_shown(one.reason, one.cause, viewer, configuration), one.cause, one.count),
        counted=counted(one.cause, one.count),
    )


def _says(reason: str, cause: str, number: int) -> str:
    """Of a monitor what it found (since when and how strong is on the incident's page); of a rule, that it is an example."""
    if "/" not in cause:
        return plain_text(reason.partition("; ")[0])
    return f"for example: {reason}" if reason and number > 1 else reason


def counted(cause: str, number: int) -> str:
    """How much there was of an incident: a monitor judges many decisions at once, so what counts are its alarms.

    >>> counted("approval_gap", 2), counted("lending/large-limit", 1), counted("record/malformed", 3)
    ('2 alarms', '1 decision', '3 records')
    """
    if cause.startswith("record/"):
        return several(number, "record", "records")
    return several(number, "decision", "decisions") if "/" in cause else several(number, "alarm", "alarms")


def _said(totals: Counts, viewer: Viewer) -> str:
    if totals.open == 0:
        return "Nothing waits for anybody whose work you see."
    parts = []
    if viewer.signed_in:
        parts.append(f"{several(totals.mine, 'incident is', 'incidents are')} with you, of {count(totals.open)} open")
    else:
        parts.append(several(totals.open, "incident is open", "incidents are open"))
    if totals.triggered:
        many = "any of them" if totals.triggered == totals.open else f"{count(totals.triggered)} of them"
        parts.append(f"nobody has taken {many}")
    if totals.overdue:
        parts.append(several(totals.overdue, "answer is overdue", "answers are overdue"))
    return "; ".join(parts) + "."


def _tabs(whose: str, totals: Counts, viewer: Viewer) -> tuple[Choice, ...]:
    tabs = [Choice("", "All open", whose == "", "/", totals.open)]
    if viewer.signed_in:
        tabs.append(Choice("mine", "With you", whose == "mine", "/?whose=mine", totals.mine))
    return (*tabs, Choice("done", "Resolved", whose == "done", "/?whose=done"))


def _filters(
    asked: dict[str, str], whose: str, configuration: Configuration | None, viewer: Viewer
) -> tuple[Filter, ...]:
    models = sorted(configuration.models) if configuration is not None else []
    teams = sorted(configuration.escalation.teams) if configuration is not None else []
    if not viewer.everywhere:
        teams = [team for team in teams if team in viewer.teams]
    found = [
        _select("model", "Model", "any", [(one, one) for one in models], asked),
        _select("team", "Team", "any of yours", [(one, one) for one in teams], asked),
        _select(
            "severity", "At least", "any severity", [(str(one), str(one)) for one in Severity if one != "info"], asked
        ),
    ]
    if whose != "done":
        words = [("triggered", "nobody has taken it"), ("acknowledged", "somebody is on it")]
        found.append(_select("status", "State", "all open", words, asked))
    return tuple(found)


def _select(name: str, label: str, everything: str, values: list[tuple[str, str]], asked: dict[str, str]) -> Filter:
    choices = [Choice(value, words, asked[name] == value) for value, words in values]
    return Filter(name, label, (Choice("", everything, not any(one.chosen for one in choices)), *choices))


def _pager(asked: dict[str, str], number: int, shown: int, total: int) -> Pager:
    first = (number - 1) * SIZE
    if not shown:
        return Pager("")

    def at(page: int) -> str:
        return with_query("/", **asked, page=page if page > 1 else None)

    return Pager(
        f"{count(first + 1)} to {count(first + shown)} of {count(total)}" if total > SIZE else "",
        at(number - 1) if number > 1 else "",
        at(number + 1) if first + shown < total else "",
    )
