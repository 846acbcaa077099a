"""An outsider's check of what monitor lanes made of the stream: counted once, joined once, said once.

Like tests/chaos/checker.py it reads topics and shares no code with the product. What a decision counts for follows from
the small rule below; two runs over the same input are compared by `compare`, whatever their lanes' batches were.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos import checker, stream
from tests.chaos.checker import Problem, Seen

TOPICS = ("decisions", "attributes", "outcomes", "cases", "observations", "signals", "flags")
STRONG = ("alarm", "warn")


@dataclass(frozen=True)
class Counted:
    """A decision that monitors must count."""

    offset: int
    id: str
    subject: int
    label: str
    second: int
    """Of the stream's clock."""
    once: bool
    """Whether it is the first about its subject."""

    @property
    def group(self) -> int:
        """0 female, 1 male, 2 unknown: nothing is said of every twentieth subject."""
        return 2 if self.subject % 20 == 0 else 0 if stream.sex(self.subject) == "female" else 1


async def read(client: Mapping[str, object], prefix: str) -> dict[str, list[Seen]]:
    """What the topics hold, committed records only."""
    return {name: await checker.read_topic(dict(client), f"{prefix}.{name}") for name in TOPICS}


def countable(decisions: Sequence[Seen]) -> list[Counted]:
    """Well-formed decisions of the declared model that repeat no earlier one, in their order."""
    rule, seen, found = checker.Rule(), set[int](), []
    for record in decisions:
        if rule.expect(record).kind != "decision":
            continue
        event = json.loads(record.value or b"")
        subject = int(event["subject"].removeprefix("client-"))
        number = int(event["id"].partition("-")[2])
        label = event["data"]["output"]["label"]
        found.append(Counted(record.offset, event["id"], subject, label, number, subject not in seen))
        seen.add(subject)
    return found


def check(topics: Mapping[str, Sequence[Seen]]) -> list[Problem]:
    """Every broken promise; an empty list means: nothing lost, doubled or altered, by whatever lanes died when."""
    decisions = countable(topics["decisions"])
    observations = [json.loads(one.value or b"{}")["data"] for one in topics["observations"]]
    found = [one for one in observations if "counts" in one]
    problems = _observed(decisions, [one for one in found if one["stage"] == "decisions"])
    problems += _cases(decisions, topics["cases"])
    problems += _joined(decisions, topics["outcomes"], [one for one in found if one["stage"] == "outcomes"])
    for name in ("observations", "signals"):
        problems += _numbered(name, topics[name])
    return problems + _flagged(topics["signals"], topics["flags"])


def _observed(decisions: Sequence[Counted], observations: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Each stretch of decisions in one observation, with the right counts; none left out."""
    problems, reached = [], 0
    for one in observations:
        start, end = one["inputs"]["start"], one["inputs"]["end"]
        if start < reached:
            problems.append(Problem("doubled", f"decisions from {start}", f"counted up to {reached} before"))
        inside = [each for each in decisions if start <= each.offset < end]
        problems += [
            Problem("lost", f"decision {each.offset}", "in no observation")
            for each in decisions
            if reached <= each.offset < start
        ]
        found = (one["n"], one["once"], one["counts"].get("gap", {}).get("sex", _table([])))
        expected = (len(inside), sum(each.once for each in inside), _table(inside))
        if found != expected:
            problems.append(Problem("altered", f"decisions {start} to {end}", f"{found}, not {expected}"))
        reached = max(reached, end)
    problems += [
        Problem("lost", f"decision {each.offset}", "in no observation") for each in decisions if each.offset >= reached
    ]
    return problems


def _cases(decisions: Sequence[Counted], cases: Sequence[Seen]) -> list[Problem]:
    there = Counter((one.key or b"").decode() for one in cases)
    wanted = {f'["/chaos","{one.id}"]' for one in decisions}
    problems = [Problem("lost", key, "no case") for key in sorted(wanted - there.keys())]
    problems += [Problem("unknown", key, "a case of no decision") for key in sorted(there.keys() - wanted)]
    return problems + [Problem("doubled", key, f"{count} cases") for key, count in there.items() if count > 1]


def _joined(
    decisions: Sequence[Counted], outcomes: Sequence[Seen], observations: Sequence[Mapping[str, Any]]
) -> list[Problem]:
    """Every mature case with an outcome is given out once, with the outcome that was known at its maturity."""
    first: dict[str, str] = {}
    for record in outcomes:
        data = json.loads(record.value or b"{}")["data"]
        first.setdefault(data["decision"]["id"], data["outcome"])
    now = max((one.second for one in decisions), default=0)
    due = [one for one in decisions if one.id in first and one.second + stream.MATURITY_S <= now]
    total = sum(one["n"] for one in observations)
    told = _sum(one["counts"].get("~joining", {}).get("joined", [0]) for one in observations)
    problems = []
    if (total, told) != (len(due), [len(due)]):
        kind = "lost" if total < len(due) else "doubled"
        problems.append(Problem(kind, "matured cases", f"{total} counted, {told} told, not {len(due)}"))
    found = _sum(one["counts"].get("chances", {}).get("sex", []) for one in observations)
    expected = _table([one for one in due if first[one.id] == "repaid"])
    if found != expected:
        problems.append(Problem("altered", "counts of matured cases", f"{found}, not {expected}"))
    return problems


def _table(decisions: Iterable[Counted]) -> list[list[int]]:
    """By group: first decisions about a subject, and approvals among them."""
    table = [[0, 0], [0, 0], [0, 0]]
    for one in decisions:
        table[one.group][0] += one.once
        table[one.group][1] += one.once and one.label == "approve"
    return table


def _numbered(name: str, records: Sequence[Seen]) -> list[Problem]:
    """Each lane's records carry its own numbers, without a gap or a repeat."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for one in records:
        numbers[one.own("govern-writer") or ""].append(int(one.own("govern-seq") or -1))
    return [
        Problem("doubled" if len(set(found)) < len(found) else "lost", f"{name} of {writer}", f"numbers {found[:20]} …")
        for writer, found in numbers.items()
        if found != list(range(len(found)))
    ]


def _flagged(signals: Sequence[Seen], flags: Sequence[Seen]) -> list[Problem]:
    """A flag for each time that a signal turned to a warning or an alarm."""
    expected: Counter[str] = Counter()
    before: dict[bytes | None, str] = {}
    for key, data in _said(signals):
        if data["status"] in STRONG and before.get(key) != data["status"]:
            expected[data["monitor"]] += 1
        before[key] = data["status"]
    found = Counter(json.loads(json.loads(one.value or b"{}")["data"]["dedup_key"])[0] for one in flags)
    return [
        Problem(
            "lost" if found[name] < expected[name] else "doubled", f"flags of {name}", f"{found[name]}, not {count}"
        )
        for name, count in expected.items()
        if found[name] != count
    ]


def _said(signals: Sequence[Seen]) -> list[tuple[bytes | None, dict[str, Any]]]:
    """Key and data of signals; watermarks have none."""
    events = [(one.key, json.loads(one.value)["data"]) for one in signals if one.value is not None]
    return [(key, data) for key, data in events if "monitor" in data]


# -- two runs over the same input ------------------------------------------------------------------------------------


def compare(one: Mapping[str, Sequence[Seen]], other: Mapping[str, Sequence[Seen]]) -> list[Problem]:
    """Where two runs differ: cases byte for byte, observations in what they count in all, signals in where they ended."""
    problems = []
    if _by_key(one["cases"]) != _by_key(other["cases"]):
        problems.append(Problem("altered", "cases", "differ from an undisturbed run's"))
    if _totals(one["observations"]) != _totals(other["observations"]):
        problems.append(Problem("altered", "observations", "count other things in all than an undisturbed run's"))
    ends = [{key: data["status"] for key, data in _said(run["signals"])} for run in (one, other)]
    if ends[0] != ends[1]:
        problems.append(Problem("altered", "signals", f"ended as {ends[0]}, undisturbed as {ends[1]}"))
    return problems


def _by_key(records: Sequence[Seen]) -> dict[bytes | None, bytes | None]:
    return {one.key: one.value for one in records}


def _totals(observations: Sequence[Seen]) -> dict[tuple[str, str, str, str], Any]:
    """Stage, version, monitor and name → all its counts together; what was late or early depends on when a lane read."""
    total: dict[tuple[str, str, str, str], Any] = {}
    for record in observations:
        data = json.loads(record.value or b"{}")["data"]
        for monitor, counts in data.get("counts", {}).items():
            for name, values in counts.items():
                if name not in ("unlabelled", "late", "early"):
                    key = (data["stage"], data["version"], monitor, name)
                    total[key] = _sum([total.get(key, []), values])
    return total


def _sum(tables: Iterable[Any]) -> Any:
    """Nested lists of numbers added up; an empty one adds nothing."""
    total: Any = []
    for one in tables:
        total = _added(total, one) if total and one else total or one
    return total


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, list):
        return [_added(mine, its) for mine, its in zip(one, other, strict=True)]
    return one + other
