"""One message for one channel, on its way: what every channel module takes, and what it answers.

A channel module has `send(errand) -> Sent`. It sends once, and raises NotSent or Undeliverable (faults.py); repeating,
recording and giving up are not its business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agents.errors import Misconfigured
from agents.escalation.declared import Channel, Escalation
from agents.told_events import NotificationData
from orchestration.notify.faults import NotSent, Undeliverable, Unreachable
from orchestration.notify.guard import Resolve, resolve
from orchestration.notify.message import Message
from orchestration.secrets import resolve_url, secret


@dataclass(frozen=True, slots=True)
class Sent:
    """It went out. `reference`: what the channel calls it, where later messages of the incident answer it."""

    detail: str = ""
    reference: str | None = None
    missed: int = 0
    """How many of those who were to be told it did not reach."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What to send, by which declared channel, to which addresses of it (empty: the channel has one place only)."""

    name: str
    channel: Channel
    message: Message
    addresses: tuple[str, ...] = ()
    unreached: int = 0
    """People that were to be told and have no address here."""
    look_up: Resolve = resolve
    done: dict[str, str | None] = field(default_factory=dict)
    """Addresses that an earlier attempt reached, with what the channel called the message there."""

    def url(self) -> str:
        """The channel's URL. Raises Undeliverable where none is declared, or its secret is missing."""
        if not self.channel.url:
            raise Undeliverable(f"channel {self.name!r} has no `url`; declare where it posts to")
        return _found(lambda: resolve_url(self.channel.url or ""))

    def secret(self, what: str) -> str:
        """The channel's secret. Raises Undeliverable where none is declared, or it is missing."""
        if self.channel.secret is None:
            raise Undeliverable(f"channel {self.name!r} has no `secret`; name one that holds {what}")
        return _found(lambda: secret(self.channel.secret or ""))

    def sent(self, reached: int, reference: str | None = None) -> Sent:
        """It reached so many addresses; what is recorded of that are numbers, no addresses."""
        missed = len(self.addresses) - reached + self.unreached
        return Sent(f"{reached} of {reached + missed} reached" if missed else "", reference, missed)

    async def each(self, one: Callable[[str], Awaitable[str | None]]) -> Sent:
        """Send to every address on its own; one that an earlier attempt reached is left out. `one` gives its reference.

        Raises NotSent where an address should be tried again, Unreachable where none can be reached, Undeliverable where the
        channel does not work for anybody.
        """
        again: NotSent | None = None
        refused: Unreachable | None = None
        for address in self.addresses:
            if address in self.done:
                continue
            try:
                self.done[address] = await one(address)
            except Unreachable as error:
                refused = error
            except Undeliverable:
                raise
            except NotSent as error:
                again = error
        if again is not None:
            raise again
        if refused is not None and not self.done:
            raise refused
        references = [reference for reference in self.done.values() if reference]
        return self.sent(len(self.done), " ".join(references) or None)


def addressed(escalation: Escalation, data: NotificationData) -> tuple[tuple[str, ...], int]:
    """Addresses of the people named, on this channel, and how many have none; nobody named: the channel's own `to`.

    Raises Unreachable where people are named and none has an address here.
    """
    channel = escalation.channels[data.channel]
    if not data.to:
        return ((channel.to,) if channel.to else ()), 0
    found = []
    for person in data.to:
        member = escalation.people.get(person)
        address = member.contacts.get(data.channel) if member else None
        if address is None and member is not None and channel.kind == "email":
            address = member.email
        if address:
            found.append(address)
    missed = len(data.to) - len(found)
    if not found and channel.kind == "email":
        raise Unreachable(
            f"none of the people to be told has an address on channel {data.channel!r}; "
            f"give them `email`, or `contacts: {{{data.channel}: …}}`"
        )
    return tuple(dict.fromkeys(found)), missed


def _found(read: Callable[[], str]) -> str:
    try:
        return read()
    except Misconfigured as error:
        raise Undeliverable(str(error)) from error
