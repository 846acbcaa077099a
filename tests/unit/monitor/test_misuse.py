"""After-hours calls, strangers and unusual tools: who does it, how soon it is noticed, and what stays quiet."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.after_hours import AfterHours
from agents.monitor.contract import Budget, Judgement, Setting, State, Step, View, merge, of_stretch
from agents.monitor.shares import NAMED, FlaggedShares, coded, usual_share
from agents.monitor.state import packed, unpacked
from agents.monitor.strangers import Strangers
from agents.monitor.tools import UnusualTools

MODEL = Model.model_validate({"calendar": "office", "callers": ["portal", "batch"], "versions": ["1"]})
AGENT = Model.model_validate({"kind": "action"})
HOUR = 3_600_000


def view(columns: dict[str, Any], stretch: int = 250, every_ms: int = 1000) -> View:
    n = len(next(iter(columns.values())))
    types = {"calendar.open": pl.Boolean, "caller_declared": pl.Boolean, "model.version_declared": pl.Boolean}
    series = [pl.Series(name, values, dtype=types.get(name, pl.String)) for name, values in columns.items()]
    number = np.arange(n) // stretch
    return View(pl.DataFrame(series), number, int(number[-1]) + 1 if n else 0, {}, np.arange(n) * every_ms)


def made(kind: type[FlaggedShares], model: Model, profile: State | None = None, **options: Any) -> FlaggedShares:
    read = kind.options_type.model_validate(options)
    return kind(Setting("x", "m", model, read, Budget(1e6), 1.0, profile))


def watched(one: FlaggedShares, seen: View, state: State | None = None) -> tuple[State, list[tuple[int, Judgement]]]:
    """The state, and alarms with the decisions seen until then."""
    state = one.start() if state is None else state
    counts, alarms, n = one.observe(seen), [], 0
    for place in range(seen.stretches):
        rows = int((seen.stretch == place).sum())
        n += rows
        if one.step(state, of_stretch(counts, place), Step(rows, float(rows), n * 1000, -1)):
            alarms += [(n, found) for found in one.judge(state) if found.status == SignalStatus.ALARM]
    return state, alarms


def calls(n: int, seed: int, night: float = 0.0, who: str = "batch", since: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    callers = random.choice(["portal", "batch", "desk"], n, p=[0.6, 0.3, 0.1])
    at_night = (callers == who) & (random.random(n) < night) & (np.arange(n) >= since)
    return {"caller": callers.tolist(), "calendar.open": (~(at_night | (random.random(n) < 0.002))).tolist()}


def test_a_caller_that_works_at_night_is_named_within_some_hundred_decisions() -> None:
    one = made(AfterHours, MODEL)
    _, alarms = watched(one, view(calls(6_000, 1, night=0.3, who="desk", since=3_000), stretch=50))
    first = min(n for n, found in alarms if found.group == "caller=desk")
    assert 3_000 < first <= 3_600
    assert {found.group for _, found in alarms} == {None, "caller=desk"}
    told = alarms[-1][1]
    assert told.estimate is not None
    assert told.onset_ms is not None
    assert 2_900_000 <= told.onset_ms <= 3_400_000
    caller = one.bounded(next(found for _, found in alarms if found.group == "caller=desk"))
    assert caller.lower is not None
    assert caller.lower > 0.01
    assert "of the decisions of desk came outside the opening hours" in one.sentence(caller)


def test_office_hours_raise_no_alarm() -> None:
    state, alarms = watched(made(AfterHours, MODEL), view(calls(20_000, 2)))
    assert alarms == []
    whole = made(AfterHours, MODEL).judge(state)[0]
    assert whole.estimate == pytest.approx(0.002, abs=0.001)
    assert whole.coverage == 1.0


def test_an_exempt_caller_may_work_at_night() -> None:
    one = made(AfterHours, MODEL, exempt=["batch"])
    state, alarms = watched(one, view(calls(5_000, 3, night=1.0)))
    assert alarms == []
    whole = one.judge(state)[0]
    assert whole.coverage is not None
    assert 0.6 < whole.coverage < 0.8


def test_a_night_shift_that_the_profile_knows_is_usual_and_counts_as_clustered() -> None:
    nights = [place % 10 == 9 for place in range(20)]  # two nights of work in twenty days
    columns = {
        "caller": ["batch"] * 4_000,
        "calendar.open": [not nights[row // 200] or row % 2 == 0 for row in range(4_000)],
    }
    section, remarks = AfterHours.fit(view(columns, every_ms=24 * HOUR // 200), MODEL)
    assert section is not None
    assert remarks == ["5.0% of the reference decisions lie outside the opening hours; that much counts as usual"]
    assert section["spread"]["after hours"] > 50
    one = made(AfterHours, MODEL, unpacked(json.loads(json.dumps(packed(section)))))
    assert watched(one, view(columns))[1] == []
    assert one.judge(watched(one, view(columns))[0])[0].guarantee == "rule of thumb"


def test_a_model_without_a_calendar_is_told_so() -> None:
    assert "declare one under `calendars`" in str(AfterHours.applies(Model(), None))


def test_strangers_are_noticed_and_named() -> None:
    random = np.random.default_rng(4)
    unknown = (random.random(2_000) < 0.03) & (np.arange(2_000) >= 1_000)
    columns = {
        "caller": np.where(unknown, random.choice(["mallory", "eve"], 2_000, p=[0.8, 0.2]), "portal").tolist(),
        "caller_declared": (~unknown).tolist(),
        "model.version": ["1"] * 2_000,
        "model.version_declared": [True] * 2_000,
    }
    one = made(Strangers, MODEL)
    state, alarms = watched(one, view(columns, stretch=50))
    assert alarms[0][1].group == "unknown callers"
    assert 1_000 < alarms[0][0] <= 1_300
    told = {found.group: found for found in one.judge(state)}
    assert told["unknown callers"].detail["mallory"] > told["unknown callers"].detail["eve"] > 0
    assert told["undeclared versions"].status == SignalStatus.OK
    assert "came from unknown callers" in one.sentence(told["unknown callers"])


def test_a_version_that_nobody_declared_is_noticed_at_once() -> None:
    columns = {"caller": ["portal"] * 20, "caller_declared": [True] * 20}
    columns |= {"model.version": ["9"] * 20, "model.version_declared": [False] * 20}
    _, alarms = watched(made(Strangers, MODEL), view(columns, stretch=5))
    assert alarms[0][0] <= 10
    assert alarms[0][1].detail["9"] == alarms[0][1].n == 10


def test_only_what_is_declared_can_be_strange() -> None:
    assert "neither `callers` nor `versions`" in str(Strangers.applies(Model(), None))
    assert made(Strangers, Model.model_validate({"versions": ["1"]})).flags == ("undeclared versions",)


def actions(n: int, seed: int, odd: float = 0.0, since: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    callers = random.choice(["clerk", "coder"], n)
    clerk = random.choice(["search", "mail", "pay"], n, p=[0.8, 0.196, 0.004])
    tools = np.where(callers == "clerk", clerk, random.choice(["shell", "search"], n))
    wrong = (callers == "clerk") & (random.random(n) < odd) & (np.arange(n) >= since)
    return {"caller": callers.tolist(), "action.tool": np.where(wrong, "shell", tools).tolist()}


@pytest.fixture(scope="module")
def usual() -> State:
    section, remarks = UnusualTools.fit(view(actions(5_000, 0)), AGENT)
    assert section is not None
    assert remarks == []
    return dict(unpacked(json.loads(json.dumps(packed(section)))))


def test_what_an_agent_usually_does_is_known_by_agent_and_rare_tools_are_unusual(usual: State) -> None:
    assert {name: sorted(tools) for name, tools in usual["usual"].items()} == {
        "clerk": ["mail", "search"],
        "coder": ["search", "shell"],
    }
    assert watched(made(UnusualTools, AGENT, usual), view(actions(10_000, 1)))[1] == []


def test_another_agent_s_tool_is_noticed_though_the_model_uses_it_all_day(usual: State) -> None:
    one = made(UnusualTools, AGENT, usual)
    state, alarms = watched(one, view(actions(4_000, 2, odd=0.05, since=2_000), stretch=50))
    first = min(n for n, found in alarms if found.group == "caller=clerk")
    assert 2_000 < first <= 2_700
    assert one.judge(state)[0].detail["shell"] > 10
    assert all(found.group != "caller=coder" for _, found in alarms)


def test_usual_tools_by_hand_need_no_profile() -> None:
    one = made(UnusualTools, AGENT, usual={"clerk": ["mail"], "*": ["search", "mail"]})
    assert one.ready is None
    columns = {
        "caller": ["clerk", "clerk", "new", None, "new"],
        "action.tool": ["mail", "search", "search", "pay", None],
    }
    assert one.observe(view(columns))["all"].tolist() == [[4, 2]]
    assert "waits for a profile" in str(made(UnusualTools, AGENT).ready)
    assert "kind: action" in str(UnusualTools.applies(Model(), None))


@pytest.mark.parametrize("cut", [1, 333, 999])
def test_counts_do_not_depend_on_batches(cut: int, usual: State) -> None:
    for one, columns in (
        (made(AfterHours, MODEL), calls(1_000, 5, night=0.2)),
        (made(UnusualTools, AGENT, usual), actions(1_000, 5, odd=0.2)),
    ):
        whole = one.observe(view(columns, stretch=10**6))
        parts = [{name: values[part] for name, values in columns.items()} for part in (slice(cut), slice(cut, None))]
        first, second = (one.observe(view(part, stretch=10**6)) for part in parts)
        merged = {key: values.sum(axis=0).tolist() for key, values in merge(first, second).items()}
        assert {key: values.sum(axis=0).tolist() for key, values in whole.items()} == merged


def test_restarted_at_every_step_it_has_the_same_bits() -> None:
    one = made(AfterHours, MODEL)
    seen = view(calls(3_000, 6, night=0.3, since=1_000), stretch=30)
    counts = one.observe(seen)
    straight, restarted = one.start(), one.start()
    for place in range(seen.stretches):
        step = Step(30, 30.0, place, -1)
        changed = one.step(straight, of_stretch(counts, place), step)
        restarted = unpacked(json.loads(json.dumps(packed(restarted))))
        assert one.step(restarted, of_stretch(counts, place), step) == changed
        assert packed(restarted) == packed(straight)
    assert straight["families"]["after hours"]["alarm"].any()


def test_a_hundred_thousand_callers_and_strangers_take_bounded_room() -> None:
    hours, strangers = made(AfterHours, MODEL), made(Strangers, MODEL)
    states = [hours.start(), strangers.start()]
    for block in range(20):
        names = [f"{block}-{row}" for row in range(5_000)]
        columns: dict[str, Any] = {"caller": names, "calendar.open": [True] * 5_000}
        columns |= {"caller_declared": [False] * 5_000, "model.version": ["1"] * 5_000}
        columns |= {"model.version_declared": [True] * 5_000}
        for one, state in zip((hours, strangers), states, strict=True):
            one.step(state, of_stretch(one.observe(view(columns, stretch=10**6)), 0), Step(5_000, 5e3, block, -1))
    assert [len(json.dumps(packed(state))) < 60_000 for state in states] == [True, True]
    assert len(states[1]["named"]["unknown callers"]) == NAMED
    told = hours.judge(states[0])
    assert told[-1].group == "other callers"
    assert told[-1].n == 100_000 - 64


def test_names_are_numbered_nulls_included() -> None:
    codes, names = coded(pl.Series(["b", None, "a", "b"]))
    assert (codes.tolist(), names) == ([2, 0, 1, 2], [None, "a", "b"])
    assert coded(pl.Series(["b", "a"]))[0].tolist() == [1, 0]


def test_a_usual_share_is_a_bound_and_a_margin() -> None:
    found = usual_share(np.array([1_000, 1_000, 10]), np.array([0, 100, 10]))
    assert found[0] == pytest.approx(1.25 * (1 - 0.001 ** (1 / 1000)), rel=1e-6)
    assert 0.15 < found[1] < 0.18
    assert found[2] == 1.0
