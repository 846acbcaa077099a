"""What is said of an incident: its title, the timeline's sentences, and messages that fit a phone's lock screen.

Promise: what, how bad, how many decisions wait, by when. Never the rendered reason of a flag, which holds values of
decisions; a version or a segment that looks like anything but a name is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from agents.escalation.declared import AtDeadline, Chain
from agents.events import Effect
from agents.people_events import IncidentData

TITLE = 80
"""Characters of a title at most: what a lock screen shows."""
LINE = 160
SOON_MS = 7 * 86_400_000
"""A statutory deadline further away than this is told only where there is no other."""
WORTH_MS = 60_000
"""A message that is later than this says so."""
MESSAGE_KINDS = {
    "trigger": "",
    "escalate": "",
    "remind": "Still open: ",
    "acknowledge": "Taken: ",
    "resolve": "Resolved: ",
    "overdue": "Overdue: ",
    "digest": "",
    "question": "Asked back: ",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:=/ -]{0,47}")
_DIGITS = re.compile(r"[0-9]{6,}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_DEADLINE: dict[AtDeadline | None, str] = {
    "release": "then they go out",
    "withhold": "then they are withheld",
    "escalate": "then others are asked",
}


def safe(text: str | None, instead: str = "") -> str:
    """A name that came with a decision, where it looks like one; `instead` where it does not.

    >>> safe("2.1.0"), safe("ann@example.org", "another version"), safe("4111111111111111", "another version")
    ('2.1.0', 'another version', 'another version')
    """
    if text is None or not _NAME.fullmatch(text) or _DIGITS.search(text):
        return instead if text is not None else ""
    return text


def subject(data: IncidentData) -> str:
    """Which model, version and segment, as far as the incident is of one."""
    version = "" if data.version in (None, "*") else safe(data.version, "another version")
    parts = (safe(data.model, "a model"), version, safe(data.segment, "one segment"))
    return " ".join(part for part in parts if part)


def title(data: IncidentData) -> str:
    """The incident in a line, without counts: it must not change while decisions arrive."""
    kind, _, name = data.cause.partition("/")
    where, cause = subject(data), safe(data.cause, "a cause")
    if data.proposal is not None:
        text = f"A change of {data.proposal.kind} needs a second person"
    elif kind == "channel":
        text = f"Messages by {safe(name, 'a channel')} do not arrive"
    elif kind == "contact":
        text = f"Somebody cannot be reached by {safe(name, 'a channel')}"
    elif data.effect is Effect.HOLD:
        text = f"{where}: decisions {'held' if data.held else 'that would be held'} by {cause}"
    elif data.effect is Effect.BLOCK:
        text = f"{where}: decisions blocked by {cause}" if where else f"Records refused: {cause}"
    elif data.effect is not None:
        text = f"{where}: decisions noticed by {cause}"
    elif data.labels.get("status") in ("alarm", "warn"):
        text = f"{where}: {'alarm' if data.labels['status'] == 'alarm' else 'warning'} of {cause}"
    else:
        text = f"{where}: {cause}" if where else f"Something is wrong: {cause}"
    return text[:TITLE]


def headline(kind: str, data: IncidentData) -> str:
    """A message's title: as the incident's, with how many wait."""
    lead = MESSAGE_KINDS[kind]
    text = data.title
    if data.held and data.status != "resolved" and data.effect is Effect.HOLD:
        text = f"{subject(data)}: {counted(data.held, 'decision')} held by {safe(data.cause, 'a cause')}"
    return (lead + text)[:TITLE]


def lines(kind: str, data: IncidentData, chain: Chain, zone: str, now_ms: int, why: Sequence[str]) -> tuple[str, ...]:
    """What a message says below its title."""
    # The first words of a headline say how bad it is, or what happened: then how bad stands here.
    found = [f"Severity: {data.severity.value}"] if MESSAGE_KINDS[kind] else []
    if data.status == "resolved":
        found = [data.said if data.by is None else data.said.partition(": ")[0]]  # a person's reason is free text
    elif data.held and data.deadline_ms is not None:
        one = data.held == 1
        found.append(
            f"{counted(data.held, 'decision')} {'waits' if one else 'wait'} for an answer by "
            f"{moment(data.deadline_ms, zone, now_ms)}; {_AT_DEADLINE.get(chain.at_deadline, 'then others are asked')}"
        )
    elif data.held:
        found.append(f"{counted(data.held, 'decision')} {'waits' if data.held == 1 else 'wait'} for an answer")
    else:
        so_far = f"{counted(data.count, 'decision')} so far, the first" if data.effect else "First seen"
        found.append(f"{so_far} {moment(data.first_ms, zone, now_ms)}")
    near = data.statutory_ms is not None and (data.deadline_ms is None or data.statutory_ms - now_ms < SOON_MS)
    if data.status != "resolved" and data.statutory_ms is not None and near:
        found.append(f"The law allows until {moment(data.statutory_ms, zone, now_ms)}")
    if data.status != "resolved" and kind == "acknowledge" and data.acknowledged_by:
        found.append(f"{data.acknowledged_by} has taken it")
    if data.late_ms >= WORTH_MS:
        found.append(f"This message comes {lasting(data.late_ms)} late: the service was down")
    return tuple(line[:LINE] for line in (*found, *why) if line)


def moment(ms: int, zone: str, now_ms: int) -> str:
    """A time as somebody in that zone reads it; with the day where it is another one.

    >>> moment(1772442843120, "UTC", 1772442000000), moment(1772442843120, "Asia/Taipei", 1772300000000)
    ('09:14 UTC', '2 Mar 17:14 (Asia/Taipei)')
    """
    here, now = _local(ms, zone), _local(now_ms, zone)
    clock = here.strftime("%H:%M")
    day = "" if here.date() == now.date() else f"{here.day} {here.strftime('%b')} "
    if here.year != now.year:
        day = f"{here.day} {here.strftime('%b %Y')} "
    return f"{day}{clock} UTC" if zone == "UTC" else f"{day}{clock} ({zone})"


def lasting(ms: float) -> str:
    """A stretch of time in one or two units.

    >>> lasting(7_500_000), lasting(45_000), lasting(90_000_000)
    ('2 h 5 min', '45 s', '1 d 1 h')
    """
    seconds = int(ms // 1000)
    for size, name, smaller, small_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{seconds} s"


def counted(number: int, noun: str) -> str:
    """`1 decision`, `50,000 decisions`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(names: Iterable[str]) -> str:
    """`ann`, `ann and bob`, `ann, bob and cy`."""
    found = list(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else "nobody"


def _local(ms: int, zone: str) -> datetime:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo(zone))
