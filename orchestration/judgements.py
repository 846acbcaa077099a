"""What people judged, gathered for tuning: rulings from the read model, decisions' columns from the archive.

Answers that teach nothing are counted with the reason (agents/tuning/judged.py). What the archive no longer has cannot
teach a number, and is told.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, select

from agents.configuration import Configuration
from agents.decoding import FAILURES
from agents.errors import Poison
from agents.escalation.declared import Escalation
from agents.frames import Reader
from agents.people_events import Resolution, ReviewData
from agents.policy.columns import signal_of
from agents.policy.compilation import Compiled
from agents.policy.fairness import GROUP_KINDS
from agents.policy.rules import compiled
from agents.tuning.alarms import Alarm
from agents.tuning.judged import WARRANTED, Answer, Judged, usable, weight_of
from orchestration.archive import Archive
from orchestration.reading import tables

Progress = Callable[[float], None]


@dataclass
class Gathered:
    """What the read model and the archive gave."""

    judged: list[Judged] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Why answers teach nothing: bulk, expired, asked back, fairness; and how many decisions' bytes are gone."""


def gather(
    database: Connection, archive: Archive, configuration: Configuration, progress: Progress = lambda share: None
) -> Gathered:
    """Every usable judgement of the read model, with the decision's columns."""
    found, reader = Gathered(), Reader(configuration)
    unfair = _fairness_rules(configuration)
    places = list(_judged(database, found, unfair)) + list(_blind(database, configuration, found))
    rows = _rows(archive, reader, [place[:3] for place in places], progress)
    for topic, partition, offset, one in places:
        row = rows.get((topic, partition, offset))
        if row is None:
            found.left_out["bytes expired"] += 1
        found.judged.append(Judged(f"{topic}/{partition}/{offset}", *one, row or {}))
    about_groups = _about_groups(configuration)
    for alarm in _alarms(database):
        if alarm.monitor in about_groups:
            found.left_out["fairness"] += 1
        else:
            found.alarms.append(alarm)
    return found


def held_judgements(database: Connection, configuration: Configuration, found: Gathered) -> Iterator[Judged]:
    """Held decisions that people judged, without their columns; what teaches nothing is counted in `found.left_out`."""
    for topic, partition, offset, one in _judged(database, found, _fairness_rules(configuration)):
        yield Judged(f"{topic}/{partition}/{offset}", *one)


def judged_alarms(database: Connection) -> Iterator[Alarm]:
    """Alarms of monitors of which a person said whether there was a problem."""
    return _alarms(database)


_One = tuple[int, str, tuple[str, ...], bool, float]
_Place = tuple[str, int, int]


def _judged(database: Connection, found: Gathered, unfair: frozenset[str]) -> Iterator[tuple[str, int, int, _One]]:
    """Held decisions that people answered: position and (time, model, rules, warranted, weight)."""
    held, rulings = tables.held, tables.rulings
    answers = {row.id: row for row in database.execute(select(rulings.c.id, rulings.c.resolution, rulings.c.kind))}
    names = ("topic", "partition", "offset", "model", "rules", "resolution", "ended_ms", "causationid")
    query = select(*(held.c[name] for name in names)).where(held.c.resolution.is_not(None))
    ordered = query.order_by(held.c.ended_ms, held.c.topic, held.c.partition, held.c.offset)
    ended = [row for row in database.execute(ordered) if row.causationid in answers]
    opened = _opened(database)
    covered = Counter(row.causationid for row in ended)
    looked_into = Counter(row.causationid for row in ended if _name(row) in opened.get(row.causationid, ()))
    for row in ended:
        ruling, rules = answers[row.causationid], tuple(row.rules or ())
        count, looked = covered[row.causationid], looked_into[row.causationid]
        kind = _kind(count, looked) if opened.get(row.causationid) else ruling.kind
        answer = Answer(Resolution(ruling.resolution), kind, count, looked, bool(unfair & set(rules)))
        why = usable(answer)
        if why is None and kind == "sample" and _name(row) not in opened.get(row.causationid, ()):
            continue  # it went with the sample: those that were opened stand for it
        if why is not None:
            found.left_out[why] += 1
            continue
        warranted = WARRANTED[Resolution(row.resolution)]
        one = (int(row.ended_ms), str(row.model), rules, warranted, weight_of(answer))
        yield row.topic, row.partition, row.offset, one


def _kind(covered: int, opened: int) -> str:
    """How decisions that ended together were judged, by what was opened of exactly these."""
    if opened >= covered:
        return "individual"
    return "sample" if opened else "bulk"


def _name(row: Row[Any]) -> str:
    return f"{row.topic}/{row.partition}/{row.offset}"


def _opened(database: Connection) -> dict[str, frozenset[str]]:
    """Ruling → positions that its reviewers opened."""
    links, reviews = tables.ruling_reviews, tables.reviews
    query = select(links.c.ruling, reviews.c.data).join(reviews, links.c.review == reviews.c.position)
    found: dict[str, set[str]] = {}
    for row in database.execute(query):
        opened = ReviewData.model_validate_json(row.data).opened
        found.setdefault(row.ruling, set()).update(f"{at.topic}/{at.partition}/{at.offset}" for at in opened)
    return {ruling: frozenset(places) for ruling, places in found.items()}


def _blind(database: Connection, configuration: Configuration, found: Gathered) -> Iterator[tuple[str, int, int, _One]]:
    """Released decisions that somebody judged blind, each once; it stands for one over the probability of being drawn.

    One that was not offered teaches nothing: whoever judged it had chosen it.
    """
    blind, reviews, shares = tables.blind, tables.reviews, _shares(database, configuration)
    refused, judged = _refused(database), set[_Place]()
    query = select(reviews).where(reviews.c.action == "label").order_by(reviews.c.partition, reviews.c.offset)
    for row in database.execute(query):
        data = ReviewData.model_validate_json(row.data)
        if (row.partition, row.offset) in refused or data.decision is None or data.agrees is None:
            continue
        at = data.decision
        if (at.topic, at.partition, at.offset) in judged:
            found.left_out["second opinion"] += 1
            continue
        here = (blind.c.topic == at.topic, blind.c.partition == at.partition, blind.c.offset == at.offset)
        drawn = database.execute(select(blind).where(*here)).first()
        share = shares(row.time_ms)
        if drawn is None or drawn.draw >= share:
            found.left_out["not in the blind sample" if drawn is not None else "no longer in the blind sample"] += 1
            continue
        judged.add((at.topic, at.partition, at.offset))
        weight = 1 / min(share, tables.BLIND_SHARE, _reached(database, drawn.model, drawn.version, drawn.start_ms))
        yield at.topic, at.partition, at.offset, (int(row.time_ms), drawn.model, (), not data.agrees, weight)


def _shares(database: Connection, configuration: Configuration) -> Callable[[int], float]:
    """The share of released decisions that was offered at a time: configurations change it."""
    column, default = tables.configurations.c, Escalation().blind_sample
    rows = database.execute(select(column.time_ms, column.document).order_by(column.offset))
    known = [(time_ms, json.loads(text).get("escalation", {}).get("blind_sample", default)) for time_ms, text in rows]
    times = [time_ms for time_ms, _ in known]

    def share(time_ms: int) -> float:
        if not known:
            return configuration.escalation.blind_sample
        return float(known[max(0, bisect_right(times, time_ms) - 1)][1])

    return share


def _refused(database: Connection) -> set[tuple[int, int]]:
    """Partition and offset of reviews that took no effect: anybody can write one."""
    column = tables.refusals.c
    return {tuple(row) for row in database.execute(select(column.review_partition, column.review_offset))}


def _reached(database: Connection, model: str, version: str, start_ms: int) -> float:
    """The share of an hour's decisions that its part of the sample holds: all below the largest draw, where it is full."""
    blind = tables.blind
    bucket = (blind.c.model == model, blind.c.version == version, blind.c.start_ms == start_ms)
    count, largest = database.execute(select(func.count(), func.max(blind.c.draw)).where(*bucket)).one()
    return float(largest) if count >= tables.BLIND_EACH else 1.0


def _alarms(database: Connection) -> Iterator[Alarm]:
    """Incidents of monitors that a person resolved saying whether there was a problem."""
    incidents, reviews, points = tables.incidents, tables.reviews, tables.signal_points
    said: dict[str, bool] = {}
    refused = _refused(database)
    query = select(reviews).where(reviews.c.action == "resolve").order_by(reviews.c.partition, reviews.c.offset)
    for row in database.execute(query):
        agrees = ReviewData.model_validate_json(row.data).agrees
        if agrees is not None and row.incident and (row.partition, row.offset) not in refused:
            said[row.incident] = agrees
    for row in database.execute(select(incidents).where(incidents.c.status == "resolved")):
        signal = json.loads(row.data).get("signal")
        if signal is None or row.id not in said:
            continue
        key = json.dumps([signal.get(name) for name in ("model", "version", "monitor", "segment", "group")])
        between = (points.c.time_ms >= row.opened_ms - 60_000, points.c.time_ms <= (row.resolved_ms or row.changed_ms))
        history = database.execute(select(points.c.e_value, points.c.limit).where(points.c.key == _same(key), *between))
        peaks = [one.e_value / one.limit for one in history if one.e_value is not None and one.limit]
        if peaks:
            yield Alarm(row.id, signal["monitor"], int(row.opened_ms), said[row.id], max(peaks))


def _same(key: str) -> str:
    """A signal's key as its topic has it: JSON without spaces."""
    return json.dumps(json.loads(key), separators=(",", ":"), ensure_ascii=False)


def _rows(
    archive: Archive, reader: Reader, places: Sequence[_Place], progress: Progress
) -> dict[_Place, dict[str, object]]:
    """Columns of those decisions whose bytes the archive has; each of its files is read once."""
    found: dict[_Place, dict[str, object]] = {}
    by_partition: dict[tuple[str, int], list[int]] = {}
    for topic, partition, offset in places:
        by_partition.setdefault((topic, partition), []).append(offset)
    for (topic, partition), offsets in by_partition.items():
        for record in archive.some(topic, partition, offsets):
            with suppress(Poison, *FAILURES):
                found[topic, partition, record.offset] = reader.row(record)
            progress(len(found) / len(places))
    return found


def _about_groups(configuration: Configuration) -> frozenset[str]:
    """Monitors that compare groups of people."""
    named = configuration.monitors.items()
    return frozenset(name for name, options in named if str(options.get("kind", name)) in GROUP_KINDS)


def _fairness_rules(configuration: Configuration) -> frozenset[str]:
    """Rules that act on a signal about groups of people."""
    about_groups, found = _about_groups(configuration), set()
    for policy in configuration.policies:
        for rule in policy.rules:
            one = _compiled(configuration, policy.policy, rule.id)
            read = {signal_of(name)[0] for name in one.columns if name.startswith("signals.")} if one else set()
            if read & about_groups:
                found.add(f"{policy.policy}/{rule.id}")
    return frozenset(found)


def _compiled(configuration: Configuration, policy: str, rule: str) -> Compiled | None:
    try:
        return compiled(configuration).rule(f"{policy}/{rule}")
    except KeyError:
        return None  # its policy is disabled
