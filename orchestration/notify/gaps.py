"""What keeps declared channels from working, as far as the configuration alone shows: for `govern config check`.

These are remarks, no mistakes: a configuration may be applied before its channels are complete. Whether a server takes
messages shows `govern notify test`.
"""

from __future__ import annotations

from collections.abc import Iterator

from agents.escalation.declared import Channel, Escalation
from orchestration.notify.email import PORTS
from orchestration.notify.faults import Undeliverable
from orchestration.notify.guard import target_of
from orchestration.secrets import SECRET_URL

NEEDED = {"email": ("url", "sender"), "teams": ("url",), "webhook": ("url", "secret")}


def gaps(escalation: Escalation) -> list[str]:
    """A sentence for each: channels that cannot send, people whom none reaches, messages without a link."""
    found = [f"channel {name}: {what}" for name, channel in escalation.channels.items() for what in _gaps_of(channel)]
    if escalation.channels and not escalation.console_url:
        found.append("messages have no link: set escalation.console_url to the console's address")
    members = dict.fromkeys(person for team in escalation.teams.values() for person in team.members)
    lost = [person for person in members if not _reached(escalation, person)]
    if escalation.channels and lost:
        found.append(
            f"no channel reaches {', '.join(lost)}: give each an `email` that a channel of kind email writes to, or `contacts`"
        )
    return found


def _gaps_of(channel: Channel) -> Iterator[str]:
    for field in NEEDED.get(channel.kind, ()):
        if getattr(channel, field) is None:
            yield f"kind {channel.kind} needs `{field}`"
    if channel.kind == "slack" and channel.url is None and channel.secret is None:
        yield "kind slack needs `secret` (a bot's token) or `url` (an incoming webhook)"
    if channel.kind == "pagerduty" and channel.secret is None:
        yield "without `secret` only people with `contacts` of their own are reached by it"
    if channel.url is None or channel.url.startswith(SECRET_URL):
        return
    ports, insecure = (PORTS, ("smtp",)) if channel.kind == "email" else ({"https": 443, "http": 80}, ("http",))
    try:
        target_of(channel.url, ports, insecure=insecure, allow_private=channel.allow_private)
    except Undeliverable as error:
        yield str(error)


def _reached(escalation: Escalation, person: str) -> bool:
    member = escalation.people[person]
    mail = any(channel.kind == "email" for channel in escalation.channels.values())
    return bool(set(member.contacts) & set(escalation.channels)) or (member.email is not None and mail)
