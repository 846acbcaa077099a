"""`config check --history`: recorded decisions judged by a configuration, and what its holds would ask of each team.

Judging is the replay's (orchestration/replay.py), routing the escalation agent's; the arithmetic is
agents/escalation/forecast.py. Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.escalation.forecast import HOUR_MS, Asked, forecast
from agents.escalation.routing import Desks, Routed, route
from agents.events import Severity
from agents.policy.rules import RuleSet, compiled
from orchestration.decision_file import Progress, batches
from orchestration.replay import ProfilesOf, Told, judge_of

PER_DAY = 20.0
"""Held decisions that one person rules a day where nobody says otherwise: about three an hour of a working day."""
SUFFIXES = (".ndjson", ".jsonl", ".parquet")


def forecasts(
    configuration: Configuration,
    history: Path,
    per_day: float = PER_DAY,
    profiles: ProfilesOf = lambda configuration: {},
    progress: Progress = lambda share: None,
) -> list[Asked]:
    """What each team would be asked by the decisions of a file, or of a folder of them (an archive's, say); busiest first.

    A model that only observes counts as well: that is what going live would mean. Raises Misconfigured where there is
    nothing to read, or the decisions tell no time.
    """
    files = files_of(history)
    desks, rules = Desks(configuration), compiled(configuration)
    judge = judge_of(configuration, profiles)
    held: dict[Routed, list[int]] = {}
    first, last = 2**62, -1
    for number, file in enumerate(files):
        for batch in batches(file, judge.value_limit, _part(progress, number, len(files))):
            _, told = judge.judged(batch)
            for record, one in zip(batch, told, strict=True):
                if record.timestamp > 0:
                    first, last = min(first, record.timestamp), max(last, record.timestamp)
                if one.kind == "decision" and one.effect == "hold":
                    held.setdefault(_routed(desks, rules, one, record.timestamp), []).append(record.timestamp)
    if last < 0:
        raise Misconfigured(
            f"{history} has no decision with a time; give events with `time`, or Parquet of the archive"
        )
    found = [_asked(desks, one, times, (first, last), per_day) for one, times in held.items()]
    return sorted(found, key=lambda one: (-one.held, one.team))


def files_of(history: Path) -> list[Path]:
    """The files of decisions at a path, in order; raises Misconfigured where there is none."""
    if history.is_file():
        return [history]
    found = sorted(file for file in history.rglob("*") if file.suffix in SUFFIXES) if history.is_dir() else []
    if not found:
        raise Misconfigured(
            f"{history} holds no decisions; give a file of them (NDJSON or Parquet), or a folder such as the archive's"
        )
    return found


def _part(progress: Progress, number: int, count: int) -> Progress:
    return lambda share: progress((number + share) / count)


def _routed(desks: Desks, rules: RuleSet, told: Told, time_ms: int) -> Routed:
    """Where the incident of its first holding reason goes."""
    reason = next(one for one in told.reasons if one.applied and one.effect == "hold")
    try:
        rule = rules.rule(reason.rule).rule
    except KeyError:  # a safeguard
        return route(desks, reason.rule, told.model, None, Severity.WARNING, {}, time_ms)
    return route(desks, reason.rule, told.model, rule.team, rule.severity, rule.labels, time_ms)


def _asked(desks: Desks, one: Routed, times: Sequence[int], span: tuple[int, int], per_day: float) -> Asked:
    chain, name = desks.chain(one.chain), one.team or "nobody"
    people = sum(chain.quorum.role in desks.declared.people[person].roles for person in _members(desks, one.team))
    hours = max(1, -(-(span[1] - span[0]) // HOUR_MS))
    moments = span[0] + np.arange(hours, dtype=np.int64) * HOUR_MS
    open_hours = [desks.is_open(one.team, int(moment)) for moment in moments]
    return forecast(name, times, span, people, per_day / chain.quorum.people, chain.deadline, open_hours)


def _members(desks: Desks, team: str | None) -> Iterator[str]:
    yield from desks.declared.teams[team].members if team in desks.declared.teams else ()
