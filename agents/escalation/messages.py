"""What is said of an incident: its title, the timeline's sentences, and messages that fit a phone's lock screen.

Promise: what, how bad, how many decisions wait, by when. Never the rendered reason of a flag, which holds values of
decisions; a version or a segment that looks like anything but a name is not repeated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from agents.escalation.declared import AtDeadline, Chain
from agents.events import Effect, SignalData
from agents.people_events import IncidentData

TITLE, HEADLINE = 80, 100
"""Characters at most of an incident's title, and of a message's: with how bad it is before it, 110 on a lock screen."""
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
_AT_DEADLINE: dict[AtDeadline | None, str] = {"release": "{} released", "withhold": "{} withheld"}
_MEND = {
    "channel": "Until somebody looks, messages go by other channels; `govern notify list` shows why",
    "contact": "Check the address or id under `contacts`; `govern notify list` shows why",
    "change": "Its page says why, and what to do",
}
"""What to do about what keeps messages from arriving."""


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
    elif kind == "change" and data.effect is None:
        text = f"An approved change is not in force: {safe(data.labels.get('incident'), 'a proposal')}"
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


def headline(kind: str, data: IncidentData, zone: str, now_ms: int, figures: str = "") -> str:
    """A message's title: as the incident's, with how many wait and by when, which are never cut; or with an alarm's figures."""
    lead = MESSAGE_KINDS[kind]
    if not waits(data):
        text = lead + data.title
        return f"{text}, {figures}" if figures and len(text) + len(figures) + 2 <= HEADLINE else text[:HEADLINE]
    where, cause = subject(data), safe(data.cause, "a cause")
    by = data.deadline_ms if data.deadline_ms is not None else data.statutory_ms
    held = f"{counted(data.held, 'decision')} held by "
    until = f", answer by {brief(by, zone, now_ms)}" if by is not None else ""
    room = HEADLINE - len(lead + held + until) - 2
    where = cut(where, max(room - len(cause), room // 2))
    return f"{lead}{where}: {held}{cut(cause, room - len(where))}{until}" if where else lead + held + cause + until


def waits(data: IncidentData) -> bool:
    """Whether decisions wait for an answer to it."""
    return bool(data.held) and data.status != "resolved" and data.effect is Effect.HOLD


def figures(signal: SignalData) -> str:
    """A monitor's figures, which name nobody: no segment, no group, no value of a decision.

    >>> signal = {"model": "credit", "version": "2", "monitor": "gap", "status": "alarm", "metric": "impact_ratio"}
    >>> figures(SignalData.model_validate({**signal, "estimate": 0.6172, "lower": 0.55, "upper": 0.7, "n": 1204}))
    'impact ratio 0.617 (0.55 to 0.7), n 1,204'
    """
    if signal.estimate is None or not math.isfinite(signal.estimate):
        return ""
    name = safe((signal.metric or signal.monitor).replace("_", " "), "estimate")
    ends = [_figure(end) for end in (signal.lower, signal.upper) if end is not None and math.isfinite(end)]
    interval = f" ({' to '.join(ends)})" if len(ends) == 2 else ""
    return f"{name} {_figure(signal.estimate)}{interval}" + (f", n {signal.n:,}" if signal.n is not None else "")


def lines(
    kind: str, data: IncidentData, chain: Chain, zone: str, now_ms: int, why: Sequence[str], figures: str = ""
) -> tuple[str, ...]:
    """What a message says below its title. A deadline stands in the title, and channels count down to it."""
    # The first words of a headline say how bad it is, or what happened: then how bad stands here.
    found = [f"Severity: {data.severity.value}"] if MESSAGE_KINDS[kind] else []
    told = headline(kind, data, zone, now_ms, figures)
    if data.status == "resolved":
        # A person's reason is free text.
        found = [_sentence(data.said) if data.by is None else data.said.partition(": ")[0]]
    elif data.held:
        one = data.held == 1
        then = _AT_DEADLINE.get(chain.at_deadline, "others are asked").format("it is" if one else "they are")
        until = f" by {moment(data.deadline_ms, zone, now_ms)}; then {then}" if data.deadline_ms is not None else ""
        found.append(f"{counted(data.held, 'decision')} {'waits' if one else 'wait'} for an answer{until}")
        names = {"Model": subject(data), "Cause": safe(data.cause)}
        found += [f"{name}: {text}" for name, text in names.items() if text not in told]
    else:
        found += [_sentence(figures)] if figures and figures not in told else []
        so_far = f"{counted(data.count, 'decision')} so far, the first" if data.effect else "First seen"
        found.append(f"{'Proposed' if data.proposal is not None else so_far} {moment(data.first_ms, zone, now_ms)}")
        ours = data.model is None and data.proposal is None
        found.append(_MEND.get(data.cause.partition("/")[0], "") if ours else "")
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
    return f"{_clock(ms, zone, now_ms)} UTC" if zone == "UTC" else f"{_clock(ms, zone, now_ms)} ({zone})"


def brief(ms: int, zone: str, now_ms: int) -> str:
    """The same with the zone's short name, for a title.

    >>> brief(1772442843120, "UTC", 1772442000000), brief(1772442843120, "Europe/Berlin", 1772300000000)
    ('09:14 UTC', '2 Mar 10:14 CET')
    >>> brief(1772442843120, "America/Sao_Paulo", 1772442000000)
    '06:14 UTC-03'
    """
    name = _local(ms, zone).tzname() or zone
    return f"{_clock(ms, zone, now_ms)} {'UTC' * (name[:1] in '+-')}{name}"


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


def cut(text: str, limit: int) -> str:
    """At most so many characters, with an ellipsis where it was longer.

    >>> cut("a longer title", 9)
    'a longer…'
    """
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"


def counted(number: int, noun: str) -> str:
    """`1 decision`, `50,000 decisions`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(names: Iterable[str]) -> str:
    """`ann`, `ann and bob`, `ann, bob and cy`."""
    found = list(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else "nobody"


def _clock(ms: int, zone: str, now_ms: int) -> str:
    here, now = _local(ms, zone), _local(now_ms, zone)
    day = "" if here.date() == now.date() else f"{here.day} {here.strftime('%b')} "
    if here.year != now.year:
        day = f"{here.day} {here.strftime('%b %Y')} "
    return day + here.strftime("%H:%M")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _local(ms: int, zone: str) -> datetime:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo(zone))
