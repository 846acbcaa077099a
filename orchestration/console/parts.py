"""What a console is made of, so that tests can plug other parts in; pages find it with `parts_of(request)`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx
from anyio import CapacityLimiter
from starlette.requests import Request

from agents.configuration import Configuration
from agents.dsse import Private
from orchestration.console.accounts import AT_ONCE, Accounts
from orchestration.console.database import Database, open_database
from orchestration.console.sessions import Sessions
from orchestration.console.tickets import Tickets
from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.console.live import Feed
    from orchestration.console.oidc import Provider
    from orchestration.console.records import Records
    from orchestration.console.sending import Sender


def wall_clock_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Parts:
    """Everything that a request may use."""

    settings: Settings
    configuration: Callable[[], Configuration | None]
    """The configuration in force now; None: none was ever applied."""
    reading: Any = None
    """The read model's queries (orchestration/reading)."""
    clock: Callable[[], int] = field(default=wall_clock_ms)
    """Now, in ms since 1970 UTC."""
    key: Private | None = None
    """What the console signs answers with; None: it is read-only."""
    sender: Sender | None = None
    """What brings answers to the topic `reviews`, and says what became of them."""
    provider: Provider | None = None
    """The OpenID Connect provider; None: there is none."""
    links: bytes | None = None
    """The secret of answer links; None: none is believed."""
    records: Records | None = None
    """Where pages read single decisions; None: they say that they cannot."""
    feed: Feed | None = None
    """What tells open pages that something changed; None: they are as fresh as their last load."""

    outbound: httpx.AsyncBaseTransport | None = None
    """What carries replies to Slack; None: the network."""

    @cached_property
    def database(self) -> Database:
        """Accounts, sessions and tickets; opened with the first use."""
        return open_database(self.settings)

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(self.database, self.clock)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(self.database, self.clock)

    @cached_property
    def tickets(self) -> Tickets:
        return Tickets(self.database, self.clock)

    @cached_property
    def hashing(self) -> CapacityLimiter:
        """Threads that hash passwords: few, and none of those that pages need, so a flood of sign-ins waits by itself."""
        return CapacityLimiter(AT_ONCE)

    @cached_property
    def secret(self) -> bytes:
        """What forms before the sign-in are bound to a browser with."""
        return self.database.secret("forms")


def parts_of(request: Request) -> Parts:
    """The parts of the console that serves this request."""
    parts: Parts = request.app.state.parts
    return parts
