"""One attempt at one notification, by whichever channel the configuration in force declares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from agents.escalation.declared import Escalation
from orchestration.notify import email, pagerduty, slack, teams, webhook
from orchestration.notify.errand import Errand, Sent, addressed
from orchestration.notify.faults import Undeliverable
from orchestration.notify.guard import Resolve, resolve
from orchestration.notify.message import Message

SENDERS: Mapping[str, Callable[[Errand], Awaitable[Sent]]] = {
    "email": email.send,
    "slack": slack.send,
    "teams": teams.send,
    "pagerduty": pagerduty.send,
    "webhook": webhook.send,
}
"""By the kind of a channel."""


async def send(
    escalation: Escalation, message: Message, done: dict[str, str | None] | None = None, look_up: Resolve = resolve
) -> Sent:
    """Send it once. `done` remembers the addresses that were reached, from one attempt to the next.

    Raises NotSent where another attempt may help, Undeliverable where somebody must change something first.
    """
    name = message.data.channel
    channel = escalation.channels.get(name)
    if channel is None:
        raise Undeliverable(f"channel {name!r} is not declared any more")
    addresses, missed = addressed(escalation, message.data)
    done = {} if done is None else done
    return await SENDERS[channel.kind](Errand(name, channel, message, addresses, missed, look_up, done))
