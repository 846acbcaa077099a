"""Records to Polars frames: strict, row by row, every bad record named, and never a row out of its place.

Promise to the lanes: `Reader.read` answers for each record of a batch, never raises for what a producer wrote, and
gives a record the same answer alone and in any batch. The columns are described in columns.py, the checks in
decoding.py, envelope.py and sources.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import polars as pl

from agents.columns import COLUMN_DOCS, Harvest, decision_columns, unreadable
from agents.configuration import Configuration, Model
from agents.decoding import (
    CONTROLS,
    FAILURES,
    KEY_LIMIT,
    VALUE_LIMIT,
    Contract,
    check_value,
    envelope_of,
    identity_of,
    model_of,
    readable_model,
    screen,
)
from agents.envelope import STRUCTURED, attributes, binary_headers, check_record, envelope_document, structured
from agents.errors import Malformed, Poison, Undeclared
from agents.events import Kind
from agents.records import OWN_HEADERS, Header, Record
from agents.refusals import refusal
from agents.sources import SourceMapping
from agents.timestamps import milliseconds

__all__ = ["COLUMN_DOCS", "Batch", "Fault", "Group", "Reader", "decision_columns"]

CHUNK = 250  # decoded decisions alive at once: they stay in the processor's cache
_PLAIN: Header = ("content-type", STRUCTURED)
_MODEL = b'"model":{"name":"'


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record cannot be judged."""

    kind: Kind
    """MALFORMED or UNDECLARED."""
    reason: str
    """A fixed word for machines, for example `not-json` or `own-header`."""
    detail: str
    """For people; names fields, never values."""
    model: str | None = None
    version: str | None = None
    """Model and version where they could be read and are safe to print."""


@dataclass(slots=True)
class Group:
    """The decisions of one model within a batch."""

    model: str
    """The name as the decisions say it."""
    declared: str
    """The declaration used; another name where the catch-all stands in for an undeclared model."""
    declaration: Model
    rows: list[int]
    """Row numbers in the batch, ascending."""
    versions: list[str]
    event_times: list[int]
    """Milliseconds since 1970 UTC, a row each; the broker's time where the producer gave none."""
    frame: pl.DataFrame
    """The columns asked for; height == len(rows)."""


@dataclass(slots=True)
class Batch:
    """What a batch of records turned out to be: each row is in exactly one group, or in `faults`."""

    identities: list[str | None]
    """`source`, NUL, `id` from the envelope alone, whatever is declared; None where no envelope can be read."""
    fingerprints: list[int]
    """Hashes of the decision's bytes; equal within this process for equal bytes, meaningless outside."""
    faults: dict[int, Fault] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    answered: dict[int, Sequence[str]] = field(default_factory=dict)
    """Rows of amended decisions: the rules that a person answered by them."""


Sealed = Callable[[Record], Sequence[str]]
"""The rules that an amended decision answers; raises Malformed where a header of ours is not ours (policy/edits.py)."""


class Reader:
    """Reads records by one configuration; `columns` are those that frames shall have (None: all).

    Without `sealed` any record with a header of ours is malformed, amended decisions too.
    Raises Misconfigured where a `source:` of the configuration cannot work.
    """

    def __init__(
        self,
        configuration: Configuration,
        columns: Collection[str] | None = None,
        value_limit: int = VALUE_LIMIT,
        sealed: Sealed | None = None,
    ) -> None:
        self._sealed = sealed
        self._contracts = {name: Contract(name, model) for name, model in configuration.models.items()}
        self._stand_in: Contract | None = None
        if configuration.undeclared is not None:
            name = configuration.undeclared
            self._stand_in = Contract(name, configuration.models[name], catch_all=True)
        self._mappings = {source.topic: SourceMapping(source, configuration.models) for source in configuration.sources}
        self._columns = None if columns is None else frozenset(columns)
        self._limit = value_limit
        self._whole: dict[Contract, Harvest] = {}  # one with all columns for each contract, for `row`
        self._by_token = {name.encode(): contract for name, contract in self._contracts.items()}
        alone = self._stand_in is None and len(self._contracts) == 1
        self._only = next(iter(self._contracts.values())) if alone else None

    def read(self, records: Sequence[Record]) -> Batch:
        """Every record as a row of a group or as a fault."""
        answered: dict[int, Sequence[str]] = {}
        values, fingerprints = self._documents(records, answered)
        batch = Batch([None] * len(records), fingerprints, answered=answered)
        broker = np.array([record.timestamp for record in records], dtype=np.int64)
        harvests: dict[Contract, Harvest] = {}
        late: list[int] = []
        for contract, rows in self._assigned(values).items():
            if contract is None:
                late += rows
            else:
                harvest = harvests.setdefault(contract, Harvest(contract, self._columns))
                late += self._decode(contract, harvest, rows, values)
        for row in late:  # refused by the quick way: judged one by one, and named if at fault
            judged = self._judge(records[row])
            if isinstance(judged, Fault):
                self._mark(batch, row, judged, records[row])
            else:
                contract, decision = judged
                harvests.setdefault(contract, Harvest(contract, self._columns)).take([row], [decision], late=True)
        for harvest in harvests.values():
            self._finish(batch, harvest, records, broker)
        batch.groups.sort(key=lambda group: group.rows[0])
        return batch

    def identify(self, records: Sequence[Record]) -> tuple[list[str | None], list[int]]:
        """`identities` and `fingerprints` as `read` gives them, at a third of the cost."""
        values, fingerprints = self._documents(records)
        identities: list[str | None] = []
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            careful = set(screen(chunk, self._limit))
            for index, value in enumerate(chunk):
                try:
                    one = identity_of(value)
                    plain = index not in careful
                except FAILURES:
                    plain = False
                identities.append(f"{one.source}\0{one.id}" if plain else self._identity(records[start + index]))
        return identities, fingerprints

    def row(self, record: Record) -> dict[str, object]:
        """All columns of one record, whatever columns the frames have; raises Malformed or Undeclared."""
        judged = self._judge(record)
        if isinstance(judged, Fault):
            kind = Undeclared if judged.kind is Kind.UNDECLARED else Malformed
            raise kind(judged.detail, judged.reason)
        whole = self._whole.get(judged[0])
        if whole is None:
            whole = self._whole[judged[0]] = Harvest(judged[0], None)
        harvest = whole.fresh()
        harvest.take([0], [judged[1]])
        event = harvest.event_times(np.array([record.timestamp], dtype=np.int64))
        return harvest.values(record, int(event[0]))

    def _documents(
        self, records: Sequence[Record], answered: dict[int, Sequence[str]] | None = None
    ) -> tuple[list[bytes], list[int]]:
        """Each record as a structured document (empty where it cannot be one), and the fingerprints.

        `answered` takes what amended decisions say.
        """
        values = [record.value or b"" for record in records]
        fingerprints = list(map(hash, values))
        for row in self._unusual(records):
            fingerprints[row] = self._fingerprint(records[row], fingerprints[row])
            try:
                values[row] = self._document(records[row])
                record = records[row]
                if answered is not None and self._sealed is not None and record.headers and _is_ours(record):
                    answered[row] = self._sealed(record)
            except Malformed:
                values[row] = b""
        return values, fingerprints

    def _unusual(self, records: Sequence[Record]) -> Sequence[int]:
        """Rows whose headers or key want a look; not the two common cases, none and structured mode's content-type."""
        if self._mappings:
            return range(len(records))
        return [
            row
            for row, record in enumerate(records)
            if (record.headers and (len(record.headers) > 1 or record.headers[0] != _PLAIN))
            or len(record.key or b"") > KEY_LIMIT
        ]

    def _document(self, record: Record) -> bytes:
        """The record as a structured document; raises Malformed where it cannot be one."""
        check_record(record, self._sealed)
        mapping = self._mappings.get(record.topic)
        if mapping is not None:
            return mapping.translate(record)
        value = check_value(record.value, self._limit)
        found = attributes(record.headers)
        return value if found is None else structured(found, value)

    def _fingerprint(self, record: Record, plain: int) -> int:
        try:
            mapping = self._mappings.get(record.topic)
            if mapping is not None:
                extra = mapping.extra(record)
                return hash((record.value, extra)) if any(extra) else plain
            found = attributes(record.headers)
        except Malformed:
            found = {}
        return plain if found is None else hash((record.value, binary_headers(record.headers)))

    def _assigned(self, values: Sequence[bytes]) -> dict[Contract | None, Sequence[int]]:
        """Which contract each value is probably for (its decoder will tell); None: to be judged one by one."""
        if self._only is not None:
            return {self._only: range(len(values))}
        assigned: dict[Contract | None, list[int]] = {}
        known = self._by_token
        for row, value in enumerate(values):
            start = value.find(_MODEL) + len(_MODEL)
            contract = known.get(value[start : value.find(b'"', start)]) if start >= len(_MODEL) else None
            assigned.setdefault(contract or self._stand_in, []).append(row)
        return dict(assigned)

    def _decode(self, contract: Contract, harvest: Harvest, rows: Sequence[int], values: Sequence[bytes]) -> list[int]:
        """Decode these rows into the harvest; give those that this contract's quick decoder refuses."""
        refused: list[int] = []
        decode = contract.decode
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            chunk = [values[row] for row in part] if len(rows) < len(values) else list(values[start : start + CHUNK])
            careful = screen(chunk, self._limit)
            decisions: list[Any] = []
            pending = iter(chunk)
            bad: set[int] = set()
            while True:
                try:
                    decisions.extend(map(decode, pending))  # keeps what it has when the next one raises
                    break
                except FAILURES:
                    bad.add(len(decisions))
                    decisions.append(None)
            bad |= {index for index in careful if index not in bad and _has_controls(decisions[index])}
            if contract.catch_all:
                bad |= {i for i, one in enumerate(decisions) if i not in bad and one.data.model.name in self._contracts}
            if bad:
                refused += [row for index, row in enumerate(part) if index in bad]
                part = [row for index, row in enumerate(part) if index not in bad]
                decisions = [one for index, one in enumerate(decisions) if index not in bad]
            harvest.take(part, decisions)
        return refused

    def _finish(self, batch: Batch, harvest: Harvest, records: Sequence[Record], broker: np.ndarray[Any, Any]) -> None:
        """Make groups of a harvest; what is at fault only now (a time, no output) becomes a fault."""
        whole = len(harvest.rows) == len(records) and not harvest.late
        if whole:
            batch.identities[:] = harvest.identities
        else:
            for row, identity in zip(harvest.rows, harvest.identities, strict=True):
                batch.identities[row] = identity
            broker = broker[harvest.rows]
        times = harvest.event_times(broker)
        bad = {harvest.rows[index] for index in unreadable(times)}.union(harvest.incomplete)
        for row in bad:
            judged = self._judge(records[row])
            assert isinstance(judged, Fault), "the quick way and the careful way must agree"
            self._mark(batch, row, judged, records[row])
        if bad or harvest.late:
            order = [index for row, index in sorted(zip(harvest.rows, count(), strict=False)) if row not in bad]
            harvest.keep(order)
            times, broker = times[order], broker[order]
        if harvest.rows:
            self._group(batch, harvest, records, times, broker)

    def _group(
        self,
        batch: Batch,
        harvest: Harvest,
        records: Sequence[Record],
        times: np.ndarray[Any, Any],
        broker: np.ndarray[Any, Any],
    ) -> None:
        contract = harvest.contract
        frame = harvest.frame(records, times, broker)
        rows, versions, clock = harvest.rows, harvest.versions(), times.tolist()
        if not contract.catch_all:
            batch.groups.append(Group(contract.name, contract.name, contract.declaration, rows, versions, clock, frame))
            return
        places: dict[str, list[int]] = {}
        for index, name in enumerate(harvest.names()):
            places.setdefault(name, []).append(index)
        for name, at in places.items():
            group = Group(name, contract.name, contract.declaration, [], [], [], frame[at])
            group.rows, group.versions = [rows[index] for index in at], [versions[index] for index in at]
            group.event_times = [clock[index] for index in at]
            batch.groups.append(group)

    def _mark(self, batch: Batch, row: int, fault: Fault, record: Record) -> None:
        batch.faults[row] = fault
        batch.identities[row] = self._identity(record)

    def _judge(self, record: Record) -> Fault | tuple[Contract, Any]:
        """One record, carefully: its contract and decision, or what is wrong with it."""
        value = None
        try:
            value = self._document(record)
            return self._typed(check_value(value, max(self._limit, len(value))))
        except Poison as error:
            kind = Kind.UNDECLARED if isinstance(error, Undeclared) else Kind.MALFORMED
            return Fault(kind, error.reason, str(error), *self._readable(value, record))

    def _typed(self, value: bytes) -> tuple[Contract, Any]:
        try:
            envelope = envelope_of(value)
            model = model_of(value).data.model
        except FAILURES as error:
            raise refusal(error, value) from None
        if envelope.time is not None and milliseconds(envelope.time) is None:
            raise Malformed("`time` is not an RFC 3339 time", "bad-time")
        contract = self._contracts.get(model.name, self._stand_in)
        if contract is None:
            raise Undeclared(f"model {model.name} is not declared", "undeclared-model")
        try:
            decision = contract.decode_wide(value)
        except FAILURES as error:
            raise refusal(error, value) from None
        lost = contract.lost_digits(value)
        if lost is not None:
            raise Malformed(f"`{lost}` is an integer beyond 64 bits", "big-integer")
        if _has_controls(decision):
            raise Malformed("an id, version, caller, purpose or subject has control characters", "control-characters")
        output = decision.data.output
        if contract.declaration.kind == "prediction" and output.label is None and output.score is None:
            raise Malformed("`data.output` has neither a label nor a score", "no-output")
        return contract, decision

    def _readable(self, document: bytes | None, record: Record) -> tuple[str | None, str | None]:
        try:
            return readable_model(check_value(record.value, self._limit) if document is None else document)
        except Malformed:
            return None, None

    def _identity(self, record: Record) -> str | None:
        """The identity of a record whose envelope can be read, whatever is wrong with its data."""
        try:
            check_record(record, self._sealed)
            found = None if record.topic in self._mappings else attributes(record.headers)
            value = self._document(record) if found is None else envelope_document(found)
            one = identity_of(check_value(value, max(self._limit, len(value))))
        except (Malformed, *FAILURES):
            return None
        return None if CONTROLS.search(one.source + one.id) else f"{one.source}\0{one.id}"


def _is_ours(record: Record) -> bool:
    return any(name.lower().startswith(OWN_HEADERS) for name, _ in record.headers)


def _has_controls(decision: Any) -> bool:
    """True where a text that travels on in ids, logs or flags holds control characters."""
    data = decision.data
    texts = (decision.id, decision.source, decision.subject, decision.correlationid, decision.causationid)
    return any(text and CONTROLS.search(text) for text in (*texts, data.caller, data.purpose, data.model.version))
