"""Calls a minute: fair bets, minutes that observations split, silence, and callers that call too often."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from scipy.stats import poisson

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.call_rate import CallRate, CallRateOptions
from agents.monitor.contract import Budget, Ints, Judgement, Setting, State, Step, View, merge, of_stretch
from agents.monitor.poisson import FASTER, MINUTE_MS, SLOWER, Rates, hour_of, ratio_sequence
from agents.monitor.rates import GRACE_MS, Minutes, fitted, least, most
from agents.monitor.state import packed, unpacked
from tests.studies.misuse import YEAR_MS, rate_alarms

DAY = 20_100 * 1440  # a minute, midnight UTC
NINE = DAY + 9 * 60


def family(allowed: float = 5.0, names: Sequence[str] = ("a",), **more: object) -> Rates:
    settings: dict[str, object] = {"limit": YEAR_MS, "unit": "ms", "names": names, **more}
    return Rates(np.full((len(names), 24), allowed), np.ones(len(names)), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("theta", [*FASTER, *SLOWER])
@pytest.mark.parametrize("allowed", [0.2, 5.0])
def test_no_bet_gains_in_expectation_while_the_rate_is_allowed(theta: float, allowed: float) -> None:
    one = family(allowed, thetas=(theta,))
    x = np.arange(400)
    log_e = one._log_e(x[:, None], np.full((400, 1), allowed), np.zeros(1, dtype=np.bool_))[:, 0, 0]
    rates = np.linspace(0, allowed, 7) if theta > 1 else np.linspace(allowed, 3 * allowed, 7)
    for rate in rates:
        with np.errstate(over="ignore"):
            gain = float(np.exp(poisson.logpmf(x, rate) + log_e).sum())
        assert gain <= 1 + 1e-6
    assert float(np.exp(poisson.logpmf(x, allowed) + log_e).sum()) == pytest.approx(1, abs=1e-6)


def test_strength_is_what_the_formula_says() -> None:
    one = family(2.0, thetas=(3.0,), limit=1e9)
    state = one.start()
    one.close(state, 0, np.array([[4], [0]]))
    first = 60_000 * 3.0**4 * np.exp(-4)
    assert one.judge(state)[0].e_value == pytest.approx((first + 60_000) * np.exp(-4), rel=1e-6)


def test_in_decisions_a_minute_weighs_what_the_minute_before_it_had() -> None:
    one = family(2.0, thetas=(3.0,), unit="decisions", limit=1e9)
    state = one.start()
    one.close(state, 0, np.array([[4], [2]]))
    one.close(state, 2, np.array([[0]]))
    factors = [3.0**calls * np.exp(-4) for calls in (4, 2, 0)]
    assert one.judge(state)[0].e_value == pytest.approx((4 * factors[1] + 2) * factors[2], rel=1e-6)


def test_minutes_closed_at_once_or_one_by_one_come_to_the_same_alarms() -> None:
    random = np.random.default_rng(4)
    calls = np.concatenate([random.poisson(rate, (150, 3)) for rate in (4, 12, 2)])
    told = []
    for chunk in (1, 7, 450):
        one = family(5.0, ("a", "b", "c"))
        state, turns = one.start(), []
        for at in range(0, 450, chunk):
            one.close(state, at, calls[at : at + chunk])
            turns.append(state["alarm"].any())
        told.append([(rate.status, rate.calls, rate.minutes, rate.estimate) for rate in one.judge(state)])
        assert chunk == 450 or any(turns)
    assert told[0] == told[1] == told[2]


def test_false_alarms_at_the_boundary_stay_below_the_bound() -> None:
    alarmed = rate_alarms(2.0, 2.0, streams=300, minutes=1_000, limit_ms=20_000 * MINUTE_MS)
    assert (alarmed > 0).mean() <= 0.08  # the bound is 5 %


def test_three_times_the_rate_is_noticed_in_minutes_against_a_budget_of_one_false_alarm_a_year() -> None:
    alarmed = rate_alarms(15.0, 5.0, streams=100, minutes=30)
    assert (alarmed > 0).all()
    assert np.quantile(alarmed, 0.9) <= 5


def test_the_ratio_s_interval_holds_the_truth() -> None:
    lower, upper = ratio_sequence(np.array([100.0, 0.0]), np.array([50.0, 50.0]))
    assert lower[0] < 2.0 < upper[0]
    assert lower[0] > 1.3
    assert upper[0] < 3.0
    assert lower[1] == 0
    assert upper[1] < 0.2


# -- minutes ---------------------------------------------------------------------------------------------------------------


def told_minutes(
    minutes: Minutes, state: State, counts: dict[int, int], now_minute: int
) -> list[tuple[int, list[int]]]:
    found: dict[str, Ints] = {}
    for minute, calls in counts.items():
        row = found.setdefault(str(minute // 15), np.zeros(15, dtype=np.int64))
        row[minute % 15] += calls
    step = Step(1, 0.0, now_minute * MINUTE_MS + GRACE_MS, -1)
    return [(first, calls[:, 0].tolist()) for first, calls, _ in minutes.take(state, found, step)]


def test_a_minute_closes_when_the_clock_has_passed_it_and_what_comes_later_is_counted_as_late() -> None:
    minutes = Minutes(1)
    state = minutes.start()
    assert told_minutes(minutes, state, {100: 3, 101: 2}, 101) == []
    assert told_minutes(minutes, state, {101: 1}, 101) == []
    assert told_minutes(minutes, state, {103: 5}, 103) == [(101, [3, 0])]
    assert told_minutes(minutes, state, {102: 4}, 103) == []
    assert state["late"] == 4
    assert told_minutes(minutes, state, {}, 104) == [(103, [5])]


def test_a_silence_of_years_costs_no_more_than_a_week() -> None:
    minutes = Minutes(1)
    state = minutes.start()
    told_minutes(minutes, state, {100: 3, 101: 2}, 101)
    step = Step(0, 0.0, 10**7 * MINUTE_MS, -1)
    runs = list(minutes.take(state, {}, step))
    assert sum(len(calls) for _, calls, _ in runs) == 1 + 7 * 1440
    assert [skipped for _, _, skipped in runs].count(True) == 1
    assert state["open"] == {}


def test_a_reference_says_what_each_hour_usually_brings() -> None:
    random = np.random.default_rng(1)
    minutes = np.arange(DAY, DAY + 14 * 1440)
    calls = random.poisson(np.where(hour_of(minutes, 24) < 12, 3.0, 0.5))
    found = fitted(np.repeat(minutes, calls), np.zeros(int(calls.sum()), dtype=np.int64), 1)
    rate = found["calls"][0] / found["minutes"]
    assert rate[:12] == pytest.approx(3.0, rel=0.2)
    assert rate[12:] == pytest.approx(0.5, rel=0.3)
    assert found["phi"][0] == pytest.approx(1, abs=0.05)
    assert found["high"][0, 3] == 6
    assert found["above"][0] / found["minutes"].sum() < 0.05
    assert (most(found, 1.1)[0] > rate).all()
    assert (least(found, 1.1)[0] < rate).all()


def test_bursts_in_the_reference_make_the_counts_weigh_less() -> None:
    random = np.random.default_rng(1)
    minutes = np.arange(DAY, DAY + 14 * 1440)
    calls = 5 * random.poisson(1.0, len(minutes))
    found = fitted(np.repeat(minutes, calls), np.zeros(int(calls.sum()), dtype=np.int64), 1)
    assert found["phi"][0] == pytest.approx(5, rel=0.1)


# -- the monitor -----------------------------------------------------------------------------------------------------------

USUAL = {"portal": 3.0, "batch": 0.5}


def stream(
    days: float, seed: int, start: int = DAY, loud: str = "", since: int = 0, times: float = 1.0
) -> tuple[Ints, list[str]]:
    random = np.random.default_rng(seed)
    minutes = np.arange(start, start + int(days * 1440))
    every, names = [], []
    for name, rate in USUAL.items():
        mean = np.where((minutes >= since) & (name == loud), rate * times, rate)
        at = np.repeat(minutes, random.poisson(mean))
        every.append(at * MINUTE_MS + random.integers(0, MINUTE_MS, len(at)))
        names += [name] * len(at)
    times_ms = np.concatenate(every)
    order = np.argsort(times_ms, kind="stable")
    return times_ms[order], [names[one] for one in order]


def seen(times_ms: Ints, callers: list[str], stretch: int = 50) -> View:
    n = len(callers)
    number = np.arange(n) // stretch
    frame = pl.DataFrame({"caller": pl.Series(callers, dtype=pl.String)})
    return View(frame, number, int(number[-1]) + 1 if n else 0, {}, times_ms)


@pytest.fixture(scope="module")
def profile() -> State:
    section, remarks = CallRate.fit(seen(*stream(7, seed=0, start=DAY - 7 * 1440)), Model())
    assert section is not None
    assert remarks == []
    return dict(unpacked(json.loads(json.dumps(packed(section)))))


def monitor(profile: State | None, **options: object) -> CallRate:
    read = CallRateOptions.model_validate(options)
    return CallRate(Setting("rate", "m", Model(), read, Budget(YEAR_MS, "ms"), 1.0, profile))


def watched(one: CallRate, view: View, reload: bool = False) -> tuple[State, list[tuple[int, Judgement]]]:
    state, alarms = one.start(), []
    counts = one.observe(view)
    for place in range(view.stretches):
        now = int(view.times_ms[view.stretch == place][-1])
        if reload:
            state = unpacked(json.loads(json.dumps(packed(state))))
        if one.step(state, of_stretch(counts, place), Step(50, 0.0, now, -1)):
            alarms += [(now // MINUTE_MS, found) for found in one.judge(state) if found.status == SignalStatus.ALARM]
    return state, alarms


def test_usual_traffic_raises_no_alarm(profile: State) -> None:
    state, alarms = watched(monitor(profile), seen(*stream(4, seed=1)))
    assert alarms == []
    told = {one.group: one for one in monitor(profile).judge(state)}
    assert set(told) == {None, "caller=portal", "caller=batch"}
    assert told["caller=portal"].estimate == pytest.approx(1 / 1.2, rel=0.1)


def test_a_caller_at_five_times_its_rate_is_named_within_the_hour(profile: State) -> None:
    begun = NINE + 1440
    _, alarms = watched(monitor(profile), seen(*stream(2, 2, loud="batch", since=begun, times=5)))
    minute, found = alarms[0]
    assert found.group == "caller=batch"
    assert minute - begun <= 60
    assert found.onset_ms is not None
    assert abs(found.onset_ms // MINUTE_MS - begun) <= 3
    told = monitor(profile).bounded(found)
    assert told.lower is not None
    assert told.estimate is not None
    assert 1 < told.lower < told.estimate
    assert monitor(profile).sentence(found).startswith("batch called ")


def test_counts_do_not_depend_on_how_batches_split_minutes(profile: State) -> None:
    one = monitor(profile)
    times_ms, callers = stream(0.1, seed=3)
    whole = one.observe(seen(times_ms, callers, 10**6))
    for cut in (1, 77, 300):
        parts = [seen(times_ms[:cut], callers[:cut], 10**6), seen(times_ms[cut:], callers[cut:], 10**6)]
        merged = merge(one.observe(parts[0]), one.observe(parts[1]))
        assert {key: values.tolist() for key, values in merged.items()} == {k: v.tolist() for k, v in whole.items()}


def test_restarted_at_every_step_it_has_the_same_bits(profile: State) -> None:
    view = seen(*stream(0.6, seed=4, loud="portal", since=DAY + 300, times=6))
    straight, restarted = (watched(monitor(profile), view, reload) for reload in (False, True))
    assert straight[1]
    assert packed(straight[0]) == packed(restarted[0])


def test_limits_by_hand_need_no_profile_and_reach_callers_nobody_named() -> None:
    one = monitor(None, per_minute={"portal": 6.0, "*": 1.0})
    assert one.ready is None
    times_ms, callers = stream(0.5, seed=5)
    loud = [f"stranger {number}" if name == "portal" else name for number, name in enumerate(callers)]
    _, alarms = watched(one, seen(times_ms, loud))
    assert {found.group for _, found in alarms} == {"other callers"}
    assert "Other callers called" in one.sentence(alarms[0][1])


def test_without_profile_and_limits_it_says_what_it_waits_for() -> None:
    assert "per_minute" in str(monitor(None).ready)


def test_a_hundred_thousand_callers_leave_no_trace_but_their_number(profile: State) -> None:
    one = monitor(profile)
    state = one.start()
    for block in range(10):
        times_ms = np.arange(10_000, dtype=np.int64) + (NINE + block) * MINUTE_MS
        view = seen(times_ms, [f"{block}-{row}" for row in range(10_000)], 10**6)
        one.step(state, of_stretch(one.observe(view), 0), Step(10_000, 0.0, int(times_ms[-1]), -1))
    assert len(json.dumps(packed(state))) < 10_000
