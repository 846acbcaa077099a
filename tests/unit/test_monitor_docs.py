"""docs/monitors.md does what it says: its model, its five commands, its configurations and its notebook are run here."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from agents.configuration_yaml import read_configuration
from orchestration.config_files import load
from tests.unit.commands.world import alone, typed
from tests.unit.test_docs import fenced

PAGE = "docs/monitors.md"


def test_five_commands_lead_from_a_model_s_decisions_to_a_finding(tmp_path, monkeypatch, capsys):
    alone(tmp_path, monkeypatch)
    example, _ = fenced(PAGE, "python")
    with threadpool_limits(1):  # on a busy machine threads that wait for one another take long
        exec(compile(example, PAGE, "exec"), {})
    (block,) = fenced(PAGE, "sh")
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert len(commands) == 5
    said = {" ".join(words[:2]): typed(words, capsys) for words in commands}
    assert len(Path("governance.yaml").read_text().splitlines()) <= 25
    assert "protected  disability (limited, none)" in said["init decisions.csv"]
    assert "ok: 1 model(s)" in said["config check"]
    alarm = re.search(
        r"alarm by decision [\d,]+: disparate_impact of version 1: 3\d\.\d% of disability=limited get the favourable "
        r"answer, against 5\d\.\d% of disability=none: ratio 0\.6\d \(0\.\d+ to 0\.\d+\); chance alone goes so "
        r"far 1 in [\d,]+ decisions",
        said["watch decisions.csv"],
    )
    assert alarm is not None
    assert {one.name for one in Path("watch").iterdir()} >= {
        "ratio-disparate_impact.png",
        "signals.ndjson",
        "metrics.json",
    }
    assert (
        "at 500 decisions a day a ratio of 0.70 of disability=limited is noticed after a median"
        in said["monitors plan"]
    )
    assert re.search(r"profile: sha256:[0-9a-f]{64}", said["profile fit"])
    assert json.loads(Path("watch/metrics.json").read_text())["decisions"] == 14_190


@pytest.mark.parametrize("number", [0, 1])
def test_the_configurations_work(number):
    texts = fenced(PAGE, "yaml")
    assert len(texts) == 2
    configuration = read_configuration([(PAGE, texts[number])])
    assert configuration.monitors
    if number == 0:
        assert len(texts[0].splitlines()) == 5


def test_the_notebook_runs(capsys):
    _, notebook = fenced(PAGE, "python")
    exec(compile(notebook, PAGE, "exec"), {})
    assert "disparate_impact" in capsys.readouterr().out


def test_the_plan_s_figures_are_those_of_the_command(tmp_path, monkeypatch, capsys):
    alone(tmp_path, monkeypatch)
    Path("governance.yaml").write_text(
        "models:\n  m: {callers: [c], labels: {y: {favourable: true}, n: {}}, features: {x: numeric}, "
        "groups: {sex: [f, m], age: [a, b]}}\n"
        "monitors: {disparate_impact: {}, strangers: {}, data_drift: {}}\n"
    )
    assert load(Path("governance.yaml")).models["m"].false_alarms == "1 per year"
    page = (Path(__file__).parents[2] / PAGE).read_text()
    command = next(line for line in page.splitlines() if line.strip().startswith("$ govern monitors plan"))
    said = typed(shlex.split(command.strip())[2:], capsys)
    told = re.search(r"at 210 decisions a day .* median (\d+) days \(9 in 10 within (\d+) days\)", page)
    found = re.search(r"at 210 decisions a day .* median (\d+) days \(9 in 10 within (\d+) days\)", said)
    assert told is not None
    assert found is not None
    assert [int(one) for one in found.groups()] == pytest.approx([int(one) for one in told.groups()], rel=0.15)
