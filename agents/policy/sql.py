"""The SQL that conditions may use: each allowed operation with its types, its guards and what Polars gets to evaluate.

Anything not in these tables is refused. Numbers are 64-bit floats throughout; text compares by code point. Null is
three-valued, as in SQL: a comparison with null is null, `null AND false` is false, `null OR true` is true.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from sqlglot import exp

NUMBER, TEXT, BOOLEAN, NULL = "a number", "text", "true or false", "null"
_CASTS = {NUMBER: "DOUBLE", TEXT: "VARCHAR", BOOLEAN: "BOOLEAN"}
_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_ARITHMETIC: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%"}
_ROUNDINGS: dict[type[exp.Expr], str] = {exp.Abs: "ABS", exp.Floor: "FLOOR", exp.Ceil: "CEIL", exp.Round: "ROUND"}
_CASES: dict[type[exp.Expr], str] = {exp.Lower: "LOWER", exp.Upper: "UPPER"}
_EXTREMES: dict[type[exp.Expr], str] = {exp.Greatest: "GREATEST", exp.Least: "LEAST"}
ALLOWED = (
    "= <> < <= > >=, AND OR NOT, + - * / %, ||, IN, BETWEEN, LIKE, ILIKE, IS [NOT] NULL, IS [NOT] TRUE, CASE, IF, COALESCE, "
    "NULLIF, ABS, FLOOR, CEIL, ROUND, GREATEST, LEAST, LOWER, UPPER, LENGTH, STARTS_WITH, ENDS_WITH, CONTAINS, REGEXP_LIKE"
)  # fmt: skip
_BATCH = "a condition sees one decision at a time; use a signal of a monitor for what many decisions say together"
_CLOCK = "a condition reads no clock; use event_time_ms, broker_time_ms or the calendar columns"


class Refused(Exception):
    """A part of a condition that is not allowed: the problem, the node, the mend."""

    def __init__(self, problem: str, node: exp.Expr, mend: str = "") -> None:
        self.problem, self.node, self.mend = problem, node, mend
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Piece:
    """A rewritten expression."""

    sql: str
    kind: str
    cost: int = 1
    """Operations; a guard repeats its operand."""
    doubtful: bool = False
    """A number that may come out as NaN."""


class Rewriter:
    """Turns an allowed syntax tree into the SQL that Polars evaluates; raises Refused for anything else."""

    def __init__(self, columns: Mapping[str, pl.DataType], missing: Callable[[str], str | None]) -> None:
        self._columns = columns
        self._missing = missing

    def rewrite(self, node: exp.Expr) -> Piece:
        """The piece for a node, its operands included."""
        name = column_name(node)
        if name is not None:
            return self._column(name, node)
        if type(node) in _COMPARISONS:
            return self._comparison(node)
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node)
        if type(node) in _ROUNDINGS:
            return self._rounding(node)
        if type(node) in _CASES:
            text = self._of(node.this, TEXT)
            return Piece(f"{_CASES[type(node)]}({text.sql})", TEXT, text.cost + 1)
        if type(node) in _EXTREMES:
            return self._extreme(node)
        method = _METHODS.get(type(node))
        if method is None:
            raise _not_allowed(node)
        return method(self, node)

    # -- leaves ----------------------------------------------------------------------------------------------------

    def _column(self, name: str, node: exp.Expr) -> Piece:
        dtype = self._columns.get(name)
        if dtype is None:
            raise Refused(f"unknown column {name}", node, self._missing(name) or self._suggest(name, node))
        quoted = '"' + name.replace('"', '""') + '"'
        if dtype == pl.Boolean:
            return Piece(quoted, BOOLEAN)
        if dtype == pl.String:
            return Piece(quoted, TEXT)
        return Piece(quoted if dtype == pl.Float64 else f"CAST({quoted} AS DOUBLE)", NUMBER)

    def _suggest(self, name: str, node: exp.Expr) -> str:
        if any(part.args.get("quoted") for part in node.find_all(exp.Identifier)) and "." not in name:
            return f"text stands in single quotes: '{name}'"
        near = suggest(name, self._columns)
        return near or "`govern policy columns` lists them"

    def _literal(self, node: exp.Literal) -> Piece:
        if node.is_string:
            return Piece(_quote(str(node.this)), TEXT)
        try:
            value = float(node.this)
        except ValueError as error:  # the parser takes `0E` for a number
            raise Refused(f"{node.this} is no number", node) from error
        if abs(value) == float("inf"):
            raise Refused(f"{node.this} is too large for a number", node)
        return Piece(number(value), NUMBER)

    def _boolean(self, node: exp.Boolean) -> Piece:
        return Piece("TRUE" if node.this else "FALSE", BOOLEAN)

    def _null(self, node: exp.Null) -> Piece:
        raise Refused("NULL here makes the condition null", node, "write IS NULL, or COALESCE(column, value)")

    def _paren(self, node: exp.Paren) -> Piece:
        return self.rewrite(node.this)

    # -- logic -----------------------------------------------------------------------------------------------------

    def _connective(self, node: exp.Expr) -> Piece:
        word = "AND" if isinstance(node, exp.And) else "OR"
        operands = [self._of(one, BOOLEAN) for one in node.flatten()]
        return Piece("(" + f" {word} ".join(one.sql for one in operands) + ")", BOOLEAN, _cost(operands))

    def _not(self, node: exp.Not) -> Piece:
        inner = self._of(node.this, BOOLEAN)
        return Piece(f"(NOT {inner.sql})", BOOLEAN, inner.cost + 1)

    def _is(self, node: exp.Is) -> Piece:
        what = node.expression
        if isinstance(what, exp.Null):
            inner = settled(self.rewrite(node.this))
            return Piece(f"({inner.sql} IS NULL)", BOOLEAN, inner.cost + 1)
        if isinstance(what, exp.Boolean):
            inner = self._of(node.this, BOOLEAN)
            sql = f"COALESCE({inner.sql}, FALSE)" if what.this else f"(NOT COALESCE({inner.sql}, TRUE))"
            return Piece(sql, BOOLEAN, inner.cost + 1)
        raise Refused("IS takes NULL, TRUE or FALSE", node, "compare with =")

    def _comparison(self, node: exp.Expr) -> Piece:
        left, right = self._same(node, [node.this, node.expression])
        if left.kind == BOOLEAN and not isinstance(node, exp.EQ | exp.NEQ):
            raise Refused("true and false have no order", node, "use = or <>")
        return Piece(f"({left.sql} {_COMPARISONS[type(node)]} {right.sql})", BOOLEAN, _cost([left, right]))

    def _between(self, node: exp.Between) -> Piece:
        value, low, high = self._same(node, [node.this, node.args["low"], node.args["high"]])
        sql = f"(({value.sql} >= {low.sql}) AND ({value.sql} <= {high.sql}))"
        return Piece(sql, BOOLEAN, _cost([value, value, low, high]))

    def _in(self, node: exp.In) -> Piece:
        if node.args.get("query") is not None or not node.expressions:
            raise Refused("IN takes a list of values, no subquery", node, "write IN ('a', 'b')")
        for one in node.expressions:
            inner = one.this if isinstance(one, exp.Neg) else one
            if not isinstance(inner, exp.Literal):
                raise Refused("IN takes literal values only", one, "write … = other_column OR … = 'a'")
        value, *choices = self._same(node, [node.this, *node.expressions])
        listed = ", ".join(choice.sql for choice in choices)
        return Piece(f"({value.sql} IN ({listed}))", BOOLEAN, _cost([value, *choices]))

    # -- numbers ---------------------------------------------------------------------------------------------------

    def _arithmetic(self, node: exp.Expr) -> Piece:
        left, right = self._of(node.this, NUMBER), self._of(node.expression, NUMBER)
        cost = _cost([left, right])
        if isinstance(node, exp.Div | exp.Mod):  # by zero: null, as a person would say
            divisor = f"NULLIF({right.sql}, {number(0.0)})"
            return Piece(f"({left.sql} {_ARITHMETIC[type(node)]} {divisor})", NUMBER, cost + right.cost + 1, True)
        return Piece(f"({left.sql} {_ARITHMETIC[type(node)]} {right.sql})", NUMBER, cost, True)

    def _neg(self, node: exp.Neg) -> Piece:
        if isinstance(node.this, exp.Literal) and not node.this.is_string:
            return Piece(number(-float(node.this.this)), NUMBER)
        inner = self._of(node.this, NUMBER)
        return Piece(f"({number(0.0)} - {inner.sql})", NUMBER, inner.cost + 1, inner.doubtful)

    def _rounding(self, node: exp.Expr) -> Piece:
        if node.args.get("decimals") is not None or node.args.get("to") is not None:
            raise Refused("rounds to whole numbers only", node, "write ROUND(x * 100) / 100")
        inner = self._of(node.this, NUMBER)
        return Piece(f"{_ROUNDINGS[type(node)]}({inner.sql})", NUMBER, inner.cost + 1, inner.doubtful)

    def _extreme(self, node: exp.Expr) -> Piece:
        operands = self._same(node, [node.this, *node.expressions])
        if operands[0].kind != NUMBER or len(operands) < 2:
            raise Refused(f"{_EXTREMES[type(node)]} takes two or more numbers", node)
        listed = ", ".join(one.sql for one in operands)
        return Piece(f"{_EXTREMES[type(node)]}({listed})", NUMBER, _cost(operands))

    # -- text ------------------------------------------------------------------------------------------------------

    def _concatenation(self, node: exp.DPipe) -> Piece:
        left, right = self._of(node.this, TEXT), self._of(node.expression, TEXT)
        return Piece(f"({left.sql} || {right.sql})", TEXT, _cost([left, right]))

    def _length(self, node: exp.Length) -> Piece:
        text = self._of(node.this, TEXT)
        return Piece(f"CAST(LENGTH({text.sql}) AS DOUBLE)", NUMBER, text.cost + 2)

    def _like(self, node: exp.Expr) -> Piece:
        flags = "is" if isinstance(node, exp.ILike) else "s"
        pattern = "".join({"%": ".*", "_": "."}.get(c) or escape(c) for c in _text_of(node.expression, "LIKE"))
        return self._regex(node.this, rf"(?{flags})\A{pattern}\z")

    def _affix(self, node: exp.Expr) -> Piece:
        text = self._of(node.this, TEXT)
        word = "STARTS_WITH" if isinstance(node, exp.StartsWith) else "ENDS_WITH"
        return Piece(f"{word}({text.sql}, {_quote(_text_of(node.expression, word))})", BOOLEAN, text.cost + 1)

    def _contains(self, node: exp.Contains) -> Piece:
        return self._regex(node.this, escape(_text_of(node.expression, "CONTAINS")))

    def _regexp(self, node: exp.RegexpLike) -> Piece:
        if node.args.get("flag") is not None:
            raise Refused("REGEXP_LIKE takes two arguments", node, "write the flags into the pattern: '(?i)…'")
        return self._regex(node.this, _text_of(node.expression, "REGEXP_LIKE"))

    def _regex(self, node: exp.Expr, pattern: str) -> Piece:
        text = self._of(node, TEXT)
        return Piece(f"REGEXP_LIKE({text.sql}, {_quote(pattern)})", BOOLEAN, text.cost + 1)

    # -- choices ---------------------------------------------------------------------------------------------------

    def _case(self, node: exp.Case) -> Piece:
        branches = node.args["ifs"]
        conditions = [
            self._of(branch.this, BOOLEAN)
            if node.this is None
            else self._comparison(exp.EQ(this=node.this.copy(), expression=branch.this.copy()))
            for branch in branches
        ]
        return self._choice(node, conditions, [branch.args["true"] for branch in branches], node.args.get("default"))

    def _if(self, node: exp.If) -> Piece:
        return self._choice(node, [self._of(node.this, BOOLEAN)], [node.args["true"]], node.args.get("false"))

    def _choice(
        self,
        node: exp.Expr,
        conditions: Sequence[Piece],
        values: Sequence[exp.Expr],
        default: exp.Expr | None,
    ) -> Piece:
        ends = [None if isinstance(value, exp.Null) else value for value in (*values, default)]
        known = self._same(node, [value for value in ends if value is not None])
        if not known:
            raise Refused("every branch is NULL", node)
        kind, pieces = known[0].kind, iter(known)
        told = [f"CAST(NULL AS {_CASTS[kind]})" if value is None else next(pieces).sql for value in ends]
        whens = " ".join(f"WHEN {test.sql} THEN {value}" for test, value in zip(conditions, told[:-1], strict=True))
        return Piece(f"(CASE {whens} ELSE {told[-1]} END)", kind, _cost([*conditions, *known]))

    def _coalesce(self, node: exp.Coalesce) -> Piece:
        operands = self._same(node, [node.this, *node.expressions])
        return Piece("COALESCE(" + ", ".join(one.sql for one in operands) + ")", operands[0].kind, _cost(operands))

    def _nullif(self, node: exp.Nullif) -> Piece:
        left, right = self._same(node, [node.this, node.expression])
        return Piece(f"NULLIF({left.sql}, {right.sql})", left.kind, _cost([left, left, right]))

    # -- types -----------------------------------------------------------------------------------------------------

    def _of(self, node: exp.Expr, kind: str) -> Piece:
        piece = self.rewrite(node)
        if piece.kind != kind:
            raise Refused(f"{_shown(node)} is {piece.kind}, but {kind} is needed here", node, _mend(piece, kind, node))
        return piece

    def _same(self, node: exp.Expr, operands: Sequence[exp.Expr]) -> list[Piece]:
        """Operands of one kind, with results that are no number made null."""
        pieces = [settled(self.rewrite(operand)) for operand in operands]
        for operand, piece in zip(operands[1:], pieces[1:], strict=True):
            if piece.kind != pieces[0].kind:
                told = f"{_shown(operands[0])} is {pieces[0].kind}, but {_shown(operand)} is {piece.kind}"
                raise Refused(told, node, _mend(piece, pieces[0].kind, operand))
        return pieces


_METHODS: dict[type[exp.Expr], Callable[..., Piece]] = {
    exp.Literal: Rewriter._literal, exp.Boolean: Rewriter._boolean, exp.Null: Rewriter._null,
    exp.Paren: Rewriter._paren, exp.And: Rewriter._connective, exp.Or: Rewriter._connective, exp.Not: Rewriter._not,
    exp.Is: Rewriter._is, exp.Between: Rewriter._between, exp.In: Rewriter._in, exp.Neg: Rewriter._neg,
    exp.DPipe: Rewriter._concatenation, exp.Length: Rewriter._length, exp.Like: Rewriter._like,
    exp.ILike: Rewriter._like, exp.StartsWith: Rewriter._affix, exp.EndsWith: Rewriter._affix,
    exp.Contains: Rewriter._contains, exp.RegexpLike: Rewriter._regexp, exp.Case: Rewriter._case, exp.If: Rewriter._if,
    exp.Coalesce: Rewriter._coalesce, exp.Nullif: Rewriter._nullif,
}  # fmt: skip


def settled(piece: Piece) -> Piece:
    """The piece with NaN made null: in Polars NaN would equal itself and exceed every number."""
    if not piece.doubtful:
        return piece
    return Piece(f"NULLIF({piece.sql}, CAST('NaN' AS DOUBLE))", piece.kind, 2 * piece.cost + 1)


def column_name(node: exp.Expr) -> str | None:
    """The flat dotted name of a column (`features.limit_bal`), or None where the node is none.

    >>> import sqlglot
    >>> column_name(sqlglot.parse_one('signals."approval-gap".status'))
    'signals.approval-gap.status'
    """
    if isinstance(node, exp.Column) and all(isinstance(part, exp.Identifier) for part in node.parts):
        return ".".join(part.name for part in node.parts)
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        before = column_name(node.this)
        return None if before is None else f"{before}.{node.expression.name}"
    return None


def suggest(name: str, known: Mapping[str, object]) -> str:
    """`did you mean …?` for the nearest known names, or nothing."""
    last = name.rsplit(".", 1)[-1].lower()
    same_end = [one for one in known if one.lower() == name.lower() or one.rsplit(".", 1)[-1].lower() == last]
    near = same_end or difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near[:3])}?" if near else ""


def kind_of(piece: Piece) -> str:
    """What a piece is, in words."""
    return piece.kind


def number(value: float) -> str:
    """A float literal: an exponent keeps Polars from reading it as a decimal.

    >>> number(0.5), number(20000), number(-1)
    ('5e-1', '2e4', '-1e0')
    """
    mantissa, exponent = f"{value:.16e}".split("e")
    short, _, _ = f"{value!r}".partition("e")
    digits = short.lstrip("-").replace(".", "").strip("0") or "0"
    told = ("-" if value < 0 else "") + digits[0] + ("." + digits[1:] if digits[1:] else "")
    text = f"{told}e{int(exponent)}"
    return text if float(text) == value else f"{mantissa}e{int(exponent)}"


def escape(text: str) -> str:
    """Text as a regular expression that matches just it."""
    return re.sub(r"([\\.+*?()|\[\]{}^$#&~-])", r"\\\1", text)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text_of(node: exp.Expr, word: str) -> str:
    if isinstance(node, exp.Literal) and node.is_string:
        return str(node.this)
    raise Refused(f"{word} takes a text literal", node, f"write {word} … 'text'")


def _cost(pieces: Sequence[Piece]) -> int:
    return 1 + sum(piece.cost for piece in pieces)


def _shown(node: exp.Expr) -> str:
    text = column_name(node) or node.sql()
    return text if len(text) <= 40 else text[:37] + "…"


def _mend(piece: Piece, wanted: str, node: exp.Expr) -> str:
    if wanted == TEXT and piece.kind == NUMBER and isinstance(node, exp.Literal):
        return f"write it in single quotes: '{node.this}'"
    if wanted == NUMBER and piece.kind == TEXT and isinstance(node, exp.Literal):
        return "write the number without quotes"
    return "compare values of one kind"


def _not_allowed(node: exp.Expr) -> Refused:
    if isinstance(node, exp.Window | exp.AggFunc):
        return Refused(f"{_shown(node)} depends on other decisions", node, _BATCH)
    if isinstance(node, exp.CurrentTimestamp | exp.CurrentDate | exp.CurrentTime | exp.CurrentDatetime):
        return Refused(f"{_shown(node)} is not allowed", node, _CLOCK)
    if isinstance(node, exp.Query | exp.Subquery):
        return Refused("a condition has no subquery", node, _BATCH)
    if isinstance(node, exp.Escape):
        return Refused("LIKE takes no ESCAPE", node, "use CONTAINS, STARTS_WITH or REGEXP_LIKE")
    return Refused(f"{_shown(node)} is not allowed", node, f"allowed: {ALLOWED}")
