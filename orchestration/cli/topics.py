"""`govern topics`: what topics and ACLs a deployment needs; make them, or check those that somebody else made."""

from __future__ import annotations

import asyncio
import shlex
from typing import Annotated, Literal

import typer
import yaml
from rich.console import Console

from orchestration.settings import Settings
from orchestration.topics import Grant, Planned, ensure, grants, plan

app = typer.Typer(no_args_is_help=True, help=__doc__)
console = Console(highlight=False)

FORMAT = Annotated[
    Literal["shell", "strimzi"], typer.Option("--format", help="Kafka's own scripts, or Strimzi resources.")
]
REPLICATION = Annotated[int, typer.Option(min=1, max=9, help="Replicas of each topic.")]
USERS = Annotated[str, typer.Option(help="Principal of each agent; {agent} is replaced.")]


@app.command("plan")
def plan_(form: FORMAT = "shell", replication: REPLICATION = 3, principal: USERS = "User:gim-{agent}") -> None:
    """Print every topic with its settings, and the ACLs that each agent needs.

    Example: govern topics plan --format shell > topics.sh

    Example: GOVERN_PREFIX=bank govern topics plan --format strimzi | kubectl apply -f -
    """
    settings = Settings()
    planned, granted = plan(settings, replication), grants(settings)
    if form == "shell":
        typer.echo(_shell(planned, granted, principal))
    else:
        typer.echo(_strimzi(planned, granted, principal))


@app.command()
def create() -> None:
    """Make the topics that are missing and check the others. Running it again changes nothing."""
    made = asyncio.run(ensure(Settings()))
    console.print(f"made {len(made)} topics: {', '.join(made)}" if made else "all topics are there, as planned")


@app.command()
def check() -> None:
    """Check that every topic is there with the planned partitions and settings; exit status 1 if not."""
    asyncio.run(ensure(Settings(), create=False))
    console.print("all topics are there, as planned")


def _shell(topics: list[Planned], granted: list[Grant], principal: str) -> str:
    lines = [
        "#!/bin/sh",
        "# Run with BOOTSTRAP=host:port and, where the cluster asks for it, CONFIG=admin.properties",
        'set -e; KAFKA="--bootstrap-server $BOOTSTRAP ${CONFIG:+--command-config $CONFIG}"',
    ]
    for topic in topics:
        options = " ".join(f"--config {shlex.quote(f'{key}={value}')}" for key, value in topic.settings.items())
        lines.append(
            f"kafka-topics.sh $KAFKA --create --if-not-exists --topic {shlex.quote(topic.name)} "
            f"--partitions {topic.partitions} --replication-factor {topic.replication} {options}"
        )
    for grant in granted:
        kind = {"topic": "--topic", "group": "--group", "transactional-id": "--transactional-id"}[grant.resource]
        pattern = " --resource-pattern-type prefixed" if grant.prefixed else ""
        who = shlex.quote(principal.format(agent=grant.agent))
        operations = " ".join(f"--operation {operation}" for operation in grant.operations)
        lines.append(
            f"kafka-acls.sh $KAFKA --add --allow-principal {who} {operations} {kind} {shlex.quote(grant.name)}{pattern}"
        )
    return "\n".join(lines)


def _strimzi(topics: list[Planned], granted: list[Grant], principal: str) -> str:
    documents: list[dict[str, object]] = [
        {
            "apiVersion": "kafka.strimzi.io/v1beta2",
            "kind": "KafkaTopic",
            "metadata": {"name": topic.name, "labels": {"strimzi.io/cluster": "kafka"}},
            "spec": {
                "topicName": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication,
                "config": dict(topic.settings),
            },
        }
        for topic in topics
    ]
    for name in dict.fromkeys(_user(principal, grant) for grant in granted):
        kinds = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}
        acls = [
            {
                "resource": {
                    "type": kinds[grant.resource],
                    "name": grant.name,
                    "patternType": "prefix" if grant.prefixed else "literal",
                },
                "operations": list(grant.operations),
            }
            for grant in granted
            if _user(principal, grant) == name
        ]
        documents.append(
            {
                "apiVersion": "kafka.strimzi.io/v1beta2",
                "kind": "KafkaUser",
                "metadata": {"name": name, "labels": {"strimzi.io/cluster": "kafka"}},
                "spec": {
                    "authentication": {"type": "scram-sha-512"},
                    "authorization": {"type": "simple", "acls": acls},
                },
            }
        )
    return yaml.safe_dump_all(documents, sort_keys=False).rstrip()


def _user(principal: str, grant: Grant) -> str:
    return principal.format(agent=grant.agent).removeprefix("User:")
