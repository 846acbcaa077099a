"""`govern monitors …` and `config check`: kinds, budgets in units people live in, plans, and mistakes with their place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from orchestration.extensions import kinds
from orchestration.noticing import SHIFTS, Question, drift, inequality
from tests.unit.commands.world import alone, decisions, typed

CONFIG = """
models:
  credit:
    versions: ["1", "2"]
    features: {income: numeric, debt: numeric, channel: categorical}
    labels: {approve: {favourable: true}, decline: {}}
    groups: {sex: [female, male]}
    false_alarms: 1 per year
monitors:
  disparate_impact: {share: 3}
  data_drift: {}
  parity: {share: 0}
sources:
  - {topic: t, model: credit, version: $.model_version, source: /credit,
     fields: {id: $.request_id, time: $.at, subject: $.client_id, output.label: $.decision, output.score: $.score}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = alone(tmp_path, monkeypatch)
    Path("governance.yaml").write_text(CONFIG)
    return folder


def test_every_kind_is_listed_with_its_guarantee_its_formula_and_its_options(capsys):
    said = typed(["monitors", "kinds"], capsys)
    for name, kind in kinds().items():
        assert re.search(rf"^{name}  {re.escape(kind.summary)}", said, re.MULTILINE)
        assert f"{kind.guarantee}" in said
    one = typed(["monitors", "kinds", "disparate_impact"], capsys)
    assert "level  An alarm: a group's rate is below this multiple of the reference's. (default 0.8)" in one
    assert "strangers" not in one
    assert "there is no kind 'bias'; there are after_hours" in typed(["monitors", "kinds", "bias"], capsys, status=1)


def test_a_kind_of_somebody_else_is_listed_with_what_it_must_be_told(capsys, monkeypatch):
    from docs.examples.bank_monitors import RoundSums

    monkeypatch.setattr("orchestration.cli.monitors.all_kinds", lambda: {"round_sums": RoundSums})
    said = typed(["monitors", "kinds"], capsys)
    assert "round_sums  Decisions on round sums." in said
    assert "feature  A numeric feature. (must be given)" in said


def test_the_budget_is_told_by_monitor_in_units_that_people_live_in(here, capsys):
    said = typed(["monitors", "budget", "governance.yaml"], capsys)
    assert "credit: all its monitors together may cry wolf once in 1 year" in said
    assert re.search(r"disparate_impact\s+disparate_impact\s+75.0%\s+1.3 years", said)
    assert re.search(r"data_drift\s+data_drift\s+25.0%\s+4 years", said)
    assert re.search(r"parity\s+parity\s+0.0%\s+never: it raises no alarm", said)


def test_a_plan_tells_how_soon_what_is_noticed_at_your_pace(here, capsys):
    said = typed(["monitors", "plan", "governance.yaml", "--per-day", "210", "--share", "0.2", "--rate", "0.5"], capsys)
    told = re.search(
        r"at 210 decisions a day a ratio of 0\.70 of sex=… is noticed after a median (\d+) days \(9 in 10 within (\d+) days\)",
        said,
    )
    assert told is not None
    assert 25 < int(told[1]) < 50
    assert int(told[1]) < int(told[2]) < 100
    assert re.search(r"mean \+ 0\.5 sd\s+\d+ (days|hours) \(", said)
    assert "no plan for parity" in said


def test_a_plan_takes_pace_groups_and_rates_from_decisions(here, capsys):
    decisions(1_800, unfair=False).write_csv("credit.csv")
    said = typed(["monitors", "plan", "governance.yaml", "--data", "credit.csv"], capsys)
    assert "at 20 decisions a day a ratio of 0.70 of sex=" in said
    decisions(600).drop("at").write_csv("timeless.csv")
    said = typed(["monitors", "plan", "governance.yaml", "--data", "timeless.csv"], capsys, status=1)
    assert "no times that tell their pace; give --per-day" in said


def test_planned_delays_are_those_of_the_statistics():
    """The bars of the disparate-impact study, A = 1e6 decisions: 20 %, .5, .50: 1,050 / 1,800; .70: 7,450 / 12,910."""
    half, seventy = inequality(
        [Question(0.2, 0.8, 0.5, ratio, 1e6, 1.0) for ratio in (0.5, 0.7)], horizon=60_000, streams=100
    )
    assert 800 < half.median < 1.4 * 1_050
    assert half.late < 1.4 * 1_800
    assert 5_500 < seventy.median < 1.4 * 7_450
    assert seventy.missed == 0
    (never,) = inequality([Question(0.2, 0.8, 0.5, 1.0, 1e6, 1.0)], horizon=20_000, streams=50)
    assert (never.median, never.missed) == (np.inf, 1.0)


def test_planned_drift_is_that_of_the_statistics():
    """The bars of the drift study, one of 20 features, family threshold 1e6: mean + .25 sd 2,500 / 5,000; + .5 sd 500."""
    found = {str(one): drift(one, 20e6, 1.0, 30_000, streams=60) for one in SHIFTS}
    assert 1_200 < found["mean + 0.25 sd"].median < 1.4 * 2_500
    assert found["mean + 0.5 sd"].median <= 1.4 * 500
    assert found["spread × 1.3"].median <= 1.4 * 1_000


def test_config_check_names_a_monitor_s_mistake_with_its_place_and_mend(here, capsys):
    Path("governance.yaml").write_text(
        CONFIG.replace(
            "  data_drift: {}\n", "  drift: {kind: data_drif}\n  scoring:\n    kind: parity\n    levle: 0.1\n"
        ).replace("{share: 3}", "\n    attributes: [race]")
    )
    said = typed(["config", "check", "governance.yaml"], capsys, status=1)
    lines = Path("governance.yaml").read_text().splitlines()

    def line(text: str) -> int:
        return 1 + next(number for number, one in enumerate(lines) if text in one)

    assert (
        f"governance.yaml:{line('disparate_impact')}:3: model credit cannot be watched by disparate_impact: 'race' is"
        in said
    )
    assert f"governance.yaml:{line('data_drif}')}:17: no kind of monitor 'data_drif'; did you mean data_drift?" in said
    assert f"governance.yaml:{line('levle')}:5: unknown option 'levle'; did you mean level?" in said


def test_config_check_says_which_monitors_wait_for_a_profile(here, capsys):
    said = typed(["config", "check", "governance.yaml"], capsys)
    assert "3 monitor(s)" in said
    assert re.search(r"^credit: data_drift waits: .*`govern profile fit`", said, re.MULTILINE)
