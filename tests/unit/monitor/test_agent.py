"""Both halves of the monitor agent on records: what is counted, for whom, and that the same counts give the same bytes."""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agents.configuration import Configuration
from agents.monitor.agent import AssessAgent
from agents.monitor.contract import merge
from agents.monitor.counting import arrays
from agents.monitor.observing import Observer
from agents.partitions import partition_of
from agents.records import Plain, collect
from tests.unit.monitor.samples import MONDAY_MS

CONFIGURATION = Configuration.model_validate(
    {
        "models": {
            "credit": {
                "features": {"income": "numeric"},
                "labels": {"approve": {"favourable": True}, "decline": {}},
                "groups": {"sex": ["female", "male"]},
                "arl": 100_000,
                "clock": "event",
            },
            "other": {"features": {}},
        },
        "monitors": {"gap": {"kind": "disparate_impact", "models": "credit", "reference": {"sex": "male"}}},
        "duplicate_window": 10_000,
    }
)


def decision(number: int, label: str, subject: str | None = None, time_ms: int | None = None, **data: Any) -> bytes:
    """One decision's bytes."""
    moment = np.datetime64(MONDAY_MS + number * 1000 if time_ms is None else time_ms, "ms")
    event = {
        "specversion": "1.0",
        "type": "governance.decision.v1",
        "id": f"d{number}",
        "source": "/test",
        "time": f"{moment}Z",
        "subject": subject or f"s{number}",
        "data": {
            "model": {"name": "credit", "version": "1"},
            "features": {"income": 1.0},
            "output": {"label": label},
            **data,
        },
    }
    return json.dumps(event).encode()


def records(values: Sequence[bytes], partition: int = 0, start: int = 0, at_ms: int = MONDAY_MS) -> list[Plain]:
    """Values as committed records of decisions."""
    return [
        Plain("t.decisions", partition, start + place, at_ms + place, None, value) for place, value in enumerate(values)
    ]


def attributes(subjects: dict[str, str], start: int = 0) -> list[Plain]:
    """Records of the topic attributes."""
    found = []
    for place, (subject, sex) in enumerate(subjects.items()):
        event = {
            "specversion": "1.0",
            "type": "governance.attributes.v1",
            "id": f"a{place}",
            "source": "/crm",
            "subject": subject,
            "data": {"groups": {"sex": sex}},
        }
        found.append(Plain("t.attributes", 0, start + place, MONDAY_MS, subject.encode(), json.dumps(event).encode()))
    return found


def observer(partition: int = 0) -> Observer:
    """A lane's observing half."""
    return Observer("t", "t.decisions", partition, CONFIGURATION, key=b"k")


def data_of(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """The data of observations."""
    events = [json.loads(value) for _, value, _ in messages]
    return [event["data"] for event in events if event["type"] == "governance.observation.v1"]


def total(found: Sequence[dict[str, Any]]) -> tuple[int, int, Any]:
    """Decisions, first ones of their subject, and the sum of the counts."""
    counts: dict[str, Any] = {}
    for data in found:
        counts = merge(counts, arrays(data["counts"]).get("gap", {}))
    return sum(one["n"] for one in found), sum(one["once"] for one in found), {k: v.tolist() for k, v in counts.items()}


def observed(agent: Observer, known: Sequence[Plain], made: Sequence[Plain]) -> list[dict[str, Any]]:
    """What an observer writes for one batch."""
    return data_of(collect(agent.take(known, made)).get(("t.observations", 0), []))


def stream(count: int = 700) -> tuple[list[bytes], dict[str, str]]:
    """Decisions about 500 subjects, some of whom come again, and what is known of most of them."""
    random = np.random.default_rng(3)
    subjects = [f"s{one}" for one in random.integers(0, 500, count)]
    made = [
        decision(number, "approve" if random.random() < 0.5 else "decline", subject)
        for number, subject in enumerate(subjects)
    ]
    known = {f"s{one}": "female" if one % 4 == 0 else "male" for one in range(450)}
    return made, known


def test_any_batching_and_any_number_of_partitions_give_the_same_sums() -> None:
    made, known = stream()
    whole = total(observed(observer(), attributes(known), records(made)))
    agent = observer()
    pieces = observed(agent, attributes(known), records(made[:1]))
    for start, end in ((1, 260), (260, 263), (263, 700)):
        pieces += observed(agent, [], records(made[start:end], start=start, at_ms=MONDAY_MS + start))
    assert total(pieces) == whole
    spread: list[dict[str, Any]] = []
    for partition in range(8):
        mine = [one for one in made if partition_of(json.loads(one)["subject"].encode(), 8) == partition]
        spread += observed(observer(partition), attributes(known), records(mine, partition))
    assert total(spread) == whole
    n, once, counts = whole
    assert n == 700
    assert once == len({json.loads(one)["subject"] for one in made})
    assert np.array(counts["sex"]).sum(axis=0)[0] == once


def test_a_subject_without_attributes_is_unknown_and_in_no_group() -> None:
    [data] = observed(
        observer(), attributes({"s0": "female"}), records([decision(0, "approve"), decision(1, "approve")])
    )
    assert data["counts"]["gap"]["sex"] == [[1, 1], [0, 0], [1, 1]]


def test_doubles_and_other_peoples_records_are_not_counted() -> None:
    made = [decision(0, "approve"), decision(0, "approve"), b"{", decision(0, "decline"), decision(1, "decline")]
    [data] = observed(observer(), [], records(made))
    assert (data["n"], data["once"]) == (2, 2)
    assert data["inputs"] == {"topic": "t.decisions", "partition": 0, "start": 0, "end": 5}


def test_a_subject_counts_again_in_its_next_period_only() -> None:
    next_month = MONDAY_MS + 31 * 86_400_000
    made = [
        decision(0, "approve", "s"),
        decision(1, "approve", "s"),
        decision(2, "approve", "s", time_ms=next_month),
        decision(3, "approve", "s", time_ms=next_month + 1),
    ]
    [data] = observed(observer(), attributes({"s": "male"}), records(made))
    assert (data["n"], data["once"]) == (4, 2)
    assert data["counts"]["gap"]["sex"][1] == [2, 2]


def test_groups_in_an_event_are_not_believed_unless_the_model_says_so() -> None:
    made = records([decision(0, "approve", groups={"sex": "female"})])
    [data] = observed(observer(), [], made)
    assert data["counts"]["gap"]["sex"] == [[0, 0], [0, 0], [1, 1]]
    allowed = CONFIGURATION.model_copy(
        update={
            "models": {
                **CONFIGURATION.models,
                "credit": CONFIGURATION.models["credit"].model_copy(update={"groups_in_events": True}),
            }
        }
    )
    [data] = observed(Observer("t", "t.decisions", 0, allowed), [], made)
    assert data["counts"]["gap"]["sex"] == [[1, 1], [0, 0], [0, 0]]


def test_a_bad_attributes_record_is_refused_by_place_and_what_stood_stands() -> None:
    agent = observer()
    bad = Plain("t.attributes", 0, 7, MONDAY_MS, b"s0", b'{"specversion":"1.0"}')
    [data] = observed(agent, [*attributes({"s0": "female"}), bad], records([decision(0, "approve")]))
    assert data["counts"]["gap"]["sex"][0] == [1, 1]
    assert next(str(one) for one in agent.refused).startswith("t.attributes/0/7 is refused: ")


def unfair(count: int, seed: int, rate: float) -> list[bytes]:
    random = np.random.default_rng(seed)
    women = random.random(count) < 0.3
    return [
        decision(
            seed * 100_000 + n,
            "approve" if random.random() < (rate if woman else 0.6) else "decline",
            f"{'f' if woman else 'm'}{seed}-{n}",
            MONDAY_MS + (seed * 100_000 + n) * 100,
        )
        for n, woman in enumerate(women)
    ]


def unfair_observations() -> list[Plain]:
    """A fair phase and an unfair one, as records of observations."""
    agent = observer()
    made: list[Plain] = []
    for number, one in enumerate((unfair(3_000, 0, 0.6), unfair(3_000, 1, 0.2))):
        subjects = [json.loads(value)["subject"] for value in one]
        known = {name: "female" if name[0] == "f" else "male" for name in subjects}
        written = collect(
            agent.take(attributes(known), records(one, start=number * 3_000, at_ms=MONDAY_MS + number * 10_000))
        )
        for _, value, headers in written[("t.observations", 0)]:
            made.append(Plain("t.observations", 0, len(made), MONDAY_MS + len(made) * 1000, b"credit", value, headers))
    return made


def assess(found: Sequence[Plain], cuts: Sequence[int], restart: bool = False) -> list[Any]:
    """What the assessing half writes, cut into batches at these places."""
    agent = AssessAgent("t", "t.observations", 0, CONFIGURATION)
    written: list[Any] = []
    for start, end in zip((0, *cuts), (*cuts, len(found)), strict=True):
        for place, messages in collect(agent.take(found[start:end], [])).items():
            written += [(place, *one) for one in messages]
        if restart:
            kept = json.loads(
                json.dumps([agent.now_ms, agent.head(), {n: a.snapshot() for n, a in agent.assessors.items()}])
            )
            sequence = dict(agent.sequence)
            agent = AssessAgent("t", "t.observations", 0, CONFIGURATION)
            agent.restore(*kept)
            agent.sequence = sequence
    return written


def test_the_same_observations_give_the_same_bytes_wherever_the_lane_restarts() -> None:
    found = unfair_observations()
    straight = assess(found, [])
    by_topic = Tally(place[0] for place, *_ in straight)
    assert by_topic["t.signals"] > 3
    assert by_topic["t.flags"] >= 1
    for cuts in ([1], [5, 6, 7], list(range(1, len(found)))):
        assert [one for one in assess(found, cuts, restart=True) if one[0][0] == "t.signals"] == [
            one for one in straight if one[0][0] == "t.signals"
        ]


def test_an_alarm_says_what_since_when_how_large_how_strong_and_what_ends_it() -> None:
    written = assess(unfair_observations(), [])
    flags = [json.loads(value)["data"] for (topic, _), _, value, _ in written if topic == "t.flags"]
    alarm = next(one for one in flags if one["labels"]["status"] == "alarm")
    assert alarm["dedup_key"] == '["gap","credit","1","sex=female"]'
    assert "sex=female" in alarm["reason"]
    assert "since about 2026-03-02T" in alarm["reason"]
    assert "strength of the alarm: 1 in " in alarm["reason"]
    assert "ends when" in alarm["reason"]
    signals = [json.loads(value)["data"] for (topic, _), _, value, _ in written if topic == "t.signals"]
    signal = next(one for one in signals if one.get("status") == "alarm")
    assert signal["group"] == "sex=female"
    assert signal["estimate"] < 0.6
    assert signal["lower"] < signal["estimate"] < signal["upper"]
    assert signal["e_value"] >= signal["limit"] == 100_000
    assert signal["observations"]["start"] == 0


def test_an_observation_that_cannot_be_read_is_refused_and_the_rest_goes_on() -> None:
    found = unfair_observations()
    agent = AssessAgent("t", "t.observations", 0, CONFIGURATION)
    bad = Plain("t.observations", 0, 3, MONDAY_MS, b"credit", b"[]")
    assert collect(agent.take([bad, *found], []))
    assert [str(one)[:28] for one in agent.refused] == ["t.observations/0/3 is refuse"]


@pytest.mark.parametrize("ahead_ms", [1_000, 90_000])
def test_a_lane_that_stands_still_shows_as_lag(ahead_ms: int) -> None:
    [[_, value, headers]] = collect(observer().take([], [], [Plain("t.ticks", 0, 0, MONDAY_MS, None, b"")]))[
        ("t.observations", 0)
    ]
    agent = AssessAgent("t", "t.observations", 0, CONFIGURATION)
    progress = Plain("t.observations", 0, 0, MONDAY_MS, b"", value, headers)
    tick = Plain("t.ticks", 0, 0, MONDAY_MS + ahead_ms, None, b"")
    written = collect(agent.take([progress], [tick]))[("t.signals", 0)]
    marks = [json.loads(value)["data"] for _, value, _ in written]
    assert [one["lag_ms"] for one in marks if one.get("model") == "credit"] == [0, ahead_ms]


def test_a_group_under_two_percent_is_marked_as_small() -> None:
    made = [decision(number, "approve", f"s{number}") for number in range(4_000)]
    known = {f"s{number}": "female" if number < 35 else "male" for number in range(4_000)}
    written = collect(observer().take(attributes(known), records(made)))[("t.observations", 0)]
    found = [
        Plain("t.observations", 0, n, MONDAY_MS + n * 1000, b"credit", v, h) for n, (_, v, h) in enumerate(written)
    ]
    said = [json.loads(value)["data"] for (topic, _), _, value, _ in assess(found, []) if topic == "t.signals"]
    last = [one for one in said if one.get("group") == "sex=female"][-1]
    assert last["detail"]["small_group"] == 1.0
    assert "sex=female (under 2 % of the decisions)" in last["text"]
