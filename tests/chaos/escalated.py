"""An outsider's check of the escalation lane: reads its topics, and shares no code with the product.

It returns every broken promise: a flag counted not once, an incident or a record of one lost or doubled, a review that took
effect twice or left no trace, a ruling over decisions that had one, a message lost or doubled. It knows the deployment of
tests/chaos/escalation_campaign.py: flags of one dedup_key are one incident, one person's word is enough, whoever is told
is told by mail.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.chaos.checker import Problem, Seen, read_topic

TOPICS = ("flags", "reviews", "incidents", "rulings", "notifications")
Topics = dict[str, list[Seen]]
TOLD = {"told", "escalated"}


async def read(client: dict[str, object], prefix: str) -> Topics:
    """Everything the check looks at."""
    return {name: await read_topic(client, f"{prefix}.{name}") for name in TOPICS}


def check(topics: Topics) -> list[Problem]:
    """Every broken promise; none where all is well."""
    records = {name: [(one, json.loads(one.value or b"{}")) for one in found] for name, found in topics.items()}
    incidents: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, event in records["incidents"]:
        incidents[event["data"]["incident"]].append(event["data"])
    return [
        *_numbered(topics),
        *_whole(incidents),
        *_one_at_a_time(records["incidents"]),
        *_counted(records["flags"], incidents),
        *_answered(records["reviews"], records["rulings"], incidents),
        *_ruled_once(records["rulings"]),
        *_told(records["notifications"], incidents),
    ]


def _numbered(topics: Topics) -> Iterator[Problem]:
    """The lane's evidence has no gap and nothing twice."""
    for name in ("incidents", "rulings"):
        numbers = [int(one.own("govern-seq") or -1) for one in topics[name]]
        if numbers != list(range(len(numbers))):
            yield Problem("lost", f"{name}", f"its numbers are {numbers[:20]} … for {len(numbers)} records")


def _whole(incidents: dict[str, list[dict[str, Any]]]) -> Iterator[Problem]:
    order = ["triggered", "acknowledged", "resolved"]
    for name, found in incidents.items():
        revisions = [one["revision"] for one in found]
        if revisions != list(range(len(found))):
            yield Problem(
                "doubled" if len(set(revisions)) < len(revisions) else "lost", f"incident {name}", str(revisions)
            )
        if [one["change"] for one in found].count("triggered") != 1:
            yield Problem("doubled", f"incident {name}", "triggered not once")
        states = [order.index(one["status"]) for one in found]
        if states != sorted(states):
            yield Problem("altered", f"incident {name}", "its status went back")


def _one_at_a_time(records: list[tuple[Seen, dict[str, Any]]]) -> Iterator[Problem]:
    """A cause has one open incident at a time."""
    there: dict[str, set[str]] = defaultdict(set)
    for _, event in records:
        data = event["data"]
        found = there[data["group"]]
        found.discard(data["incident"]) if data["status"] == "resolved" else found.add(data["incident"])
        if len(found) > 1:
            yield Problem("doubled", f"group {data['group']}", f"two are open: {sorted(found)}")


def _counted(flags: list[tuple[Seen, dict[str, Any]]], incidents: dict[str, list[dict[str, Any]]]) -> Iterator[Problem]:
    wanted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for _, event in flags:
        wanted[event["data"]["dedup_key"]] += event["data"]["count"]
    for records in incidents.values():
        found[records[-1]["group"]] += records[-1]["count"]
    for key in wanted.keys() | found.keys():
        if wanted[key] != found[key]:
            kind = "lost" if found[key] < wanted[key] else "doubled"
            yield Problem(kind, f"flags {key}", f"{wanted[key]} decisions were flagged, incidents count {found[key]}")


def _answered(
    reviews: list[tuple[Seen, dict[str, Any]]],
    rulings: list[tuple[Seen, dict[str, Any]]],
    incidents: dict[str, list[dict[str, Any]]],
) -> Iterator[Problem]:
    """Each review took effect once, or was refused once."""
    ruled: Counter[int] = Counter()
    refused: Counter[int] = Counter()
    for _, event in rulings:
        if event["type"] == "governance.refusal.v1":
            refused[event["data"]["review"]["offset"]] += 1
        for place in event["data"].get("reviews", ()):
            ruled[int(place.rpartition("/")[2])] += 1
    taken: Counter[tuple[str, str]] = Counter()
    for name, records in incidents.items():
        for one in records:
            if one["change"] == "acknowledged":
                taken[name, one["by"]] += 1
    for record, event in reviews:
        data, where = event["data"], f"review {record.offset}"
        effects = ruled[record.offset] + refused[record.offset]
        if data["action"] == "acknowledge" and not refused[record.offset]:
            effects += taken[data["incident"], data["person"]]
        if effects != 1:
            yield Problem("lost" if not effects else "doubled", where, f"{data['action']} had {effects} effects")


def _ruled_once(rulings: list[tuple[Seen, dict[str, Any]]]) -> Iterator[Problem]:
    """Rulings of an incident are numbered, and each covers more than those before."""
    numbers: dict[str, list[int]] = defaultdict(list)
    covered: dict[tuple[str, str], int] = {}
    for _, event in rulings:
        if event["type"] != "governance.ruling.v1":
            continue
        name, _, number = event["id"].rpartition("/")
        numbers[name].append(int(number))
        through = event["data"].get("through", {})
        if not any(end > covered.get((name, place), 0) for place, end in through.items()):
            yield Problem("doubled", f"ruling {event['id']}", "nothing that it covers was open")
        covered |= {(name, place): end for place, end in through.items()}
    for name, found in numbers.items():
        if found != list(range(len(found))):
            yield Problem("doubled", f"rulings of {name}", str(found))


def _told(notes: list[tuple[Seen, dict[str, Any]]], incidents: dict[str, list[dict[str, Any]]]) -> Iterator[Problem]:
    """Each record that says somebody was told has its message, and each message its record; the first comes once."""
    ids = Counter(event["id"] for _, event in notes)
    for name, count in ids.items():
        if count > 1:
            yield Problem("doubled", f"notification {name}", f"{count} times")
    sent = {(event["data"]["incident"], int(event["id"].split("/")[1])) for _, event in notes}
    triggers = Counter(event["data"]["incident"] for _, event in notes if event["data"]["kind"] == "trigger")
    for name, records in incidents.items():
        if triggers[name] != 1:
            yield Problem(
                "lost" if not triggers[name] else "doubled", f"incident {name}", f"{triggers[name]} first messages"
            )
        for one in records:
            said = TOLD & {one["change"], *one.get("changes", ())} or one["change"] == "resolved"
            if said and (name, one["revision"]) not in sent:
                yield Problem("lost", f"notification {name}/{one['revision']}", "told nobody")
    known = {(name, one["revision"]) for name, records in incidents.items() for one in records}
    for name, revision in sorted(sent - known):
        yield Problem("unknown", f"notification {name}/{revision}", "there is no such record")
