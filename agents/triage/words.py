"""How triage writes figures: one way for each kind of number, so that a model's answer can be held to what was displayed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

SHARES = ("rate", "share", "coverage", "accuracy", "estimated_accuracy")
"""How the names of figures end that are a share of one."""
METRICS = {
    "after_hours_share": "share of calls after hours",
    "anomaly_rate": "share of unusual decisions",
    "calibration_error": "error of the stated probabilities",
    "difference": "difference of rates",
    "finding_share": "share of prompts",
    "flip_rate": "share of answers that changed",
    "impact_ratio": "approval-rate ratio",
    "label_coverage": "share of decisions whose outcome is known",
    "missing_rate": "share that is missing",
    "psi": "shift of the inputs (PSI)",
    "rate_ratio": "calls, against the usual",
    "residual": "difference from the reference version",
    "selection_rate": "approval rate",
}
"""Monitors' figures as people say them; any other by its own name."""
_YEARS = (-62_135_596_800_000, 253_402_300_799_000)
"""The first and the last moment that has a date."""
_SPANS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"))


def count(number: float) -> str:
    """A whole number.

    >>> count(1234)
    '1,234'
    """
    return f"{number:,.0f}"


def share(part: float) -> str:
    """A share of one as a percentage.

    >>> share(0.1234)
    '12.3 %'
    """
    return f"{100 * part:.1f} %"


def figure(number: float, metric: str | None = None) -> str:
    """An estimate: a percentage where the metric is a share, else two decimals, or two digits of a small one.

    >>> figure(0.7, "impact_ratio"), figure(0.041, "missing_rate"), figure(0.0012), figure(1234.5)
    ('0.70', '4.1 %', '0.0012', '1,234')
    """
    if metric is not None and metric.endswith(SHARES) and abs(number) <= 1:
        return share(number)
    if abs(number) >= 1000:
        return count(number)
    return f"{number:.2f}" if abs(number) >= 0.01 or number == 0 else f"{number:.2g}"


def metric_words(metric: str | None) -> str:
    """What a figure is called.

    >>> metric_words("impact_ratio"), metric_words("true_positive_rate"), metric_words(None)
    ('approval-rate ratio', 'true positive rate', 'estimate')
    """
    return METRICS.get(metric or "", (metric or "estimate").replace("_", " "))


def part_words(part: str) -> str:
    """A part of the traffic, as it is said.

    >>> part_words("age_band=under 26"), part_words("feature=pay_0"), part_words("flips & sex=female"), part_words("x_y")
    ('age band under 26', 'input pay_0', 'flips, sex female', 'x_y')
    """
    said = []
    for one in part.split(" & "):
        name, equals, value = one.partition("=")
        name = "input" if name == "feature" else name.replace("_", " ") if equals else name
        said.append(f"{name} {value}" if equals else name)
    return ", ".join(said)


def dated(ms: float) -> datetime:
    """The moment, UTC; a producer's clock may say anything: the nearest that has a date.

    >>> dated(1_772_442_843_120).year, dated(1e30).year, dated(-1e30).year
    (2026, 9999, 1)
    """
    return datetime.fromtimestamp(min(max(ms, _YEARS[0]), _YEARS[1]) / 1000, UTC)


def moment(ms: int) -> str:
    """A moment, to the minute.

    >>> moment(1772442843120)
    '2026-03-02 09:14 UTC'
    """
    return dated(ms).isoformat(" ", "minutes")[:16] + " UTC"


def span(ms: float) -> str:
    """A stretch of time, in the largest unit that fits twice (days, hours) or at all.

    >>> span(7_200_000), span(90_000), span(10)
    ('2 hours', '1 minute', 'less than a minute')
    """
    for unit, name in _SPANS:
        if ms >= (2 * unit if name != "minute" else unit):
            found = int(ms // unit)
            return f"{found:,} {name}{'' if found == 1 else 's'}"
    return "less than a minute"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(([", ".join(names[:-1])] if names[:-1] else []) + list(names[-1:]))


def plural(number: float, one: str, many: str = "") -> str:
    """A number with its noun.

    >>> plural(1, "decision"), plural(2, "decision")
    ('1 decision', '2 decisions')
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def capital(text: str) -> str:
    """With a capital to begin a sentence; the rest as it is."""
    return text[:1].upper() + text[1:]
