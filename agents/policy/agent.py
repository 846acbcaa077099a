"""The policy agent: a batch of decisions in; verdicts, released, held, withheld, dead letters and flags out.

Every record gets exactly one verdict, whatever it holds. The same records with the same standing state give the same
bytes, in whatever batches they come: nothing here reads a clock, and ids derive from the record's place alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from agents.audit.commitment import Committer
from agents.configuration import Configuration, canonical
from agents.decoding import VALUE_LIMIT
from agents.errors import NotReady
from agents.events import Effect, Severity, SnapshotData
from agents.frames import Batch, Fault, Group, Reader, Sealed
from agents.policy import held
from agents.policy.edits import Seal
from agents.policy.flags import FlagBook
from agents.policy.outcomes import Outcome, Outcomes
from agents.policy.rules import Judged, Matched, needed_columns
from agents.policy.standing import Standing
from agents.policy.times import iso
from agents.policy.window import Seen, Window
from agents.records import Header, Message, Record, Stretch

STRETCH = 300  # records whose bytes are made at a time
ROOM = 12_000  # bytes of rendered reasons in a header; another as much for the names of rules without a text


@dataclass
class PolicyAgent:
    """Judges one partition of one topic; holds the lane's state between batches."""

    prefix: str
    topic: str
    partition: int
    committer: Committer
    configuration: Configuration
    """The configuration at the start; later ones come with `standing`."""
    value_limit: int = VALUE_LIMIT
    """Bytes of the largest value that can be a decision."""
    sealed: Sealed | None = None
    """What looks at amended decisions; None: those of the committer's deployment count."""
    durable: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.sealed = self.sealed or Seal(self.committer.salt("edits")).answered
        self.writer = f"{self.prefix}.policy.{self.topic}.{self.partition}"
        self.now_ms = -1
        self.sequence = 0  # verdicts written so far: one for each record
        self.snapshot_due = True
        self._standing: Standing | None = None
        self._outcomes = Outcomes(self.committer.key_id)
        self._causes: dict[int, tuple[Outcome, Header]] = {}  # by id, which nothing else has while it is kept
        self._window_from: int | None = None  # the first offset that counts in the duplicate window; None: all do
        self._snapshot_terms: object = None
        self._window_valid = False  # False: what the snapshot says of the window is of other terms
        self._window, self._window_terms, self._reader = self._prepared(self.configuration)

    # -- what a lane asks of its work (orchestration/lane.py) ------------------------------------------------------

    @property
    def reach(self) -> int:
        """Records to see again at a start: the duplicate window."""
        return self.configuration.duplicate_window

    def restore(self, snapshot: SnapshotData | None) -> None:
        """Start from a snapshot; a window made by other source mappings or of another size starts anew."""
        self._snapshot_terms = None if snapshot is None else snapshot.state.get("window")
        self._window_valid = self._snapshot_terms == self._window_terms
        if snapshot is None:
            return
        self.now_ms = snapshot.now_ms
        self.sequence = snapshot.sequence.get(self._verdicts, 0)
        if self._window_valid:
            self._window_from = snapshot.window_from.get(self._here)

    def recall(self, records: Sequence[Record]) -> None:
        """Fill the duplicate window from records before the snapshot."""
        if self._window_valid and records:
            self._window.see(*self._reader.identify(records))

    def fold(self, records: Sequence[Record]) -> None:
        """Count records that are judged already: window, clock and sequence, without output."""
        self.recall(records)
        self.sequence += len(records)
        self.now_ms = max([self.now_ms, *(record.timestamp for record in records)])

    def prepare(self) -> None:
        """Nothing outside Kafka."""

    def settle(self) -> None:
        """Nothing outside Kafka."""

    def snapshot(self) -> SnapshotData:
        """The present state; `lane` and `offsets` are the lane's to fill in."""
        self.snapshot_due = False
        return SnapshotData(
            lane=self.writer,
            offsets={},
            sequence={self._verdicts: self.sequence},
            now_ms=self.now_ms,
            window_from={} if self._window_from is None else {self._here: self._window_from},
            state={"window": self._window_terms},
        )

    def decide(self, records: Sequence[Record], standing: Standing) -> Iterator[Stretch]:
        """Judge a batch; what it writes comes as stretches in the batch's order.

        Everything is decided when this returns. The bytes are made as they are taken, some hundred records at a time, so
        that they are still in the processor's cache when they are sent; the state has moved on when all are taken.
        """
        self._take(standing, records[0].offset)
        batch = self._reader.read(records)
        repeated = self._window.see(batch.identities, batch.fingerprints)
        flags = FlagBook(self.prefix, self.topic, self.partition)
        outcomes = self._judge(records, batch, repeated, standing, flags)
        return self._write(records, outcomes, batch, standing, flags)

    # -- judging ---------------------------------------------------------------------------------------------------

    def _take(self, standing: Standing, offset: int) -> None:
        """Switch to what stands now: at a batch boundary, the only place where anything may change.

        Raises NotReady where the lane must open again, because the window it needs was not filled at the start.
        """
        if standing is self._standing:
            return
        first = self._standing is None
        if self._standing is None or standing.digest != self._standing.digest:
            terms = self._window_terms
            self.configuration = standing.configuration
            window, self._window_terms, self._reader = self._prepared(self.configuration)
            if first and not self._window_valid and self._window_terms == self._snapshot_terms:
                raise NotReady("the configuration went back to the terms of the snapshot's window: opening again")
            if terms != self._window_terms or (first and not self._window_valid):
                self._window, self._window_from = window, offset  # earlier records were read by other terms, or not yet
            self.snapshot_due = True
        self._standing = standing
        self._outcomes.switch(standing)
        self._causes.clear()

    def _prepared(self, configuration: Configuration) -> tuple[Window, dict[str, object], Reader]:
        """An empty window, the terms it counts by, and a reader."""
        sources = [source.model_dump(mode="json") for source in configuration.sources]
        terms: dict[str, object] = {
            "size": configuration.duplicate_window,
            "sources": hashlib.sha256(canonical(sources)).hexdigest(),
        }
        columns = needed_columns(configuration) | {"skewed"}
        reader = Reader(configuration, columns, self.value_limit, self.sealed)
        return Window(configuration.duplicate_window), terms, reader

    def _judge(
        self, records: Sequence[Record], batch: Batch, repeated: Mapping[int, Seen], standing: Standing, flags: FlagBook
    ) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(records)
        for group in batch.groups:
            self._judge_group(records, group, batch.answered, repeated, standing, flags, outcomes)
        for row, fault in batch.faults.items():
            outcomes[row] = self._outcomes.of_fault(fault)
            flag_fault(
                flags, f"record/{fault.kind.value}", fault.model, fault.version, records[row].offset, fault.detail
            )
        return outcomes  # type: ignore[return-value]  # every row is in a group or has a fault

    def _judge_group(
        self,
        records: Sequence[Record],
        group: Group,
        answered: Mapping[int, Sequence[str]],
        repeated: Mapping[int, Seen],
        standing: Standing,
        flags: FlagBook,
        outcomes: list[Outcome | None],
    ) -> None:
        rows = group.rows
        if group.declaration.clock == "event":
            times = np.array(group.event_times, dtype=np.int64)
        else:
            times = np.array([records[row].timestamp for row in rows], dtype=np.int64)
        judged = standing.rules.judge(group.declared, group.frame, times, standing)
        if answered:
            leave_out(judged, rows, answered)
        skewed = group.frame["skewed"].to_list() if group.frame["skewed"].any() else None
        mode, combos = group.declaration.mode, judged.combos
        named: dict[int, list[int]] = {}
        version = group.versions[0]
        if not repeated and not skewed and len(rows) == len(outcomes) and group.versions.count(version) == len(rows):
            shared = [self._outcomes.of_decision(combo, mode, group.model, version) for combo in combos]
            outcomes[:] = [shared[combo] for combo in judged.rows]  # nearly every batch is like this
            for place in np.flatnonzero(judged.rows).tolist() if len(combos) > 1 else ():
                named.setdefault(judged.rows[place], []).append(place)
            self._flag_all(records, group, combos, named, standing, flags)
            return
        for place, (row, version, combo) in enumerate(zip(rows, group.versions, judged.rows, strict=True)):
            seen = repeated.get(row) if repeated else None
            if seen is not None:
                outcomes[row] = self._outcomes.of_repeat(seen, mode, group.model, version)
                if seen == "conflict":
                    flag_fault(flags, "record/conflict", group.model, version, records[row].offset, CONFLICT)
                continue
            outcomes[row] = self._outcomes.of_decision(
                combos[combo], mode, group.model, version, skewed=bool(skewed and skewed[place])
            )
            if combo:
                named.setdefault(combo, []).append(place)
        self._flag_all(records, group, combos, named, standing, flags)

    def _flag_all(
        self,
        records: Sequence[Record],
        group: Group,
        combos: Sequence[tuple[Matched, ...]],
        named: Mapping[int, Sequence[int]],
        standing: Standing,
        flags: FlagBook,
    ) -> None:
        """Flag the applied reasons of each combination, for the decisions (places in the group) that have it.

        What a rule blocks waits for nobody: rules that would hold it ask nobody about it.
        """
        for combo, places in named.items():
            blocked = any(reason.applied and reason.effect is Effect.BLOCK for reason in combos[combo])
            quiet = (Effect.ALLOW, Effect.HOLD) if blocked else (Effect.ALLOW,)
            for reason in combos[combo]:
                if reason.applied and reason.effect not in quiet:
                    self._flag(records, group, reason, places, standing, flags)

    def _flag(
        self,
        records: Sequence[Record],
        group: Group,
        reason: Matched,
        places: Sequence[int],
        standing: Standing,
        flags: FlagBook,
    ) -> None:
        cause = standing.cause(reason)
        for place in places:
            record = records[group.rows[place]]
            flags.add(
                reason.rule,
                group.model,
                group.versions[place],
                record.offset,
                severity=cause.severity,
                team=cause.team,
                labels=cause.labels,
                effect=reason.effect,
                mode=group.declaration.mode,
                reason=lambda record=record: standing.render(reason, self._reader.row(record)),  # type: ignore[misc]
            )

    # -- writing ---------------------------------------------------------------------------------------------------

    def _write(
        self, records: Sequence[Record], outcomes: Sequence[Outcome], batch: Batch, standing: Standing, flags: FlagBook
    ) -> Iterator[Stretch]:
        writer: Header = ("govern-writer", self.writer.encode())
        here = f"{self._here}/"
        start = f'{{"specversion":"1.0","type":"governance.verdict.v1","id":"{here}'
        middle = f'","data":{{"decision":{{"topic":"{self.topic}","partition":{self.partition},"offset":'
        source = f'/gate","source":"/{self.prefix}/policy","time":"'
        now, moment = self.now_ms, iso(max(self.now_ms, 0))
        for first in range(0, len(records), STRETCH):
            part = records[first : first + STRETCH]
            verdicts: list[Message] = []
            released: list[Message] = []
            others: dict[str, list[Message]] = {}
            offsets = [str(record.offset) for record in part]
            names = [(here + offset).encode() for offset in offsets]
            commitments = self.committer.values(names, part)
            sequence = self.sequence
            rows = zip(part, offsets, names, commitments, outcomes[first : first + STRETCH], strict=True)
            for record, offset, name, committed, outcome in rows:
                if record.timestamp > now:
                    now = record.timestamp
                    moment = iso(now)
                verdict = f'{start}{offset}{source}{moment}{middle}{offset}}},{outcome.tail}{committed}"}}}}}}'
                verdicts.append((name, verdict.encode(), [("govern-seq", b"%d" % sequence), writer]))
                if outcome.route == "released":
                    released.append((record.key, record.value, [*record.headers, ("govern-verdict", name + b"/gate")]))
                elif outcome.route is not None:
                    fault = batch.faults.get(first + sequence - self.sequence)
                    message = self._routed(record, name, outcome, fault, standing)
                    others.setdefault(outcome.route, []).append(message)
                sequence += 1
            self.sequence, self.now_ms = sequence, now
            yield (self._topic("verdicts"), self.partition), verdicts
            if released:
                yield (self._topic("released"), self.partition), released
            for route, messages in others.items():
                yield (self._topic(route), self.partition), messages
        if flags:
            yield (self._topic("flags"), 0), flags.messages(iso(max(now, 0)))

    def _routed(
        self, record: Record, name: bytes, outcome: Outcome, fault: Fault | None, standing: Standing
    ) -> Message:
        """A record that is not simply released: with the reason, so that whoever gets it can act."""
        verdict: Header = ("govern-verdict", name + b"/gate")
        if fault is not None:
            facts: dict[str, object] = {
                "kind": fault.kind.value,
                "reason": fault.reason,
                "detail": fault.detail,
                "timestamp": record.timestamp,
            }
            headers = record.headers
            if fault.reason == "bad-header-name":  # no client can write such names: they go along as base64
                facts["headers"] = [[_base64(name.encode(errors="surrogateescape")), _base64(v)] for name, v in headers]
                headers = ()
            return record.key, record.value, [*headers, verdict, ("govern-fault", _json(facts))]
        reasons: Header = ("govern-reasons", _json(self._told(record, outcome, standing)))
        if outcome.route == "held":
            return (
                name,
                record.value,
                [*record.headers, verdict, reasons, *self._held(record, outcome, reasons, standing)],
            )
        return record.key, record.value, [*record.headers, verdict, reasons]

    def _held(self, record: Record, outcome: Outcome, reasons: Header, standing: Standing) -> Iterator[Header]:
        """What answers are about, as far as our headers' room goes, and the producer's key."""
        key = None if record.key is None else base64.b64encode(record.key)
        room = held.ROOM - len(reasons[1] or b"") - (0 if key is None else len(key) - len(record.key or b""))
        _, whole = self._causes.get(id(outcome), (outcome, None))
        if whole is None or len(whole[1] or b"") > room:
            judged_by: dict[str, object] = {"skewed": outcome.skewed} if outcome.skewed else {}
            judged_by |= {"as_of": standing.as_of.model_dump(), "config": standing.digest}
            whole = held.causes_header(outcome.reasons, outcome.model, outcome.version, judged_by, room)
            if b'"more":true' not in (whole[1] or b""):
                self._causes[id(outcome)] = outcome, whole
        yield whole
        if key is not None:
            yield "govern-key", key

    def _told(self, record: Record, outcome: Outcome, standing: Standing) -> list[dict[str, str]]:
        """The applied reasons in words; texts stop where the room that outputs have for our headers would."""
        row: Mapping[str, object] | None = None
        told, room = [], ROOM
        for reason in outcome.reasons:
            if not reason.applied:
                continue
            text = ""
            if reason.rule == "record/conflict":
                text = CONFLICT
            elif room > 0:
                row = self._reader.row(record) if row is None else row
                text = standing.render(reason, row)
            room -= len(text.encode()) + len(reason.rule) + 40
            if room < -ROOM:
                break
            told.append({"rule": reason.rule, "effect": reason.effect.value, "text": text})
        return told

    def _topic(self, short: str) -> str:
        return f"{self.prefix}.{short}"

    @property
    def _here(self) -> str:
        return f"{self.topic}/{self.partition}"

    @property
    def _verdicts(self) -> str:
        return f"{self._topic('verdicts')}/{self.partition}"


def leave_out(judged: Judged, rows: Sequence[int], answered: Mapping[int, Sequence[str]]) -> None:
    """Record, and no longer apply, the holds that a person answered by an amended decision; all else applies to it."""
    for place, row in enumerate(rows):
        rules = answered.get(row)
        if rules:
            found = judged.combos[judged.rows[place]]
            told = tuple(
                replace(one, applied=False) if one.effect is Effect.HOLD and one.rule in rules else one for one in found
            )
            if told != found:
                if told not in judged.combos:
                    judged.combos.append(told)
                judged.rows[place] = judged.combos.index(told)


CONFLICT = "the same id was published before with other content"


def flag_fault(flags: FlagBook, cause: str, model: str | None, version: str | None, offset: int, detail: str) -> None:
    """Count a record that is itself at fault."""
    flags.add(cause, model, version, offset, severity=Severity.WARNING, effect=Effect.BLOCK, reason=lambda: detail)


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
