"""The figures of `govern stats`: of what people really judged, with intervals, and nothing else."""

from __future__ import annotations

import math

import pytest

from orchestration.cli.stats import document
from orchestration.reading.database import Database
from orchestration.reading.silences import silences
from orchestration.reading.stats import Backlog, stats
from orchestration.settings import Settings
from tests.unit.reading.world import DAY, HOUR, MINUTE, RULE, T0, World, folded


@pytest.fixture
def world(settings: Settings) -> World:
    found = World(settings.prefix)
    rules = [{"id": "no-decline", "when": "output.label = 'decline'", "effect": "hold"}]
    policies = [{"policy": "lending", "rules": rules}]
    found.configuration({"models": {"credit-limit": {"mode": "gate"}}, "policies": policies})
    return found


def test_precision_is_of_what_people_looked_at(database: Database, world: World) -> None:
    for offset in range(20):
        world.holds(offset, T0)
    made = world.incident(through={f"{world.name('decisions')}/0": 20})
    kinds = [("approved", "individual", 0, 6), ("rejected", "individual", 6, 8), ("edited", "individual", 8, 10)]
    kinds += [("rejected", "bulk", 10, 15), ("expired", None, 15, 18), ("responded", "individual", 18, 18)]
    for number, (resolution, kind, start, stop) in enumerate(kinds):
        ruling = world.ruling(made, number, resolution, T0 + number * MINUTE, kind=kind)
        for offset in range(start, stop):
            world.final(offset, resolution, ruling, T0 + HOUR)
    folded(database, world)
    found = stats(database, T0 + DAY, T0 - DAY)
    (one,) = found.rules
    assert (one.name, one.right.n, one.right.value) == (RULE, 10, 0.4)
    assert one.right.lower == pytest.approx(0.1216, abs=1e-4)  # Clopper and Pearson, 4 of 10
    assert one.right.upper == pytest.approx(0.7376, abs=1e-4)
    assert dict(found.left_out) == {"bulk": 5, "expired": 3}
    assert dict(found.rulings) == {"approved": 1, "rejected": 2, "edited": 1, "expired": 1, "responded": 1}
    assert found.expired == 1
    assert found.bulk_rulings == 0.2
    assert found.bulk_decisions == pytest.approx(5 / 15)
    assert found.backlog == Backlog(triggered=1, acknowledged=0, overdue=0, waiting=2, oldest_ms=T0)


def test_times_are_from_the_trigger_on(database: Database, world: World) -> None:
    for number, minutes in enumerate((1, 2, 3, 4, 100)):
        taken = {"acknowledged_ms": T0 + minutes * MINUTE, "acknowledged_by": "ada", "status": "acknowledged"}
        made = world.incident(f"aaaa-{number:04d}", team="risk" if number < 4 else "ops", **taken)
        world.ruling(made, 0, "approved", T0 + 2 * minutes * MINUTE)
    world.incident("aaaa-0009")
    folded(database, world)
    found = stats(database, T0 + DAY, T0)
    assert (found.acknowledge.n, found.acknowledge.median_ms) == (5, 3 * MINUTE)
    assert found.acknowledge.p90_ms == pytest.approx(61.6 * MINUTE)
    assert found.rule.median_ms == 6 * MINUTE
    assert found.by_team["ops"][0].median_ms == 100 * MINUTE
    assert stats(database, T0 + DAY, T0 + 1).incidents == 0


def test_agreement_counts_pairs_of_people_also_the_one_who_came_second(database: Database, world: World) -> None:
    first, second, third = (world.incident(f"aaaa-000{n}") for n in range(3))
    world.review("approve", first, "ada", T0 + 1)
    world.refusal(world.review("approve", first, "bob", T0 + 2), "already-ruled", first.incident)
    world.review("approve", second, "ada", T0 + 3)
    world.refusal(world.review("reject", second, "bob", T0 + 4), "already-ruled", second.incident)
    world.review("approve", third, "ada", T0 + 5)
    world.refusal(world.review("reject", third, "eve", T0 + 6), "bad-signature", third.incident)
    place = {"topic": world.name("decisions"), "partition": 0, "offset": 7}
    world.review("label", None, "ada", T0 + 7, decision=place, agrees=True)
    folded(database, world)
    found = stats(database, T0 + DAY, T0)
    assert (found.agreement.n, found.agreement.value) == (2, 0.5)
    assert (found.blind.n, found.blind.value) == (1, 1.0)
    assert dict(found.refusals) == {"already-ruled": 2, "bad-signature": 1}


def test_where_nothing_is_known_nothing_is_claimed(database: Database) -> None:
    found = stats(database, T0)
    assert math.isnan(found.agreement.value)
    plain = document(found)
    assert plain["agreement"] == {"share": None, "lower": None, "upper": None, "n": 0}
    assert plain["acknowledge"] == {"n": 0, "median_ms": None, "p90_ms": None}
    assert (plain["bulk_rulings"], plain["rules"]) == (None, [])


def test_silences_say_what_became_of_them(database: Database, world: World) -> None:
    span = {"matchers": {"team": "risk"}, "starts_ms": T0, "ends_ms": T0 + HOUR, "comment": "known"}
    world.review("silence", None, "ada", T0, silence=span)
    world.review("silence", None, "bob", T0 + 1, silence=span)
    world.refusal(world.review("silence", None, "eve", T0 + 2, silence=span), "wrong-role")
    world.review("unsilence", None, "ada", T0 + 3, silence_id=f"bob-{T0 + 1}")
    world.refusal(world.review("unsilence", None, "eve", T0 + 4, silence_id=f"ada-{T0}"), "wrong-role")
    folded(database, world)
    found = {one.by: one for one in silences(database)}
    assert [found[name].state(T0 + MINUTE) for name in ("ada", "bob", "eve")] == ["stands", "ended", "refused"]
    assert found["ada"].state(T0 + HOUR) == "over"
    assert (found["bob"].ended_by, found["bob"].ended_ms) == ("ada", T0 + 3)
