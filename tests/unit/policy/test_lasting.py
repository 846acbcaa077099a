"""`for` and `keep_firing_for`: held against a definition that looks at every millisecond, and what stays remembered."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import SafeguardData
from agents.policy.past import LATE_MS
from agents.policy.rules import RuleSet
from agents.policy.standing import Standing
from agents.policy.surroundings import Circumstances
from agents.records import Plain

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ALARM = "signals.gap.status = 'alarm'"


def configuration(*rules, model=None, **more):
    listed = [{"id": f"r{number}", "effect": "hold", **rule} for number, rule in enumerate(rules)]
    return Configuration.model_validate(
        {
            "models": {"m": {"features": {"x": "numeric?"}, "versions": ["1", "2"], **(model or {})}},
            "monitors": {"gap": {"kind": "parity"}, "drift": {}},
            "policies": [{"policy": "p", "rules": listed}],
            **more,
        }
    )


def told(offset, at, status="ok", *, monitor="gap", version="1", segment=None, broker=None, removed=False, **more):
    """A record of `signals`; `at` is its place on the model's clock."""
    key = json.dumps(["m", version, monitor, segment, None], separators=(",", ":"))
    data = {"model": "m", "version": version, "monitor": monitor, "segment": segment, "status": status}
    data |= {"clock_ms": at, **more}
    event = {"specversion": "1.0", "id": f"s{offset}", "source": "/m", "type": "governance.signal.v1", "data": data}
    value = None if removed else json.dumps(event).encode()
    return Plain("gim.signals", 0, offset, at if broker is None else broker, key.encode(), value)


def folded(chosen, *records):
    standing, refused = Standing.of(chosen).fold("signals", records)
    assert refused == []
    return standing


def judge(standing, *rows):
    """What the rules say of rows {time, x, label, version}: a list of `id outcome` a row."""
    frame = pl.DataFrame(
        {
            "features.x": pl.Series([row.get("x") for row in rows], dtype=pl.Float64),
            "output.label": pl.Series([row.get("label", "decline") for row in rows], dtype=pl.String),
            "caller": pl.Series([row.get("caller") for row in rows], dtype=pl.String),
            "model.version": pl.Series([row.get("version", "1") for row in rows], dtype=pl.String),
            "model.name": pl.Series(["m"] * len(rows), dtype=pl.String),
            "broker_time_ms": pl.Series([row["time"] for row in rows], dtype=pl.Int64),
        }
    )
    times = np.array([row["time"] for row in rows], dtype=np.int64)
    judged = standing.rules.judge("m", frame, times, standing)
    return [[f"{one.rule[2:]} {one.outcome}" for one in judged.combos[combo]] for combo in judged.rows]


def at(standing, *times, **row):
    """Whether the only rule matched, at each time."""
    said = judge(standing, *({"time": time, **row} for time in times))
    return ["".join(one).removeprefix("r0 ") or "no" for one in said]


# -- waiting -------------------------------------------------------------------------------------------------------


def test_a_rule_with_for_waits_until_its_signal_has_stood_so_long():
    standing = folded(configuration({"when": ALARM, "for": "5m"}), told(0, 0), told(1, 10 * MINUTE, "alarm"))
    assert at(standing, 10 * MINUTE, 15 * MINUTE - 1, 15 * MINUTE, 60 * MINUTE) == ["no", "no", "matched", "matched"]


def test_one_moment_without_alarm_starts_the_waiting_anew():
    records = [told(0, 0, "alarm"), told(1, 10 * MINUTE, "warn"), told(2, 11 * MINUTE, "alarm")]
    standing = folded(configuration({"when": ALARM, "for": "5m"}), *records)
    assert at(standing, 9 * MINUTE, 12 * MINUTE, 15 * MINUTE, 17 * MINUTE) == ["matched", "no", "no", "matched"]


def test_a_signal_that_was_not_there_for_so_long_does_not_match_and_is_not_unknown():
    chosen = configuration({"when": "signals.gap.estimate < 0.8", "for": "5m"})
    assert at(Standing.of(chosen), 60 * MINUTE) == ["no"]
    standing = folded(chosen, told(0, 10 * MINUTE, "alarm", estimate=0.5))
    assert at(standing, 12 * MINUTE, 16 * MINUTE) == ["no", "matched"]
    gone, _ = standing.fold("signals", [told(1, 20 * MINUTE, removed=True)])
    assert at(gone, 19 * MINUTE, 21 * MINUTE, 60 * MINUTE) == ["no", "no", "no"]
    back, _ = gone.fold("signals", [told(2, 22 * MINUTE, "alarm", estimate=0.5)])
    assert at(back, 24 * MINUTE, 28 * MINUTE) == ["no", "matched"]


def test_a_monitor_that_never_spoke_does_not_keep_another_from_matching():
    both = f"{ALARM} OR signals.drift.status = 'alarm'"
    neither = "signals.gap.status = 'alarm' AND signals.drift.status <> 'alarm'"
    standing = folded(configuration({"when": both, "for": "5m"}, {"when": neither, "for": "5m"}), told(0, 0, "alarm"))
    assert judge(standing, {"time": 10 * MINUTE}) == [["r0 matched"]]


def test_what_stands_now_counts_even_where_its_time_is_after_the_decisions():
    standing = folded(configuration({"when": ALARM, "for": "5m"}), told(0, 0, "alarm"), told(1, HOUR, "ok"))
    assert at(standing, 30 * MINUTE) == ["no"]


def test_unknown_stays_unknown_unless_another_moment_settles_it():
    low = "signals.gap.estimate < 0.8"
    chosen = configuration({"when": low, "for": "5m"}, {"when": low, "keep_firing_for": "5m"})
    null, small, large = {}, {"estimate": 0.5}, {"estimate": 0.9}

    def said(*estimates):
        return judge(
            folded(chosen, *(told(n, n * MINUTE, **one) for n, one in enumerate(estimates))), {"time": 5 * MINUTE}
        )

    assert said(small, null) == [["r0 unknown", "r1 matched"]]
    assert said(null, small) == [["r0 unknown", "r1 matched"]]
    assert said(large, null) == [["r1 unknown"]]  # false once: waiting is over; nothing true: lingering is unknown
    assert said(null, large) == [["r1 unknown"]]
    assert said(large, large) == [[]]
    assert said(null, null) == [["r0 unknown", "r1 unknown"]]


def test_an_unknown_of_the_decision_itself_takes_the_on_unknown_effect():
    rule = {"when": f"{ALARM} AND features.x > 1", "for": "5m", "on_unknown": "log"}
    standing = folded(configuration(rule), told(0, 0, "alarm"))
    assert at(standing, 10 * MINUTE, x=None) == ["unknown"]
    assert at(standing, 10 * MINUTE, x=2.0) == ["matched"]
    calm = folded(configuration(rule), told(0, 0, "ok"))
    assert at(calm, 10 * MINUTE, x=None) == ["no"]


# -- lingering -----------------------------------------------------------------------------------------------------


def test_a_rule_goes_on_for_as_long_as_keep_firing_for_says():
    records = [told(0, 0), told(1, 10 * MINUTE, "alarm"), told(2, 20 * MINUTE, "ok")]
    standing = folded(configuration({"when": ALARM, "keep_firing_for": "30m"}), *records)
    times = [5 * MINUTE, 10 * MINUTE, 25 * MINUTE, 50 * MINUTE - 1, 50 * MINUTE]
    assert at(standing, *times) == ["no", "matched", "matched", "matched", "no"]


def test_it_lingers_on_what_lasted_and_not_on_a_blip():
    rule = {"when": ALARM, "for": "5m", "keep_firing_for": "30m"}
    blip = folded(configuration(rule), told(0, 0), told(1, 10 * MINUTE, "alarm"), told(2, 11 * MINUTE, "ok"))
    assert at(blip, 10 * MINUTE, 20 * MINUTE) == ["no", "no"]
    long = folded(configuration(rule), told(0, 0), told(1, 10 * MINUTE, "alarm"), told(2, 16 * MINUTE, "ok"))
    assert at(long, 15 * MINUTE + 1, 45 * MINUTE, 47 * MINUTE) == ["matched", "matched", "no"]


# -- clocks, versions, what else a condition reads -----------------------------------------------------------------


def test_the_models_clock_counts_and_not_the_brokers():
    rule = {"when": ALARM, "for": "5m"}
    fast = [told(0, 0, broker=DAY), told(1, 10 * MINUTE, "alarm", broker=DAY + 1000)]
    standing = folded(configuration(rule, model={"clock": "event"}), *fast)
    assert at(standing, 12 * MINUTE, 16 * MINUTE) == ["no", "matched"]


def test_a_signal_without_a_clock_counts_from_its_broker_time():
    standing = folded(configuration({"when": ALARM, "for": "5m"}), told(0, None, "alarm", broker=10 * MINUTE))
    assert at(standing, 12 * MINUTE, 16 * MINUTE) == ["no", "matched"]


def test_each_version_waits_for_its_own_signals():
    records = [told(0, 0, "alarm", version="2"), told(1, 8 * MINUTE, "alarm", version="1")]
    standing = folded(configuration({"when": ALARM, "for": "5m"}), *records)
    rows = [{"time": 10 * MINUTE, "version": version} for version in ("1", "2", "3")]
    assert judge(standing, *rows) == [[], ["r0 matched"], []]


def test_the_worst_of_segments_speaks_at_every_moment():
    records = [told(0, 0), told(1, 0, "alarm", segment="a"), told(2, 6 * MINUTE, "ok", segment="a")]
    records += [told(3, 5 * MINUTE, "alarm", segment="b")]
    standing = folded(configuration({"when": ALARM, "for": "10m"}), *records)
    assert at(standing, 12 * MINUTE) == ["matched"]  # first a, then b: some segment always was in alarm


def test_other_columns_are_as_they_are_for_the_decision():
    rule = {"when": f"{ALARM} AND output.label = 'decline' AND NOT safeguard.hold_all", "for": "5m"}
    standing = folded(configuration(rule), told(0, 0, "alarm"))
    assert at(standing, 10 * MINUTE) == ["matched"]
    assert at(standing, 10 * MINUTE, label="approve") == ["no"]
    order = {"s": SafeguardData(kind="hold_all", model="m", active=True)}
    held = Circumstances(standing.circumstances.signals, {}, order, standing.circumstances.past)
    quiet = Standing(standing.configuration, standing.digest, standing.rules, circumstances=held)
    assert judge(quiet, {"time": 10 * MINUTE}) == [["feguard/s matched"]]


def test_rules_with_and_without_for_stand_side_by_side_in_their_order():
    rules = [{"when": "features.x > 0"}, {"when": ALARM, "for": "5m"}, {"when": ALARM}]
    standing = folded(configuration(*rules), told(0, 0), told(1, 10 * MINUTE, "alarm"))
    rows = [{"time": 12 * MINUTE, "x": 1.0}, {"time": 20 * MINUTE, "x": 0.0}]
    assert judge(standing, *rows) == [["r0 matched", "r2 matched"], ["r1 matched", "r2 matched"]]


def test_an_empty_batch_is_judged_too():
    assert judge(folded(configuration({"when": ALARM, "for": "5m"}), told(0, 0))) == []


# -- the law: held against a definition that looks at every millisecond --------------------------------------------

STATUSES = ["ok", "warn", "alarm"]
RANK = {"ok": 2, "warn": 3, "alarm": 4}
NO, UNKNOWN, YES = 0, 1, 2


def logic(value):
    return UNKNOWN if value is None else YES if value else NO


def compare(value, test):
    return logic(None if value is None else test(value))


CONDITIONS = {
    ALARM: lambda s, x: compare(s["gap"][0], lambda v: v == "alarm"),
    "signals.gap.estimate < 0.8": lambda s, x: compare(s["gap"][1], lambda v: v < 0.8),
    f"{ALARM} OR signals.drift.status = 'alarm'": lambda s, x: max(
        compare(s["gap"][0], lambda v: v == "alarm"), compare(s["drift"][0], lambda v: v == "alarm")
    ),
    f"NOT {ALARM} AND features.x > 1": lambda s, x: min(
        2 - compare(s["gap"][0], lambda v: v == "alarm"), compare(x, lambda v: v > 1)
    ),
}
READS = {when: [name for name in ("gap", "drift") if f"signals.{name}" in when] for when in CONDITIONS}


def spoke(records, moment):
    """What each monitor said at a moment: (status, estimate), nulls where none was there; and which were."""
    found = {"gap": (None, None), "drift": (None, None)}
    best = {}
    for (monitor, segment), some in records.items():
        standing = None
        for when, data in some:  # in the order of offsets; times that go back count as the latest before
            if when <= moment:
                standing = data
        if standing is not None:
            rank = (RANK[standing[0]], segment is None)
            if monitor not in best or rank > best[monitor]:
                best[monitor] = rank
                found[monitor] = standing
    return found, set(best)


def defined(when, waits, lingers, records, latest, time, x):
    """The answer by its definition, moment by moment."""

    def says(moment):
        said, there = spoke(records, moment)
        answer = CONDITIONS[when](said, x)
        whole = set(READS[when]) <= there
        return answer if whole or answer == YES else NO

    def held(moment):
        return min(says(one) for one in range(moment - waits, moment + 1))

    now = min([says(latest), *([held(time)] if waits else [])])
    return max([now, *([held(moment) for moment in range(time - lingers, time + 1)] if lingers else [])])


entries = st.tuples(
    st.sampled_from(["gap", "drift"]),
    st.sampled_from([None, "s"]),
    st.integers(0, 30),
    st.sampled_from(STATUSES) | st.none(),
    st.sampled_from([None, 0.5, 0.9]),
)
rows_of = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([None, 0.0, 2.0])), min_size=1, max_size=6)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(list(CONDITIONS)), st.integers(0, 8), st.integers(0, 8), st.lists(entries, max_size=10), rows_of)
def test_the_answer_is_that_of_the_definition_alone_and_in_any_batch(when, waits, lingers, signals, rows):
    if not waits and not lingers:
        return
    rule = {"when": when, "for": waits / 1000, "keep_firing_for": lingers / 1000}
    records, by_key = [], {}
    for offset, (monitor, segment, clock, status, estimate) in enumerate(signals):
        some = by_key.setdefault((monitor, segment), [])
        if status is None:
            if not some or some[-1][1] is None:
                continue  # nothing to remove
            moment = some[-1][0]  # broker times stand still in this test
            records.append(told(offset, 0, monitor=monitor, segment=segment, broker=0, removed=True))
        else:
            moment = max(clock, some[-1][0]) if some else clock
            records.append(told(offset, clock, status, monitor=monitor, segment=segment, broker=0, estimate=estimate))
        some.append((moment, None if status is None else (status, estimate)))
    chosen = configuration(rule)
    whole = folded(chosen, *records)
    stepwise = Standing.of(chosen)
    for record in records:
        stepwise, _ = stepwise.fold("signals", [record])
    said = judge(whole, *({"time": time, "x": x} for time, x in rows))
    names = {YES: ["r0 matched"], UNKNOWN: ["r0 unknown"], NO: []}
    assert said == [names[defined(when, waits, lingers, by_key, 10**6, time, x)] for time, x in rows]
    assert said == [judge(stepwise, {"time": time, "x": x})[0] for time, x in rows]


# -- memory --------------------------------------------------------------------------------------------------------


def test_only_what_a_rule_looks_back_at_is_remembered():
    rules = [{"when": ALARM, "for": "5m"}, {"when": "signals.drift.status = 'alarm'"}]
    records = [told(0, 0), told(1, 0, monitor="drift"), told(2, MINUTE), told(3, MINUTE, monitor="drift")]
    standing = folded(configuration(*rules), *records)
    assert [(key[10:13], len(one)) for key, one in standing.circumstances.past.items()] == [("gap", 2)]
    assert standing.rules.memory == {"gap": 5 * MINUTE + LATE_MS}


def test_memory_is_bounded_and_what_stood_at_the_start_of_the_window_is_kept():
    records = [told(n, n * MINUTE, "alarm", n=n) for n in range(1000)]
    standing = folded(configuration({"when": ALARM, "for": "5m"}), *records)
    (history,) = standing.circumstances.past.values()
    assert len(history) <= (5 * MINUTE + LATE_MS) / MINUTE + 2
    newest = 999 * MINUTE
    assert at(standing, newest, newest - HOUR) == ["matched", "matched"]  # a lane that is an hour behind has its window
    assert at(standing, newest - 3 * HOUR) == ["matched"]  # further back, the oldest that is remembered stands for it


def test_what_is_remembered_does_not_depend_on_how_it_was_read():
    chosen = configuration({"when": ALARM, "for": "10m", "keep_firing_for": "20m"})
    records = [told(n, n * 7 * MINUTE, STATUSES[n % 3]) for n in range(60)]
    whole = folded(chosen, *records)
    parts = Standing.of(chosen)
    for start in range(0, 60, 7):
        parts, _ = parts.fold("signals", records[start : start + 7])
    assert whole.circumstances.past == parts.circumstances.past


def test_a_rule_that_comes_later_asks_for_the_signals_to_be_read_again():
    records = [told(0, 0, "alarm"), told(1, 10 * MINUTE, "alarm", n=2)]
    before = folded(configuration({"when": ALARM}), *records)
    assert not before.forgetful
    waiting = configuration({"when": ALARM, "for": "8m"})
    now, refused = before.fold("config", [applied(waiting)])
    assert (refused, now.forgetful, now.as_of.signals) == ([], True, 2)
    again, _ = now.unread().fold("signals", records)
    assert (again.forgetful, again.as_of) == (False, now.as_of)
    assert again.circumstances == folded(waiting, *records).circumstances
    assert at(again, 12 * MINUTE) == ["matched"]


def test_a_shorter_rule_forgets_at_once_what_a_fresh_lane_would_never_know():
    records = [told(n, n * HOUR, "alarm", n=n) for n in range(12)]
    long = folded(configuration({"when": ALARM, "for": "10h"}), *records)
    short = configuration({"when": ALARM, "for": "1m"})
    now, _ = long.fold("config", [applied(short)])
    assert not now.forgetful
    assert now.circumstances.past == folded(short, *records).circumstances.past
    none, _ = now.fold("config", [applied(configuration({"when": ALARM}))])
    assert none.circumstances.past == {}


def applied(chosen):
    data = {"digest": chosen.digest(), "document": chosen.document()}
    event = {"specversion": "1.0", "id": "c", "source": "/o", "type": "governance.configuration.v1", "data": data}
    return Plain("gim.config", 0, 0, 0, b"current", json.dumps(event).encode())


# -- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "told_of"),
    [
        (
            {"when": "features.x > 1", "for": "5m"},
            "policies.0.rules.0.for: `for` looks back at signals, and this condition reads none; remove it, or read a",
        ),
        ({"when": "features.x > 1", "keep_firing_for": "5m"}, "policies.0.rules.0.keep_firing_for: `keep_firing_for`"),
        (
            {"when": "signals.gap.age_ms > 5", "for": "5m"},
            "policies.0.rules.0.when: signals.gap.age_ms changes while its signal stands",
        ),
        ({"when": "signals.gap.held_ms > 5", "keep_firing_for": "5m"}, "held_ms and age_ms say how long themselves"),
    ],
)
def test_a_rule_that_cannot_look_back_is_refused(rule, told_of):
    with pytest.raises(Misconfigured) as error:
        RuleSet(configuration(rule))
    assert told_of in str(error.value)


def test_a_duration_of_more_than_a_day_is_refused_and_a_day_is_not():
    assert configuration({"when": ALARM, "for": "1d"}).policies[0].rules[0].for_ == 86_400
    with pytest.raises(ValueError, match="longer than a day"):
        configuration({"when": ALARM, "for": "25h"})


def test_the_canonical_document_says_for_and_a_rule_without_it_keeps_its_digest():
    document = configuration({"when": ALARM, "for": "5m"}).document()
    assert document["policies"][0]["rules"][0]["for"] == 300.0
    assert Configuration.model_validate(document).document() == document
    assert "for" not in configuration({"when": ALARM}).document()["policies"][0]["rules"][0]
