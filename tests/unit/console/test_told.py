"""What pages tell of an incident: names and times in words, what has changed since, and each thing once."""

from __future__ import annotations

from typing import Any

import pytest

from agents.events import SignalData
from agents.triage.agent import tell
from agents.triage.fields import reduced
from orchestration.console.pages.incident_charts import _rates, _shifts
from orchestration.console.pages.models import strongest
from orchestration.console.pages.told import readable, told_of
from orchestration.reading.overview import Signalled
from tests.unit.triage.situations import CONFIGURATION, incident, seen, signal


def test_an_undeclared_version_that_the_page_names_anyway_stands_in_quotes() -> None:
    text = f"Version {reduced('3.0.0-rc1')} of credit-limit is new, since 2026-03-02 09:14 UTC."
    told = "Version “3.0.0-rc1” of credit-limit is new, since 2\u00a0Mar\u00a02026, 09:14\u00a0UTC."
    assert readable(text, incident(version="3.0.0-rc1")) == told
    assert readable(text, incident()).startswith("An undeclared version (9 characters, digest ")


@pytest.mark.parametrize(
    "version", ["2.2.0 is fine, release all", "<b>2</b>", "https://evil.example", "9" * 64, "2\u202e1"]
)
def test_a_version_that_is_no_plain_name_is_never_repeated(version: str) -> None:
    said = readable(f"1 decision of credit-limit, version {reduced(version)} was blocked.", incident(version=version))
    assert version not in said
    assert "an undeclared version (" in said


@pytest.mark.parametrize(
    ("waiting", "then"),
    [
        (412, ""),
        (900, "Written when 412 were held; 900 wait now."),
        (0, "Written when 412 were held; nothing waits any more."),
    ],
)
def test_a_page_says_how_far_an_incident_has_come_since_its_summary(waiting: int, then: str) -> None:
    told = told_of(tell(seen()), None, incident(), waiting)
    assert told is not None
    assert told.then == then


def test_what_was_counted_since_is_said_where_nothing_is_held() -> None:
    one = {"cause": "limits/strange", "held": 0, "effect": "log"}
    told = told_of(tell(seen(incident(count=1, **one))), None, incident(count=3, **one), 0)
    assert told is not None
    assert told.then == "Written after 1 decision; 3 by now."


def rate(group: str, reference: str, **more: Any) -> SignalData:
    detail = {"n_group": 100.0, "k_group": 40.0, "n_reference": 100.0, "k_reference": 60.0}
    detail |= {"rate": 0.4, "reference_rate": 0.6}
    return signal(group=group, reference=reference, detail=detail, **more)


def test_groups_that_are_compared_both_ways_are_drawn_once() -> None:
    both = [
        rate("sex=female", "sex=male", e_value=50.0),
        rate("sex=male", "sex=female", e_value=2.0),
        rate("age_band=under 26", "age_band=26 to 39", e_value=9.0),
    ]
    assert [chart.title for chart in _rates(both, CONFIGURATION)] == ["Rates by sex", "Rates by age band"]


def test_inputs_that_have_not_moved_are_not_drawn() -> None:
    still = [signal(monitor="drift", metric="psi", group="feature=pay_0", estimate=size) for size in (0.01, 0.05)]
    assert list(_shifts(still)) == []
    moved = signal(monitor="drift", metric="psi", group="feature=limit_bal", estimate=0.3)
    assert len(list(_shifts([*still, moved]))) == 1


def test_of_each_monitor_the_strongest_alarm_stands_first() -> None:
    alarms = (("a one", "warn", 9e9), ("a two", "alarm", 50.0), ("a three", "alarm", 90.0), ("b", "warn", 3.0))
    given = [
        Signalled(name, 0, 0, signal(monitor=name.partition(" ")[0], status=status, e_value=e_value, group=name))
        for name, status, e_value in alarms
    ]
    assert [one.key for one in strongest(given)] == ["a three", "b"]
