"""Judging a recorded decision again, as it was judged, from evidence and archive alone; for auditors and model-risk staff.

The verdict names what it depended on: the configuration's digest, the offsets up to which config, signals and safeguards
had been read, the decision's place. All of that is in the evidence; the decision's bytes, and those of the records in the
duplicate window before it, are in the archive. The same agent on the same input must give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from agents import __version__
from agents.audit.agent import origin
from agents.audit.commitment import KEY_BYTES, Committer
from agents.audit.notes import Checkpoint, split_note
from agents.audit.proof import VerdictId, find_verdict
from agents.audit.tiles import WIDTH, stored_bundle
from agents.configuration import Configuration
from agents.errors import GovernanceError, Misconfigured, NotReady
from agents.events import ConfigurationEvent, SnapshotData, Verdict
from agents.policy.agent import PolicyAgent
from agents.policy.edits import taken_at_its_word
from agents.policy.standing import TOPICS, Standing
from agents.records import Plain, Record, collect
from agents.timestamps import milliseconds
from orchestration.anomaly_scores import Find, known_of
from orchestration.archive import Archive, Expired
from orchestration.evidence_topic import record_of, stored_records
from orchestration.log_store import LogStore

RECALLED_AT_ONCE = 5_000
COMMITMENT, CODE = "data.commitment.value", "data.code"


class NotReproducible(GovernanceError):
    """What the verdict depended on is not there any more, or not yet: nothing can be said about it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of the verdict that came out otherwise; both as JSON, `nothing` where it is not there."""

    field: str
    recorded: str
    again: str


@dataclass(frozen=True)
class Reexecuted:
    """A recorded verdict, and the one that the agent gives now."""

    verdict: Verdict
    """As recorded."""
    log: str
    index: int
    """The verdict's leaf in the evidence."""
    recorded: bytes
    again: bytes
    differences: tuple[Difference, ...]
    """In what could be compared."""
    remarks: tuple[str, ...]
    """What could not be compared, and why."""

    @property
    def identical(self) -> bool:
        """Nothing that could be compared differs; where there are no remarks, not one byte does."""
        return not self.differences


def reexecute(
    verdict: VerdictId,
    prefix: str,
    store: LogStore,
    archive: Archive,
    committer: Committer | None,
    value_limit: int,
    find: Find,
) -> Reexecuted:
    """Judge a recorded decision again. Without the salt key (`committer` is None) the commitment is not compared.

    `find` gives the profiles that rules ask for, by the digests that the configuration names.

    Raises:
        Misconfigured: the evidence has no such verdict, or it is not one that a policy gave.
        NotReproducible: the decision, or something that it was judged by, is not there (yet).
        Expired: the decision, or one that it repeats, was deleted when its retention ended.
        Inconsistent: a stored file is missing or damaged.
    """
    if verdict.stage != "gate":
        raise Misconfigured(f"{verdict} is a person's answer; {verdict.position}/gate can be judged again")
    log, index = find_verdict(store.read, prefix, verdict)
    trail = _Trail(store, log)
    leaf = trail.leaf(index)
    recorded = Verdict.model_validate_json(leaf.value or b"")
    decision = archive.read(verdict.topic, verdict.partition, verdict.offset)
    if decision is None:
        raise NotReproducible(f"the archive has no decision {verdict.position} (yet); is it the right archive?")
    standing = _scored(_standing(store, prefix, recorded), find)
    remarks: dict[str, str] = {}  # a field that cannot be compared, or a name -> why
    committer = _committer(committer, recorded, remarks)
    sealed = taken_at_its_word if COMMITMENT in remarks else None  # without the salt key nothing can be checked
    place = (verdict.topic, verdict.partition)
    agent = PolicyAgent(prefix, *place, committer, standing.configuration, value_limit, sealed)
    _resume(agent, trail, index, decision, archive, _window_from(store, prefix, trail, index, standing), remarks)
    key, value, headers = collect(agent.decide([decision], standing))[f"{prefix}.verdicts", verdict.partition][0]
    again = Plain(leaf.topic, leaf.partition, leaf.offset, leaf.timestamp, key, value, headers)
    differences = tuple(_compare(leaf, again, remarks))
    if differences and "window" in remarks:
        raise Expired(f"{verdict.position} cannot be judged again: {remarks['window']}")
    return Reexecuted(
        recorded, log, index, leaf.value or b"", value or b"", differences, tuple(sorted(remarks.values()))
    )


class _Trail:
    """The leaves of a stored log, by index."""

    def __init__(self, store: LogStore, log: str) -> None:
        self._read, self._log = store.read, log
        self._size = _size(store, log)
        self._kept: tuple[int, list[bytes]] = (-1, [])

    def leaf(self, index: int) -> Plain:
        """The record of a leaf."""
        number, at = divmod(index, WIDTH)
        if self._kept[0] != number:
            self._kept = number, stored_bundle(self._read, self._log, number, self._size)
        return record_of(self._read, self._log, self._kept[1][at])

    def earlier(self, index: int) -> Iterator[Plain]:
        """The verdicts before a leaf that the same lane wrote, newest first; other topics' lanes may share the log."""
        writer = _header(self.leaf(index), "govern-writer")
        for before in range(index - 1, -1, -1):
            found = self.leaf(before)
            if _header(found, "govern-writer") == writer:
                yield found


def _standing(store: LogStore, prefix: str, recorded: Verdict) -> Standing:
    """What stood when the lane decided: the evidence of the standing topics up to the verdict's `as_of`."""
    standing = Standing()
    for short in TOPICS:
        end = int(getattr(recorded.data.as_of, short))
        records = _evidence(store, prefix, short, end)
        if end and (not records or records[-1].offset != end - 1):
            raise NotReproducible(
                f"the verdict was given with {short} read up to offset {end}, which the evidence does not hold (yet)"
            )
        standing, _refused = standing.fold(short, records)
    if standing.digest != recorded.data.config:
        raise NotReproducible(
            f"the configuration at config offset {recorded.data.as_of.config} has the digest {standing.digest or 'none'} "
            f"in version {__version__}, the verdict's is {recorded.data.config} (version {recorded.data.code})"
        )
    return standing


def _scored(standing: Standing, find: Find) -> Standing:
    """With the profiles that the configuration's rules ask for; it names their digests, so evidence does."""
    try:
        return replace(standing, anomalies=known_of({*standing.rules.profiles.values()}, find))
    except NotReady as error:
        raise NotReproducible(str(error)) from error


def _evidence(store: LogStore, prefix: str, short: str, end: int) -> list[Plain]:
    """The audited records of a standing topic before an offset."""
    log = origin(prefix, short, 0)
    if store.checkpoint(log) is None:
        return []
    return [one for one in stored_records(store.read, log, _size(store, log)) if one.offset < end]


def _window_from(store: LogStore, prefix: str, trail: _Trail, index: int, standing: Standing) -> int:
    """The first offset that counted in the duplicate window: it starts anew when its size or the sources change."""
    now = standing.configuration
    others = {
        digest
        for digest, one in _configurations(_evidence(store, prefix, "config", standing.as_of.config))
        if (one.duplicate_window, one.sources) != (now.duplicate_window, now.sources)
    }
    if others:
        for leaf in islice(trail.earlier(index), now.duplicate_window):
            data = json.loads(leaf.value or b"")["data"]
            if data["config"] in others:
                return int(data["decision"]["offset"]) + 1
    return 0


def _configurations(records: list[Plain]) -> Iterator[tuple[str, Configuration]]:
    """Every configuration that was ever in force, with its digest."""
    for record in records:
        standing, _refused = Standing().fold("config", [record])
        if standing.ready and record.value is not None:
            yield ConfigurationEvent.model_validate_json(record.value).data.digest, standing.configuration


def _resume(
    agent: PolicyAgent,
    trail: _Trail,
    index: int,
    decision: Plain,
    archive: Archive,
    window_from: int,
    remarks: dict[str, str],
) -> None:
    """Bring the agent to where the lane was: its clock and count from the verdict before, its window from the archive."""
    here, size = (decision.topic, decision.partition), agent.reach
    before = next(trail.earlier(index), None)
    now, sequence = -1, 0
    if before is not None:
        now = milliseconds(str(json.loads(before.value or b"")["time"])) or 0
        sequence = int(_header(before, "govern-seq") or b"-1") + 1
    state = agent.snapshot().state
    verdicts = f"{agent.prefix}.verdicts/{decision.partition}"
    agent.restore(SnapshotData(lane=agent.writer, offsets={}, sequence={verdicts: sequence}, now_ms=now, state=state))
    start = max(window_from, archive.offset_before(*here, decision.offset, size))
    records, recalled = archive.scan(*here, start, decision.offset), 0
    while batch := list(islice(records, RECALLED_AT_ONCE)):
        agent.recall(batch)
        recalled += len(batch)
    expired = archive.expired_before(*here)
    if recalled < size and expired > window_from:
        remarks["window"] = f"decisions before offset {expired} have expired, so whether it repeats one is unknown"


def _committer(given: Committer | None, recorded: Verdict, remarks: dict[str, str]) -> Committer:
    """The salt key where it is the verdict's; otherwise a stand-in, and the commitment is left out."""
    wanted = recorded.data.commitment.key
    if recorded.data.code != __version__:
        remarks[CODE] = f"judged by version {recorded.data.code}, again by {__version__}"
    if given is not None and given.key_id == wanted:
        return given
    why = f"the salt key here is {given.key_id}" if given is not None else "there is no salt key here"
    remarks[COMMITMENT] = f"the commitment is not compared: its salt key is {wanted}, and {why}"
    return Committer(wanted, bytes(KEY_BYTES))


def _compare(recorded: Record, again: Record, left_out: Mapping[str, str]) -> Iterator[Difference]:
    old, new = dict(_fields("", _document(recorded))), dict(_fields("", _document(again)))
    fields = [name for name in (*old, *(name for name in new if name not in old)) if old.get(name) != new.get(name)]
    yield from (
        Difference(name, old.get(name, "nothing"), new.get(name, "nothing")) for name in fields if name not in left_out
    )
    if not fields and recorded.value != again.value:
        yield Difference("bytes", *(hashlib.sha256(one.value or b"").hexdigest() for one in (recorded, again)))


def _document(record: Record) -> dict[str, Any]:
    """A verdict's record as one JSON document."""
    document: dict[str, Any] = json.loads(record.value or b"{}")
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    return {**document, "key": (record.key or b"").decode(errors="replace"), "headers": headers}


def _fields(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every value of a document by its path."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _fields(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _fields(f"{path}[{number}]", inner)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _header(record: Record, name: str) -> bytes | None:
    return next((value for found, value in record.headers if found == name), None)


def _size(store: LogStore, log: str) -> int:
    return Checkpoint.parse(split_note(store.read(f"{log}/checkpoint"))[0]).size
