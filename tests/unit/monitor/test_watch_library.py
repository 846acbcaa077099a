"""`from agents.monitor import Watch`: what somebody with decisions in a notebook gets, whatever form they are in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from agents.errors import Malformed, Misconfigured
from agents.events import SignalData, SignalStatus
from agents.monitor import Watch
from agents.monitor.contract import View
from agents.monitor.drift import DataDrift
from agents.monitor.profiles import fit

MODEL: dict[str, Any] = {
    "versions": ["1"],
    "features": {"income": "numeric", "channel": "categorical"},
    "labels": {"approve": {"favourable": True}, "decline": {}},
    "groups": {"sex": ["female", "male"]},
    "groups_in_events": True,
    "arl": 10_000,
}
MONITORS = {"disparate_impact": {}, "parity": {}}
START = datetime(2026, 1, 1, tzinfo=UTC)


def table(count: int = 3_000, women: float = 0.25, men: float = 0.6, seed: int = 1) -> pl.DataFrame:
    """Decisions a row each, a minute apart."""
    random = np.random.default_rng(seed)
    female = random.random(count) < 0.4
    approved = random.random(count) < np.where(female, women, men)
    return pl.DataFrame(
        {
            "id": [f"d{place}" for place in range(count)],
            "time": [START + timedelta(minutes=place) for place in range(count)],
            "subject": [f"c{place}" for place in range(count)],
            "version": ["1"] * count,
            "income": random.normal(size=count).round(3),
            "channel": random.choice(["web", "branch"], count).tolist(),
            "label": np.where(approved, "approve", "decline").tolist(),
            "sex": np.where(female, "female", "male").tolist(),
        }
    )


def events(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """The same as CloudEvents."""
    for row in frame.iter_rows(named=True):
        yield {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": row["id"],
            "source": "/s",
            "time": row["time"].isoformat().replace("+00:00", "Z"),
            "subject": row["subject"],
            "data": {
                "model": {"name": "credit", "version": row["version"]},
                "features": {"income": row["income"], "channel": row["channel"]},
                "output": {"label": row["label"]},
                "groups": {"sex": row["sex"]},
            },
        }


def watch() -> Watch:
    return Watch({"credit": MODEL}, MONITORS)


def said(signals: list[SignalData]) -> list[dict[str, Any]]:
    return [one.model_dump(mode="json") for one in signals]


FORMS = {
    "events": lambda frame: list(events(frame)),
    "texts": lambda frame: [json.dumps(one) for one in events(frame)],
    "bytes": lambda frame: [json.dumps(one).encode() for one in events(frame)],
    "dicts": lambda frame: frame.to_dicts(),
    "nested dicts": lambda frame: [{**row, "features": {"income": row["income"]}} for row in frame.to_dicts()],
    "polars": lambda frame: frame,
    "pandas": lambda frame: pd.DataFrame({name: frame[name].to_list() for name in frame.columns}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_decisions_gives_the_same_signals(form: str) -> None:
    frame = table()
    one, other = watch(), watch()
    expected = one.feed(frame)
    assert said(other.feed(FORMS[form](frame))) == said(expected)
    assert other.report() == one.report()
    assert {each.status for each in expected if each.group == "sex=female"} >= {SignalStatus.ALARM}


def test_a_signal_says_what_how_large_how_strong_and_since_when() -> None:
    found = watch().feed(table())
    alarm = next(one for one in found if one.status is SignalStatus.ALARM and one.monitor == "disparate_impact")
    assert (alarm.group, alarm.reference, alarm.metric) == ("sex=female", "sex=male", "impact_ratio")
    assert alarm.estimate is not None
    assert 0.3 < alarm.estimate < 0.55
    assert alarm.e_value is not None
    assert alarm.e_value >= 10_000
    assert alarm.text is not None
    assert alarm.text.startswith(f"{alarm.detail['rate']:.1%} of sex=female get the favourable answer")


def test_fair_decisions_raise_no_alarm() -> None:
    found = watch().feed(table(women=0.6))
    assert SignalStatus.ALARM not in {one.status for one in found}


def test_the_same_decision_twice_counts_once() -> None:
    frame = table()
    one, other = watch(), watch()
    one.feed(frame)
    for part in (frame[:1_500], frame[1_000:2_000], frame):
        other.feed(part)
    assert other.decisions == one.decisions == 3_000
    assert counted(other) == counted(one)


def test_a_subject_counts_once_in_its_period_however_often_it_asks() -> None:
    frame = table()
    again = frame.with_columns(pl.concat_str(pl.col("id"), pl.lit("-again")).alias("id"))
    one, other = watch(), watch()
    one.feed(frame)
    other.feed(pl.concat([frame, again]).sort("time", maintain_order=True))
    assert other.decisions == 6_000
    assert counted(other) == counted(one)


def test_a_subject_counts_again_in_the_next_period() -> None:
    frame = table(500)
    later = frame.with_columns(pl.col("time") + pl.duration(days=40), pl.concat_str("id", pl.lit("+")).alias("id"))
    one = watch()
    one.feed(frame)
    first = counted(one)
    one.feed(later)
    assert counted(one) == {group: 2 * n for group, n in first.items()}


def counted(one: Watch) -> dict[str | None, float]:
    """Decisions that the impact ratio rests on, by group: all of them, since the beginning."""
    state = one.assessors["credit"].states[("1", "disparate_impact")]
    return dict(zip(("female", "male"), state["watch"]["all_n"][0].tolist(), strict=True))


def test_attributes_by_subject_do_as_well_as_columns() -> None:
    frame = table()
    attributes = {row["subject"]: {"sex": row["sex"]} for row in frame.iter_rows(named=True)}
    one, other = watch(), watch()
    one.feed(frame)
    other.feed(frame.drop("sex"), attributes=attributes)
    assert other.report() == one.report()


def test_who_is_not_known_is_in_no_group_and_lowers_the_coverage() -> None:
    frame = table()
    some = frame.with_columns(pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise(pl.col("sex")).alias("sex"))
    one = watch()
    one.feed(some)
    assert {each.coverage for each in one.signals()} == {0.75}


def test_a_profile_can_be_given_in_the_middle_and_what_was_gathered_is_kept() -> None:
    frame = table(4_000)
    one = Watch({"credit": MODEL}, {"disparate_impact": {}, "data_drift": {}})
    one.feed(frame[:2_000])
    assert list(one.waiting) == ["credit/data_drift"]
    before = counted(one)
    columns = frame[:2_000].select(pl.col("income", "channel").name.prefix("features."))
    declaration = one.configuration.models["credit"]
    view = View(columns, np.zeros(2_000, dtype=np.int64), 1, times_ms=np.arange(2_000) * 60_000)
    one.compare_with({"credit": fit({"data_drift": DataDrift}, view, "credit", declaration)})
    assert one.waiting == {}
    assert counted(one) == before
    moved = frame[2_000:].with_columns(pl.col("income") + 1.5)
    found = one.feed(moved)
    drifted = [each for each in found if each.status is SignalStatus.ALARM and each.monitor == "data_drift"]
    assert any("income" in (each.group or "") for each in drifted)
    assert sum(counted(one).values()) == 4_000


def test_what_cannot_be_read_is_named_with_the_mend() -> None:
    with pytest.raises(Malformed, match="decision 1 is refused"):
        watch().feed([*list(events(table(1))), '{"specversion": "1.0"}'])
    with pytest.raises(Misconfigured, match="column 'income' is String, not Float64"):
        watch_of_income().feed(table(5).with_columns(pl.lit("much").alias("income")))
    with pytest.raises(Misconfigured, match="events, dicts, a Polars or a pandas frame"):
        watch().feed(7)
    with pytest.raises(Misconfigured, match="no kind of monitor 'bias'"):
        Watch({"credit": MODEL}, {"bias": {}})
    with pytest.raises(Misconfigured, match="give a column `model`"):
        Watch({"credit": MODEL, "other": MODEL}, MONITORS).feed(table(5))


def watch_of_income() -> Watch:
    frame = table(1_200)
    one = Watch({"credit": MODEL}, {"data_drift": {}})
    columns = frame.select(pl.col("income", "channel").name.prefix("features."))
    view = View(columns, np.zeros(1_200, dtype=np.int64), 1, times_ms=np.arange(1_200) * 60_000)
    one.compare_with({"credit": fit({"data_drift": DataDrift}, view, "credit", one.configuration.models["credit"])})
    return one


# -- late labels -------------------------------------------------------------------------------------------------------

LATE = {**MODEL, "outcomes": {"repaid": {"positive": True}, "defaulted": {}}, "clock": "event"}


def happened(frame: pl.DataFrame, seed: int = 5) -> dict[str, str]:
    """Everybody repays as often, so women's fewer approvals are unequal opportunity."""
    random = np.random.default_rng(seed)
    return {name: "repaid" if random.random() < 0.7 else "defaulted" for name in frame["id"].to_list()}


def labelled(maturity: str = "0s") -> Watch:
    return Watch({"credit": {**LATE, "label_maturity": maturity}}, {"opportunity": {}, "label_coverage": {}})


OUTCOME_FORMS = {
    "a mapping": lambda outcomes: outcomes,
    "dicts": lambda outcomes: [{"id": name, "outcome": one} for name, one in outcomes.items()],
    "polars": lambda outcomes: pl.DataFrame({"id": list(outcomes), "outcome": list(outcomes.values())}),
    "pandas": lambda outcomes: pd.DataFrame({"id": list(outcomes), "outcome": list(outcomes.values())}),
    "events": lambda outcomes: [
        {
            "specversion": "1.0", "type": "governance.outcome.v1", "id": f"e{name}", "source": "/bank",
            "data": {"decision": {"source": "/", "id": name}, "outcome": one},
        }
        for name, one in outcomes.items()
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", OUTCOME_FORMS)
def test_outcomes_in_any_form_reach_the_monitors_of_late_labels(form: str) -> None:
    frame = table()
    one = labelled()
    one.feed(frame)
    found = one.feed(outcomes=OUTCOME_FORMS[form](happened(frame)))
    alarm = next(each for each in found if each.status is SignalStatus.ALARM)
    assert (alarm.monitor, alarm.group) == ("opportunity", "sex=female")
    repaid = frame.filter(pl.Series([happened(frame)[name] == "repaid" for name in frame["id"].to_list()]))
    state = one.assessors["credit"].states[("1", "opportunity")]
    assert state["watch"]["all_n"][0].tolist() == [
        repaid.filter(pl.col("sex") == sex).height for sex in ("female", "male")
    ]
    (coverage,) = [each for each in one.signals() if each.monitor == "label_coverage"]
    assert (coverage.estimate, coverage.n) == (1.0, 3_000)


def test_a_label_counts_when_it_is_mature_and_a_missing_one_lowers_the_coverage() -> None:
    frame = table()
    outcomes = happened(frame)
    one = labelled("1d")
    one.feed(frame[:1_000], outcomes={name: outcomes[name] for name in frame["id"][:800].to_list()})
    assert ("1", "opportunity") not in one.assessors["credit"].states  # no decision is a day old
    one.feed(frame[1_000:])  # minute by minute to the 3,000th: all but the last 1,440 are
    (coverage,) = [each for each in one.signals() if each.monitor == "label_coverage"]
    assert coverage.n == 3_000 - 1_440
    assert coverage.estimate == pytest.approx(800 / 1_560)


def test_outcomes_that_cannot_be_taken_are_named() -> None:
    with pytest.raises(Misconfigured, match="no model declares `outcomes`"):
        watch().feed(outcomes={"d1": "repaid"})
    with pytest.raises(Malformed, match="no model declares the outcome 'vanished'"):
        labelled().feed(table(50), outcomes={"d1": "vanished"})
    with pytest.raises(Misconfigured, match="outcome 0 lacks `id` or `outcome`"):
        labelled().feed(table(50), outcomes=[{"id": "d1"}])
