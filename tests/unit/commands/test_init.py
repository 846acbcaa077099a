"""`govern init`: from a file that nobody prepared to a configuration that works."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from agents.configuration import Configuration, Source
from agents.policy.testing import run_tests
from orchestration.config_files import load
from orchestration.guessing import guess, is_protected
from orchestration.starter import close_call
from orchestration.tables import banded, mapped
from tests.unit.commands.world import alone, decisions, typed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return alone(tmp_path, monkeypatch)


def test_a_csv_becomes_a_short_configuration_that_checks_and_whose_tests_pass(here, capsys):
    decisions().write_csv("credit.csv")
    said = typed(["init", "credit.csv", "--yes"], capsys)
    text = Path("governance.yaml").read_text()
    assert len(text.splitlines()) <= 25
    configuration = load(Path("governance.yaml"))
    model = configuration.models["credit"]
    assert {name: one.type for name, one in model.features.items()} == {
        "income": "numeric",
        "debt": "numeric",
        "channel": "categorical",
    }
    assert {name: one.favourable for name, one in model.labels.items()} == {"approve": True, "decline": False}
    assert model.groups == {"sex": ("female", "male"), "age": ("under 30", "30 to 44", "45 to 59", "60 and over")}
    assert (model.versions, model.false_alarms, model.arl, model.clock) == (("1", "2"), "1 per year", None, "event")
    assert {"disparate_impact", "data_drift"} <= set(configuration.monitors)
    tested = list(run_tests(configuration))
    assert len(tested) >= 4
    assert all(one.passed for one in tested)
    assert "answer     decision (" in said
    assert "made the key" in said
    assert (here / "keys" / "gim.signer").stat().st_mode & 0o777 == 0o600
    assert "ok: 1 model(s)" in typed(["config", "check", "governance.yaml"], capsys)


def test_nothing_is_overwritten_without_force_and_the_key_is_kept(here, capsys):
    decisions(200).write_csv("credit.csv")
    Path("governance.yaml").write_text("# mine\n")
    said = typed(["init", "credit.csv", "--yes"], capsys, status=1)
    assert "governance.yaml is there already; --force replaces it" in said
    assert Path("governance.yaml").read_text() == "# mine\n"
    typed(["init", "credit.csv", "--yes", "--force"], capsys)
    key = (here / "keys" / "gim.signer").read_text()
    said = typed(["init", "credit.csv", "--yes", "--out", "second"], capsys)
    assert "is there already" in said
    assert (here / "keys" / "gim.signer").read_text() == key
    assert sorted(one.name for one in Path("second").iterdir()) == ["governance.yaml"]


def test_flags_answer_the_questions(here, capsys):
    frame = pl.DataFrame({"a": ["x", "y"] * 50, "b": ["u", "v"] * 50, "who": ["p", "q"] * 50, "n": list(range(100))})
    frame.write_parquet("odd.parquet")
    said = typed(["init", "odd.parquet", "--yes"], capsys, status=1)
    assert "no column looks like the model's answer; give --label with one of a, b, who" in said
    typed(
        ["init", "odd.parquet", "--yes", "--label", "b", "--favourable", "v", "--groups", "who", "--score", "n"], capsys
    )
    model = load(Path("governance.yaml")).models["odd"]
    assert model.labels["v"].favourable
    assert list(model.groups) == ["who"]
    assert list(model.features) == ["a"]
    said = typed(["init", "odd.parquet", "--yes", "--label", "z", "--force"], capsys, status=1)
    assert "there is no column 'z'; there are a, b, who, n" in said


def test_a_name_that_is_no_file_starts_no_kafka(here, capsys):
    said = typed(["init", "credit", "--yes"], capsys, status=1)
    assert "there is no file credit, and no Kafka to look for a topic in; set GOVERN_BOOTSTRAP_SERVERS" in said
    assert not (here / "var").exists()


def test_a_terminal_is_asked_at_most_five_questions(here, capsys, monkeypatch):
    decisions(300).write_csv("credit.csv")
    asked: list[str] = []

    def answer(question: str, default: str = "", **rest: object) -> str:
        asked.append(question)
        return "sex" if "protected" in question else default

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", answer)
    typed(["init", "credit.csv"], capsys)
    assert len(asked) == 5
    assert asked[0] == "Which column is the model's answer?"
    assert list(load(Path("governance.yaml")).models["credit"].groups) == ["sex"]
    asked.clear()
    typed(["init", "credit.csv", "--force", "--label", "decision", "--score", "score", "--time", "at"], capsys)
    assert len(asked) == 2


def test_events_of_the_contract_need_no_mapping(here, capsys):
    with Path("d.ndjson").open("w") as file:
        for row in decisions(400).iter_rows(named=True):
            event = {
                "specversion": "1.0",
                "type": "governance.decision.v1",
                "id": row["request_id"],
                "source": "/s",
                "time": row["at"].isoformat() + "Z",
                "subject": row["client_id"],
                "data": {
                    "model": {"name": "limit", "version": row["model_version"]},
                    "caller": "svc",
                    "features": {"income": row["income"]},
                    "output": {"label": row["decision"], "score": row["score"]},
                    "groups": {"sex": row["sex"]},
                },
            }
            file.write(json.dumps(event) + "\n")
    typed(["init", "d.ndjson", "--yes"], capsys)
    configuration = load(Path("governance.yaml"))
    assert list(configuration.models) == ["limit"]
    assert configuration.sources == ()
    assert list(configuration.models["limit"].features) == ["income"]
    assert list(configuration.models["limit"].callers) == ["svc"]
    assert configuration.models["limit"].groups_in_events
    said = typed(["watch", "d.ndjson", "--no-pictures"], capsys)
    assert "400 decisions of limit" in said


def test_a_decision_without_times_gets_a_budget_in_decisions(here, capsys):
    decisions(600).drop("at").write_csv("credit.csv")
    typed(["init", "credit.csv", "--yes"], capsys)
    model = load(Path("governance.yaml")).models["credit"]
    assert (model.arl, model.clock) == (10_000, "broker")


def test_hostile_names_and_values_still_make_a_configuration_that_loads(here, capsys):
    frame = pl.DataFrame(
        {
            'decision "x": {': ["no", "yes", "off's", "null"] * 30,
            "marital status": ["married: yes", "- single", "#3", "~"] * 30,
            "in come": [float(place) for place in range(120)],
            "{features.z}": [float(place % 50) for place in range(120)],
        }
    )
    frame.write_parquet("a b'c.parquet")
    typed(["init", "a b'c.parquet", "--yes", "--label", 'decision "x": {'], capsys)
    model = load(Path("governance.yaml")).models["a-b-c"]
    assert set(model.labels) == {"no", "yes", "off's", "null"}
    assert set(model.groups["marital status"]) == {"married: yes", "- single", "#3", "~"}


def test_guesses_go_by_names_and_values():
    frame = decisions(500).with_columns(
        pl.Series("years_married", [float(place % 9) for place in range(500)]),
        pl.Series("note", [f"free text {place}" for place in range(500)]),
        pl.Series("nothing", [None] * 500, dtype=pl.Float64),
    )
    found = guess(frame)
    assert (found.label, found.favourable, found.score) == ("decision", "approve", "score")
    assert (found.id, found.subject, found.version, found.time) == ("request_id", "client_id", "model_version", "at")
    assert "years_married" in found.features
    assert set(found.left_out) == {"note", "nothing"}
    assert is_protected("applicant_ethnicity")
    assert not is_protected("mileage")


def test_numbers_of_an_age_are_put_into_the_bands_that_the_model_declares():
    groups = {"age": ["under 30", "30 to 44", "60 and over"]}
    configuration = Configuration.model_validate({"models": {"m": {"groups": groups}}})
    frame = banded(pl.DataFrame({"age": [29.9, 30, 44.9, 50, 60, None]}), configuration)
    assert frame["groups.age"].to_list() == ["under 30", "30 to 44", "30 to 44", None, "60 and over", None]


def test_a_mapping_names_columns_as_on_the_topic():
    source = Source(
        topic="t", model="m", version="7", source="/s", fields={"output.label": "$.a.b", "subject": "$.who"}
    )
    frame = mapped(pl.DataFrame({"a.b": ["x"], "who": ["y"], "z": [1]}), source)
    assert frame.row(0, named=True) == {
        "a.b": "x", "who": "y", "z": 1, "model.name": "m", "model.version": "7", "output.label": "x", "subject": "y",
    }  # fmt: skip


def test_a_close_call_lies_where_the_answer_turns():
    found = guess(decisions())
    close = close_call(decisions(), found)
    assert close is not None
    assert close[0] < 0.5 < close[1]
    assert close[1] - close[0] < 0.1
