"""Microsoft Teams: an Adaptive Card to a workflow's webhook ("Post to a channel when a webhook request is received").

Promise: all text stands in text runs, which know no Markdown, so nothing from elsewhere becomes a link or a mention.
"""

from __future__ import annotations

import json
from typing import Any

from orchestration.notify.errand import Errand, Sent
from orchestration.notify.faults import NotSent
from orchestration.notify.message import Message
from orchestration.notify.posting import Post, post, scrubbed

SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
COLOURS = {"critical": "attention", "error": "attention", "warning": "warning", "info": "accent"}
_FAILED = "webhook message delivery failed"


async def send(errand: Errand) -> Sent:
    """Post the card. Raises NotSent or Undeliverable; older connectors answer 200 to what they could not deliver."""
    url = errand.url()
    body = json.dumps(card(errand.message), ensure_ascii=False).encode()  # escapes would triple its size
    answer = await post(
        Post(url, body, allow_private=errand.channel.allow_private, secrets=[url]), look_up=errand.look_up
    )
    said = answer.body.decode("utf-8", "replace")
    if _FAILED in said.lower():
        raise NotSent(f"Teams could not deliver it: {scrubbed(said, [url])}")
    return Sent()


def card(message: Message) -> dict[str, Any]:
    """The message with one Adaptive Card of version 1.2, the first that has text runs: phones may know no later one."""
    colour = "good" if message.ends else COLOURS[message.data.severity.value]
    body = [_text(message.headline, size="Large", weight="Bolder", color=colour)]
    body += [_text(line) for line in message.lines]
    if message.countdown:
        body.append(_text(message.countdown, weight="Bolder"))
    content: dict[str, Any] = {"$schema": SCHEMA, "type": "AdaptiveCard", "version": "1.2", "body": body}
    if message.link:
        content["actions"] = [{"type": "Action.OpenUrl", "title": "Open it", "url": message.link}]
    content["fallbackText"] = message.headline
    content["msteams"] = {"width": "Full"}
    attached = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "summary": message.headline, "attachments": [attached]}


def _text(text: str, **style: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}
