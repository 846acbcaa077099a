"""Profiles: fitted from a file, kept by digest, refused when damaged, and plain about how good they are."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from agents.errors import Misconfigured, NotReady
from agents.monitor.profiles import Profile
from orchestration.config_files import load
from orchestration.profile_store import ProfileStore
from tests.unit.commands.world import alone, decisions, typed

MODELS = """
models:
  credit:
    versions: ["1", "2"]
    features: {income: numeric, debt: numeric, channel: categorical}
    labels: {approve: {favourable: true}, decline: {}}
    groups: {sex: [female, male], age: [under 30, "30 to 44", "45 to 59", "60 and over"]}
    outcomes: {repaid: {positive: true}, defaulted: {}}
sources:
  - {topic: t, model: credit, version: $.model_version, source: /credit,
     fields: {id: $.request_id, time: $.at, subject: $.client_id, output.label: $.decision, output.score: $.score}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = alone(tmp_path, monkeypatch)
    Path("governance.yaml").write_text(MODELS)
    return folder


def profile() -> Profile:
    return Profile("credit", 10, {"data_drift": {"a": 1}}, "1", ("small",), "train.csv")


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_what_was_put_is_got_by_its_digest_and_putting_it_again_changes_nothing(tmp_path, kind):
    store = ProfileStore(str(tmp_path / "profiles") if kind == "folder" else f"memory://{uuid4().hex}")
    data = profile().to_bytes()
    digest = store.put(data)
    assert digest == profile().digest
    assert store.put(data) == digest
    assert store.get(digest) == profile()
    assert store.get(digest[:15]) == profile()
    assert store.digests() == [digest]


def test_damaged_bytes_are_refused(tmp_path):
    store = ProfileStore(str(tmp_path))
    digest = store.put(profile().to_bytes())
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"rows":10', b'"rows":11'))
    with pytest.raises(Misconfigured, match="bytes are not those of sha256:"):
        store.get(digest)
    assert store.put(profile().to_bytes()) == digest  # written over: the store heals
    assert store.get(digest) == profile()
    with pytest.raises(Misconfigured, match="damaged"):
        store.put(b"{}")


def test_a_profile_that_is_not_there_is_waited_for_and_a_vague_name_refused(tmp_path):
    store = ProfileStore(str(tmp_path))
    with pytest.raises(NotReady, match="fit it with `govern profile fit`, or set GOVERN_PROFILES"):
        store.get("sha256:" + "0" * 64)
    with pytest.raises(Misconfigured, match=r"0 profiles in .* begin with 'sha256:ab'"):
        store.get("sha256:ab")


def test_fit_prints_the_digest_to_paste_and_says_how_good_the_profile_is(here, capsys):
    frame = decisions(1_200).with_columns(pl.lit(1.0).alias("debt"))
    frame.write_parquet("train.parquet")
    said = typed(["profile", "fit", "--data", "train.parquet", "--model", "credit", "--version", "1"], capsys)
    assert "profile of credit, version 1: 720 decisions of train.parquet" in said
    assert "data_drift" in said
    assert "only 720 decisions" in said
    assert "feature debt is constant" in said
    idle = next(line for line in said.splitlines() if line.startswith("not declared under `monitors:`"))
    assert "volume" in idle
    digest = said.rsplit("profile: ", 1)[1].strip()
    assert [f"sha256:{one.stem}" for one in (here / "var" / "profiles").iterdir()] == [digest]

    again = typed(["profile", "fit", "--data", "train.parquet", "--version", "1"], capsys)
    assert digest in again
    shown = typed(["profile", "show", digest[:20]], capsys)
    assert "profile of credit, version 1: 720 decisions" in shown
    document = json.loads(typed(["profile", "show", digest, "--json"], capsys))
    assert (document["model"], document["rows"], document["version"]) == ("credit", 720, "1")

    text = Path("governance.yaml").read_text().replace("    outcomes:", f"    profile: {digest}\n    outcomes:")
    Path("governance.yaml").write_text(text + "monitors: {data_drift: {}}\n")
    assert load(Path("governance.yaml")).models["credit"].profile == digest
    assert "waits" not in typed(["config", "check", "governance.yaml"], capsys)


def test_a_profile_of_one_version_has_the_volume_of_all(here, capsys):
    decisions(1_200).write_parquet("train.parquet")
    said = typed(["profile", "fit", "--data", "train.parquet", "--version", "1"], capsys)
    found = ProfileStore(str(here / "var" / "profiles")).get(said.rsplit("profile: ", 1)[1].strip())
    assert found.rows == 720
    assert int(found.sections["volume"]["calls"].sum()) == 1_200
    assert int(found.sections["operations"]["missing"]["n"][0]) == 720


def test_mixed_versions_and_unknown_groups_are_remarked(here, capsys):
    decisions(1_000).with_columns(pl.lit(None, dtype=pl.String).alias("sex")).write_csv("train.csv")
    said = typed(["profile", "fit", "--data", "train.csv"], capsys)
    assert "mixes versions 1, 2; `--version` keeps to one" in said
    assert "nobody's sex is known" in said


def test_outcomes_of_a_column_reach_the_monitors_that_compare_them(here, capsys):
    frame = decisions(3_000, unfair=False).with_columns(
        pl.when(pl.col("score") > 0.4).then(pl.lit("repaid")).otherwise(pl.lit("defaulted")).alias("what happened")
    )
    frame.write_csv("train.csv")
    typed(["profile", "fit", "--data", "train.csv", "--outcome", "what happened"], capsys)
    said = typed(["profile", "fit", "--data", "train.csv", "--outcome", "channel"], capsys, status=1)
    assert "no value of 'channel' (" in said
    assert "is a declared outcome" in said
    said = typed(["profile", "fit", "--data", "train.csv", "--outcome", "none"], capsys, status=1)
    assert "there is no column 'none' for --outcome" in said


def test_what_cannot_be_fitted_is_named(here, capsys):
    decisions(100).write_csv("train.csv")
    said = typed(["profile", "fit", "--data", "train.csv", "--version", "9"], capsys, status=1)
    assert "there is no decision of version '9'; there are 1, 2" in said
    said = typed(["profile", "fit", "--data", "train.csv", "--model", "other"], capsys, status=1)
    assert "model 'other' is not declared; there are credit" in said
