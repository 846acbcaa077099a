"""Reason templates: data that is never evaluated, one safe line out."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.policy.reasons import LONGEST, TemplateError, clean, template


def test_names_in_braces_become_values_and_doubled_braces_stay():
    made = template("{{{a.b}}} {c}% {d} {e}")
    assert made.columns == ("a.b", "c", "d", "e")
    assert made.render({"a.b": 20000.0, "c": 0.1, "d": True}) == "{20000} 0.1% yes missing"


def test_a_value_is_never_read_as_a_template_or_a_format():
    row = {"a": "{b} {0.__class__} %s", "b": "secret"}
    assert template("{a}").render(row) == "{b} {0.__class__} %s"
    assert template("{a.__class__}").render(row) == "missing"


@pytest.mark.parametrize(("text", "offset"), [("a { b", 2), ("a } b", 2), ("{}", 0), ("{a{b}", 0)])
def test_braces_that_do_not_pair_are_refused_with_their_place(text, offset):
    with pytest.raises(TemplateError) as refused:
        template(text)
    assert refused.value.offset == offset


@given(st.text(), st.text())
def test_a_rendered_reason_is_one_bounded_line_without_control_characters(text, value):
    told = template("{{ {x} " + text.replace("{", "{{").replace("}", "}}")).render({"x": value})
    assert len(told) <= LONGEST
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in told)
    assert told == clean(told, LONGEST)
