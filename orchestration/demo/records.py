"""From calls to records: what each model answers, as the event that goes to Kafka, and what is broken on the way.

A model is asked with the inputs that reached it: where an upstream feed altered them, it answers on the altered ones, and
those stand in the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.policy.times import iso
from orchestration.demo import assistant
from orchestration.demo.assistant import Assistant, Reply
from orchestration.demo.model import Answer, CreditModel
from orchestration.demo.population import FEATURES, PLACE, Client, Groups
from orchestration.demo.traffic import Call, Kind

Headers = tuple[tuple[str, bytes], ...]
SOURCE = "/credit/tw-1"
HEADERS: Headers = (("content-type", b"application/cloudevents+json"),)
PAID = [PLACE[name] for name in FEATURES if name.startswith("pay_amt")]
AMOUNTS = [PLACE[name] for name in FEATURES if name.startswith(("pay_amt", "bill_amt"))]


@dataclass(frozen=True, slots=True)
class Message:
    """A record as it is sent, and what it must be found to be."""

    key: bytes
    value: bytes
    headers: Headers
    kind: Kind
    label: str | None = None
    """What the model said."""


@dataclass(frozen=True)
class Desk:
    """The models at work, and whom they are asked about."""

    models: Mapping[str, CreditModel]
    """By version; one that nobody declared answers with the first version's trees."""
    assistant: Assistant
    clients: Sequence[Client]

    @property
    def versions(self) -> frozenset[str]:
        """Those that were declared."""
        return frozenset({*self.models, assistant.VERSION})

    def serve(self, calls: Sequence[Call], sent: Sequence[Message]) -> list[Message]:
        """The records of some calls that follow those `sent`; those about the same moment are answered together."""
        answers: dict[int, Answer | Reply] = {}
        for version in dict.fromkeys(call.version for call in calls if not call.prompt):
            places = [at for at, call in enumerate(calls) if call.version == version and not call.prompt]
            model = self.models.get(version) or next(iter(self.models.values()))
            given = model.decide([inputs(calls[at], self.clients[calls[at].client]) for at in places])
            answers.update(zip(places, given, strict=True))
        if places := [at for at, call in enumerate(calls) if call.prompt]:
            answers.update(zip(places, self.assistant.answer([calls[at].prompt for at in places]), strict=True))
        made: list[Message] = []
        for at, call in enumerate(calls):
            number = len(sent) + at
            if call.repeats >= 0:
                first = sent[call.repeats] if call.repeats < len(sent) else made[call.repeats - len(sent)]
                made.append(again(call, first))
            else:
                made.append(message(number, call, answers[at], self.clients[call.client]))
        return made


def inputs(call: Call, client: Client) -> tuple[int, ...]:
    """What the model is told in this call: the client's features, as they came through the feeds.

    `cents`: a form sent amounts in cents. `thousands`: a feed delivered payments in thousands.
    """
    found = list(client.features)
    if call.upstream == "cents":
        for place in AMOUNTS:
            found[place] *= 100
    elif call.upstream == "thousands":
        for place in PAID:
            found[place] //= 1000
    return tuple(found)


def message(number: int, call: Call, answer: Answer | Reply, client: Client) -> Message:
    """The record of a call."""
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"call-{number:06d}",
        "source": SOURCE,
        "time": iso(call.time_ms),
        "subject": f"client-{client.number}",
        "data": {
            "model": {"name": call.model, "version": call.version},
            "caller": call.caller,
            **(_scored(answer, inputs(call, client)) if isinstance(answer, Answer) else _replied(answer, call.prompt)),
            "latency_ms": answer.latency_ms,
        },
    }
    headers, value = HEADERS, json.dumps(event, separators=(",", ":")).encode()
    if call.fault:
        value, headers = _BROKEN[call.fault](event, value, headers)
    label = answer.label if isinstance(answer, Answer) else answer.intent
    return Message(f"client-{client.number}".encode(), value, headers, call.kind, label)


def again(call: Call, first: Message) -> Message:
    """A record that repeats another: the same bytes, or the same id for another answer."""
    if call.kind == "duplicate":
        return replace(first, kind="duplicate")
    event = json.loads(first.value)
    output = event["data"]["output"]
    output["label"] = "decline" if output["label"] == "approve" else "approve"
    output["score"] = round(1 - output["score"], 6)
    return replace(first, value=json.dumps(event, separators=(",", ":")).encode(), kind="conflict")


def known(groups: Mapping[int, Groups], unknown: Callable[[int], bool]) -> Iterable[tuple[bytes, bytes]]:
    """Key and value of what is told about clients on the topic `attributes`; of some, nothing is known."""
    for number, found in groups.items():
        if not unknown(number):
            event = {
                "specversion": "1.0",
                "type": "governance.attributes.v1",
                "id": f"client-{number}/1",
                "source": "/customers/tw-1",
                "subject": f"client-{number}",
                "data": {"groups": dict(found)},
            }
            yield f"client-{number}".encode(), json.dumps(event, separators=(",", ":")).encode()


def unknown(number: int) -> bool:
    """Whether the demo's registry lacks a client: one in twenty."""
    return number % 20 == 7


def _scored(answer: Answer, features: Sequence[int]) -> dict[str, Any]:
    return {
        "purpose": "credit-limit",
        "features": dict(zip(FEATURES, features, strict=True)),
        "output": {
            "label": answer.label,
            "score": round(answer.score, 6),
            "confidence": round(answer.confidence, 6),
        },
        "feature_attributions": answer.attributions,
    }


def _replied(reply: Reply, prompt: str) -> dict[str, Any]:
    return {
        "purpose": "support",
        "prompt": prompt,
        "output": {"label": reply.intent, "text": reply.text, "confidence": round(reply.confidence, 6)},
    }


Broken = tuple[bytes, Headers]


def _text_for_number(event: Any, value: bytes, headers: Headers) -> Broken:
    event["data"]["features"]["limit_bal"] = "a lot"
    return json.dumps(event).encode(), headers


def _unknown_label(event: Any, value: bytes, headers: Headers) -> Broken:
    event["data"]["output"]["label"] = "perhaps"
    return json.dumps(event).encode(), headers


def _not_a_number(event: Any, value: bytes, headers: Headers) -> Broken:
    event["data"]["output"]["score"] = float("nan")
    return json.dumps(event).encode(), headers


_BROKEN: Mapping[str, Callable[[Any, bytes, Headers], Broken]] = {
    "cut off": lambda event, value, headers: (value[: len(value) // 2], headers),
    "text for a number": _text_for_number,
    "a label that is not declared": _unknown_label,
    "NaN": _not_a_number,
    "two documents": lambda event, value, headers: (value + value, headers),
    "not UTF-8": lambda event, value, headers: (value.replace(b"credit-limit", b"cr\xe9dit", 1), headers),
    "byte order mark": lambda event, value, headers: (b"\xef\xbb\xbf" + value, headers),
    "empty": lambda event, value, headers: (b"", headers),
    "forged header": lambda event, value, headers: (value, (*headers, ("govern-verdict", b"allow"))),
}
"""What producers do to records, and nobody may act on."""
