"""Decisions meet what really happened: cases wait for their outcomes, and each counts once when its label is mature.

Promise: which cases were given out, with which outcome, and what was counted of them, follows from the records up to some
offsets, the clock and `settled` alone, however topics were interleaved and cut into batches, as long as outcomes are not
read later than the clock that they precede; and what is remembered follows from these always. So a lost store is rebuilt.

- Maturity D of a case is its decision's time + the model's `label_maturity`, in the model's clock: the lane's running
  maximum of broker times of all its inputs, ticks included; under `clock: event` that of the model's decisions here.
- The outcome that counts is the one with the highest revision that was known at D; where none was, the first that came.
  Known: the outcomes topic's running maximum of broker times; under `clock: event` the event's own time, if it has one.
- A case is given out when the clock has passed D and it has an outcome. Later revisions change counts only. A case that was
  mature before D changed with the configuration stays mature: `settled` says until when, and a start is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents.configuration import Configuration, Model
from agents.errors import Misconfigured, Poison
from agents.monitor.case_codes import About, CaseCodes
from agents.monitor.case_outcomes import EarlyOutcomes, Outcome, counted
from agents.monitor.case_records import BadCase, BadOutcome, CaseData, read_case, read_outcome
from agents.monitor.case_table import EMITTED, NEVER_MS, NONE, UNLABELLED, WAITING, CaseTable
from agents.monitor.contract import Ints
from agents.monitor.joined import Joined, Tally
from agents.records import Record, position

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A Join's memory as plain values and arrays: what a store holds."""

    meta: dict[str, Any]
    identities: bytes
    columns: dict[str, np.ndarray[Any, Any]]


@dataclass
class Join:
    """The cases of one partition. `retention_ms` must be at most what `cases` and `outcomes` keep, less `patience_ms`."""

    configuration: Configuration
    key: bytes = b""
    """For hashing identities, up to 64 bytes."""
    retention_ms: int = 400 * DAY_MS
    """How long after its record a case is remembered, by the broker's clock; longer than any model's `label_maturity`."""
    patience_ms: int = DAY_MS
    """How long an outcome waits for its case, by the broker times of `cases`: it does not run out while these stand still."""
    now_ms: int = -1
    cases_ms: int = -1
    outcomes_ms: int = -1
    clocks: dict[str, int] = field(default_factory=dict)
    """The latest decision of each model here."""
    refused: list[Poison] = field(default_factory=list)
    room_only: bool = False
    """True while records are seen again topic by topic: no case is dropped, for its outcome may not have been read yet."""
    settled: dict[str, int] = field(default_factory=dict)
    """Model → the latest decision that was mature under an earlier configuration: it stays so, whatever the present one says.
    Not to be had from the topics: whoever starts again must be told."""

    def __post_init__(self) -> None:
        self.table = CaseTable(self.key)
        self._codes = CaseCodes()
        self._early = EarlyOutcomes()
        self._labelled: list[int] = []  # rows that matured without an outcome and have got one since `advance`
        self._tally = Tally()
        self._orphaned = 0
        self._models: dict[str, Model] = {}
        self.switch(self.configuration)

    def __len__(self) -> int:
        """How many cases are remembered, waiting ones and others."""
        return len(self.table)

    @property
    def waiting(self) -> int:
        """How many cases have not been given out."""
        return int((self.table.columns["stage"][: len(self.table)] != EMITTED).sum())

    def switch(self, configuration: Configuration) -> None:
        """Join by another configuration from now on: maturities change for cases that wait; what was given out stays so.

        Raises Misconfigured where a label may take longer than cases are remembered.
        """
        for name, model in configuration.models.items():
            if model.outcomes and model.label_maturity * 1000 >= self.retention_ms:
                raise Misconfigured(
                    f"model {name}: label_maturity of {model.label_maturity / 86_400:g} days is longer than cases are kept "
                    f"({self.retention_ms / DAY_MS:g} days); shorten it, or keep `cases` and `outcomes` longer"
                )
        models = {name: one for name, one in configuration.models.items() if one.outcomes}
        self._settle(models)
        self.configuration, self._models = configuration, models
        for model in self._models.values():
            for outcome in model.outcomes:
                self._codes.outcomes.add(outcome)
        self._positive = {
            name: {
                code: one.outcomes[text].positive
                for code, text in enumerate(self._codes.outcomes.all)
                if text in one.outcomes
            }
            for name, one in self._models.items()
        }
        self._maturity: list[int] = []
        self._by_event: list[bool] = []
        self._learn()
        count, columns = len(self.table), self.table.columns
        waits, decided, about = (columns[name][:count] for name in ("stage", "decided_ms", "about"))
        due = decided + np.array([*self._maturity, 0], dtype=np.int64)[about]
        settled = [self.settled.get(one.model, -1) for one in self._codes.abouts.all]
        due = np.where(decided <= np.array([*settled, -1], dtype=np.int64)[about], decided, due)
        columns["wake_ms"][:count] = np.where(waits == WAITING, np.minimum(due, NEVER_MS), NEVER_MS)

    def _settle(self, models: Mapping[str, Model]) -> None:
        """Remember what is mature before a model's maturity or clock changes."""
        for name, before in self._models.items():
            now = models.get(name)
            if now is None or (now.label_maturity, now.clock) != (before.label_maturity, before.clock):
                reached = self.clock_of(name) - round(before.label_maturity * 1000)
                self.settled[name] = max(self.settled.get(name, -1), reached)

    def _learn(self) -> None:
        """Maturity and clock of combinations that were met for the first time."""
        for about in self._codes.abouts.all[len(self._maturity) :]:
            model = self._models.get(about.model)
            self._maturity.append(NEVER_MS if model is None else round(model.label_maturity * 1000))
            self._by_event.append(model is not None and model.clock == "event")

    # -- taking records -----------------------------------------------------------------------------------------------

    def take_cases(self, records: Sequence[Record]) -> None:
        """Remember cases; what came early for them is theirs now. Refusals are added to `refused`."""
        for record in records:
            self.cases_ms = max(self.cases_ms, record.timestamp)
            self.now_ms = max(self.now_ms, record.timestamp)
            try:
                self._case(record, read_case(record))
            except BadCase as error:
                self.refused.append(error)

    def _case(self, record: Record, data: CaseData) -> None:
        if data.model not in self._models:
            raise BadCase(f"{position(record)} is refused: no declared model {data.model!r} has `outcomes`")
        identity = self.table.identity(record.key or b"")
        row = self.table.find(identity)
        columns, codes = self.table.columns, self._codes
        if row is not None and (
            columns["stage"][row] == WAITING or self.cases_ms < columns["case_ms"][row] + self.retention_ms
        ):
            self._count(columns["about"][row], "repeated")
            return
        try:
            groups, segments = codes.groups.code(bytes(data.groups)), codes.segments.code(bytes(data.segments))
        except ValueError as error:
            raise BadCase(f"{position(record)} is refused: groups or segments: {error}") from error
        about = codes.abouts.add(About(data.model, data.version, data.label))
        if about == len(self._maturity):
            self._learn()
        if row is None:
            if self.table.full:
                self._make_room()
            row = self.table.add(identity)
            columns = self.table.columns
        self.clocks[data.model] = max(self.clocks.get(data.model, -1), data.decided_ms)
        columns["offset"][row] = record.offset
        columns["case_ms"][row] = self.cases_ms
        columns["decided_ms"][row] = data.decided_ms
        mature = data.decided_ms <= self.settled.get(data.model, -1)
        columns["wake_ms"][row] = data.decided_ms + (0 if mature else self._maturity[about])
        columns["known_ms"][row] = columns["revision"][row] = -1
        columns["score"][row] = np.nan if data.score is None else data.score
        columns["about"][row], columns["groups"][row], columns["segments"][row] = about, groups, segments
        columns["value"][row] = columns["latest"][row] = NONE
        columns["stage"][row], columns["once"][row] = WAITING, data.once
        for one in self._early.take(identity):
            self._meet(row, one)

    def take_outcomes(self, records: Sequence[Record]) -> None:
        """Remember outcomes, of cases that wait or are still to come. Refusals are added to `refused`."""
        find, identity_of = self.table.find, self.table.identity
        for record in records:
            self.outcomes_ms = max(self.outcomes_ms, record.timestamp)
            self.now_ms = max(self.now_ms, record.timestamp)
            try:
                data, time_ms = read_outcome(record)
                code = self._codes.outcomes.find(data.outcome)
                if code is None:
                    raise BadOutcome(f"{position(record)} is refused: no model declares the outcome {data.outcome!r}")
                identity = identity_of(record.key or b"")
                row = find(identity)
                one = Outcome(record.offset, self.outcomes_ms, time_ms, code, data.revision)
                if row is None or self.outcomes_ms >= self.table.columns["case_ms"][row] + self.retention_ms:
                    self._early.add(identity, one)
                else:
                    self._meet(row, one)
            except BadOutcome as error:
                self.refused.append(error)

    def _meet(self, row: int, one: Outcome) -> None:
        """An outcome and its case, whichever of them was read first."""
        columns = self.table.columns
        about, case_ms = int(columns["about"][row]), columns["case_ms"][row]
        if case_ms > one.known_ms + self.patience_ms:
            self._orphaned += 1
            return
        model = self._codes.abouts.all[about].model
        positive = self._positive.get(model, {})
        if one.outcome not in positive:
            name = self._codes.outcomes.all[one.outcome]
            told = f"the outcome at offset {one.offset} is refused: model {model} declares no {name!r}"
            self.refused.append(BadOutcome(told))
            return
        if one.known_ms < case_ms:
            self._count(about, "early")
        known = one.time_ms if self._by_event[about] and one.time_ms >= 0 else one.known_ms
        if columns["latest"][row] == NONE and columns["stage"][row] == UNLABELLED:
            self._labelled.append(row)
        for kind in counted(columns, row, one, known, self._maturity[about], positive):
            self._count(about, kind)

    # -- giving out ---------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int = -1) -> Joined:
        """Let the broker's clock pass to `now_ms` (a tick's time), and give out what is mature; once for each batch."""
        self.now_ms = max(self.now_ms, now_ms)
        self._orphaned += self._early.give_up(self._given_up)
        rows = self._due()
        columns = self.table.columns
        columns["wake_ms"][rows] = NEVER_MS
        abouts = columns["about"][rows]
        has = columns["value"][rows] != NONE
        due = columns["decided_ms"][rows] + np.array([*self._maturity, 0], dtype=np.int64)[abouts]
        late = has & (columns["known_ms"][rows] > due)
        columns["stage"][rows] = np.where(has, EMITTED, UNLABELLED)
        belated = np.array(sorted(set(self._labelled)), dtype=np.int64)
        columns["stage"][belated] = EMITTED
        self._labelled.clear()
        given = np.concatenate([rows[has], belated])
        for kind, which in (
            ("unlabelled", abouts[~has | late]),
            ("late", np.concatenate([abouts[late], columns["about"][belated]])),
            ("joined", columns["about"][given]),
        ):
            for about, count in zip(*np.unique(which, return_counts=True), strict=True):
                self._count(about, kind, int(count))
        matured = self._codes.matured(columns, given, self._positive, self.clock_of)
        found = Joined(matured, self._tally.taken(), self._orphaned)
        self._orphaned = 0
        return found

    def _due(self) -> Ints:
        """Waiting rows whose model's clock has passed their maturity."""
        wake = self.table.columns["wake_ms"][: len(self.table)]
        latest = max(
            [self.now_ms, *(self.clocks.get(name, -1) for name, one in self._models.items() if one.clock == "event")]
        )
        rows = np.flatnonzero(wake <= latest)
        if any(self._by_event) and len(rows):
            clocks = [
                self.clocks.get(about.model, -1) if by_event else self.now_ms
                for about, by_event in zip(self._codes.abouts.all, self._by_event, strict=True)
            ]
            rows = rows[wake[rows] <= np.array(clocks, dtype=np.int64)[self.table.columns["about"][rows]]]
        return rows

    def clock_of(self, model: str) -> int:
        """The clock that a model's maturity goes by."""
        declaration: Model | None = self._models.get(model)
        by_event = declaration is not None and declaration.clock == "event"
        return self.clocks.get(model, -1) if by_event else self.now_ms

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def _given_up(self, known_ms: int) -> bool:
        """Whether an early outcome has waited long enough for its case."""
        return self.cases_ms > known_ms + self.patience_ms or self.now_ms >= known_ms + self.retention_ms

    def _make_room(self) -> None:
        """Drop cases that nobody needs any more; where that helps little, grow. That it happens late changes no result."""
        columns, count = self.table.columns, len(self.table)
        kept = columns["case_ms"][:count] + self.retention_ms > self.now_ms
        kept |= columns["stage"][:count] == WAITING
        if self.room_only or self._labelled or kept.sum() > 0.8 * count:
            self.table.grow()
            return
        self.table.keep(kept)
        self._codes.keep(columns, len(self.table))

    def _count(self, about: int, kind: str, count: int = 1) -> None:
        self._tally.add(self._codes.abouts.all[about][:2], kind, count)

    # -- keeping ------------------------------------------------------------------------------------------------------

    def dump(self) -> Kept:
        """All that is remembered, between two batches (after `advance`); the arrays are views."""
        meta = {
            "key": self.table.identity(b"").hex(),
            "clock": [self.now_ms, self.cases_ms, self.outcomes_ms],
            "clocks": dict(self.clocks),
            **self._codes.dump(),
            "early": self._early.dump(),
        }
        count = len(self.table)
        return Kept(meta, self.table.identities(), {name: one[:count] for name, one in self.table.columns.items()})

    def load(self, kept: Kept) -> None:
        """Go on from what `dump` gave. Raises ValueError, KeyError or TypeError where it is damaged."""
        meta = kept.meta
        if meta["key"] != self.table.identity(b"").hex():
            raise ValueError("the identities were hashed with another key")
        self.table.fill(kept.identities, kept.columns)
        self.now_ms, self.cases_ms, self.outcomes_ms = (int(one) for one in meta["clock"])
        self.clocks = {str(name): int(one) for name, one in meta["clocks"].items()}
        self._codes = CaseCodes.load(meta)
        self._early = EarlyOutcomes.load(meta["early"])
        self._labelled, self._tally, self._orphaned = [], Tally(), 0
        self.switch(self.configuration)
