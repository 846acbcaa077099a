"""What stands on `cases` and `outcomes`, decoded strictly record by record: one bad record is refused and named, none lost.

Keys are the JSON array [source, id] of the decision without spaces: only so does an outcome reach the partition where its
case waits. The models of agents/events.py describe the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agents.decoding import CONTROLS, FAILURES
from agents.errors import Poison
from agents.events import ID_LIMIT, SOURCE_LIMIT
from agents.records import Record, position
from agents.timestamps import milliseconds

_Source = Annotated[str, Meta(min_length=1, max_length=SOURCE_LIMIT)]
_Id = Annotated[str, Meta(min_length=1, max_length=ID_LIMIT)]
_Short = Annotated[str, Meta(min_length=1, max_length=256)]
_Whole = Annotated[int, Meta(ge=0, le=2**62)]


class BadCase(Poison):
    """A record of `cases` that cannot be read; none that our lanes write."""

    reason = "bad-case"


class BadOutcome(Poison):
    """A record of `outcomes` that breaks the contract, or names an outcome that its model does not declare."""

    reason = "bad-outcome"


class Ref(msgspec.Struct, gc=False):
    """Which decision."""

    source: _Source
    id: _Id


class CaseData(msgspec.Struct, gc=False):
    """agents.events.CaseData; groups and segments stay JSON, because few texts of them are met again and again."""

    decision: Ref
    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
    version: Annotated[str, Meta(min_length=1, max_length=64)]
    decided_ms: Annotated[int, Meta(ge=0, le=2**53)]
    label: Annotated[str, Meta(max_length=256)] | None = None
    score: float | None = None
    groups: msgspec.Raw = msgspec.Raw(b"{}")
    segments: msgspec.Raw = msgspec.Raw(b"{}")
    once: bool = True


class OutcomeData(msgspec.Struct, gc=False):
    """agents.events.OutcomeData."""

    decision: Ref
    outcome: _Short
    revision: _Whole = 0


class _Case(msgspec.Struct, gc=False):
    specversion: Literal["1.0"]
    type: Literal["governance.case.v1"]
    data: CaseData


class _Outcome(msgspec.Struct, gc=False):
    specversion: Literal["1.0"]
    id: _Id
    source: _Source
    type: Literal["governance.outcome.v1"]
    data: OutcomeData
    time: str | None = None


_case_of = msgspec.json.Decoder(_Case).decode
_outcome_of = msgspec.json.Decoder(_Outcome).decode
_texts_of = msgspec.json.Decoder(dict[str, str]).decode
_key_of = msgspec.json.Encoder().encode


def read_case(record: Record) -> CaseData:
    """A case; raises BadCase."""
    try:
        data = _case_of(record.value or b"").data
    except FAILURES as error:
        raise BadCase(f"{position(record)} is refused: {error}") from error
    why = _key_fault(record.key, data.decision)
    if why is not None:
        raise BadCase(f"{position(record)} is refused: {why}")
    return data


def read_outcome(record: Record) -> tuple[OutcomeData, int]:
    """An outcome and the producer's time of it, ms since 1970 UTC, -1 where it gives none; raises BadOutcome."""
    try:
        event = _outcome_of(record.value or b"")
    except FAILURES as error:
        raise BadOutcome(f"{position(record)} is refused: {error}") from error
    why = _key_fault(record.key, event.data.decision)
    if why is not None:
        raise BadOutcome(f"{position(record)} is refused: {why}")
    if event.time is None:
        return event.data, -1
    found = milliseconds(event.time)
    if found is None:
        raise BadOutcome(
            f"{position(record)} is refused: `time` is no RFC 3339 time; write for example 2026-03-02T09:14:03Z"
        )
    return event.data, max(found, 0)


def read_texts(raw: bytes) -> dict[str, str]:
    """A JSON object of texts; raises ValueError."""
    try:
        return _texts_of(raw)
    except FAILURES as error:
        raise ValueError(str(error)) from error


def key_of(source: str, id_: str) -> bytes:
    """The key of a decision's case and outcomes.

    >>> key_of("/credit/eu-1", "01JQ")
    b'["/credit/eu-1","01JQ"]'
    """
    return _key_of((source, id_))


def _key_fault(key: bytes | None, decision: Ref) -> str | None:
    if key != key_of(decision.source, decision.id):
        return "its key must be the JSON array [source, id] of its decision, without spaces"
    if CONTROLS.search(decision.id) or CONTROLS.search(decision.source):
        return "a control character stands in its decision's id or source"
    return None
