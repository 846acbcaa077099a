"""The numbers in a condition that can be tuned: comparisons of a decision's column with a number, joined by AND.

Only such a comparison can be made stricter without asking what everything else was at the time: the rule then matches
exactly those decisions that it matched before and that pass the new number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlglot import exp

from agents.policy.columns import is_of_decision
from agents.policy.conditions import parse
from agents.policy.sql import column_name

_SIGNS: dict[type[exp.Expr], str] = {exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<="}
_MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One comparison `column sign number` of a condition."""

    column: str
    sign: str
    """`>`, `>=`, `<` or `<=`, as if the column stood on the left."""
    number: float
    start: int
    end: int
    """Where the number stands in the condition's text: text[start:end], its sign included."""

    def passes(self, values: npt.NDArray[np.float64], number: float) -> npt.NDArray[np.bool_]:
        """Which values the comparison lets through with another number; what is missing passes, as it does not decide."""
        with np.errstate(invalid="ignore"):
            found = {
                ">": values > number,
                ">=": values >= number,
                "<": values < number,
                "<=": values <= number,
            }[self.sign]
        return found | np.isnan(values)

    def stricter(self, number: float) -> bool:
        """Whether that number lets fewer decisions through."""
        return number > self.number if self.sign.startswith(">") else number < self.number

    def written(self, text: str, number: float) -> str:
        """The condition with another number in its place.

        >>> found = thresholds("output.score < 0.7 AND caller = 'x'")[0]
        >>> found.written("output.score < 0.7 AND caller = 'x'", 0.65)
        "output.score < 0.65 AND caller = 'x'"
        """
        return text[: self.start] + plain(number) + text[self.end :]


def thresholds(text: str) -> list[Threshold]:
    """Every tunable number of a condition, in the order of the text; raises ConditionError where it is none."""
    return [found for node in _conjuncts(parse(text)) if (found := _threshold(node, text)) is not None]


def plain(number: float) -> str:
    """A number as people write it: no exponent, no needless digits.

    >>> plain(20000.0), plain(0.65), plain(-1e-05)
    ('20000', '0.65', '-0.00001')
    """
    return np.format_float_positional(number, trim="-")


def _conjuncts(tree: exp.Expr) -> Iterator[exp.Expr]:
    """What must all be true; what stands below OR or NOT is one of them as a whole."""
    if isinstance(tree, exp.And):
        yield from _conjuncts(tree.this)
        yield from _conjuncts(tree.expression)
    elif isinstance(tree, exp.Paren):
        yield from _conjuncts(tree.this)
    else:
        yield tree


def _threshold(node: exp.Expr, text: str) -> Threshold | None:
    sign = _SIGNS.get(type(node))
    if sign is None:
        return None
    left, right = node.this, node.expression
    if column_name(left) is None:
        left, right, sign = right, left, _MIRRORED[sign]
    name = column_name(left)
    if name is None or not is_of_decision(name):
        return None
    negative = isinstance(right, exp.Neg)
    literal = right.this if negative else right
    if not isinstance(literal, exp.Literal) or literal.is_string or "start" not in literal.meta:
        return None
    start, end = int(literal.meta["start"]), int(literal.meta["end"]) + 1
    if negative:
        start = text.rindex("-", 0, start)
    number = float(literal.this) * (-1 if negative else 1)
    return Threshold(name, sign, number, start, end)
