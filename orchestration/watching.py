"""A file of decisions watched as if it were the stream: what rules would have held, what monitors would have said, when.

Needs neither Kafka nor Ray. The file is taken in blocks of one size, whatever its format: rules see the signals that stood
before the block, then the monitors see the block. The same file and configuration give the same findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import STRICTNESS, SignalData, SignalStatus
from agents.frames import Reader
from agents.monitor.contract import Monitor
from agents.monitor.intake import Table, table_of
from agents.monitor.profiles import Profile
from agents.monitor.watch import Watch
from agents.policy.edits import taken_at_its_word
from agents.policy.rules import Matched, effect_of
from agents.policy.standing import Standing
from agents.records import Plain
from orchestration.anomaly_scores import known_among
from orchestration.decision_file import Progress
from orchestration.profiling import fitted
from orchestration.signal_records import Signals
from orchestration.tables import Rows
from orchestration.unknown_groups import UnknownGroups

BLOCK = 1_000
"""Decisions between two looks of rules at signals; fewer in short files."""
POINTS = 60
"""Blocks that a file has at least, where it is long enough for blocks of LEAST."""
LEAST = 100
EFFECTS = [effect.value for effect in STRICTNESS]
_NEWS = (SignalStatus.ALARM, SignalStatus.WARN)
Key = tuple[str, str, str, str | None, str | None]
"""Model, version, monitor, segment, group."""


@dataclass
class RuleFound:
    """What a rule would have done."""

    effect: str
    count: int = 0
    unknown: int = 0
    applied: bool = True
    first: int = -1
    """The first decision, counted from 0."""
    reason: str = ""


@dataclass(frozen=True)
class Turn:
    """A status that changed."""

    decision: int
    """Decisions seen by then, the block in which it turned included."""
    signal: SignalData


@dataclass(frozen=True)
class Block:
    """What happened in a block, for the picture of the volume."""

    decision: int
    clock_ms: int
    effects: Mapping[str, int]


@dataclass
class Findings:
    """What came of a file."""

    decisions: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Records that are no decisions of a declared model, by reason."""
    effects: Counter[str] = field(default_factory=Counter)
    rules: dict[str, RuleFound] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    """Alarms and warnings that came, and alarms that ended, in order."""
    signals: list[SignalData] = field(default_factory=list)
    """Everything published, in order."""
    final: list[SignalData] = field(default_factory=list)
    course: dict[Key, list[tuple[int, SignalData]]] = field(default_factory=dict)
    """What each monitor said after each block: decisions so far, and its judgement."""
    blocks: list[Block] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Why protected attributes are not known, where that is so for many."""
    profiles: dict[str, Profile] = field(default_factory=dict)
    reference: int = 0
    """Decisions at the beginning that the profile was fitted on."""
    began_ms: int = 0
    """The time of the first decision."""
    timed: bool = False
    """True where the decisions have times."""


class Watching:
    """One run over one file."""

    def __init__(
        self,
        rows: Rows,
        configuration: Configuration,
        kinds: Mapping[str, type[Monitor]],
        *,
        profiles: Mapping[str, Profile] | None = None,
        reference: float = 0.3,
        attributes: Mapping[str, Mapping[str, str | None]] | None = None,
        outcome: str | None = None,
        source: str = "",
    ) -> None:
        """`outcome`: the column of a table that says what really happened."""
        if not configuration.models:
            raise Misconfigured("the configuration declares no model; `govern init FILE` writes one from the file")
        self.rows, self.kinds, self.source = rows if outcome is None else _labelled(rows, outcome), kinds, source
        self._outcome = outcome
        self.findings = Findings()
        self._share = 0.0 if profiles else reference
        bare = {name: one.model_copy(update={"profile": None}) for name, one in configuration.models.items()}
        self.watch = Watch(configuration.model_copy(update={"models": bare}), kinds=kinds)
        if profiles:
            self.watch.compare_with(profiles)
            self.findings.profiles = dict(profiles)
        anomalies = known_among(self.watch.configuration, (profiles or {}).values())
        self._standing = Standing.of(self.watch.configuration, anomalies)
        self._signals = Signals("watch")
        self._statuses: dict[Key, SignalStatus] = {}
        self._attributes: Mapping[str, Mapping[str, str | None]] | None = attributes
        self._unknown = UnknownGroups(configuration, attributes)
        self._wanted = {name: self._standing.rules.columns(name) for name in configuration.models}

    def run(self, progress: Progress = lambda share: None) -> Findings:
        """Everything; raises Misconfigured where the file does not fit the configuration."""
        if not isinstance(self.rows, pl.DataFrame):
            self.rows = self._sound(self.rows)
        total = len(self.rows)
        if not total:
            raise Misconfigured("the file holds no decision that can be judged")
        self.findings.timed = _timed(self.rows)
        head = int(total * self._share) if self.watch.waiting else 0
        size = block_size(total)
        for start, end in _blocks(total, head, size):
            if start == head and head:
                self._fit(self.rows[:head])
            self._block(self.rows[start:end])
            progress(end / total)
        self.findings.final = self.watch.signals()
        self.findings.waiting = dict(self.watch.waiting)
        self.findings.unknown = self._unknown.told(self.rows, self.watch.watched)
        return self.findings

    def _sound(self, records: Sequence[Plain]) -> list[Plain]:
        """Records that are a model's decisions; broken ones are counted, those that a person amended left out."""
        batch = Reader(self.watch.configuration, frozenset({"id"}), sealed=taken_at_its_word).read(records)
        for fault in batch.faults.values():
            self.findings.refused[fault.detail] += 1
        out = batch.faults.keys() | batch.answered.keys()
        return [record for row, record in enumerate(records) if row not in out]

    def _fit(self, rows: Rows) -> None:
        found: dict[str, Profile] = {}
        there = {table.model for table in table_of(rows, self.watch.configuration, {})}
        for model, watched in self.watch.watched.items():
            if model in there and any(one.ready is not None for one in watched.monitors):
                used = {one.kind: self.kinds[one.kind] for one in watched.monitors}
                found[model] = fitted(
                    rows, self.watch.configuration, model, used, outcome=self._outcome, source=self.source
                )
        self.watch.compare_with(found)
        self.findings.profiles, self.findings.reference = found, len(rows)

    def _block(self, rows: Rows) -> None:
        effects: Counter[str] = Counter()
        clock = 0
        for table in table_of(rows, self._standing.configuration, self._wanted):
            self._judge(table, effects)
            self._unknown.take(table)
            clock = max(clock, int(table.times_ms.max()))
            if not self.findings.blocks:
                self.findings.began_ms = int(table.times_ms.min())
        found = self.findings
        outcomes = None
        if self._outcome is not None and isinstance(rows, pl.DataFrame):
            outcomes = rows.select("id", pl.col(self._outcome).alias("outcome")).drop_nulls()
        said = self.watch.feed(rows, attributes=self._attributes, outcomes=outcomes)
        self._attributes = None
        found.decisions += len(rows)
        found.effects += effects
        found.blocks.append(Block(found.decisions, clock, dict(effects)))
        if said:
            self._standing, _ = self._standing.fold("signals", self._signals.records(said, clock))
        self._note(said)

    def _note(self, said: Sequence[SignalData]) -> None:
        found = self.findings
        found.signals += said
        for one in said:
            before = self._statuses.get(key_of(one))
            self._statuses[key_of(one)] = one.status
            if one.status != before and (one.status in _NEWS or before is SignalStatus.ALARM):
                found.turns.append(Turn(found.decisions, one))
        for one in self.watch.signals():
            found.course.setdefault(key_of(one), []).append((found.decisions, one))

    def _judge(self, table: Table, effects: Counter[str]) -> None:
        frame = _completed(table)
        judged = self._standing.rules.judge(table.model, frame, table.times_ms, self._standing)
        rows = np.array(judged.rows)
        for number, combo in enumerate(judged.combos):
            count = int((rows == number).sum())
            if not count:
                continue
            effects[effect_of(combo).value] += count
            for one in combo:
                self._rule(one, count, table, frame, int((rows == number).argmax()))

    def _rule(self, one: Matched, count: int, table: Table, frame: pl.DataFrame, row: int) -> None:
        known = self.findings.rules.get(one.rule)
        if known is None:
            values = {**frame.row(row, named=True), "event_time_ms": int(table.times_ms[row])}
            values["broker_time_ms"] = values["event_time_ms"]
            reason = self._standing.render(one, values)
            first = self.findings.decisions + row
            known = self.findings.rules[one.rule] = RuleFound(one.effect.value, 0, 0, one.applied, first, reason)
        known.count += count
        known.unknown += count if one.outcome == "unknown" else 0


def block_size(total: int) -> int:
    """How many decisions a block of a file with so many has.

    >>> block_size(100_000), block_size(6_000), block_size(500)
    (1000, 100, 100)
    """
    return max(LEAST, min(BLOCK, total // POINTS // LEAST * LEAST))


def key_of(one: SignalData) -> Key:
    """Which judgement it is."""
    return one.model, one.version, one.monitor, one.segment, one.group


def held(findings: Findings) -> dict[str, int]:
    """Decisions by effect, in the order of strictness."""
    return {name: findings.effects[name] for name in EFFECTS}


def _blocks(total: int, head: int, size: int) -> Iterator[tuple[int, int]]:
    """Starts and ends; the reference ends with a block of its own."""
    edges = sorted({*range(0, total, size), head, total})
    yield from pairwise(edges)


def _labelled(rows: Rows, outcome: str) -> Rows:
    """A table whose decisions can be told apart, so that each meets its outcome."""
    if not isinstance(rows, pl.DataFrame) or outcome not in rows.columns:
        raise Misconfigured(f"there is no column {outcome!r} for --outcome; events carry none, give a table")
    return rows if "id" in rows.columns else rows.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("id"))


def _timed(rows: Rows) -> bool:
    if isinstance(rows, pl.DataFrame):
        return any(name in rows.columns for name in ("time", "event_time_ms", "event_time", "timestamp"))
    return True


def _completed(table: Table) -> pl.DataFrame:
    """With what a lane knows of a decision beside its fields."""
    made: list[pl.Series | pl.Expr] = [
        pl.Series("model.name", [table.model] * table.height),
        pl.Series("model.version", table.versions),
    ]
    if "caller_verified" in table.frame.columns:
        made.append(pl.col("caller_verified").fill_null(False))
    return table.frame.with_columns(made)
