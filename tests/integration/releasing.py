"""A deployment that holds decisions, for tests of their release: its rules, decisions of every form, rulings, what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents.configuration import Configuration
from agents.policy.flags import dedup_key
from orchestration.kafka import Broker
from orchestration.local_kafka import LocalKafka
from orchestration.settings import Settings
from tests.integration.kafka_fixtures import produce

Sent = tuple[bytes | None, bytes, list[tuple[str, bytes]]]

CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "loan": {
                "mode": "gate",
                "versions": ["1"],
                "features": {"amount": "numeric"},
                "labels": {"approve": {"favourable": True}, "decline": {}},
            }
        },
        "policies": [
            {
                "policy": "p",
                "rules": [
                    {"id": "unsure", "when": "output.confidence < 0.2", "effect": "hold", "reason": "not sure"},
                    {"id": "large", "when": "features.amount > 900", "effect": "hold", "reason": "large"},
                    {"id": "high", "when": "output.score > 0.9", "effect": "block"},
                ],
            }
        ],
    }
)


def decision(
    number: int,
    *,
    unsure: bool = True,
    large: bool = False,
    key: bytes | None = b"",
    binary: bool = False,
    **output: Any,
) -> Sent:
    """A decision about an amount, as its producer sends it; what holds it is said."""
    confidence = {"confidence": 0.1 if unsure else 0.9}
    data = {
        "model": {"name": "loan", "version": "1"},
        "features": {"amount": 1000 if large else 10},
        "output": {"label": "decline", "score": 0.25, **confidence, **output},
    }
    key = f"client-{number}".encode() if key == b"" else key
    if binary:
        named = {"specversion": "1.0", "type": "governance.decision.v1", "id": f"d{number}", "source": "/t"}
        headers = [
            ("content-type", b"application/json"),
            *((f"ce_{name}", one.encode()) for name, one in named.items()),
        ]
        return key, json.dumps(data, indent=1).encode(), [*headers, ("trace", b"\x00\xff")]
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"d{number}",
        "source": "/t",
        "extra": [1, 2.50],
        "data": data,
    }
    headers = [("trace", b"a"), ("trace", b"b")] if number % 2 else []
    return key, json.dumps(event).encode(), headers


def ruling(number: int, rules: Sequence[str], effect: str = "allow", **more: Any) -> bytes:
    """A ruling of the incident 7f29-k1mq, as the escalation agent would write it."""
    resolution = {"allow": "approved", "block": "rejected"}[effect]
    keys = [dedup_key(f"p/{rule}", "loan", "1") for rule in rules]
    data = {"incident": "7f29-k1mq", "resolution": resolution, "effect": effect, "keys": keys, "reason": "seen"} | more
    event = {"specversion": "1.0", "type": "governance.ruling.v1", "id": f"7f29-k1mq/{number}", "source": "/g"}
    return json.dumps(event | {"data": data}).encode()


async def rule(settings: Settings, kafka: LocalKafka, *values: bytes) -> None:
    """Write rulings."""
    await produce(kafka, settings.topic("rulings"), [(b"7f29-k1mq", value) for value in values])


async def topic(settings: Settings, short: str, partition: int = 0) -> list[Any]:
    """Every committed record of a topic's partition."""
    return await Broker(settings).read_all(settings.topic(short), partition)


async def pending(settings: Settings, partition: int = 0) -> list[str]:
    """Positions of what is held and has not ended, in order."""
    found: dict[str, bool] = {}
    for record in await topic(settings, "held", partition):
        found[record.key.decode()] = record.value is not None
    return [position for position, held in found.items() if held]


def own(record: Any) -> dict[str, bytes]:
    """Our headers of a record."""
    return {name: value for name, value in record.headers if name.startswith("govern-")}


def exact(record: Any) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """What the producer sent of a record: key, value and its own headers."""
    return record.key, record.value, [header for header in record.headers if not header[0].startswith("govern-")]


def said(record: Any) -> Mapping[str, Any]:
    """The data of an event."""
    data: Mapping[str, Any] = json.loads(record.value)["data"]
    return data
