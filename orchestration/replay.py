"""Judging a file of decisions again, without Kafka or Ray: the policy agent that runs in the lanes, and files for topics.

Promise to whoever tries a configuration: the same file and configuration give the same bytes, and every record of the
file gets one verdict, broken ones included. Its monitors watch the decisions meanwhile (file_monitors.py), and rules see
their signals. Commitments are salted with a fixed key (id `replay`, 32 zero bytes): a replay's verdicts are no evidence.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import msgspec

from agents import __version__
from agents.audit.commitment import KEY_BYTES, Committer
from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import STRICTNESS, SignalData
from agents.monitor.profiles import Profile
from agents.policy.agent import PolicyAgent
from agents.policy.anomalies import Known
from agents.policy.edits import is_amended, taken_at_its_word
from agents.policy.flags import SAMPLE
from agents.policy.rules import compiled
from agents.policy.standing import Standing
from agents.records import Message, Plain, collect
from orchestration.anomaly_scores import known_among
from orchestration.decision_file import PARTITION, TOPIC, Progress, batches
from orchestration.extensions import kinds
from orchestration.file_monitors import Attributes, FileMonitors
from orchestration.watch_report import METRICS, SIGNALS, metrics, sentence, write_files
from orchestration.watching import BLOCK

ProfilesOf = Callable[[Configuration], Mapping[str, Profile]]

PREFIX = "replay"
SALT = Committer("replay", bytes(KEY_BYTES))
VERDICTS, FLAGS, DEAD_LETTERS, DIFF, SUMMARY = (
    "verdicts.ndjson",
    "flags.ndjson",
    "dead-letters.ndjson",
    "diff.ndjson",
    "summary.json",
)


class Why(msgspec.Struct, frozen=True, gc=False):
    """A reason of a verdict."""

    rule: str
    effect: str
    outcome: str
    applied: bool


class _Place(msgspec.Struct, gc=False):
    offset: int


class Told(msgspec.Struct, gc=False):
    """What a verdict says, as far as a replay counts it."""

    decision: _Place
    kind: str
    effect: str | None
    model: str | None
    version: str | None
    reasons: tuple[Why, ...]


class _Verdict(msgspec.Struct, gc=False):
    data: Told


_told = msgspec.json.Decoder(_Verdict).decode


@dataclass
class RuleCount:
    """How often a rule, a safeguard or a fault gave an effect."""

    effects: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    """Of these, how often because the condition could not be evaluated."""
    not_applied: int = 0
    """Of these, how often its policy was in audit mode: recorded only."""
    first: int = -1
    """The offset of the first one."""
    reason: str = ""
    """What it said of the first one; empty where nothing was flagged."""

    @property
    def count(self) -> int:
        """In all."""
        return self.effects.total()


@dataclass
class Tally:
    """What one configuration made of a file."""

    configuration: str
    """Its digest."""
    code: str = __version__
    records: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    effects: dict[str, int] = field(default_factory=lambda: {effect.value: 0 for effect in STRICTNESS})
    """By effect; duplicates have none."""
    rules: dict[str, RuleCount] = field(default_factory=dict)

    def take(self, told: Told) -> None:
        """Count one verdict."""
        self.records += 1
        self.kinds[told.kind] += 1
        if told.effect is not None:
            self.effects[told.effect] += 1
        for reason in told.reasons:
            count = self.rules.setdefault(reason.rule, RuleCount(first=told.decision.offset))
            count.effects[reason.effect] += 1
            count.unknown += reason.outcome == "unknown"
            count.not_applied += not reason.applied

    def frequent(self) -> list[tuple[str, RuleCount]]:
        """The rules, most frequent first."""
        return sorted(self.rules.items(), key=lambda item: (-item[1].count, item[0]))


@dataclass
class Changes:
    """What differs between two configurations on the same file."""

    before: str
    """Digest of the configuration compared with."""
    changed: int = 0
    """Decisions with another kind or effect."""
    transitions: Counter[str] = field(default_factory=Counter)
    """`allow → hold`, and how many."""
    other_reasons: int = 0
    """Decisions with the same effect for other reasons."""


@dataclass(frozen=True)
class Replayed:
    """The result; the same stands in summary.json."""

    tally: Tally
    changes: Changes | None
    alarms: tuple[str, ...] = ()
    """Alarms of monitors that came or ended, in words."""

    def document(self) -> dict[str, Any]:
        """As JSON values, most frequent first."""
        document: dict[str, Any] = {**vars(self.tally), "kinds": dict(self.tally.kinds.most_common())}
        document["rules"] = {name: {"count": one.count, **vars(one)} for name, one in self.tally.frequent()}
        if self.changes is not None:
            transitions = dict(self.changes.transitions.most_common())
            document["changes"] = {**vars(self.changes), "transitions": transitions}
        if self.alarms:
            document["alarms"] = list(self.alarms)
        return document


class Judge:
    """One configuration's policy agent and monitors on records of a file."""

    def __init__(
        self, configuration: Configuration, monitors: FileMonitors | None = None, anomalies: Known | None = None
    ) -> None:
        self.agent = PolicyAgent(PREFIX, TOPIC, PARTITION, SALT, configuration, sealed=taken_at_its_word)
        self.monitors = monitors
        self._standing = Standing.of(configuration, anomalies)
        self.digest = self._standing.digest
        self.value_limit = self.agent.value_limit

    def judge(self, batch: Sequence[Plain]) -> Mapping[str, Sequence[Message]]:
        """What the lane would write for a batch, by the topic's short name."""
        return self.judged(batch)[0]

    def judged(self, batch: Sequence[Plain]) -> tuple[dict[str, list[Message]], list[Told]]:
        """The same, and what the verdicts say."""
        written: dict[str, list[Message]] = {}
        told: list[Told] = []
        for _, piece in groupby(batch, lambda record: record.offset // BLOCK):
            records = list(piece)
            if self.monitors is not None:
                self._standing = self.monitors.before(records[0].offset, self._standing, self.agent.now_ms)
            outputs = collect(self.agent.decide(records, self._standing))
            for (topic, _), messages in outputs.items():
                written.setdefault(topic.removeprefix(f"{PREFIX}."), []).extend(messages)
            verdicts = outputs.get((f"{PREFIX}.verdicts", PARTITION), [])
            said = [_told(value or b"").data for _, value, _ in verdicts]
            told += said
            if self.monitors is not None:
                kept = [record for record, one in zip(records, said, strict=True) if one.kind == "decision"]
                self.monitors.take([record for record in kept if not is_amended(record)])  # a person decided those
        return written, told

    def end(self) -> list[SignalData]:
        """Every monitor's last judgement."""
        return [] if self.monitors is None else self.monitors.end(self._standing, self.agent.now_ms)


def replay(
    decisions: Path,
    configuration: Configuration,
    out: Path,
    before: Configuration | None = None,
    progress: Progress = lambda share: None,
    *,
    profiles: ProfilesOf = lambda configuration: {},
    attributes: Attributes | None = None,
) -> Replayed:
    """Judge every record of a file by a configuration, and write what came of it into the folder `out`.

    With `before`, also what that configuration decides otherwise (diff.ndjson: from `before` to `configuration`). `profiles`
    finds those that a configuration names, for monitors and for rules that ask for anomaly scores; `attributes` are protected
    attributes by subject, for monitors only. Raises Misconfigured where the file cannot be read, the folder not written, or a
    policy not used, and NotReady where rules ask for a profile that is not there.
    """
    if not decisions.is_file():
        raise Misconfigured(f"there is no file {decisions}; give one decision a line, as NDJSON")
    judge = judge_of(configuration, profiles, attributes)
    other = judge_of(before, profiles, attributes) if before is not None else None
    tally = Tally(judge.digest)
    changes = Changes(other.digest) if other is not None else None
    flags = _Flags()
    with ExitStack() as stack:
        verdicts, dead, diff = (_open(out / name, stack) for name in (VERDICTS, DEAD_LETTERS, DIFF))
        for batch in batches(decisions, judge.value_limit, progress):
            written, told = judge.judged(batch)
            for one in told:
                tally.take(one)
            verdicts.writelines((value or b"") + b"\n" for _, value, _ in written["verdicts"])
            dead.writelines(_dead_letters(batch, told, written.get("dead-letters", ())))
            flags.add(written.get("flags", ()))
            if other is not None and changes is not None:
                _, earlier = other.judged(batch)
                diff.writelines(_differences(earlier, told, changes))
        _open(out / FLAGS, stack).writelines(flags.lines())
    flags.explain(tally)
    if other is None:
        (out / DIFF).unlink()
    result = Replayed(tally, changes, _watched(judge, out))
    (out / SUMMARY).write_text(json.dumps(result.document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def judge_of(configuration: Configuration, profiles: ProfilesOf, attributes: Attributes | None = None) -> Judge:
    """What judges a file by a configuration, with its monitors and the profiles that it asks for."""
    found: Mapping[str, Profile] = {}
    if configuration.monitors or compiled(configuration).profiles:
        found = profiles(configuration)
    monitors = FileMonitors(configuration, kinds(), found, attributes) if configuration.monitors else None
    return Judge(configuration, monitors, known_among(configuration, found.values()))


def _watched(judge: Judge, out: Path) -> tuple[str, ...]:
    """Write what monitors said; their alarms in words. Without monitors nothing of an earlier run stays behind."""
    if judge.monitors is None:
        for name in (SIGNALS, METRICS):
            (out / name).unlink(missing_ok=True)
        return ()
    final, watch = judge.end(), judge.monitors.watch
    write_files(out, judge.monitors.lines, metrics(final, watch.waiting, watch.decisions))
    return tuple(sentence(one, judge.monitors.watched, True) for one in judge.monitors.turns)


class _Flags:
    """Adds up the flags of all batches, one for each cause, so that they do not depend on how the file was cut."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}

    def add(self, messages: Sequence[Message]) -> None:
        for _, value, _ in messages:
            event = json.loads(value or b"")
            data = event["data"]
            known = self._found.setdefault(data["dedup_key"], event)["data"]
            if known is not data:
                known["count"] += data["count"]
                known["last_offset"] = data["last_offset"]
                known["sample"] = (known["sample"] + data["sample"])[:SAMPLE]

    def lines(self) -> list[bytes]:
        """In the order of the first decisions that they count."""
        ordered = sorted(self._found.values(), key=lambda event: (event["data"]["first_offset"], event["id"]))
        return [json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for event in ordered]

    def explain(self, tally: Tally) -> None:
        """Give each rule the words that its first flag has."""
        for event in sorted(self._found.values(), key=lambda event: event["data"]["first_offset"]):
            rule = json.loads(event["data"]["dedup_key"])[0]
            if rule in tally.rules and not tally.rules[rule].reason:
                tally.rules[rule].reason = event["data"]["reason"]


def _dead_letters(batch: Sequence[Plain], told: Sequence[Told], messages: Sequence[Message]) -> list[bytes]:
    """Records that are no decisions: which line, what is wrong, and the bytes (base64 where they are no text)."""
    bad = [record for record, one in zip(batch, told, strict=True) if one.kind in ("malformed", "undeclared")]
    lines = []
    for record, (_, value, headers) in zip(bad, messages, strict=True):
        fault = next(json.loads(data or b"{}") for name, data in reversed(headers) if name == "govern-fault")
        letter = {"offset": record.offset, **fault, **_text(value)}
        lines.append(json.dumps(letter, ensure_ascii=False).encode() + b"\n")
    return lines


def _text(value: bytes | None) -> dict[str, str | None]:
    try:
        return {"value": None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value or b"").decode()}


def _differences(before: Sequence[Told], after: Sequence[Told], changes: Changes) -> list[bytes]:
    lines = []
    for old, new in zip(before, after, strict=True):
        gone, come = _rules(old) - _rules(new), _rules(new) - _rules(old)
        if (old.kind, old.effect) == (new.kind, new.effect):
            changes.other_reasons += bool(gone or come)
            continue
        changes.changed += 1
        changes.transitions[f"{_called(old)} → {_called(new)}"] += 1
        line = {
            "offset": new.decision.offset,
            "model": new.model or old.model,
            "before": _called(old),
            "after": _called(new),
            "no_longer": sorted(gone),
            "now": sorted(come),
        }
        lines.append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return lines


def _called(told: Told) -> str:
    """An effect, or what kept it from having one of its own."""
    return told.effect or "allow" if told.kind == "decision" else told.kind


def _rules(told: Told) -> set[str]:
    return {f"{one.rule} ({one.effect})" for one in told.reasons if one.applied}


def _open(path: Path, stack: ExitStack) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(path.open("wb"))
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}; give another --out") from error
