"""What is still to be sent, folded from the topic `notifications`: pure, so that a start finds exactly what a crash left.

Messages of one incident on one channel are a line: they go out one after the other, in the order of the topic. Lines know
nothing of each other, so a dead channel delays no other. A notification is done when a delivery says sent, failed or skipped.

What an incident's end makes pointless is skipped: messages of it that wait, and the news of the end itself on a line where
nobody can have heard of the beginning.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from agents.errors import Malformed
from agents.records import Record
from agents.told_events import Delivery, DeliveryData, Notification, NotificationData

Line = tuple[str, str]
"""A channel and the dedup of an incident."""
SPOKEN = 2_000
"""Lines on which something went out that are remembered; the oldest are forgotten."""
FINAL = ("sent", "failed", "skipped")
EVENTS: TypeAdapter[Notification | Delivery] = TypeAdapter(
    Annotated[Notification | Delivery, Field(discriminator="type")]
)
"""What the topic holds."""


@dataclass(eq=False, slots=True)
class Entry:
    """A notification that is not done."""

    id: str
    data: NotificationData
    offset: int
    recorded_ms: int
    """The broker's time of its record."""
    doubtful: bool = False
    """It may have arrived although nobody recorded it: a crash, or a time-out, came between."""
    attempts: int = 0
    unheard: bool = False
    """What stood before it in its line was skipped, and nobody can have had it."""
    done: dict[str, str | None] = field(default_factory=dict)
    """Addresses that an attempt of this life reached."""

    @property
    def line(self) -> Line:
        return self.data.channel, self.data.dedup


class Outbox:
    """Lines of entries; `see` takes records in offset order, `finish` what became of an entry."""

    def __init__(self, spoken: Mapping[str, str] | None = None) -> None:
        """`spoken`: as `remembered` gave it."""
        self._lines: dict[Line, deque[Entry]] = {}
        self._entries: dict[str, Entry] = {}
        self._ended: dict[str, int] = {}  # incident → offset of the first notification that tells its end
        self._spoken: OrderedDict[Line, str] = OrderedDict()
        for key, reference in (spoken or {}).items():
            channel, _, dedup = key.partition(" ")
            self._spoken[channel, dedup] = reference

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def see(self, record: Record, *, known: bool) -> Entry | None:
        """Take a record of the topic; the entry where it is a new notification.

        `known`: an earlier life of the lane committed past it, so it may have been sent without a record of it.
        Raises Malformed where it is neither a notification nor a delivery.
        """
        event = _read(record)
        if isinstance(event, Delivery):
            self._settle(event.data)
            return None
        if event.id in self._entries:
            return None
        entry = Entry(event.id, event.data, record.offset, record.timestamp, doubtful=known)
        self._entries[entry.id] = entry
        self._lines.setdefault(entry.line, deque()).append(entry)
        if entry.data.kind == "resolve":
            self._ended.setdefault(entry.data.incident, entry.offset)
        return entry

    def first(self, line: Line) -> Entry | None:
        """The entry of a line whose turn it is."""
        waiting = self._lines.get(line)
        return waiting[0] if waiting else None

    def lines(self) -> list[Line]:
        """Lines that have entries."""
        return list(self._lines)

    def pointless(self, entry: Entry) -> str | None:
        """Why it need not be sent any more, in a sentence; None where it is to be sent. To be asked right before an attempt."""
        ended = self._ended.get(entry.data.incident)
        if entry.data.kind != "resolve":
            over = ended is not None and ended > entry.offset and entry.data.kind != "digest"
            return "the incident was resolved before this could go out" if over else None
        if entry.line in self._spoken or not entry.unheard:
            return None
        return "nobody was told here that the incident had begun"

    def finish(self, entry: Entry, outcome: str, reference: str | None = None) -> None:
        """Take an entry out of its line; what may have arrived makes later ones of the line worth sending."""
        if self._entries.pop(entry.id, None) is None:
            return
        waiting = self._lines[entry.line]
        waiting.remove(entry)
        if outcome == "sent" or entry.doubtful:
            self._speak(entry.line, reference)
        elif outcome == "skipped" and entry.data.kind != "resolve":
            for later in waiting:
                later.unheard = True
        if entry.data.kind == "resolve":
            self._spoken.pop(entry.line, None)
        if not waiting:
            del self._lines[entry.line]
        if not any(one.data.incident == entry.data.incident for one in self._entries.values()):
            self._ended.pop(entry.data.incident, None)

    def thread(self, line: Line) -> str | None:
        """What the channel called the line's first message."""
        return self._spoken.get(line) or None

    def low(self, position: int) -> int:
        """The offset that a start must read from: that of the oldest entry, else the position."""
        return min((entry.offset for entry in self._entries.values()), default=position)

    def remembered(self) -> dict[str, str]:
        """The lines on which something went out, for a snapshot."""
        return {f"{channel} {dedup}": reference for (channel, dedup), reference in self._spoken.items()}

    def _settle(self, data: DeliveryData) -> None:
        entry = self._entries.get(data.notification)
        if entry is None:
            return
        if data.outcome in FINAL:
            self.finish(entry, data.outcome, data.reference)
        else:
            entry.attempts = max(entry.attempts, data.attempts)

    def _speak(self, line: Line, reference: str | None) -> None:
        kept = _merged(self._spoken.get(line, "").split(), (reference or "").split())
        self._spoken[line] = " ".join(kept)
        while len(self._spoken) > SPOKEN:
            self._spoken.popitem(last=False)


def _merged(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """References `<place>=<message>`: the first one of a place stays, because later messages answer it."""
    places: dict[str, str] = {}
    for one in (*old, *new):
        places.setdefault(one.partition("=")[0], one)
    return list(places.values())


def _read(record: Record) -> Notification | Delivery:
    try:
        return EVENTS.validate_json(record.value or b"")
    except ValidationError as error:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        raise Malformed(
            f"{place} is neither a notification nor a delivery: {error.error_count()} fields do not fit"
        ) from None
