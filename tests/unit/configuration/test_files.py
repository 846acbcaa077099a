"""Configurations on disk: starting, checking and comparing them, and the schema that editors use."""

import asyncio
import json

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from agents.configuration import Configuration
from agents.configuration_schema import editor_schema
from agents.errors import ConfigError, Misconfigured
from agents.policy.differences import differences
from orchestration import config_topic
from orchestration.cli.config import app
from orchestration.config_files import files_of, load
from orchestration.settings import Settings


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_init_writes_a_configuration_that_passes_check(tmp_path):
    folder = tmp_path / "new"
    assert run("init", folder).exit_code == 0
    result = run("check", folder)
    assert result.exit_code == 0
    assert result.output.startswith("ok: 1 model(s), 1 policy(ies) with 3 rule(s)")
    assert load(folder).digest() in result.output
    assert (
        (folder / "governance.yaml").read_text().startswith("# yaml-language-server: $schema=governance.schema.json\n")
    )


def test_init_never_overwrites(tmp_path):
    (tmp_path / "governance.yaml").write_text("mine")
    result = run("init", tmp_path)
    assert isinstance(result.exception, Misconfigured)
    assert (tmp_path / "governance.yaml").read_text() == "mine"


def test_check_tells_all_mistakes_with_their_files(tmp_path):
    (tmp_path / "models.yaml").write_text("models: {m: {mode: gat}}\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.yml").write_text("policy: p\nrules: 3\n")
    result = run("check", tmp_path)
    assert isinstance(result.exception, Misconfigured)
    told = str(result.exception).split("\n")
    assert [line.split(": ")[0] for line in told] == [
        f"{tmp_path}/models.yaml:1:20",
        f"{tmp_path}/policies/p.yml:2:8",
    ]


def test_a_folder_is_read_whole_but_for_hidden_files(tmp_path):
    for name in ("b.yaml", "a.yml", "sub/c.yaml", ".hidden/d.yaml", ".e.yaml", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [str(file.relative_to(tmp_path)) for file in files_of(tmp_path)] == ["a.yml", "b.yaml", "sub/c.yaml"]


def test_a_place_without_a_configuration_is_named(tmp_path):
    with pytest.raises(Misconfigured, match="holds no YAML file"):
        load(tmp_path)
    with pytest.raises(Misconfigured, match="neither a folder nor a file"):
        load(tmp_path / "nowhere")
    (tmp_path / "a.yaml").write_bytes(b"models: \xff")
    with pytest.raises(ConfigError, match="no UTF-8 text at byte 8"):
        load(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfmodels: {m: {}}\n")
    assert list(load(tmp_path).models) == ["m"]


RULES = (
    "policy: p\nrules:\n- {id: a, when: features.x > 1, effect: log}\n- {id: b, when: features.x > 2, effect: hold}\n"
)


def test_diff_shows_rule_by_rule_what_differs(tmp_path):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("models: {m: {features: {x: numeric}}}\n---\n" + RULES)
    text = RULES.replace("features.x > 1", "features.x > 5").replace("id: b", "id: c")
    new.write_text("models: {m: {features: {x: numeric}, mode: gate}}\n---\n" + text)
    result = run("diff", old, new)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "~ model m: mode",
        "    - observe",
        "    + gate",
        "~ rule p/a: when",
        "    - features.x > 1",
        "    + features.x > 5",
        "- rule p/b (hold when features.x > 2)",
        "+ rule p/c (hold when features.x > 2)",
    ]
    same = run("diff", old, old)
    assert (same.exit_code, same.output) == (0, "no difference\n")


def test_every_field_of_a_configuration_shows_in_a_difference(pytestconfig):
    demo = load(pytestconfig.rootpath / "config/demo")
    assert differences(demo, demo) == []
    assert [one.name for one in differences(demo, demo.model_copy(update={"undeclared": "credit-limit"}))] == [
        "undeclared"
    ]
    names = {one.name for one in differences(Configuration(), demo)}
    assert {"model credit-limit", "calendar taipei-office", "policy access", "rule access/after-hours"} <= names


@pytest.mark.parametrize("folder", ["config/demo", "config/init"])
def test_the_editors_schema_accepts_what_ships(folder, pytestconfig):
    schema = editor_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    documents = 0
    for file in files_of(pytestconfig.rootpath / folder):
        for document in yaml.load_all(file.read_text(), Loader=yaml.BaseLoader):
            documents += 1
            validator.validate(_typed(document))
    assert documents >= 2


@pytest.mark.parametrize(
    "document",
    [
        {"models": {"m": {"mod": "gate"}}},
        {"models": {"m": {"features": {"x": "number"}}}},
        {"policy": "p", "rules": [{"id": "a", "when": "x", "effect": "stop"}]},
        {"policy": "p"},
        {"calendars": {"c": {"zone": "UTC", "hours": {"monday": "08:00-10:00"}}}},
    ],
)
def test_the_editors_schema_refuses_what_check_refuses(document):
    assert not jsonschema.Draft202012Validator(editor_schema()).is_valid(document)


def test_config_schema_prints_the_schema_and_writes_it(tmp_path):
    assert json.loads(run("schema").output) == editor_schema()
    file = tmp_path / "s.json"
    assert run("schema", "--out", file).exit_code == 0
    assert json.loads(file.read_text()) == editor_schema()


def _typed(value):
    """The kinds of values that configurations have: JSON's."""
    if isinstance(value, dict):
        return {key: _typed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_typed(one) for one in value]
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value


def test_check_and_apply_refuse_labels_that_mature_after_their_cases_expired(tmp_path, monkeypatch):
    text = """models:
  credit:
    labels: {approve: {favourable: true}, decline: {}}
    outcomes: {repaid: {positive: true}, defaulted: {}}
    label_maturity: 179d
"""
    file = tmp_path / "governance.yaml"
    file.write_text(text)
    told = (
        f"{file}:5:21: a label may take 179 days, but cases are remembered for 179: they expire before their labels count; "
        "shorten it, or set GOVERN_LABEL_RETENTION_DAYS (now 180), here and where lanes run, to more than 180"
    )
    for command in ("check", "apply"):  # apply says so before it looks for a broker
        result = run(command, file)
        assert isinstance(result.exception, Misconfigured)
        assert str(result.exception) == told
    with pytest.raises(Misconfigured, match=r"^models\.credit\.label_maturity: a label may take 179 days"):
        asyncio.run(config_topic.apply(Settings(data_dir=tmp_path), load(file)))
    monkeypatch.setenv("GOVERN_LABEL_RETENTION_DAYS", "180.1")
    assert run("check", file).exit_code == 0
    monkeypatch.setenv("GOVERN_LABEL_RETENTION_DAYS", "1")
    file.write_text(text.replace("179d", "21h"))
    assert run("check", file).exit_code == 0
    file.write_text(text.replace("179d", "22h"))
    assert "to more than 1.019" in str(run("check", file).exception)
    file.write_text(
        text.replace("179d", "22h").replace("    outcomes: {repaid: {positive: true}, defaulted: {}}\n", "")
    )
    assert run("check", file).exit_code == 0  # nothing waits
