"""Rules that ask how unusual a decision's input is: the same answer alone and in any batch, null and missing told apart."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.audit.commitment import KEY_BYTES, Committer
from agents.configuration import Configuration
from agents.errors import Misconfigured, NotReady
from agents.frames import Reader
from agents.monitor.conformal import Anomalies
from agents.policy.agent import PolicyAgent
from agents.policy.columns import columns_of
from agents.policy.rules import RuleSet, compiled
from agents.policy.standing import Standing
from agents.policy.testing import explain, run_tests
from agents.records import Plain, collect
from tests.unit.unusual import MODEL, ODD, RULE, configuration, event, framed, inputs, profile

ROWS = inputs(400, 2, odd=(7, 250, 399))


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    found = profile()
    return {found.digest: Anomalies(found.sections["anomaly"])}


def judged(standing: Standing, frame: pl.DataFrame, model: str = "loans") -> list[list[str]]:
    """The reasons of each row as `rule outcome`."""
    found = standing.rules.judge(model, frame, np.zeros(len(frame), dtype=np.int64), standing)
    return [[f"{one.rule} {one.outcome}" for one in found.combos[row]] for row in found.rows]


def verdicts(agent: PolicyAgent, standing: Standing, records: list[Plain], size: int) -> dict[Any, list[Any]]:
    """What an agent writes of records that come in batches of a size; flags, which say how they came, left out."""
    written: dict[Any, list[Any]] = {}
    for start in range(0, len(records), size):
        for (topic, number), messages in collect(agent.decide(records[start : start + size], standing)).items():
            if topic != "gim.flags":
                written.setdefault((topic, number), []).extend(messages)
    return written


def test_a_decision_on_an_odd_input_is_held_by_its_p_value_and_no_other(known):
    found = judged(Standing.of(configuration(), known), framed(ROWS))
    assert [place for place, reasons in enumerate(found) if reasons == ["odd/unusual matched"]] == [7, 250, 399]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 399), max_size=6), level=st.sampled_from([0.001, 0.05, 0.5]))
def test_a_decision_gets_the_same_answer_alone_and_in_any_batch(known, cuts, level):
    standing = Standing.of(configuration(RULE | {"when": f"anomaly.p_value <= {level}"}), known)
    frame, edges = framed(ROWS), sorted({0, *cuts, len(ROWS)})
    whole = judged(standing, frame)
    assert whole == [one for a, b in pairwise(edges) for one in judged(standing, frame[a:b])]
    alone = edges[len(edges) // 2] - 1
    assert whole[alone] == judged(standing, frame[alone])[0]


def test_what_rules_compare_is_what_the_profile_says_to_the_last_bit(known):
    scores = next(iter(known.values())).rule_columns(framed(ROWS))
    for place in (0, 7, 133):
        row = {f"features.{name}": value for name, value in ROWS[place].items()} | {"model.name": "loans"}
        standing = Standing.of(configuration(), known)
        told = standing.rules.around("loans", row, 0, standing, ["anomaly.p_value", "anomaly.score"])
        assert told == {name: values[place] for name, values in scores.items()}


@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_lane_writes_the_same_bytes_whatever_its_batches(known, size):
    using = configuration()
    records = [Plain("gim.decisions", 0, n, n, b"k", event(n, one)) for n, one in enumerate(ROWS[:50])]
    standing, salt = Standing.of(using, known), Committer("salt", bytes(KEY_BYTES))
    agents = [PolicyAgent("gim", "gim.decisions", 0, salt, using) for _ in range(2)]
    whole, cut = verdicts(agents[0], standing, records, 50), verdicts(agents[1], standing, records, size)
    assert whole == cut
    ((key, _, headers),) = whole["gim.held", 0]
    assert key == b"gim.decisions/0/7"
    p_value = 1 / (Anomalies(profile().sections["anomaly"]).calibrated_on + 1)
    assert f"one in {p_value:.15g} has such an input (0." in dict(headers)["govern-reasons"].decode()


def test_a_profile_without_anomaly_scores_leaves_the_rule_unknown_and_says_what_is_missing():
    standing = Standing.of(configuration(), {profile().digest: None})
    assert judged(standing, framed(ROWS[:2])) == [["odd/unusual unknown"]] * 2
    row = Reader(standing.configuration).row(Plain("t", 0, 0, 0, None, event(0, ROWS[0])))
    (seen,) = explain(standing, row).rules
    assert (seen.outcome, seen.columns) == ("unknown", {"anomaly.p_value": None})
    assert seen.reason == (
        "could not be evaluated (missing: anomaly.p_value): one in missing has such an input (missing)"
    )


def test_a_profile_that_is_not_there_stops_judging_and_is_never_taken_for_unknown(known):
    with pytest.raises(NotReady, match=f"profile {profile().digest} is not here.*GOVERN_PROFILES"):
        judged(Standing.of(configuration()), framed(ROWS[:1]))


def test_nothing_is_computed_for_a_model_whose_rules_do_not_ask():
    nobody_asks = object()  # whatever were asked of it would fail

    plain = {"policy": "plain", "rules": [{"id": "r", "when": "features.income > 500", "effect": "log"}]}
    off = {"policy": "off", "mode": "disabled", "rules": [RULE]}
    using = Configuration.model_validate(configuration().document() | {"policies": [plain, off]})
    standing = Standing.of(using, {profile().digest: nobody_asks})
    assert standing.rules.profiles == {}
    assert judged(standing, framed(ROWS[6:8])) == [[], ["plain/r matched"]]
    assert standing.rules.columns("loans") == {"features.income", "caller", "model.version"}
    row = Reader(using).row(Plain("t", 0, 0, 0, None, event(0, ROWS[0])))
    assert explain(standing, row).effect == "allow"


def test_a_reason_alone_may_ask(known):
    using = configuration(RULE | {"when": "output.label = 'approve'"})
    assert compiled(using).profiles == {"loans": profile().digest}
    row = Reader(using).row(Plain("t", 0, 0, 0, None, event(0, ROWS[7])))
    (seen,) = explain(Standing.of(using, known), row).rules
    assert seen.reason.startswith("one in 0.000249937515621095 has such an input (0.7")


def test_a_reason_names_the_features_that_make_the_input_unusual_and_a_condition_cannot(known):
    using = configuration(RULE | {"reason": "unusual because of {anomaly.because}"})
    for features, told in ((ODD, "income, debt"), (ROWS[7] | {"debt": 20.0, "product": "loan"}, "income")):
        row = Reader(using).row(Plain("t", 0, 0, 0, None, event(0, features)))
        standing = Standing.of(using, known)
        matched = compiled(using).rule("odd/unusual").outcome(True)
        assert standing.render(matched, row) == f"unusual because of {told}"
    with pytest.raises(Misconfigured, match=r"anomaly\.because stands in reasons only; compare anomaly\.p_value"):
        RuleSet(configuration(RULE | {"when": "anomaly.because = 'income'"}))


def test_decisions_of_undeclared_models_are_compared_with_the_profile_of_their_stand_in(known):
    using = configuration(undeclared="loans")
    records = [Plain("gim.decisions", 0, 0, 0, b"k", event(0, ROWS[7], name="nobody-knows"))]
    agent = PolicyAgent("gim", "gim.decisions", 0, Committer("salt", bytes(KEY_BYTES)), using)
    assert len(verdicts(agent, Standing.of(using, known), records, 1)["gim.held", 0]) == 1


def test_inline_tests_give_the_columns_and_without_them_they_are_unknown():
    tests = [
        {"given": {"anomaly.p_value": 0.0004}, "expect": "hold"},
        {"given": {"anomaly.p_value": 0.5}, "expect": "allow"},
        {"given": {"features.income": 900}, "expect": "unknown"},
    ]
    assert [one.passed for one in run_tests(configuration(RULE | {"tests": tests}))] == [True] * 3


def test_the_columns_are_there_for_models_with_features_and_a_profile_only():
    names = {"anomaly.p_value", "anomaly.score"}
    assert names < set(columns_of(configuration(), "loans"))
    without = {name: value for name, value in MODEL.items() if name != "features"}
    for model, told in (
        (MODEL, r"has no profile: fit one \(`govern profile fit`\) before.*declare it as `profile:`; or narrow"),
        (without | {"profile": profile().digest}, "declares no features"),
    ):
        using = Configuration.model_validate({"models": {"loans": model}})
        assert not names & set(columns_of(using, "loans"))
        with pytest.raises(Misconfigured, match=f"unknown column anomaly.p_value.*{told}"):
            RuleSet(Configuration.model_validate(using.document() | {"policies": [{"policy": "p", "rules": [RULE]}]}))
    with pytest.raises(Misconfigured, match=r"unknown column anomaly.pvalue.*anomaly.p_value and anomaly.score"):
        RuleSet(configuration(RULE | {"when": "anomaly.pvalue < 0.1"}))


def lending(features: dict[str, str], when: str) -> Configuration:
    """A lender's configuration in the domain credit, with a monitor of groups."""
    model = MODEL | {
        "domain": "credit",
        "profile": profile().digest,
        "groups": {"sex": ["f", "m"]},
        "features": features,
    }
    around = {"models": {"loans": model}, "monitors": {"gap": {"kind": "parity"}}}
    return Configuration.model_validate({**around, "policies": [{"policy": "p", "rules": [RULE | {"when": when}]}]})


def test_where_decisions_move_lives_a_score_that_rests_on_a_protected_attribute_is_refused():
    RuleSet(lending({"income": "numeric"}, "anomaly.p_value < 0.001"))
    with pytest.raises(Misconfigured, match=r"made of all features, and features.Sex has the name.*\(sex\)"):
        RuleSet(lending({"income": "numeric", "Sex": "categorical"}, "anomaly.p_value < 0.001"))


def test_a_rule_on_a_signal_about_groups_may_not_pick_people_by_how_unusual_they_are():
    with pytest.raises(Misconfigured, match=r"gap\.status is about groups of people, and anomaly\.score could stand"):
        RuleSet(lending({"income": "numeric"}, "signals.gap.status = 'alarm' AND anomaly.score > 0.6"))


def test_a_feature_that_changed_its_type_since_the_profile_is_told_and_not_guessed(known):
    features = MODEL["features"] | {"product": "numeric?"}
    document = configuration().document()
    document["models"]["loans"]["features"] = features
    standing = Standing.of(Configuration.model_validate(document), known)
    frame = framed(ROWS[:2]).with_columns(pl.lit(3.0).alias("features.product"))
    with pytest.raises(Misconfigured, match="product was categorical when the profile was fitted and is numeric now"):
        judged(standing, frame)


def test_policies_start_without_scikit_learn():
    parts = "agents.policy.agent, orchestration.standing, orchestration.reexecute, orchestration.cli.policy"
    told = f"import sys, {parts}; print('sklearn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
