"""What a deployment's topics are and who may use them, as the plan says it to a cluster's operator."""

from __future__ import annotations

import pytest

from agents.configuration import Configuration
from orchestration.settings import DAY_MS, Settings
from orchestration.topics import LANES, OWN_GROUP, SEVERAL, TOPICS, grants, plan


def planned(**more: object) -> dict[str, dict[str, object]]:
    settings = Settings(prefix="t", bootstrap_servers="localhost:1", **more)  # type: ignore[arg-type]
    return {
        one.name.removeprefix("t."): {"partitions": one.partitions, **one.settings}
        for one in plan(settings, replication=3)
    }


def test_only_observe_lanes_read_protected_attributes() -> None:
    found = grants(Settings(prefix="t"))
    assert [(one.agent, one.operations) for one in found if one.name == "t.attributes"] == [
        ("observe", ("Read", "Describe"))
    ]


def test_partitions_follow_the_settings() -> None:
    found = planned(partitions=4, observation_partitions=3)
    assert {name: one["partitions"] for name, one in found.items() if one["partitions"] != 1} == {
        "observations": 3,
        **dict.fromkeys(
            (
                "decisions",
                "verdicts",
                "released",
                "withheld",
                "held",
                "dead-letters",
                "attributes",
                "outcomes",
                "cases",
            ),
            4,
        ),
    }


def test_what_steps_took_can_be_read_again_for_as_long_as_decisions() -> None:
    found = planned(retention_days=9, label_retention_days=400)
    assert found["ticks"]["retention.ms"] == found["decisions"]["retention.ms"] == str(9 * DAY_MS)
    assert found["cases"]["retention.ms"] == found["outcomes"]["retention.ms"] == str(400 * DAY_MS)
    assert found["attributes"]["min.compaction.lag.ms"] == found["config"]["min.compaction.lag.ms"] == str(3 * DAY_MS)
    assert "min.compaction.lag.ms" not in found["held"]


@pytest.mark.parametrize("agent", LANES)
def test_a_lane_may_write_in_transactions_and_keep_offsets(agent: str) -> None:
    found = [one for one in grants(Settings(prefix="t")) if one.agent == agent]
    group = next(one for one in found if one.resource == "group")
    assert (group.name, group.prefixed) == ((f"t.{agent}.", True) if agent in OWN_GROUP else (f"t.{agent}", False))
    assert any(one.resource == "transactional-id" and one.name == f"t.{agent}." and one.prefixed for one in found)
    assert any(one.name == "t.snapshots" and "Write" in one.operations for one in found)
    assert any(one.name == "t.snapshots" and "Read" in one.operations for one in found)


@pytest.mark.parametrize("agent", SEVERAL)
def test_a_lane_with_several_inputs_reads_its_manifests_and_the_time(agent: str) -> None:
    reads = {one.name for one in grants(Settings(prefix="t")) if one.agent == agent and "Read" in one.operations}
    assert reads >= {"t.manifests", "t.ticks", "t.config", "t.snapshots"}


def test_nobody_writes_what_nobody_reads() -> None:
    assert [one.name for one in TOPICS if not one.readers or not one.writers] == []


def test_amended_decisions_may_be_written_where_the_originals_stood() -> None:
    model = {"callers": {"portal": {"topic": "portal.decisions"}}}
    found = grants(Settings(prefix="t"), Configuration.model_validate({"models": {"loan": model}}))
    writes = {
        one.name for one in found if one.agent == "release" and one.resource == "topic" and "Write" in one.operations
    }
    assert writes >= {"t.decisions", "portal.decisions", "t.held", "t.released", "t.withheld", "t.verdicts"}
