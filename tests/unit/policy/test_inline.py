"""Inline tests, explanations and the commands that show them."""

import json
import re

import pytest
from typer.testing import CliRunner

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.policy.standing import Standing
from agents.policy.testing import explain, run_tests
from agents.records import Plain
from orchestration.cli.policy import app
from orchestration.config_files import load

MODEL = {
    "features": {"x": "numeric", "channel": "categorical?"},
    "versions": ["1"],
    "callers": ["a"],
    "calendar": "office",
}
OFFICE = {"zone": "Asia/Taipei", "hours": {"mon-fri": "09:00-18:00"}}


def configuration(*rules, **policy):
    return Configuration.model_validate(
        {
            "models": {"m": MODEL},
            "calendars": {"office": OFFICE},
            "monitors": {"drift": {}},
            "policies": [{"policy": "p", "rules": rules} | policy],
        }
    )


def outcome_of(when, given, expect, **policy):
    rule = {"id": "r", "when": when, "effect": "hold", "tests": [{"given": given, "expect": expect}]}
    (result,) = run_tests(configuration(rule, **policy))
    return result


@pytest.mark.parametrize(
    ("when", "given", "got"),
    [
        ("features.x > 1", {"features.x": 2}, "hold"),
        ("features.x > 1", {"features": {"x": 1}}, "allow"),
        ("features.x > 1", {}, "unknown"),
        ("NOT calendar.open", {"time": "2026-03-02T22:13:00Z"}, "hold"),
        ("NOT calendar.open", {"time": "2026-03-02T02:13:00Z"}, "allow"),
        ("NOT calendar.open", {"calendar.open": True}, "allow"),
        ("NOT calendar.open", {}, "unknown"),
        ("calendar.hour = 10", {"time": "2026-03-02T10:13:00+08:00"}, "hold"),
        ("caller_declared", {"caller": "a"}, "hold"),
        ("caller_declared", {"caller": "z"}, "allow"),
        ("caller_declared", {"caller": "z", "caller_declared": True}, "hold"),
        ("model.version_declared", {}, "hold"),
        ("model.version_declared", {"model.version": "9"}, "allow"),
        ("signals.drift.status = 'alarm'", {}, "allow"),
        ("signals.drift.status = 'alarm'", {"signals.drift.status": "alarm"}, "hold"),
        ("safeguard.limit", {"safeguard.limit": True}, "hold"),
        ("broker_time_ms = 1772489580000", {"time": "2026-03-02T22:13:00Z"}, "hold"),
    ],
)
def test_a_test_sees_what_a_decision_would_bring(when, given, got):
    result = outcome_of(when, given, got)
    assert (result.got, result.passed) == (got, True)


def test_a_failed_test_says_what_was_expected_what_came_and_what_was_seen():
    result = outcome_of("features.x > 1", {"features.x": 3}, "allow")
    assert not result.passed
    assert (result.rule, result.number, result.expected, result.got) == ("p/r", 1, "allow", "hold")
    assert result.detail == "features.x = 3.0 | features.x > 1: true"


def test_a_caller_that_match_leaves_out_is_allowed():
    assert outcome_of("TRUE", {"caller": "b"}, "allow", match={"caller": "a"}).passed
    assert outcome_of("TRUE", {"caller": "a"}, "hold", match={"caller": "a"}).passed


def test_disabled_policies_are_not_tested():
    rule = {"id": "r", "when": "TRUE", "effect": "hold", "tests": [{"given": {}, "expect": "hold"}]}
    assert list(run_tests(configuration(rule, mode="disabled"))) == []


@pytest.mark.parametrize("folder", ["config/demo", "config/init"])
def test_the_configurations_that_ship_pass_their_own_tests(folder, pytestconfig):
    results = list(run_tests(load(pytestconfig.rootpath / folder)))
    assert len(results) >= 7
    assert [one for one in results if not one.passed] == []


def test_every_rule_of_the_demo_is_tested_both_ways(pytestconfig):
    for policy in load(pytestconfig.rootpath / "config/demo").policies:
        for rule in policy.rules:
            expected = {test.expect for test in rule.tests}
            assert rule.effect in expected, rule.id
            assert policy.mode == "audit" or "allow" in expected, rule.id


ROW = {"model.name": "m", "model.version": "1", "caller": "b", "features.x": 3.0, "broker_time_ms": 1772489580000}


def test_an_explanation_shows_each_rule_what_it_saw_and_why():
    standing = Standing.of(
        configuration(
            {"id": "big", "when": "features.x > 1 AND NOT calendar.open", "effect": "block", "reason": "{caller}"},
            {"id": "who", "when": "features.channel = 'web'", "effect": "hold"},
            {"id": "none", "when": "features.x > 9", "effect": "log"},
        )
    )
    told = explain(standing, ROW)
    assert (told.effect, told.reasons) == ("block", ["p/big", "p/who"])
    big, who, none = told.rules
    assert (big.outcome, big.effect, big.reason) == ("matched", "block", "b")
    assert big.columns == {"calendar.open": False, "features.x": 3.0}
    assert big.tests == [("features.x > 1", True), ("calendar.open", False)]
    assert (who.outcome, who.effect, who.tests) == ("unknown", "hold", [("features.channel = 'web'", None)])
    assert (none.outcome, none.effect, none.reason) == ("no match", None, "")


def test_an_undeclared_model_is_explained_by_the_catch_all_or_named():
    base = configuration({"id": "a", "when": "features.x > 1", "effect": "hold"})
    with pytest.raises(Misconfigured, match="'zz' is not declared"):
        explain(Standing.of(base), ROW | {"model.name": "zz"})
    caught = base.model_copy(update={"undeclared": "m"})
    assert explain(Standing.of(caught), ROW | {"model.name": "zz"}).effect == "hold"


# -- commands ------------------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_policy_test_passes_on_the_demo(pytestconfig):
    result = run("test", pytestconfig.rootpath / "config/demo")
    assert result.exit_code == 0
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed\n", result.output)


def test_policy_test_names_a_failing_rule_and_ends_with_status_1(tmp_path):
    (tmp_path / "g.yaml").write_text(
        "models: {m: {features: {x: numeric}}}\n---\npolicy: p\nrules:\n"
        "- {id: r, when: features.x > 1, effect: hold, tests: [{given: {features.x: 1}, expect: hold}]}\n"
    )
    result = run("test", tmp_path)
    assert result.exit_code == 1
    assert "FAILED p/r test 1 (m): expected hold, got allow" in result.output
    assert "features.x = 1.0" in result.output


def test_policy_test_without_any_test_is_a_failure(tmp_path):
    (tmp_path / "g.yaml").write_text("models: {m: {}}\n")
    assert run("test", tmp_path).exit_code == 1


@pytest.mark.parametrize(
    ("when", "given", "got"),
    [
        ("signals.drift.status = 'alarm'", {"signals.drift.status": "alarm"}, "hold"),
        ("signals.drift.status = 'alarm'", {"signals": {"drift": {"status": "ok"}}}, "allow"),
        ("signals.drift.estimate > 1", {"signals.drift.status": "alarm"}, "unknown"),
        ("signals.drift.estimate > 1", {}, "allow"),  # a signal that is not there has not stood for so long
        ("signals.drift.status = 'none'", {}, "allow"),
        ("signals.drift.status = 'alarm' AND features.x > 1", {"signals.drift.status": "alarm"}, "unknown"),
    ],
)
@pytest.mark.parametrize("lasts", [{"for": "5m"}, {"keep_firing_for": "5m"}])
def test_what_a_test_gives_has_stood_long_enough_for_a_rule_that_waits(when, given, got, lasts):
    rule = {"id": "r", "when": when, "effect": "hold", **lasts, "tests": [{"given": given, "expect": got}]}
    (result,) = run_tests(configuration(rule))
    assert result.got == got


def test_an_explanation_says_that_a_rule_waits():
    chosen = configuration({"id": "r", "when": "signals.drift.status = 'alarm'", "effect": "hold", "for": "5m"})
    data = {"model": "m", "version": "1", "monitor": "drift", "status": "alarm", "clock_ms": 0}
    event = {"specversion": "1.0", "id": "s", "source": "/m", "type": "governance.signal.v1", "data": data}
    record = Plain("gim.signals", 0, 0, 0, b'["m","1","drift",null,null]', json.dumps(event).encode())
    standing, _ = Standing.of(chosen).fold("signals", [record])
    row = {"model.name": "m", "model.version": "1", "caller": "a", "features.x": 1.0, "event_time_ms": 0}
    early, late = (explain(standing, {**row, "broker_time_ms": time}) for time in (299_999, 300_000))
    assert (early.effect, early.rules[0].outcome) == ("allow", "no match")
    assert early.rules[0].waits == "its condition by itself says true now; for: 300s looks back at the signals"
    assert (late.effect, late.rules[0].outcome, late.rules[0].waits) == ("hold", "matched", "")


DECISION = {
    "specversion": "1.0",
    "type": "governance.decision.v1",
    "id": "1",
    "source": "/s",
    "time": "2026-03-02T22:13:00Z",
    "data": {
        "model": {"name": "loan-risk", "version": "1.0.0"},
        "caller": "loan-portal",
        "features": {"income": 0, "debt": 5, "months_employed": 3, "channel": "web"},
        "output": {"label": "approve", "score": 0.7, "confidence": 0.9},
    },
}


def test_policy_explain_shows_why_a_decision_is_blocked(tmp_path, pytestconfig):
    file = tmp_path / "decision.json"
    file.write_text(json.dumps(DECISION))
    folder = pytestconfig.rootpath / "config/init"
    text = run("explain", folder, "--decision", file).output
    assert text.startswith("loan-risk: block\n")
    assert "matched   first-rules/after-hours → block" in text
    assert "unknown   first-rules/debt-above-income → log" in text
    told = json.loads(run("explain", folder, "--decision", file, "--json").output)
    assert told["reasons"] == ["first-rules/debt-above-income", "first-rules/after-hours"]
    day = json.loads(
        run("explain", folder, "--decision", file, "--json", "--broker-time", "2026-03-02T10:00:00Z").output
    )
    assert (day["effect"], day["reasons"]) == ("log", ["first-rules/debt-above-income"])


def test_policy_explain_says_what_is_wrong_with_a_decision(tmp_path, pytestconfig):
    file = tmp_path / "decision.json"
    file.write_text("{}")
    result = run("explain", pytestconfig.rootpath / "config/init", "--decision", file)
    assert result.exception is not None
    assert result.exit_code == 1


def test_policy_columns_lists_what_a_condition_can_use_and_no_protected_attribute(pytestconfig):
    text = run("columns", pytestconfig.rootpath / "config/demo", "credit-limit").output
    for name in ("features.limit_bal", "calendar.open", "safeguard.limit", "monitor.lag_ms", "output.score"):
        assert name in text
    for name in ("sex", "marriage", "education", "age_band"):
        assert name not in text
