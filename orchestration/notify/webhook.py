"""Webhook: the notification as a CloudEvent in structured JSON, signed with HMAC-SHA256 as standardwebhooks.com says.

Receivers verify with any library of that convention, or with the ten lines in docs/notifications.md: `webhook-id` is the
notification's id and the same at every repetition, `webhook-timestamp` is when it was sent, `webhook-signature` is
`v1,` and the base64 of HMAC-SHA256(key, "<id>.<timestamp>.<body>"). Whom it is for does not stand in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from agents.policy.times import iso
from orchestration.notify.errand import Errand, Sent
from orchestration.notify.faults import Undeliverable
from orchestration.notify.message import Message, plain
from orchestration.notify.posting import Post, post

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TOLERANCE_S = 300
"""Receivers refuse a timestamp that is further away than this: what was recorded cannot be replayed later."""


async def send(errand: Errand) -> Sent:
    """Post it. Raises NotSent or Undeliverable as the receiver answers; it needs `url` and `secret`."""
    url, secret = errand.url(), errand.secret("the key that signs")
    body = json.dumps(event(errand.message), separators=(",", ":"), ensure_ascii=False).encode()
    seconds = errand.message.now_ms // 1000
    headers = {
        "webhook-id": identity(errand.message.id),
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature(secret, identity(errand.message.id), seconds, body),
    }
    found = Post(url, body, headers, CONTENT_TYPE, errand.channel.allow_private, [secret, url])
    await post(found, look_up=errand.look_up)
    return Sent()


def event(message: Message) -> dict[str, Any]:
    """The CloudEvent `governance.message.v1`: what is to be said, with the page's full address, without whom it is for."""
    data = message.data
    said: dict[str, Any] = {
        "incident": data.incident,
        "kind": data.kind,
        "severity": data.severity.value,
        "headline": message.headline,
        "title": plain(data.title, 1_000),
        "lines": list(message.lines),
        "team": data.team,
        "deadline": iso(data.deadline_ms) if data.deadline_ms is not None else None,
        "url": message.link,
        "dedup": data.dedup,
    }
    return {
        "specversion": "1.0",
        "type": "governance.message.v1",
        "id": message.id,
        "source": f"/{message.prefix}/notify",
        "subject": data.incident,
        "time": iso(message.recorded_ms),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in said.items() if value is not None},
    }


def signature(secret: str, identity: str, seconds: int, body: bytes) -> str:
    """The header `webhook-signature`. A secret `whsec_…` is base64 of the key's bytes; any other is the key itself.

    Raises Undeliverable where a `whsec_` secret is no base64.
    """
    signed = f"{identity}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()


def identity(notification: str) -> str:
    """The header `webhook-id`: the notification's id, as a digest where it does not fit a header or would mislead a signature.

    >>> identity("7f29-k1mq/0/hook/0")
    '7f29-k1mq/0/hook/0'
    """
    if notification.isascii() and notification.isprintable() and not set(notification) & set(". "):
        return notification
    return hashlib.sha256(notification.encode()).hexdigest()


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise Undeliverable("the channel's secret starts with whsec_ but is no base64 after it") from None
