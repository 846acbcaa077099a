"""How pages say figures and times: the same everywhere, short enough for a phone, exact enough to act on.

Times are UTC with the zone named; what is relative carries the absolute time beside it. Nothing here is HTML but the `<time>`
elements, whose text is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from agents.events import SignalData
from agents.triage.words import METRICS, dated
from agents.triage.words import SHARES as SHARE_METRICS

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
YEAR = 365.25 * DAY
SOON = HOUR
"""A deadline nearer than this is marked."""

STATUSES = {"triggered": "nobody has taken it", "acknowledged": "somebody is on it", "resolved": "resolved"}
RESOLUTIONS = {
    "approved": "went out",
    "edited": "changed, then went out",
    "rejected": "withheld",
    "responded": "asked back",
    "expired": "the deadline passed",
    "cancelled": "closed without an answer",
}
CHANGED = {"approved": "agreed to", "rejected": "turned down", "cancelled": "taken back"}
"""The same of proposed changes."""
EFFECTS = {"allow": "goes out", "log": "goes out, flagged", "hold": "held for a person", "block": "withheld"}
MODES = {
    "gate": "in the path",
    "observe": "beside the path: says what would have happened",
    "enforce": "applied",
    "audit": "recorded, not applied",
    "disabled": "switched off",
}
CAUSES = {
    "bias": "unequal treatment of a group",
    "data_drift": "inputs that changed",
    "model_change": "a change of the model",
    "misuse": "use that was not agreed",
    "data_quality": "faulty data",
    "operations": "a fault in operation",
    "attack": "an attack",
    "policy_too_strict": "a rule that is too strict",
    "single_case": "a single case",
    "unknown": "not known yet",
}
ADVICE = {
    "review_held": "Review the held decisions one by one",
    "approve_held": "Let the held decisions go out",
    "reject_held": "Withhold the held decisions",
    "quarantine_version": "Hold every decision of this version",
    "fall_back": "Fall back to the earlier way of deciding",
    "pause_caller": "Pause the caller",
    "fix_data": "Mend the data",
    "tune_rule": "Tune the rule",
    "investigate": "Investigate",
    "watch": "Watch; nothing else now",
}
SIGNALS = {"none": "nothing yet", "insufficient": "too few yet", "ok": "fine", "warn": "warning", "alarm": "alarm"}
ROLES = {
    "viewer": "sees",
    "reviewer": "answers",
    "author": "proposes changes",
    "auditor": "sees the evidence",
    "admin": "manages accounts",
}


def count(value: float | None) -> str:
    """Whole numbers with thousands marked.

    >>> count(50000)
    '50,000'
    """
    return "—" if value is None else f"{value:,.0f}"


def several(value: int, one: str, many: str) -> str:
    """A number with its noun.

    >>> several(1, "decision", "decisions"), several(412, "decision", "decisions")
    ('1 decision', '412 decisions')
    """
    return f"{count(value)} {one if value == 1 else many}"


def figure(value: float | None, digits: int = 3) -> str:
    """A figure to so many significant digits.

    >>> figure(0.61234), figure(1250.0), figure(None)
    ('0.612', '1,250', '—')
    """
    if value is None:
        return "—"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def share(value: float | None) -> str:
    r"""A share of one as per cent.

    >>> share(0.3124)
    '31.2\xa0%'
    """
    return "—" if value is None else f"{100 * value:.1f}\u00a0%"


def duration(ms: float) -> str:
    r"""How long, in at most two units.

    >>> duration(4_320_000), duration(45_000), duration(200_000_000)
    ('1\xa0h 12\xa0min', '45\xa0s', '2\xa0days 7\xa0h')
    """
    ms = max(ms, 0)
    if ms < MINUTE:
        return f"{ms / SECOND:.0f}\u00a0s"
    if ms < HOUR:
        return f"{ms // MINUTE:.0f}\u00a0min"
    if ms < DAY:
        minutes = ms % HOUR // MINUTE
        return f"{ms // HOUR:.0f}\u00a0h" + (f" {minutes:.0f}\u00a0min" if minutes else "")
    days, hours = ms // DAY, ms % DAY // HOUR
    whole = several(int(days), "day", "days").replace(" ", "\u00a0")
    return whole + (f" {hours:.0f}\u00a0h" if hours and days < 7 else "")


def stamp(ms: float) -> str:
    """The absolute time, with its zone.

    >>> stamp(1_772_442_843_120), stamp(10**18)
    ('2 Mar 2026, 09:14:03 UTC', '31 Dec 9999, 23:59:59 UTC')
    """
    at = dated(ms)
    return f"{at.day} {at:%b %Y, %H:%M:%S} UTC"


def clock(ms: float, now_ms: float) -> str:
    """The absolute time as short as it can be read without doubt: the day only where it is not today's.

    >>> clock(1_772_442_843_120, 1_772_443_000_000), clock(1_772_442_843_120, 1_772_643_000_000)
    ('09:14 UTC', '2 Mar, 09:14 UTC')
    """
    at, now = dated(ms), dated(now_ms)
    if at.date() == now.date():
        return f"{at:%H:%M} UTC"
    year = "" if at.year == now.year else f" {at.year}"
    return f"{at.day} {at:%b}{year}, {at:%H:%M} UTC"


def relative(ms: float, now_ms: float) -> str:
    """`4 min ago`, `in 2 h`, `just now`."""
    away = now_ms - ms
    if abs(away) < 5 * SECOND:
        return "just now"
    return f"{duration(away)} ago" if away > 0 else f"in {duration(-away)}"


def strength(e_value: float | None, unit: str | None) -> str:
    """How rarely chance alone goes so far: in decisions, or in the time that people live in.

    >>> strength(12_000, "decisions"), strength(40 * YEAR, "ms"), strength(0.4, "decisions")
    ('1 in 12,000 decisions', 'once in 40 years', 'none')
    >>> strength(472e6 * YEAR, "ms"), strength(1.94e6, "decisions")
    ('once in 470 million years', '1 in 1.9 million decisions')
    """
    if e_value is None:
        return "—"
    if e_value < 2:
        return "none"
    if unit == "ms":
        return f"once in {_span(e_value)}"
    return f"1 in {_about(e_value)}" + (" decisions" if unit == "decisions" else "")


def _span(ms: float) -> str:
    for size, one, many in ((YEAR, "year", "years"), (DAY, "day", "days"), (HOUR, "hour", "hours")):
        if ms >= 1.5 * size:
            return f"{_about(ms / size)} {many}"
        if ms >= size:
            return f"{'an' if one == 'hour' else 'a'} {one}"
    return "minutes" if ms >= MINUTE else "seconds"


def _about(value: float) -> str:
    """To two significant digits above a hundred: more would be no more sure."""
    if value >= 1e15:
        return "more than 10¹⁵"
    if value >= 1e6:
        for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
            if value >= size:
                return f"{_about(value / size) if value >= 100 * size else figure(value / size, 2)} {word}"
    if value >= 100:
        digits = len(str(int(value))) - 2
        value = round(value / 10**digits) * 10**digits
    return f"{value:,.0f}"


def interval(signal: SignalData) -> str:
    """`0.61 (0.52 to 0.69)`; of a share `6.1 % (5.2 % to 6.9 %)`."""
    if signal.estimate is None:
        return "—"
    part = (signal.metric or "").endswith(SHARE_METRICS) and abs(signal.estimate) <= 1
    said = share if part else figure
    if signal.lower is None or signal.upper is None:
        return said(signal.estimate)
    return f"{said(signal.estimate)} ({said(signal.lower)} to {said(signal.upper)})"


def metric_words(metric: str | None) -> str:
    """What an estimate is, in words.

    >>> metric_words("impact_ratio"), metric_words("new_metric"), metric_words(None)
    ('approval-rate ratio', 'new metric', '')
    """
    return METRICS.get(metric or "", (metric or "").replace("_", " "))


def group_words(group: str | None) -> str:
    """A group or input without the name of what it is one of.

    >>> group_words("age_band=under 26"), group_words("feature=pay_0"), group_words(None)
    ('under 26', 'pay_0', '')
    """
    return (group or "").rpartition("=")[2]


def plain_text(text: str) -> str:
    r"""A monitor's sentence without `attribute=` before groups, and with per cent set apart.

    >>> plain_text("43.4% of age_band=under 26 get it")
    '43.4\xa0% of under 26 get it'
    """
    return re.sub(r"(?<=\d)%", "\u00a0%", re.sub(r"\b[a-z][a-z0-9_]*=(?=\w)", "", text))


def two_sentences(text: str) -> tuple[str, str]:
    """What is said first, for a headline, and the rest.

    >>> two_sentences("Version 2.2.0 is live. 412 wait. Look at them first.")
    ('Version 2.2.0 is live. 412 wait.', 'Look at them first.')
    """
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9“(])", text.strip())
    return " ".join(sentences[:2]), " ".join(sentences[2:])


def cause_words(cause: str) -> str:
    """A cause as it is spoken of: `lending/large-limit` is a rule, `approval_gap` a monitor's name."""
    kind, _, name = cause.partition("/")
    if kind == "record":
        return {
            "malformed": "malformed records",
            "undeclared": "undeclared models",
            "conflict": "conflicting records",
        }.get(name, name)
    if kind == "safeguard":
        return f"safeguard {name}"
    if kind == "change":
        return f"a change of {name}"
    return f"rule {cause}" if name else f"monitor {cause}"


def pretty(value: Any) -> str:
    """A value of a decision as text: no quotes around words, no exponents for people's money.

    >>> pretty(18412.5), pretty(20000), pretty(0.31), pretty(True), pretty({"a": [1]}), pretty(1e-7)
    ('18,412.5', '20,000', '0.31', 'yes', '{"a": [1]}', '1e-07')
    """
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if abs(value) >= 1e15 or (value != 0 and abs(value) < 1e-4):
            return f"{value:.6g}"
        return f"{value:,.4f}".rstrip("0").rstrip(".") if value != int(value) else f"{value:,.0f}"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _time(ms: float, text: str, kind: str = "") -> Markup:
    name = f' class="{escape(kind)}"' if kind else ""
    return Markup(f'<time{name} datetime="{iso(ms)}" title="{escape(stamp(ms))}">{escape(text)}</time>')


@pass_context
def when(context: Context, ms: int | None, both: bool = False) -> Markup:
    """A moment as `<time>`: relative, the absolute time in its title; `both` writes it out as well."""
    if ms is None:
        return Markup("—")
    now = context["now_ms"]
    text = relative(ms, now)
    return _time(ms, f"{text}, {clock(ms, now)}" if both else text)


@pass_context
def at(context: Context, ms: int | None) -> Markup:
    """A moment as `<time>`, absolute."""
    return Markup("—") if ms is None else _time(ms, clock(ms, context["now_ms"]))


@pass_context
def left(context: Context, ms: int | None) -> Markup:
    """What is left until a deadline, as `<time>`; marked from an hour before it, in words and by class."""
    if ms is None:
        return Markup("no deadline")
    away = ms - context["now_ms"]
    if away < 0:
        return _time(ms, f"{duration(-away)} overdue", "deadline past")
    return _time(ms, f"{duration(away)} left", "deadline soon" if away < SOON else "deadline")


def breaks(text: str) -> Markup:
    """A long name that may break after its slashes, and nowhere else if that is enough.

    >>> str(breaks("rule lending/large<b>"))
    'rule lending/<wbr>large&lt;b&gt;'
    """
    return Markup("/<wbr>").join(escape(part) for part in text.split("/"))


def path(url: str) -> str:
    """An address of this console; `#` for any other, so that no text that came with a record can become a link.

    >>> path("/incidents/7f29-k1mq#held"), path("javascript:alert(1)"), path("//evil.example"), path("/\\\\evil")
    ('/incidents/7f29-k1mq#held', '#', '#', '#')
    """
    plain = url.startswith("/") and not url.startswith("//") and "\\" not in url
    return url if plain and all(ord(letter) > 32 for letter in url) else "#"


def iso(ms: float) -> str:
    """RFC 3339, for `datetime=`."""
    return dated(ms).isoformat(timespec="seconds").replace("+00:00", "Z")


def rate(per_second: float) -> str:
    """A rate a second that stays readable when it is small.

    >>> rate(1012.4), rate(0.42), rate(0.0), rate(0.002)
    ('1,012', '0.4', '0', 'under 0.1')
    """
    if per_second >= 10:
        return count(per_second)
    return "0" if per_second <= 0 else "under 0.1" if per_second < 0.05 else f"{per_second:.1f}"


def ended_words(cause: str, resolution: str) -> str:
    """How an incident, or some of its decisions, ended.

    >>> ended_words("lending/large-limit", "approved"), ended_words("change/configuration", "rejected")
    ('went out', 'turned down')
    """
    told = RESOLUTIONS.get(resolution, resolution)
    return CHANGED.get(resolution, told) if cause.startswith("change/") else told


def status_words(status: str, resolution: str | None = None) -> str:
    """Where an incident stands."""
    if status == "resolved" and resolution is not None:
        return RESOLUTIONS.get(resolution, resolution)
    return STATUSES.get(status, status)


def _looked_up(words: Mapping[str, str]) -> Callable[[str], str]:
    return lambda key: words.get(key, key)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "breaks": breaks,
    "count": count,
    "duration": duration,
    "effect_words": _looked_up(EFFECTS),
    "iso": iso,
    "path": path,
    "mode_words": _looked_up(MODES),
    "rate": rate,
    "several": several,
    "share": share,
    "signal_words": _looked_up(SIGNALS),
    "stamp": stamp,
    "status_words": status_words,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"at": at, "clock_of": clock, "left": left, "when": when}
