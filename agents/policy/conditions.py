"""Conditions: a SQL boolean expression becomes one Polars expression, or an error that says where and how to mend it.

Promise to whoever writes rules: a row gets the same answer alone and in any batch; nothing reads a clock, a file or
another row; what cannot be known is null, never silently true. Hence an allow-list (no aggregates, windows, subqueries,
casts), one kind of number (64-bit floats) and guards: division by zero and results that are no number give null. The
text is parsed by sqlglot, rewritten to flat quoted columns and handed to `polars.sql_expr`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl
import sqlglot
from polars.exceptions import PolarsError
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from agents.errors import Misconfigured
from agents.policy.sql import BOOLEAN, Refused, Rewriter, column_name, kind_of

LONGEST = 4000  # characters of one condition
COSTLIEST = 5000  # operations after rewriting, where guards repeat their operands
DEEPEST = 60

Columns = Mapping[str, pl.DataType]


class ConditionError(Misconfigured):
    """A condition that cannot be used: `offset` counts characters from its start."""

    def __init__(self, problem: str, offset: int = 0, mend: str = "") -> None:
        self.problem, self.offset, self.mend = problem, offset, mend
        super().__init__(f"{problem}; {mend}" if mend else problem)


@dataclass(frozen=True)
class Part:
    """One comparison (or other test) inside a condition, for explanations."""

    text: str
    expression: pl.Expr
    columns: frozenset[str]


@dataclass(frozen=True)
class Condition:
    """A compiled condition: evaluates to a Boolean column of the frame's height; null where it cannot be known."""

    text: str
    sql: str
    """What Polars evaluates, after rewriting."""
    columns: frozenset[str]
    """What it reads."""
    expression: pl.Expr
    parts: tuple[Part, ...]
    """Its tests in the order they are written."""


def compile_condition(
    text: str, columns: Columns, missing: Callable[[str], str | None] = lambda name: None
) -> Condition:
    """Compile a condition over the given columns; raises ConditionError.

    `missing` may say why a name is no column (for example: it is a protected attribute).

    >>> schema = {"output.score": pl.Float64(), "caller": pl.String()}
    >>> compile_condition("output.score > 0.5 AND caller = 'x'", schema).sql
    '(("output.score" > 5e-1) AND ("caller" = \\'x\\'))'
    >>> compile_condition("output.scor > 0.5", schema)
    Traceback (most recent call last):
    agents.policy.conditions.ConditionError: unknown column output.scor; did you mean output.score?
    """
    tree = parse(text)
    rewriter = Rewriter(columns, missing)
    try:
        whole = rewriter.rewrite(tree)
        if whole.kind != BOOLEAN:
            raise Refused(f"a condition is true or false, but this is {kind_of(whole)}", tree, "compare it: … > 0")
        if whole.cost > COSTLIEST:
            raise Refused("the condition is too complex", tree, "split the rule into several")
        parts = tuple(_part(node, rewriter) for node in _tests(tree))
    except Refused as refusal:
        raise ConditionError(refusal.problem, _offset(refusal.node), refusal.mend) from refusal
    used = names_in(tree)
    return Condition(text, whole.sql, used, _tried(_expression(whole.sql), used, columns), parts)


def parse(text: str) -> exp.Expr:
    """The syntax tree of one expression; raises ConditionError with the place of the mistake."""
    if not text.strip():
        raise ConditionError("the condition is empty", 0, "write TRUE for a rule that always matches")
    if len(text) > LONGEST:
        raise ConditionError(f"the condition is longer than {LONGEST} characters", LONGEST, "split the rule")
    try:
        trees = sqlglot.parse(text)
        if len(trees) != 1 or trees[0] is None:
            raise ConditionError("a condition is one expression", text.find(";") if ";" in text else 0, "remove the ;")
        tree = trees[0]
        if _depth(tree) > DEEPEST:
            raise ConditionError("the condition is nested too deeply", 0, "split the rule into several")
    except ParseError as error:
        raise _unparsable(text, error) from error
    except TokenError as error:
        raise ConditionError(
            "a quote is not closed", _last_quote(text), "close it; a quote in text is doubled"
        ) from error
    except RecursionError as error:
        raise ConditionError("the condition is nested too deeply", 0, "split the rule into several") from error
    return tree


def names_in(tree: exp.Expr) -> frozenset[str]:
    """Names of all columns in a tree."""
    return frozenset(name for node in tree.walk() if (name := column_name(node)) is not None and _outermost(node))


def place_of(text: str, name: str) -> int:
    """Characters from a condition's start to where it reads a column; 0 where it does not.

    >>> place_of("output.score > 0.5 AND caller = 'x'", "caller")
    23
    """
    return next((_offset(node) for node in parse(text).walk() if column_name(node) == name and _outermost(node)), 0)


def writable(name: str) -> str:
    """How a column is written in a condition: bare where SQL can read it so, else in double quotes.

    >>> writable("features.limit_bal"), writable("signals.approval-gap.status")
    ('features.limit_bal', '"signals.approval-gap.status"')
    """
    try:
        tree = sqlglot.parse_one(name)
    except (ParseError, TokenError):
        tree = None
    if tree is not None and column_name(tree) == name:
        return name
    return '"' + name.replace('"', '""') + '"'


def _expression(sql: str) -> pl.Expr:
    try:
        return pl.sql_expr(sql)
    except PolarsError as error:
        raise ConditionError(f"cannot be evaluated: {_first_line(error)}") from error


def _tried(expression: pl.Expr, used: frozenset[str], columns: Columns) -> pl.Expr:
    """Evaluate on a typed frame of three rows: the answer must be Boolean and of full height.

    What Polars simplifies to a constant (`TRUE`, `COALESCE('a', caller) = 'a'`) is one for every row: nothing allowed
    here aggregates, so a single answer depends on no row.
    """
    frame = pl.DataFrame([_samples(name, columns[name]) for name in sorted(used)] or [pl.Series("none", [None] * 3)])
    try:
        answer = frame.select(expression.alias("answer"))["answer"]
    except PolarsError as error:
        raise ConditionError(f"cannot be evaluated: {_first_line(error)}") from error
    if answer.dtype != pl.Boolean or len(answer) not in (1, len(frame)):
        raise ConditionError("does not give one true or false for each decision")
    return expression if len(answer) == len(frame) else pl.repeat(answer[0], pl.len(), dtype=pl.Boolean)


def _samples(name: str, dtype: pl.DataType) -> pl.Series:
    if dtype == pl.Boolean:
        return pl.Series(name, [None, True, False], dtype=dtype)
    if dtype == pl.String:
        return pl.Series(name, [None, "", "Ünïcode\ntext"], dtype=dtype)
    return pl.Series(name, [None, 0, 1], dtype=dtype)


def _part(node: exp.Expr, rewriter: Rewriter) -> Part:
    used = names_in(node)
    return Part(node.sql(), _expression(rewriter.rewrite(node).sql), used)


def _tests(tree: exp.Expr) -> Iterator[exp.Expr]:
    """The leaves of the AND/OR/NOT tree."""
    if isinstance(tree, exp.And | exp.Or):
        yield from _tests(tree.this)
        yield from _tests(tree.expression)
    elif isinstance(tree, exp.Not | exp.Paren):
        yield from _tests(tree.this)
    else:
        yield tree


def _outermost(node: exp.Expr) -> bool:
    return not isinstance(node.parent, exp.Dot | exp.Column)


def _depth(tree: exp.Expr) -> int:
    """Nesting of a tree; a chain of ANDs or ORs counts as one level, as it does for its reader."""
    level, deepest = [(tree, 1)], 0
    while level:
        node, depth = level.pop()
        deepest = max(deepest, depth)
        for child in node.iter_expressions():
            same = type(child) is type(node) and isinstance(child, exp.And | exp.Or)
            level.append((child, depth if same else depth + 1))
    return deepest


def _offset(node: exp.Expr) -> int:
    starts = [inner.meta["start"] for inner in node.walk() if "start" in inner.meta]
    return min(starts, default=0)


def _unparsable(text: str, error: ParseError) -> ConditionError:
    told = error.errors[0] if error.errors else {}
    line, column, near = int(told.get("line") or 1), int(told.get("col") or 1), str(told.get("highlight") or "")
    lines = text.split("\n")
    offset = min(sum(len(one) + 1 for one in lines[: line - 1]) + max(column - len(near), 0), len(text))
    if near:
        return ConditionError(
            f"not understood at {near!r}", offset, "a condition is SQL: comparisons with AND, OR, NOT"
        )
    return ConditionError("not understood", offset, "a condition is SQL: comparisons with AND, OR, NOT")


def _last_quote(text: str) -> int:
    return max(text.rfind("'"), text.rfind('"'), 0)


def _first_line(error: PolarsError) -> str:
    return str(error).strip().split("\n", 1)[0]
