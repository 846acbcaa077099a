"""An outsider's check of the promise: reads the topics and the evidence files, and shares no code with the product.

It knows what was sent (`Sent`, by the producer's own acknowledgements) and the right effect of each decision by the small
rule below. It returns every broken promise as a `Problem`; an empty list means: nothing lost, doubled, released without
leave, altered or unaudited. It may be run alone:

    python -m tests.chaos.checker --bootstrap 127.0.0.1:9092 --prefix gim --store var/evidence
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer

OUTPUTS = ("verdicts", "released", "held", "withheld", "dead-letters")


@dataclass(frozen=True)
class Seen:
    """One committed record."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def own(self, name: str) -> str | None:
        """Our header of this name: the last one, because a producer may have forged an earlier one."""
        found = [value for key, value in self.headers if key == name]
        return found[-1].decode() if found and found[-1] is not None else None


@dataclass
class View:
    """Everything the checker looks at."""

    topics: dict[str, list[Seen]]
    """Short name → committed records in partition and offset order."""
    leaves: dict[int, list[bytes]] | None = None
    """Partition of verdicts → entries of its evidence log; None: evidence is not checked."""


@dataclass(frozen=True, order=True)
class Problem:
    """One broken promise."""

    kind: str
    """lost, doubled, without-leave, wrong-effect, altered, unaudited, unknown."""
    where: str
    detail: str = ""


@dataclass
class Expected:
    """What should become of one record, by the rule below."""

    kind: str
    effect: str | None
    route: str | None
    rules: tuple[str, ...] = ()
    holding: tuple[str, ...] = ()
    """The rules that hold it; none where it is not held."""
    version: str = ""
    answered: tuple[str, ...] = ()
    """Rules that a person answered before: recorded, neither applied nor flagged."""


@dataclass
class Rule:
    """The small rule: it must agree with tests/chaos/config, which the product reads."""

    models: tuple[str, ...] = ("loan",)
    window: int = 100_000
    gate: bool = True
    edits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Rulings that edit → the rules that they answer: an amended decision names one in `govern-edit`."""
    _seen: dict[int, dict[str, tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(dict))
    _count: Counter[int] = field(default_factory=Counter)

    def expect(self, record: Seen) -> Expected:
        """Call it for the records of a partition in offset order."""
        number = self._count[record.partition]
        self._count[record.partition] += 1
        try:
            event = json.loads(record.value or b"")
            identity = f"{event['source']}\0{event['id']}"
            model, output = event["data"]["model"]["name"], event["data"]["output"]
            score, confidence = float(output["score"]), float(output["confidence"])
            amount = float(event["data"]["features"]["amount"])
            version = str(event["data"]["model"]["version"])
        except (ValueError, KeyError, TypeError):
            return Expected("malformed", "block", "dead-letters", ("record/malformed",))
        answered = self._answered(record, event)
        if answered is None and any(name.startswith("govern-") for name, _ in record.headers):
            return Expected("malformed", "block", "dead-letters", ("record/malformed",))
        before = self._seen[record.partition].get(identity)
        self._seen[record.partition][identity] = (number, record.value or b"")
        if model not in self.models:
            return Expected("undeclared", "block", "dead-letters", ("record/undeclared",))
        if before is not None and number - before[0] <= self.window:
            if before[1] == record.value:
                return Expected("duplicate", None, None)
            return Expected("conflict", "block", "withheld" if self.gate else None, ("record/conflict",))
        rules = []
        if score > 0.9:
            rules.append("limits/block-high")
        if confidence < 0.2:
            rules.append("limits/hold-unsure")
        if amount > 900:
            rules.append("limits/log-large")
        holding = tuple({"limits/hold-unsure"} & set(rules) - set(answered or ()))
        effect = "block" if score > 0.9 else "hold" if holding else "log" if amount > 900 else "allow"
        route = {"block": "withheld", "hold": "held", "log": "released", "allow": "released"}[effect]
        route_ = route if self.gate else None
        waits = holding if route_ == "held" else ()
        return Expected("decision", effect, route_, tuple(rules), waits, version, answered or ())

    def _answered(self, record: Seen, event: dict[str, object]) -> tuple[str, ...] | None:
        """What an amended decision answers; None where it is none, or claims a ruling that does not exist."""
        if [name for name, _ in record.headers if name.startswith("govern-")] != ["govern-edit"]:
            return None
        ruling = json.loads(record.own("govern-edit") or "{}").get("ruling")
        return self.edits.get(ruling) if str(event["id"]).startswith(f"{ruling}/") else None


def check(view: View, prefix: str, rule: Rule, sent: Sequence[Seen] | None = None) -> list[Problem]:
    """Every broken promise of `view`; `sent` is what the producer knows was acknowledged."""
    problems: list[Problem] = []
    decisions = sorted(view.topics["decisions"], key=lambda record: (record.partition, record.offset))
    if sent is not None:
        problems += _arrived(decisions, sent, prefix)
    rulings = [json.loads(one.value or b"") | {"at": one.offset} for one in view.topics.get("rulings", ())]
    rulings = [one for one in rulings if one["type"] == "governance.ruling.v1"]
    rule.edits |= {one["id"]: _rules(one) for one in rulings if one["data"]["resolution"] == "edited"}
    gates = _by_place([one for one in view.topics["verdicts"] if not _final(one)], _key)
    finals = _by_place([one for one in view.topics["verdicts"] if _final(one)], _key)
    pending = [one for one in view.topics["held"] if one.value is not None]
    tombstones = _by_place([one for one in view.topics["held"] if one.value is None], _key)
    ends = {
        name: _by_place(records, lambda record: (record.own("govern-verdict") or "").rpartition("/")[0])
        for name, records in (
            *((name, view.topics[name]) for name in ("released", "withheld", "dead-letters")),
            ("held", pending),
        )
    }
    amended = Counter(
        json.loads(one.value or b"{}").get("id") for one in decisions if one.own("govern-edit") is not None
    )
    places = set()
    flags: Counter[str] = Counter()
    for record in decisions:
        place = f"{prefix}.decisions/{record.partition}/{record.offset}"
        places.add(place)
        expected = rule.expect(record)
        silent = {*expected.answered, *(("limits/hold-unsure",) if expected.effect == "block" else ())}
        flags.update(one for one in expected.rules if one not in silent)
        problems += _judged(record, place, gates.get(place, []), expected)
        ruled = _ruled(record, f"{prefix}.decisions", expected, rulings) if expected.holding else None
        problems += _answered(place, finals.get(place, []), tombstones.get(place, []), ruled)
        if ruled is not None and ruled[1] == "edited":
            problems += _amended(f"{ruled[2]}/{place}", amended)
        found = {name: found.get(place, []) for name, found in ends.items()}
        problems += _ended(record, place, found, expected.route, ruled)
    for name, found in (("verdicts", gates), ("final verdicts", finals), ("tombstones", tombstones), *ends.items()):
        problems += [
            Problem("unknown", f"{name}: {place}", "no such decision") for place in found if place not in places
        ]
    problems += _flagged(view.topics.get("flags", []), flags)
    if view.leaves is not None:
        problems += _audited(view.topics["verdicts"], view.leaves)
    return sorted(problems)


def _final(verdict: Seen) -> bool:
    return str(json.loads(verdict.value or b"{}").get("id", "")).endswith("/final")


def _key(record: Seen) -> str:
    return (record.key or b"").decode()


def _rules(ruling: dict[str, Any]) -> tuple[str, ...]:
    return tuple(json.loads(key)[0] for key in ruling["data"]["keys"])


def _ruled(
    record: Seen, topic: str, expected: Expected, rulings: Sequence[dict[str, Any]]
) -> tuple[str, str, str] | None:
    """(effect, resolution, ruling) of a held decision by the first rulings that answer it; None: it still waits."""
    keys = {json.dumps([one, "loan", expected.version, None], separators=(",", ":")) for one in expected.holding}
    left = set(keys)
    for ruling in rulings:
        data = ruling["data"]
        if data.get("items") is None:
            covered = record.offset < data.get("through", {}).get(f"{topic}/{record.partition}", 0)
        else:
            covered = {"topic": topic, "partition": record.partition, "offset": record.offset} in data["items"]
        if not covered or not keys & set(data["keys"]):
            continue
        if data["resolution"] == "edited" or data["effect"] == "block":
            return "block", data["resolution"], ruling["id"]
        if data["effect"] == "allow":
            left -= set(data["keys"])
            if not left:
                return "allow", data["resolution"], ruling["id"]
    return None


def _answered(
    place: str, finals: Sequence[Seen], tombstones: Sequence[Seen], ruled: tuple[str, str, str] | None
) -> list[Problem]:
    """A held decision that rulings answer has one final verdict and one tombstone; any other has neither."""
    if ruled is None:
        told = [f"{len(finals)} final verdicts"] * bool(finals) + [f"{len(tombstones)} tombstones"] * bool(tombstones)
        return [Problem("without-leave", place, f"{one}, which no ruling allows") for one in told]
    problems = []
    for what, found in (("final verdict", finals), ("tombstone", tombstones)):
        if len(found) != 1:
            problems.append(Problem("doubled" if found else "lost", place, f"{len(found)} {what}s"))
    for verdict in finals:
        event = json.loads(verdict.value or b"{}")
        said = (event["data"].get("effect"), event["data"].get("resolution"), event.get("causationid"))
        if said != ruled:
            problems.append(Problem("wrong-effect", place, f"final verdict {said}, not {ruled}"))
    return problems


def _amended(identity: str, amended: Counter[Any]) -> list[Problem]:
    """What a person put in a decision's place was published once."""
    count = amended[identity]
    return [] if count == 1 else [Problem("doubled" if count else "lost", identity, f"{count} amended decisions")]


def _by_place(records: Iterable[Seen], place: object) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = defaultdict(list)
    for record in records:
        found[place(record)].append(record)  # type: ignore[operator]
    return dict(found)


def _arrived(decisions: Sequence[Seen], sent: Sequence[Seen], prefix: str) -> list[Problem]:
    there = {(record.partition, record.offset): record for record in decisions}
    problems = []
    for record in sent:
        place = f"{prefix}.decisions/{record.partition}/{record.offset}"
        found = there.get((record.partition, record.offset))
        if found is None:
            problems.append(Problem("lost", place, "acknowledged, but not on the topic"))
        elif (found.key, found.value, found.headers) != (record.key, record.value, record.headers):
            problems.append(Problem("altered", place, "the topic holds other bytes than were sent"))
    return problems


def _judged(record: Seen, place: str, verdicts: Sequence[Seen], expected: Expected) -> list[Problem]:
    if not verdicts:
        return [Problem("lost", place, "no verdict")]
    problems = [Problem("doubled", place, f"{len(verdicts)} verdicts")] if len(verdicts) > 1 else []
    for verdict in verdicts:
        data = json.loads(verdict.value or b"{}").get("data", {})
        if (data.get("kind"), data.get("effect")) != (expected.kind, expected.effect):
            problems.append(
                Problem(
                    "wrong-effect",
                    place,
                    f"{data.get('kind')}/{data.get('effect')}, not {expected.kind}/{expected.effect}",
                )
            )
        rules = {reason["rule"] for reason in data.get("reasons", [])}
        if rules != set(expected.rules):
            problems.append(Problem("wrong-effect", place, f"rules {sorted(rules)}, not {sorted(expected.rules)}"))
        if verdict.partition != record.partition:
            problems.append(Problem("unknown", place, f"verdict on partition {verdict.partition}"))
    return problems


def _ended(
    record: Seen, place: str, ends: dict[str, list[Seen]], route: str | None, ruled: tuple[str, str, str] | None
) -> list[Problem]:
    problems = []
    wanted = {route} if ruled is None else {"held", "released" if ruled[0] == "allow" else "withheld"}
    stage = "gate" if ruled is None else "final"
    for name, found in ends.items():
        if name in wanted:
            if not found and not (name == "held" and ruled is not None):  # compaction may have taken what ended
                problems.append(Problem("lost", place, f"not in {name}"))
            elif len(found) > 1:
                problems.append(Problem("doubled", place, f"{len(found)} times in {name}"))
            for copy in found if name != "held" else ():
                if copy.own("govern-verdict") != f"{place}/{stage}":
                    problems.append(Problem("without-leave", place, f"in {name} by {copy.own('govern-verdict')}"))
        elif found:
            problems.append(Problem("without-leave", place, f"in {name}, which nothing allows"))
        for copy in found:
            key = base64.b64decode(copy.own("govern-key") or "") if name == "held" else copy.key
            if name == "held" and copy.own("govern-key") is None:
                key = None
            count = len(record.headers)
            if (copy.value, key, copy.headers[:count]) != (record.value, record.key, record.headers):
                problems.append(Problem("altered", place, f"other bytes in {name}"))
    return problems


def _flagged(records: Sequence[Seen], expected: Counter[str]) -> list[Problem]:
    found: Counter[str] = Counter()
    for record in records:
        data = json.loads(record.value or b"{}")["data"]
        cause = json.loads(data["dedup_key"])[0]
        if "/" in cause:  # a policy's rule or a record's fault; a monitor's name has none
            found[cause] += data["count"]
    return [
        Problem("wrong-effect", f"flags of {cause}", f"{found[cause]} counted, not {expected[cause]}")
        for cause in sorted(found.keys() | expected.keys())
        if found[cause] != expected[cause]
    ]


def _audited(verdicts: Sequence[Seen], leaves: dict[int, list[bytes]]) -> list[Problem]:
    problems = []
    for partition in sorted({record.partition for record in verdicts} | leaves.keys()):
        entries = leaves.get(partition, [])
        records = [record for record in verdicts if record.partition == partition]
        for number, record in enumerate(records):
            where = f"verdicts/{partition}/{record.offset}"
            if number >= len(entries):
                problems.append(Problem("unaudited", where, f"no leaf {number}"))
            elif (record.value or b"") not in entries[number] or struct.pack(">Q", record.offset) not in entries[
                number
            ]:
                problems.append(Problem("unaudited", where, f"leaf {number} is another record"))
        if len(entries) > len(records):
            problems.append(
                Problem("unknown", f"verdicts/{partition}", f"{len(entries) - len(records)} leaves too many")
            )
    return problems


# -- reading ---------------------------------------------------------------------------------------------------------


async def read(client: dict[str, object], prefix: str, store: Path | None = None) -> View:
    """Look at the topics up to their present ends, and at the evidence files."""
    topics = {
        name: await read_topic(client, f"{prefix}.{name}") for name in ("decisions", *OUTPUTS, "flags", "rulings")
    }
    leaves = None
    if store is not None:
        partitions = {record.partition for record in topics["decisions"]}
        leaves = {partition: read_log(store / prefix / "verdicts" / str(partition)) for partition in partitions}
    return View(topics, leaves)


async def read_topic(client: dict[str, object], topic: str, isolation: str = "read_committed") -> list[Seen]:
    """Every record of a topic that a reader of this isolation sees, by partition and offset."""
    consumer = AIOKafkaConsumer(topic, **client, group_id=None, isolation_level=isolation, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = sorted(consumer.assignment())  # without a group: all partitions
        ends = await consumer.end_offsets(places)
        found: list[Seen] = []
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += [
                    Seen(record.partition, record.offset, record.key, record.value, tuple(record.headers))
                    for record in batch
                ]
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


def read_log(folder: Path) -> list[bytes]:
    """The entries of a log as its checkpoint says: C2SP tlog-tiles, entry bundles of at most 256."""
    if not (folder / "checkpoint").exists():
        return []
    size = int((folder / "checkpoint").read_text().splitlines()[1])
    entries: list[bytes] = []
    while len(entries) < size:
        number, width = len(entries) // 256, min(256, size - len(entries))
        path = _tile_path(number)
        full = folder / "tile" / "entries" / path
        data = (
            full.read_bytes()
            if full.exists()
            else (folder / "tile" / "entries" / f"{path}.p" / str(width)).read_bytes()
        )
        for _ in range(width):
            length = struct.unpack_from(">H", data)[0]
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
    return entries


def _tile_path(number: int) -> str:
    path = f"{number % 1000:03d}"
    while number >= 1000:
        number //= 1000
        path = f"x{number % 1000:03d}/{path}"
    return path


def main() -> None:
    """Check a deployment and print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", default="gim")
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    view = asyncio.run(read({"bootstrap_servers": options.bootstrap}, options.prefix, options.store))
    problems = check(view, options.prefix, Rule())
    for problem in problems[:50]:
        print(f"{problem.kind}: {problem.where}: {problem.detail}")
    print(f"{len(view.topics['decisions'])} decisions, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
