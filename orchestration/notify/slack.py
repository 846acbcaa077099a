"""Slack: Block Kit by an incoming webhook, or by chat.postMessage with a bot's token, which threads by incident.

Promise: all that comes from elsewhere is plain text, so a model's name can neither mention a channel nor make a link. Buttons
link to the console; "Acknowledge" is there only where the channel declares `signing`, for then its answer can be verified
(slack_answers.py). Nothing can be approved from Slack.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from orchestration.notify.errand import Errand, Sent
from orchestration.notify.faults import NotSent, Undeliverable, Unreachable
from orchestration.notify.message import Message
from orchestration.notify.posting import Post, post, scrubbed

API = "https://slack.com/api/chat.postMessage"
ACKNOWLEDGE, OPEN = "govern-acknowledge", "govern-open"
"""Action ids of the buttons."""
_USER = re.compile(r"[UW][A-Z0-9]{2,30}")
_PASSING = (
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "ratelimited",
    "team_added_to_org",
)
_PLACE = (
    "channel_not_found",
    "user_not_found",
    "not_in_channel",
    "is_archived",
    "cannot_dm_bot",
    "restricted_action",
    "no_permission",
    "messages_tab_disabled",
)
"""Refusals of one place; the bot can write to others."""
_QUIET = ("acknowledge", "digest")
"""Kinds whose replies stay inside the thread."""
_TEXT, _HEADER = 2_900, 150
"""Of a section and of a header; Slack refuses the whole message where one is longer."""


async def send(errand: Errand) -> Sent:
    """Post it: to each address by the bot where the channel has a token, else once by the webhook.

    Raises NotSent or Undeliverable as the answer says; chat.postMessage answers 200 to refusals, sorted by their word.
    """
    if errand.channel.secret is None:
        if errand.channel.url is None:
            raise Undeliverable(
                f"channel {errand.name!r} needs `url` (an incoming webhook) or `secret` (a bot's token)"
            )
        mentions = [one for one in errand.addresses if _USER.fullmatch(one)]
        url = errand.url()
        await post(_post(url, content(errand, mentions), errand, [url]), look_up=errand.look_up)
        return Sent()
    if not errand.addresses:
        raise Unreachable(
            f"channel {errand.name!r} has no place to post to; declare `to`, or give people a `contacts` entry"
        )
    token = errand.secret("the bot's token")
    url = errand.url() if errand.channel.url else API

    async def one(address: str) -> str | None:
        body: dict[str, Any] = {**content(errand, ()), "channel": address, "mrkdwn": False}
        thread = thread_of(errand.message.thread, address)
        if thread is not None:
            body |= {"thread_ts": thread, "reply_broadcast": errand.message.data.kind not in _QUIET}
        found = _post(url, body, errand, [token], {"authorization": f"Bearer {token}"})
        said = (await post(found, look_up=errand.look_up)).document
        if said.get("ok") is not True:
            word = scrubbed(str(said.get("error", "no JSON with ok: true")), [token])
            kind = NotSent if word in _PASSING else Unreachable if word in _PLACE else Undeliverable
            raise kind(f"Slack refuses: {word}")
        return reference(address, str(said["ts"])) if said.get("ts") else None

    return await errand.each(one)


def content(errand: Errand, mentions: Sequence[str]) -> dict[str, Any]:
    """Blocks and the text that lock screens show."""
    message = errand.message
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(within(message.headline, _HEADER))}]
    if message.lines:
        blocks.append({"type": "section", "text": _plain(within("\n".join(message.lines), _TEXT))})
    if message.countdown:
        blocks.append({"type": "context", "elements": [_plain(message.countdown)]})
    if mentions:
        people = " ".join(f"<@{one}>" for one in mentions)
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": people, "verbatim": True}})
    buttons = _buttons(message, answerable=errand.channel.signing is not None)
    if buttons:
        blocks.append({"type": "actions", "elements": buttons})
    return {"text": escaped(message.headline), "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def within(text: str, limit: int) -> str:
    """At most so many UTF-16 units, the strictest count of characters: Slack does not say which it counts by.

    >>> within("abcdef", 4), within("𝔘𝔘𝔘", 4)
    ('abc…', '𝔘…')
    """
    raw = text.encode("utf-16-le")
    return text if len(raw) <= 2 * limit else raw[: 2 * limit - 2].decode("utf-16-le", "ignore").rstrip() + "…"


def escaped(text: str) -> str:
    """Slack's own three escapes: without them `<!channel>` would tell everybody.

    >>> escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def reference(address: str, ts: str) -> str:
    """How a message in one place is remembered: the place as a short digest, and Slack's `ts`."""
    return f"{hashlib.sha256(address.encode()).hexdigest()[:12]}={ts}"


def thread_of(references: str | None, address: str) -> str | None:
    """The `ts` of the incident's first message at this address, where one is remembered."""
    wanted = reference(address, "")
    return next((one.removeprefix(wanted) for one in (references or "").split() if one.startswith(wanted)), None)


def _buttons(message: Message, *, answerable: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if message.link:
        label = _plain("Open it")
        found.append({"type": "button", "action_id": OPEN, "text": label, "url": message.link, "style": "primary"})
    if answerable and message.data.kind in ("trigger", "escalate", "remind", "overdue"):
        label = _plain("Acknowledge")
        found.append({"type": "button", "action_id": ACKNOWLEDGE, "text": label, "value": message.data.incident})
    return found


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _post(
    url: str, body: dict[str, Any], errand: Errand, secrets: Sequence[str], headers: dict[str, str] | None = None
) -> Post:
    return Post(
        url,
        json.dumps(body).encode(),
        headers or {},
        "application/json; charset=utf-8",
        errand.channel.allow_private,
        secrets,
    )
