"""Rules over batches: the strictest applied effect wins, unknown is named, and a batch changes nothing."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import Effect, SafeguardData, SignalData
from agents.policy.rules import Matched, RuleSet, compiled, effect_of, needed_columns
from agents.policy.standing import Standing
from agents.policy.surroundings import Circumstances, Told, signal_key

MODEL = {"features": {"x": "numeric", "kind": "categorical?"}, "versions": ["1", "2"], "callers": ["a", "b"]}


def configuration(*policies, **more):
    return Configuration.model_validate({"models": {"m": MODEL}, "policies": policies, **more})


def rule(name, when, effect, **more):
    return {"id": name, "when": when, "effect": effect, **more}


def policy(*rules, **more):
    return {"policy": "p", "rules": rules, **more}


def judge(standing, *rows, model="m"):
    """The reasons of each row as `rule effect outcome`."""
    frame = pl.DataFrame(
        {
            "features.x": pl.Series([row.get("x") for row in rows], dtype=pl.Float64),
            "output.label": pl.Series([row.get("label") for row in rows], dtype=pl.String),
            "event_time_ms": pl.Series([row.get("time", 0) for row in rows], dtype=pl.Int64),
            "caller": pl.Series([row.get("caller") for row in rows], dtype=pl.String),
            "purpose": pl.Series([row.get("purpose") for row in rows], dtype=pl.String),
            "model.version": pl.Series([row.get("version", "1") for row in rows], dtype=pl.String),
            "model.name": pl.Series([row.get("name", model) for row in rows], dtype=pl.String),
            "broker_time_ms": pl.Series([row.get("broker", 0) for row in rows], dtype=pl.Int64),
        }
    )
    times = np.array([row.get("time", 0) for row in rows], dtype=np.int64)
    judged = standing.rules.judge(model, frame, times, standing)
    assert judged.combos[0] == ()
    assert len(judged.rows) == len(rows)
    assert len(set(judged.combos)) == len(judged.combos)
    return [[f"{one.rule} {one.effect} {one.outcome}" for one in judged.combos[row]] for row in judged.rows]


def test_each_row_gets_the_rules_that_match_it_in_the_order_of_the_policy():
    standing = Standing.of(
        configuration(policy(rule("big", "features.x > 10", "log"), rule("huge", "features.x > 100", "block")))
    )
    assert judge(standing, {"x": 1}, {"x": 11}, {"x": 101}) == [
        [],
        ["p/big log matched"],
        ["p/big log matched", "p/huge block matched"],
    ]


def test_a_rule_that_cannot_be_evaluated_takes_its_on_unknown_effect_and_by_default_its_own():
    standing = Standing.of(
        configuration(
            policy(
                rule("closed", "features.x > 10", "hold"),
                rule("open", "features.x > 10", "block", on_unknown="log"),
                rule("let-go", "features.x > 10", "block", on_unknown="allow"),
            )
        )
    )
    assert judge(standing, {"x": None}) == [
        ["p/closed hold unknown", "p/open log unknown", "p/let-go allow unknown"],
    ]


def test_match_limits_a_policy_and_an_unnamed_caller_is_never_matched():
    chosen = policy(rule("all", "TRUE", "hold"), match={"caller": ["a", "z"], "version": "2", "purpose": "loan"})
    standing = Standing.of(configuration(chosen))
    assert judge(
        standing,
        {"caller": "a", "version": "2", "purpose": "loan"},
        {"caller": "b", "version": "2", "purpose": "loan"},
        {"caller": "a", "version": "1", "purpose": "loan"},
        {"caller": None, "version": "2", "purpose": "loan"},
        {"caller": "a", "version": "2", "purpose": None},
    ) == [["p/all hold matched"], [], [], [], []]


def test_match_by_model_and_domain_is_settled_beforehand():
    two = Configuration.model_validate(
        {
            "models": {"m": MODEL, "n": {"domain": "credit"}},
            "policies": [
                {"policy": "only-m", "match": {"model": "m"}, "rules": [rule("x", "features.x > 0", "log")]},
                {"policy": "credit", "match": {"domain": "credit"}, "rules": [rule("y", "output.score > 0", "log")]},
            ],
        }
    )
    rules = RuleSet(two)
    assert [one.name for one in rules.rules("m")] == ["only-m/x"]
    assert [one.name for one in rules.rules("n")] == ["credit/y"]
    assert rules.columns("n") == {"output.score", "caller", "model.version"}
    assert needed_columns(two) == {"features.x", "output.score", "caller", "model.version"}


def test_audit_records_without_applying_and_disabled_does_neither():
    standing = Standing.of(
        configuration(
            {"policy": "trial", "mode": "audit", "rules": [rule("x", "TRUE", "block")]},
            {"policy": "off", "mode": "disabled", "rules": [rule("x", "TRUE", "block")]},
        )
    )
    judged = standing.rules.judge(
        "m", pl.DataFrame({"caller": ["a"], "model.version": ["1"]}), np.zeros(1, int), standing
    )
    assert judged.combos == [(), (Matched("trial/x", Effect.BLOCK, "matched", False),)]
    assert judged.rows == [1]
    assert effect_of(judged.combos[1]) is Effect.ALLOW
    with pytest.raises(KeyError):
        standing.rules.rule("off/x")


def test_hundreds_of_rules_are_told_apart():
    rules = [rule(f"r{n}", f"features.x = {n}", "log") for n in range(300)]
    standing = Standing.of(configuration(policy(*rules)))
    assert judge(standing, *({"x": n} for n in range(301))) == [[f"p/r{n} log matched"] for n in range(300)] + [[]]


def test_without_rules_nothing_has_a_reason():
    assert judge(Standing.of(configuration()), {"x": 1}, {"x": None}) == [[], []]


def test_an_empty_batch_is_judged_too():
    assert judge(Standing.of(configuration(policy(rule("a", "features.x > 0", "log"))))) == []


# -- safeguards, signals, watermark --------------------------------------------------------------------------------


def with_safeguards(standing, **orders):
    made = {
        name: SafeguardData.model_validate({"model": "m", "active": True} | order) for name, order in orders.items()
    }
    return Standing(
        standing.configuration, standing.digest, standing.rules, circumstances=Circumstances(safeguards=made)
    )


def test_active_safeguards_are_reasons_of_their_own():
    standing = with_safeguards(
        Standing.of(configuration(policy(rule("big", "features.x > 10", "log")))),
        q={"kind": "quarantine", "version": "2"},
        c={"kind": "pause_caller", "caller": "b"},
        f={"kind": "fallback", "active": False},
        other={"kind": "hold_all", "model": "n"},
    )
    assert judge(standing, {"x": 11}, {"version": "2", "x": 1}, {"caller": "b", "version": "2", "x": 11}) == [
        ["p/big log matched"],
        ["safeguard/q hold matched"],
        ["p/big log matched", "safeguard/c block matched", "safeguard/q hold matched"],
    ]


@pytest.mark.parametrize(
    ("kind", "effect"),
    [
        ("quarantine", "hold"),
        ("hold_all", "hold"),
        ("limit_rate", "hold"),
        ("fallback", "block"),
        ("pause_caller", "block"),
    ],
)
def test_each_safeguard_has_its_documented_effect_even_without_rules(kind, effect):
    standing = with_safeguards(Standing.of(configuration()), s={"kind": kind, "caller": "a"})
    assert judge(standing, {"caller": "a"}, {"caller": "b"}) == [[f"safeguard/s {effect} matched"], []]


def test_conditions_can_use_safeguards():
    standing = with_safeguards(
        Standing.of(configuration(policy(rule("x", "safeguard.limit AND features.x > 10", "block")))),
        s={"kind": "limit_rate", "caller": "a"},
    )
    assert judge(standing, {"caller": "a", "x": 11}, {"caller": "b", "x": 11})[1] == []
    assert judge(standing, {"caller": "a", "x": 11})[0] == ["p/x block matched", "safeguard/s hold matched"]


def signals(*told):
    made = {}
    for data, at in told:
        one = SignalData.model_validate({"model": "m", "version": "1", "monitor": "drift", "status": "ok"} | data)
        made[signal_key(one)] = Told(one, at)
    return made


def test_a_signal_not_yet_computed_has_status_none_and_null_numbers():
    rules = [
        rule("none", "signals.drift.status = 'none'", "log"),
        rule("n", "signals.drift.n > 0", "hold"),
        rule("lag", "monitor.lag_ms > 1000", "hold", on_unknown="log"),
    ]
    standing = Standing.of(configuration(policy(*rules), monitors={"drift": {}}))
    assert judge(standing, {}) == [["p/none log matched", "p/n hold unknown", "p/lag log unknown"]]


def test_a_signal_speaks_for_its_version_and_the_worst_of_segments_counts():
    rules = [
        rule("alarm", "signals.drift.status = 'alarm' AND signals.drift.estimate > 0.5", "hold"),
        rule("old", "signals.drift.age_ms > 5000", "log", on_unknown="allow"),
    ]
    base = Standing.of(configuration(policy(*rules), monitors={"drift": {}}))
    told = signals(({}, 1000), ({"segment": "north", "status": "alarm", "estimate": 0.9}, 2000))
    standing = Standing(base.configuration, base.digest, base.rules, circumstances=Circumstances(signals=told))
    assert judge(standing, {"version": "1", "broker": 3000}, {"version": "2"}, {"version": "1", "broker": 9000}) == [
        ["p/alarm hold matched"],
        ["p/old allow unknown"],
        ["p/alarm hold matched", "p/old log matched"],
    ]


def test_lag_grows_while_no_watermark_comes():
    base = Standing.of(configuration(policy(rule("late", "monitor.lag_ms > 10000", "hold"))))
    around = Circumstances(watermarks={"m": (500.0, 1000)})
    standing = Standing(base.configuration, base.digest, base.rules, circumstances=around)
    assert judge(standing, {"broker": 2000}, {"broker": 20_000}) == [[], ["p/late hold matched"]]


def test_a_rule_can_act_when_monitors_lag_or_never_spoke():
    """The example of docs/policies.md."""
    rules = [rule("blind", "monitor.lag_ms > 60000 AND output.label = 'decline'", "hold")]
    base = Standing.of(configuration(policy(*rules)))
    assert judge(base, {"label": "decline"}, {"label": "approve"}) == [["p/blind hold unknown"], []]
    standing = Standing(
        base.configuration, base.digest, base.rules, circumstances=Circumstances(watermarks={"m": (500.0, 1000)})
    )
    rows = [{"broker": broker, "label": label} for broker in (2000, 70_000) for label in ("decline", "approve")]
    assert judge(standing, *rows) == [[], [], ["p/blind hold matched"], []]


def test_a_signal_says_how_long_its_status_has_stood_on_what_it_rests_and_since_when():
    rules = [
        rule("held", "signals.drift.held_ms >= 4000", "hold", on_unknown="log"),
        rule("thin", "signals.drift.coverage < 0.5", "hold", on_unknown="log"),
        rule("old", "event_time_ms - signals.drift.onset_ms > 0", "hold", on_unknown="log"),
    ]
    base = Standing.of(configuration(policy(*rules), monitors={"drift": {}}))

    def said(time, **more):
        told = Circumstances(signals=signals(({"clock_ms": 9000, **more}, 9500)))
        standing = Standing(base.configuration, base.digest, base.rules, circumstances=told)
        return judge(standing, {"time": time})

    assert said(8999, since_ms=5000, coverage=0.4, onset_ms=9000) == [["p/thin hold matched"]]
    assert said(9000, since_ms=5000, coverage=0.6, onset_ms=9000) == [["p/held hold matched"]]
    assert said(9001, since_ms=9002, coverage=0.6, onset_ms=9000) == [["p/old hold matched"]]  # never negative
    assert said(9000) == [["p/held log unknown", "p/thin log unknown", "p/old log unknown"]]


def test_the_catch_all_judges_by_the_name_that_the_decision_says():
    base = Standing.of(configuration(undeclared="m"))
    standing = with_safeguards(base, s={"kind": "quarantine", "model": "stranger"})
    assert judge(standing, {"name": "stranger"}) == [["safeguard/s hold matched"]]
    assert judge(standing, {"name": "other"}) == [[]]
    assert "model.name" in base.rules.columns("m")


# -- laws ----------------------------------------------------------------------------------------------------------

effects = st.sampled_from(list(Effect))
reasons = st.builds(Matched, st.just("p/r"), effects, st.sampled_from(["matched", "unknown"]), st.booleans())


@given(st.lists(reasons))
def test_the_strictest_applied_effect_wins(combo):
    applied = [one.effect for one in combo if one.applied]
    order = [Effect.ALLOW, Effect.LOG, Effect.HOLD, Effect.BLOCK]
    assert effect_of(tuple(combo)) is (order[max(map(order.index, applied))] if applied else Effect.ALLOW)


RULES = policy(
    rule("a", "features.x > 0", "log"),
    rule("b", "features.x > 1 OR signals.drift.status = 'alarm'", "hold", on_unknown="block"),
    rule("c", "caller = 'a' AND NOT safeguard.hold_all", "block"),
    rule("d", "calendar.open", "log"),
)
CALENDAR = {"c": {"zone": "Europe/Berlin", "hours": {"mon-fri": "08:00-18:00"}, "holidays": "DE"}}
WHOLE = Configuration.model_validate(
    {
        "models": {"m": MODEL | {"calendar": "c"}},
        "calendars": CALENDAR,
        "policies": [RULES],
        "monitors": {"drift": {}},
    }
)
decisions = st.fixed_dictionaries(
    {
        "x": st.none() | st.sampled_from([-1.0, 0.5, 2.0]),
        "caller": st.sampled_from([None, "a", "b"]),
        "version": st.sampled_from(["1", "2"]),
        "time": st.integers(0, 2_000_000_000_000),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(decisions, min_size=1, max_size=10), st.booleans())
def test_a_decision_gets_the_same_reasons_alone_and_in_any_batch(rows, held):
    told = signals(({"status": "alarm", "version": "2"}, 0))
    orders = {"h": SafeguardData(kind="hold_all", model="m", version="1", active=held)}
    base = Standing.of(WHOLE)
    standing = Standing(base.configuration, base.digest, base.rules, circumstances=Circumstances(told, {}, orders))
    assert judge(standing, *rows) == [judge(standing, row)[0] for row in rows]


# -- mistakes ------------------------------------------------------------------------------------------------------


def test_every_mistake_in_the_rules_is_told_at_once():
    wrong = configuration(
        policy(
            rule("a", "features.y > 0", "log"), rule("b", "features.x", "log", reason="{nope}"), match={"model": "m"}
        )
    )
    with pytest.raises(Misconfigured) as told:
        RuleSet(wrong)
    text = str(told.value)
    assert "policies.0.rules.0.when: unknown column features.y (model m); did you mean features.x" in text
    assert "policies.0.rules.1.when: a condition is true or false, but this is a number" in text
    assert "policies.0.rules.1.reason: unknown column nope" in text


def test_a_protected_attribute_is_no_column():
    declared = {"models": {"m": MODEL | {"groups": {"sex": ["f", "m"]}}}}
    with pytest.raises(Misconfigured, match="sex is a protected attribute, and policies never see those"):
        RuleSet(Configuration.model_validate({**declared, "policies": [policy(rule("a", "sex = 'f'", "log"))]}))


def test_one_configuration_is_compiled_once():
    assert compiled(WHOLE) is compiled(Configuration.model_validate(WHOLE.document()))
