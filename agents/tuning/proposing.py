"""Proposals for one rule, from what people ruled: a stricter number, a wider one, or `log` instead of `hold`.

Promise to whoever reads one: it was chosen on the earlier judgements and its effect is stated on the later ones, which had
no part in the choice; each figure has its interval and n; below a stated n there is no proposal but the reason why.
Nothing here applies anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from agents.policy.columns import is_of_decision
from agents.policy.compilation import Compiled
from agents.policy.conditions import compile_condition
from agents.tuning.estimates import Estimate, share
from agents.tuning.judged import Judged, halves
from agents.tuning.thresholds import Threshold, plain, thresholds

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a proposal must keep to."""

    least: int = 60
    """Judgements of the rule without which nothing is proposed, half of them in each period."""
    lose: float = 0.1
    """A proposal may lose at most this share of warranted holds, by the upper end of the interval."""
    rarely: float = 0.05
    """A rule whose holds are warranted less often than this, by the upper end, is proposed to `log`."""
    worth: float = 0.2
    """Further holds must be warranted at least so often, by the lower end."""
    candidates: int = 200
    """Numbers tried between the smallest and the largest value seen."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change of one rule with its effect on the later judgements."""

    rule: str
    kind: Literal["stricter", "wider", "log"]
    before: str
    """The condition, or `effect: hold`."""
    after: str
    why: str
    fitted_on: int
    """Judgements of the earlier period, which chose it."""
    judged_on: int
    saved: Estimate | None = None
    """Of the needless holds, the share that would be saved: no other rule held them."""
    lost: Estimate | None = None
    """Of the warranted holds, the share that would be lost; of `log`, which loses them all: their share of all holds."""
    caught: Estimate | None = None
    """Of the misses among released decisions, the share that would be held."""
    further: Estimate | None = None
    """Of the decisions held besides, the share for which that is warranted."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no proposal for a rule."""

    rule: str
    why: str


def propose(rule: Compiled, columns: pl.Schema, judged: Sequence[Judged], terms: Terms) -> list[Proposal | Refused]:
    """Everything worth proposing for a rule, or the one reason why there is nothing.

    `judged` are judgements of this rule and blind ones of its models (`about`); `columns` are the decision's columns.
    What the rule held while its numbers were other ones, and would not hold today, does not count.
    """
    numbers = thresholds(rule.condition.text)
    mine = _today([one for one in judged if not one.blind], numbers)
    blind = [one for one in judged if one.blind]
    earlier, later = halves(mine)
    found: list[Proposal | Refused] = []
    short = _short(rule.name, mine, earlier, later, terms)
    if short is not None:
        found.append(short)
    else:
        logged = _logged(rule, earlier, later, terms)
        found += [] if logged is None else [logged]
        found += _stricter(rule, numbers, earlier, later, terms)
    found += _wider(rule, columns, blind, terms)
    return found or [Refused(rule.name, f"nothing better than what stands, by {len(mine):,} judgements")]


def _short(
    rule: str, mine: Sequence[Judged], earlier: Sequence[Judged], later: Sequence[Judged], terms: Terms
) -> Refused | None:
    need = terms.least // 2
    if len(mine) < terms.least or min(len(earlier), len(later)) < need:
        return Refused(
            rule,
            f"{len(mine):,} usable judgements ({len(earlier):,} earlier, {len(later):,} later); "
            f"{terms.least:,} are needed, {need:,} in each period",
        )
    return None


def _logged(rule: Compiled, earlier: Sequence[Judged], later: Sequence[Judged], terms: Terms) -> Proposal | None:
    fitted, checked = (_warranted(part) for part in (earlier, later))
    if max(fitted.upper, checked.upper) >= terms.rarely:
        return None
    return Proposal(
        rule.name,
        "log",
        "effect: hold",
        "effect: log",
        f"holding was warranted for {checked}: people let nearly all of it go out",
        len(earlier),
        len(later),
        saved=_among(later, np.array([one.alone for one in later], dtype=bool), warranted=False),
        lost=checked,
    )


def _today(judged: Sequence[Judged], numbers: Sequence[Threshold]) -> list[Judged]:
    """Those that the rule's present numbers let through to it."""
    kept = np.ones(len(judged), dtype=bool)
    for one in numbers:
        kept &= one.passes(_values(judged, one.column), one.number)
    return [one for one, still in zip(judged, kept, strict=True) if still]


def _stricter(
    rule: Compiled, numbers: Sequence[Threshold], earlier: Sequence[Judged], later: Sequence[Judged], terms: Terms
) -> list[Proposal | Refused]:
    """Other numbers, by what the archive still has: of the rest nobody knows whether a number would keep it."""
    known, need = [[one for one in part if one.row] for part in (earlier, later)], terms.least // 2
    if numbers and min(map(len, known)) < need:
        count, judged = sum(map(len, known)), len(earlier) + len(later)
        return [
            Refused(
                rule.name,
                f"the archive has {count:,} of {judged:,} judged decisions; {need:,} of each period are needed",
            )
        ]
    tried = (_tightened(rule, one, known[0], known[1], terms) for one in numbers)
    return [one for one in tried if one is not None]


def _tightened(
    rule: Compiled, one: Threshold, earlier: Sequence[Judged], later: Sequence[Judged], terms: Terms
) -> Proposal | None:
    values = _values(earlier, one.column)
    numbers = [number for number in _between(values, terms.candidates) if one.stricter(number)]
    best, most = None, 0.0
    for number in numbers:
        saved, lost = _effect(one, number, earlier, values)
        if lost.n and lost.value <= terms.lose / 10 and saved.value > most:  # what just fits here would fail there
            best, most = number, saved.value
    if best is None:
        return None
    saved, lost = _effect(one, best, later, _values(later, one.column))
    if not saved.n or not lost.n or lost.upper > terms.lose or saved.lower <= lost.upper:  # else it tells nothing apart
        return None
    text = rule.condition.text
    return Proposal(
        rule.name,
        "stricter",
        text,
        one.written(text, best),
        f"{one.column} {one.sign} {plain(best)} instead of {plain(one.number)} saves {saved} of the needless holds "
        f"and loses {lost} of the warranted ones",
        len(earlier),
        len(later),
        saved=saved,
        lost=lost,
    )


def _effect(one: Threshold, number: float, judged: Sequence[Judged], values: Floats) -> tuple[Estimate, Estimate]:
    """(needless holds saved, warranted ones lost) by another number; what another rule held too stays held."""
    gone = ~one.passes(values, number) & np.array([one.alone for one in judged], dtype=bool)
    return _among(judged, gone, warranted=False), _among(judged, gone, warranted=True)


def _wider(rule: Compiled, columns: pl.Schema, blind: Sequence[Judged], terms: Terms) -> list[Proposal | Refused]:
    """Numbers that would hold what blind reviewers would not have let go out; only where the row says all."""
    rows = [one for one in blind if one.row]
    if not rows or not any(one.warranted for one in rows) or not all(map(is_of_decision, rule.columns)) or rule.lasts:
        return []
    earlier, later = halves(rows)
    need = terms.least // 2
    if min(len(earlier), len(later)) < need:
        return [Refused(rule.name, f"{len(rows):,} blind judgements; {terms.least:,} are needed to widen a rule")]
    tried = (_widened(rule, columns, one, earlier, later, terms) for one in thresholds(rule.condition.text))
    return [one for one in tried if one is not None]


def _widened(
    rule: Compiled,
    columns: pl.Schema,
    one: Threshold,
    earlier: Sequence[Judged],
    later: Sequence[Judged],
    terms: Terms,
) -> Proposal | None:
    text, known = rule.condition.text, dict(columns)

    def holds(part: Sequence[Judged], number: float) -> npt.NDArray[np.bool_]:
        condition = compile_condition(one.written(text, number), known)
        guard = pl.lit(True) if rule.guard is None else rule.guard
        return _matches(part, columns, rule.columns, guard & condition.expression)

    before = holds(earlier, one.number)
    values = _values(earlier, one.column)
    best, most = None, 0.0
    for number in _between(values, 50):
        if one.stricter(number):
            continue
        more = holds(earlier, number) & ~before
        precise, caught = _precision(earlier, more), _among(earlier, more, warranted=True)
        if precise.n and precise.value >= terms.worth and caught.value > most:
            best, most = number, caught.value
    if best is None:
        return None
    more = holds(later, best) & ~holds(later, one.number)
    caught, further = _among(later, more, warranted=True), _precision(later, more)
    if not further.n or further.lower < terms.worth:
        return None
    return Proposal(
        rule.name,
        "wider",
        text,
        one.written(text, best),
        f"{one.column} {one.sign} {plain(best)} instead of {plain(one.number)} catches {caught} of what blind reviewers "
        f"would not have let go out; of about {further.total:,.0f} further holds {further} would be warranted",
        len(earlier),
        len(later),
        caught=caught,
        further=further,
    )


def _matches(
    part: Sequence[Judged], columns: pl.Schema, read: frozenset[str], expression: pl.Expr
) -> npt.NDArray[np.bool_]:
    names = sorted(read) or ["model.name"]
    frame = pl.DataFrame(
        {name: [one.row.get(name) for one in part] for name in names}, schema={n: columns[n] for n in names}
    )
    answer = frame.select(expression.fill_null(True).alias("answer"))["answer"]  # null: fails closed, so it holds
    return np.asarray(answer.to_numpy(), dtype=bool)


def _values(judged: Sequence[Judged], column: str) -> Floats:
    return np.array([_number(one.row.get(column)) for one in judged], dtype=np.float64)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _between(values: Floats, most: int) -> list[float]:
    """Numbers halfway between neighbouring values, at most so many, rounded as far as they still separate them."""
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) < 2:
        return []
    places = np.unique(np.linspace(0, len(distinct) - 2, min(most, len(distinct) - 1)).round().astype(int))
    return [_short_number(float(distinct[at]), float(distinct[at + 1])) for at in places]


def _short_number(low: float, high: float) -> float:
    """The shortest decimal strictly between two numbers, near their middle."""
    middle = (low + high) / 2
    for digits in range(-6, 12):
        found = round(middle, digits)
        if low < found < high:
            return found
    return middle


def _warranted(judged: Sequence[Judged]) -> Estimate:
    return share([one.warranted for one in judged], [one.weight for one in judged])


def _precision(judged: Sequence[Judged], chosen: npt.NDArray[np.bool_]) -> Estimate:
    return _warranted([one for one, taken in zip(judged, chosen, strict=True) if taken])


def _among(judged: Sequence[Judged], chosen: npt.NDArray[np.bool_], *, warranted: bool) -> Estimate:
    """Of the warranted (or needless) ones, the share that is chosen."""
    pairs = [(bool(taken), one.weight) for one, taken in zip(judged, chosen, strict=True) if one.warranted is warranted]
    return share([taken for taken, _ in pairs], [weight for _, weight in pairs])
