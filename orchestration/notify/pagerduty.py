"""PagerDuty: Events API v2. All messages of an incident carry one dedup_key, so repetitions never page twice.

A trigger opens the alert, reminders and escalations add to it, acknowledge and resolve follow the incident's own. A weekly
digest is no event: it is not sent on, should one ever be meant for here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from agents.errors import Misconfigured
from agents.events import Severity
from orchestration.notify.errand import Errand, Sent
from orchestration.notify.faults import Undeliverable, Unreachable
from orchestration.notify.message import Message, moment
from orchestration.notify.posting import Post, post
from orchestration.secrets import resolve_url

API = "https://events.pagerduty.com/v2/enqueue"
ACTIONS = {"acknowledge": "acknowledge", "resolve": "resolve"}
"""Every other kind is a trigger."""
SEVERITIES = {
    Severity.CRITICAL: "critical",
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}
_KEY = 255
"""Characters that PagerDuty takes of a dedup_key."""


async def send(errand: Errand) -> Sent:
    """Enqueue one event for each integration: those of the people named (`contacts`), else the channel's own.

    Raises NotSent (429, 5xx), Undeliverable (400: a wrong routing key, say), Unreachable where a person's key is not there.
    """
    if errand.message.data.kind == "digest":
        return Sent("not sent on: a digest pages nobody")
    url = errand.url() if errand.channel.url else API

    async def one(key: str) -> None:
        try:
            routing = resolve_url(key)
        except Misconfigured as error:
            raise Unreachable(str(error)) from error
        try:
            await enqueue(routing)
        except Undeliverable as error:  # it may be this person's key alone that is wrong
            raise Unreachable(str(error)) from error

    async def enqueue(routing: str) -> None:
        body = json.dumps(event(errand.message, routing)).encode()
        await post(
            Post(url, body, allow_private=errand.channel.allow_private, secrets=[routing]), look_up=errand.look_up
        )

    if errand.addresses:
        return await errand.each(one)
    await enqueue(errand.secret("the integration's routing key"))
    return Sent()


def event(message: Message, routing_key: str) -> dict[str, Any]:
    """The body of one event."""
    action = ACTIONS.get(message.data.kind, "trigger")
    found: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": dedup_key(message),
        "client": "Governance in Motion",
    }
    if message.link:
        found |= {"client_url": message.link, "links": [{"href": message.link, "text": "Open it on the console"}]}
    if action == "trigger":
        details: dict[str, Any] = {"incident": message.data.incident, "said": list(message.lines)}
        if message.data.deadline_ms is not None:
            details["deadline"] = moment(message.data.deadline_ms)
        found["payload"] = {
            "summary": message.headline,
            "source": f"governance/{message.prefix}",
            "severity": SEVERITIES[message.data.severity],
            "component": "Governance in Motion",
            "class": message.data.kind,
            "custom_details": details,
        }
        if message.data.team:
            found["payload"]["group"] = message.data.team
    return found


def dedup_key(message: Message) -> str:
    """The incident's key, which begins with the tenant; a digest where it would be too long."""
    key = message.data.dedup
    return key if len(key) <= _KEY else hashlib.sha256(key.encode()).hexdigest()
