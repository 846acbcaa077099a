"""`govern config check --history`: recorded decisions, routed as incidents are, against what people rule in a day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.errors import Misconfigured
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
