"""`govern watch FILE`: what would have been held and alarmed, in words, figures and pictures, the same every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import Signal, SignalStatus
from orchestration import tables
from orchestration.attribute_file import attributes_of
from orchestration.config_files import load
from orchestration.extensions import kinds
from orchestration.watching import Findings, Watching, held
from tests.unit.commands.world import alone, decisions, typed

CONFIGURATION: dict[str, Any] = {
    "models": {
        "credit": {
            "clock": "event",
            "versions": ["1", "2"],
            "features": {"income": "numeric", "debt": "numeric", "channel": "categorical"},
            "labels": {"approve": {"favourable": True}, "decline": {}},
            "groups": {"sex": ["female", "male"]},
        }
    },
    "monitors": {"disparate_impact": {}, "data_drift": {}},
    "sources": [
        {
            "topic": "credit",
            "model": "credit",
            "version": "$.model_version",
            "source": "/credit",
            "fields": {
                "id": "$.request_id",
                "time": "$.at",
                "subject": "$.client_id",
                "output.label": "$.decision",
                "output.score": "$.score",
            },
        }
    ],
    "policies": [
        {
            "policy": "p",
            "rules": [
                {"id": "low", "when": "output.score < 0.05", "effect": "block", "reason": "score {output.score}"},
                {
                    "id": "unequal",
                    "when": "signals.disparate_impact.status = 'alarm' AND output.label = 'decline'",
                    "effect": "hold",
                },
            ],
        }
    ],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = alone(tmp_path, monkeypatch)
    Path("governance.yaml").write_text(json.dumps(CONFIGURATION))
    return folder


def found(frame: pl.DataFrame, **options: Any) -> Findings:
    configuration = Configuration.model_validate(CONFIGURATION)
    mapped = tables.mapped(frame, configuration.sources[0])
    return Watching(mapped, configuration, kinds(), **options).run()


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_csv_is_told_in_words_figures_and_pictures(here, capsys):
    decisions().write_csv("credit.csv")
    said = typed(["watch", "credit.csv"], capsys)
    assert "2,400 decisions of credit (2026-01-01 00:00 to 2026-03-3" in said
    assert "; the first 720 are the reference" in said
    assert "disparate_impact of version 2: " in said
    assert "chance alone goes so far once in " in said
    assert "income has moved to higher values" in said
    signals = [Signal.model_validate(one).data for one in read(Path("watch/signals.ndjson"))]
    alarms = {(one.monitor, one.version, one.group) for one in signals if one.status is SignalStatus.ALARM}
    assert ("disparate_impact", "2", "sex=female") in alarms
    assert ("data_drift", "2", "feature=income") in alarms
    assert {version for _, version, _ in alarms} == {"2"}
    metrics = json.loads(Path("watch/metrics.json").read_text())
    assert metrics["decisions"] == 2_400
    assert sum(metrics["effects"].values()) == 2_400
    assert metrics["reference"] == 720
    assert sorted(one.name for one in Path("watch").iterdir()) == [
        "drift.png",
        "metrics.json",
        "ratio-disparate_impact.png",
        "signals.ndjson",
        "volume.png",
    ]
    for picture in Path("watch").glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 10_000


def test_the_figures_are_those_of_the_file(here):
    frame = decisions()
    result = found(frame)
    final = next(
        one for one in result.final if (one.version, one.group, one.monitor) == ("2", "sex=female", "disparate_impact")
    )
    second = frame.filter(pl.col("model_version") == "2")
    rates = {sex: second.filter(pl.col("sex") == sex)["decision"].eq("approve").mean() for sex in ("female", "male")}
    assert final.estimate == pytest.approx(rates["female"] / rates["male"], rel=0.15)  # since the onset, not since ever
    assert final.lower is not None
    assert final.upper is not None
    assert final.lower < rates["female"] / rates["male"] < final.upper
    low = frame.filter(pl.col("score") < 0.05)
    assert result.rules["p/low"].count == low.height
    assert held(result)["block"] == low.height
    assert result.rules["p/low"].reason == f"score {low['score'][0]}"


def test_rules_see_an_alarm_from_the_block_after_it_and_hold_every_decline_from_there(here):
    frame = decisions()
    result = found(frame)
    alarm = next(one for one in result.turns if one.signal.monitor == "disparate_impact")
    after = frame[alarm.decision :].filter((pl.col("decision") == "decline") & (pl.col("model_version") == "2"))
    assert result.rules["p/unequal"].count == after.height
    assert result.rules["p/unequal"].first >= alarm.decision
    assert set(after["sex"].unique()) == {"female", "male"}


def test_a_quiet_file_is_told_quiet(here, capsys):
    decisions(unfair=False).write_csv("credit.csv")
    said = typed(["watch", "credit.csv", "--no-pictures"], capsys)
    assert "no alarm" in said
    assert "p/unequal" not in said


def test_the_same_file_gives_the_same_bytes_in_any_format_and_order(here, capsys):
    frame = decisions(1_500)
    frame.write_csv("credit.csv")
    frame.sample(fraction=1.0, shuffle=True, seed=3).write_parquet("credit.parquet")
    frame.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).write_ndjson("credit.ndjson")
    written = {}
    for suffix in ("csv", "parquet", "ndjson"):
        typed(["watch", f"credit.{suffix}", "--no-pictures", "--out", suffix], capsys)
        metrics = json.loads(Path(suffix, "metrics.json").read_text())
        digests = metrics.pop("profiles")  # a profile says which file it was fitted on
        assert list(digests) == ["credit"]
        written[suffix] = (Path(suffix, "signals.ndjson").read_bytes(), metrics)
    assert written["csv"] == written["parquet"] == written["ndjson"]


def test_a_profile_that_was_fitted_is_compared_with(here, capsys):
    decisions(2_000, unfair=False).write_csv("train.csv")
    decisions().write_csv("credit.csv")
    said = typed(["profile", "fit", "--data", "train.csv"], capsys)
    digest = said.rsplit("profile: ", 1)[1].strip()
    said = typed(["watch", "credit.csv", "--no-pictures", "--profile", digest], capsys)
    assert "are the reference" not in said
    assert "income has moved to higher values" in said
    assert json.loads(Path("watch/metrics.json").read_text())["profiles"] == {"credit": digest}


def test_without_a_reference_the_monitors_that_need_one_say_that_they_wait(here, capsys):
    decisions(600).write_csv("credit.csv")
    said = typed(["watch", "credit.csv", "--no-pictures", "--reference", "0"], capsys)
    assert "waits credit/data_drift: " in said


def test_attributes_may_come_from_a_file_of_events(here, capsys):
    frame = decisions()
    lines = [
        json.dumps(
            {
                "specversion": "1.0", "type": "governance.attributes.v1", "id": f"a{place}", "source": "/crm",
                "subject": row["client_id"], "data": {"groups": {"sex": row["sex"]}},
            }
        )
        for place, row in enumerate(frame.iter_rows(named=True))
    ]  # fmt: skip
    Path("attributes.ndjson").write_text("\n".join(lines) + "\n\n")
    known = attributes_of(Path("attributes.ndjson"))
    one, other = found(frame), found(frame.drop("sex"), attributes=known)
    assert [each.model_dump() for each in other.final] == [each.model_dump() for each in one.final]
    Path("attributes.ndjson").write_text(lines[0] + "\n{}\n")
    with pytest.raises(Misconfigured, match=r"attributes.ndjson:2: no attributes event: "):
        attributes_of(Path("attributes.ndjson"))


def test_what_really_happened_may_stand_in_a_column(here, capsys):
    document = json.loads(json.dumps(CONFIGURATION))
    document["models"]["credit"] |= {
        "outcomes": {"repaid": {"positive": True}, "defaulted": {}},
        "label_maturity": "5d",
    }
    document |= {"monitors": {"opportunity": {}, "label_coverage": {}}, "policies": []}
    Path("governance.yaml").write_text(json.dumps(document))
    fate = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("defaulted")).otherwise(pl.lit("repaid"))
    frame = decisions(6_000).with_columns(fate.alias("fate"))
    frame.drop("request_id").write_csv("credit.csv")
    said = typed(["watch", "credit.csv", "--outcome", "fate", "--no-pictures"], capsys)
    assert "alarm" in said
    assert "opportunity of version 2: " in said
    metrics = json.loads(Path("watch/metrics.json").read_text())
    found = {(one["monitor"], one["version"], one.get("group")): one for one in metrics["monitors"]}
    assert found["opportunity", "2", "sex=female"]["status"] == "alarm"
    assert found["opportunity", "1", "sex=female"]["status"] == "ok"
    mature = frame.filter(pl.col("model_version") == "2", pl.col("at") <= pl.col("at").max() - pl.duration(days=5))
    assert found["label_coverage", "2", None]["n"] == mature.height
    said = typed(["watch", "credit.csv", "--outcome", "none"], capsys, status=1)
    assert "there is no column 'none' for --outcome" in said


def test_two_models_in_one_file_each_have_their_own_reference_and_figures(here, capsys):
    document = json.loads(json.dumps(CONFIGURATION))
    document["models"] |= dict.fromkeys(("loan", "unused"), document["models"]["credit"])
    document["sources"][0] |= {"model": "$.product"}
    Path("governance.yaml").write_text(json.dumps(document))
    quiet = decisions(unfair=False, seed=4).with_columns(
        pl.lit("loan").alias("product"), pl.concat_str(pl.lit("loan-"), "request_id").alias("request_id")
    )
    pl.concat([decisions().with_columns(pl.lit("credit").alias("product")), quiet]).write_csv("both.csv")
    said = typed(["watch", "both.csv"], capsys)
    assert "4,800 decisions of credit, loan, unused" in said
    metrics = json.loads(Path("watch/metrics.json").read_text())
    alarms = {(one["model"], one["monitor"]) for one in metrics["monitors"] if one["status"] == "alarm"}
    assert alarms == {("credit", "disparate_impact"), ("credit", "data_drift")}
    assert set(metrics["profiles"]) == {"credit", "loan"}
    assert Path("watch/ratio-credit-disparate_impact.png").exists()


def test_broken_events_are_counted_and_the_others_watched(here, capsys):
    events = [
        {
            "specversion": "1.0", "type": "governance.decision.v1", "id": row["request_id"], "source": "/s",
            "time": row["at"].isoformat() + "Z", "subject": row["client_id"],
            "data": {
                "model": {"name": "credit", "version": row["model_version"]},
                "features": {"income": row["income"], "debt": row["debt"], "channel": row["channel"]},
                "output": {"label": row["decision"], "score": row["score"]},
            },
        }
        for row in decisions(300).iter_rows(named=True)
    ]  # fmt: skip
    events[7]["data"]["features"]["income"] = "much"
    Path("d.ndjson").write_text("\n".join([json.dumps(one) for one in events] + ["broken"]) + "\n")
    said = typed(["watch", "d.ndjson", "--no-pictures"], capsys)
    assert "299 decisions of credit" in said
    assert said.count("refused 1: ") == 2


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("no.csv", None, "there is no file no.csv"),
        ("x.xlsx", "x", "ends in none of .csv, .tsv, .parquet, .ndjson"),
        ("x.ndjson", "{\n", "x.ndjson line 1 is no JSON"),
        ("x.parquet", "x", "cannot be read as parquet"),
        ("x.csv", "request_id,at,decision,income\na,soon,approve,1\n", "values that are no time"),
        ("x.csv", "decision,income\n" + "approve,much\n" * 20, "column 'income' is String, not Float64"),
        ("x.csv", "request_id,decision\n", "holds no decision"),
    ],
)
def test_a_file_that_cannot_be_watched_is_named_with_what_is_wrong(here, capsys, name, content, told):
    if content is not None:
        Path(name).write_text(content)
    said = typed(["watch", name, "--no-pictures"], capsys, status=1)
    assert told in said
    assert not Path("watch").exists()


def test_the_configuration_on_disk_is_what_is_used(here):
    assert load(Path("governance.yaml")).monitors == CONFIGURATION["monitors"]


def test_why_groups_are_unknown_is_said_with_what_stands_there_instead(here, capsys):
    frame = decisions(600)
    assert found(frame).unknown == []
    short = frame.with_columns(pl.col("sex").replace({"female": "F", "male": "M"}))
    (told,) = found(short).unknown
    assert "sex is unknown for 100% of the decisions: " in told
    assert "'F'" in told
    assert "'M'" in told
    assert told.endswith(
        "in the column sex are none of its groups female, male; declare them under `groups`, or correct the column"
    )
    empty = frame.with_columns(pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.col("sex")).alias("sex"))
    (told,) = found(empty).unknown
    assert told.endswith("for 80% of the decisions: the column sex is empty there; fill it, or give --attributes")
    bare = frame.drop("sex")
    (told,) = found(bare).unknown
    assert told == (
        "credit: sex is unknown for 100% of the decisions: there is nothing that says it: give a column sex, or --attributes"
    )
    subjects = frame["client_id"].to_list()
    assert found(bare, attributes={one: {"sex": "male"} for one in subjects}).unknown == []
    (told,) = found(bare, attributes={one: {"sex": "male"} for one in subjects[:100]}).unknown
    assert told == (
        "credit: sex is unknown for 83% of the decisions: "
        "--attributes has no record of their subjects, or none of this attribute"
    )
    bare.write_csv("credit.csv")
    said = typed(["watch", "credit.csv", "--config", "governance.yaml"], capsys)
    assert "unknown credit: sex is unknown for 100% of the decisions: there is nothing that says it" in said
    assert "give a column sex" in json.loads(Path("watch/metrics.json").read_text())["unknown"][0]
