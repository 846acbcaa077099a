"""`govern monitors …` and `config check`: kinds, budgets in units people live in, plans, and mistakes with their place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from agents.monitor.after_hours import AfterHours
from agents.monitor.bernoulli import Bernoulli
from agents.monitor.contract import Step
from orchestration.cli.monitor_plan import Pace, rises_of
from orchestration.cli.monitors import watched_of
from orchestration.config_files import load
from orchestration.extensions import kinds
from orchestration.noticing import SHIFTS, Question, drift, inequality, rising
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
    assert "credit, parity: no plan: it raises no alarm (share 0)" in said


def test_a_plan_takes_pace_groups_and_rates_from_decisions(here, capsys):
    decisions(1_800, unfair=False).write_csv("credit.csv")
    said = typed(["monitors", "plan", "governance.yaml", "--data", "credit.csv"], capsys)
    assert "at 20 decisions a day a ratio of 0.70 of sex=" in said
    decisions(600).drop("at").write_csv("timeless.csv")
    said = typed(["monitors", "plan", "governance.yaml", "--data", "timeless.csv"], capsys, status=1)
    assert "no times that tell their pace; give --per-day" in said


MORE = """
calendars:
  office: {zone: Europe/Berlin, hours: {mon-fri: ["08:00-18:00"]}}
models:
  credit:
    callers: [portal]
    features: {income: numeric}
    labels: {approve: {favourable: true}, decline: {}}
    groups: {sex: [female, male]}
    outcomes: {repaid: {positive: true}, defaulted: {}}
    label_maturity: 30d
    calendar: office
monitors:
  parity: {}
  scoring_rate: {}
  opportunity: {}
  false_positive_rate: {}
  after_hours: {allowed: 0.05}
  strangers: {}
  operations: {}
  volume: {}
"""


def test_a_plan_says_how_soon_of_rates_outcomes_and_shares_and_why_not_of_the_rest(here, capsys):
    Path("governance.yaml").write_text(MORE)
    said = typed(["monitors", "plan", "governance.yaml", "--per-day", "2000"], capsys)
    for monitor, what in {
        "parity": "a difference of 0.15",
        "scoring_rate": "a ratio of 0.70",
        "opportunity": "a ratio of 0.70",
        "false_positive_rate": "a ratio of 1.43",
    }.items():
        assert re.search(
            rf"credit, {monitor}: median.*\n.*\n.*\nat 2,000 decisions a day {what} of sex=… is noticed", said
        )
    assert re.search(r"after hours +0\.05 +\d+ hours", said)
    assert re.search(r"unknown callers +0\.001 +\d+ days", said)
    assert re.search(r"without a feature +0\.02 +\d+ hours", said)
    assert (
        "credit, volume: no plan: how soon a silence shows depends on how many decisions the hour usually has" in said
    )
    assert "if outcomes of 100% of the decisions are known (--labelled) and 30 days after their decisions" in said


def test_where_a_higher_rate_is_the_harm_the_lowest_one_is_the_reference(here, capsys):
    Path("governance.yaml").write_text(
        MORE[: MORE.index("  parity")] + "  opportunity: {}\n  false_positive_rate: {}\n"
    )
    rates = np.where(np.arange(1_000) % 2, 0.2, 0.4)  # of women and of men
    frame = pl.DataFrame(
        {
            "time": np.datetime64("2026-01-01", "ms") + np.arange(1_000) * np.timedelta64(3_600_000, "ms"),
            "label": np.where(np.random.default_rng(0).random(1_000) < rates, "approve", "decline").tolist(),
            "sex": ["male", "female"] * 500,
        }
    )
    frame.write_csv("credit.csv")
    said = typed(["monitors", "plan", "governance.yaml", "--data", "credit.csv"], capsys)
    assert re.search(r"sex=female +50\.0% +\d\d% of sex=male", said)  # opportunity
    assert re.search(r"sex=male +50\.0% +\d\d% of sex=female", said)


def test_what_waits_for_outcomes_is_noticed_after_they_are_mature_and_later_where_few_are_known(here, capsys):
    Path("governance.yaml").write_text(MORE[: MORE.index("  parity")] + "  opportunity: {}\n")

    def days(*more: str) -> int:
        said = typed(["monitors", "plan", "governance.yaml", "--per-day", "500", *more], capsys)
        found = re.search(r"is noticed after a median (\d+) days", said)
        assert found is not None
        return int(found[1])

    every, fifth, rarely = days(), days("--labelled", "0.2"), days("--positive", "0.2")
    assert 30 < every < 70
    assert fifth - 30 > 3 * (every - 30)
    assert rarely > every


def test_planned_rises_are_those_of_the_monitor_itself(here):
    """The family that judges, fed one stream after the other, against the streams side by side."""
    Path("governance.yaml").write_text(MORE)
    monitor = next(
        one for one in watched_of(load(Path("governance.yaml")))["credit"].monitors if one.name == "after_hours"
    )
    assert isinstance(monitor, AfterHours)
    rise = rises_of(monitor, Pace(2_000))["after hours"]
    (planned,) = rising(rise, [2.0], 20_000)
    random, family, found = np.random.default_rng(7), monitor.families["after hours"], []
    alone = Bernoulli(rise.allowed, rise.limit, names=[""], share=rise.part, spread=rise.spread)
    one, other, step = family.start(), alone.start(), Step(25, 25 * rise.weight, 0, -1)
    family.take(one, {"": (25, 5)}, step)
    alone.step(other, np.array([25]), np.array([5]), step)
    assert family.judge(one)[0].e_value == pytest.approx(alone.judge(other)[0].e_value)
    for _ in range(25):
        state, seen = family.start(), -4_000
        while not state["alarm"].any():
            share = rise.allowed / 2 if seen < 0 else rise.allowed * 2
            family.take(state, {"": (25, int(random.binomial(25, share)))}, step)
            seen += 25
        found.append(seen)
    assert 0.75 * planned.median < np.median(found) < 1.33 * planned.median


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
