"""The rules in force: their text, what they do, how often they were found of late, and when they changed last."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agents.configuration import Configuration
from orchestration.console.pages.asking import database, name_of
from orchestration.console.pages.overviews import PoliciesView, PolicyRow, RuleRow
from orchestration.console.parts import parts_of
from orchestration.console.rendering import render
from orchestration.console.words import DAY
from orchestration.reading.database import Database
from orchestration.reading.overview import PolicyHits, RuleHits, history, policies

WEEK = 7 * DAY


async def page(request: Request) -> Response:
    """The page; rules belong to no team."""
    parts = parts_of(request)
    view = await run_in_threadpool(made, database(request), parts.configuration(), parts.clock())
    return render(request, "policies.html", view=view)


def made(base: Database, configuration: Configuration | None, now_ms: int) -> PoliciesView:
    """The page's view."""
    day = {rule.rule: rule.hits for one in policies(base, now_ms - DAY) for rule in one.rules}
    rows = tuple(_policy(one, day, configuration) for one in policies(base, now_ms - WEEK))
    applied = next(iter(history(base, 1)), None)
    if applied is None:
        return PoliciesView(rows)
    return PoliciesView(rows, applied.digest, applied.time_ms, name_of(configuration, applied.applied_by))


def _policy(one: PolicyHits, day: dict[str, int], configuration: Configuration | None) -> PolicyRow:
    declared = [
        policy
        for policy in (configuration.policies if configuration is not None else ())
        if policy.policy == one.policy
    ]
    match = declared[0].match.model_dump(exclude_none=True, mode="json") if declared else {}
    who = next((rule.changed_by for rule in one.rules if rule.changed_ms == one.changed_ms and rule.changed_by), None)
    return PolicyRow(
        one.policy,
        one.description,
        one.mode,
        ", ".join(f"{name} {_several(value)}" for name, value in match.items() if value),
        tuple(_rule(rule, day) for rule in one.rules),
        one.changed_ms,
        name_of(configuration, who),
    )


def _rule(rule: RuleHits, day: dict[str, int]) -> RuleRow:
    name = rule.rule.partition("/")[2]
    return RuleRow(
        name,
        " ".join(rule.when.split()),
        rule.effect,
        rule.severity,
        rule.team or "",
        rule.reason,
        day.get(rule.rule, 0),
        rule.hits,
        rule.unknown,
        rule.last_ms,
    )


def _several(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
