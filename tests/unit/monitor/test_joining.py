"""Late labels meet their decisions once, whatever the order of arrival: checked against an oracle that looks at all at once."""

from __future__ import annotations

import json
from collections import Counter as Tally
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.monitor.case_records import key_of
from agents.monitor.joined import Joined
from agents.monitor.joining import Join
from agents.records import Plain

MATURITY, PATIENCE, RETENTION = 10_000, 15_000, 10**9


def configuration(**more: Any) -> Configuration:
    """One model with outcomes that are mature ten seconds after the decision."""
    model = {
        "labels": {"approve": {"favourable": True}, "decline": {}},
        "groups": {"sex": ["female", "male"]},
        "outcomes": {"paid": {"positive": True}, "default": {}},
        "label_maturity": "10s",
    }
    return Configuration.model_validate({"models": {"credit": {**model, **more}, "other": {}}})


def case(offset: int, at: int, name: str = "a", decided: int | None = None, **data: Any) -> Plain:
    """A record of cases; times in ms."""
    body = {
        "decision": {"source": "/s", "id": name},
        "model": "credit",
        "version": "1",
        "label": "approve",
        "score": 0.5,
        "groups": {"sex": "female"},
        "segments": {"purpose": "loan"},
        "decided_ms": at if decided is None else decided,
    } | data
    event = {"specversion": "1.0", "type": "governance.case.v1", "id": name, "source": "/s", "data": body}
    return Plain("t.cases", 0, offset, at, key_of("/s", name), json.dumps(event).encode())


def outcome(offset: int, at: int, name: str = "a", what: str = "paid", revision: int = 0, time: str = "") -> Plain:
    """A record of outcomes; times in ms."""
    body = {"decision": {"source": "/s", "id": name}, "outcome": what, "revision": revision}
    event = {"specversion": "1.0", "type": "governance.outcome.v1", "id": f"o{offset}", "source": "/l", "data": body}
    event |= {"time": time} if time else {}
    return Plain("t.outcomes", 0, offset, at, key_of("/s", name), json.dumps(event).encode())


def a_join(declared: Configuration | None = None, **more: Any) -> Join:
    """A Join with short patience."""
    return Join(declared or configuration(), b"k", **{"patience_ms": PATIENCE, "retention_ms": RETENTION, **more})


@dataclass
class Total:
    """What several batches brought together."""

    rows: dict[int, float] = field(default_factory=dict)
    tally: Tally[str] = field(default_factory=Tally)
    orphaned: int = 0

    def add(self, found: Joined) -> None:
        """Another batch."""
        for one in found.matured:
            assert one.offsets.tolist() == sorted(one.offsets.tolist())
            for offset, value in zip(one.offsets.tolist(), one.outcome.tolist(), strict=True):
                assert offset not in self.rows, "given out twice"
                self.rows[offset] = value
        for counts in found.tallies.values():
            self.tally.update(counts)
        self.orphaned += found.orphaned


def told(found: Joined) -> tuple[list[float], dict[str, int]]:
    """Outcomes given out, and what was counted."""
    return [value for one in found.matured for value in one.outcome.tolist()], dict(
        found.tallies.get(("credit", "1"), {})
    )


# -- single fates ------------------------------------------------------------------------------------------------------


def test_a_case_waits_for_its_maturity_and_counts_once() -> None:
    join = a_join()
    join.take_cases([case(0, 1_000)])
    join.take_outcomes([outcome(0, 2_000)])
    assert told(join.advance()) == ([], {})
    assert told(join.advance(10_999)) == ([], {})
    assert told(join.advance(11_000)) == ([1.0], {"joined": 1})
    join.take_outcomes([outcome(1, 12_000)])
    assert told(join.advance(50_000)) == ([], {"duplicate": 1})


def test_of_the_outcomes_known_at_maturity_the_highest_revision_counts() -> None:
    join = a_join()
    join.take_cases([case(0, 1_000)])
    join.take_outcomes([outcome(0, 2_000, revision=3), outcome(1, 3_000, what="default", revision=5)])
    join.take_outcomes([outcome(2, 4_000, revision=4)])
    assert told(join.advance(11_000)) == ([0.0], {"duplicate": 1, "joined": 1})


def test_a_revision_after_maturity_changes_reports_only() -> None:
    join = a_join()
    join.take_cases([case(0, 1_000)])
    join.take_outcomes([outcome(0, 2_000)])
    join.advance(11_000)
    join.take_outcomes([outcome(1, 12_000, what="default", revision=1), outcome(2, 13_000, revision=2)])
    assert told(join.advance()) == ([], {"revised": 2, "to_negative": 1, "to_positive": 1})


def test_a_case_without_an_outcome_counts_as_unlabelled_once_and_is_joined_when_one_comes() -> None:
    join = a_join()
    join.take_cases([case(0, 1_000)])
    assert told(join.advance(11_000)) == ([], {"unlabelled": 1})
    assert told(join.advance(12_000)) == ([], {})
    join.take_outcomes([outcome(0, 13_000, what="default")])
    assert told(join.advance()) == ([0.0], {"joined": 1, "late": 1})


def test_an_outcome_before_its_case_waits_and_one_without_a_case_is_given_up() -> None:
    join = a_join()
    join.take_outcomes([outcome(0, 1_000, "a"), outcome(1, 1_000, "b")])
    join.take_cases([case(0, 2_000, "a")])
    assert told(join.advance(12_000)) == ([1.0], {"early": 1, "joined": 1})
    assert join.advance(900_000).orphaned == 0, "cases stand still: the case may yet come"
    join.take_cases([case(1, 16_001, "c")])
    assert join.advance().orphaned == 1


def test_orphans_end_with_the_retention_even_where_no_case_comes_at_all() -> None:
    join = a_join()
    join.take_outcomes([outcome(0, 1_000)])
    assert join.advance(RETENTION).orphaned == 0
    assert join.advance(RETENTION + 1_000).orphaned == 1


def test_a_second_case_of_a_decision_is_counted_and_ignored() -> None:
    join = a_join()
    join.take_cases([case(0, 1_000), case(1, 2_000, label="decline")])
    join.take_outcomes([outcome(0, 2_000)])
    [one] = join.advance(30_000).matured
    assert (one.offsets.tolist(), one.labels) == ([0], ["approve"])


def test_under_the_producers_clock_decisions_move_the_maturity_and_outcomes_name_their_time() -> None:
    join = a_join(configuration(clock="event"))
    join.take_cases([case(0, 10**7, decided=1_000)])
    join.take_outcomes([outcome(0, 10**7, time="1970-01-01T00:00:05Z")])
    join.take_outcomes([outcome(1, 10**7, what="default", revision=1, time="1970-01-01T00:00:12Z")])
    assert told(join.advance(10**8)) == ([], {"revised": 1, "to_negative": 1}), "the model's clock stands at 1 s"
    join.take_cases([case(1, 10**7, "b", decided=11_000)])
    assert told(join.advance()) == ([1.0], {"joined": 1})


def test_matured_cases_look_like_a_view() -> None:
    join = a_join()
    join.take_cases([case(0, 1_000, once=False), case(1, 1_000, "b", groups={}, segments={}, score=None, label=None)])
    join.take_outcomes([outcome(0, 2_000), outcome(1, 2_000, "b", "default")])
    [one] = join.advance(11_000).matured
    model = configuration().models["credit"]
    frame = one.frame({"output.label", "output.score", "purpose", "latency_ms"}, model)
    assert frame.to_dict(as_series=False) == {
        "outcome": [1.0, 0.0],
        "latency_ms": [None, None],
        "output.label": ["approve", None],
        "output.score": [0.5, None],
        "purpose": ["loan", None],
    }
    assert {name: codes.tolist() for name, codes in one.group_codes(model).items()} == {"sex": [0, -1]}
    assert one.once.tolist() == [False, True]
    assert one.clock_ms == 11_000


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (outcome(0, 1, what="eaten"), "no model declares the outcome 'eaten'"),
        (outcome(0, 1, time="yesterday"), "no RFC 3339 time"),
        (Plain("t.outcomes", 0, 0, 1, b'["/s", "a"]', outcome(0, 1).value), "JSON array [source, id]"),
        (Plain("t.outcomes", 0, 0, 1, None, outcome(0, 1).value), "JSON array [source, id]"),
        (Plain("t.outcomes", 0, 0, 1, key_of("/s", "a"), None), "truncated"),
        (Plain("t.outcomes", 0, 0, 1, key_of("/s", "a"), b'{"specversion":"1.0"}'), "missing required field"),
        (outcome(0, 1, revision=-1), ">= 0"),
    ],
)
def test_a_bad_outcome_is_refused_alone_and_says_why(record: Plain, why: str) -> None:
    join = a_join()
    join.take_cases([case(0, 1)])
    join.take_outcomes([record, outcome(1, 2)])
    assert [why in str(error) for error in join.refused] == [True], join.refused
    assert "t.outcomes/0/0" in str(join.refused[0])
    assert told(join.advance(10_002)) == ([1.0], {"joined": 1})


@pytest.mark.parametrize(
    "data",
    [
        {"model": "other"},
        {"model": "nobody"},
        {"groups": {"sex": 1}},
        {"segments": []},
        {"decided_ms": -1},
        {"decided_ms": 2**60},
    ],
)
def test_a_bad_case_is_refused_alone(data: dict[str, Any]) -> None:
    join = a_join()
    join.take_cases([case(0, 1, **data), case(1, 2, "b")])
    assert [error.reason for error in join.refused] == ["bad-case"]
    assert len(join) == 1


def test_a_maturity_longer_than_cases_are_kept_is_refused_with_the_mend() -> None:
    with pytest.raises(Misconfigured, match="keep `cases` and `outcomes` longer"):
        Join(configuration(), retention_ms=10_000)


# -- laws --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """All records of both topics, with their times."""

    cases: list[Plain]
    outcomes: list[Plain]
    end: int


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Few decisions and many fates."""
    names = st.sampled_from("abcde")
    moments = st.integers(0, 60).map(lambda number: number * 1_000)
    made = [
        case(offset, at, name, max(0, at - lag))
        for offset, (at, name, lag) in enumerate(
            draw(st.lists(st.tuples(moments, names, st.sampled_from([0, 500, 9_000])), max_size=8))
        )
    ]
    known = [
        outcome(offset, at, name, what, revision)
        for offset, (at, name, what, revision) in enumerate(
            draw(
                st.lists(
                    st.tuples(moments, names, st.sampled_from(["paid", "default"]), st.integers(0, 2)), max_size=14
                )
            )
        )
    ]
    return Story(made, known, 200_000)


def running(records: list[Plain]) -> list[int]:
    """The running maximum of broker times."""
    return np.maximum.accumulate([one.timestamp for one in records]).tolist() if records else []


def oracle(story: Story, clock: int) -> Total:
    """The same from the definitions, looking at everything at once."""
    found = Total()
    moments, known = running(story.cases), running(story.outcomes)
    last = max(moments, default=-1)
    mine: dict[bytes, int] = {}
    for place, one in enumerate(story.cases):
        if mine.setdefault(one.key or b"", place) != place:
            found.tally["repeated"] += 1
    for key in {*mine, *(one.key or b"" for one in story.outcomes)}:
        heard = [
            (at, json.loads(one.value or b"")["data"])
            for at, one in zip(known, story.outcomes, strict=True)
            if one.key == key
        ]
        if key not in mine:
            found.orphaned += sum(last > at + PATIENCE for at, _ in heard)
            continue
        place = mine[key]
        found.orphaned += sum(moments[place] > at + PATIENCE for at, _ in heard)
        heard = [(at, one) for at, one in heard if moments[place] <= at + PATIENCE]
        found.tally["early"] += sum(at < moments[place] for at, _ in heard)
        due = json.loads(story.cases[place].value or b"")["data"]["decided_ms"] + MATURITY
        taken: list[tuple[int, Any]] = []
        for at, one in heard:
            if taken and one["revision"] <= taken[-1][1]["revision"]:
                found.tally["duplicate"] += 1
                continue
            if taken and at > due:
                found.tally["revised"] += 1
                if one["outcome"] != taken[-1][1]["outcome"]:
                    found.tally["to_positive" if one["outcome"] == "paid" else "to_negative"] += 1
            taken.append((at, one))
        if due > clock:
            continue
        in_time = [one for at, one in taken if at <= due]
        if not in_time:
            found.tally["unlabelled"] += 1
        if taken:
            found.tally["joined"] += 1
            found.tally["late"] += not in_time
            counts = in_time[-1] if in_time else taken[0][1]
            found.rows[story.cases[place].offset] = float(counts["outcome"] == "paid")
    found.tally = +found.tally
    return found


@settings(max_examples=150, deadline=None)
@given(stories(), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 8)), max_size=8))
def test_what_is_given_out_and_counted_depends_on_records_and_clock_only(
    story: Story, cuts: list[tuple[int, int]]
) -> None:
    join, found = a_join(), Total()
    seen = [0, 0]
    moments, known = running(story.cases), running(story.outcomes)
    for seconds, lag in [*sorted(cuts), (200, 0)]:
        clock = seconds * 1_000
        read = [
            max(seen[0], sum(at <= clock for at in moments) - lag),  # cases may be read late
            sum(at <= clock for at in known),
        ]
        join.take_cases(story.cases[seen[0] : read[0]])
        join.take_outcomes(story.outcomes[seen[1] : read[1]])
        found.add(join.advance(clock))
        seen = read
    assert found == oracle(story, 200_000)
    assert not join.refused


@settings(max_examples=150, deadline=None)
@given(stories(), st.randoms(use_true_random=False))
def test_however_topics_are_interleaved_the_memory_and_the_cases_given_out_are_the_same(
    story: Story, random: Any
) -> None:
    whole, expected = a_join(), Total()
    whole.take_cases(story.cases)
    whole.take_outcomes(story.outcomes)
    expected.add(whole.advance(200_000))
    other, found = a_join(), Total()
    turns = ["case"] * len(story.cases) + ["outcome"] * len(story.outcomes) + ["clock"] * 4
    random.shuffle(turns)
    waiting = {"case": list(story.cases), "outcome": list(story.outcomes)}
    for turn in turns:
        if turn == "clock":
            found.add(other.advance(random.randrange(200_000)))
        else:
            take = other.take_cases if turn == "case" else other.take_outcomes
            take([waiting[turn].pop(0)])
        if random.random() < 0.3:
            found.add(other.advance())
            fresh = a_join()
            fresh.load(json_kept(other))
            other = fresh
    found.add(other.advance(200_000))
    assert found.rows.keys() == expected.rows.keys()
    for kind in ("joined", "duplicate", "early", "repeated"):
        assert found.tally[kind] == expected.tally[kind], kind
    assert found.orphaned == expected.orphaned
    uncovered = [one.tally["unlabelled"] - one.tally["late"] for one in (found, expected)]
    assert uncovered[0] == uncovered[1]
    assert as_bytes(other) == as_bytes(whole)


def json_kept(join: Join) -> Any:
    """What a store would give back."""
    kept = join.dump()
    copied = {name: values.copy() for name, values in kept.columns.items()}
    return type(kept)(json.loads(json.dumps(kept.meta)), kept.identities, copied)


def as_bytes(join: Join) -> Any:
    """All that is remembered, comparable."""
    kept = join.dump()
    return kept.meta, kept.identities, {name: values.tobytes() for name, values in kept.columns.items()}


def test_cases_past_their_retention_make_room_and_change_nothing() -> None:
    join = a_join(retention_ms=100_000)
    joined = 0
    for number in range(40):
        at = number * 10_000
        join.take_cases([case(number * 100 + one, at, f"{number}-{one}") for one in range(100)])
        join.take_outcomes([outcome(number * 100 + one, at, f"{number}-{one}") for one in range(0, 100, 2)])
        found = join.advance()
        joined += sum(len(one) for one in found.matured)
        assert len(join.table.columns["stage"]) <= 3_456, "grows without end"
    assert joined == 39 * 50
    late = [outcome(9_000, 400_000, "0-1"), outcome(9_001, 400_000, "39-1")]
    join.take_outcomes(late)
    assert told(join.advance(410_000))[1]["joined"] == 51, "of the two only the case within the retention"
