"""Rules that would treat people differently by group are refused with file, line and mend, under any name."""

import pytest

from agents.configuration import Configuration
from agents.configuration_yaml import ConfigErrors, read_configuration
from agents.errors import Misconfigured
from agents.policy.columns import columns_of
from agents.policy.fairness import DOMAINS, GROUP_KINDS
from agents.policy.rules import RuleSet

MODELS = """models:
  loans:
    domain: {domain}
    versions: ["1", "2"]
    features: {{limit: numeric, region: categorical, Sex: categorical, age: numeric}}
    labels: {{approve: {{favourable: true}}, decline: {{}}}}
    groups: {{sex: [f, m], age_band: [under 30, 30 and over]}}
monitors:
  approval-gap: {{kind: disparate_impact}}
  parity: {{}}
  strangers: {{}}
"""
POLICY = """policy: p
match: {{model: loans}}
rules:
  - id: r
    when: >-
      {when}
    effect: hold
    reason: "{reason}"
"""
GAP = "\"signals.approval-gap.status\" = 'alarm'"


def read(when="TRUE", reason="", domain="credit", extra=""):
    texts = [("models.yaml", MODELS.format(domain=domain)), ("policy.yaml", POLICY.format(when=when, reason=reason))]
    return read_configuration([*texts, *([("more.yaml", extra)] if extra else [])])


def refused(*asked, **more):
    with pytest.raises(ConfigErrors) as error:
        read(*asked, **more)
    return [str(one) for one in error.value.errors]


@pytest.mark.parametrize(
    "name", ["sex", "groups.sex", "data.groups.sex", "features.sex", "groups.age_band", "age_band"]
)
@pytest.mark.parametrize("domain", ["credit", "other"])
def test_a_condition_and_a_reason_never_read_a_protected_attribute_under_any_name(name, domain):
    (told,) = refused(f"output.label = 'decline' AND {name} = 'f'", domain=domain)
    assert told.startswith("policy.yaml:6:")
    assert f"unknown column {name}" in told
    assert "is a protected attribute, and policies never see those" in told
    (told,) = refused("TRUE", f"{{{name}}} was declined", domain=domain)
    assert told.startswith("policy.yaml:8:")
    assert "is a protected attribute, and policies never see those" in told


def test_a_policy_is_not_matched_by_a_protected_attribute():
    for key in ("sex", "groups.sex"):
        extra = f"policy: q\nmatch: {{{key}: f}}\nrules: []\n"
        (told,) = refused(extra=extra)
        assert told.startswith("more.yaml:2:")
        assert f"unknown key '{key}'; known are: model, version, caller, purpose, domain" in told


@pytest.mark.parametrize("domain", sorted(DOMAINS))
@pytest.mark.parametrize("name", ["features.Sex", 'features."Sex"', '"features.Sex"', "COALESCE(features.Sex, 'f')"])
def test_a_feature_with_a_protected_attributes_name_is_refused_where_it_moves_lives(domain, name):
    (told,) = refused(f"output.score > 0.5 AND {name} = 'f'", domain=domain)
    assert told.startswith("policy.yaml:6:")
    assert "features.Sex has the name of a protected attribute of model loans (sex)" in told
    assert "condition on the version, a score band or everything" in told


def test_its_attributions_and_reasons_are_refused_too_and_elsewhere_it_is_a_feature_like_any_other():
    (told,) = refused("feature_attributions.Sex > 0.1")
    assert "feature_attributions.Sex has the name of a protected attribute" in told
    (told,) = refused("TRUE", "declined, {features.Sex}")
    assert told.startswith("policy.yaml:8:25")
    assert "reasons go to people who review single cases" in told
    assert read("features.Sex = 'f'", "{features.Sex}", domain="other").policies


@pytest.mark.parametrize(
    "column",
    ["features.region = 'north'", "features.age < 26", "subject = 'client-1'", "feature_attributions.limit > 0",
     "latency_ms > 5", "prompt = ''"],
)  # fmt: skip
def test_a_rule_driven_by_a_signal_about_groups_reads_nothing_that_could_stand_for_one(column):
    (told,) = refused(f"{GAP} AND output.label = 'decline' AND {column}")
    assert told.startswith("policy.yaml:6:")
    assert "signals.approval-gap.status is about groups of people" in told
    assert "condition on version, score band or everything, as in `holds all declines of version 2`" in told
    assert read(f"{GAP} AND output.label = 'decline' AND {column}", domain="other").policies


def test_the_place_told_is_that_of_the_column():
    (told,) = refused(f"{GAP} AND features.age < 26")
    assert told.startswith(f"policy.yaml:6:{7 + len(GAP) + len(' AND ')}")


def test_version_score_band_and_everything_are_what_such_a_rule_may_read():
    when = (
        f"{GAP} AND output.label = 'decline' AND output.score BETWEEN 0.3 AND 0.6 AND output.confidence < 0.9 "
        "AND model.version = '2' AND caller = 'svc' AND caller_declared AND purpose = 'loan' AND NOT safeguard.hold_all "
        "AND monitor.lag_ms < 60000 AND signals.strangers.status = 'ok'"
    )
    assert [
        policy.policy for policy in read(when, "{signals.parity.estimate} in version {model.version}").policies
    ] == ["p"]


def test_a_signal_that_is_not_about_groups_may_go_with_features():
    assert read("signals.strangers.status = 'alarm' AND features.region = 'north'").policies
    (told,) = refused("signals.parity.status = 'alarm' AND features.region = 'north'")  # its name is its kind
    assert "signals.parity.status is about groups" in told


def test_every_kind_about_groups_is_a_kind_that_there_is():
    from agents.monitor.registry import KINDS

    assert set(KINDS) >= GROUP_KINDS


@pytest.mark.parametrize("field", ["group", "segment", "text", "reference"])
def test_the_groups_that_a_signal_names_reach_no_rule_and_no_reviewer(field):
    configuration = read()
    assert f"signals.parity.{field}" not in columns_of(configuration, "loans")
    for told in (refused(f"signals.parity.{field} = 'sex=f'"), refused("TRUE", f"{{signals.parity.{field}}}")):
        assert f"unknown column signals.parity.{field}" in told[0]
        assert "a signal's groups are protected attributes" in told[0]


def test_columns_of_no_model_are_about_groups():
    configuration = read()
    assert [name for name in columns_of(configuration, "loans") if "group" in name] == []


def test_a_monitors_name_with_a_dash_is_told_how_to_be_written():
    (told, *_) = refused("signals.approval-gap.status = 'alarm'")
    assert 'SQL reads - as minus; write "signals.approval-gap.status" in double quotes' in told


def test_a_configuration_that_comes_by_kafka_is_held_to_the_same():
    document = {
        "models": {"m": {"domain": "housing", "features": {"x": "numeric"}}},
        "monitors": {"parity": {}},
        "policies": [
            {
                "policy": "p",
                "rules": [{"id": "a", "when": "signals.parity.n > 5 AND features.x > 1", "effect": "log"}],
            }
        ],
    }
    with pytest.raises(Misconfigured, match="would treat people differently by group"):
        RuleSet(Configuration.model_validate(document))
