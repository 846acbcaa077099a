"""Data drift: what moved is found and named, what did not stays quiet, and the figures are the textbook's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm

from agents.configuration import Model
from agents.events import SignalStatus
from agents.monitor.contract import Budget, Judgement, Setting, State, Step, View, merge, of_stretch
from agents.monitor.drift import DataDrift, DriftOptions
from agents.monitor.profiles import Profile, fit
from agents.monitor.seasons import BUCKET_MS, STRATA, added_up, strata_of
from agents.monitor.state import packed, unpacked
from agents.monitor.watch import Watch
from tests.studies.drift import BARS, delays, false_alarms

MODEL = Model.model_validate(
    {"features": {"x": "numeric", "y": "numeric?", "c": "categorical?"}, "arl": 1_000_000, "labels": {}}
)
KINDS_HERE = {"data_drift": DataDrift}
MONDAY_MS = 1_772_409_600_000
HOUR_MS = 3_600_000


def rows(count: int, seed: int, shift: float = 0.0, tie: float = 0.0, **columns: Any) -> pl.DataFrame:
    """x normal, y normal with gaps and tied to x by a correlation, c of three levels."""
    random = np.random.default_rng(seed)
    x = random.normal(size=count) + shift
    y = tie * (x - shift) + np.sqrt(1 - tie**2) * random.normal(size=count)
    found: dict[str, Any] = {
        "features.x": x,
        "features.y": np.where(random.random(count) < 0.02, np.nan, y),
        "features.c": random.choice(["a", "b", "c"], count, p=[0.6, 0.3, 0.1]),
        "output.score": norm.cdf(x + 0.5 * random.normal(size=count)),
    }
    return pl.DataFrame(found | columns)


def view(frame: pl.DataFrame, stretch: int = 250, times: Sequence[int] | None = None, once: Any = None) -> View:
    places = np.arange(frame.height) // stretch
    moments = np.full(frame.height, MONDAY_MS) if times is None else np.asarray(times)
    return View(frame, places, int(places[-1]) + 1 if frame.height else 0, times_ms=moments, once=once)


def monitor(options: dict[str, Any] | None = None, reference: View | None = None, limit: float = 1e6) -> DataDrift:
    section, _ = DataDrift.fit(reference or view(rows(5_000, 0), 5_000), MODEL)
    read = DriftOptions.model_validate(options or {})
    return DataDrift(Setting("drift", "m", MODEL, read, Budget(limit), 1.0, section))


def feed(one: DataDrift, seen: View, state: State | None = None) -> State:
    state = one.start() if state is None else state
    counts = one.observe(seen)
    for place in range(seen.stretches):
        at = np.flatnonzero(seen.stretch == place)
        one.step(state, of_stretch(counts, place), Step(len(at), float(len(at)), int(seen.times_ms[at[-1]]), 0))
    return state


def of(judgements: Sequence[Judgement], group: str | None) -> Judgement:
    return next(one for one in judgements if one.group == group)


def alarms(one: DataDrift, state: State) -> list[str | None]:
    return [found.group for found in one.judge(state) if found.status is SignalStatus.ALARM]


def test_an_undrifted_stream_is_quiet_and_a_shift_by_half_a_deviation_is_found_and_named() -> None:
    one = monitor()
    state = feed(one, view(rows(10_000, 1)))
    assert {found.status for found in one.judge(state)} == {SignalStatus.OK}
    state = feed(one, view(rows(1_000, 2, shift=0.5)), state)
    assert alarms(one, state) == [None, "feature=x"]
    found = of(one.judge(state), "feature=x")
    assert found.e_value is not None
    assert found.e_value >= 1e6
    assert found.onset_n == 1_000
    assert found.detail["mean_rank"] == pytest.approx(norm.cdf(0.5 / np.sqrt(2)), abs=0.03)
    assert one.sentence(found).startswith("x has moved to higher values: PSI 0.2")
    assert "moderate" in one.sentence(of(one.judge(state), None))


def test_psi_and_jensen_shannon_are_those_of_the_shares_since_the_onset() -> None:
    one = monitor()
    state = feed(one, view(rows(10_000, 1)))
    drifted = rows(2_000, 3, shift=0.7)
    state = feed(one, view(drifted), state)
    found = of(one.judge(state), "feature=x")
    assert found.n == 2_000
    assert one.reference is not None
    bins = one.reference.binning.bins[0]
    q = np.bincount(bins.codes(drifted["features.x"]), minlength=bins.size) + 0.5
    pi = one.reference.counts[0, : bins.size] + 0.5
    q, pi = q / q.sum(), pi / pi.sum()
    assert found.estimate == pytest.approx(float(((q - pi) * np.log(q / pi)).sum()), abs=1e-9)
    assert found.detail["js"] == pytest.approx(jensenshannon(q, pi) ** 2, abs=1e-9)


def test_an_alarm_ends_when_the_inputs_are_back_and_not_before() -> None:
    one = monitor()
    state = feed(one, view(rows(4_000, 1, shift=0.6)))
    assert "feature=x" in alarms(one, state)
    state = feed(one, view(rows(8_000, 2, shift=0.6)), state)
    assert "feature=x" in alarms(one, state), "still drifted"
    state = feed(one, view(rows(1_000, 3)), state)
    assert "feature=x" in alarms(one, state), "too early to say"
    state = feed(one, view(rows(12_000, 4)), state)
    assert alarms(one, state) == []
    assert "tolerance" in one.clears(of(one.judge(state), "feature=x"))


def test_features_that_part_company_are_found_though_each_keeps_its_distribution() -> None:
    tied = view(rows(5_000, 0, tie=0.6), 5_000)
    one, alone = monitor(reference=tied), monitor({"joint": []}, reference=tied)
    quiet = feed(one, view(rows(6_000, 1, tie=0.6)))
    assert alarms(one, quiet) == []
    state = feed(one, view(rows(3_000, 2)), quiet)
    assert alarms(one, state) == [None, "pair=x & y"]
    found = of(one.judge(state), "pair=x & y")
    assert found.estimate == pytest.approx(0.5, abs=0.03)
    assert found.detail["reference_share"] == pytest.approx(0.5 + math.asin(0.6) / math.pi, abs=0.02)
    assert "x & y go together differently" in one.sentence(found)
    assert "each by itself has moved little" in one.sentence(of(one.judge(state), None))
    assert alarms(alone, feed(alone, view(rows(6_000, 2)))) == []


def test_a_feature_in_alarm_takes_no_pair_with_it() -> None:
    one = monitor(reference=view(rows(5_000, 0, tie=0.6), 5_000))
    state = feed(one, view(rows(6_000, 1, tie=0.6, shift=1.2)))
    assert alarms(one, state) == [None, "feature=x"]
    state = feed(one, view(rows(12_000, 2, tie=0.6)), state)
    assert alarms(one, state) == []


def test_a_night_that_differs_is_no_drift_with_seasons_and_is_one_without() -> None:
    def week(count: int, seed: int) -> View:
        times = MONDAY_MS + np.sort(np.random.default_rng(seed).integers(0, 7 * 24 * HOUR_MS, count))
        night = (times // BUCKET_MS % 4) == 0
        frame = rows(count, seed)
        return view(
            frame.with_columns(pl.Series("features.x", frame["features.x"].to_numpy() + 1.5 * night)), 250, times
        )

    reference = week(20_000, 0)
    section, remarks = DataDrift.fit(reference, MODEL)
    assert any("depending on the hour of the day: x" in one and "seasons: hours" in one for one in remarks)
    assert section is not None
    hours, pooled = monitor({"seasons": "hours"}, reference), monitor(reference=reference)
    assert alarms(hours, feed(hours, week(28_000, 1))) == []
    assert "feature=x" in alarms(pooled, feed(pooled, week(28_000, 1)))
    night = view(rows(3_000, 5), 250, np.full(3_000, MONDAY_MS))
    assert "feature=x" in alarms(hours, feed(hours, night)), "a night like the days is a drift"


def test_strata_are_buckets_of_six_hours_by_weekday_and_add_up() -> None:
    times = MONDAY_MS + np.array([0, 7, 23, 24, 6 * 24 + 18]) * HOUR_MS
    assert strata_of(times).tolist() == [0, 1, 3, 4, 27]
    assert strata_of(times, "hours").tolist() == [0, 1, 3, 0, 3]
    assert strata_of(times, "weekdays").tolist() == [0, 0, 0, 1, 6]
    assert added_up(np.arange(STRATA), "weekdays").tolist() == [6, 22, 38, 54, 70, 86, 102]
    assert added_up(np.arange(STRATA), "none").tolist() == [378]


def test_seasons_need_a_reference_with_times() -> None:
    untimed = view(rows(1_000, 0))
    bare = View(untimed.frame, untimed.stretch, untimed.stretches)
    assert "without times" in (monitor({"seasons": "both"}, bare).ready or "")
    assert monitor(reference=bare).ready is None


def test_gaps_new_levels_and_infinities_are_drift_when_they_come_up() -> None:
    one = monitor()
    random = np.random.default_rng(7)
    fresh = np.where(random.random(5_000) < 0.05, "never seen", rows(5_000, 1)["features.c"].to_numpy())
    gaps = np.where(random.random(5_000) < 0.10, np.nan, rows(5_000, 1)["features.y"].to_numpy())
    infinite = np.where(random.random(5_000) < 0.10, np.inf, rows(5_000, 1)["features.x"].to_numpy())
    for name, values, label in (
        ("c", fresh, "new or rare values"),
        ("y", gaps, "missing"),
        ("x", infinite, "and more"),
    ):
        state = feed(one, view(rows(5_000, 1).with_columns(pl.Series(f"features.{name}", values))))
        assert alarms(one, state) == [None, f"feature={name}"]
        assert label in one.sentence(of(one.judge(state), f"feature={name}"))


def test_identical_rows_and_all_null_rows_are_judged_without_fault() -> None:
    one = monitor()
    same = pl.concat([rows(1, 1)] * 1_000)
    assert "feature=x" in alarms(one, feed(one, view(same)))
    blank = rows(1_000, 1).with_columns(
        pl.lit(None, dtype=pl.Float64).alias("features.x"), pl.lit(None, dtype=pl.String).alias("features.c")
    )
    state = feed(one, view(blank))
    assert {"feature=x", "feature=c"} <= set(alarms(one, state))
    found = of(one.judge(state), "feature=x")
    assert found.detail["missing"] > 0.99
    assert math.isfinite(found.estimate or math.nan)


def test_batches_of_one_merged_or_not_give_the_same_state_as_whole_blocks() -> None:
    one, frame = monitor(), rows(750, 4, shift=0.3)
    blocks = feed(one, view(frame))
    state, merged = one.start(), one.start()
    counts = one.observe(view(frame, 1))
    for place in range(750):
        moment = Step(1, 1.0, MONDAY_MS, 0)
        one.step(state, of_stretch(counts, place), moment)
    for start in range(0, 750, 250):
        total: dict[str, Any] = {}
        for place in range(start, start + 250):
            total = merge(total, of_stretch(counts, place))
        one.step(merged, total, Step(250, 250.0, MONDAY_MS, 0))
    assert json.dumps(packed(state)) == json.dumps(packed(blocks)) == json.dumps(packed(merged))


def test_restarted_in_an_alarm_it_goes_on_to_the_same_bits() -> None:
    one, frame = monitor(), pl.concat([rows(3_000, 1, shift=0.8), rows(9_000, 2)])
    counts = one.observe(view(frame, 125))
    straight, restarted = one.start(), one.start()
    statuses = set()
    for place in range(96):
        step = Step(125, 125.0, MONDAY_MS + place, 0)
        assert one.step(straight, of_stretch(counts, place), step) == one.step(
            restarted, of_stretch(counts, place), step
        )
        restarted = unpacked(json.loads(json.dumps(packed(restarted))))
        assert json.dumps(packed(straight)) == json.dumps(packed(restarted))
        statuses.add(of(one.judge(straight), "feature=x").status)
    assert {SignalStatus.INSUFFICIENT, SignalStatus.OK, SignalStatus.ALARM} <= statuses


def test_a_state_gathered_against_another_reference_starts_anew() -> None:
    state = feed(monitor(), view(rows(2_000, 1)))
    other = monitor(reference=view(rows(6_000, 9), 6_000))
    feed(other, view(rows(250, 2)), state)
    assert state["seen"] == 250


def test_only_the_first_decision_of_a_subject_counts() -> None:
    one, frame = monitor(), rows(1_000, 1)
    once = np.arange(1_000) % 2 == 0
    counts = one.observe(view(frame, 1_000, once=once))
    assert counts["bins 0"].sum() == 500 * 3


def test_chosen_features_and_the_score_only() -> None:
    one = monitor({"features": ["y"], "score": True})
    assert one.columns() == {"features.y", "output.score"}
    state = feed(one, view(rows(4_000, 1, shift=1.0)))
    assert alarms(one, state) == [None, "feature=output.score"]


def test_a_large_psi_without_evidence_for_an_alarm_is_a_warning() -> None:
    one = monitor({"psi_warn": 0.05}, limit=1e300)
    state = feed(one, view(rows(5_000, 1, shift=0.5)))
    assert of(one.judge(state), "feature=x").status is SignalStatus.WARN
    assert of(one.judge(state), None).status is SignalStatus.WARN
    never = monitor({"psi_warn": None}, limit=1e300)
    assert of(never.judge(feed(never, view(rows(5_000, 1, shift=0.5)))), "feature=x").status is SignalStatus.OK


def test_a_profile_says_how_good_it_is() -> None:
    frame = rows(300, 0).with_columns(
        pl.lit(1.0).alias("features.x"),
        pl.lit(None, dtype=pl.Float64).alias("features.y"),
        pl.Series("features.c", [f"v{number % 40}" for number in range(300)]),
    )
    section, remarks = DataDrift.fit(view(frame, 300), MODEL)
    assert section is not None
    told = "\n".join(remarks)
    assert "only 300 reference decisions" in told
    assert "always the same in the reference: x" in told
    assert "always missing in the reference: y" in told
    assert "more than 20 different values: c" in told
    assert "less than about 0.3" in told


def test_options_are_checked_and_a_missing_profile_is_said() -> None:
    assert "no feature" in (DataDrift.applies(MODEL, DriftOptions(features=("z",))) or "")
    assert "declares no `features`" in (DataDrift.applies(Model(), DriftOptions()) or "")
    bare = DataDrift(Setting("drift", "m", MODEL, DriftOptions(), profile=None))
    assert "govern profile fit" in (bare.ready or "")


def test_a_watch_with_a_profile_signals_what_has_moved() -> None:
    profile = fit(KINDS_HERE, view(rows(5_000, 0), 5_000), "m", MODEL)
    profile = Profile.of_bytes(profile.to_bytes(), profile.digest)
    watch = Watch({"m": MODEL}, {"data_drift": {}}, profiles={"m": profile})
    named = {"model": "m", "version": "1"}
    frames = [rows(3_000, 1), rows(1_000, 2, shift=0.8)]
    frames = [one.with_columns(pl.lit(value).alias(name) for name, value in named.items()) for one in frames]
    assert all(one.status is not SignalStatus.ALARM for one in watch.feed(frames[0], now=MONDAY_MS))
    found = [one for one in watch.feed(frames[1], now=MONDAY_MS + HOUR_MS) if one.status is SignalStatus.ALARM]
    assert [one.group for one in found] == [None, "feature=x"]
    assert (found[1].metric, found[1].guarantee) == ("psi", "proved")
    assert "x has moved to higher values" in (found[1].text or "")


def test_delays_and_false_alarms_are_those_of_the_bars_on_a_few_streams() -> None:
    half = delays(BARS[1], 4)
    assert half.median <= 1.4 * half.case.median
    assert (half.missed, half.early, half.named) == (0, 0, 1.0)
    assert false_alarms(2, 10_000, limit=1e4) == 0
