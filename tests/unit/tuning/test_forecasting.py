"""`govern config check --history`: recorded decisions, routed as incidents are, against what people rule in a day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.errors import Misconfigured
from agents.records import Plain
from agents.timestamps import milliseconds
from orchestration.archive import Archive
from orchestration.cli.main import main
from orchestration.config_files import load
from orchestration.forecasting import forecasts

CONFIG = """\
models:
  credit:
    mode: gate
    features: {amount: numeric}
policies:
  - policy: doubts
    rules:
      - {id: unsure, when: output.score < 0.5, effect: hold, team: lending}
      - {id: large, when: features.amount > 900, effect: hold, severity: critical}
escalation:
  people:
    ann: {name: Ann, roles: [reviewer]}
    ben: {name: Ben, roles: [reviewer]}
    cat: {name: Cat, roles: [viewer]}
  teams:
    lending: {members: [ann, ben, cat]}
    risk: {members: [ben]}
  routes:
    - {severity: critical, to: risk, chain: two}
  chains:
    default: {deadline: 1d, at_deadline: withhold}
    two: {deadline: 1d, at_deadline: withhold, quorum: {people: 2}}
"""

SOURCES = """\
sources:
  - topic: old
    model: credit
    version: "1"
    source: /old
    fields: {id: $.no, features.amount: $.amount, output.score: $.p}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "governance.yaml").write_text(CONFIG)
    lines = []
    for number in range(600):  # three days, 200 a day: half of them unsure, every tenth large
        day, rest = divmod(number, 200)
        minute = rest * 7
        value = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": str(number),
            "source": "/credit",
            "time": f"2026-03-0{2 + day}T{minute // 60:02}:{minute % 60:02}:00Z",
            "data": {
                "model": {"name": "credit", "version": "1"},
                "features": {"amount": 1000 if number % 10 == 1 else 10},
                "output": {"score": 0.4 if number % 2 == 0 else 0.6},
            },
        }
        lines.append(json.dumps(value))
    (tmp_path / "decisions.ndjson").write_text("\n".join(lines))
    return tmp_path


def test_each_team_is_told_what_it_would_be_asked(folder: Path) -> None:
    found = {one.team: one for one in forecasts(load(folder / "governance.yaml"), folder / "decisions.ndjson", 20)}
    assert found["lending"].held == 300
    assert (found["lending"].people, found["lending"].per_day) == (2, 20)
    assert found["lending"].overdue_hour is not None
    assert found["risk"].held == 60
    assert (found["risk"].people, found["risk"].per_day) == (1, 10), "two people must agree: each rules half as many"


def archived(folder: Path) -> Path:
    """The same decisions as an archive has them: of two partitions, some of a lane that started again, of one mapped topic."""
    archive, values = Archive(str(folder / "archive")), (folder / "decisions.ndjson").read_bytes().splitlines()
    records: dict[tuple[str, int], list[Plain]] = {("gim.decisions", 0): [], ("gim.decisions", 1): [], ("old", 0): []}
    for number, value in enumerate(values):
        place = ("old", 0) if number % 5 == 4 else ("gim.decisions", number % 2)
        time_ms = milliseconds(json.loads(value)["time"]) or 0
        body = mapped(json.loads(value)) if place[0] == "old" else value
        records[place].append(Plain(*place, 2 * len(records[place]), time_ms, None, body))
    for (topic, partition), some in records.items():
        for start, stop in ((0, 100), (60, 130), (100, 400)):
            archive.append(topic, partition, some[start:stop])
    return folder / "archive"


def mapped(event: dict[str, Any]) -> bytes:
    """As a producer writes it who knows nothing of us."""
    data = event["data"]
    return json.dumps({"no": event["id"], "amount": data["features"]["amount"], "p": data["output"]["score"]}).encode()


def test_an_archive_is_judged_as_the_stream_that_it_was(folder: Path) -> None:
    """In the order of time over all partitions, each record once, mapped ones as decisions: as the file of the same says."""
    path = folder / "governance.yaml"
    path.write_text(CONFIG + SOURCES)
    expected = forecasts(load(path), folder / "decisions.ndjson", 20)
    assert [(one.team, one.held) for one in expected] == [("lending", 300), ("risk", 60)]
    shares: list[float] = []
    found = forecasts(load(path), archived(folder), 20, progress=shares.append)
    assert found == expected
    assert shares
    assert all(0 <= one <= 1 for one in shares)
    of_one = forecasts(load(path), folder / "archive" / "gim.decisions" / "1", 20)
    assert sum(one.held for one in of_one) == 60, "the odd ones: large, but for those of the mapped topic"


def test_a_decision_that_two_rules_hold_is_asked_of_both_teams(folder: Path) -> None:
    path = folder / "governance.yaml"
    path.write_text(CONFIG.replace("features.amount > 900", "output.score < 0.5"))
    found = forecasts(load(path), folder / "decisions.ndjson", 20)
    assert {one.team: one.held for one in found} == {"lending": 300, "risk": 300}


def test_a_flood_is_an_exit_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["config", "check", str(folder / "governance.yaml"), "--history", str(folder / "decisions.ndjson")]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 1
    told = capsys.readouterr().out
    assert (
        "lending: would hold 100 a day; your 2 reviewers rule about 40; the backlog passes the deadline on day 2"
        in told
    )
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--rulings-per-day", "200"])
    assert left.value.code == 0


def test_nothing_to_read_is_told(folder: Path) -> None:
    with pytest.raises(Misconfigured, match="holds no decisions"):
        forecasts(load(folder / "governance.yaml"), folder / "nowhere")
