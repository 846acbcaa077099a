"""Configurations from YAML: every mistake at once, each with its place and mend; nothing read as something else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.configuration import Configuration
from agents.configuration_yaml import ConfigErrors, read_configuration


def read(*texts):
    return read_configuration([(f"{number}.yaml" if number else "g.yaml", text) for number, text in enumerate(texts)])


def mistakes(*texts):
    with pytest.raises(ConfigErrors) as told:
        read(*texts)
    return str(told.value).split("\n")


GOOD = """\
models:
  m:
    mode: gate
    versions: ["1.0", 2.1.0]
    features: {x: numeric, no: 'categorical?'}
    callers: [a, b]
    max_skew: 5m
    calendar: office
calendars:
  office:
    zone: Europe/Berlin
    hours: {mon-fri: [08:00-12:00, 13:00-24:00], sat: 9:30-12:00}
    closed: [2026-12-24]
"""


def test_what_is_read_is_what_stands_there():
    made = read(GOOD)
    model = made.models["m"]
    assert model.versions == ("1.0", "2.1.0")
    assert model.features["no"].missing
    assert set(model.callers) == {"a", "b"}
    assert model.max_skew == 300.0
    hours = made.calendars["office"].hours
    assert list(hours) == ["mon", "tue", "wed", "thu", "fri", "sat"]
    assert [str(one.start) for one in hours["mon"]] == ["08:00:00", "13:00:00"]
    assert str(made.calendars["office"].closed[0]) == "2026-12-24"


def test_the_same_parts_in_other_files_are_the_same_configuration():
    policy = "policy: {name}\nrules:\n- {{id: a, when: features.x > 1, effect: log}}\n"
    b, a = policy.format(name="b"), policy.format(name="a")
    models, calendars = GOOD.split("calendars:")
    apart = read(b, "calendars:" + calendars, a, models)
    together = read(GOOD + "---\n" + a + "---\n" + b)
    assert apart.digest() == together.digest()
    assert apart == together


def test_the_canonical_document_reads_back_to_the_same_digest():
    made = read(GOOD)
    again = Configuration.model_validate(made.document())
    assert (again, again.digest()) == (made, made.digest())


def test_empty_texts_are_an_empty_configuration():
    assert read("", "# nothing\n", "models:\npolicies:\n") == Configuration()


def test_every_mistake_is_told_with_its_place_and_mend():
    assert mistakes(
        """\
models:
  m:
    mod: gate
    mode: gat
    versions: [2.1]
    features: {a: numeri}
    max_skew: 5 minutes
    labels: {x: {favorable: true}}
  a b: {}
calendars:
  c:
    zone: Mars/Base
    hours: {mon-fry: 08:00-18:00}
  d:
    zone: UTC
    hours: {sat: 19:00-18:00}
colour: red
"""
    ) == [
        "g.yaml:3:5: unknown key 'mod'; did you mean mode?",
        "g.yaml:4:11: m.mode: 'gat' is not allowed here; did you mean gate?",
        'g.yaml:5:16: versions: 2.1 is not text; write it in quotes: "2.1"',
        "g.yaml:6:19: features.a: 'numeri' is not allowed here; did you mean numeric?",
        "g.yaml:7:15: '5 minutes' is not a duration; write for example 30s, 5m, 24h or 2d",
        "g.yaml:8:18: unknown key 'favorable'; did you mean favourable?",
        "g.yaml:9:3: 'a b' is no name; use letters, digits, dots, dashes and underscores",
        "g.yaml:12:11: 'Mars/Base' is no IANA time zone; write for example Europe/Berlin",
        "g.yaml:13:12: 'mon-fry' is no weekday; use mon, tue, wed, thu, fri, sat, sun or a range such as mon-fri",
        "g.yaml:16:18: ends before it starts; split a span that crosses midnight into two days",
        "g.yaml:17:1: unknown key 'colour'; known are: models, undeclared, duplicate_window, sources, calendars, "
        "policies, monitors, escalation, triage",
    ]


MODEL = "models: {m: {features: {x: numeric}, groups: {sex: [f, m]}}}\n"


def test_a_mistake_inside_a_condition_is_placed_on_its_line_and_column():
    policy = """\
policy: p
rules:
  - id: plain
    when: features.y > 1
    effect: log
  - id: folded
    when: >-
      features.x > 1
      AND features.sex = 'f'
    effect: log
  - id: literal
    when: |
      features.x > 1
        AND   calendar.open
    effect: log
  - id: quoted
    when: "features.x = 'a'"
    effect: log
  - id: reason
    when: 'TRUE'
    effect: log
    reason: "{caller} {colour}"
  - id: second
    when: features.x > 1
     AND features.x >
    effect: log
"""
    assert mistakes(MODEL, policy) == [
        "1.yaml:4:11: unknown column features.y (model m); did you mean features.x?",
        "1.yaml:9:11: unknown column features.sex (model m); sex is a protected attribute, and policies never see those",
        "1.yaml:14:15: unknown column calendar.open (model m); model m has no calendar: declare `calendar:` for it, or "
        "narrow the policy's `match:`",
        "1.yaml:17:12: features.x is a number, but 'a' is text; write the number without quotes",
        "1.yaml:22:24: unknown column colour",
        "1.yaml:25:21: not understood at '>'; a condition is SQL: comparisons with AND, OR, NOT",
    ]


def test_mistakes_in_inline_tests_and_match_are_placed():
    policy = """\
policy: p
match: {model: m}
rules:
  - id: a
    when: features.x > 1
    effect: hold
    tests:
      - given: {features.z: 1}
        expect: hold
      - given: {caller: 3, time: noon}
        expect: block
---
policy: q
match: {model: mm}
rules: []
---
policy: r
match: {domain: credits}
rules: []
---
policy: s
match: {domain: credit}
rules: []
"""
    assert mistakes(MODEL, policy) == [
        "1.yaml:8:17: unknown column features.z; did you mean features.x?",
        "1.yaml:10:25: caller is text, not 3",
        "1.yaml:10:34: 'noon' is no time; write 2026-03-02T09:30:00Z",
        "1.yaml:11:17: this rule can never give block; expect hold, allow or unknown",
        "1.yaml:14:16: model 'mm' is not declared; did you mean m?",
        "1.yaml:18:17: no domain 'credits'; use one of: credit, employment, insurance, housing, other",
        "1.yaml:21:9: policy 's' matches no declared model; declare a model, or widen `match:`",
    ]


def test_what_leads_nowhere_or_stands_twice_is_placed():
    text = """\
models: {m: {calendar: c}}
undeclared: x
---
policy: a
rules: [{id: r, when: 'TRUE', effect: log}, {id: r, when: 'TRUE', effect: log}]
"""
    assert mistakes(text) == ["g.yaml:4:1: rule id 'r' stands twice in policy 'a'"]
    text = text.replace("id: r, when: 'TRUE', effect: log}]", "id: s, when: 'TRUE', effect: log}]")
    assert mistakes(text, "policy: a\nrules: []\n") == [
        "1.yaml:1:9: policy 'a' stands twice; rename one",
        "g.yaml:1:24: calendar 'c' is not declared; declare it, or check its spelling",
        "g.yaml:2:13: 'x' is not a declared model; declare it, or check its spelling",
    ]


def test_a_key_or_declaration_that_stands_twice_is_refused():
    assert mistakes("models:\n  m: {}\n  m: {}\n") == ["g.yaml:3:3: key 'm' stands twice; first in line 2"]
    assert mistakes("models: {m: {}}\n", "models: {m: {}}\n") == [
        "1.yaml:1:10: models.m is declared twice; first in g.yaml:1:10; remove one"
    ]
    assert mistakes("undeclared: m\n", "undeclared: m\n") == [
        "1.yaml:1:1: 'undeclared' is set twice; first in g.yaml:1:1"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "g.yaml:1:6: no valid YAML"),
        ("models: {m: {features: {x: numeric?}}}", "put text that holds a question mark in quotes"),
        ("\tmodels: {}", "indent with spaces, not tabs"),
        ("models: {m: {}}\n  x: y: z\n", "g.yaml:2:"),
        ("- a\n", "g.yaml:1:1: a configuration is a mapping"),
        ("models: []\n", "g.yaml:1:9: models: this is no mapping"),
        ("policy: p\nrules: {}\n", "g.yaml:2:8: rules: this is no list"),
        ("policy: p\n", "key 'rules' is missing"),
        ("policy: p\nrules:\n- id: a\n  effect: log\n", "g.yaml:3:3: key 'when' is missing"),
        ("? [a]\n: b\n", "a key is plain text"),
        ("models: {m: &x {mode: gate}, n: {<<: *x}}", "`<<` is not understood"),
        ("a: \x00", "no valid YAML"),
        ("models: " + "{a: " * 60 + "1" + "}" * 60, "nested too deeply"),
        ("x: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(f"x{n}: &b{n} [{', '.join(['*' + ('a' if n == 0 else f'b{n-1}')] * 10)}]\n"
         for n in range(6)), "too large"),
    ],
)  # fmt: skip
def test_broken_yaml_is_placed_and_never_a_traceback(text, told):
    assert any(told in one for one in mistakes(text))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abm:{}[]- \n'\"|>&*!#%@\t0.1", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        assert isinstance(read(text), Configuration)
    except ConfigErrors as error:
        assert error.errors  # noqa: PT017
