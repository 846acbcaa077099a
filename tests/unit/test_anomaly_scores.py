"""Anomaly scores wherever rules run on files, and what an operator is told where lanes would lack a profile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from agents.configuration import Configuration
from agents.errors import NotReady
from orchestration import config_topic
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings
from tests.unit.commands.world import alone, typed
from tests.unit.unusual import EMPTY, RULE, configuration, event, inputs, profile

ODD = (3, 60, 61)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with decisions of which three are odd, and a configuration whose rule asks how unusual they are."""
    lines = [event(number, one) for number, one in enumerate(inputs(120, 5, odd=ODD))]
    (tmp_path / "decisions.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "one.json").write_bytes(lines[3])
    written(tmp_path, configuration())
    return alone(tmp_path, monkeypatch)


def written(folder: Path, using: Configuration) -> None:
    document = using.document()
    policies = document.pop("policies")
    (folder / "governance.yaml").write_text(yaml.safe_dump_all([document, *policies], sort_keys=False))


def kept(folder: Path, data: bytes) -> Path:
    """The profile in the store; its file."""
    return folder / "var" / "profiles" / (ProfileStore(str(folder / "var" / "profiles")).put(data)[7:] + ".json")


def test_a_replay_of_a_file_holds_what_is_odd_with_and_without_monitors(here, capsys):
    kept(here, profile().to_bytes())
    words = ["replay", "--decisions", "decisions.ndjson", "--config", "governance.yaml", "--out"]
    for out, monitors in (("plain", {}), ("watched", {"misuse": {"kind": "strangers"}})):
        written(here, configuration(monitors=monitors))
        typed([*words, out], capsys)
        verdicts = [json.loads(line)["data"] for line in (here / out / "verdicts.ndjson").read_text().splitlines()]
        assert [one["decision"]["offset"] for one in verdicts if one["effect"] == "hold"] == list(ODD)
    (flag,) = [json.loads(line)["data"] for line in (here / "plain" / "flags.ndjson").read_text().splitlines()]
    assert flag["reason"].startswith("one in 0.000249937515621095 has such an input (0.")


def test_watching_a_file_counts_what_the_rule_would_have_held(here, capsys):
    kept(here, profile().to_bytes())
    for more in ([], ["--profile", profile().digest]):
        said = typed(["watch", "decisions.ndjson", "--no-pictures", *more], capsys)
        assert "odd/unusual" in said
        assert "hold 3" in " ".join(said.split())


def test_explaining_one_decision_shows_its_p_value(here, capsys):
    kept(here, profile().to_bytes())
    said = typed(["policy", "explain", "governance.yaml", "--decision", "one.json"], capsys)
    assert "matched" in said
    assert "anomaly.p_value = 0.000249937515621095" in said
    listed = typed(["policy", "columns", "governance.yaml"], capsys)
    assert "anomaly.score" in listed
    assert "in reasons only" in listed


def test_a_missing_profile_is_told_by_check_and_nothing_is_judged_or_applied_without_it(here, capsys):
    said = typed(["config", "check", "governance.yaml"], capsys)
    assert f"lanes would wait and decide nothing: there is no profile {profile().digest}" in said
    words = ["replay", "--decisions", "decisions.ndjson", "--config", "governance.yaml", "--out", "out"]
    assert "there is no profile" in typed(words, capsys, status=1)
    nowhere = Settings(bootstrap_servers="127.0.0.1:1", data_dir=here / "var")
    with pytest.raises(NotReady, match="there is no profile"):
        asyncio.run(config_topic.apply(nowhere, configuration()))


def test_check_says_where_a_profile_has_no_anomaly_scores_or_was_altered(here, capsys):
    kept(here, EMPTY.to_bytes())
    written(here, configuration(RULE, digest=EMPTY.digest))
    said = typed(["config", "check", "governance.yaml"], capsys)
    assert (
        "loans: its profile has no anomaly scores, so anomaly.p_value and anomaly.score are unknown to its rules"
        in said
    )
    file = kept(here, profile().to_bytes())
    file.write_bytes(file.read_bytes() + b" ")
    written(here, configuration())
    assert "bytes are not those of" in typed(["config", "check", "governance.yaml"], capsys, status=1)
