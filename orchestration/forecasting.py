"""`config check --history`: recorded decisions judged by a configuration, and what its holds would ask of each team.

Judging is the replay's (orchestration/replay.py), routing the escalation agent's; the arithmetic is
agents/escalation/forecast.py. An archive's partitions are judged together in the order of time, each record once, those of
mapped topics as the decisions that they are. Nothing is written anywhere.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from agents.configuration import Configuration
from agents.errors import Malformed, Misconfigured
from agents.escalation.forecast import HOUR_MS, Asked, forecast
from agents.escalation.routing import Desks, Routed, route
from agents.events import Severity
from agents.policy.rules import RuleSet, compiled
from agents.records import Plain
from agents.sources import SourceMapping
from orchestration.archive import Archive, holder_of
from orchestration.decision_file import BATCH, PARTITION, TOPIC, Progress, batches
from orchestration.replay import ProfilesOf, Told, judge_of

PER_DAY = 20.0
"""Held decisions that one person rules a day where nobody says otherwise: about three an hour of a working day."""
END = 1 << 62
"""Beyond every offset."""
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
    desks, rules = Desks(configuration), compiled(configuration)
    judge = judge_of(configuration, profiles)
    held: dict[Routed, list[int]] = {}
    first, last = 2**62, -1
    for batch in _numbered(_records(history, configuration, judge.value_limit, progress)):
        _, told = judge.judged(batch)
        for record, one in zip(batch, told, strict=True):
            if record.timestamp > 0:
                first, last = min(first, record.timestamp), max(last, record.timestamp)
            if one.kind == "decision" and one.effect == "hold":
                for routed in _routed(desks, rules, one, record.timestamp):
                    held.setdefault(routed, []).append(record.timestamp)
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


def _records(history: Path, configuration: Configuration, limit: int, progress: Progress) -> Iterator[Plain]:
    """The decisions of a file, of a folder's files, or of an archive, as records."""
    files = files_of(history)
    holders = {holder_of(file.absolute()) for file in files}
    parts = sorted((one[1], one[2]) for one in holders if one is not None)
    if history.is_file() or len({one and one[0] for one in holders}) > 1 or not parts:
        for number, file in enumerate(files):
            for batch in batches(file, limit, _part(progress, number, len(files))):
                yield from batch
        return
    archive, models = Archive(str(files[0].absolute().parents[2])), configuration.models
    mapped = {one.topic: SourceMapping(one, models) for one in configuration.sources}
    streams = [_translated(archive.scan(*place, 0, END), mapped.get(place[0])) for place in parts]
    count = sum(archive.span(*place) for place in parts)
    for number, record in enumerate(heapq.merge(*streams, key=lambda one: one.timestamp)):
        yield record
        if number % BATCH == 0:
            progress(number / count)


def _translated(records: Iterator[Plain], mapping: SourceMapping | None) -> Iterator[Plain]:
    """Records of a mapped topic as the decisions that they are; what cannot be read stays as it is, and is malformed."""
    if mapping is None:
        yield from records
        return
    for record in records:
        try:
            yield replace(record, value=mapping.translate(record), headers=())
        except Malformed:
            yield record


def _numbered(records: Iterator[Plain]) -> Iterator[list[Plain]]:
    """Batches of one stream: numbered anew, since partitions and files count for themselves."""
    numbers = itertools.count()
    while batch := [
        replace(one, topic=TOPIC, partition=PARTITION, offset=next(numbers)) for one in itertools.islice(records, BATCH)
    ]:
        yield batch


def _part(progress: Progress, number: int, count: int) -> Progress:
    return lambda share: progress((number + share) / count)


def _routed(desks: Desks, rules: RuleSet, told: Told, time_ms: int) -> dict[Routed, None]:
    """Where the incidents of its holding reasons go: each team is asked, and it goes out when all let it."""
    found: dict[Routed, None] = {}
    for reason in told.reasons:
        if not reason.applied or reason.effect != "hold":
            continue
        try:
            rule = rules.rule(reason.rule).rule
        except KeyError:  # a safeguard
            routed = route(desks, reason.rule, told.model, None, Severity.WARNING, {}, time_ms)
        else:
            routed = route(desks, reason.rule, told.model, rule.team, rule.severity, rule.labels, time_ms)
        found[routed] = None
    return found


def _asked(desks: Desks, one: Routed, times: Sequence[int], span: tuple[int, int], per_day: float) -> Asked:
    chain, name = desks.chain(one.chain), one.team or "nobody"
    people = sum(chain.quorum.role in desks.declared.people[person].roles for person in _members(desks, one.team))
    hours = max(1, -(-(span[1] - span[0]) // HOUR_MS))
    moments = span[0] + np.arange(hours, dtype=np.int64) * HOUR_MS
    open_hours = [desks.is_open(one.team, int(moment)) for moment in moments]
    return forecast(name, times, span, people, per_day / chain.quorum.people, chain.deadline, open_hours)


def _members(desks: Desks, team: str | None) -> Iterator[str]:
    yield from desks.declared.teams[team].members if team in desks.declared.teams else ()
