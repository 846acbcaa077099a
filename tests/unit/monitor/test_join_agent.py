"""Matured cases become observations, the same bytes after any restart: from a stored copy, an old one, a damaged one, none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from agents.configuration import Configuration
from agents.events import ConfigurationData, ConfigurationEvent
from agents.monitor import case_table
from agents.monitor.agent import AssessAgent
from agents.monitor.assessing import Assessor
from agents.monitor.compilation import compile_monitors
from agents.monitor.contract import Step
from agents.monitor.counting import Counter, arrays
from agents.monitor.join_agent import TALLY, JoinAgent
from agents.monitor.observing import Observer
from agents.records import Message, Plain, collect
from orchestration.case_store import CaseStore
from orchestration.monitor_join import JoinWork, join_inputs
from orchestration.settings import Settings
from orchestration.work import LaneName, Taken
from tests.unit.monitor.test_agent import attributes
from tests.unit.monitor.test_joining import case, outcome

CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "credit": {
                "features": {"product": "categorical?"},
                "labels": {"approve": {"favourable": True}, "decline": {}},
                "groups": {"sex": ["female", "male"]},
                "outcomes": {"paid": {"positive": True}, "default": {}},
                "label_maturity": "10s",
                "arl": 100_000,
            }
        },
        "monitors": {
            "opportunity": {"reference": {"sex": "male"}, "segment_by": ["product"]},
            "false_positive_rate": {},
        },
    }
)
OBSERVATIONS = ("t.observations", 0)


def agent() -> JoinAgent:
    """A lane's agent."""
    return JoinAgent("t", "t.cases", 0, CONFIGURATION, key=b"k", retention_ms=60_000, patience_ms=15_000)


@dataclass(frozen=True)
class Batch:
    """What one step takes."""

    cases: list[Plain]
    outcomes: list[Plain]
    ticks: list[Plain]


def batches(count: int = 24, seed: int = 2) -> list[Batch]:
    """Five seconds each: cases, outcomes of some (early, late, twice, revised, of nobody), and ticks."""
    random = np.random.default_rng(seed)
    found, sent = [], 0
    for number in range(count):
        at = number * 5_000
        cases = [
            case(
                number * 20 + place,
                at + place,
                f"{number}-{place}",
                version=str(1 + place % 2),
                label=str(random.choice(["approve", "decline"])),
                groups={"sex": str(random.choice(["female", "male"]))} if place % 5 else {},
                segments={"features.product": str(random.choice(["loan", "card"]))},
                once=bool(place % 7),
            )
            for place in range(10 if number % 6 != 5 else 0)
        ]
        outcomes = []
        for _ in range(int(random.integers(4, 20))):
            ago = int(random.integers(-1, 4)) if random.random() < 0.9 else int(random.integers(11, 15))
            name = f"{max(0, number - ago)}-{random.integers(0, 12)}"
            what = str(random.choice(["paid", "default"]))
            outcomes.append(outcome(sent, at + sent % 5_000, name, what, int(random.integers(0, 3))))
            sent += 1
        ticks = [Plain("t.ticks", 0, number, at + 4_999, None, b"")] if number % 3 else []
        found.append(Batch(cases, outcomes, ticks))
    return found


def taken(lane: JoinAgent, batch: Batch) -> list[Message]:
    """The observations that a batch gives."""
    return collect(lane.take(batch.cases, batch.outcomes, batch.ticks)).get(OBSERVATIONS, [])


def data_of(messages: list[Message]) -> list[dict[str, Any]]:
    """What the observations say."""
    return [json.loads(value or b"")["data"] for _, value, _ in messages]


def recall(lane: JoinAgent, steps: list[Batch], like: JoinAgent) -> None:
    """Show a new agent what committed steps took, topic by topic."""
    lane.recall(cases=[record for one in steps for record in one.cases])
    lane.recall(outcomes=[record for one in steps for record in one.outcomes])
    lane.recalled(like.now_ms, like.sequence)


@pytest.mark.parametrize("store", ["there", "old", "deleted", "damaged", "cut"])
def test_restarted_at_any_point_with_any_store_the_later_observations_are_the_same_bytes(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_table, "_FIRST", 16)  # so that tables grow, and cases past their retention make room
    steps = batches()
    straight = agent()
    expected: list[tuple[list[Message], int]] = []
    for place, step in enumerate(steps):
        kept = CaseStore(tmp_path / str(place))
        kept.save(straight.join.dump(), {"t.cases/0": place})
        expected.append((taken(straight, step), straight.orphaned))
    assert sum(len(messages) for messages, _ in expected) > 30
    assert sum(orphaned for _, orphaned in expected) > 3
    assert len(straight.join) < 200, "cases were dropped meanwhile"
    for place in range(1, len(steps), 3):
        before = agent()
        for step in steps[:place]:
            taken(before, step)
        kept = CaseStore(tmp_path / str(max(0, place - 5) if store == "old" else place))
        if store == "deleted":
            kept.delete()
        elif store == "damaged":
            data = bytearray(kept.path.read_bytes())
            data[len(data) // 2] ^= 1
            kept.path.write_bytes(data)
        elif store == "cut":
            kept.path.write_bytes(kept.path.read_bytes()[:-5])
        lane, stored = agent(), kept.load()
        assert (stored is None) == (store in ("deleted", "damaged", "cut"))
        lane.load(None if stored is None else stored.kept)
        recall(lane, steps[0 if stored is None else stored.offsets["t.cases/0"] : place], before)
        assert [(taken(lane, step), lane.orphaned) for step in steps[place:]] == expected[place:], place


def test_every_matured_case_is_in_one_observation_and_the_tally_stands_beside_it() -> None:
    lane = agent()
    found = [one for step in batches() for one in data_of(taken(lane, step))]
    found += data_of(taken(lane, Batch([], [], [Plain("t.ticks", 0, 99, 10**6, None, b"")])))
    tally: dict[str, int] = {}
    for one in found:
        for name, count in arrays(one["counts"]).get(TALLY, {}).items():
            tally[name] = tally.get(name, 0) + int(count[0])
    assert sum(one["n"] for one in found) == tally["joined"]
    assert tally["joined"] + tally["unlabelled"] - tally["late"] == 200, "each case is one or the other"
    assert {one["stage"] for one in found} == {"outcomes"}
    assert all(tally.get(name, 0) > 0 for name in ("late", "early", "duplicate", "revised", "to_negative"))
    assert sum(one["once"] for one in found) < tally["joined"]


def test_decisions_become_cases_and_their_outcomes_reach_the_monitors() -> None:
    observer, lane = Observer("t", "t.decisions", 0, CONFIGURATION, key=b"k"), agent()
    decisions, outcomes = [], []
    for number in range(600):
        female, repaid = number % 2 == 0, number % 4 < 2
        event = {
            "specversion": "1.0",
            "type": "governance.decision.v1",
            "id": f"d{number}",
            "source": "/s",
            "subject": f"s{number}",
            "data": {
                "model": {"name": "credit", "version": "1"},
                "features": {"product": "loan" if number % 3 else "card"},
                "output": {"label": "decline" if female and number % 8 else "approve", "score": 0.5},
            },
        }
        decisions.append(Plain("t.decisions", 0, number, number, None, json.dumps(event).encode()))
        outcomes.append(outcome(number, 5_000 + number, f"d{number}", "paid" if repaid else "default"))
    known = attributes({f"s{number}": ("female", "male")[number % 2] for number in range(600)})
    written = collect(observer.take(known, decisions))["t.cases", 0]
    cases = [Plain("t.cases", 0, place, 1_000, key, value) for place, (key, value, _) in enumerate(written)]
    messages = taken(lane, Batch(cases, outcomes, [Plain("t.ticks", 0, 0, 20_000, None, b"")]))
    assert not lane.refused
    assert [one["n"] for one in data_of(messages)] == [250, 250, 100]
    assess = AssessAgent("t", "t.observations", 0, CONFIGURATION)
    records = [Plain("t.observations", 0, at, 20_000, key, value) for at, (key, value, _) in enumerate(messages)]
    list(assess.take(records, []))
    assert not assess.refused
    state = assess.assessors["credit"].states["1", "opportunity"]
    assert state["tables"] == ["sex", "sex|product=card", "sex|product=loan"]
    assert state["watch"]["all_n"].tolist() == [[150, 150], [50, 50], [100, 100]]
    assert state["watch"]["all_k"].tolist() == [[75, 150], [25, 50], [50, 100]]


def test_outcomes_have_all_of_the_budgets_time_though_decisions_and_ticks_have_moved_the_clock_before() -> None:
    document = CONFIGURATION.document()
    del document["models"]["credit"]["arl"]
    watched = compile_monitors(Configuration.model_validate(document))["credit"]
    counter, assessor = Counter(watched, stage="outcomes"), Assessor(watched)
    frame = pl.DataFrame({"output.label": ["approve", "decline"] * 100, "outcome": [1.0] * 200})
    frame = frame.with_columns(pl.lit(None, dtype=pl.String()).alias("features.product"))
    groups = {"sex": np.array([1, 0] * 100)}
    for second in range(1, 4):
        now = second * 1_000
        assessor.take("1", 0, now, {}, now)
        assessor.pass_time(now + 500, now + 500, now + 500)
        [one] = counter.count(frame, ["1"] * 200, np.full(200, now), groups)
        assessor.take("1", one.n, now, one.counts, now, stage="outcomes")
        kept = json.loads(json.dumps(assessor.snapshot()))
        assessor = Assessor(watched)
        assessor.restore(kept)
    evidence = assessor.states["1", "opportunity"]["watch"]["log_m"]
    assert evidence[0, 0].max() > 10, "no weight, no evidence: a gap would never alarm"


def test_outcomes_that_no_case_came_for_are_flagged_with_their_number(tmp_path: Path) -> None:
    settings = Settings(prefix="t", data_dir=tmp_path)
    work = JoinWork(settings, LaneName("t", "join", "t.cases", 0), b"k")
    inputs = join_inputs(settings, 0)
    applied = ConfigurationEvent(
        id="c",
        source="/t",
        data=ConfigurationData(digest=CONFIGURATION.digest(), document=CONFIGURATION.document()),
    )
    config = Plain("t.config", 0, 0, 0, b"current", applied.model_dump_json().encode())
    early = [outcome(number, 1_000, f"nobody-{number}") for number in range(3)]
    later = [case(0, 5 * 86_400_000)]
    written = []
    for config_, cases, outcomes in (([config], [], early), ([], later, [])):
        taken = [
            Taken(one, 0, len(given), given) for one, given in zip(inputs, (config_, cases, outcomes, []), strict=True)
        ]
        written.append(collect(work.decide(taken)))
    assert ("t.flags", 0) not in written[0]
    [(_, value, _)] = written[1]["t.flags", 0]
    flag = json.loads(value or b"")["data"]
    assert (flag["dedup_key"], flag["count"]) == ('["join/orphaned",null,null,null]', 3)


def test_how_many_labels_are_known_is_a_signal_of_its_own() -> None:
    document = CONFIGURATION.document()
    document["monitors"]["labels"] = {"kind": "label_coverage", "least": 0.9}
    lane = JoinAgent("t", "t.cases", 0, Configuration.model_validate(document), key=b"k")
    cases = [case(number, 0, f"c{number}") for number in range(100)]
    known = [outcome(number, 1_000, f"c{number}") for number in range(60)]
    messages = taken(lane, Batch(cases, known, [Plain("t.ticks", 0, 0, 11_000, None, b"")]))
    late = [outcome(60, 12_000, "c60"), outcome(61, 12_000, "c0", "default", 1)]
    messages += taken(lane, Batch([], late, []))
    [monitor] = [one for one in lane.counters["credit"].monitors if one.name == "labels"]
    state = monitor.start()
    for one in data_of(messages):
        monitor.step(state, arrays(one["counts"])["labels"], Step(one["n"], 1.0, one["clock_ms"], 0))
    [said] = monitor.judge(state)
    assert (said.status, said.estimate, said.n) == ("warn", pytest.approx(0.61), 100)
    assert monitor.sentence(said) == (
        "the outcome of 61.0% of 100 mature decisions is known; 1 came after maturity, 1 changed after it"
    )
