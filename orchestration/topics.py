"""Every topic in one table: names, partitions, settings, who writes and who reads. Created or checked, never accepted silently.

`plan` says what a deployment needs; `ensure` creates what is missing and refuses what differs; `grants` lists the ACLs of
each agent, transactional ids included, for clusters where somebody else makes topics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from agents.audit.agent import EVIDENCE
from agents.configuration import Configuration
from agents.errors import Misconfigured, Retryable
from orchestration.settings import DAY_MS, Settings

__all__ = [
    "BY_NAME",
    "EVIDENCE",
    "LANES",
    "STANDING",
    "TOPICS",
    "Grant",
    "Planned",
    "Topic",
    "ensure",
    "grants",
    "inputs",
    "plan",
]

Kept = Literal["time", "labels", "long", "compacted"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the design's table; `partitions` is "n" (as decisions), "k" (as observations), or a number."""

    name: str
    partitions: Literal["n", "k", 1]
    kept: Kept
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    holds: str
    roomy: bool = False
    """Takes records 64 KiB larger than decisions does: a decision with our headers."""


MONITORS = ("observe", "assess", "join")
"""The monitors' lanes: each has several inputs."""
SEVERAL = (*MONITORS, "escalation", "triage")
"""Every agent whose lanes have several inputs and write manifests."""
OWN_GROUP = (*SEVERAL, "release", "assist", "notify")
"""Every agent whose lanes have a consumer group each."""
PEOPLE = ("escalation", "release", "triage", "assist", "notify")
"""The lanes between a flag and an answer that took effect (design.md, section 9)."""

TOPICS: tuple[Topic, ...] = (
    Topic(
        "decisions",
        "n",
        "time",
        ("models", "release"),
        ("policy", "archive", "observe", "assist"),
        "what models decide, as they published it",
    ),
    Topic(
        "verdicts",
        "n",
        "long",
        ("policy", "release"),
        ("audit", "clients", "console"),
        "one verdict a decision record",
        True,
    ),
    Topic("released", "n", "time", ("policy", "release"), ("business",), "decisions let through, byte for byte", True),
    Topic("withheld", "n", "time", ("policy", "release"), ("business",), "decisions blocked, with the reason", True),
    Topic(
        "held", "n", "compacted", ("policy", "release"), ("release", "console"), "decisions waiting for a person", True
    ),
    Topic(
        "dead-letters", "n", "time", ("policy",), ("operator",), "records that are no decisions, byte for byte", True
    ),
    Topic("attributes", "n", "compacted", ("business",), ("observe",), "protected attributes by subject"),
    Topic("outcomes", "n", "labels", ("business",), ("join",), "what really happened after decisions"),
    Topic("cases", "n", "labels", ("observe",), ("join",), "decisions that wait for their outcome, without features"),
    Topic(
        "config",
        1,
        "compacted",
        ("operator", "supervisor"),
        ("policy", "audit", "supervisor", "operator", "console", "assist", "notify", "release", *SEVERAL),
        "the configuration in force",
    ),
    Topic(
        "signals",
        1,
        "compacted",
        ("assess",),
        ("policy", "audit", "escalation", "triage", "console"),
        "monitors' judgements and watermarks",
    ),
    Topic("safeguards", 1, "compacted", ("operator",), ("policy", "audit", "triage", "console"), "standing orders"),
    Topic("observations", "k", "long", ("observe", "join"), ("assess", "audit"), "what monitor lanes counted"),
    Topic(
        "flags",
        1,
        "long",
        ("policy", "audit", "archive", "console", "supervisor", *MONITORS, *PEOPLE),
        ("escalation", "console"),
        "what a person should know of",
    ),
    Topic("incidents", 1, "long", ("escalation",), ("audit", "triage", "console", "supervisor"), "flags of one cause"),
    Topic(
        "reviews",
        1,
        "long",
        ("reviewers", "console"),
        ("escalation", "audit", "console", "supervisor"),
        "people's signed answers",
    ),
    Topic(
        "rulings",
        1,
        "long",
        ("escalation",),
        ("release", "audit", "triage", "console", "supervisor"),
        "accepted results of answers, and refusals",
    ),
    Topic(
        "triage",
        1,
        "long",
        ("triage", "assist"),
        ("escalation", "assist", "audit", "console"),
        "summaries for reviewers",
    ),
    Topic(
        "notifications",
        1,
        "long",
        ("escalation", "notify", "console"),
        ("notify", "console"),
        "messages to people, and what became of them",
    ),
    Topic("manifests", 1, "long", SEVERAL, ("audit", *SEVERAL), "which inputs a step of a lane with several took"),
    Topic("ticks", 1, "time", ("supervisor",), ("policy", *SEVERAL), "one a second: how time passes"),
    Topic(
        "snapshots",
        1,
        "compacted",
        ("policy", "audit", "archive", *MONITORS, *PEOPLE),
        ("policy", "audit", "archive", *MONITORS, *PEOPLE),
        "lanes' state",
    ),
    Topic("checkpoints", 1, "long", ("audit",), ("audit", "auditors", "console"), "signed heads of the evidence logs"),
)
BY_NAME: Mapping[str, Topic] = {topic.name: topic for topic in TOPICS}
LANES = ("policy", "audit", "archive", *MONITORS, *PEOPLE)
"""Agents that run as lanes: each has transactional ids and a consumer group; lanes with several inputs have one each."""
STANDING = ("config", "signals", "safeguards")
COMPACTION_LAG_MS = 3 * DAY_MS
"""So long compaction leaves records of standing topics and of attributes alone."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A topic as it shall be in Kafka."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission an agent needs."""

    agent: str
    resource: Literal["topic", "group", "transactional-id", "cluster"]
    name: str
    prefixed: bool
    operations: tuple[str, ...]


def plan(settings: Settings, replication: int) -> list[Planned]:
    """Every topic of this deployment with its Kafka settings."""
    return [
        Planned(
            settings.topic(topic.name),
            partitions_of(topic, settings),
            replication,
            _settings(topic, settings, replication),
        )
        for topic in TOPICS
    ]


def _settings(topic: Topic, settings: Settings, replication: int) -> dict[str, str]:
    size = settings.max_record_bytes if topic.name == "decisions" else settings.output_bytes
    found = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(size),
        "min.insync.replicas": str(max(1, replication - 1)),
    }
    match topic.kept:
        case "compacted":
            found |= {"cleanup.policy": "compact"}
            # Auditors see each configuration and signal before compaction may take it, and a lane that starts again finds
            # each table as it was at its snapshot.
            if topic.name in (*STANDING, "attributes"):
                found["min.compaction.lag.ms"] = str(COMPACTION_LAG_MS)
            if topic.name == "snapshots":  # a lane reads all of it at its start: keep it short
                found |= {"segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}
        case "time":
            found |= {"cleanup.policy": "delete", "retention.ms": str(int(settings.retention_days * DAY_MS))}
        case "long":
            found |= {"cleanup.policy": "delete", "retention.ms": str(int(settings.long_retention_days * DAY_MS))}
        case "labels":
            found |= {"cleanup.policy": "delete", "retention.ms": str(int(settings.label_retention_days * DAY_MS))}
    return found


def grants(settings: Settings, configuration: Configuration | None = None) -> list[Grant]:
    """What each agent may do, and nothing more: for ACLs on a cluster of somebody else's."""
    found: list[Grant] = []
    for agent in (*LANES, "supervisor", "operator", "models", "console", "reviewers"):
        writes = [topic.name for topic in TOPICS if agent in topic.writers]
        # Commands of reviewers read what a console reads; what a person may see or do there, the configuration says.
        reads = [topic.name for topic in TOPICS if ("console" if agent == "reviewers" else agent) in topic.readers]
        found += [Grant(agent, "topic", settings.topic(name), False, ("Read", "Describe")) for name in reads]
        found += [Grant(agent, "topic", settings.topic(name), False, ("Write", "Describe")) for name in writes]
        if agent in OWN_GROUP:
            found.append(Grant(agent, "group", f"{settings.prefix}.{agent}.", True, ("Read", "Describe")))
        elif agent in LANES:
            found.append(Grant(agent, "group", f"{settings.prefix}.{agent}", False, ("Read", "Describe")))
        if agent in (*LANES, "operator", "console"):
            found.append(Grant(agent, "transactional-id", f"{settings.prefix}.{agent}.", True, ("Write", "Describe")))
        if agent in ("console", "reviewers"):  # how far the lane has come that takes their answers
            found.append(Grant(agent, "group", f"{settings.prefix}.escalation.", True, ("Describe",)))
        if agent == "supervisor":
            found += [Grant(agent, "topic", f"{settings.prefix}.", True, ("Describe", "DescribeConfigs"))]
            found += [Grant(agent, "group", f"{settings.prefix}.", True, ("Describe",))]
            # It puts approved changes in force, as the one writer of `config` (orchestration/enacting.py).
            found += [Grant(agent, "group", f"{settings.prefix}.supervisor", False, ("Read", "Describe"))]
            writer = f"{settings.prefix}.operator.config"
            found += [Grant(agent, "transactional-id", writer, False, ("Write", "Describe"))]
        if agent in ("policy", "archive", "observe", "assist") and configuration is not None:
            found += [
                Grant(agent, "topic", name, False, ("Read", "Describe")) for name in inputs(settings, configuration)
            ]
        if agent == "release" and configuration is not None:  # amended decisions go where the originals stood
            own = [one.topic for model in configuration.models.values() for one in model.callers.values() if one.topic]
            found += [Grant(agent, "topic", name, False, ("Write", "Describe")) for name in dict.fromkeys(own)]
    return found


def inputs(settings: Settings, configuration: Configuration | None) -> list[str]:
    """Full names of the topics that policy lanes judge: decisions, mapped sources, callers' own topics."""
    names = [settings.topic("decisions")]
    if configuration is not None:
        names += [source.topic for source in configuration.sources]
        for model in configuration.models.values():
            names += [caller.topic for caller in model.callers.values() if caller.topic]
    return list(dict.fromkeys(names))


async def ensure(settings: Settings, *, create: bool = True) -> list[str]:
    """Make the missing topics (where `create`), check the others; returns the names made.

    Raises Misconfigured listing every topic that is missing or differs, with the command that mends it.
    """
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        brokers = len((await admin.describe_cluster())["brokers"])
        planned = plan(settings, settings.replication or min(3, brokers))
        there = set(await admin.list_topics())
        missing = [topic for topic in planned if topic.name not in there]
        if missing and create:
            await _create(admin, missing)
            await _led(admin, missing)
            await _answering(settings, missing)
        elif missing:
            raise Misconfigured(
                "topics are missing: "
                + ", ".join(topic.name for topic in missing)
                + "; `govern topics plan` prints them"
            )
        await _check(admin, [topic for topic in planned if topic.name in there])
        return [topic.name for topic in missing]
    except KafkaError as error:
        raise Retryable(f"cannot look at the topics: {error!r}") from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Planned]) -> None:
    answer = await admin.create_topics(
        [
            NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=dict(topic.settings))
            for topic in topics
        ]
    )
    problems = []
    for name, code, *message in answer.topic_errors:
        if code and for_code(code).__name__ != "TopicAlreadyExistsError":
            problems.append(f"{name}: {for_code(code).__name__} {message[0] if message and message[0] else ''}".strip())
    if problems:
        raise Misconfigured(
            "cannot create topics (" + "; ".join(problems) + "); make them with `govern topics plan --format shell`"
        )


async def _led(admin: AIOKafkaAdminClient, topics: Sequence[Planned]) -> None:
    """Wait until every partition has a leader: a topic just made takes some moments to get one."""
    for _ in range(100):
        described = await admin.describe_topics([topic.name for topic in topics])
        if all(not topic["error_code"] and all(p["leader"] >= 0 for p in topic["partitions"]) for topic in described):
            return
        await asyncio.sleep(0.1)
    raise Retryable("the new topics have no leaders after 10 s; are all brokers up?")


async def _answering(settings: Settings, topics: Sequence[Planned]) -> None:
    """Wait until the leaders know it too, so that what starts next meets no NotLeaderForPartition."""
    consumer = AIOKafkaConsumer(**settings.client(), group_id=None)
    await consumer.start()
    try:
        places = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
        await asyncio.wait_for(consumer.end_offsets(places), 30)
    finally:
        await consumer.stop()


async def _check(admin: AIOKafkaAdminClient, topics: Iterable[Planned]) -> None:
    wanted = {topic.name: topic for topic in topics}
    if not wanted:
        return
    problems: list[str] = []
    for described in await admin.describe_topics(list(wanted)):
        topic, partitions = wanted[described["topic"]], len(described["partitions"])
        if partitions != topic.partitions:
            problems.append(f"{topic.name} has {partitions} partitions, not {topic.partitions} (GOVERN_PARTITIONS)")
    for name, found in (await _configs(admin, list(wanted))).items():
        for key, value in wanted[name].settings.items():
            if key in found and not _fits(key, found[key], value):
                problems.append(f"{name} has {key}={found[key]}, not {value}")
    if problems:
        raise Misconfigured("topics differ from the plan: " + "; ".join(problems) + "; see `govern topics plan`")


def _fits(key: str, found: str, wanted: str) -> bool:
    if key in ("retention.ms", "max.message.bytes", "min.insync.replicas", "min.compaction.lag.ms"):
        return int(found) == -1 or int(found) >= int(wanted)  # more room than planned does no harm
    return found == wanted


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Topic settings by name; a topic whose settings we may not read is left out."""
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for code, _message, _type, name, entries in answer.resources:
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def partitions_of(topic: Topic, settings: Settings) -> int:
    """How many partitions the plan gives a topic."""
    return {"n": settings.partitions, "k": settings.observation_partitions, 1: 1}[topic.partitions]


def planned_partitions(name: str, settings: Settings) -> int:
    """The same for any topic that lanes read, by its Kafka name; sources of somebody else's have at most n."""
    topic = BY_NAME.get(name.removeprefix(f"{settings.prefix}."))
    return partitions_of(topic, settings) if topic is not None else settings.partitions
