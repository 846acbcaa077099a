"""A slow reading of conditions, row by row in plain Python: what SQL says, to hold the compiled ones against.

It shares no code with the product but sqlglot's parser. None is null.
"""

import math
import re

from sqlglot import exp


def holds(node: exp.Expr, row: dict[str, object]) -> object:
    """The value of a condition, or of a part of it, for one row."""
    match node:
        case exp.Paren():
            return holds(node.this, row)
        case exp.Column():
            return row[".".join(part.name for part in node.parts)]
        case exp.Literal():
            return str(node.this) if node.is_string else float(node.this)
        case exp.Boolean():
            return bool(node.this)
        case exp.And():
            left, right = holds(node.this, row), holds(node.expression, row)
            if left is False or right is False:
                return False
            return None if left is None or right is None else True
        case exp.Or():
            left, right = holds(node.this, row), holds(node.expression, row)
            if left is True or right is True:
                return True
            return None if left is None or right is None else False
        case exp.Not():
            inner = holds(node.this, row)
            return None if inner is None else not inner
        case exp.Is():
            inner = holds(node.this, row)
            return inner is None if isinstance(node.expression, exp.Null) else inner is bool(node.expression.this)
        case exp.Case():
            for branch in node.args["ifs"]:
                if holds(branch.this, row) is True:
                    return None if isinstance(branch.args["true"], exp.Null) else holds(branch.args["true"], row)
            default = node.args.get("default")
            return None if default is None or isinstance(default, exp.Null) else holds(default, row)
        case exp.Coalesce():
            return next((v for one in (node.this, *node.expressions) if (v := holds(one, row)) is not None), None)
        case exp.Greatest() | exp.Least():
            known = [v for one in (node.this, *node.expressions) if (v := holds(one, row)) is not None]
            return None if not known else max(known) if isinstance(node, exp.Greatest) else min(known)
        case exp.Nullif():
            left, right = holds(node.this, row), holds(node.expression, row)
            return None if left == right else left
        case exp.In():
            value = holds(node.this, row)
            return None if value is None else value in [holds(one, row) for one in node.expressions]
        case exp.Between():
            low = _compare(exp.GTE, holds(node.this, row), holds(node.args["low"], row))
            high = _compare(exp.LTE, holds(node.this, row), holds(node.args["high"], row))
            return False if False in (low, high) else None if None in (low, high) else True
        case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            return _compare(type(node), holds(node.this, row), holds(node.expression, row))
        case exp.Neg():
            return _arithmetic(lambda x, _: -x, holds(node.this, row), 0.0)
        case exp.Add():
            return _arithmetic(lambda x, y: x + y, holds(node.this, row), holds(node.expression, row))
        case exp.Sub():
            return _arithmetic(lambda x, y: x - y, holds(node.this, row), holds(node.expression, row))
        case exp.Mul():
            return _arithmetic(lambda x, y: x * y, holds(node.this, row), holds(node.expression, row))
        case exp.Div():
            return _arithmetic(
                lambda x, y: None if y == 0 else x / y, holds(node.this, row), holds(node.expression, row)
            )
        case exp.Mod():
            return _arithmetic(_remainder, holds(node.this, row), holds(node.expression, row))
        case exp.Abs():
            return _arithmetic(lambda x, _: abs(x), holds(node.this, row), 0.0)
        case exp.Floor():
            return _arithmetic(lambda x, _: float(math.floor(x)) if math.isfinite(x) else x, holds(node.this, row), 0.0)
        case exp.Round():
            return _arithmetic(lambda x, _: float(round(x)) if math.isfinite(x) else x, holds(node.this, row), 0.0)
        case exp.Ceil():
            return _arithmetic(lambda x, _: float(math.ceil(x)) if math.isfinite(x) else x, holds(node.this, row), 0.0)
        case exp.Lower():
            return _text(str.lower, holds(node.this, row))
        case exp.Upper():
            return _text(str.upper, holds(node.this, row))
        case exp.Length():
            return _text(lambda text: float(len(text)), holds(node.this, row))
        case exp.StartsWith():
            return _text(lambda text: text.startswith(node.expression.this), holds(node.this, row))
        case exp.EndsWith():
            return _text(lambda text: text.endswith(node.expression.this), holds(node.this, row))
        case exp.Contains():
            return _text(lambda text: node.expression.this in text, holds(node.this, row))
        case exp.Like():
            pattern = "".join({"%": ".*", "_": "."}.get(c) or re.escape(c) for c in node.expression.this)
            return _text(lambda text: re.fullmatch(pattern, text, re.DOTALL) is not None, holds(node.this, row))
        case exp.DPipe():
            left, right = holds(node.this, row), holds(node.expression, row)
            return None if left is None or right is None else f"{left}{right}"
    raise AssertionError(f"the reference does not know {type(node)}")


def _compare(kind: type[exp.Expr], left: object, right: object) -> bool | None:
    if left is None or right is None:
        return None
    if kind is exp.EQ:
        return left == right
    if kind is exp.NEQ:
        return left != right
    return {exp.LT: left < right, exp.LTE: left <= right, exp.GT: left > right, exp.GTE: left >= right}[kind]


def _arithmetic(operation, left, right):
    if left is None or right is None:
        return None
    try:
        result = operation(left, right)
    except OverflowError:
        result = math.inf
    return None if result is None or math.isnan(result) else result


def _remainder(x, y):
    return None if y == 0 or math.isinf(x) else math.fmod(x, y)


def _text(operation, value):
    return None if value is None else operation(value)
