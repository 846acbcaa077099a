"""What is published: schemas that are current, examples that fit them, and records of v1 that can be read for ever."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agents.configuration import Configuration
from agents.events import Decision
from agents.examples import EXAMPLES
from agents.frames import Reader
from agents.records import Plain
from agents.schemas import ALL_EVENTS, CHANNELS, asyncapi, json_schemas, type_of
from orchestration.cli import main
from orchestration.cli.schema import files
from orchestration.topics import BY_NAME
from tests.poison import CORPUS, GOOD

ROOT = Path(__file__).parents[3]
GOLDEN = sorted((ROOT / "tests/golden/contract").glob("*.json"))
BY_TYPE = {type_of(event): event for event in ALL_EVENTS}


def test_the_exported_schemas_are_current():
    stored = {path.name: path.read_text("utf-8") for path in (ROOT / "docs/schemas").iterdir()}
    assert stored == files(), "run: govern schema export --out docs/schemas"


def test_every_event_has_a_golden_record():
    assert {json.loads(path.read_bytes())["type"] for path in GOLDEN} == set(BY_TYPE)
    assert {path.name for path in GOLDEN} >= {f"{name}.v1.json" for name in EXAMPLES}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_record_of_v1_is_still_read_and_nothing_of_it_is_lost(path: Path):
    document = json.loads(path.read_bytes())
    event = BY_TYPE[document["type"]].model_validate_json(path.read_bytes())
    told = json.loads(event.model_dump_json(exclude_unset=True, by_alias=True))
    assert told == document  # what v1 gained since is not in it
    jsonschema.validate(document, json_schemas()[document["type"]])


@pytest.mark.parametrize("path", [path for path in GOLDEN if "decision-" in path.name], ids=lambda path: path.stem)
def test_a_golden_decision_is_still_read_by_the_hot_path(path: Path):
    kind = path.stem.removeprefix("decision-").removesuffix(".v1")
    document = json.loads(path.read_bytes())
    model = {"kind": kind, "features": {"limit_bal": "numeric?"}}
    configuration = Configuration.model_validate({"models": {document["data"]["model"]["name"]: model}})
    row = Reader(configuration).row(Plain("gim.decisions", 0, 0, 0, None, path.read_bytes()))
    assert (row["id"], row["event_time_ms"]) == (document["id"], 1_772_442_843_120)
    expected = {"prediction": ("output.score", 0.31), "generation": ("prompt", "Why was my request declined?")}
    name, value = expected.get(kind, ("action.tool", "payments.refund"))
    assert row[name] == value


@pytest.mark.parametrize("case", [case for case in GOOD if not case.headers], ids=lambda case: case.name)
def test_what_the_hot_path_reads_fits_the_published_schema(case):
    if case.name != "an unknown feature of any shape":  # features that no declaration names are ignored, not checked
        jsonschema.validate(json.loads(case.value), json_schemas()["governance.decision.v1"])
        Decision.model_validate_json(case.value)


def test_what_the_published_schema_refuses_the_hot_path_refuses():
    validator = jsonschema.Draft202012Validator(json_schemas()["governance.decision.v1"])
    refused = 0
    for case in (*CORPUS, *GOOD):
        try:
            document = json.loads(case.value or b"")
        except (ValueError, RecursionError):
            continue
        if not case.headers and not validator.is_valid(document) and case.name != "an unknown feature of any shape":
            refused += 1
            assert case.reason, case.name
    assert refused > 30


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_in_the_asyncapi_document_leads_somewhere():
    document = asyncapi()
    found = set(references(document))
    assert len(found) > 20
    for reference in found:
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert isinstance(place, dict)
    assert yaml.safe_load(files()["asyncapi.yaml"]) == document


def test_every_topic_of_the_asyncapi_document_exists_and_holds_known_events():
    assert {channel.topic for channel in CHANNELS} <= set(BY_NAME)
    assert {type_of(event) for channel in CHANNELS for event in channel.events} == set(BY_TYPE)


def test_every_example_is_of_the_event_it_stands_under():
    for name, schema in json_schemas().items():
        assert schema["examples"], name
        for example in schema["examples"]:
            jsonschema.validate(example, schema)


def test_export_writes_the_files_and_check_names_the_stale_one(tmp_path: Path, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["schema", "export", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        main(["schema", "export", "--out", str(tmp_path), "--check"])
    (tmp_path / "governance.tick.v1.schema.json").write_text("{}")
    (tmp_path / "governance.gone.v1.schema.json").write_text("{}")
    with pytest.raises(SystemExit, match="1"):
        main(["schema", "export", "--out", str(tmp_path), "--check"])
    message = capsys.readouterr().err
    assert "governance.tick.v1.schema.json, governance.gone.v1.schema.json" in message.replace("\n", " ")
