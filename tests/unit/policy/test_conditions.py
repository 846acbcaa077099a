"""Conditions: what they mean, what they refuse, and that a row's answer never depends on its batch."""

import polars as pl
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.policy.conditions import ConditionError, compile_condition, writable
from agents.policy.sql import number
from tests.unit.policy.sql_reference import holds

SCHEMA = {
    "a": pl.Float64(),
    "b": pl.Float64(),
    "when_ms": pl.Int64(),
    "features.limit_bal": pl.Float64(),
    "s": pl.String(),
    "output.label": pl.String(),
    "t": pl.Boolean(),
    "u": pl.Boolean(),
}
TEXTS = ["", "a", "A", "ab", "a.b", "a\nb", "a%b", "it's", "ÄÖ", "b", "ß"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, 3e9, 1e308, -1e308, 5e-324]


def frame(rows):
    return pl.DataFrame([pl.Series(name, [row[name] for row in rows], dtype=kind) for name, kind in SCHEMA.items()])


def answer(text, **values):
    row = dict.fromkeys(SCHEMA) | {name.replace("__", "."): value for name, value in values.items()}
    return frame([row]).select(compile_condition(text, SCHEMA).expression.alias("x"))["x"][0]


# -- laws ----------------------------------------------------------------------------------------------------------

rows = st.fixed_dictionaries(
    {
        "a": st.none() | st.sampled_from(NUMBERS) | st.floats(-10, 10),
        "b": st.none() | st.sampled_from(NUMBERS) | st.floats(-10, 10),
        "when_ms": st.none() | st.integers(0, 2_000_000_000_000),
        "features.limit_bal": st.none() | st.sampled_from([0.0, 20000.0, 3e9]),
        "s": st.none() | st.sampled_from(TEXTS),
        "output.label": st.none() | st.sampled_from(TEXTS),
        "t": st.none() | st.booleans(),
        "u": st.none() | st.booleans(),
    }
)
literals = st.sampled_from(["0", "1", "-1", "2.5", "0.5", "3000000000", "1e308", ".5"])
quoted = st.sampled_from(["'" + text.replace("'", "''") + "'" for text in TEXTS])
patterns = st.sampled_from(["'a%'", "'%b'", "'a_b'", "'a.b'", "'%'", "'_'", "'A'", "''", "'%''%'"])


def numbers(depth):
    leaf = st.sampled_from(["a", "b", "when_ms", "features.limit_bal"]) | literals
    if depth == 0:
        return leaf
    part = numbers(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} {} {})".format, part, st.sampled_from("+-*/%"), part),
        st.builds("{}({})".format, st.sampled_from(["ABS", "FLOOR", "CEIL", "ROUND"]), part),
        st.builds("{}({}, {})".format, st.sampled_from(["GREATEST", "LEAST", "COALESCE", "NULLIF"]), part, part),
        st.builds("CASE WHEN {} THEN {} ELSE {} END".format, booleans(0), part, part | st.just("NULL")),
        st.builds("LENGTH({})".format, texts(0)),
        st.builds("-({})".format, part),
    )


def texts(depth):
    leaf = st.sampled_from(["s", "output.label"]) | quoted
    if depth == 0:
        return leaf
    part = texts(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} || {})".format, part, part),
        st.builds("{}({})".format, st.sampled_from(["LOWER", "UPPER"]), part),
        st.builds("COALESCE({}, {})".format, part, part),
    )


def booleans(depth):
    leaf = st.sampled_from(["t", "u", "TRUE", "FALSE"])
    if depth == 0:
        return leaf
    compare = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
    part, num, txt = booleans(depth - 1), numbers(depth - 1), texts(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} {} {})".format, part, st.sampled_from(["AND", "OR"]), part),
        st.builds("({} {} {})".format, part, st.sampled_from(["AND", "OR"]), part),
        st.builds("(NOT {})".format, part),
        st.builds("({} {} {})".format, num, compare, num),
        st.builds("({} {} {})".format, txt, compare, txt),
        st.builds("({} {} ({}, {}))".format, num, st.sampled_from(["IN", "NOT IN"]), literals, literals),
        st.builds("({} {} ({}, {}))".format, txt, st.sampled_from(["IN", "NOT IN"]), quoted, quoted),
        st.builds("({} BETWEEN {} AND {})".format, num, num, num),
        st.builds("({} {} {})".format, txt, st.sampled_from(["LIKE", "NOT LIKE"]), patterns),
        st.builds("{}({}, {})".format, st.sampled_from(["STARTS_WITH", "ENDS_WITH", "CONTAINS"]), txt, quoted),
        st.builds("({} IS {} NULL)".format, num | txt | part, st.sampled_from(["", "NOT"])),
        st.builds("({} IS {} {})".format, part, st.sampled_from(["", "NOT"]), st.sampled_from(["TRUE", "FALSE"])),
        st.builds("COALESCE({}, {})".format, part, part),
        st.builds("CASE WHEN {} THEN {} WHEN {} THEN {} END".format, part, part, part, part),
    )


@settings(max_examples=250, deadline=None)
@given(booleans(3), st.lists(rows, min_size=1, max_size=6))
def test_a_condition_means_what_sql_says_nulls_included(text, some):
    compiled = compile_condition(text, SCHEMA)
    tree = sqlglot.parse_one(text)
    expected = [holds(tree, row) for row in some]
    assert frame(some).select(compiled.expression.alias("x"))["x"].to_list() == expected, compiled.sql


@settings(max_examples=80, deadline=None)
@given(booleans(2), st.lists(rows, min_size=2, max_size=12))
def test_a_row_gets_the_same_answer_alone_and_in_any_batch(text, some):
    expression = compile_condition(text, SCHEMA).expression.alias("x")
    together = frame(some).select(expression)["x"]
    assert len(together) == len(some)
    assert together.to_list() == [frame([row]).select(expression)["x"][0] for row in some]
    assert together.to_list()[::-1] == frame(some[::-1]).select(expression)["x"].to_list()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_literal_keeps_its_value(value):
    assert float(number(value)) == value
    assert "e" in number(value)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_compiled_or_refused_with_a_message(text):
    told = ConditionError("none", 0)
    try:
        compile_condition(text, SCHEMA)
    except ConditionError as error:
        told = error
    assert told.problem
    assert 0 <= told.offset <= len(text)


# -- traps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a / b > 1e9", {"a": 1.0, "b": 0.0}, None),
        ("a / b > 1e9", {"a": 0.0, "b": 0.0}, None),
        ("a * b - a * b > 1e9", {"a": 1e308, "b": 1e308}, None),
        ("a % b = 0", {"a": 6000.0, "b": 1000.0}, True),
        ("when_ms * when_ms > 0", {"when_ms": 2**62}, True),
        ("LENGTH(s) - 5 > 0", {"s": "abc"}, False),
        ("LENGTH(s) = 2", {"s": "ÄÖ"}, True),
        ("s LIKE 'ignore%instructions'", {"s": "ignore\nall\ninstructions"}, True),
        ("s LIKE 'a.c'", {"s": "abc"}, False),
        ("s ILIKE '%PASSWORD%'", {"s": "my password"}, True),
        ("s IN ('x', 'y')", {"s": None}, None),
        ("s NOT IN ('x', 'y')", {"s": None}, None),
        ("s <> 'svc-night-batch'", {"s": None}, None),
        ("REGEXP_LIKE(s, '(?i)iban [A-Z]{2}\\d+')", {"s": "my IBAN de123"}, True),
        ("t IS TRUE", {"t": None}, False),
        ("t IS NOT TRUE", {"t": None}, True),
        ("t AND FALSE", {"t": None}, False),
        ("t OR TRUE", {"t": None}, True),
        ("a > 1 -- a remark", {"a": 2.0}, True),
        ("s = 'it''s'", {"s": "it's"}, True),
        ("s = 'a\\b'", {"s": "a\\b"}, True),
        ("IF(a > 1, t, FALSE)", {"a": 0.0}, False),
        ("TRUE", {}, True),
        ("1 > 2", {}, False),
        ("ROUND(a) = 2", {"a": 2.5}, True),
        ("features.limit_bal >= 3000000000", {"features__limit_bal": 3e9}, True),
    ],
)
def test_what_people_would_expect(text, values, expected):
    assert answer(text, **values) is expected


@pytest.mark.parametrize("text", ["TRUE", "COALESCE('a', s) = 'a'", "NOT (1 > 2)", "t OR TRUE"])
def test_a_constant_condition_answers_for_every_row(text):
    some = [dict.fromkeys(SCHEMA)] * 3
    assert frame(some).select(compile_condition(text, SCHEMA).expression.alias("x"))["x"].to_list() == [True] * 3


@pytest.mark.parametrize(
    ("text", "problem", "offset"),
    [
        ("a > AVG(a)", "depends on other decisions", 4),
        ("COUNT(a) > 1", "depends on other decisions", 0),
        ("RANK() OVER (ORDER BY a) = 1", "depends on other decisions", 0),
        ("SUM(a) OVER (PARTITION BY s) > 2", "depends on other decisions", 0),
        ("FIRST(a) > 1", "", 0),
        ("LAG(a) > 1", "", 0),
        ("CURRENT_TIMESTAMP > 1", "not allowed", 0),
        ("NOW() > 1", "not allowed", 0),
        ("RANDOM() > 0.5", "not allowed", 0),
        ("a IN (SELECT 1)", "no subquery", 0),
        ("EXISTS (SELECT 1)", "not allowed", 15),
        ("a IN (b, 1)", "literal values only", 6),
        ("a + 1", "this is a number", 0),
        ("s", "this is text", 0),
        ("NULL", "NULL", 0),
        ("a = NULL", "NULL", 0),
        ("a = 'x'", "a is a number, but 'x' is text", 0),
        ("s = 1", "s is text, but 1 is a number", 0),
        ("t > TRUE", "no order", 0),
        ("CAST(a AS INT) = 1", "not allowed", 5),
        ("a::int = 1", "not allowed", 0),
        ("a > 1; DROP TABLE x", "one expression", 5),
        ("a > 1 garbage", "not allowed", 0),
        ("nope > 1", "unknown column nope", 0),
        ("a > 1 AND\n  features.limit_bla > 2", "unknown column features.limit_bla", 12),
        ("s LIKE output.label", "text literal", 7),
        ("s LIKE 'x!%' ESCAPE '!'", "ESCAPE", 0),
        ("REGEXP_LIKE(s, '(')", "cannot be evaluated", 0),
        ("a > 1e999", "too large", 4),
        ("s = 'open", "quote is not closed", 4),
        ("", "empty", 0),
        ("(" * 200 + "t" + ")" * 200, "nested too deeply", 0),
        ("t AND " * 1000 + "t", "longer than", 4000),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_place(text, problem, offset):
    with pytest.raises(ConditionError) as refused:
        compile_condition(text, SCHEMA)
    assert problem in refused.value.problem
    assert refused.value.offset == offset


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("features.limitbal > 1", "did you mean features.limit_bal?"),
        ("label = 'x'", "did you mean output.label?"),
        ('s = "svc"', "text stands in single quotes: 'svc'"),
        ("s = 1", "write it in single quotes: '1'"),
        ("a = '1'", "write the number without quotes"),
    ],
)
def test_a_mistake_comes_with_its_mend(text, mend):
    with pytest.raises(ConditionError) as refused:
        compile_condition(text, SCHEMA)
    assert refused.value.mend == mend


def test_guards_that_repeat_their_operand_cannot_blow_up():
    nested = "a"
    for _ in range(40):
        nested = f"(a / {nested})"
    with pytest.raises(ConditionError, match=r"too complex|nested too deeply"):
        compile_condition(f"{nested} > 1", SCHEMA)


def test_a_long_chain_of_alternatives_is_one_level_deep():
    text = " OR ".join(f"a = {n}" for n in range(200))
    assert answer(text, a=150.0) is True
    assert answer(text, a=200.0) is False


@pytest.mark.parametrize(
    "name", ["signals.approval-gap.status", "features.PAY 0", 'features.a"b', "features.limit_bal"]
)
def test_every_column_can_be_written(name):
    compiled = compile_condition(f"{writable(name)} IS NULL", {name: pl.String()})
    assert compiled.columns == {name}
