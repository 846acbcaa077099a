"""The demo's checks, made from outside on what Kafka, evidence and archive hold; each says in a sentence what it found.

`counted` looks at every record: one verdict each, one record where the verdict says that it goes, not a byte changed.
`audited` gives the standalone verifier nothing but the files and the public key, in a process of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.audit.notes import Checkpoint, split_note
from agents.audit.proof import VerdictId, find_verdict, prove
from agents.errors import GovernanceError, Retryable
from agents.records import Record
from orchestration import keys
from orchestration.archive import Archive
from orchestration.cli.audit import zipapp
from orchestration.demo.flow import Place
from orchestration.demo.records import Message
from orchestration.kafka import Broker
from orchestration.log_store import LogStore
from orchestration.profile_store import ProfileStore
from orchestration.reexecute import reexecute
from orchestration.settings import Settings

ROUTES = {"allow": "released", "log": "released", "hold": "held", "block": "withheld"}
DEAD = "dead-letters"
SETTLED_S = 30.0
SHOWN = 5  # problems of one kind that are spelt out


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    what: str
    """In a sentence: what holds, or should."""
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """It holds."""
        return not self.problems


@dataclass
class RuleHit:
    """A rule, safeguard or fault that gave an effect, with an example."""

    effect: str
    count: int = 0
    applied: bool = True
    position: str = ""
    """Of the decision that serves as the example."""
    text: str = ""
    """What was told about it."""


@dataclass
class Outcome:
    """What became of all that was sent."""

    effects: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    rules: dict[str, RuleHit] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    example: str = ""
    """Position of a decision that met with the strictest effect there was, for its most frequent reason."""
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each verdict says, by the decision's position."""
    judged_ms: dict[str, int] = field(default_factory=dict)
    """When it was written, by the broker's clock."""


def counted(settings: Settings, sent: Mapping[Place, Message]) -> Outcome:
    """Compare what was sent with every verdict and every routed record in Kafka."""
    broker = Broker(settings)
    topics = ("verdicts", *dict.fromkeys(ROUTES.values()), DEAD)
    places = [(short, number) for short in topics for number in range(settings.partitions)]

    async def read() -> list[list[Any]]:
        every = [broker.read_all(settings.topic(short), number) for short, number in places]
        return [*await asyncio.gather(*every), await broker.read_all(settings.topic("flags"))]

    *found, flags = asyncio.run(read())
    records: dict[str, list[Record]] = defaultdict(list)
    for (short, _), some in zip(places, found, strict=True):
        records[short] += some
    return compare(settings.topic("decisions"), sent, records, flags)


def compare(
    topic: str, sent: Mapping[Place, Message], records: Mapping[str, Sequence[Record]], flags: Iterable[Record]
) -> Outcome:
    """Hold verdicts and routed records against what was sent to `topic`; no Kafka here."""
    outcome = Outcome()
    verdicts = outcome.verdicts
    wrong, doubled = [], []
    expected = {f"{topic}/{place[0]}/{place[1]}": one for place, one in sent.items()}
    for record in records["verdicts"]:
        event = json.loads(record.value or b"{}")
        position, data = (record.key or b"").decode(), event["data"]
        if position in verdicts:
            doubled.append(f"{position} has two verdicts")
        verdicts[position], outcome.judged_ms[position] = data, record.timestamp
        if position not in expected:
            wrong.append(f"{event['id']} is about nothing that was sent")
        elif data["kind"] != expected[position].kind:
            wrong.append(f"{position} was sent as {expected[position].kind} and found to be {data['kind']}")
        outcome.kinds[data["kind"]] += 1
        if data["effect"] is not None:
            outcome.effects[data["effect"]] += 1
    lost = [f"{position} has no verdict" for position in expected if position not in verdicts]
    kinds = ", ".join(f"{count:,} {_words(kind, count)}" for kind, count in outcome.kinds.most_common())
    outcome.checks.append(
        Check(
            f"each of {len(sent):,} records sent has exactly one verdict, and is what it was sent as: {kinds}",
            _shown(lost, doubled, wrong),
        )
    )
    outcome.checks.append(_routed(expected, verdicts, records))
    _explain(outcome, verdicts, records, flags)
    return outcome


def _routed(
    expected: Mapping[str, Message], verdicts: Mapping[str, Mapping[str, Any]], records: Mapping[str, Sequence[Record]]
) -> Check:
    """Every verdict's route has exactly one record, with the bytes that were sent."""
    arrived: dict[str, list[str]] = defaultdict(list)
    altered = []
    for short in (*dict.fromkeys(ROUTES.values()), DEAD):
        for record in records[short]:
            position = _position(record)
            arrived[position].append(short)
            first = expected.get(position)
            if first is None or not _as_sent(short, record, first):
                altered.append(f"{short} of {position} is not what was sent")
    wrong = []
    for position, data in verdicts.items():
        route = _route(data)
        if arrived.get(position, []) != ([route] if route else []):
            wrong.append(f"{position} should be in {route or 'no topic'}, is in {arrived.get(position) or 'none'}")
    counts = Counter(short for found in arrived.values() for short in found)
    told = ", ".join(f"{count:,} {short}" for short, count in counts.most_common())
    return Check(f"each went where its verdict says, once, without a byte changed: {told}", _shown(wrong, altered))


def _as_sent(short: str, record: Record, first: Message) -> bool:
    """Value, headers and key are those of the producer; ours come after, and `held` carries the key in a header."""
    theirs, ours = list(record.headers)[: len(first.headers)], dict(list(record.headers)[len(first.headers) :])
    key = base64.b64decode(ours.get("govern-key") or b"") if short == "held" else record.key
    return (record.value, theirs, key) == (first.value, list(first.headers), first.key)


def _words(kind: str, count: int) -> str:
    return f"{kind}s" if count != 1 and kind in ("decision", "duplicate", "conflict") else kind


def _route(data: Mapping[str, Any]) -> str | None:
    if data["kind"] == "duplicate":
        return None
    return DEAD if data["kind"] in ("malformed", "undeclared") else ROUTES[data["effect"]]


def _position(record: Record) -> str:
    """Of the decision that a routed record is; our own header comes last."""
    found = [value or b"" for name, value in record.headers if name == "govern-verdict"]
    return found[-1].decode().removesuffix("/gate") if found else ""


def _explain(
    outcome: Outcome,
    verdicts: Mapping[str, Mapping[str, Any]],
    records: Mapping[str, Sequence[Record]],
    flags: Iterable[Record],
) -> None:
    """How often each rule gave an effect, and what it said of one decision."""
    for position, data in verdicts.items():
        for reason in data["reasons"]:
            hit = outcome.rules.setdefault(reason["rule"], RuleHit(reason["effect"], 0, reason["applied"], position))
            hit.count += 1
    for record in flags:
        data = json.loads(record.value or b"{}")["data"]
        hit_by = outcome.rules.get(json.loads(data["dedup_key"])[0])
        if hit_by is not None and not hit_by.text:
            hit_by.position = f"{data['topic']}/{data['partition']}/{data['first_offset']}"
            hit_by.text = data["reason"]
    applied = [hit for hit in outcome.rules.values() if hit.applied and verdicts[hit.position]["kind"] == "decision"]
    applied.sort(key=lambda hit: (list(ROUTES).index(hit.effect), hit.count), reverse=True)
    outcome.example = applied[0].position if applied else next(iter(verdicts), "")


def answered(settings: Settings, sent: Mapping[Place, Message], finals: Mapping[str, str]) -> Check:
    """What people answered went out or was withheld, once and as it was sent; what they did not answer still waits.

    `finals`: position of each held decision that has ended → its resolution.
    """
    topic, broker = settings.topic("decisions"), Broker(settings)
    expected = {f"{topic}/{place[0]}/{place[1]}": one for place, one in sent.items()}
    wanted = {position: "released" if said == "approved" else "withheld" for position, said in finals.items()}
    places = [(short, n) for short in ("released", "withheld", "held") for n in range(settings.partitions)]

    async def read() -> list[list[Any]]:
        return list(await asyncio.gather(*(broker.read_all(settings.topic(short), n) for short, n in places)))

    arrived: dict[str, list[str]] = defaultdict(list)
    waiting: set[str] = set()
    altered, lost = [], []
    for (short, _), records in zip(places, asyncio.run(read()), strict=True):
        for record in records:
            if short == "held":
                position = (record.key or b"").decode()
                waiting = waiting - {position} if record.value is None else waiting | {position}
                continue
            name = next((value or b"" for name, value in reversed(record.headers) if name == "govern-verdict"), b"")
            if not name.endswith(b"/final"):
                continue
            position = name.decode().removesuffix("/final")
            arrived[position].append(short)
            if position not in expected or not _as_sent(short, record, expected[position]):
                altered.append(f"{short} of {position} is not what was sent")
    for position, route in wanted.items():
        if arrived.get(position) != [route]:
            lost.append(f"{position} should be in {route}, is in {arrived.get(position) or 'none'}")
        if position in waiting:
            lost.append(f"{position} was answered and still waits")
    lost += [
        f"{position} is in {short}, and nobody answered it"
        for position, short in arrived.items()
        if position not in wanted
    ]
    counts = Counter(wanted.values())
    told = " and ".join(f"{counts[short]:,} {short}" for short in ("released", "withheld") if counts[short])
    what = (
        f"what people answered is {told or 'nothing'}, once and byte for byte; {len(waiting):,} held decisions wait on"
    )
    return Check(what, _shown(lost, altered))


def settled(settings: Settings, sent: Mapping[Place, Message], finals: int = 0) -> Check:
    """Wait until evidence and archive have caught up: nothing is written to them any more, and nothing is missing."""
    store, archive = LogStore(settings.store_url), Archive(settings.archive_url)
    topic, deadline = settings.topic("decisions"), time.monotonic() + SETTLED_S
    while True:
        judged = sum(_size(store, f"{settings.prefix}/verdicts/{n}") for n in range(settings.partitions))
        notes = asyncio.run(Broker(settings).read_all(settings.topic("checkpoints")))
        root = f"{settings.prefix}/root"
        own = sum(record.key != root.encode() for record in notes)
        if judged == len(sent) + finals and _size(store, root) == own:
            break
        if time.monotonic() > deadline:
            return Check(
                "evidence is complete", (f"{judged:,} of {len(sent) + finals:,} verdicts are in the evidence",)
            )
        time.sleep(0.25)
    kept: dict[Place, bytes | None] = {}
    while time.monotonic() < deadline:
        for number in range(settings.partitions):
            kept |= {(number, one.offset): one.value for one in archive.scan(topic, number, 0, 1 << 62)}
        if len(kept) >= len(sent):
            break
        time.sleep(0.25)
    bad = [f"{topic}/{at[0]}/{at[1]} is not archived as sent" for at, one in sent.items() if kept.get(at) != one.value]
    what = f"all {judged:,} verdicts are in signed logs, all {len(sent):,} decisions in the archive"
    return Check(what, _shown(bad))


def audited(settings: Settings, folder: Path) -> Check:
    """Verify the evidence as an auditor does: the verifier in one file, the public key, the published checkpoints."""
    verifier, key = folder / "verifier.pyz", folder / f"{settings.prefix}.verifier"
    folder.mkdir(parents=True, exist_ok=True)
    verifier.write_bytes(zipapp())
    shutil.copyfile(keys.paths(settings.prefix, settings.keys_dir).verifier, key)
    words = ["verify", settings.store_url, "--key", str(key), "--since", settings.publish, "--json"]
    done = _alone(verifier, *words)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return Check("the standalone verifier finds the evidence in order", (_said(done),))
    logs, entries = report["logs"], sum(log["leaves"] for log in report["logs"])
    problems = [f"{one['log']}: {one['what']}" for one in report["findings"]]
    if not all(report[kind] is True for kind in ("ok", "consistent", "anchored", "complete")) and not problems:
        problems.append(_said(done))
    what = f"the standalone verifier finds {len(logs)} logs with {entries:,} entries consistent, anchored and complete"
    return Check(what, _shown(problems))


def proved(settings: Settings, position: str, folder: Path) -> Check:
    """Prove one verdict, and check the proof with nothing but the public key."""
    read, out = LogStore(settings.store_url).read, folder / "proof.json"
    wanted = VerdictId.parse(f"{position}/gate")
    proof = json.dumps(prove(read, *find_verdict(read, settings.prefix, wanted)), indent=2)
    out.write_text(proof + "\n")
    done = _alone(
        folder / "verifier.pyz", "check-proof", str(out), "--key", str(folder / f"{settings.prefix}.verifier")
    )
    what = f"the verdict on {position} is proved by {out.name} ({len(proof):,} bytes) and the public key alone"
    return Check(what, () if done.returncode == 0 and done.stdout.startswith("OK") else (_said(done),))


def judged_again(settings: Settings, position: str, what: str = "") -> Check:
    """Judge one recorded decision again, from evidence and archive; `what` says what is special about it."""
    named = f"{position}, {what}," if what else position
    salt = keys.load_salt(keys.paths(settings.prefix, settings.keys_dir).salt)
    store, archive = LogStore(settings.store_url), Archive(settings.archive_url)
    profiles = ProfileStore(settings.profiles_url).get
    try:
        wanted = VerdictId.parse(f"{position}/gate")
        found = reexecute(wanted, settings.prefix, store, archive, salt, settings.max_record_bytes, profiles)
    except GovernanceError as error:
        return Check(f"{named} judged again gives the same verdict", (str(error),))
    problems = [f"{one.field}: {one.recorded}, again {one.again}" for one in found.differences] + list(found.remarks)
    same = f"all {len(found.recorded)} bytes of its verdict"
    return Check(f"{named} judged again, from evidence and archive, gives {same}", _shown(problems))


def _alone(verifier: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier where nothing of this project can be imported."""
    command = [sys.executable, "-I", str(verifier), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=verifier.parent)
    except subprocess.TimeoutExpired as error:
        raise Retryable(f"{verifier} takes longer than two minutes") from error


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr or done.stdout).strip()[-1000:] or f"exit status {done.returncode}"


def _size(store: LogStore, log: str) -> int:
    note = store.checkpoint(log)
    return Checkpoint.parse(split_note(note)[0]).size if note is not None else 0


def _shown(*problems: Sequence[str]) -> tuple[str, ...]:
    """The first few of each kind, and how many more there are."""
    told: list[str] = []
    for some in problems:
        told += some[:SHOWN]
        if len(some) > SHOWN:
            told.append(f"… and {len(some) - SHOWN:,} more like it")
    return tuple(told)
