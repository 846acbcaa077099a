"""What people judged, gathered for tuning: rulings from the read model, decisions' columns from the archive.

Answers that teach nothing are counted with the reason (agents/tuning/judged.py). What the archive no longer has cannot
teach a number, and is told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from agents.configuration import Configuration
from agents.decoding import FAILURES
from agents.errors import Poison
from agents.frames import Reader
from agents.people_events import Resolution, ReviewData, RulingData
from agents.policy.columns import signal_of
from agents.policy.compilation import Compiled
from agents.policy.fairness import GROUP_KINDS
from agents.policy.rules import compiled
from agents.tuning.alarms import Alarm
from agents.tuning.judged import WARRANTED, Answer, Judged, usable, weight_of
from orchestration.archive import Archive, Expired
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
    for number, (topic, partition, offset, one) in enumerate(places):
        row = _row(archive, reader, topic, partition, offset)
        if row is None:
            found.left_out["bytes expired"] += 1
        found.judged.append(Judged(f"{topic}/{partition}/{offset}", *one, row or {}))
        progress((number + 1) / len(places))
    found.alarms = list(_alarms(database))
    return found


def held_judgements(database: Connection, configuration: Configuration, found: Gathered) -> Iterator[Judged]:
    """Held decisions that people judged, without their columns; what teaches nothing is counted in `found.left_out`."""
    for topic, partition, offset, one in _judged(database, found, _fairness_rules(configuration)):
        yield Judged(f"{topic}/{partition}/{offset}", *one)


def judged_alarms(database: Connection) -> Iterator[Alarm]:
    """Alarms of monitors of which a person said whether there was a problem."""
    return _alarms(database)


_One = tuple[int, str, tuple[str, ...], bool, float]


def _judged(database: Connection, found: Gathered, unfair: frozenset[str]) -> Iterator[tuple[str, int, int, _One]]:
    """Held decisions that people answered: position and (time, model, rules, warranted, weight)."""
    held, rulings = tables.held, tables.rulings
    query = (
        select(held, rulings.c.data, rulings.c.id.label("ruling"))
        .join(rulings, held.c.causationid == rulings.c.id)
        .where(held.c.resolution.is_not(None))
        .order_by(held.c.ended_ms, held.c.topic, held.c.partition, held.c.offset)
    )
    covered = Counter(row.causationid for row in database.execute(select(held.c.causationid)))
    opened = _opened(database)
    for row in database.execute(query):
        ruling = RulingData.model_validate_json(row.data)
        rules = tuple(row.rules or ())
        seen = opened.get(row.ruling, frozenset())
        place = f"{row.topic}/{row.partition}/{row.offset}"
        fairness = bool(unfair & set(rules))
        answer = Answer(ruling.resolution, ruling.kind, covered[row.causationid], len(seen) or ruling.opened, fairness)
        why = usable(answer)
        if why is None and ruling.kind == "sample" and place not in seen:
            continue  # it went with the sample: those that were opened stand for it
        if why is not None:
            found.left_out[why] += 1
            continue
        warranted = WARRANTED[Resolution(row.resolution)]
        one = (int(row.ended_ms), str(row.model), rules, warranted, weight_of(answer))
        yield row.topic, row.partition, row.offset, one


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
    """Released decisions that somebody judged blind; each stands for one over the probability of being drawn."""
    share, blind = configuration.escalation.blind_sample, tables.blind
    reviews, refusals = tables.reviews, tables.refusals
    refused = {(r.review_partition, r.review_offset) for r in database.execute(select(refusals))}
    query = select(reviews).where(reviews.c.action == "label").order_by(reviews.c.partition, reviews.c.offset)
    for row in database.execute(query):
        data = ReviewData.model_validate_json(row.data)
        if (row.partition, row.offset) in refused or data.decision is None or data.agrees is None or share <= 0:
            continue
        at = data.decision
        here = (blind.c.topic == at.topic, blind.c.partition == at.partition, blind.c.offset == at.offset)
        drawn = database.execute(select(blind).where(*here)).first()
        if drawn is None:
            found.left_out["no longer in the blind sample"] += 1
            continue
        weight = 1 / min(share, _reached(database, drawn.model, drawn.version, drawn.start_ms))
        yield at.topic, at.partition, at.offset, (int(row.time_ms), drawn.model, (), not data.agrees, weight)


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
    for row in database.execute(select(reviews.c.incident, reviews.c.data).where(reviews.c.action == "resolve")):
        agrees = ReviewData.model_validate_json(row.data).agrees
        if agrees is not None and row.incident:
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


def _row(archive: Archive, reader: Reader, topic: str, partition: int, offset: int) -> dict[str, object] | None:
    try:
        record = archive.read(topic, partition, offset)
        return reader.row(record) if record is not None else None
    except (Expired, Poison, *FAILURES):
        return None


def _fairness_rules(configuration: Configuration) -> frozenset[str]:
    """Rules that act on a signal about groups of people."""
    about_groups = {
        name for name, options in configuration.monitors.items() if str(options.get("kind", name)) in GROUP_KINDS
    }
    found = set()
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
