"""What a table of decisions seems to hold: which column is the answer, who is protected, what goes in; a guess to correct.

Names decide first, then values. Whoever runs `govern init` sees each guess, answers at most five questions, and edits the rest
in the file that it writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from agents.errors import Misconfigured
from orchestration.tables import ranges

LABELS = ("label", "decision", "prediction", "predicted", "predicted_label", "pred", "y_pred", "yhat", "answer", "verdict",
          "approved", "approval", "result", "output")  # fmt: skip
SCORES = ("score", "probability", "proba", "prob", "p", "y_score", "y_prob", "risk_score", "risk")
TIMES = ("time", "timestamp", "event_time", "datetime", "date", "at", "decided_at", "created_at", "ts")
VERSIONS = ("version", "model_version", "model.version")
CALLERS = ("caller", "service", "requested_by", "client_app")
OUTCOMES = ("outcome", "actual", "actual_label", "truth", "y_true", "target", "y", "ground_truth")
PEOPLE = ("subject", "client", "customer", "person", "applicant", "patient", "user", "member", "employee", "borrower")
PROTECTED = ("sex", "gender", "age", "race", "ethnic", "ethnicity", "marital", "marriage", "married", "nationality",
             "citizenship", "disability", "disabled", "religion", "religious", "pregnancy", "pregnant", "orientation",
             "veteran")  # fmt: skip
FAVOURABLE = ("approve", "approved", "accept", "accepted", "grant", "granted", "yes", "hire", "hired", "offer", "pass", "good",
              "admit", "admitted", "eligible", "allow", "benign", "low", "1", "true")  # fmt: skip
OTHERS = {"confidence": "output.confidence", "latency_ms": "latency_ms", "purpose": "purpose"}
MOST_GROUPS = 12
MOST_LABELS = 20
BANDS = ("under 30", "30 to 44", "45 to 59", "60 and over")


@dataclass
class Guess:
    """Columns of the table, by what they are for; None: there is none."""

    label: str | None = None
    favourable: str | None = None
    score: str | None = None
    time: str | None = None
    id: str | None = None
    subject: str | None = None
    version: str | None = None
    caller: str | None = None
    outcome: str | None = None
    others: dict[str, str] = field(default_factory=dict)
    """Contract field → column."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """Protected attribute (its column) → its groups."""
    features: dict[str, str] = field(default_factory=dict)
    """Column → `numeric` or `categorical`, with `?` where values are missing."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Column → why."""

    def roles(self) -> set[str]:
        """Columns that are no features."""
        named = (self.label, self.score, self.time, self.id, self.subject, self.version, self.caller, self.outcome)
        return {one for one in named if one is not None} | set(self.others.values()) | set(self.groups)


def guess(
    frame: pl.DataFrame,
    *,
    label: str | None = None,
    favourable: str | None = None,
    score: str | None = None,
    time: str | None = None,
    groups: Sequence[str] | None = None,
) -> Guess:
    """The guess; what is given is taken as it is. Raises Misconfigured for a column that is not there."""
    for name in (label, score, time, *(groups or ())):
        if name is not None and name not in frame.columns:
            raise Misconfigured(f"there is no column {name!r}; there are {', '.join(frame.columns)}")
    found = Guess()
    free = [name for name in frame.columns if frame[name].null_count() < frame.height]
    found.left_out = {name: "it is empty" for name in frame.columns if name not in free}
    found.time = time or _named(free, TIMES, lambda name: _is_time(frame[name]))
    found.version = _named(free, VERSIONS)
    found.outcome = _named([name for name in free if name != label], OUTCOMES)
    found.label = label or _label(frame, [one for one in free if one not in (found.outcome, found.version)])
    found.score = score or _named(
        [one for one in free if one != found.label], SCORES, lambda n: frame[n].dtype.is_numeric()
    )
    found.caller = _named(free, CALLERS)
    found.others = {OTHERS[plain(one)]: one for one in free if plain(one) in OTHERS}
    _identities(found, frame, free)
    taken = found.roles()
    chosen = groups
    if chosen is None:
        chosen = [one for one in free if one not in taken and is_protected(one) and _names_groups(frame[one])]
    for name in chosen:
        found.groups[name] = groups_of(frame[name])
    found.groups = {name: values for name, values in found.groups.items() if values}
    found.favourable = favourable or _favourable(frame, found.label)
    _features(found, frame, free)
    return found


def plain(name: str) -> str:
    """A name as it is compared: lower case, without what the contract or a habit puts before it.

    >>> plain("data.output.Label"), plain("Marital Status")
    ('label', 'marital_status')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rsplit(".", 1)[-1])
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def is_protected(name: str) -> bool:
    """True where a column's name says that it holds a protected attribute.

    >>> is_protected("age_band"), is_protected("mileage"), is_protected("applicant_sex")
    (True, False, True)
    """
    return name.startswith("groups.") or any(word in PROTECTED for word in plain(name).split("_"))


def _names_groups(column: pl.Series) -> bool:
    """False for numbers that measure something, as in `years_married`; an age in numbers has bands."""
    if not column.dtype.is_numeric() or "age" in plain(column.name).split("_"):
        return True
    return plain(column.name) in PROTECTED or column.n_unique() <= 3


def groups_of(column: pl.Series) -> list[str]:
    """Its groups in order: bands for an age in numbers; empty where it has too many values."""
    values = column.drop_nulls()
    if values.dtype.is_numeric() and "age" in plain(column.name).split("_") and values.n_unique() > len(BANDS):
        inside = [(values >= lowest) & (values < beyond) for _, lowest, beyond in ranges(BANDS)]
        return [name for name, rows in zip(BANDS, inside, strict=True) if rows.any()]
    counts = values.cast(pl.String).value_counts(sort=True)
    found = [str(one) for one in counts[column.name].to_list()]
    return sorted(found) if 2 <= len(found) <= MOST_GROUPS else []


def labels_of(frame: pl.DataFrame, label: str | None) -> list[str]:
    """What the model says, most frequent first."""
    if label is None:
        return []
    counts = frame[label].drop_nulls().cast(pl.String).value_counts(sort=True)
    return [str(one) for one in counts[label].to_list()]


def _named(free: Iterable[str], names: Sequence[str], fits: Callable[[str], bool] = lambda name: True) -> str | None:
    """The first column of one of these names, in the order of the names."""
    found: dict[str, str] = {}
    for one in free:
        if fits(one):
            found.setdefault(plain(one), one)
    return next((found[name] for name in names if name in found), None)


def _is_time(column: pl.Series) -> bool:
    if column.dtype.is_temporal():
        return True
    if column.dtype == pl.String:
        texts = column.drop_nulls().head(50)
        read = texts.str.to_datetime(time_zone="UTC", time_unit="ms", strict=False)
        return len(texts) > 0 and read.null_count() == 0
    return column.dtype.is_integer() and bool((column.drop_nulls() > 10**11).all())


def _label(frame: pl.DataFrame, free: Sequence[str]) -> str | None:
    few = [one for one in free if 2 <= frame[one].n_unique() <= MOST_LABELS]
    named = _named(few, LABELS)
    if named is not None:
        return named
    return next((one for one in few if plain(one).endswith(("_decision", "_prediction", "_label", "_pred"))), None)


def _favourable(frame: pl.DataFrame, label: str | None) -> str | None:
    said = labels_of(frame, label)
    lower = {one.lower(): one for one in reversed(said)}
    known = next((lower[one] for one in FAVOURABLE if one in lower), None)
    return known or (said[0] if said else None)


def _identities(found: Guess, frame: pl.DataFrame, free: Sequence[str]) -> None:
    """Which column names the decision, and which one whom it is about."""
    ids = [one for one in free if plain(one) == "id" or plain(one).endswith("_id") or plain(one) == "uuid"]
    people = [one for one in free if plain(one).removesuffix("_id") in PEOPLE and one not in (found.label, found.score)]
    found.subject = people[0] if people else None
    unique = [one for one in ids if one not in people and frame[one].n_unique() == frame.height]
    found.id = unique[0] if unique else None
    for one in ids:
        if one not in (found.id, found.subject):
            found.left_out[one] = "it looks like an id"


def _features(found: Guess, frame: pl.DataFrame, free: Sequence[str]) -> None:
    taken: Collection[str] = found.roles() | set(found.left_out)
    for name in free:
        if name in taken:
            continue
        column = frame[name]
        mark = "?" if column.null_count() else ""
        if column.dtype.is_numeric():
            found.features[name] = "numeric" + mark
        elif column.dtype == pl.Boolean or column.n_unique() <= max(50, frame.height // 20):
            found.features[name] = "categorical" + mark
        else:
            found.left_out[name] = f"it has {column.n_unique():,} different texts"
