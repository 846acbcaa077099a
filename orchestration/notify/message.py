"""What one message says, before any channel's format: a headline for a lock screen, lines, a deadline, one link.

Promise: nothing in it is markup, every text is one line of visible signs without working links, and the only link is ours.
Titles and reasons name models, versions and callers, so they are text from outside; each channel escapes them once more for
its own format.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from agents.escalation.messages import cut, lasting
from agents.told_events import NotificationData
from orchestration.answer_links import LASTS_MS, make

HEADLINE = 110
"""Characters that a phone's lock screen shows of a message."""
LINE, LINES = 300, 12
LATE_MS = 120_000
"""A message that goes out so long after it was written says so."""

_STATES = {
    "acknowledge": "Taken",
    "resolve": "Resolved",
    "remind": "Still open",
    "overdue": "Overdue",
    "question": "Asked back",
    "digest": "",
}
"""What a headline begins with where the title does not say it yet; others begin with the severity."""
_INVISIBLE = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")
_SCHEME, _WWW = re.compile(r"\b(h)tt(ps?)://", re.IGNORECASE), re.compile(r"\bwww\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """A notification on its way; `recorded_ms` and `now_ms` are UTC milliseconds since 1970."""

    id: str
    """The notification's: the same at every attempt, so receivers can tell repetitions."""
    prefix: str
    data: NotificationData
    recorded_ms: int
    now_ms: int
    console_url: str | None = None
    thread: str | None = None
    """What the channel called the first message of the same incident."""
    links: bytes | None = field(default=None, repr=False)
    """The secret that answer links are signed with; None: the page's own address goes out."""

    @property
    def headline(self) -> str:
        """State or severity, then what it is about: at most HEADLINE characters."""
        data = self.data
        state = _STATES.get(data.kind, data.severity.value.capitalize())
        title = plain(data.title, LINE)
        told = title if not state or title.lower().startswith(state.lower()) else f"{state}: {title}"
        return cut(told, HEADLINE) or "Governance in Motion"

    @property
    def lines(self) -> tuple[str, ...]:
        """What the message says besides, one sentence or figure a line; last what is late about it."""
        data = self.data
        found = [line for line in (plain(one, LINE) for one in data.lines) if line]
        if len(found) > LINES:
            found = [*found[: LINES - 1], f"… and {len(found) - LINES + 1} more lines on the page"]
        if len(plain(data.title, LINE)) > len(self.headline):
            found.insert(0, plain(data.title, LINE))
        if self.late_ms:
            found.append(f"Sent {span(self.late_ms)} late: it was written at {moment(self.recorded_ms)}.")
        return tuple(found)

    @property
    def late_ms(self) -> int:
        """How long after it was written it goes out; 0 where that is no news."""
        late = self.now_ms - self.recorded_ms
        return late if late >= LATE_MS else 0

    @property
    def countdown(self) -> str | None:
        """How long it is to the deadline, whose time the title and the lines say as the team reads the clock."""
        if self.data.deadline_ms is None or self.ends:
            return None
        left = self.data.deadline_ms - self.now_ms
        return f"Time left: {lasting(left)}" if left >= 0 else f"The deadline passed {lasting(-left)} ago"

    @property
    def link(self) -> str | None:
        """The page on the console, where its address is declared; an incident's by a link that expires."""
        if not self.console_url or not self.console_url.startswith(("https://", "http://")):
            return None
        if self.links is not None and self.data.path == f"/incidents/{self.data.incident}":
            path = make(self.links, self.data.incident, self.recorded_ms + LASTS_MS)  # the same at every attempt
            return f"{self.console_url.rstrip('/')}{path}"
        return f"{self.console_url.rstrip('/')}/{quote(self.data.path.lstrip('/'), safe='/?&=%~._-')}"

    @property
    def ends(self) -> bool:
        """Whether it tells of an end."""
        return self.data.kind == "resolve"


def plain(text: str, limit: int) -> str:
    """One line of visible signs: no control signs, no invisible or direction-changing ones, no link that a client opens.

    >>> plain("gap\\u202e for\\n https://evil.example", 80)
    'gap for hxxps://evil.example'
    """
    seen = "".join(" " if unicodedata.category(sign) in _INVISIBLE else sign for sign in text)
    seen = _WWW.sub("www[.]", _SCHEME.sub(r"\1xx\2://", " ".join(seen.split())))
    return cut(seen, limit)


def moment(ms: int) -> str:
    """A time to the minute.

    >>> moment(1772442843120)
    '2026-03-02 09:14 UTC'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(ms: int) -> str:
    """A length of time in its largest unit, rounded down.

    >>> span(45_000), span(2_700_000), span(7_200_000), span(200_000_000)
    ('45 s', '45 min', '2 h', '2 d')
    """
    for unit, length, until in (("s", 1_000, 60), ("min", 60_000, 60), ("h", 3_600_000, 48)):
        if ms < length * until:
            return f"{ms // length} {unit}"
    return f"{ms // 86_400_000} d"
