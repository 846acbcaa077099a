"""What pages and commands are told: the queue in the right order, one incident whole, what an answer would cover."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import func, select

from agents.errors import Misconfigured
from agents.events import Position
from agents.people_events import shown_digest
from agents.tuning.blind import rank
from orchestration.reading import health, held, incident, overview, queries
from orchestration.reading.database import Database
from orchestration.reading.tables import BLIND_EACH, BLIND_SHARE, blind, flow
from orchestration.settings import Settings
from tests.unit.reading.world import DAY, HOUR, MINUTE, RULE, T0, World, everything, folded


@pytest.fixture
def world(settings: Settings) -> World:
    return World(settings.prefix)


def ids(found: queries.Queue) -> list[str]:
    return [one.id for one in found.items]


def test_the_queue_puts_the_nearest_deadline_first_and_resolved_ones_last(database: Database, world: World) -> None:
    world.incident("late-0001", deadline_ms=T0 + HOUR)
    world.incident("soon-0001", deadline_ms=T0 + DAY, statutory_ms=T0 + MINUTE)
    world.incident("none-0001", severity="info")
    world.incident("none-0002", severity="critical")
    world.incident("done-0001", status="resolved", resolution="approved", resolved_ms=T0 + 5)
    folded(database, world)
    assert ids(queries.queue(database)) == ["soon-0001", "late-0001", "none-0002", "none-0001"]
    everything = queries.queue(database, queries.Filters(status=()))
    assert ids(everything)[-1] == "done-0001"
    assert everything.total == 5
    page = queries.queue(database, queries.Filters(status=(), limit=2, offset=1))
    assert (ids(page), page.total) == (["late-0001", "none-0002"], 5)


def test_filters_narrow_the_queue(database: Database, world: World) -> None:
    world.incident("mine-0001", team="risk", severity="critical", **{"with": ["ada"]})
    world.incident(
        "else-0001", team="ops", teams=["fraud"], model="churn", title="100% of calls fail_ed", severity="info"
    )
    world.incident("nobd-0001", team=None)
    world.incident("wide-0001", team="risk", inhibited_by="mine-0001")
    folded(database, world)

    def found(**given: object) -> list[str]:
        return sorted(ids(queries.queue(database, queries.Filters(**given))))  # type: ignore[arg-type]

    assert found() == ["else-0001", "mine-0001", "nobd-0001"]
    assert found(inhibited=True) == ["else-0001", "mine-0001", "nobd-0001", "wide-0001"]
    assert found(person="ada") == ["mine-0001"]
    assert found(team="fraud") == ["else-0001"]
    assert found(model="churn") == ["else-0001"]
    assert found(severity="error") == ["mine-0001", "nobd-0001"]
    assert found(teams=frozenset({"risk"})) == ["mine-0001", "nobd-0001"]
    assert found(teams=frozenset()) == ["nobd-0001"]
    assert found(text="CALLS 100%") == ["else-0001"]
    assert found(text="fail_ed") == ["else-0001"]
    assert found(text="failXed") == []


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)  # PostgreSQL goes by its database's locale
def test_words_are_found_whatever_the_case_of_any_alphabet(database: Database, world: World) -> None:
    world.incident("uber-0001", title="Übergrößen im ÄRGER")
    folded(database, world)
    for word in ("übergrößen", "ÜBER", "ärger"):
        assert ids(queries.queue(database, queries.Filters(text=word))) == ["uber-0001"]


def test_reasons_are_searched_for_those_alone_who_may_read_them(database: Database, world: World) -> None:
    world.incident("reas-0001", reason="client 8231 is 4 months late")
    folded(database, world)
    assert ids(queries.queue(database, queries.Filters(text="8231"))) == ["reas-0001"]
    assert queries.queue(database, queries.Filters(text="8231", in_reasons=False)).total == 0


def test_counts_head_the_queue(database: Database, world: World) -> None:
    world.incident("aaaa-0001", severity="critical", deadline_ms=T0, **{"with": ["ada"]})
    world.incident("aaaa-0002", status="acknowledged")
    world.incident("aaaa-0003", status="resolved")
    world.holds(3)
    world.holds(5)
    world.final(5, "approved", "aaaa-0001/0")
    folded(database, world)
    found = queries.counts(database, T0 + 1, queries.Filters(person="ada"))
    assert found == queries.Counts(open=2, triggered=1, acknowledged=1, critical=1, overdue=1, mine=1, waiting=1)


def test_an_answer_would_cover_what_waits_before_through_and_nothing_else(database: Database, world: World) -> None:
    for offset in range(10):
        world.holds(offset, T0 + offset)
    world.holds(3, T0, partition=1)
    world.holds(10, T0 + 10)  # the end itself is not before it
    through = {f"{world.name('decisions')}/0": 10, f"{world.name('decisions')}/1": 4}
    made = world.incident(through=through, held=11)
    world.holds(8, T0, rules=["other/rule"], partition=1)
    world.final(0, "approved", f"{made.incident}/0", T0 + 50)
    world.final(1, "rejected", f"{made.incident}/1", T0 + 51)
    folded(database, world)
    assert queries.queue(database).items[0].waiting == 9
    page = held.held_items(database, made, limit=4)
    assert [one.decision.offset for one in page.items] == [2, 3, 4, 5]
    assert page.counts.waiting == 9
    assert page.counts.ended == {"approved": 1, "rejected": 1}
    last = held.held_items(database, made, after=page.next, limit=50)
    assert [(one.decision.partition, one.decision.offset) for one in last.items] == [
        (0, 6), (0, 7), (0, 8), (0, 9), (1, 3),
    ]  # fmt: skip
    assert last.next is None
    first = page.items[0]
    assert first.rules == (RULE,)
    assert first.reasons == (held.Reason(RULE, "hold", "declined by 2.1.0"),)
    assert first.bytes_at == (0, 2)
    ended = held.held_items(database, made, waits=False)
    assert [(one.decision.offset, one.resolution, one.causationid) for one in ended.items] == [
        (0, "approved", f"{made.incident}/0"),
        (1, "rejected", f"{made.incident}/1"),
    ]
    assert all(one.reasons == () for one in ended.items)
    assert held.incidents_of(database, first.decision) == (made.incident,)


def test_a_decision_with_two_causes_of_one_incident_counts_once(database: Database, world: World) -> None:
    world.holds(1, rules=["a/x", "a/y"])
    keys = ['["a/x","credit-limit","2.1.0",null]', '["a/y","credit-limit","2.1.0",null]']
    made = world.incident(keys=keys)
    folded(database, world)
    assert queries.queue(database).items[0].waiting == 1
    assert len(held.held_items(database, made).items) == 1


def test_what_ended_under_the_incident_before_is_not_counted_again(database: Database, world: World) -> None:
    place = f"{world.name('decisions')}/0"
    world.holds(1)
    world.holds(2)
    before = world.incident("aaaa-0001", through={place: 3}, status="resolved", resolved_ms=T0)
    world.final(1, "approved", "aaaa-0001/0")
    world.holds(7)
    after = world.incident("aaaa-0002", through={place: 8}, previous="aaaa-0001")
    folded(database, world)
    assert held.held_items(database, before, waits=None).counts.ended == {"approved": 1}
    counts = held.held_items(database, after).counts
    assert (counts.waiting, dict(counts.ended)) == (2, {})  # what the earlier answer left still waits
    assert [one.id for one in incident.incident(database, "aaaa-0001").later] == ["aaaa-0002"]


def test_a_sample_is_random_but_the_same_for_the_same_seed(database: Database, world: World) -> None:
    for offset in range(60):
        world.holds(offset)
    made = world.incident(through={f"{world.name('decisions')}/0": 60})
    folded(database, world)
    drawn = [one.decision.offset for one in held.sample(database, made, 5, seed=7)]
    assert drawn == [one.decision.offset for one in held.sample(database, made, 5, seed=7)]
    assert len(set(drawn)) == 5
    assert drawn != [one.decision.offset for one in held.sample(database, made, 5, seed=8)]
    assert len(held.sample(database, made, 500, seed=1)) == 60


def test_one_incident_comes_with_all_that_belongs_to_it(database: Database, world: World) -> None:
    folded(database, everything(world))
    found = incident.incident(database, "7f29")
    assert (found.line.id, found.line.revision, found.shown) == ("7f29-k1mq", 1, found.line.shown)
    assert found.line.people == ("ada", "bob")
    assert [(one.revision, one.change, one.count) for one in found.timeline] == [(0, "triggered", 3), (1, "grew", 9)]
    assert found.triage is not None
    assert (found.triage.by, found.triage.severity) == ("model", "critical")
    assert found.deterministic is not None
    assert found.held.waiting == 3
    assert found.held.ended == {"approved": 2}
    assert [(one.action, one.ruling, one.refused) for one in found.answers] == [
        ("approve", "7f29-k1mq/0", None),
        ("reject", None, "already-ruled"),
    ]
    assert [(one.resolution, one.people) for one in found.rulings] == [("approved", ("ada",))]
    assert [(one.id, one.outcome) for one in found.messages] == [
        ("7f29-k1mq/0/mail/0", None),
        ("7f29-k1mq/1/mail/0", "sent"),
    ]


def test_the_summary_that_the_incident_names_counts(database: Database, world: World) -> None:
    made = world.incident()
    chosen = world.summary(made, summary="first")
    world.summary(made, "model", summary="second")
    digest = f"sha256:{hashlib.sha256(chosen.value or b'').hexdigest()}"
    world.incident(revision=1, triage=digest)
    folded(database, world)
    found = incident.incident(database, made.incident)
    assert found.triage is not None
    assert found.triage.summary == "first"


def test_a_stale_answer_can_be_told_what_changed(database: Database, world: World) -> None:
    before = world.incident(severity="warning")
    world.incident(revision=1, severity="critical", count=900)
    folded(database, world)
    found = incident.incident(database, before.incident)
    shown = found.timeline[0]
    assert shown.severity == "warning"
    told = incident.changed_since(database, before.incident, shown_digest(before))
    assert told == [("severity", "warning", "critical")]
    assert incident.changed_since(database, before.incident, found.shown) == []
    assert incident.changed_since(database, before.incident, "sha256:" + "0" * 64) is None


def test_an_incident_of_a_monitor_comes_with_its_signal_s_history(database: Database, world: World) -> None:
    source = {"model": "credit-limit", "version": "2.1.0", "monitor": "approval_gap"}
    for minute in range(0, 3 * 24 * 60, 7):
        world.signal("alarm" if minute > 100 else "ok", T0 + minute * MINUTE, estimate=minute / 10, n=minute)
    world.incident(signal=source)
    folded(database, world)
    found = incident.incident(database, "7f29-k1mq").signal
    assert found is not None
    assert found.data is not None
    assert found.data.status.value == "alarm"
    times = [one.time_ms for one in found.points]
    assert times == sorted(set(times))
    assert times[-1] == T0 + (3 * 24 * 60 - 1) // 7 * 7 * MINUTE
    assert times[0] < T0 + DAY  # the beginning is still there, at a coarser grain
    assert len(times) < 400


def test_an_id_that_begins_several_or_no_incidents_is_told(database: Database, world: World) -> None:
    world.incident("aaaa-0001")
    world.incident("aaaa-0002")
    folded(database, world)
    with pytest.raises(Misconfigured, match="aaaa-0001, aaaa-0002"):
        incident.incident(database, "aaaa")
    with pytest.raises(Misconfigured, match="no incident 'zzzz'"):
        incident.incident(database, "zzzz")
    with pytest.raises(Misconfigured):
        incident.incident(database, "")


def test_models_tell_their_health_at_a_glance(database: Database, world: World) -> None:
    folded(database, everything(world))
    found = {(one.model, one.version): one for one in overview.models(database, T0 + 10 * MINUTE)}
    one = found["credit-limit", "2.1.0"]
    assert one.decisions == 340
    assert dict(one.last_hour) == {"allow": 328, "log": 7, "hold": 5, "": 1}
    assert one.waiting == 3
    assert (one.worst, dict(one.signals)) == ("alarm", {"alarm": 1})
    assert (one.open_incidents, one.severity) == (2, "error")
    assert [order.id for order in one.safeguards] == ["q-1"]
    assert (one.mode, one.lag_ms) == ("gate", 1200.0)


def test_the_flow_is_counted_in_stretches(database: Database, world: World) -> None:
    folded(database, everything(world))
    found = overview.flowed(database, T0 - HOUR, T0 + HOUR, 3_600_000)
    total: dict[str, int] = {}
    for one in found:
        for name, count in one.counts.items():
            total[name] = total.get(name, 0) + count
    assert total == {"allow": 328, "log": 7, "hold": 5, "duplicate": 1, "released": 2}
    assert [one.start_ms % 3_600_000 for one in found] == [0, 0, 0]
    with pytest.raises(ValueError, match="not of 7"):
        overview.flowed(database, T0, T0 + 1, 7)


def test_old_buckets_go_so_that_the_flow_stays_small(database: Database, world: World) -> None:
    for hour in range(0, 100, 2):
        world.gate(hour, at=T0 + hour * HOUR)
    folded(database, world, size=7)
    with database.reading() as connection:
        rows = connection.execute(select(flow.c.width_ms, func.count()).group_by(flow.c.width_ms))
        assert {width: count for width, count in rows} == {5_000: 1, 60_000: 25, 3_600_000: 50}  # noqa: C416


def test_policies_come_with_hits_and_their_last_change(database: Database, world: World) -> None:
    folded(database, everything(world))
    (policy,) = overview.policies(database, T0 - DAY)
    (rule,) = policy.rules
    assert (rule.rule, rule.hits, rule.effect) == (RULE, 5, "hold")
    assert rule.last_ms == T0 + 35_000
    assert rule.by_day == ((T0 - T0 % DAY, 5),)
    assert (rule.changed_ms, rule.changed_by) == (T0 - MINUTE, "bob")
    assert policy.changed_ms == T0 - MINUTE
    assert [one.applied_by for one in overview.history(database)] == ["bob", "ada"]


def test_the_read_model_says_what_it_kept_out(database: Database, world: World) -> None:
    folded(database, everything(world))
    found = health.health(database)
    assert {one.topic.rpartition(".")[2]: one.count for one in found.kept_out} == {
        "incidents": 1, "reviews": 1, "signals": 1, "verdicts": 1,
    }  # fmt: skip
    assert [(one.origin, one.size) for one in health.heads(database)] == [(f"{world.prefix}/verdicts/0", 9)]


def test_a_decision_that_was_never_held_is_not_there(database: Database, world: World) -> None:
    world.gate(1)
    folded(database, world)
    assert held.held_item(database, Position(topic=world.name("decisions"), partition=0, offset=1)) is None


def test_the_sample_for_blind_review_is_bounded_and_only_of_what_went_out(database: Database, world: World) -> None:
    for offset in range(3000):
        world.gate(offset, "block" if offset % 2 else "allow")
    folded(database, world, size=500)
    with database.reading() as connection:
        count, worst = connection.execute(select(func.count(), func.max(blind.c.draw))).one()
        odd = connection.scalar(select(func.count()).select_from(blind).where(blind.c.offset % 2 == 1))
    assert count == BLIND_EACH
    assert worst < BLIND_SHARE
    assert odd == 0


def test_anybody_can_draw_the_sample_for_blind_review_again_from_positions_alone(
    database: Database, world: World
) -> None:
    for offset in range(500):
        world.gate(offset)
    folded(database, world)
    with database.reading() as connection:
        drawn = {row.offset: row.draw for row in connection.execute(select(blind))}
    ranks = {offset: rank(f"{world.name('decisions')}/0/{offset}") for offset in range(500)}
    assert drawn == {offset: one for offset, one in ranks.items() if one < BLIND_SHARE}
    assert drawn


def test_a_timeline_stays_readable_however_long_an_incident_grows(database: Database, world: World) -> None:
    world.incident()
    for revision in range(1, 400):
        grew = {"revision": revision, "count": revision, "change": "grew", "said": f"{revision} now"}
        world.incident(at=T0 + revision * 5_000, **grew)
    world.incident(at=T0 + HOUR, revision=400, change="acknowledged", changes=["grew", "acknowledged"], count=400)
    folded(database, world, size=37)
    found = incident.incident(database, "7f29-k1mq").timeline
    assert [one.change for one in found] == ["triggered", "grew", "grew", "grew", "grew", "acknowledged"]
    assert found[-2].count == 399


def test_the_farthest_place_that_an_address_can_name_is_not_held(database: Database) -> None:
    far = Position(topic="gim.decisions", partition=999_999_999, offset=10**18 - 1)
    assert held.held_item(database, far) is None
