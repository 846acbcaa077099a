"""Where protected attributes are not known, a lane's status says why and what to mend, without naming anybody."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agents.configuration import Configuration
from agents.monitor.observing import Observer
from agents.partitions import partition_of
from agents.records import Plain, collect
from orchestration.monitor_lanes import ObserveWork
from orchestration.settings import Settings
from orchestration.work import LaneName, Remarking
from tests.unit.monitor.test_agent import CONFIGURATION, attributes, decision, records

PARTITIONS = 4
SUBJECTS = [f"s{one}" for one in range(400)]


def here(subject: str, partition: int = 0) -> bool:
    """Whether murmur2 puts a subject on a partition."""
    return partition_of(subject.encode(), PARTITIONS) == partition


MINE = [one for one in SUBJECTS if here(one)]


def lane(configuration: Configuration = CONFIGURATION) -> Observer:
    return Observer("t", "t.decisions", 0, configuration, key=b"k", case_partitions=PARTITIONS)


def anonymous(made: bytes) -> bytes:
    """The same decision without a subject."""
    event = json.loads(made)
    del event["subject"]
    return json.dumps(event).encode()


def take(agent: Observer, made: Sequence[bytes], known: Sequence[Plain] = (), start: int = 0) -> str:
    """What the lane's status says after a batch."""
    collect(agent.take(known, records(made, start=start)))
    return agent.unknown.told()


def of(subjects: Sequence[str], start: int = 0) -> list[bytes]:
    return [decision(start + number, "approve", subject) for number, subject in enumerate(subjects)]


def known_of(subjects: Sequence[str], sex: str = "female") -> list[Plain]:
    return attributes(dict.fromkeys(subjects, sex))


def test_nothing_is_said_where_attributes_are_known_or_too_little_was_seen() -> None:
    assert take(lane(), of(MINE), known_of(MINE)) == ""
    assert take(lane(), of(MINE[:19])) == ""
    assert take(lane(), of(MINE), known_of(MINE[: int(len(MINE) * 0.7)])) == ""  # not everybody need be known


def test_an_empty_topic_is_named() -> None:
    assert take(lane(), of(MINE[:40])) == (
        "protected attributes unknown for 100% of the decisions of credit: t.attributes/0 is empty; "
        "publish attributes events there, keyed by subject"
    )
    assert "t.attributes/0 has no record of their subjects" in take(lane(), of(MINE[:40]), known_of(MINE[60:]))


def test_decisions_that_lie_elsewhere_than_their_subjects_are_told_from_unknown_subjects() -> None:
    """A producer with another partitioner, or another key: of four partitions a quarter is met by luck."""
    said = take(lane(), of(SUBJECTS), known_of(MINE))
    assert said.startswith(("protected attributes unknown for 7", "protected attributes unknown for 8"))
    assert said.endswith(
        "they lie on another partition than their subject's attributes; key t.decisions by subject, partitioned by "
        "murmur2 (with librdkafka: partitioner=murmur2_random), over 4 partitions as t.attributes has"
    )
    assert take(lane(), of(SUBJECTS), known_of(SUBJECTS)) == ""  # both topics partitioned alike: nothing is unknown


def test_attributes_that_lie_elsewhere_are_told_from_decisions_that_do() -> None:
    astray = [one for one in SUBJECTS if here(one, 1)]
    said = take(lane(), of(MINE), known_of([*astray, *MINE[: len(MINE) // 4]]))
    assert "t.attributes/0 holds subjects that belong on other partitions; key t.attributes by subject" in said


def test_decisions_without_subject_are_named() -> None:
    said = take(lane(), [anonymous(one) for one in of(MINE)], known_of(MINE))
    assert said.startswith(
        "protected attributes unknown for 100% of the decisions of credit: they name no subject; let"
    )


def test_groups_that_the_model_does_not_declare_are_told_from_ones_left_out() -> None:
    said = take(lane(), of(MINE), known_of(MINE, "F"))
    assert said.startswith(
        "sex unknown for 100% of the decisions of credit: what is said of them is none of the declared"
    )
    assert "female, male" in said
    assert " F" not in said
    out = [
        Plain(one.topic, 0, one.offset, one.timestamp, one.key, one.value.replace(b'"female"', b"null"))
        for one in known_of(MINE)
        if one.value is not None
    ]
    assert "t.attributes/0 leaves it out" in take(lane(), of(MINE), out)


def test_groups_in_the_decisions_themselves_count_as_said() -> None:
    document = CONFIGURATION.document()
    document["models"]["credit"]["groups_in_events"] = True
    told = [decision(at, "approve", one, groups={"sex": "F"}) for at, one in enumerate(SUBJECTS)]
    said = take(lane(Configuration.model_validate(document)), told)
    assert said.startswith(
        "sex unknown for 100% of the decisions of credit: what is said of them is none of the declared"
    )
    told = [decision(at, "approve", one, groups={"sex": "male"}) for at, one in enumerate(SUBJECTS)]
    assert take(lane(Configuration.model_validate(document)), told) == ""


def test_what_was_mended_is_no_longer_said_and_what_broke_is() -> None:
    agent = lane()
    assert "is empty" in take(agent, of(MINE[:80]))
    made = [MINE[at % len(MINE)] for at in range(4_000)]
    said, at = take(agent, of(made, 80), known_of(MINE), start=80), 4_080
    while said and at < 20_000:
        said, at = take(agent, of(made, at), start=at), at + len(made)
    assert said == ""
    others = [one for one in SUBJECTS if not here(one)]
    made = [others[at % len(others)] for at in range(4_000)]
    assert "another partition" in take(agent, of(made, 50_000), start=50_000)
    agent.switch(CONFIGURATION, {}, 60_000)
    assert agent.unknown.told() == ""  # another configuration may declare other groups


def test_an_observe_lane_shows_it_in_its_status() -> None:
    work = ObserveWork(Settings(prefix="t", partitions=PARTITIONS), LaneName("t", "observe", "t.decisions", 0), b"k")
    assert isinstance(work, Remarking)
    assert work.remark() == ""
    work._observer = lane()
    take(work._observer, of(MINE[:40]))
    assert "t.attributes/0 is empty" in work.remark()
