"""Volume: too many and too few decisions of all versions together, silence while it lasts, and days that are closed."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from agents.configuration import Calendar, Model
from agents.events import SignalStatus
from agents.monitor.contract import Budget, Ints, Judgement, Setting, State, Step, View, merge, of_stretch
from agents.monitor.state import packed, unpacked
from agents.monitor.volume import FEWER, MORE, Volume
from agents.policy.calendars import OpenHours
from tests.studies.misuse import YEAR_MS

MODEL = Model()
DAY = 20_101 * 1440  # a minute: Monday 2025-01-13, midnight UTC
MINUTE = 60_000
BERLIN = Calendar.model_validate(
    {"zone": "Europe/Berlin", "hours": {"mon-fri": "08:00-18:00"}, "holidays": "DE", "closed": ["2025-01-15"]}
)


def clock(days: float, seed: int, times: float = 1.0, since: int = 0, start: int = DAY + 540) -> Ints:
    """Decisions: 4 a minute by day, one in two minutes at night; `times` as many from the minute `since` on."""
    random = np.random.default_rng(seed)
    minutes = np.arange(start, start + int(days * 1440))
    usual = np.where((minutes // 60 % 24 >= 8) & (minutes // 60 % 24 < 18), 4.0, 0.5)
    at = np.repeat(minutes, random.poisson(np.where(minutes >= since, usual * times, usual)))
    return np.sort(at * MINUTE + random.integers(0, MINUTE, len(at)))


def view(times_ms: Ints, calendar: OpenHours | None = None) -> View:
    height = len(times_ms)
    stretch = np.zeros(height, dtype=np.int64)
    return View(pl.DataFrame(height=height), stretch, min(height, 1), {}, times_ms, None, calendar)


@pytest.fixture(scope="module")
def profile() -> State:
    section, remarks = Volume.fit(view(clock(14, 0, start=DAY - 14 * 1440)), MODEL)
    assert section is not None
    assert list(remarks) == []
    return dict(unpacked(json.loads(json.dumps(packed(section)))))


def made(profile: State | None, calendar: OpenHours | None = None, **options: Any) -> Volume:
    read = Volume.options_type.model_validate(options)
    return Volume(Setting("volume", "m", MODEL, read, Budget(YEAR_MS, "ms"), 1.0, profile, calendar))


def live(
    one: Volume, times_ms: Ints, until: int, reload: bool = False, every: int = 1
) -> tuple[State, list[tuple[int, Judgement]]]:
    """A step `every` minutes, with or without decisions; alarms with the minute."""
    state, alarms = one.start(), []
    moments = np.arange(int(times_ms[0]) // MINUTE, until + every, every)
    cuts = np.searchsorted(times_ms, moments * MINUTE)
    for now, (a, b) in zip(moments[1:].tolist(), pairwise(cuts.tolist()), strict=True):
        counts = of_stretch(one.observe(view(times_ms[a:b])), 0) if b > a else {}
        if reload:
            state = unpacked(json.loads(json.dumps(packed(state))))
        if one.step(state, counts, Step(b - a, float(MINUTE * every), now * MINUTE, -1)):
            alarms += [(now, found) for found in one.judge(state) if found.status == SignalStatus.ALARM]
    return state, alarms


def test_a_usual_day_raises_no_alarm(profile: State) -> None:
    one = made(profile)
    state, alarms = live(one, clock(1, 1), DAY + 1980)
    assert alarms == []
    told = {found.group: found for found in one.judge(state)}
    assert told[MORE].status == told[FEWER].status == SignalStatus.OK
    assert one.sentence(one.bounded(told[MORE])).startswith("Decisions came at 0.")


def test_silence_by_day_is_noticed_within_ten_minutes_though_no_decision_comes(profile: State) -> None:
    stop = DAY + 600
    times_ms = clock(0.3, 3)
    _, alarms = live(made(profile), times_ms[times_ms < stop * MINUTE], stop + 120)
    minute, found = alarms[0]
    assert found.group == FEWER
    assert stop < minute <= stop + 10
    assert found.onset_ms is not None
    assert abs(found.onset_ms // MINUTE - stop) <= 2
    assert "none for" in made(profile).sentence(found)


def test_silence_at_night_takes_longer_because_it_is_usual(profile: State) -> None:
    stop = DAY + 1440 + 120
    times_ms = clock(0.3, 4, start=DAY + 1320)
    _, alarms = live(made(profile), times_ms[times_ms < stop * MINUTE], stop + 300)
    assert stop + 20 < alarms[0][0] <= stop + 90


@pytest.mark.parametrize(("times", "group"), [(2.0, MORE), (0.5, FEWER)])
def test_twice_or_half_as_many_decisions_are_noticed_within_the_hour(times: float, group: str, profile: State) -> None:
    begun = DAY + 600
    _, alarms = live(made(profile), clock(0.2, 5, times, begun), DAY + 800)
    assert alarms[0][1].group == group
    assert begun < alarms[0][0] <= begun + 90


def test_an_alarm_for_silence_ends_when_decisions_come_again(profile: State) -> None:
    stop, again = DAY + 600, DAY + 660
    times_ms = clock(0.3, 6)
    kept = times_ms[(times_ms < stop * MINUTE) | (times_ms >= again * MINUTE)]
    state, alarms = live(made(profile), kept, DAY + 900)
    assert alarms
    assert {found.group: found.status for found in made(profile).judge(state)}[FEWER] == SignalStatus.OK


def test_without_a_profile_it_waits() -> None:
    assert "waits for a profile" in str(made(None).ready)
    section, remarks = Volume.fit(view(clock(0.5, 7)), MODEL)
    assert section is None
    assert ["less than a day" in one for one in remarks] == [True]


def test_counts_do_not_depend_on_batches(profile: State) -> None:
    one, times_ms = made(profile), clock(0.2, 8)
    expected = {key: values.sum(axis=0).tolist() for key, values in one.observe(view(times_ms)).items()}
    for cut in (1, 100):
        merged = merge(one.observe(view(times_ms[:cut])), one.observe(view(times_ms[cut:])))
        assert {key: values.sum(axis=0).tolist() for key, values in merged.items()} == expected


def test_restarted_at_every_step_it_has_the_same_bits(profile: State) -> None:
    times_ms, until = clock(0.3, 9, times=3.0, since=DAY + 600), DAY + 700
    straight, restarted = (live(made(profile), times_ms, until, reload) for reload in (False, True))
    assert straight[1]
    assert packed(straight[0]) == packed(restarted[0])


# -- days on which business does not open ----------------------------------------------------------------------------------


def open_days(days: float, seed: int, start: int) -> Ints:
    """Decisions as usual on the days on which the calendar opens, none on others."""
    times_ms = clock(days, seed, start=start)
    return times_ms[~OpenHours("berlin", BERLIN).shut(times_ms)]


@pytest.fixture(scope="module")
def office() -> State:
    section, _ = Volume.fit(view(open_days(14, 10, DAY - 14 * 1440), OpenHours("berlin", BERLIN)), MODEL)
    assert section is not None
    return section


@pytest.mark.parametrize(("day", "what"), [(2, "a closed day"), (5, "a weekend"), (-12, "a public holiday")])
def test_silence_on_a_day_that_does_not_open_is_no_alarm(day: int, what: str, office: State) -> None:
    hours = OpenHours("berlin", BERLIN)
    assert hours.shut(np.array([(DAY + day * 1440 + 600) * MINUTE])).tolist() == [True], what
    seen, until = open_days(0.5, 11, DAY + day * 1440 - 720), DAY + day * 1440 + 1380  # 23:00 UTC is midnight in Berlin
    state, alarms = live(made(office, hours), seen, until, every=5)
    assert alarms == []
    told = next(one for one in made(office, hours).judge(state) if one.group == FEWER)
    assert told.detail["minutes_since_last"] > 1_400
    assert live(made(office), seen, until, every=5)[1][0][1].group == FEWER, "without the calendar it alarms"


def test_silence_on_the_next_open_day_is_noticed(office: State) -> None:
    seen = open_days(0.5, 12, DAY + 2160)  # Tuesday's afternoon; Wednesday is closed; nobody comes on Thursday
    _, alarms = live(made(office, OpenHours("berlin", BERLIN)), seen, DAY + 4 * 1440, every=10)
    minute, found = alarms[0]
    assert found.group == FEWER
    assert DAY + 3 * 1440 - 60 < minute < DAY + 3 * 1440 + 120


def test_an_alarm_for_silence_stands_over_closed_days(office: State) -> None:
    seen = open_days(0.2, 13, DAY + 1440 + 540)  # silent from Tuesday, 13:48 on
    hours = OpenHours("berlin", BERLIN)
    state, alarms = live(made(office, hours), seen, DAY + 2 * 1440 + 900, every=5)
    assert DAY + 1440 + 828 < alarms[0][0] <= DAY + 1440 + 845
    assert {one.group: one.status for one in made(office, hours).judge(state)}[FEWER] == SignalStatus.ALARM


def test_closed_days_are_no_part_of_the_reference(office: State, profile: State) -> None:
    assert office["calls"][0, 10] / office["minutes"][10] == pytest.approx(4.0, rel=0.05)
    assert office["minutes"][10] == 9 * 60  # of two weeks: Monday to Friday but New Year
    assert profile["minutes"][10] == 14 * 60
    section, remarks = Volume.fit(view(clock(1.5, 14, start=DAY + 5 * 1440), OpenHours("berlin", BERLIN)), MODEL)
    assert section is None
    assert ["no reference decision lies on a day on which the calendar opens" in one for one in remarks] == [True]


def test_hours_that_the_reference_has_not_are_not_judged() -> None:
    whole = view(open_days(35, 15, DAY - 35 * 1440), OpenHours("berlin", BERLIN))  # hours of the week
    section, _ = Volume.fit(whole, MODEL)
    assert section is not None
    saturday = clock(0.5, 16, times=5.0, start=DAY + 5 * 1440 + 300)
    assert live(made(section), saturday, DAY + 5 * 1440 + 1000, every=10)[1] == []
